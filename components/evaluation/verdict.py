"""The verdict of a study as it is written to verdict.json: what each technique does, how sure that is, what it costs.

Effects are positive where the technique improves the metric; shares are from 0 to 1, and times are seconds.
"""

from dataclasses import dataclass
from typing import ClassVar

from components.data.retraining import Retraining
from components.data.slices import Slice
from components.runtime.cells import Diagnosis
from components.stats.learning_curve import LearningCurve
from components.stats.paired_effects import Effect, Estimate


@dataclass(frozen=True)
class ValidationSlice(Slice):
    """A slice with its number of validation rows, in the mean over the seeds."""

    rows: float


@dataclass(frozen=True, kw_only=True)
class ArmEffect(Effect):
    """The effect of an arm's technique.

    Attributes:
        arm: its name.
        technique: what the arm lacks or adds.
        removes: whether it lacks it.
        arm_mean: the metric on validation rows, the mean over the seeds.
        cost: training time with the technique beside without, 0.4 for 40 % longer.
        cost_low, cost_high: its 95 % interval; None with one seed.
        worth_in_data: see `components.stats.learning_curve.worth_in_data`; None without a learning curve, too.
        others: the effect on the other metrics.
        by_slice: the effect on accuracy in each of the verdict's slices; None where it has too few rows.
    """

    arm: str
    technique: str
    removes: bool
    arm_mean: float
    cost: float
    cost_low: float | None
    cost_high: float | None
    worth_in_data: float | None
    others: dict[str, Estimate]
    by_slice: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Harm(Estimate):
    """A slice in which a technique significantly costs accuracy, though it is not judged to hurt as a whole.

    Attributes:
        arm, technique: see `ArmEffect`.
        slice: where.
        p_holm: corrected for all arms and slices.
    """

    arm: str
    technique: str
    slice: ValidationSlice
    p_holm: float


@dataclass(frozen=True, kw_only=True)
class Interaction(Effect):
    """How much more one technique brings beside another one than without it.

    Attributes:
        arm: in which both are changed.
        techniques: the two.
    """

    arm: str
    techniques: tuple[str, str]


@dataclass(frozen=True)
class Reference:
    """The reference's mean on validation rows with its 95 % interval (None with one seed), and seconds of a cell."""

    mean: float
    low: float | None
    high: float | None
    seconds: float


@dataclass(frozen=True)
class Winner:
    """The arm with the best mean on validation rows, and the seed whose model is registered."""

    arm: str
    mean: float
    seed: int


@dataclass(frozen=True)
class TestScores:
    """The scores on the test rows.

    Attributes:
        rows: how many there are.
        reference, winner: each metric, the mean over the seeds.
        per_seed: of `reference` and `winner` the study's metric with each seed.
    """

    rows: int
    reference: dict[str, float]
    winner: dict[str, float]
    per_seed: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Finding:
    """What was wrong in the training of an arm.

    Attributes:
        arm: its name.
        diagnosis: of its first seed that has one of this kind.
        seeds: in how many it was.
        cures: of the reference, the arms in which nothing is wrong.
    """

    arm: str
    diagnosis: Diagnosis
    seeds: int
    cures: tuple[str, ...]


@dataclass(frozen=True)
class MlflowRun:
    """Where MLflow has the study's run."""

    tracking_uri: str
    experiment_id: str
    run_id: str


@dataclass(frozen=True)
class Verdict:
    """All that is shown of a study.

    Attributes:
        study: its name.
        metric: that it is about.
        higher_is_better: the metric's direction.
        seeds: of each arm.
        train_rows, validation_rows: of a seed.
        reference: how good it is.
        seconds: of training a cell, by arm.
        effects: of each arm that is a technique.
        slices: in which they are looked at, too.
        harms: the worst first.
        interactions: with `pairs`.
        dropped: the arms that the screening for a budget left out, each with its effect there; they are counted among
            the comparisons that are corrected for.
        retrain: None where nothing is retrained.
        curve: None where no arm has fewer rows.
        winner: what is registered.
        test: the winner and the reference on the test rows.
        findings: in the order of the arms, the gravest first.
        run: the run's unique name, and
        mlflow: where it is; None where nothing is logged.
    """

    SCHEMA: ClassVar[int] = 1

    study: str
    metric: str
    higher_is_better: bool
    seeds: int
    train_rows: int
    validation_rows: int
    reference: Reference
    seconds: dict[str, float]
    effects: tuple[ArmEffect, ...]
    slices: tuple[ValidationSlice, ...]
    harms: tuple[Harm, ...]
    interactions: tuple[Interaction, ...]
    dropped: dict[str, float]
    retrain: Retraining | None
    curve: LearningCurve | None
    winner: Winner
    test: TestScores
    findings: tuple[Finding, ...]
    run: str | None
    mlflow: MlflowRun | None

    @property
    def ranked(self) -> list[ArmEffect]:
        """The effects, the greatest first."""
        return sorted(self.effects, key=lambda effect: -effect.effect)

    @property
    def comparisons(self) -> int:
        """For how many effects is corrected."""
        return len(self.effects) + len(self.dropped)
