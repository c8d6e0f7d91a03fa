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
    """Two models in one metric, on the same rows.

    Attributes:
        metric: its name.
        slice: whose rows they are; None: all that were compared.
        rows: how many.
        champion: its score.
        challenger: its score.
        estimate: how much better the challenger is: above 0 is better, whichever way the metric goes.
        low: of the interval; None where there are too few rows to judge, and so is `high`.
        high: of the interval.
    """

    metric: str
    slice: Slice | None
    rows: int
    champion: float
    challenger: float
    estimate: float
    low: float | None
    high: float | None

    @property
    def name(self) -> str:
        """The slice, or the metric."""
        return self.slice.name if self.slice else self.metric


@dataclass(frozen=True)
class Guard(Difference):
    """A difference that can only refuse.

    Attributes:
        worse: whether it is significantly worse by more than its margin.
    """

    worse: bool


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What follows for a version, and why.

    Attributes:
        decision: what follows.
        reason: why, as a sentence.
        difference: in the study's metric; None where no champion was compared.
        guards: in the metrics that must not get worse.
        slices: in accuracy (the loss, where that is the study's metric).
    """

    decision: Outcome
    reason: str
    difference: Difference | None = None
    guards: tuple[Guard, ...] = ()
    slices: tuple[Guard, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Decision(Judgement):
    """A judgement with what it does to the registry.

    Attributes:
        model: the registered model's name.
        by: who runs it.
        version: of the winner, or that was chosen by hand; None where none was registered.
        champion: the version that is the champion after it; None where there is none, or nothing is known.
        before: the one that was it before.
        aliases: which version each gets, in this order; None takes it away.
        error: what MLflow answered last, where it was away.
    """

    SCHEMA: ClassVar[int] = 1

    model: str
    by: str
    version: str | None = None
    champion: str | None = None
    before: str | None = None
    aliases: dict[str, str | None] = field(default_factory=dict[str, str | None])
    error: str | None = None
