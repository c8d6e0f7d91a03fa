"""The columns of the table of effects: terminal, Markdown, page, CSV and MLflow show those that are theirs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from components.evaluation.verdict import ArmEffect, Verdict
from components.reporting.phrases import chance, worth_of
from components.stats.metrics import METRICS

Value = float | str | None
Place = Literal["terminal", "markdown", "page"]
EVERYWHERE: tuple[Place, ...] = ("terminal", "markdown", "page")


@dataclass(frozen=True)
class Column:
    """A column of the table, an arm a line."""

    key: str  # of the raw value: a field of `ArmEffect`, a column of the CSV, and a metric of MLflow's
    title: str = ""  # what people read above it, with a line end where a narrow table breaks it
    write: Callable[[ArmEffect, str], str] = lambda effect, metric: ""  # the value as people read it
    places: tuple[Place, ...] = ()  # where people see it
    logged: bool = False  # to MLflow, where it has a value
    in_unit: bool = False  # its values have the unit of the metric's differences, which stands in the heading
    of_curve: bool = False  # it is shown only where there is a learning curve

    def heading(self, metric: str, line_end: str = " ") -> str:
        """Return what stands above it: with `(points)` where shares are told in points."""
        unit = METRICS[metric].unit if self.in_unit else ""
        return f"{self.title}\n({unit})".replace("\n", line_end) if unit else self.title.replace("\n", line_end)

    def value(self, effect: ArmEffect) -> Value:
        """Return the raw value; None where it has none."""
        return getattr(effect, self.key)


def columns(verdict: Verdict, place: Place) -> list[Column]:
    """Return the columns that people see in a place."""
    return [column for column in COLUMNS if place in column.places and (verdict.curve or not column.of_curve)]


def records(verdict: Verdict) -> list[dict[str, Value]]:
    """Return the raw values of each arm, a dict an arm in the order of the study: a pandas DataFrame takes them."""
    return [{column.key: column.value(effect) for column in COLUMNS} for effect in verdict.effects]


def _technique(effect: ArmEffect, metric: str) -> str:
    """Return the technique, with the arm's name where it says more."""
    technique, arm = effect.technique, effect.arm
    return technique if arm in (technique, f"no {technique}", f"with {technique}") else f"{technique} ({arm})"


def _difference(value: float, metric: str) -> str:
    return f"{100 * value:+z.1f}" if METRICS[metric].unit else f"{value:+z.4f}"


def _interval(effect: ArmEffect, metric: str) -> str:
    if effect.low is None or effect.high is None:
        return "-"
    return f"[{_difference(effect.low, metric)}, {_difference(effect.high, metric)}]"


COLUMNS = (
    Column("arm"),
    Column("technique", "technique", _technique, EVERYWHERE),
    Column("removes"),
    Column("effect", "effect", lambda e, metric: _difference(e.effect, metric), EVERYWHERE, logged=True, in_unit=True),
    Column("low", "95 % interval", _interval, EVERYWHERE, logged=True),
    Column("high", logged=True),
    Column("p"),
    Column(
        "probability",
        "chance\nto help",
        lambda e, _: "-" if e.probability is None else chance(e.probability),
        EVERYWHERE,
        logged=True,
    ),
    Column("shared"),
    Column("detectable", logged=True),
    Column(
        "p_holm", "p (Holm)", lambda e, _: "-" if e.p_holm is None else f"{e.p_holm:.3f}", ("markdown",), logged=True
    ),
    Column("verdict", "verdict", lambda e, _: e.verdict, EVERYWHERE),
    Column(
        "seeds_needed",
        "seeds to decide",
        lambda e, _: f"about {e.seeds_needed}" if e.seeds_needed else "",
        ("markdown",),
    ),
    Column("arm_mean"),
    Column("cost", "cost in\ntime", lambda e, _: f"{100 * e.cost:+z.0f} %", EVERYWHERE, logged=True),
    Column("cost_low", logged=True),
    Column("cost_high", logged=True),
    Column("worth_in_data", "worth\nin data", lambda e, _: worth_of(e), EVERYWHERE, of_curve=True),
)
