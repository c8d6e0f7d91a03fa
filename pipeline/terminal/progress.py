"""What is seen while a study runs: a bar on a terminal, else a plain line a finished arm or about every ten seconds."""

import time
from collections import defaultdict
from collections.abc import Iterable
from statistics import mean

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from components.formatting import duration
from components.runtime.events import STEPS, Event
from components.stats.metrics import METRICS
from components.study.shards import FIRST_SEEDS, shards
from components.study.study import REFERENCE, Study

PLAIN_SECONDS = 10.0
DOING = ("loading data", "scaling data", "training", "comparing arms", "registering the winner")
PHASES: dict[str, str] = dict(zip(STEPS, DOING, strict=True))


class Standing:
    """How far a run is, known from its events."""

    def __init__(self, study: Study, fan_out: int, phase: str = "starting"):
        """Start with nothing done; the cells are spread over at most `fan_out` tasks."""
        self._plan = [[(cell.arm, cell.seed) for cell in shard] for shard in shards(study, fan_out)]
        self.phase = phase
        self.total = sum(len(shard) for shard in self._plan)
        self.finished_arms: list[str] = []
        self.arms = list(dict.fromkeys(cell.arm for cell in study.cells()))
        self._metric = study.metric
        self._seeds_of = study.seeds_of
        self._values: dict[tuple[str, int], float] = {}
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._now: dict[str, str] = {}  # by task, the arm that it trains

    def take(self, event: Event) -> None:
        """Take one event in."""
        if event["event"] == "step_started":
            self.phase = PHASES[event["step"]]
        elif event["event"] == "cell_started":
            self._now[event["label"]] = event["arm"]
        elif event["event"] == "step_finished":
            self._now.pop(event["label"], None)
        elif event["event"] == "cell_finished":
            arm = event["arm"]
            self._values[arm, event["seed"]] = event["value"]
            self._seconds[arm].append(event["seconds"])
            if len(self._of(arm)) == self._seeds_of(arm) and arm not in self.finished_arms:
                self.finished_arms.append(arm)

    @property
    def done(self) -> int:
        """The number of finished cells."""
        return len(self._values)

    def mean(self, arm: str) -> float:
        """Return the mean of an arm's finished cells."""
        return mean(self._of(arm))

    def best(self) -> str | None:
        """Return the finished arm with the best mean; one lucky seed does not make an arm the best."""
        if not self.finished_arms:
            return None
        return (max if METRICS[self._metric].higher_is_better else min)(self.finished_arms, key=self.mean)

    def first_impression(self) -> Group | None:
        """Return how the arms differ from the reference on the first seeds, once all have them and more are to come.

        Nothing is judged: how sure a difference is is known of all seeds' rows, at the end.
        """
        from components.reporting.phrases import amount

        firsts = [(arm, seed) for arm in self.arms for seed in range(FIRST_SEEDS)]
        if self.done == self.total or any(cell not in self._values for cell in firsts):
            return None
        means = {arm: mean(self._values[arm, seed] for seed in range(FIRST_SEEDS)) for arm in self.arms}
        title = f"Provisional, after {FIRST_SEEDS} of {self._seeds_of(REFERENCE)} seeds; nothing is judged yet"
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column("arm")
        table.add_column(METRICS[self._metric].title, justify="right")
        for arm in sorted(means, key=lambda arm: (arm != REFERENCE, -abs(means[arm] - means[REFERENCE]))):
            difference = amount(means[arm] - means[REFERENCE], self._metric)
            table.add_row(escape(arm), f"{means[arm]:.4f}" if arm == REFERENCE else difference)
        return Group(Text(title, style="bold"), table)

    def current(self) -> list[str]:
        """Return the arms that are trained now."""
        return list(dict.fromkeys(self._now.values()))

    def seconds_left(self) -> float | None:
        """Guess the training time left: that of the slowest task, each cell as long as its arm's others so far."""
        if not self._seconds:
            return None
        overall = mean(second for seconds in self._seconds.values() for second in seconds)
        return max(
            sum(
                mean(self._seconds[arm]) if arm in self._seconds else overall
                for arm, seed in part
                if (arm, seed) not in self._values
            )
            for part in self._plan
        )

    def _of(self, arm: str) -> list[float]:
        return [value for (name, _), value in self._values.items() if name == arm]


class Report:
    """Shows a run's standing; a context manager, since a bar must be put away."""

    def __init__(self, study: Study, fan_out: int, console: Console):
        """Show a bar if the console is a terminal, else plain lines."""
        self.standing = Standing(study, fan_out)
        self._fan_out = fan_out
        self._console = console
        description, left = TextColumn("{task.description}"), TextColumn("cells{task.fields[left]}")
        self._bar = Progress(description, BarColumn(30), MofNCompleteColumn(), left)
        self._task = self._bar.add_task("", total=self.standing.total, left="")
        self._live = (
            Live(console=console, get_renderable=self._picture, transient=True) if console.is_terminal else None
        )
        self._said_at = time.monotonic()
        self._said_phase = ""
        self._said_arms = 0
        self._said_first = False

    def __enter__(self) -> "Report":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, events: Iterable[Event]) -> None:
        """Take the new events in and show where the run is; called several times a second."""
        for event in events:
            self.standing.take(event)
            if event["event"] == "warning":
                self._say(f"warning: {event['message']}")
            elif event["event"] == "said":
                self._say(event["message"])
            elif event["event"] == "study":  # that a retraining has become; nothing of it is trained yet
                phase, study = self.standing.phase, Study.model_validate_json(event["study"])
                self.standing = Standing(study, self._fan_out, phase)
                self._bar.update(self._task, total=self.standing.total)
            if not self._live:
                self._say_arms()
        if not self._said_first and len(self.standing.arms) > 1 and (told := self.standing.first_impression()):
            self._said_first = True
            self._console.print(told)
        if not self._live:
            self._say_phase()

    def _picture(self) -> Group:
        """Return the bar, and below it what is being trained and the best so far."""
        standing, left = self.standing, self._left()
        left = f", {left}" if left else ""
        self._bar.update(self._task, description=standing.phase, completed=standing.done, left=left)
        return Group(self._bar, Text(self._arms(), style="dim", no_wrap=True, overflow="ellipsis"))

    def _left(self) -> str:
        left = self.standing.seconds_left()
        return f"{duration(left)} left" if left and self.standing.phase == PHASES["train"] else ""

    def _arms(self) -> str:
        standing = self.standing
        training = standing.phase == PHASES["train"] and " | ".join(standing.current())
        best = standing.best()
        parts = [training, best and f"best so far {best} {standing.mean(best):.4f}"]
        return "; ".join(part for part in parts if part)

    def _say_arms(self) -> None:
        standing = self.standing
        for arm in standing.finished_arms[self._said_arms :]:
            best = standing.best() or arm
            self._say(
                f"{standing.done}/{standing.total} cells: {arm} {standing.mean(arm):.4f}, "
                f"best so far {best} {standing.mean(best):.4f}"
            )
        self._said_arms = len(standing.finished_arms)

    def _say_phase(self) -> None:
        standing = self.standing
        if standing.phase != self._said_phase:
            self._said_phase = standing.phase
            self._say(standing.phase)
        elif time.monotonic() - self._said_at > PLAIN_SECONDS:
            done = f"{standing.done}/{standing.total} cells"
            self._say(", ".join(part for part in (f"{standing.phase}: {done}", self._left(), self._arms()) if part))

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        self._said_at = time.monotonic()
