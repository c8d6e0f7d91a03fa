"""Judges a study: cells in, verdict out.

All effects come from the validation rows' predictions, row by row, since how sure a mean is depends on which rows the
seeds share; see `components.stats.paired_effects`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.data.prepared import Prepared
from components.data.retraining import Retraining
from components.data.slices import Slicing, slicings
from components.evaluation.verdict import (
    ArmEffect,
    Finding,
    Harm,
    Interaction,
    MlflowRun,
    Reference,
    TestScores,
    ValidationSlice,
    Verdict,
    Winner,
)
from components.runtime.cells import DIAGNOSIS_KINDS, Diagnosis, FinishedCell
from components.stats.learning_curve import LearningCurve, learning_curve, worth_in_data
from components.stats.metrics import METRICS, row_scores, scores
from components.stats.paired_effects import (
    CONFIDENCE,
    Effect,
    Estimate,
    Paired,
    compare,
    holm,
    interval,
    measure,
    paired,
    paired_in_slices,
)
from components.study.study import REFERENCE, Arm, Study

Cells = dict[str, list[FinishedCell]]  # by arm, in the order of the seeds
Rows = list[np.ndarray]  # of each seed a number for each of its validation rows

SLICE_ROWS = 5  # validation rows that a slice has in the mean; of fewer nothing is said


class Comparison:
    """The validation rows of a study's seeds, and the arms' scores on them."""

    def __init__(self, study: Study, cells: Cells, prepared: Prepared):
        """Read which rows each seed validates on, and score the reference."""
        self.cells = cells
        self.rows = [prepared.split(seed)[1] for seed in study.seed_numbers]
        self.y = np.asarray(prepared.y)
        self.units = np.asarray(prepared.together)
        self.reference = self.scores(REFERENCE)

    def scores(self, arm: str) -> dict[str, Rows]:
        """Return each metric of an arm by seed and row; higher is better in all of them."""
        found: dict[str, Rows] = {}
        for rows, cell in zip(self.rows, self.cells[arm], strict=True):
            for metric, of_rows in row_scores(cell.probabilities("validation"), self.y[rows]).items():
                found.setdefault(metric, []).append(METRICS[metric].sign * of_rows)
        return found

    def paired(self, of_seeds: Rows) -> Paired:
        """Return what `components.stats.paired_effects` needs of a score, or of a difference between two."""
        return paired(self.rows, of_seeds, self.units)


@dataclass(frozen=True)
class _Gain:
    """What an arm's technique brings: on the study's metric, on the others, and on accuracy by slice."""

    main: Paired
    others: dict[str, Estimate]
    in_slices: list[Paired]


def judge(
    study: Study,
    cells: Cells,
    prepared: Prepared,
    run: str | None = None,
    mlflow: MlflowRun | None = None,
    retrain: Retraining | None = None,
) -> Verdict:
    """Return the verdict; only the winner's and the reference's test predictions are opened.

    Args:
        study: what was run.
        cells: of all its arms.
        prepared: the data.
        run: the run's unique name.
        mlflow: where it is logged.
        retrain: why it retrains what it does.
    """
    metric, comparison = study.metric, Comparison(study, cells, prepared)
    reference, *others = study.expand()
    arms = [arm for arm in others if not arm.is_size and not arm.pair]
    means = {arm: float(np.mean([cell.result.validation[metric] for cell in of])) for arm, of in cells.items()}
    curve = _curve([reference, *others], cells, prepared, metric)
    cut = slicings(prepared, study.slices)
    slices = _slices(cut, comparison.rows)
    gains = [_gain(arm, study, comparison, prepared, cut) for arm in arms]  # one arm's scores are in memory at a time
    enough = [
        of.rows >= SLICE_ROWS and all(np.isfinite(gain.in_slices[place].values).all() for gain in gains)
        for place, of in enumerate(slices)
    ]
    effects = _effects(study, arms, gains, enough, means, cells, curve, prepared)
    # The first of equals: the reference comes first, and is not given up for nothing. Fewer rows win nothing.
    able = [reference.name, *(arm.name for arm in others if not arm.is_size)]
    winner = max(able, key=lambda arm: METRICS[metric].sign * means[arm])
    return Verdict(
        study=study.study,
        metric=metric,
        higher_is_better=METRICS[metric].higher_is_better,
        seeds=study.seeds,
        train_rows=prepared.schema.splits["train"],
        validation_rows=prepared.schema.splits["validation"],
        reference=_reference(means[REFERENCE], metric, comparison),
        seconds={arm: _seconds(of) for arm, of in cells.items()},
        effects=effects,
        slices=slices,
        harms=_harms(effects, gains, slices, enough),
        interactions=_interactions(study, [arm for arm in others if arm.pair], comparison),
        dropped=study.screening.dropped,
        retrain=retrain,
        curve=curve,
        winner=Winner(winner, means[winner], typical(cells, metric)[winner].result.seed),
        test=_test_scores(cells, winner, prepared, metric),
        findings=gather_findings(cells),
        run=run,
        mlflow=mlflow,
    )


def median_seed(values: Sequence[float]) -> int:
    """Return the place of the median value (the lower of two).

    Each seed has its own validation rows, so the best value is mostly the easiest rows; the median is a typical model.
    """
    return int(np.argsort(values, kind="stable")[(len(values) - 1) // 2])


def typical(cells: Cells, metric: str) -> dict[str, FinishedCell]:
    """Return the cell of each arm's median seed."""
    return {
        arm: of_arm[median_seed([cell.result.validation[metric] for cell in of_arm])] for arm, of_arm in cells.items()
    }


def gather_findings(cells: Cells) -> tuple[Finding, ...]:
    """Return what was wrong in the training of each arm, in the order of the arms, the gravest first."""
    found: dict[str, dict[str, list[Diagnosis]]] = {}  # by arm and kind
    for arm, of_arm in cells.items():
        found[arm] = {}
        for diagnosis in (diagnosis for cell in of_arm for diagnosis in cell.result.findings):
            found[arm].setdefault(diagnosis.kind, []).append(diagnosis)
    sound = tuple(arm for arm, kinds in found.items() if not kinds)
    return tuple(
        Finding(arm, kinds[kind][0], len(kinds[kind]), sound if arm == REFERENCE else ())
        for arm, kinds in found.items()
        for kind in DIAGNOSIS_KINDS
        if kind in kinds
    )


def _slices(cut: Sequence[Slicing], rows: Rows) -> tuple[ValidationSlice, ...]:
    """Return the slices: the classes, and then the values of each column."""
    found: list[ValidationSlice] = []
    for slicing in cut:
        of_seeds = [np.bincount(slicing.codes[of_seed], minlength=len(slicing.slices)) for of_seed in rows]
        for part, size in zip(slicing.slices, np.mean(of_seeds, axis=0), strict=True):
            found.append(ValidationSlice(part.column, part.value, float(size)))
    return tuple(found)


def _gain(arm: Arm, study: Study, comparison: Comparison, prepared: Prepared, cut: Sequence[Slicing]) -> _Gain:
    direction, rows = -1 if arm.removes else 1, prepared.schema.splits["validation"]
    gains = {
        metric: [direction * (ours - theirs) for ours, theirs in zip(of, comparison.reference[metric], strict=True)]
        for metric, of in comparison.scores(arm.name).items()
    }
    pairs = {metric: comparison.paired(of) for metric, of in gains.items()}
    main = pairs.pop(study.metric)
    in_slices = [
        of_slice
        for slicing in cut
        for of_slice in paired_in_slices(
            comparison.rows, gains["accuracy"], comparison.units, slicing.codes, len(slicing.slices)
        )
    ]
    return _Gain(
        main, {of: _estimate(measure(pair, METRICS[of].resolution(rows))) for of, pair in pairs.items()}, in_slices
    )


def _effects(
    study: Study,
    arms: list[Arm],
    gains: list[_Gain],
    enough: list[bool],
    means: dict[str, float],
    cells: Cells,
    curve: LearningCurve | None,
    prepared: Prepared,
) -> tuple[ArmEffect, ...]:
    """Return the effects; `enough` says of each slice whether it has enough rows in all seeds."""
    resolution = METRICS[study.metric].resolution(prepared.schema.splits["validation"])
    judged = compare([gain.main for gain in gains], resolution, len(gains) + len(study.screening.dropped))
    found: list[ArmEffect] = []
    for arm, gain, effect in zip(arms, gains, judged, strict=True):
        cost, cost_low, cost_high = _cost(arm, cells)
        by_slice = zip(gain.in_slices, enough, strict=True)
        found.append(
            ArmEffect(
                **vars(effect),
                arm=arm.name,
                technique=arm.technique,
                removes=arm.removes,
                arm_mean=means[arm.name],
                cost=cost,
                cost_low=cost_low,
                cost_high=cost_high,
                worth_in_data=worth_in_data(curve, effect.effect, arm.removes) if curve else None,
                others=gain.others,
                by_slice=tuple(float(of.values.mean()) if able else None for of, able in by_slice),
            )
        )
    return tuple(found)


def _harms(
    effects: Sequence[ArmEffect], gains: Sequence[_Gain], slices: Sequence[ValidationSlice], enough: Sequence[bool]
) -> tuple[Harm, ...]:
    """Return the slices that a technique makes significantly worse, the worst first."""
    places = [place for place, able in enumerate(enough) if able]
    tested = [
        (effect, slices[place], measure(gain.in_slices[place], 1 / slices[place].rows))
        for effect, gain in zip(effects, gains, strict=True)
        for place in places
    ]
    corrected = holm([of.p for _, _, of in tested])
    found = [
        Harm(**vars(_estimate(of)), arm=effect.arm, technique=effect.technique, slice=where, p_holm=p_holm)
        for (effect, where, of), p_holm in zip(tested, corrected, strict=True)
        if p_holm is not None and p_holm < 1 - CONFIDENCE and of.effect < 0 and effect.verdict != "hurt"
    ]
    return tuple(sorted(found, key=lambda harm: harm.effect))


def _interactions(study: Study, arms: list[Arm], comparison: Comparison) -> tuple[Interaction, ...]:
    """Return for every pair how much more one technique brings beside the other than without it.

    Of a design with two factors that is the interaction: both - only one - only the other + neither. It is the same
    whether the pair adds the two to the reference or removes them.
    """
    metric = study.metric
    technique = {arm.name: arm.technique for arm in study.expand()}
    found: list[Paired] = []
    for arm in arms:
        assert arm.pair
        ours = comparison.scores(arm.name)[metric]
        first, second = (comparison.scores(name)[metric] for name in arm.pair)
        of_seeds = zip(comparison.reference[metric], first, second, ours, strict=True)
        found.append(comparison.paired([one - a - b + both for one, a, b, both in of_seeds]))
    resolution = METRICS[metric].resolution(int(np.mean([len(rows) for rows in comparison.rows])))
    return tuple(
        Interaction(**vars(effect), arm=arm.name, techniques=(technique[arm.pair[0]], technique[arm.pair[1]]))
        for arm, effect in zip(arms, compare(found, resolution), strict=True)
        if arm.pair
    )


def _estimate(effect: Effect) -> Estimate:
    return Estimate(effect.effect, effect.low, effect.high, effect.p, effect.probability)


def _curve(arms: list[Arm], cells: Cells, prepared: Prepared, metric: str) -> LearningCurve | None:
    """Return the learning curve of the reference and of the arms that only have fewer rows; None without any."""
    sizes = {
        len(prepared.split(0, arm.recipe.data)[0]): arm.name for arm in arms if arm.is_size or arm.name == REFERENCE
    }
    if len(sizes) < 2:
        return None
    values = {rows: np.array([cell.result.validation[metric] for cell in cells[arm]]) for rows, arm in sizes.items()}
    errors = {rows: 1 - of if METRICS[metric].higher_is_better else of for rows, of in values.items()}
    overlap = prepared.schema.splits["validation"] / prepared.schema.splits["train"]
    return learning_curve(errors, len(prepared.split(0, arms[0].recipe.data)[0]), overlap, sizes)


def _reference(mean: float, metric: str, comparison: Comparison) -> Reference:
    ends = interval(comparison.paired(comparison.reference[metric]))
    low, high = sorted(METRICS[metric].sign * end for end in ends if end is not None) or (None, None)
    return Reference(mean, low, high, _seconds(comparison.cells[REFERENCE]))


def _test_scores(cells: Cells, winner: str, prepared: Prepared, metric: str) -> TestScores:
    y = np.asarray(prepared.y[prepared.test_rows])
    means: dict[str, dict[str, float]] = {}
    per_seed: dict[str, tuple[float, ...]] = {}
    for who, arm in (("reference", REFERENCE), ("winner", winner)):
        of_seeds = [scores(cell.probabilities("test"), y) for cell in cells[arm]]
        means[who] = {name: float(np.mean([one[name] for one in of_seeds])) for name in of_seeds[0]}
        per_seed[who] = tuple(one[metric] for one in of_seeds)
    return TestScores(len(y), means["reference"], means["winner"], per_seed)


def _seconds(cells: list[FinishedCell]) -> float:
    return float(np.mean([cell.result.seconds for cell in cells]))


def _cost(arm: Arm, cells: Cells) -> tuple[float, float | None, float | None]:
    """Return how much longer training takes with the technique than without, and the 95 % interval of that.

    Times are ratios, so it is the mean of their logarithms; no seed shares its time with another.
    """
    with_it, without = cells[arm.name], cells[REFERENCE]
    if arm.removes:
        with_it, without = without, with_it
    logs = np.log([a.result.seconds / b.result.seconds for a, b in zip(with_it, without, strict=True)])
    low, high = interval(Paired(logs, 0.0))
    if low is None or high is None:
        return float(np.expm1(logs.mean())), None, None
    return float(np.expm1(logs.mean())), float(np.expm1(low)), float(np.expm1(high))
