"""Judges a study: cells in, verdict out.

All effects come from the validation rows' predictions, row by row, since how sure a mean is depends on which rows the
seeds share; see `components.stats.paired_effects`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from components.data.prepared import Prepared
from components.data.retraining import Retraining
from components.data.slices import Slice, Slicing, slicings
from components.evaluation.looks import Look, looks, looks_at_test_rows
from components.evaluation.verdict import (
    ArmEffect,
    Cheaper,
    Failures,
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
    Effect,
    Estimate,
    Paired,
    compare,
    interval,
    paired,
    paired_in_slices,
)
from components.study.study import REFERENCE, Arm, Study

Cells = dict[str, list[FinishedCell]]  # by arm, in the order of the seeds
Rows = list[np.ndarray]  # of each seed a number for each of its validation rows

WORTH_SAVING = 0.1  # of the training time: a cheaper recipe is named from here
SLICE_ROWS = 5  # validation rows that a slice has in the mean; of fewer nothing is said


class Comparison:
    """The validation rows of a study's seeds, and the arms' scores on them."""

    def __init__(self, study: Study, cells: Cells, prepared: Prepared):
        """Read which rows each seed validates on, and score the reference."""
        self.cells = cells
        self.rows = [prepared.split(seed)[1] for seed in range(study.seeds)]
        self.y = np.asarray(prepared.y)
        self.units = np.asarray(prepared.units)
        self.reference = self.scores(REFERENCE)

    def scores(self, arm: str) -> dict[str, Rows]:
        """Return each metric of an arm by seed and row; higher is better in all of them."""
        found: dict[str, Rows] = {}
        for rows, cell in zip(self.rows, self.cells[arm], strict=False):  # an arm may have fewer seeds
            for metric, of_rows in row_scores(cell.probabilities("validation"), self.y[rows]).items():
                found.setdefault(metric, []).append(METRICS[metric].sign * of_rows)
        return found

    def sound(self, *arms: str) -> list[int]:
        """Return the places of the seeds with which none of these has diverged, or all if none is left."""
        cells = [self.cells[arm] for arm in (REFERENCE, *arms)]
        places = range(min(map(len, cells)))
        return [place for place in places if not any(has_diverged(of[place]) for of in cells)] or list(places)

    def gains(self, arm: Arm) -> dict[str, Rows]:
        """Return what the arm's technique brings to each metric, by its sound seeds and their rows."""
        direction, places = -1 if arm.removes else 1, self.sound(arm.name)
        return {
            metric: [direction * (ours[place] - self.reference[metric][place]) for place in places]
            for metric, ours in self.scores(arm.name).items()
        }

    def paired(self, of_seeds: Rows, places: Sequence[int] | None = None) -> Paired:
        """Return what `components.stats.paired_effects` needs of a score, or of a difference."""
        rows = self.rows if places is None else [self.rows[place] for place in places]
        return paired(rows, of_seeds, self.units)


@dataclass(frozen=True)
class _Gain:
    """What an arm's technique brings: to each metric, and to accuracy by slice."""

    by_metric: dict[str, Paired]
    in_slices: list[Paired]


def judge(
    study: Study,
    cells: Cells,
    prepared: Prepared,
    run: str | None = None,
    mlflow: MlflowRun | None = None,
    retrain: Retraining | None = None,
    earlier: Sequence[Look] = (),
) -> Verdict:
    """Return the verdict; only the winner's and the reference's test predictions are opened.

    Args:
        study: what was run.
        cells: of all its arms.
        prepared: the data.
        run: the run's unique name.
        mlflow: where it is logged.
        retrain: why it retrains what it does.
        earlier: what was looked at before.
    """
    metric, comparison = study.metric, Comparison(study, cells, prepared)
    reference, *others = study.expand()
    arms = [arm for arm in others if not arm.is_size and not arm.pair]
    means = {arm: _mean(of, metric) for arm, of in cells.items()}
    curve = _curve([reference, *others], cells, prepared, metric)
    cut = slicings(prepared, study.slices)
    gains = [_gain(arm, comparison, cut) for arm in arms]  # one arm's scores are in memory at a time
    matters = _matters(study, cells)
    looked = looks(study, prepared.schema, run or "", earlier)
    judged = _judged(study, arms, gains, matters, prepared, looked)
    effects = _effects(study, arms, judged, gains, cells, curve, looked)
    slices, harms, effects = _by_slice(effects, gains, _sizes(cut, comparison.rows))
    winner = _winner(effects)
    return Verdict(
        study=study.study,
        metric=metric,
        decided_by=study.decided_by,
        matters=matters[study.decided_by],
        seeds=study.seeds,
        train_rows=prepared.schema.splits["train"],
        validation_rows=prepared.schema.splits["validation"],
        reference=_reference(means[REFERENCE], metric, comparison),
        seconds={arm: _seconds(of) for arm, of in cells.items()},
        effects=effects,
        slices=slices,
        harms=harms,
        interactions=_interactions(study, [arm for arm in others if arm.pair], comparison, matters, looked),
        planned=study.planned,
        retrain=retrain,
        curve=curve,
        winner=Winner(winner, means[winner], typical(cells, metric)[winner].result.seed),
        cheaper=_cheaper(arms, effects, cells, winner),
        failures=_failures(cells[REFERENCE]),
        test=_test_scores(cells, winner, prepared, metric, looks_at_test_rows(prepared.schema, run or "", earlier)),
        findings=gather_findings(cells),
        run=run,
        mlflow=mlflow,
    )


def has_diverged(cell: FinishedCell) -> bool:
    """Tell whether a training came to nothing: its score says nothing of the technique, but that this can happen."""
    return cell.result.diverged is not None or any(of.kind == "training diverges" for of in cell.result.findings)


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


def _matters(study: Study, cells: Cells) -> dict[str, float]:
    """Return the smallest difference that matters in each metric: of numbers without a unit it is relative."""
    return {
        name: study.matters * (1.0 if metric.unit else abs(_mean(cells[REFERENCE], name)))
        for name, metric in METRICS.items()
    }


def _sizes(cut: Sequence[Slicing], rows: Rows) -> list[tuple[Slice, float]]:
    """Return the slices, the classes and then the values of each column, with their mean numbers of validation rows."""
    found: list[tuple[Slice, float]] = []
    for slicing in cut:
        of_seeds = [np.bincount(slicing.codes[of_seed], minlength=len(slicing.slices)) for of_seed in rows]
        found += zip(slicing.slices, np.mean(of_seeds, axis=0).tolist(), strict=True)
    return found


def _gain(arm: Arm, comparison: Comparison, cut: Sequence[Slicing]) -> _Gain:
    places, gains = comparison.sound(arm.name), comparison.gains(arm)
    rows = [comparison.rows[place] for place in places]
    in_slices = [
        of_slice
        for slicing in cut
        for of_slice in paired_in_slices(rows, gains["accuracy"], comparison.units, slicing.codes, len(slicing.slices))
    ]
    return _Gain({metric: comparison.paired(of, places) for metric, of in gains.items()}, in_slices)


def _judged(
    study: Study,
    arms: list[Arm],
    gains: list[_Gain],
    matters: dict[str, float],
    prepared: Prepared,
    looked: Mapping[str, Look],
) -> dict[str, list[Effect]]:
    """Return the effects on each metric; the intervals of one hold all at once."""
    rows = prepared.schema.splits["validation"]
    removes = [arm.removes for arm in arms]
    return {
        name: compare(
            [gain.by_metric[name] for gain in gains],
            metric.resolution(rows),
            matters[name],
            alphas=[looked[arm.name].may_miss for arm in arms],
            most=_most(name),
            removes=removes,
            then=study.planned,
        )
        for name, metric in METRICS.items()
    }


def _effects(
    study: Study,
    arms: list[Arm],
    judged: dict[str, list[Effect]],
    gains: list[_Gain],
    cells: Cells,
    curve: LearningCurve | None,
    looked: Mapping[str, Look],
) -> tuple[ArmEffect, ...]:
    """Return the effects; those by slice are the means alone."""
    found: list[ArmEffect] = []
    for place, (arm, gain) in enumerate(zip(arms, gains, strict=True)):
        cost, cost_low, cost_high = _cost(arm, cells)
        others = {name: _estimate(of[place]) for name, of in judged.items() if name != study.decided_by}
        on_metric = judged[study.metric][place].effect
        found.append(
            ArmEffect(
                **vars(judged[study.decided_by][place]),
                arm=arm.name,
                technique=arm.technique,
                removes=arm.removes,
                arm_mean=_mean(cells[arm.name], study.metric),
                cost=cost,
                cost_low=cost_low,
                cost_high=cost_high,
                worth_in_data=worth_in_data(curve, on_metric, arm.removes) if curve else None,
                failures=_failures(cells[arm.name]),
                look=looked[arm.name],
                others=others,
                by_slice=tuple(float(of.values.mean()) for of in gain.in_slices),
            )
        )
    return tuple(found)


def _by_slice(
    effects: tuple[ArmEffect, ...], gains: Sequence[_Gain], sizes: Sequence[tuple[Slice, float]]
) -> tuple[tuple[ValidationSlice, ...], tuple[Harm, ...], tuple[ArmEffect, ...]]:
    """Return the slices, what a technique surely harms (the worst first), and the effects without what is not known."""
    able = [
        place
        for place, (_, rows) in enumerate(sizes)
        if rows >= SLICE_ROWS and all(np.isfinite(gain.in_slices[place].values).all() for gain in gains)
    ]
    of_places: dict[int, list[Effect]] = {}
    for place in able:  # the slices differ in size, so each has a resolution of its own
        of_slice = [gain.in_slices[place] for gain in gains]
        count = len(able) * len(gains)
        alphas = [effect.look.may_miss for effect in effects]
        of_places[place] = compare(of_slice, 1 / sizes[place][1], alphas=alphas, comparisons=count, most=1.0)
    slices = tuple(
        ValidationSlice(
            part.column,
            part.value,
            rows,
            max((of.detectable for of in of_places.get(place, ()) if of.detectable is not None), default=None),
        )
        for place, (part, rows) in enumerate(sizes)
    )
    harms = [
        Harm(**vars(_estimate(of)), arm=effect.arm, technique=effect.technique, slice=slices[place])
        for place, of_slice in of_places.items()
        for effect, of in zip(effects, of_slice, strict=True)
        if of.verdict == "hurt" and effect.verdict != "hurt"
    ]
    known = tuple(
        replace(effect, by_slice=tuple(value if i in of_places else None for i, value in enumerate(effect.by_slice)))
        for effect in effects
    )
    return slices, tuple(sorted(harms, key=lambda harm: harm.effect)), known


def _winner(effects: Sequence[ArmEffect]) -> str:
    """Return the best of the arms that are shown to be better than the reference, and do not diverge; else that.

    The best mean of some equal arms is the luckiest: of eight that change nothing one looks better eight times in nine.
    """
    better = {
        effect.arm: abs(effect.effect)
        for effect in effects
        if effect.verdict == ("hurt" if effect.removes else "helped") and effect.failures is None
    }
    return max(better, key=better.__getitem__, default=REFERENCE)


def _cheaper(arms: list[Arm], effects: Sequence[ArmEffect], cells: Cells, winner: str) -> Cheaper | None:
    """Return the cheapest arm that makes no difference and surely saves time; None beside a winner that is better."""
    if winner != REFERENCE:
        return None
    found: list[Cheaper] = []
    for arm, effect in zip(arms, effects, strict=True):
        slowest = effect.cost_low if arm.removes else effect.cost_high  # the end that saves least
        if effect.verdict == "no difference" and effect.failures is None and slowest is not None:
            least = 1 - 1 / (1 + slowest) if arm.removes else -slowest
            if least >= WORTH_SAVING:
                found.append(Cheaper(arm.name, 1 - _seconds(cells[arm.name]) / _seconds(cells[REFERENCE])))
    return max(found, key=lambda of: of.saves, default=None)


def _failures(cells: list[FinishedCell]) -> Failures | None:
    """Return how many trainings diverged; None where none has."""
    failed = sum(map(has_diverged, cells))
    if not failed:
        return None
    found = stats.binomtest(failed, len(cells)).proportion_ci(method="exact")
    return Failures(failed, len(cells), float(found.low), float(found.high))


def _interactions(
    study: Study, arms: list[Arm], comparison: Comparison, matters: dict[str, float], looked: Mapping[str, Look]
) -> tuple[Interaction, ...]:
    """Return for every pair how much more one technique brings beside the other than without it.

    Of a design with two factors that is the interaction: both - only one - only the other + neither. It is the same
    whether the pair adds the two to the reference or removes them.
    """
    metric = study.decided_by
    technique = {arm.name: arm.technique for arm in study.expand()}
    found: list[Paired] = []
    for arm in arms:
        assert arm.pair
        places = comparison.sound(arm.name, *arm.pair)
        ours = comparison.scores(arm.name)[metric]
        first, second = (comparison.scores(name)[metric] for name in arm.pair)
        of_seeds = list(zip(comparison.reference[metric], first, second, ours, strict=False))
        differences = [one - a - b + both for one, a, b, both in (of_seeds[place] for place in places)]
        found.append(comparison.paired(differences, places))
    resolution = METRICS[metric].resolution(int(np.mean([len(rows) for rows in comparison.rows])))
    alphas = [looked[arm.name].may_miss for arm in arms]
    judged = compare(found, resolution, matters[metric], alphas=alphas, most=2 * _most(metric))
    return tuple(
        Interaction(**vars(effect), arm=arm.name, techniques=(technique[arm.pair[0]], technique[arm.pair[1]]))
        for arm, effect in zip(arms, judged, strict=True)
        if arm.pair
    )


def _most(metric: str) -> float:
    """Return the greatest difference that there can be in a metric: shares end at 0 and 1."""
    return 1.0 if METRICS[metric].unit else np.inf


def _estimate(effect: Effect) -> Estimate:
    return Estimate(effect.effect, effect.low, effect.high)


def _mean(cells: list[FinishedCell], metric: str) -> float:
    return float(np.mean([cell.result.validation[metric] for cell in cells]))


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
    of = interval(comparison.paired(comparison.reference[metric]))
    ends = sorted(METRICS[metric].sign * end for end in (of.low, of.high) if end is not None)
    low, high = ends or (None, None)
    if METRICS[metric].unit and low is not None and high is not None:
        low, high = max(low, 0.0), min(high, 1.0)
    return Reference(mean, low, high, _seconds(comparison.cells[REFERENCE]))


def _test_scores(cells: Cells, winner: str, prepared: Prepared, metric: str, looks_before: int) -> TestScores:
    y = np.asarray(prepared.y[prepared.test_rows])
    means: dict[str, dict[str, float]] = {}
    per_seed: dict[str, tuple[float, ...]] = {}
    for who, arm in (("reference", REFERENCE), ("winner", winner)):
        of_seeds = [scores(cell.probabilities("test"), y) for cell in cells[arm]]
        means[who] = {name: float(np.mean([one[name] for one in of_seeds])) for name in of_seeds[0]}
        per_seed[who] = tuple(one[metric] for one in of_seeds)
    gain = None
    if winner != REFERENCE:
        row = METRICS[metric]
        pairs = zip(cells[winner], cells[REFERENCE], strict=False)
        gains = [
            row.sign * (row.by_row(ours.probabilities("test"), y) - row.by_row(theirs.probabilities("test"), y))
            for ours, theirs in pairs
        ]
        rows = [np.arange(len(y))] * len(gains)
        units = np.asarray(prepared.units)[prepared.test_rows]
        units = np.unique(units, return_inverse=True)[1]
        gain = interval(paired(rows, gains, units), row.resolution(len(y)), _most(metric))
    return TestScores(len(y), looks_before, means["reference"], means["winner"], per_seed, gain)


def _seconds(cells: list[FinishedCell]) -> float:
    return float(np.mean([cell.result.seconds for cell in cells]))


def _cost(arm: Arm, cells: Cells) -> tuple[float, float | None, float | None]:
    """Return how much longer training takes with the technique than without, and the 95 % interval of that.

    Times are ratios, so it is the mean of their logarithms; no seed shares its time with another.
    """
    with_it, without = cells[arm.name], cells[REFERENCE][: len(cells[arm.name])]
    if arm.removes:
        with_it, without = without, with_it
    logs = np.log([a.result.seconds / b.result.seconds for a, b in zip(with_it, without, strict=True)])
    of = interval(Paired(logs))
    if of.low is None or of.high is None:
        return float(np.expm1(of.effect)), None, None
    return float(np.expm1(of.effect)), float(np.expm1(of.low)), float(np.expm1(of.high))
