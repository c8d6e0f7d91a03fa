import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from components.stats.paired_effects import (
    MATTERS,
    Effect,
    Estimate,
    Level,
    Paired,
    Spread,
    compare,
    expected_spreads,
    holm,
    interval,
    moderated,
    most_borrowed,
    paired,
    paired_in_slices,
)

OVERLAP = 0.25
ROW = 1 / 288
DIFFERENCES = [0.012, 0.020, 0.008, 0.016, 0.014]


def of(differences, overlap=OVERLAP, **more) -> Paired:
    """Return differences that share as much as the corrected resampled t test supposes: the variance times overlap."""
    values = np.array(differences, float)
    return Paired(values, overlap * float(np.var(values, ddof=1)) if len(values) > 1 else 0.0, **more)


def ends(effect: Effect) -> tuple[float, float]:
    """Return the ends of an interval that is known."""
    assert effect.low is not None
    assert effect.high is not None
    return effect.low, effect.high


def judge(*differences, resolution=ROW, overlap=OVERLAP, **more) -> list[Effect]:
    return compare([of(values, overlap) for values in differences], resolution, **more)


def t_cdf(t: float, freedom: int) -> float:
    """Student's t distribution by the incomplete beta function: nothing that the code uses."""
    tail = special.betainc(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2
    return 1 - tail if t > 0 else tail


# One arm


def test_one_arm_alone_has_the_interval_of_the_corrected_resampled_t_test():
    """Mean 0.014, s² = 2.0e-5; s² (1/5 + 1/4) = 9.0e-6, standard error 0.003; t(0.975, 4) = 2.776445."""
    effect = judge(DIFFERENCES, resolution=0)[0]
    assert effect.effect == pytest.approx(0.014)
    assert effect.error == pytest.approx(0.003)
    assert (effect.low, effect.high) == pytest.approx((0.014 - 2.776445 * 0.003, 0.014 + 2.776445 * 0.003), abs=1e-7)
    assert 2 * (1 - t_cdf(2.776445, 4)) == pytest.approx(0.05, abs=1e-6)
    assert (effect.verdict, effect.chance) == ("helped", None)


def test_a_technique_that_makes_it_worse_hurts():
    effect, mirrored = judge([-value for value in DIFFERENCES])[0], judge(DIFFERENCES)[0]
    assert effect.verdict == "hurt"
    assert ends(effect) == pytest.approx((-ends(mirrored)[1], -ends(mirrored)[0]))


def test_an_arm_that_changes_no_row_makes_no_difference_and_costs_no_warning():
    for resolution in (ROW, 0.0):
        effect = judge([0.0] * 5, resolution=resolution)[0]
        assert (effect.effect, effect.verdict) == (0, "no difference")
        low, high = ends(effect)
        assert low <= 0 <= high


def test_a_few_rows_that_none_changes_do_not_show_that_no_row_would_be():
    effect = judge([0.0] * 3, resolution=1 / 20)[0]
    assert (effect.verdict, effect.effect) == ("unknown", 0.0)


def test_a_count_of_rows_varies_at_least_as_a_count_does():
    """Four rows in the mean have a standard deviation of two: that of the differences, 1.3 rows, is taken for luck."""
    assert judge(DIFFERENCES, overlap=0)[0].error == pytest.approx(np.sqrt(0.014 * ROW / 5))


@pytest.mark.parametrize("seeds", [2, 5])
def test_equal_differences_of_one_row_are_not_certain(seeds):
    effect = judge([ROW] * seeds)[0]
    assert effect.verdict not in ("helped", "hurt")
    low, high = ends(effect)
    assert low < effect.effect < high


def test_equal_differences_of_the_loss_are_as_sure_as_their_rows_are():
    """Two seeds that happen to agree say nothing of the spread, but their rows do."""
    (effect,) = compare([of([0.1, 0.1], by_rows=0.04)], 0.0)
    assert effect.error == pytest.approx(math.sqrt(0.04 / 2))


def test_one_seed_tells_the_effect_alone():
    effect = judge([0.5])[0]
    none = dict.fromkeys(("low", "high", "error", "detectable", "chance"))
    assert effect == Effect(0.5, differences=(0.5,), shared=0.0, verdict="unknown", **none)


def test_no_interval_is_wider_than_what_is_possible():
    """Two seeds of a technique that brings 82 points: it can't bring 131."""
    effect = judge([0.80, 0.85], resolution=0.0, overlap=0, most=1.0)[0]
    assert effect.high == 1.0


# Several arms


def test_arms_tell_together_how_much_seeds_differ():
    """Of eight arms whose seeds differ as their rows say, each gets the others' evidence; of one alone nothing."""
    rng = np.random.default_rng(0)
    arms = [of(rng.normal(0.03, 0.01, 3), overlap=0, by_rows=1e-4) for _ in range(8)]
    alone = [moderated([arm])[0] for arm in arms]
    together = moderated(arms)
    assert {of.freedom for of in alone if of} == {2.0}
    assert {of.freedom for of in together if of} == {2.0 + most_borrowed(8, 2)}
    assert np.std([of.error for of in together if of]) < np.std([of.error for of in alone if of])
    alone = [compare([arm], 0.0, comparisons=8)[0] for arm in arms]
    assert [effect.verdict for effect in compare(arms, 0.0)].count("helped") > 6
    assert [effect.verdict for effect in alone].count("helped") < 5


def test_an_arm_that_differs_more_than_the_others_keeps_its_own_variance():
    rng = np.random.default_rng(0)
    wild = np.array([-0.5, 0.1, 0.6])
    arms = [of(rng.normal(0, 0.01, 3), by_rows=1e-4) for _ in range(7)] + [of(wild, by_rows=1e-4)]
    last = moderated(arms)[-1]
    assert last is not None
    assert last.variance == pytest.approx(wild.var(ddof=1))


def test_no_more_freedom_than_there_are_groups_of_rows():
    """Eight groups of rows tell no more than eight rows, however many seeds are scored on them."""
    rng = np.random.default_rng(0)
    arms = [of(rng.normal(0, 0.01, 20), by_rows=1e-4, units=8) for _ in range(8)]
    assert {spread.freedom for spread in moderated(arms) if spread} == {7.0}


def test_arms_may_have_different_numbers_of_seeds():
    rng = np.random.default_rng(0)
    arms = [of(rng.normal(0, 0.01, seeds), by_rows=1e-4) for seeds in (5, 5, 4, 5, 1)]
    found = compare(arms, 0.0)
    assert [effect.low is None for effect in found] == [False, False, False, False, True]
    assert found[0].error
    assert found[2].error
    assert found[2].error > found[0].error / 2


def test_more_arms_make_the_same_effect_less_sure():
    narrow, wide = (judge(DIFFERENCES, comparisons=count)[0] for count in (1, 10))
    assert narrow.effect == wide.effect
    assert ends(wide)[0] < ends(narrow)[0]


@pytest.mark.parametrize("freedom", [1.0, 2.0, 5.0, 30.0])
def test_uncorrelated_intervals_are_nearly_as_wide_as_bonferronis_and_correlated_ones_narrower(freedom):
    bonferroni = stats.t.ppf(1 - 0.025 / 8, freedom)
    assert Level(count=1).critical(freedom) == pytest.approx(stats.t.ppf(0.975, freedom))
    assert Level(count=8).critical(freedom) <= bonferroni * 1.0001
    assert Level(count=8, correlation=0.5).critical(freedom) < Level(count=8).critical(freedom)


def test_the_width_is_dunnetts():
    """Of his table (1964, two-sided, 5 %): seven treatments and a control, 20 degrees of freedom: 2.86."""
    assert Level(count=7, correlation=0.5).critical(20.0) == pytest.approx(2.86, abs=0.01)


def test_effects_that_are_surely_smaller_than_what_matters_make_no_difference():
    rng = np.random.default_rng(0)
    arms = [rng.normal(0, 0.002, 10) for _ in range(3)]
    assert {effect.verdict for effect in judge(*arms)} == {"no difference"}
    assert {effect.verdict for effect in judge(*arms, matters=0.001)} & {"unknown", "leans"}


def test_an_effect_that_is_sure_and_small_is_said_to_help():
    assert judge([0.004, 0.0042, 0.0041, 0.0039, 0.004], resolution=0, overlap=0)[0].verdict == "helped"


def test_the_chance_to_decide_grows_with_the_effect():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.03, (6, 5))
    noise -= noise.mean(axis=1, keepdims=True)
    sizes = [0.022, 0.026, 0.03, 0.034, 0.1, 0.1]
    found = compare([of(size + row, 0.0, by_rows=9e-4) for size, row in zip(sizes, noise, strict=True)], 0.0)
    chances = [effect.chance for effect in found if effect.chance is not None]
    assert len(chances) > 1
    assert all(0 < chance < 1 for chance in chances)
    assert chances[-1] > chances[0]


@given(st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=1, max_size=6), st.floats(1e-6, 1))
def test_a_verdict_never_contradicts_its_interval(differences, by_rows):
    for effect in compare([of(values, by_rows=by_rows) for values in differences], ROW, most=1.0):
        low, high = ends(effect)
        assert -1 <= low <= effect.effect <= high <= 1
        assert (effect.verdict == "helped") == (low > 0)
        assert (effect.verdict == "hurt") == (high < 0)
        inside = -MATTERS < low <= 0 <= high < MATTERS
        assert (effect.verdict == "no difference") == inside
        assert effect.chance is None or effect.verdict in ("leans", "unknown")


def test_holm_by_hand():
    """Of 0.01, 0.04, 0.03, 0.005: times 3, 1, 2, 4, never below a smaller one's, and at most 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


# Power


def test_power_without_sharing_is_that_of_the_t_test():
    """Of textbooks: 34 pairs find an effect of half a standard deviation in 80 % of studies (Cohen 1988)."""
    assert Spread(1.0, 0.0, 34, 33.0, math.inf).power(0.5, Level()) == pytest.approx(0.808, abs=0.005)
    assert Spread(1.0, 0.0, 34, 33.0, math.inf).power(0.0, Level()) == pytest.approx(0.025, abs=1e-4)


@given(st.floats(0.01, 1), st.floats(0, 1), st.integers(2, 50), st.integers(1, 20))
def test_what_is_detectable_is_found_in_four_of_five_studies(spread, share, seeds, arms):
    shared, level = share * spread**2, Level(count=arms)
    of_study = Spread(spread**2, shared, seeds, seeds - 1, math.inf)
    size = of_study.detectable(level)
    assert of_study.power(size, level) == pytest.approx(0.8, abs=1e-4)
    assert of_study.after(seeds + 1).detectable(level) <= size * 1.0001


def test_what_is_expected_of_more_seeds_by_hand():
    """Variances 2e-4 and 8e-4 of two seeds, of which rows explain 1e-4: ratios 2 and 8, of all (8 + 10) / (8 + 2).

    Theirs are then (4 x 1.8 + 2) / 5 = 1.84 and (7.2 + 8) / 5 = 3.04. An arm that changed no row is expected to change
    none.
    """
    arms = [Paired(np.array([0.0, 2 * np.sqrt(of / 2)]), 0.0, 1e-4, 300) for of in (2e-4, 8e-4)]
    found = expected_spreads(arms, 0.0, 0.2)
    assert [of.variance for of in found] == pytest.approx([1.84e-4, 3.04e-4])
    assert [of.shared for of in found] == pytest.approx([0.25 * 0.2 * 1e-4] * 2)
    assert expected_spreads([Paired(np.zeros(2), 0.0, 0.0, 300)], 0.0, 0.2)[0].variance == 0


# What the seeds share


def test_what_seeds_share_by_hand():
    """Two seeds of two rows each share row 1.

    Its scores are 4 and 2, the mean of all is 2: the only product is (4 - 2) / 2 x (2 - 2) / 2 = 0. With the scores 4
    and 4, the mean 2.5: (1.5 / 2)² = 0.5625. The rows have 1/4, 1/2 and 1/4 of the mean's weight, so of the variance
    of their own values the squares of deviations from it keep 1 - 2 x 1.25 / (2 x 1.5) + 1.5 / 4 = 13/24.
    """
    rows = [np.array([0, 1]), np.array([1, 2])]
    alone = np.arange(3)
    assert paired(rows, [np.array([1.0, 4.0]), np.array([2.0, 1.0])], alone).shared == 0
    found = paired(rows, [np.array([1.0, 4.0]), np.array([4.0, 1.0])], alone)
    assert found.values.tolist() == [2.5, 2.5]
    assert found.shared == pytest.approx(0.5625 * 24 / 13)


def test_copies_of_a_row_are_shared_as_the_row_is():
    rows = [np.array([0, 1]), np.array([2, 3])]
    scores = [np.array([4.0, 1.0]), np.array([4.0, 1.0])]
    assert paired(rows, scores, np.arange(4)).shared == 0
    assert paired(rows, scores, np.array([0, 1, 0, 2])).shared == pytest.approx(0.5625 * 24 / 13)
    assert paired(rows, scores, np.zeros(4, int)).shared == 0


def test_rows_that_decide_alone_share_as_much_as_nadeau_and_bengio_suppose():
    """Each row's score is the same in all seeds: what differs between seeds is only which rows they have."""
    rng = np.random.default_rng(0)
    shared, variance = [], []
    for _ in range(300):
        score = rng.normal(size=100)
        rows = [rng.permutation(100)[:20] for _ in range(10)]
        found = paired(rows, [score[of_seed] for of_seed in rows], np.arange(100))
        shared.append(found.shared)
        variance.append(found.values.var(ddof=1))
    assert np.mean(shared) / np.mean(variance) == pytest.approx(20 / 80, rel=0.1)


@pytest.mark.parametrize("count", [4, 8, 100])
def test_what_few_units_share_is_not_taken_for_less(count):
    """Of each seed two units of ten rows; a unit's value is the same in all seeds, with variance 1."""
    rng = np.random.default_rng(0)
    units, shared = np.repeat(np.arange(count), 10), []
    for _ in range(400):
        score = rng.normal(size=count)
        parts = [rng.permutation(count)[:2] for _ in range(20)]
        rows = [np.flatnonzero(np.isin(units, part)) for part in parts]
        shared.append(paired(rows, [score[units[of_seed]] for of_seed in rows], units).shared)
    assert np.mean(shared) == pytest.approx(1 / count, rel=0.15)


def test_slices_are_what_their_rows_are_alone():
    rng = np.random.default_rng(0)
    codes, units = rng.integers(0, 3, 60), rng.integers(0, 40, 60)
    rows = [np.sort(rng.permutation(60)[:25]) for _ in range(4)]
    scores = [rng.normal(size=25) for _ in rows]
    found = paired_in_slices(rows, scores, units, codes, 3)
    for code, of_slice in enumerate(found):
        inside = [codes[of_seed] == code for of_seed in rows]
        alone = paired(
            [of_seed[mine] for of_seed, mine in zip(rows, inside, strict=True)],
            [of_seed[mine] for of_seed, mine in zip(scores, inside, strict=True)],
            units,
        )
        np.testing.assert_allclose(of_slice.values, alone.values)
        assert of_slice.shared == pytest.approx(alone.shared)
        assert of_slice.by_rows == pytest.approx(alone.by_rows)
        assert of_slice.units == alone.units


def test_a_slice_without_rows_in_a_seed_has_no_number_there():
    codes = np.array([0, 0, 1])
    found = paired_in_slices([np.array([0, 1]), np.array([1, 2])], [np.ones(2), np.ones(2)], np.arange(3), codes, 2)
    assert np.isfinite(found[0].values).all()
    assert np.isnan(found[1].values).tolist() == [True, False]


def test_what_comes_from_a_seeds_own_rows_by_hand():
    """Scores 1 and 3 of two rows have the variance 2, their mean 1; of one group they say nothing of a spread."""
    scores = [np.array([1.0, 3.0])] * 2
    found = paired([np.array([0, 1])] * 2, scores, np.arange(2))
    assert (found.by_rows, found.units) == (pytest.approx(1.0), 2.0)
    assert paired([np.array([0, 1])] * 2, scores, np.zeros(2, int)).by_rows == pytest.approx(0.0)


def test_the_interval_of_a_mean_is_as_wide_as_that_of_its_differences():
    effect = judge(DIFFERENCES, resolution=0)[0]
    assert interval(of(DIFFERENCES)) == Estimate(effect.effect, effect.low, effect.high)
    assert interval(of([0.9])) == Estimate(0.9, None, None)
