"""The verdict of a study as it is written to verdict.json: what each technique does, how sure that is, what it costs.

Effects are positive where the technique improves the metric; shares are from 0 to 1, and times are seconds.
"""

from dataclasses import dataclass
from typing import ClassVar

from components.data.retraining import Retraining
from components.data.slices import Slice
from components.evaluation.looks import Look
from components.runtime.cells import Diagnosis
from components.stats.learning_curve import LearningCurve
from components.stats.paired_effects import Effect, Estimate

WORTH_MORE = 0.02  # chance that the planned seeds decide, from which an arm is worth training further


@dataclass(frozen=True)
class ValidationSlice(Slice):
    """A slice with its number of validation rows, in the mean over the seeds."""

    rows: float
    detectable: float | None  # the smallest harm in accuracy that 80 % of studies would show; None with too few rows


@dataclass(frozen=True)
class Failures:
    """Trainings that diverged: how many of how many, and their share's 95 % interval (Clopper and Pearson 1934)."""

    failed: int
    runs: int
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ArmEffect(Effect):
    """The effect of an arm's technique on the deciding score, of the seeds whose trainings did not diverge."""

    arm: str
    technique: str  # what the arm lacks or adds
    removes: bool  # whether it lacks it
    arm_mean: float  # of the metric on validation rows, over the seeds
    cost: float  # training time with the technique beside without, 0.4 for 40 % longer
    cost_low: float | None  # its 95 % interval; None with one seed
    cost_high: float | None
    worth_in_data: (
        float | None
    )  # see `components.stats.learning_curve.worth_in_data`; None without a learning curve, too
    failures: Failures | None  # of the arm; None where it has none
    look: Look  # with how many of the planned seeds it is judged, and how often that may be wrong
    others: dict[str, Estimate]  # the effect on each of the other metrics; the intervals of one hold all at once
    by_slice: tuple[float | None, ...]  # on accuracy, in each of the verdict's slices; None where it has too few rows


@dataclass(frozen=True, kw_only=True)
class Harm(Estimate):
    """A slice in which a technique surely costs accuracy, though it is not judged to hurt as a whole.

    The intervals of all arms and slices hold at once.
    """

    arm: str
    technique: str
    slice: ValidationSlice


@dataclass(frozen=True, kw_only=True)
class Interaction(Effect):
    """How much more one technique brings beside another one than without it."""

    arm: str  # in which both are changed
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
    """The reference, or the best of the arms that are shown to be better; and the seed whose model is registered."""

    arm: str
    mean: float  # of the metric on validation rows
    seed: int


@dataclass(frozen=True)
class Cheaper:
    """An arm that makes no difference that matters to the winner's score, and is faster to train than the reference."""

    arm: str
    saves: float  # share of the reference's training time


@dataclass(frozen=True)
class TestScores:
    """The scores on the test rows."""

    rows: int
    looks: int  # how many verdicts were given on the same rows before
    reference: dict[str, float]  # each metric, the mean over the seeds
    winner: dict[str, float]
    per_seed: dict[str, tuple[float, ...]]  # of `reference` and `winner` the study's metric with each seed
    gain: Estimate | None  # how much better the winner is in the study's metric; None where the reference is it


@dataclass(frozen=True)
class Finding:
    """What was wrong in the training of an arm."""

    arm: str
    diagnosis: Diagnosis  # of its first seed that has one of this kind
    seeds: int  # in how many it was
    cures: tuple[str, ...]  # of the reference, the arms in which nothing is wrong


@dataclass(frozen=True)
class MlflowRun:
    """Where MLflow has the study's run."""

    tracking_uri: str
    experiment_id: str
    run_id: str


@dataclass(frozen=True)
class Verdict:
    """All that is shown of a study."""

    SCHEMA: ClassVar[int] = 2

    study: str
    metric: str  # that people read
    decided_by: str  # the metric that verdicts are about
    matters: float  # the smallest effect on it that matters
    seeds: int
    train_rows: int  # of a seed, as the next
    validation_rows: int
    reference: Reference
    seconds: dict[str, float]  # of training a cell, by arm
    effects: tuple[ArmEffect, ...]  # of each arm that is a technique
    slices: tuple[ValidationSlice, ...]  # in which they are looked at, too
    harms: tuple[Harm, ...]  # the worst first
    interactions: tuple[Interaction, ...]  # with `pairs`
    planned: int | None  # seeds up to which it is going to be looked at again; None where these are all
    retrain: Retraining | None
    curve: LearningCurve | None  # None where no arm has fewer rows
    winner: Winner
    cheaper: Cheaper | None
    failures: Failures | None  # of the reference
    test: TestScores
    findings: tuple[Finding, ...]  # in the order of the arms, the gravest first
    run: str | None  # its unique name; None where nothing is logged, as the next
    mlflow: MlflowRun | None

    @property
    def ranked(self) -> list[ArmEffect]:
        """The effects, the greatest first."""
        return sorted(self.effects, key=lambda effect: -effect.effect)

    def on(self, metric: str, effect: ArmEffect) -> Estimate:
        """Return an arm's effect on any metric."""
        return effect if metric == self.decided_by else effect.others[metric]

    @property
    def undecided(self) -> list[ArmEffect | Interaction]:
        """What more seeds may decide."""
        return [
            effect
            for effect in (*self.effects, *self.interactions)
            if effect.verdict in ("leans", "unknown") and (effect.chance is None or effect.chance >= WORTH_MORE)
        ]

    @property
    def goes_on(self) -> bool:
        """Whether more seeds are planned, and may decide something."""
        return self.planned is not None and self.seeds < self.planned and bool(self.undecided)
