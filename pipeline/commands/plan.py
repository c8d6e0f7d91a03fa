"""What a study will take, before it runs: its time, and the effects that its seeds can show; and runs in a budget."""

import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from components.errors import UsageError
from components.runtime.cells import Store
from components.stats.metrics import METRICS
from components.stats.paired_effects import POWER, Level, most_borrowed
from components.steps.probe import Probe, probe
from components.study.shards import trajectories
from components.study.study import REFERENCE, Study
from pipeline.commands.quiet import native_libraries_silent

if TYPE_CHECKING:
    import pandas as pd

CHOICES = (3, 5, 10, 20, 30, 50)  # seeds that a plan tells about, beside the study's own
MAX_PROBED = 20  # seeds of which a probe can tell: what more of them share is known only when some are finished
OVERHEAD_SECONDS = 20.0  # that a run takes beside training: starting its steps, MLflow, figures
RESERVE = 0.9  # share of a budget that is planned for: training may take longer than it did


@dataclass(frozen=True, repr=False)
class Plan:
    """What is expected of a study.

    Attributes:
        study: that is planned.
        probe: what its cells are like.
        tasks: training tasks side by side.
    """

    study: Study
    probe: Probe
    tasks: int

    @property
    def table(self) -> "pd.DataFrame":
        """The numbers of seeds, with the seconds that they take and the smallest effect of each arm that they show."""
        import pandas as pd

        return pd.DataFrame([{"seeds": seeds, "seconds": seconds, **shows} for seeds, seconds, shows in self.rows()])

    def __rich__(self) -> Group:
        """Return what is planned, the table, and where its numbers come from; 80 columns are enough."""
        study, (rows, about) = self.study, lines(self)
        arms, side = len(study.expand()), f"{self.tasks} training task{'s' if self.tasks != 1 else ''} side by side"
        title = f"{study.study}: {arms} arms x {study.seeds} seeds = {arms * study.seeds} cells, in {side}"
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
        for heading in ("seeds", "time", f"shows effects on {METRICS[study.decided_by].title} from"):
            table.add_column(heading, justify="right")
        for row in rows:
            table.add_row(*row, style="bold" if row[0] == str(study.seeds) else "")
        return Group(Text(title, style="bold"), table, Text(about, style="dim"))

    def __repr__(self) -> str:
        """Return what `assay plan` prints."""
        console = Console(width=80, force_jupyter=False, force_terminal=False)
        with console.capture() as shown:
            console.print(self)
        return shown.get().strip()

    @property
    def comparisons(self) -> int:
        """For how many effects the verdict will correct; fractions of the data and pairs are not among them."""
        return sum(not (arm.is_size or arm.pair or arm.name == REFERENCE) for arm in self.study.expand())

    def seconds(self, seeds: int) -> float:
        """Return how long a run with so many seeds takes."""
        return OVERHEAD_SECONDS + seeds * self.seconds_a_seed()

    def seconds_a_seed(self) -> float:
        """Return how long one seed of all arms takes; what is read off one training takes the longest's time."""
        groups = trajectories(self.study.of_seeds(1).cells())
        return sum(max(self.probe.seconds[cell.arm] for cell in group) for group in groups) / self.tasks

    def affordable(self, budget: float) -> int:
        """Return how many seeds of all arms a budget of seconds pays for."""
        return int((RESERVE * budget - OVERHEAD_SECONDS) / self.seconds_a_seed())

    def shows(self, seeds: int) -> dict[str, float]:
        """Return by arm the smallest effect that so many seeds show in `POWER` of studies, in the metric's unit.

        With one seed nothing is shown, and nothing is known of arms that are not trained yet beside others that are.
        """
        if seeds < 2:
            return {}
        compared = [arm.name for arm in self.study.expand()[1:] if not (arm.is_size or arm.pair)]
        level, freedom = Level(count=len(compared)), most_borrowed(len(compared), seeds - 1) + seeds - 1
        again = _pairs_on_the_same_rows(seeds, round(1 / self.study.data.validation))
        found: dict[str, float] = {}
        for arm in compared:
            if of := self.probe.spreads.get(arm):
                free = max(min(freedom, of.units - 1), 1)
                found[arm] = replace(of, seeds=seeds, shared=again * of.shared, freedom=free).detectable(level)
        return found

    def rows(self) -> list[tuple[int, float, dict[str, float]]]:
        """Return for some numbers of seeds, and for the study's own, the seconds and what they show by arm."""
        told = [n for n in CHOICES if self.probe.cells or n <= MAX_PROBED]
        return [(n, self.seconds(n), self.shows(n)) for n in sorted({*told, self.study.seeds})]


def _pairs_on_the_same_rows(seeds: int, folds: int) -> float:
    """Return which share of the pairs of seeds may validate on the same rows: those in one round of folds do not."""
    rounds, rest = divmod(seeds, folds)
    apart = rounds * folds * (folds - 1) + rest * (rest - 1)
    return 1 - apart / (seeds * (seeds - 1))


def make_plan(study: Study, tasks: int, home: Path) -> Plan:
    """Prepare the data, and look at the study's finished cells in `.assay/store` of a folder, or train a little.

    Of the training tasks as many run side by side as there are cores.
    """
    from components.data.preparation import prepare
    from components.runtime.devices import cores

    with native_libraries_silent(), tempfile.TemporaryDirectory(prefix="assay-") as folder:
        prepared = prepare(study, folder)
        store = Store(home / ".assay" / "store", prepared.schema.fingerprint)
        return Plan(study, probe(study, prepared, store), min(tasks, cores()))


def read_duration(text: str) -> float:
    """Return the seconds of a text such as `20m`, `1h30m` or `90s`.

    Raises:
        UsageError: for any other text.
    """
    found = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip().lower())
    seconds = sum(float(n or 0) * unit for n, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0
    if seconds <= 0:
        raise UsageError(f"--budget {text}: expected a time such as 20m, 1h30m or 90s")
    return seconds


def within_budget(plan: Plan, budget: float) -> int:
    """Return with how many seeds at most a budget of seconds pays for all arms.

    Raises:
        UsageError: where it is less than two.
    """
    seeds = plan.affordable(budget)
    if seeds < 2:
        from components.formatting import duration

        least = duration(plan.seconds(2) / RESERVE)
        raise UsageError(f"--budget {duration(budget)} pays for less than two seeds; expected at least {least}")
    return seeds


def lines(plan: Plan) -> tuple[list[tuple[str, str, str]], str]:
    """Return the plan as rows of text (seeds, time, what they show), and where the numbers come from."""
    from components.formatting import duration
    from components.reporting.phrases import amount

    metric = plan.study.decided_by
    rows = []
    beyond = 1.0 if METRICS[metric].unit else np.inf  # no share can change by more
    for seeds, seconds, shows in plan.rows():
        ends = [amount(end, metric).lstrip("+") for end in sorted(shows.values()) if end < beyond]
        shown = "nothing"
        if ends:
            shown = ends[0] if ends[0] == ends[-1] else f"{ends[0].removesuffix(' points')} to {ends[-1]}"
        rows.append((f"{seeds}", duration(seconds), shown))
    known = f"{plan.probe.cells} finished cells" if plan.probe.cells else "a short probe"
    corrected = f", where all {plan.comparisons} intervals hold at once" if plan.comparisons > 1 else ""
    about = (
        f"From {known}; {100 * POWER:.0f} % of studies would show such an effect, which depends on the arm{corrected}."
    )
    early = any(arm.recipe.train.early_stopping for arm in plan.study.expand())
    return rows, about + (" Early stopping may make it faster." if early and not plan.probe.cells else "")
