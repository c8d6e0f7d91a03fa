"""Paired statistics: what a technique's effect is, and how sure that is.

A seed gives every arm the same split, order and random numbers, so the difference between two arms is taken seed by
seed. The seeds are not independent: validation rows are drawn from the same rest, so two seeds are partly scored on
the same rows. Seeds and rows are two crossed random effects, as readers and cases are in a study of many readers and
many cases (Gallas 2006, "One-shot estimate of MRMC variance: AUC"). The products of what two seeds say of the same
rows give, by the method of moments, the covariance `shared` of two seeds' differences, so the mean of k of them has the
variance s² / k + shared. The corrected resampled t test (Nadeau and Bengio 2003) supposes the most that rows can do,
and is too wide where random numbers make the difference; a plain t interval supposes nothing, and is too narrow.

A few seeds tell their own spread s² badly. But a seed's mean over n rows has at least the spread that its rows give it,
and that is known from all rows: `by_rows`. So what is unknown is only the ratio phi = s² / by_rows, and the arms of a
study tell it together: it is shrunk towards their mean by as much as they agree (moderated variances, Smyth 2004,
"Linear Models and Empirical Bayes Methods"). It is done with care: the mean counts as 1 at least, an arm above it
keeps its own, and no more degrees of freedom are borrowed than the other arms have.

One set of intervals is made, all of which hold at once in 95 % of studies: wider than single ones by as much as the
greatest of so many equally correlated errors is greater (Dunnett 1955, Hothorn et al. 2008), for arms are compared with
the same reference and err together. A verdict says where an arm's interval lies: above or below zero, within what does
not matter (two one-sided tests, Schuirmann 1987), or neither. So verdict and interval can't contradict each other.

Simulations in which the truth is known are in tests/components/stats/test_statistics.py and benchmarks/known_truth.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
from scipy import special, stats
from scipy.optimize import brentq

Conclusion = Literal["helped", "hurt", "no difference", "leans", "unknown"]

ALPHA = 0.05  # in what share of studies any interval may miss
MATTERS = 0.01  # the smallest effect that anybody cares for: a point of a share, a hundredth of another number
POWER = 0.8  # how often an effect of the size that is called detectable would be found
LEANING = 0.9  # a probability to help (or to hurt) from which an arm leans
MOST_BORROWED = 8.0  # degrees of freedom: with more, arms that differ from the others are misjudged (simulated)
FEWEST_ALIKE = 4  # arms that tell how alike their ratios are
OWN_ROWS = 0.25  # share of a row's difference that is the same with every seed (simulated: 0.05 to 0.4)
EXPECTED_ALONE, EXPECTED_ALIKE = 8, 4  # degrees of freedom with which a ratio is expected to be 1, and that of others
SHARED_LUCK = 0.5  # correlation of two arms' errors: both are compared with the same reference
SHRINKAGES = np.linspace(0.02, 0.98, 25)  # by how much an effect is taken to be smaller than it looks


@dataclass(frozen=True)
class Paired:
    """A number for each seed, and how much of its variance comes from the rows."""

    values: np.ndarray  # (seeds,)
    shared: float = 0.0  # covariance of two seeds' values that comes from the rows both are scored on; at least 0
    by_rows: float = 0.0  # variance of a seed's value that comes from its own rows alone
    units: float = math.inf  # how many rows, or groups of rows, were scored that are independent


@dataclass(frozen=True)
class Estimate:
    """An effect with its interval; with one seed nothing but the effect is known."""

    effect: float  # the mean over the seeds
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Effect(Estimate):
    """The effect of one technique: positive where it improves the metric. Intervals of a study hold all at once."""

    differences: tuple[float, ...]  # one per seed
    shared: float  # see `Paired`
    error: float | None  # standard error of the effect
    verdict: Conclusion
    detectable: float | None  # the smallest effect that so many seeds show in `POWER` of studies
    chance: float | None  # of one that is not decided: that the seeds in view would decide


def paired(rows: Sequence[np.ndarray], scores: Sequence[np.ndarray], units: np.ndarray) -> Paired:
    """Return the mean of each seed's scores, and what of its variance comes from the rows.

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

    Args:
        rows: as of `paired`.
        scores: as of `paired`.
        units: as of `paired`.
        codes: int64 (all rows,), the number of the slice that a row is in.
        count: of slices.
    """
    sizes = [np.bincount(codes[of_seed], minlength=count) for of_seed in rows]
    with np.errstate(invalid="ignore"):
        values = np.array([np.bincount(codes[r], s, count) / n for r, s, n in zip(rows, scores, sizes, strict=True)])
    means = np.nan_to_num(values.mean(axis=0))
    # The rows of a unit may be in several slices: what they add up to in each of them.
    keys, unit = np.unique(codes * (int(units.max()) + 1) + units, return_inverse=True)
    slice_of = keys // (int(units.max()) + 1)
    total, own, times, weight = (np.zeros(len(keys)) for _ in range(4))
    by_rows = np.zeros((len(rows), count))
    for place, (numbers, of_seed, size) in enumerate(zip(rows, scores, sizes, strict=True)):
        mine = codes[numbers]
        part = np.bincount(unit[numbers], (of_seed - means[mine]) / size[mine], len(keys))
        weight += np.bincount(unit[numbers], 1 / size[mine], len(keys))
        scored = np.bincount(unit[numbers], minlength=len(keys)) > 0
        within = np.bincount(unit[numbers], (of_seed - np.nan_to_num(values[place])[mine]) / size[mine], len(keys))
        scored_units = np.bincount(slice_of, scored, count)
        by_rows[place] = np.bincount(slice_of, within**2, count) * scored_units / np.maximum(scored_units - 1, 1)
        total += part
        own += part**2
        times += scored
    pairs = max(len(values) * (len(values) - 1), 1)
    shared = np.maximum(np.bincount(slice_of, total**2 - own, count) / pairs, 0.0)
    # Deviations from the mean of few units are smaller than those from the truth, by as much as each makes that mean.
    first, second, third = (np.bincount(slice_of, weight**power, count) for power in (1, 2, 3))
    with np.errstate(invalid="ignore"):
        kept = 1 - 2 * third / (first * second) + second / first**2
    shared /= np.where(kept > 1e-9, kept, 1.0)
    all_units = np.bincount(slice_of, times > 0, count)
    return [
        Paired(values[:, place], float(shared[place]), float(by_rows[:, place].mean()), float(all_units[place]))
        for place in range(count)
    ]


def compare(
    arms: Sequence[Paired],
    resolution: float,
    matters: float = MATTERS,
    alphas: Sequence[float] | float = ALPHA,
    comparisons: int | None = None,
    most: float = math.inf,
    removes: Sequence[bool] | None = None,
    then: int | None = None,
) -> list[Effect]:
    """Judge the arms of a study together.

    Args:
        arms: for each its differences by seed, positive where the technique improves the metric.
        resolution: the smallest step of the metric (one row of the validation rows); 0 where it has none.
        matters: the smallest difference that matters, in the metric's unit.
        alphas: in what share of studies any of the intervals may miss; or one such number for each arm, where they
            have spent different parts of it on earlier looks.
        comparisons: for how many arms the intervals hold at once; as many as there are by default.
        most: the greatest difference that there can be: no interval is wider.
        removes: of each arm whether it lacks its technique, so that the reference's luck counts for the technique and
            not against it; all arms are alike by default.
        then: the number of seeds that the chance to decide is about; twice as many as there are by default.

    Returns:
        One effect per arm, in the same order.
    """
    signs = np.where(np.zeros(len(arms)) if removes is None else removes, -1.0, 1.0)
    count, correlation = max(comparisons or 0, len(arms)), _correlation(arms, signs)
    levels = [Level(alpha, count, correlation) for alpha in np.broadcast_to(alphas, len(arms)).tolist()]
    spreads = moderated(arms, resolution)
    beliefs = _beliefs(arms, spreads, signs, levels)
    judged = zip(arms, spreads, beliefs, levels, strict=True)
    return [_judge(arm, of, belief, level, matters, most, then) for arm, of, belief, level in judged]


@dataclass(frozen=True)
class Level:
    """How often intervals may miss that are to hold all at once."""

    alpha: float = ALPHA  # in what share of studies any may
    count: int = 1
    correlation: float = 0.0  # of the errors of any two of them, 0 to 0.5

    def critical(self, freedom: float) -> float:
        """Return half the width of the intervals in standard errors, with so many degrees of freedom."""
        return _critical(self.alpha, self.count, round(self.correlation, 1), freedom)


@cache
def _critical(alpha: float, count: int, correlation: float, freedom: float) -> float:
    """Return the value that the greatest of `count` equally correlated t values exceeds so rarely."""
    alone = float(stats.t.ppf(1 - alpha / 2, freedom))
    if count == 1:
        return alone
    points, weights = np.polynomial.legendre.leggauss(64)
    cubes = ((points + 1) / 2) ** 3  # most where a variance looks small, for that is where t values are large
    of_cubes = weights * 3 / 2 * ((points + 1) / 2) ** 2
    deviations = np.sqrt(stats.chi2.ppf(cubes, freedom) / freedom)[:, None]
    luck, of_luck = np.polynomial.hermite_e.hermegauss(48)  # of the reference, which all share
    luck, own = math.sqrt(correlation) * luck, math.sqrt(1 - correlation)

    def missed(value: float) -> float:
        inside = special.ndtr((value * deviations + luck) / own) - special.ndtr((-value * deviations + luck) / own)
        return 1 - alpha - float(of_cubes @ (inside**count @ of_luck)) / float(of_luck.sum())

    return float(brentq(missed, 0.9 * alone, 1.1 * float(stats.t.ppf(1 - alpha / 2 / count, freedom))))


def _correlation(arms: Sequence[Paired], signs: np.ndarray) -> float:
    """Return the mean correlation of two arms' errors, as the seeds show it: no more than a reference alone explains.

    Args:
        arms: their values.
        signs: -1 for an arm that lacks its technique, else 1 (arms,).
    """
    seeds = {len(arm.values) for arm in arms}
    if len(arms) < 2 or min(seeds) < 3 or len(seeds) > 1:
        return 0.0
    values = np.array([arm.values for arm in arms]) * signs[:, None]
    able = values[values.std(axis=1) > 0]
    if len(able) < 2:
        return 0.0
    pairs = np.corrcoef(able)[np.triu_indices(len(able), 1)]
    return float(np.clip(pairs.mean(), 0.0, SHARED_LUCK))


@dataclass(frozen=True)
class Spread:
    """How sure the mean over some seeds is."""

    variance: float  # of a seed's value
    shared: float
    seeds: int
    freedom: float  # degrees of freedom of the variance
    units: float

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        return math.sqrt(self.variance / self.seeds + self.shared)

    @property
    def cautious_error(self) -> float:
        """The standard deviation of what the mean is judged by: a t distribution has more of it than a normal one."""
        freedom = max(self.freedom, 3.0)
        return self.error * math.sqrt(freedom / (freedom - 2))

    def half_width(self, level: Level) -> float:
        """Return half the width of the mean's interval."""
        return level.critical(self.freedom) * self.error

    def after(self, seeds: int) -> "Spread":
        """Return the same with another number of seeds; what is borrowed from other arms grows with theirs."""
        borrowed = max(self.freedom - (self.seeds - 1), 0.0) * (seeds - 1) / (self.seeds - 1)
        freedom = min(seeds - 1 + min(borrowed, MOST_BORROWED), self.units - 1)
        return Spread(self.variance, self.shared, seeds, max(freedom, 1.0), self.units)

    def power(self, effect: float, level: Level) -> float:
        """Return in what share of studies an effect would be shown; the wrong sign is left out."""
        if self.error == 0:
            return float(effect != 0)
        return float(stats.nct.sf(level.critical(self.freedom), self.freedom, abs(effect) / self.error))

    def detectable(self, level: Level) -> float:
        """Return the smallest effect that is shown in `POWER` of studies."""
        return _detectable_errors(self.freedom, level.critical(self.freedom)) * self.error


@cache
def _detectable_errors(freedom: float, critical: float) -> float:
    """Return how many standard errors an effect must have to be shown in `POWER` of studies."""

    def lacks(size: float) -> float:
        return float(stats.nct.sf(critical, freedom, size)) - POWER

    return float(brentq(lacks, 0, 10 * critical))


def moderated(arms: Sequence[Paired], resolution: float = 0.0) -> list[Spread | None]:
    """Return how sure the arms' means are; None with one seed. The method is in the docstring of this module.

    Args:
        arms: their values.
        resolution: the smallest step of the values. Where no row has changed, they are known to half of it.
    """
    known = [arm for arm in arms if len(arm.values) >= 2]
    spreads = iter(_moderated(known, resolution) if known else [])
    return [next(spreads) if len(arm.values) >= 2 else None for arm in arms]


def _moderated(arms: Sequence[Paired], resolution: float) -> list[Spread]:
    seeds = np.array([len(arm.values) for arm in arms])
    own = np.array([float(arm.values.var(ddof=1)) for arm in arms])
    by_rows = np.maximum([arm.by_rows for arm in arms], (resolution / 2) ** 2)
    borrowed = 0.0
    if len(arms) == 1 or not by_rows.all():
        # Seeds that agree by chance are not certain: counts of m rows vary as counts do, by the square root of m.
        size = np.abs([arm.values.mean() for arm in arms])
        variances = np.maximum(own, np.maximum((resolution / 2) ** 2, size * resolution))
        variances = np.where(own <= (1e-6 * size) ** 2, np.maximum(variances, by_rows), variances)
    else:
        ratios = own / by_rows
        mean = max(float(ratios.mean()), 1.0)
        borrowed = _borrowed(ratios, seeds - 1)
        shrunk = (borrowed * mean + (seeds - 1) * ratios) / (borrowed + seeds - 1)
        variances = by_rows * np.where(ratios > mean, ratios, shrunk)
    freedom = np.maximum(np.minimum(borrowed + seeds - 1, [arm.units - 1 for arm in arms]), 1.0)
    told = zip(arms, variances.tolist(), seeds.tolist(), freedom.tolist(), strict=True)
    return [Spread(variance, arm.shared, count, free, arm.units) for arm, variance, count, free in told]


def _borrowed(ratios: np.ndarray, freedom: np.ndarray) -> float:
    """Return the prior's degrees of freedom: how alike the ratios are beyond what chance explains (Smyth 2004).

    Args:
        ratios: of variances (arms,), two or more.
        freedom: the degrees of freedom of each (arms,).
    """
    most = most_borrowed(len(ratios), float(freedom.mean()))
    if len(ratios) < FEWEST_ALIKE:
        return most
    by_chance = float(np.mean(np.asarray(special.polygamma(1, freedom / 2), np.float64)))
    extra = float(np.var(np.log(np.maximum(ratios, 1e-9)), ddof=1)) - by_chance
    # The variance of the logarithm of a ratio is trigamma(freedom / 2) + trigamma(borrowed / 2).
    if extra <= float(special.polygamma(1, most / 2)):
        return most

    def unexplained(half: float) -> float:
        return float(special.polygamma(1, half)) - extra

    return 2 * float(brentq(unexplained, 1e-3, most / 2))


def most_borrowed(arms: int, freedom: float) -> float:
    """Return the most degrees of freedom that an arm may borrow: as many as the others have, which share a reference.

    Args:
        arms: how many there are.
        freedom: of each arm's own variance.
    """
    return min(MOST_BORROWED, (arms - 1) * freedom / 2)


def expected_spreads(arms: Sequence[Paired], resolution: float, share: float) -> list[Spread]:
    """Return what seeds that are not there yet will vary by, as a few seeds tell: as near as can be, and not cautious.

    The ratio of a seed's variance to what its rows explain is expected to be 1, and an arm's to be that of the others;
    what the seeds show moves both from there. `shared` is that of two seeds which may have rows in common.

    Args:
        arms: their values, of two seeds or more.
        resolution: the smallest step of the values.
        share: of the rows that a seed is scored on.
    """
    freedom = len(arms[0].values) - 1
    own = np.array([float(arm.values.var(ddof=1)) for arm in arms])
    by_rows = np.maximum([arm.by_rows for arm in arms], (resolution / 2) ** 2)
    ratios = np.divide(own, by_rows, out=np.ones_like(own), where=by_rows > 0)
    mean = max((EXPECTED_ALONE + freedom * ratios.sum()) / (EXPECTED_ALONE + freedom * len(arms)), 1.0)
    ratios = np.maximum((EXPECTED_ALIKE * mean + freedom * ratios) / (EXPECTED_ALIKE + freedom), 1.0)
    told = zip(arms, (by_rows * ratios).tolist(), (OWN_ROWS * share * by_rows).tolist(), strict=True)
    return [Spread(variance, shared, freedom + 1, freedom, arm.units) for arm, variance, shared in told]


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return p values corrected for their number (Holm 1979), in the same order."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(np.minimum(p[order] * np.arange(len(p), 0, -1), 1.0))
    return corrected


def interval(of: Paired, resolution: float = 0.0, most: float = math.inf) -> Estimate:
    """Return a mean by itself, with its 95 % interval."""
    (effect,) = compare([of], resolution, most=most)
    return Estimate(effect.effect, effect.low, effect.high)


@dataclass(frozen=True)
class _Belief:
    """What is believed of an arm's true effect: a mixture of normal distributions, each a possible world.

    How large true effects are in a study is not known, so each size is a world, weighed by how well it explains the
    effects that were seen (empirical Bayes, with the uniform prior on the shrinkage: Daniels 1999, "A Prior for the
    Variance in Hierarchical Models").
    """

    weights: np.ndarray  # of the worlds (worlds,)
    means: np.ndarray
    variances: np.ndarray

    def same_sign(self, effect: float) -> float:
        """Return the probability that the true effect has the sign of the one that was seen."""
        return float(self.weights @ special.ndtr(np.sign(effect) * self.means / np.sqrt(self.variances)))


def _beliefs(
    arms: Sequence[Paired], spreads: Sequence[Spread | None], signs: np.ndarray, levels: Sequence[Level]
) -> list[_Belief | None]:
    """Return what is believed of each arm's true effect; None where it is decided, or no spread is known.

    A technique that is shown to do much says nothing of how much the others do, so those that are decided are left out.
    """
    found: list[_Belief | None] = [None] * len(arms)
    each = zip(arms, spreads, levels, strict=True)
    open_ones = [i for i, (arm, of, at) in enumerate(each) if of and abs(arm.values.mean()) <= of.half_width(at)]
    believed = _believed([arms[i] for i in open_ones], [of for i in open_ones if (of := spreads[i])], signs[open_ones])
    for i, belief in zip(open_ones, believed, strict=True):
        found[i] = belief
    return found


def _believed(arms: Sequence[Paired], spreads: Sequence[Spread], signs: np.ndarray) -> Sequence[_Belief | None]:
    """Return what is believed of arms that are open.

    Arms that are compared with the same reference share its luck, which half of the variance is.
    """
    errors = np.array([of.cautious_error for of in spreads])
    if not errors.size or not errors.all():
        return [None] * len(arms)
    effects = np.array([arm.values.mean() for arm in arms])
    noise = np.outer(signs * errors, signs * errors) * (SHARED_LUCK + (1 - SHARED_LUCK) * np.eye(len(arms)))
    true = float(np.median(errors**2)) * (1 - SHRINKAGES) / SHRINKAGES  # variance of true effects, a world each
    inverse = np.linalg.inv(noise + true[:, None, None] * np.eye(len(arms)))
    likelihood = 0.5 * np.linalg.slogdet(inverse)[1] - 0.5 * effects @ inverse @ effects
    weights = np.exp(likelihood - likelihood.max())
    means = true[:, None] * (inverse @ effects)
    variances = true[:, None] - true[:, None] ** 2 * np.diagonal(inverse, axis1=1, axis2=2)
    return [_Belief(weights / weights.sum(), means[:, i], variances[:, i]) for i in range(len(arms))]


def _judge(
    arm: Paired, of: Spread | None, belief: _Belief | None, level: Level, matters: float, most: float, then: int | None
) -> Effect:
    """Return an arm's effect with its interval and what that says; arguments as of `compare`."""
    effect, differences = float(arm.values.mean()), tuple(float(value) for value in arm.values)
    if of is None:
        unknown: dict[str, None] = dict.fromkeys(("low", "high", "error", "detectable", "chance"))
        return Effect(effect, differences=differences, shared=arm.shared, verdict="unknown", **unknown)
    half = of.half_width(level)
    low, high = max(effect - half, -most), min(effect + half, most)
    verdict, chance = "unknown", None
    if low > 0:
        verdict = "helped"
    elif high < 0:
        verdict = "hurt"
    elif -matters < low and high < matters:
        verdict = "no difference"
    elif belief:
        verdict = "leans" if belief.same_sign(effect) >= LEANING else "unknown"
        in_view = then if then and then > of.seeds else 2 * of.seeds
        at_the_end = replace(level, alpha=ALPHA)  # all that is spent in all looks makes nearly as narrow intervals
        chance = _chance(effect, of, belief, in_view, at_the_end, matters)
    return Effect(
        effect,
        low,
        high,
        differences=differences,
        shared=arm.shared,
        error=of.error,
        verdict=verdict,
        detectable=of.detectable(level),
        chance=chance,
    )


def _chance(effect: float, of: Spread, belief: _Belief, seeds: int, level: Level, matters: float) -> float:
    """Return the chance that a study of so many seeds in all decides, of which the first are known.

    Further seeds are scored on the same rows, so a part of what made the effect look as it does stays. Arguments as of
    `_judge`.
    """
    more, stays = seeds - of.seeds, of.shared / (of.shared + of.variance / of.seeds)
    on_rows = belief.means + stays * (effect - belief.means)  # what further seeds will show in the mean
    variance = belief.variances * (1 - stays) ** 2 + stays * of.variance / of.seeds
    means = (of.seeds * effect + more * on_rows) / seeds
    deviations = more / seeds * np.sqrt(variance + of.variance / more)
    half = of.after(seeds).half_width(level)
    above, below = special.ndtr((means - half) / deviations), special.ndtr((-half - means) / deviations)
    within = special.ndtr((matters - half - means) / deviations) - special.ndtr((half - matters - means) / deviations)
    return float(belief.weights @ (above + below + np.maximum(within, 0.0)))
