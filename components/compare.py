"""Paired statistics: what a technique's effect is, and how sure that is.

A seed gives every arm the same split, order and random numbers, so the difference between two arms is taken seed by
seed. The seeds' train sets overlap: validation rows are redrawn from the same rest. Plain t intervals ignore that and
are too narrow. The corrected resampled t test (Nadeau and Bengio 2003, "Inference for the Generalization Error") widens
the variance of the mean from s²/k to s² (1/k + validation rows / train rows).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

Verdict = Literal["helped", "hurt", "no evidence", "too few seeds"]

CONFIDENCE = 0.95
LEANING = 0.9  # a probability to help (or to hurt) from which more seeds are worth their time
MOST_SEEDS = 100  # more than this are not recommended to anybody


@dataclass(frozen=True)
class Effect:
    """The effect of one technique: positive where it improves the metric.

    Attributes:
        differences: one per seed.
        effect: their mean.
        low, high: 95 % interval of the effect; None with one seed.
        p: two-sided p value of "no effect"; None with one seed.
        probability: that the effect is above zero, with a flat prior; None with one seed.
        p_holm: p corrected for the number of arms (Holm 1979).
        verdict: in words.
        seeds_needed: how many seeds would decide, if further seeds are like these; None where none would.
    """

    differences: tuple[float, ...]
    effect: float
    low: float | None
    high: float | None
    p: float | None
    probability: float | None
    p_holm: float | None = None
    verdict: Verdict = "no evidence"
    seeds_needed: int | None = None


def compare(differences: Sequence[Sequence[float]], overlap: float, resolution: float) -> list[Effect]:
    """Judge the arms of a study together.

    Args:
        differences: for each arm its differences by seed, positive where the technique improves the metric.
        overlap: validation rows divided by train rows.
        resolution: the smallest step of the metric (one row of the validation rows); 0 for a continuous one.

    Returns:
        One effect per arm, in the same order.
    """
    spreads = [_spread(values, resolution) for values in differences]
    effects = [_effect(values, spread, overlap) for values, spread in zip(differences, spreads, strict=True)]
    corrected = holm([effect.p for effect in effects])
    judged = []
    for effect, spread, p_holm in zip(effects, spreads, corrected, strict=True):
        needed = seeds_needed(effect.effect, spread, overlap, len(effects))
        judged.append(_judge(effect, p_holm, needed))
    return judged


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's corrected p values (Holm 1979); None stays None."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        corrected[i] = highest
    return corrected


def interval(values: Sequence[float], overlap: float) -> tuple[float, float] | tuple[None, None]:
    """Return the 95 % interval of the mean of values from overlapping train sets; None with one value."""
    if len(values) < 2:
        return None, None
    half = _half_width(float(np.std(values, ddof=1)), len(values), overlap, 1 - CONFIDENCE)
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def seeds_needed(effect: float, spread: float, overlap: float, arms: int) -> int | None:
    """Return the fewest seeds (to `MOST_SEEDS`) with which an effect and spread like these pass Bonferroni's bound.

    Bonferroni's bound is that of the smallest p value under Holm: what decides in the worst case.
    """
    for seeds in range(2, MOST_SEEDS + 1):
        if abs(effect) > _half_width(spread, seeds, overlap, (1 - CONFIDENCE) / arms):
            return seeds
    return None


def _spread(differences: Sequence[float], resolution: float) -> float:
    """Return the standard deviation over seeds, but no less than what rounding to whole rows hides.

    A few seeds often have the same difference (one row, say) by chance: their spread of 0 would make it certain. Half a
    row keeps five such seeds near the sign test's p of 0.06. Equal differences of a continuous metric are an accident
    too; their own size is the only scale there is.
    """
    if len(differences) < 2:
        return math.nan
    size = abs(float(np.mean(differences)))
    all_equal = float(np.ptp(differences)) <= 1e-6 * size
    return max(float(np.std(differences, ddof=1)), resolution / 2, size if all_equal and not resolution else 0.0)


def _half_width(spread: float, seeds: int, overlap: float, alpha: float) -> float:
    return float(stats.t.ppf(1 - alpha / 2, seeds - 1)) * spread * math.sqrt(1 / seeds + overlap)


def _effect(differences: Sequence[float], spread: float, overlap: float) -> Effect:
    values, mean = tuple(float(value) for value in differences), float(np.mean(differences))
    if len(values) < 2:
        return Effect(values, mean, None, None, None, None)
    if spread == 0:  # a continuous metric without any difference: the arm is the reference
        return Effect(values, mean, mean, mean, float(mean == 0), 0.5 if mean == 0 else float(mean > 0))
    half = _half_width(spread, len(values), overlap, 1 - CONFIDENCE)
    t = mean / (spread * math.sqrt(1 / len(values) + overlap))
    freedom = len(values) - 1
    return Effect(
        values, mean, mean - half, mean + half, float(2 * stats.t.sf(abs(t), freedom)), float(stats.t.cdf(t, freedom))
    )


def _judge(effect: Effect, p_holm: float | None, needed: int | None) -> Effect:
    """Put the effect into words.

    Helped or hurt: significant after Holm. Too few seeds: it leans one way, and a number of seeds that can be asked for
    would decide. No evidence: all else.
    """
    seeds = len(effect.differences)
    if p_holm is None or effect.probability is None:
        return _with(effect, p_holm, "too few seeds", None)
    if p_holm < 1 - CONFIDENCE:
        return _with(effect, p_holm, "helped" if effect.effect > 0 else "hurt", None)
    leans = max(effect.probability, 1 - effect.probability) >= LEANING
    if leans and needed is not None:
        return _with(effect, p_holm, "too few seeds", max(needed, seeds + 1))
    return _with(effect, p_holm, "no evidence", None)


def _with(effect: Effect, p_holm: float | None, verdict: Verdict, needed: int | None) -> Effect:
    values = {**effect.__dict__, "p_holm": p_holm, "verdict": verdict, "seeds_needed": needed}
    return Effect(**values)
