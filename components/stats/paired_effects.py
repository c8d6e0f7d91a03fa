"""Paired statistics: what a technique's effect is, and how sure that is.

A seed gives every arm the same split, order and random numbers, so the difference between two arms is taken seed by
seed. The seeds are not independent: validation rows are redrawn from the same rest, so two seeds are partly scored on
the same rows. A plain t interval ignores that and is too narrow. The corrected resampled t test (Nadeau and Bengio
2003, "Inference for the Generalization Error") supposes the most that the rows can do, and is too wide where random
numbers, and not rows, make the difference; that is the usual case with networks (Bouthillier et al. 2021, "Accounting
for Variance in Machine Learning Benchmarks").

Here it is measured. Seeds and rows are two crossed random effects, as readers and cases are in a study of many readers
and many cases (Gallas 2006, "One-shot estimate of MRMC variance: AUC"). The products of what two seeds say of the same
rows give, by the method of moments, the covariance `shared` of two seeds' differences, so the mean of k of them has the
variance s² / k + shared. Simulated studies in which the truth is known are in
tests/components/stats/test_statistics.py.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Literal

import numpy as np
from scipy import special, stats
from scipy.optimize import brentq

Conclusion = Literal["helped", "hurt", "no evidence", "too few seeds"]

CONFIDENCE = 0.95
POWER = 0.8  # how often an effect of the size that is called detectable would be found
LEANING = 0.9  # a probability to help (or to hurt) from which more seeds are worth their time
STEPS = 400  # of a probability, over which power is a mean
MOST_SEEDS = 100  # more than this are not recommended to anybody


@dataclass(frozen=True)
class Paired:
    """A number for each seed, and what any two of them have in common."""

    values: np.ndarray  # (seeds,)
    shared: float  # covariance of two seeds' values that comes from the rows both are scored on; at least 0


@dataclass(frozen=True)
class Estimate:
    """An effect, and how sure it is; with one seed nothing but the effect is known."""

    effect: float  # the mean over the seeds
    low: float | None  # the 95 % interval
    high: float | None
    p: float | None  # two-sided, of "no effect"
    probability: float | None  # that the effect is above zero, with a flat prior


@dataclass(frozen=True, kw_only=True)
class Effect(Estimate):
    """The effect of one technique: positive where it improves the metric."""

    differences: tuple[float, ...]  # one per seed
    shared: float = 0.0  # see `Paired`
    detectable: float | None = None  # the smallest effect that so many seeds show in `POWER` of studies
    p_holm: float | None = None  # p corrected for the number of arms (Holm 1979)
    verdict: Conclusion = "no evidence"
    # How many seeds would decide in `POWER` of studies, if further seeds are like these; None where none would.
    seeds_needed: int | None = None


def paired(rows: Sequence[np.ndarray], scores: Sequence[np.ndarray], units: np.ndarray) -> Paired:
    """Return the mean of each seed's scores, and what two seeds share.

    Args:
        rows: of each seed int64 (validation rows,), their numbers.
        scores: of each seed float64 (validation rows,), such as the difference between two arms.
        units: int64 (all rows,), the same number for rows that are always drawn together.
    """
    return paired_in_slices(rows, scores, units, np.zeros(len(units), np.int64), 1)[0]


def paired_in_slices(
    rows: Sequence[np.ndarray], scores: Sequence[np.ndarray], units: np.ndarray, codes: np.ndarray, count: int
) -> list[Paired]:
    """Return for each slice of the rows what `paired` says of it; NaN for a seed without rows of the slice.

    `codes` is int64 (all rows,), the number of the slice that a row is in, and `count` how many slices there are.
    """
    sizes = [np.bincount(codes[of_seed], minlength=count) for of_seed in rows]
    with np.errstate(invalid="ignore"):
        values = np.array([np.bincount(codes[r], s, count) / n for r, s, n in zip(rows, scores, sizes, strict=True)])
    means = np.nan_to_num(values.mean(axis=0))
    # The rows of a unit may be in several slices: what they add up to in each of them.
    keys, unit = np.unique(codes * (int(units.max()) + 1) + units, return_inverse=True)
    slice_of = keys // (int(units.max()) + 1)
    total, own = np.zeros(len(keys)), np.zeros(len(keys))
    for numbers, of_seed, size in zip(rows, scores, sizes, strict=True):
        mine = codes[numbers]
        part = np.bincount(unit[numbers], (of_seed - means[mine]) / size[mine], len(keys))
        total += part
        own += part**2
    pairs = max(len(values) * (len(values) - 1), 1)
    shared = np.maximum(np.bincount(slice_of, total**2 - own, count) / pairs, 0.0)
    return [Paired(of_slice, float(of)) for of_slice, of in zip(values.T, shared, strict=True)]


def compare(arms: Sequence[Paired], resolution: float, comparisons: int | None = None) -> list[Effect]:
    """Judge the arms of a study together.

    Args:
        arms: for each its differences by seed, positive where the technique improves the metric.
        resolution: the smallest step of the metric (one row of the validation rows); 0 for a continuous one.
        comparisons: for how many to correct; as many as there are arms by default.

    Returns:
        One effect per arm, in the same order.
    """
    count = comparisons or len(arms)
    effects = [measure(arm, resolution) for arm in arms]
    judged: list[Effect] = []
    for arm, effect, p_holm in zip(arms, effects, holm([effect.p for effect in effects], count), strict=True):
        spread = _spread(arm.values, resolution)
        known = replace(effect, p_holm=p_holm, detectable=detectable(spread, arm.shared, len(arm.values), count))
        judged.append(_judge(known, seeds_needed(effect.effect, spread, arm.shared, count)))
    return judged


def measure(arm: Paired, resolution: float) -> Effect:
    """Return an effect by itself: without correction, power or verdict. Arguments as of `compare`."""
    spread, mean = _spread(arm.values, resolution), float(np.mean(arm.values))
    freedom = len(arm.values) - 1
    found = partial(Effect, differences=tuple(float(value) for value in arm.values), shared=arm.shared)
    if not freedom:
        return found(mean, None, None, None, None)
    if spread == 0:  # a continuous metric without any difference: the arm is the reference
        return found(mean, mean, mean, float(mean == 0), 0.5 if mean == 0 else float(mean > 0))
    half = _half_width(spread, arm)
    t = mean / math.sqrt(spread**2 / len(arm.values) + arm.shared)
    return found(mean, mean - half, mean + half, float(2 * stats.t.sf(abs(t), freedom)), float(stats.t.cdf(t, freedom)))


def holm(p_values: Sequence[float | None], comparisons: int | None = None) -> list[float | None]:
    """Return Holm's corrected p values (Holm 1979); None stays None.

    Args:
        p_values: of the comparisons that were made.
        comparisons: how many were to be made; as many as there are p values by default.
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    count = max(comparisons or 0, len(known))
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, (count - rank) * p))
        corrected[i] = highest
    return corrected


def interval(of: Paired) -> tuple[float, float] | tuple[None, None]:
    """Return the 95 % interval of the mean; None with one value."""
    if len(of.values) < 2:
        return None, None
    half = _half_width(float(np.std(of.values, ddof=1)), of)
    return float(np.mean(of.values)) - half, float(np.mean(of.values)) + half


def power(effect: float, spread: float, shared: float, seeds: int, comparisons: int) -> float:
    """Return in what share of studies an effect would be shown, after Bonferroni's correction.

    That is Holm's for the smallest p value: what decides in the worst case. The mean of the differences has a normal
    distribution, and the variance by which it is judged the chi-squared one of the seeds' spread, plus what is shared.

    Args:
        effect: in the metric's unit.
        spread: standard deviation of a seed's difference.
        shared: see `Paired`.
        seeds: at least 2.
        comparisons: for how many is corrected.
    """
    error = math.sqrt(spread**2 / seeds + shared)
    if error == 0:
        return float(effect != 0)
    critical = stats.t.ppf(1 - (1 - CONFIDENCE) / comparisons / 2, seeds - 1)
    judged_by = np.sqrt(spread**2 * _variances(seeds - 1) / seeds + shared)
    # The other tail, an effect that is there and shown with the wrong sign, is left out.
    return float(special.ndtr((abs(effect) - critical * judged_by) / error).mean())


@cache
def _variances(freedom: int) -> np.ndarray:
    """Return what variances of a normal sample are beside the true one, at even steps of probability."""
    return stats.chi2.ppf((np.arange(STEPS) + 0.5) / STEPS, freedom) / freedom


def detectable(spread: float, shared: float, seeds: int, comparisons: int) -> float | None:
    """Return the smallest effect that is shown in `POWER` of studies; None with one seed. Arguments as of `power`."""
    if seeds < 2:
        return None
    error = math.sqrt(spread**2 / seeds + shared)
    if error == 0:
        return 0.0
    critical = float(stats.t.ppf(1 - (1 - CONFIDENCE) / comparisons / 2, seeds - 1))

    def lacks(size: float) -> float:
        return power(size * error, spread, shared, seeds, comparisons) - POWER

    return float(brentq(lacks, 0, 10 * critical)) * error


def seeds_needed(effect: float, spread: float, shared: float, comparisons: int) -> int | None:
    """Return the fewest seeds, to `MOST_SEEDS`, with which the effect is shown in `POWER` of studies; None if none."""
    if power(effect, spread, shared, MOST_SEEDS, comparisons) < POWER:
        return None
    seeds = range(2, MOST_SEEDS)  # power grows with them
    return 2 + bisect_left(seeds, POWER, key=lambda count: power(effect, spread, shared, count, comparisons))


def hopeless(screened: Paired, spread: float, seeds: int, comparisons: int) -> bool:
    """Tell whether further seeds would hardly show an arm's effect, even one that is larger than it looks.

    It is taken to be a standard error larger than it looks, and dropped where less than half of the studies would show
    it. The screened seeds must not be used to judge the arms that are kept: chosen for looking large, they are too
    large there. Seeds of its own make the judgement fair (data splitting, Cox 1975, "A Note on Data-Dependent
    Hypotheses"), but for the little that seeds share. Racing by elimination is Maron and Moore 1994, "Hoeffding Races".

    Args:
        screened: the arm's differences on the screening's seeds.
        spread: standard deviation of a seed's difference, which a few seeds of one arm alone don't tell.
        seeds: how many further ones could be trained.
        comparisons: for how many will be corrected.
    """
    error = math.sqrt(spread**2 / len(screened.values) + screened.shared)
    looks = abs(float(np.mean(screened.values)))
    return power(looks + error, spread, screened.shared, seeds, comparisons) < 0.5


def _spread(differences: np.ndarray, resolution: float) -> float:
    """Return the standard deviation over seeds, but no less than counts of rows have.

    A few seeds often have the same difference (one row, say) by chance, and their spread of 0 would make it certain. A
    mean difference of m rows is at least m rows that changed, and such a count has a standard deviation of at least
    sqrt(m) (Poisson); no difference at all is known to half a row. Equal differences of a continuous metric are an
    accident, too; their own size is the only scale there is.
    """
    if len(differences) < 2:
        return math.nan
    size = abs(float(np.mean(differences)))
    all_equal = float(np.ptp(differences)) <= 1e-6 * size
    least = max(resolution / 2, math.sqrt(size * resolution)) if resolution else size * all_equal
    return max(float(np.std(differences, ddof=1)), least)


def _half_width(spread: float, of: Paired) -> float:
    seeds = len(of.values)
    return float(stats.t.ppf(1 - (1 - CONFIDENCE) / 2, seeds - 1)) * math.sqrt(spread**2 / seeds + of.shared)


def _judge(effect: Effect, needed: int | None) -> Effect:
    """Put the effect into words.

    Helped or hurt: significant after Holm. Too few seeds: it leans one way, and a number of seeds that can be asked for
    would decide. No evidence: all else.
    """
    if effect.p_holm is None or effect.probability is None:
        return replace(effect, verdict="too few seeds")
    if effect.p_holm < 1 - CONFIDENCE:
        return replace(effect, verdict="helped" if effect.effect > 0 else "hurt")
    leans = max(effect.probability, 1 - effect.probability) >= LEANING
    if leans and needed is not None:
        return replace(effect, verdict="too few seeds", seeds_needed=max(needed, len(effect.differences) + 1))
    return effect
