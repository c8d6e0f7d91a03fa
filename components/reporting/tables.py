"""The columns of the table of effects: terminal, Markdown, page, CSV and MLflow show those that are theirs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from components.evaluation.verdict import ArmEffect, Verdict
from components.reporting.phrases import verdict_as_text, worth_of
from components.stats.metrics import METRICS
from components.stats.paired_effects import Estimate

Value = float | str | None
Place = Literal["terminal", "markdown", "page"]
EVERYWHERE: tuple[Place, ...] = ("terminal", "markdown", "page")


@dataclass(frozen=True)
class Column:
    """A column of the table, an arm a line."""

    key: str  # of the raw value: a column of the CSV, and a metric of MLflow's
    title: str = ""  # what people read above it, with a line end where a narrow table breaks it
    write: Callable[[ArmEffect, Verdict], str] = lambda effect, verdict: ""  # the value as people read it
    places: tuple[Place, ...] = ()  # where people see it
    logged: bool = False  # to MLflow, where it has a value
    of: Literal["decided_by", "metric", None] = None  # of which metric it is: it stands in the heading, with its unit
    shown: Callable[[Verdict], object] = lambda verdict: True  # whether people see it

    def heading(self, verdict: Verdict, line_end: str = " ") -> str:
        """Return what stands above it: with `(points)` where shares are told in points."""
        title = self.title
        if self.of:
            metric = METRICS[getattr(verdict, self.of)]
            title = f"{metric.title}\n({metric.unit})" if metric.unit else metric.title
        return title.replace("\n", line_end)

    def value(self, effect: ArmEffect, verdict: Verdict) -> Value:
        """Return the raw value; None where it has none."""
        if self.key.startswith("metric_"):
            return getattr(verdict.on(verdict.metric, effect), self.key.removeprefix("metric_"))
        return getattr(effect, self.key)


def columns(verdict: Verdict, place: Place) -> list[Column]:
    """Return the columns that people see in a place."""
    return [column for column in COLUMNS if place in column.places and column.shown(verdict)]


def records(verdict: Verdict) -> list[dict[str, Value]]:
    """Return the raw values of each arm, a dict an arm in the order of the study: a pandas DataFrame takes them."""
    return [{column.key: column.value(effect, verdict) for column in COLUMNS} for effect in verdict.effects]


def _technique(effect: ArmEffect, verdict: Verdict) -> str:
    """Return the technique, with the arm's name where it says more."""
    technique, arm = effect.technique, effect.arm
    return technique if arm in (technique, f"no {technique}", f"with {technique}") else f"{technique} ({arm})"


def _difference(value: float, metric: str) -> str:
    return f"{100 * value:+z.1f}" if METRICS[metric].unit else f"{value:+z.4f}"


def _interval(estimate: Estimate, metric: str) -> str:
    if estimate.low is None or estimate.high is None:
        return "-"
    return f"[{_difference(estimate.low, metric)}, {_difference(estimate.high, metric)}]"


def _on_metric(effect: ArmEffect, verdict: Verdict) -> str:
    """Return the effect on the metric that people read, and half the width of its interval: `+0.5 ± 0.7`."""
    on_metric = verdict.on(verdict.metric, effect)
    shown = _difference(on_metric.effect, verdict.metric)
    if on_metric.low is None or on_metric.high is None:
        return shown
    half = max(on_metric.high - on_metric.effect, on_metric.effect - on_metric.low)
    return f"{shown} ± {_difference(half, verdict.metric).removeprefix('+')}"


def _two_metrics(verdict: Verdict) -> bool:
    return verdict.metric != verdict.decided_by


COLUMNS = (
    Column("arm"),
    Column("technique", "technique", _technique, EVERYWHERE),
    Column("removes"),
    Column("effect", "", lambda e, v: _difference(e.effect, v.decided_by), EVERYWHERE, logged=True, of="decided_by"),
    Column("low", "95 % interval", lambda e, v: _interval(e, v.decided_by), EVERYWHERE, logged=True),
    Column("high", logged=True),
    Column("error"),
    Column("metric_effect", "", _on_metric, EVERYWHERE, of="metric", shown=_two_metrics),
    Column("metric_low"),
    Column("metric_high"),
    Column("detectable", logged=True),
    Column("verdict", "verdict", verdict_as_text, EVERYWHERE),
    Column("chance", logged=True),
    Column("arm_mean"),
    Column("cost", "cost in\ntime", lambda e, _: f"{100 * e.cost:+z.0f} %", EVERYWHERE, logged=True),
    Column("cost_low", logged=True),
    Column("cost_high", logged=True),
    Column("worth_in_data", "worth\nin data", lambda e, v: worth_of(e, v), EVERYWHERE, shown=lambda v: v.curve),
)
