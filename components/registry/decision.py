"""The registry's decision on a version: what follows, why, on what evidence, and which aliases it moves."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from components.data.slices import Slice


class Outcome(StrEnum):
    """What follows for a version."""

    PROMOTED = "promoted"
    KEPT = "kept"  # the champion stays
    UNDECIDED = "undecided"  # the champion stays, and the version is its challenger
    ROLLED_BACK = "rolled back"  # the champion before is the champion again
    NOT_ASKED = "not asked"  # of a study that promotes nothing
    FAILED = "failed"  # MLflow was away


@dataclass(frozen=True)
class Difference:
    """Two models' scores in one metric, on the same rows."""

    metric: str
    slice: Slice | None  # whose rows they are; None: all that were compared
    rows: int
    champion: float
    challenger: float
    estimate: float  # how much better the challenger is: above 0 is better, whichever way the metric goes
    low: float | None  # the interval; None where there are too few rows to judge
    high: float | None


@dataclass(frozen=True)
class Guard(Difference):
    """A difference that can only refuse."""

    worse: bool  # significantly, by more than its margin


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What follows for a version, and why."""

    decision: Outcome
    reason: str
    difference: Difference | None = None  # in the study's metric; None where no champion was compared
    guards: tuple[Guard, ...] = ()  # in the metrics that must not get worse
    slices: tuple[Guard, ...] = ()  # in accuracy (the loss, where that is the study's metric)


@dataclass(frozen=True, kw_only=True)
class Decision(Judgement):
    """A judgement with what it does to the registry."""

    SCHEMA: ClassVar[int] = 1

    model: str
    by: str  # who runs it
    version: str | None = None  # the winner's, or that was chosen by hand; None where none was registered
    champion: str | None = None  # the version that is it afterwards; None where there is none, or nothing is known
    before: str | None = None  # the one that was it before
    aliases: dict[str, str | None] = field(default_factory=dict[str, str | None])  # to move, in order; None removes
    error: str | None = None  # what MLflow answered last, where it was away
