"""The verdict: what each technique does to the metric, to other metrics, to single classes and slices, and to cost.

All effects come from the validation rows' predictions, row by row, since how sure a mean is depends on which rows the
seeds share; see `components.stats.paired_effects`.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from components.data.prepared import Prepared
from components.data.slices import slicings
from components.runtime.cells import DIAGNOSIS_KINDS, Diagnosis, FinishedCell
from components.stats.learning_curve import learning_curve, worth_in_data
from components.stats.metrics import METRICS, row_scores, scores
from components.stats.paired_effects import (
    CONFIDENCE,
    Effect,
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


def judge(study: Study, cells: Cells, prepared: Prepared) -> dict[str, Any]:
    """Return the verdict as JSON; only the winner's and the reference's test predictions are opened.

    Returns:
        `effects`: for each arm the fields of `components.stats.paired_effects.Effect` with `arm`, `technique`,
        `removes`,
            `arm_mean`, `cost` (training time with the technique beside without, 0.4 for 40 % longer; `cost_low`,
            `cost_high`), `worth_in_data`, `others` (the effect on the other metrics, positive where it improves them)
            and `by_slice` (on accuracy, in the order of `slices`; None where there are too few rows);
        `slices`: name and validation rows, in the mean over seeds;
        `harms`: slices in which a technique costs accuracy for sure (Holm over all arms and slices), though it is not
            judged to hurt as a whole;
        `dropped`: the arms that the screening for a budget left out, each with its effect there; they are counted among
            the comparisons that are corrected for;
        `interactions`: with `pairs`, how much more a technique brings beside another one than without it;
        `seconds`: of training a cell, by arm;
        `retrain`: None; of a retraining `evaluate` puts here what `components.registry.retrain` found, and `changes`;
        and `reference`, `winner`, `test`, `curve`, `findings`.
    """
    metric, schema = study.metric, prepared.schema
    sign = METRICS[metric].sign
    comparison = Comparison(study, cells, prepared)
    reference, *others = study.expand()
    arms = [arm for arm in others if not arm.is_size and not arm.pair]
    means = {arm: float(np.mean([cell.result.validation[metric] for cell in of])) for arm, of in cells.items()}
    curve = _curve([reference, *others], cells, prepared, metric)
    effects, harms, slices = _effects(study, arms, comparison, prepared)
    for effect, arm in zip(effects, arms, strict=True):
        effect |= {"arm_mean": means[arm.name], **_cost(arm, cells)}
        effect["worth_in_data"] = worth_in_data(curve, effect["effect"], arm.removes) if curve else None
    # The first of equals: the reference comes first, and is not given up for nothing. Fewer rows win nothing.
    able = [reference.name, *(arm.name for arm in others if not arm.is_size)]
    winner = max(able, key=lambda arm: sign * means[arm])
    ends = interval(comparison.paired(comparison.reference[metric]))
    low, high = sorted(sign * end for end in ends if end is not None) or (None, None)
    return {
        "study": study.study,
        "metric": metric,
        "higher_is_better": METRICS[metric].higher_is_better,
        "seeds": study.seeds,
        "train_rows": schema.splits["train"],
        "validation_rows": schema.splits["validation"],
        "reference": {"mean": means[REFERENCE], "low": low, "high": high, "seconds": _seconds(cells[REFERENCE])},
        "seconds": {arm: _seconds(of) for arm, of in cells.items()},
        "effects": effects,
        "slices": slices,
        "harms": harms,
        "interactions": _interactions(study, [arm for arm in others if arm.pair], comparison),
        "dropped": study.screening.dropped,
        "retrain": None,
        "curve": curve,
        "winner": {
            "arm": winner,
            "mean": means[winner],
            "seed": typical(cells, metric)[winner].result.seed,
        },
        "test": _test_scores(cells, winner, prepared, metric),
        "findings": gather_findings(cells),
    }


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


def gather_findings(cells: Cells) -> list[dict[str, Any]]:
    """Return what was wrong in the training of each arm, see `components.training.diagnosis`.

    Returns:
        For each arm and kind, in the order of the arms, the gravest first: `arm`, `diagnosis` (of its first seed),
        `seeds` (in how many) and `cures`: for the reference, the arms in which nothing is wrong.
    """
    found: dict[str, dict[str, list[Diagnosis]]] = {}  # by arm and kind
    for arm, of_arm in cells.items():
        found[arm] = {}
        for diagnosis in (diagnosis for cell in of_arm for diagnosis in cell.result.findings):
            found[arm].setdefault(diagnosis.kind, []).append(diagnosis)
    sound = [arm for arm, kinds in found.items() if not kinds]
    return [
        {
            "arm": arm,
            "diagnosis": asdict(kinds[kind][0]),
            "seeds": len(kinds[kind]),
            "cures": sound if arm == REFERENCE else [],
        }
        for arm, kinds in found.items()
        for kind in DIAGNOSIS_KINDS
        if kind in kinds
    ]


def _effects(
    study: Study, arms: list[Arm], comparison: Comparison, prepared: Prepared
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the effects, the harms and the slices; one arm's scores are in memory at a time."""
    cut = slicings(prepared, study.slices)
    names = [part.name for slicing in cut for part in slicing.slices]
    sizes = np.concatenate(
        [
            np.mean(
                [np.bincount(slicing.codes[rows], minlength=len(slicing.slices)) for rows in comparison.rows], axis=0
            )
            for slicing in cut
        ]
    )
    rows = prepared.schema.splits["validation"]
    main: list[Paired] = []
    effects: list[dict[str, Any]] = []
    in_slices: list[list[Paired]] = []
    for arm in arms:
        scored = comparison.scores(arm.name)
        direction = -1 if arm.removes else 1
        gains = {
            metric: [direction * (ours - theirs) for ours, theirs in zip(of, comparison.reference[metric], strict=True)]
            for metric, of in scored.items()
        }
        pairs = {metric: comparison.paired(of) for metric, of in gains.items()}
        main.append(pairs.pop(study.metric))
        in_slices.append(
            [
                of_slice
                for slicing in cut
                for of_slice in paired_in_slices(
                    comparison.rows, gains["accuracy"], comparison.units, slicing.codes, len(slicing.slices)
                )
            ]
        )
        others = {of: _small(measure(pair, METRICS[of].resolution(rows))) for of, pair in pairs.items()}
        effects.append({"arm": arm.name, "technique": arm.technique, "removes": arm.removes, "others": others})
    judged = compare(main, METRICS[study.metric].resolution(rows), len(main) + len(study.screening.dropped))
    for effect, of in zip(effects, judged, strict=True):
        effect |= asdict(of)
    enough = [
        size >= SLICE_ROWS and all(np.isfinite(of[place].values).all() for of in in_slices)
        for place, size in enumerate(sizes)
    ]
    for effect, of_arm in zip(effects, in_slices, strict=True):
        effect["by_slice"] = [
            float(of.values.mean()) if able else None for of, able in zip(of_arm, enough, strict=True)
        ]
    slices = [{"name": name, "rows": float(size)} for name, size in zip(names, sizes, strict=True)]
    return effects, _harms(effects, in_slices, slices, enough), slices


def _harms(
    effects: list[dict[str, Any]], in_slices: list[list[Paired]], slices: list[dict[str, Any]], enough: list[bool]
) -> list[dict[str, Any]]:
    """Return the slices that a technique makes worse for sure, the worst first."""
    places = [place for place, able in enumerate(enough) if able]
    tested = [
        (effect, slices[place]["name"], measure(of_arm[place], 1 / slices[place]["rows"]))
        for effect, of_arm in zip(effects, in_slices, strict=True)
        for place in places
    ]
    corrected = holm([of.p for _, _, of in tested])
    found = [
        {"arm": effect["arm"], "technique": effect["technique"], "slice": name, **_small(of), "p_holm": p_holm}
        for (effect, name, of), p_holm in zip(tested, corrected, strict=True)
        if p_holm is not None and p_holm < 1 - CONFIDENCE and of.effect < 0 and effect["verdict"] != "hurt"
    ]
    return sorted(found, key=lambda harm: harm["effect"])


def _interactions(study: Study, arms: list[Arm], comparison: Comparison) -> list[dict[str, Any]]:
    """Return for every pair how much more one technique brings beside the other than without it.

    Of a design with two factors that is the interaction: both - only one - only the other + neither. It is the same
    whether the pair adds the two to the reference or removes them.
    """
    metric = study.metric
    technique = {arm.name: arm.technique for arm in study.expand()}
    found, told = [], []
    for arm in arms:
        assert arm.pair
        ours = comparison.scores(arm.name)[metric]
        first, second = (comparison.scores(name)[metric] for name in arm.pair)
        of_seeds = zip(comparison.reference[metric], first, second, ours, strict=True)
        found.append(comparison.paired([one - a - b + both for one, a, b, both in of_seeds]))
        told.append({"arm": arm.name, "techniques": [technique[name] for name in arm.pair]})
    resolution = METRICS[metric].resolution(int(np.mean([len(rows) for rows in comparison.rows])))
    return [{**one, **asdict(effect)} for one, effect in zip(told, compare(found, resolution), strict=True)]


def _small(effect: Effect) -> dict[str, Any]:
    return {name: getattr(effect, name) for name in ("effect", "low", "high", "p", "probability")}


def _curve(arms: list[Arm], cells: Cells, prepared: Prepared, metric: str) -> dict[str, Any] | None:
    """Return the learning curve of the reference and of the arms that only have fewer rows; None without any."""
    sizes = {len(prepared.split(0, arm.recipe.data)[0]): arm for arm in arms if arm.is_size or arm.name == REFERENCE}
    if len(sizes) < 2:
        return None
    values = {
        rows: np.array([cell.result.validation[metric] for cell in cells[arm.name]]) for rows, arm in sizes.items()
    }
    errors = {rows: 1 - of if METRICS[metric].higher_is_better else of for rows, of in values.items()}
    overlap = prepared.schema.splits["validation"] / prepared.schema.splits["train"]
    curve = learning_curve(errors, len(prepared.split(0, arms[0].recipe.data)[0]), overlap)
    for point in curve["points"]:
        point["arm"] = sizes[point["rows"]].name
    return curve


def _test_scores(cells: Cells, winner: str, prepared: Prepared, metric: str) -> dict[str, Any]:
    y = np.asarray(prepared.y[prepared.test_rows])
    found: dict[str, Any] = {"rows": len(y)}
    for who, arm in (("reference", REFERENCE), ("winner", winner)):
        per_seed = [scores(cell.probabilities("test"), y) for cell in cells[arm]]
        means = {name: float(np.mean([one[name] for one in per_seed])) for name in per_seed[0]}
        found[who] = {**means, "per_seed": [one[metric] for one in per_seed]}
    return found


def _seconds(cells: list[FinishedCell]) -> float:
    return float(np.mean([cell.result.seconds for cell in cells]))


def _cost(arm: Arm, cells: Cells) -> dict[str, float | None]:
    """Return how much longer training takes with the technique than without, and the 95 % interval of that.

    Times are ratios, so it is the mean of their logarithms; no seed shares its time with another.
    """
    with_it, without = cells[arm.name], cells[REFERENCE]
    if arm.removes:
        with_it, without = without, with_it
    logs = np.log([a.result.seconds / b.result.seconds for a, b in zip(with_it, without, strict=True)])
    low, high = interval(Paired(logs, 0.0))
    ends = {"cost": float(logs.mean()), "cost_low": low, "cost_high": high}
    return {name: None if end is None else float(np.expm1(end)) for name, end in ends.items()}
