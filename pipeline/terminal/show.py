"""Prints a verdict: table, answer, test rows, the registry's decision; and where the time of a run went."""

import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.formatting import duration
from components.stats.metrics import METRICS
from components.study.study import REFERENCE

if TYPE_CHECKING:
    from components.evaluation.verdict import Verdict
    from components.registry.decision import Decision

STYLES = {"helped": "bold green", "hurt": "bold red", "no difference": "blue", "leans": "yellow"}
STARTING = "starting and imports"
SHARES = {
    "training": "training",
    "imports": STARTING,
    "data": "data",
    "mlflow": "MLflow",
    "report": "figures and statistics",
}


def show_verdict(console: Console, verdict: "Verdict", decision: "Decision | None") -> None:
    """Print the table, the answer, and what the registry has decided, if anything; 80 columns are enough."""
    from components.reporting import phrases

    console.print()
    _show_list(console, "Retraining:", phrases.retraining_lines(verdict.retrain) if verdict.retrain else ())
    if verdict.effects:
        console.print(Text("What each technique does", style="bold"))
        console.print(_table(verdict))
        _say(console, _how(verdict), "dim")
    if said := phrases.looks_as_text(verdict):
        _say(console, said, "dim")
    console.print()
    _say(console, phrases.sentence(verdict), "bold")
    console.print()
    _show_list(console, "Changed since the last study:", phrases.changes(verdict))
    together = [phrases.interaction_as_text(of, verdict.decided_by) for of in verdict.interactions]
    _show_list(console, "How techniques work with each other:", together)
    wrong = [phrases.finding_as_text(finding, verdict.seeds) for finding in verdict.findings]
    _show_list(console, "What was wrong while training:", wrong, "yellow")
    _show_test(console, verdict)
    if decision:
        _say(console, _registry(decision))


def show_time(console: Console, events: Iterable[Mapping[str, Any]], begun: float, ended: float) -> None:
    """Print where the time of a run went, in shares of the whole."""
    shares = time_shares(events, begun, ended)
    total = sum(shares.values())
    parts = [
        f"{name} {100 * seconds / total:.0f} % ({duration(seconds)})"
        for name, seconds in sorted(shares.items(), key=lambda share: -share[1])
        if seconds > 0
    ]
    _say(console, f"Time {duration(total)}: {' · '.join(parts)}")


def time_shares(events: Iterable[Mapping[str, Any]], begun: float, ended: float) -> dict[str, float]:
    """Return the seconds by what they were spent on; they add up to the whole run.

    Steps follow each other, and the train tasks, side by side, are one phase, which lasts from the end of the phase
    before to its own last end. It is split like the time of its tasks, added up.
    """
    shares = dict.fromkeys(SHARES.values(), 0.0)
    before = begun
    for tasks in _phases(events):
        end = max(task["end"] for task in tasks)
        spent = _spent(tasks, before, end)
        for name, seconds in spent.items():
            shares[name] += (end - before) * seconds / sum(spent.values())
        before = end
    shares[STARTING] += ended - before
    return shares


def _phases(events: Iterable[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the finished tasks (`step`, `start`, `end`, `spans`), those of a step together, in order of their ends."""
    starts: dict[tuple[str, str], float] = {}
    phases: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        task = (event["step"], event["label"])
        if event["event"] == "step_started":
            starts[task] = event["time"]
        elif event["event"] == "step_finished":
            finished = {"step": task[0], "start": starts[task], "end": event["time"], "spans": event["spans"]}
            phases.setdefault(task[0], []).append(finished)
    return sorted(phases.values(), key=lambda tasks: max(task["end"] for task in tasks))


def _spent(tasks: list[dict[str, Any]], begun: float, ended: float) -> dict[str, float]:
    """Return the seconds of all lanes of a phase; as many lanes as tasks ever ran side by side."""
    edges = sorted([(task["start"], 1) for task in tasks] + [(task["end"], -1) for task in tasks])
    running = [sum(step for _, step in edges[: index + 1]) for index in range(len(edges))]
    lanes = max(running)
    spent: dict[str, float] = defaultdict(float)
    free = [begun] * lanes + sorted(task["end"] for task in tasks)  # when the lane that a task got became free
    for task, since in zip(sorted(tasks, key=lambda task: task["start"]), free, strict=False):
        for category, seconds in task["spans"].items():
            spent[SHARES[category]] += seconds
        spent[STARTING] += max(task["end"] - since - sum(task["spans"].values()), 0)
    idle = lanes * (ended - begun) - sum(spent.values())
    spent["training" if tasks[0]["step"] == "train" else STARTING] += max(idle, 0)
    return spent


def _table(verdict: "Verdict") -> Table:
    from components.reporting.tables import columns  # brings NumPy, which no other command needs

    shown = columns(verdict, "terminal")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for column in shown:
        words = column.key in ("technique", "verdict")
        heading = column.heading(verdict, line_end="\n")
        table.add_column(
            heading, justify="left" if words else "right", no_wrap=column.key in ("low", "metric_effect", "verdict")
        )
    for effect in verdict.ranked:
        style = {"verdict": STYLES.get(effect.verdict, "")}
        table.add_row(*(Text(column.write(effect, verdict), style.get(column.key, "")) for column in shown))
    return table


def _how(verdict: "Verdict") -> str:
    """Return how the table came about, and how small an effect it could show."""
    from components.reporting.phrases import amount
    from components.stats.paired_effects import POWER

    decider = METRICS[verdict.decided_by].title
    count = len(verdict.effects)
    hold = "the interval holds" if count == 1 else f"all {count} intervals hold at once"
    said = (
        f"{verdict.seeds} seeds, paired, on {verdict.validation_rows} validation rows; the {decider} decides, and "
        f"{hold} in 95 % of studies."
    )
    sizes = sorted(effect.detectable for effect in verdict.effects if effect.detectable)
    if not sizes:
        return said
    least, most = (amount(size, verdict.decided_by).removeprefix("+") for size in (sizes[0], sizes[-1]))
    least = least if least == most else f"{least.removesuffix(' points')} to {most}"
    return f"{said} An effect of {least} (it depends on the arm) would be shown in {100 * POWER:.0f} % of such studies."


def _show_list(console: Console, title: str, lines: Sequence[str], style: str = "") -> None:
    if lines:
        _say(console, title)
        for line in lines:
            _say(console, f"- {line}", style)
        console.print()


def _show_test(console: Console, verdict: "Verdict") -> None:
    from components.reporting import phrases

    test, winner = verdict.test, verdict.winner
    table = Table(box=None, pad_edge=False, padding=(0, 1), show_header=False)
    rows = {"reference": test.reference}
    if winner.arm != REFERENCE:
        rows = {f"winner: {winner.arm}": test.winner, **rows}
    for name, score in rows.items():
        table.add_row(
            name,
            f"accuracy {100 * score['accuracy']:.1f} %",
            f"macro F1 {100 * score['macro_f1']:.1f} %",
            f"loss {score['loss']:.4f}",
        )
    _say(console, f"On {test.rows} test rows, {phrases.test_looks(test)} (means over the seeds):")
    console.print(table)
    console.print()


def _registry(decision: "Decision") -> str:
    if decision.decision == "not asked":
        return f"Registry: nothing is registered; {decision.reason}."
    name, champion, reason = decision.model, decision.champion, decision.reason
    if decision.decision == "promoted":
        return f"Registry: {name} version {champion} is the champion now; {reason}."
    stays = f"the champion stays {name} version {champion}" if champion else f"{name} has no champion"
    if decision.decision == "undecided":
        return (
            f"Registry: undecided, so {stays}, and version {decision.version} is the challenger; {reason}. "
            f"`assay promote {shlex.quote(name)}` makes it the champion."
        )
    return f"Registry: {stays}; {reason}."


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style))
