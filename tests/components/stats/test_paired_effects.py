from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from components.stats.paired_effects import (
    Effect,
    Paired,
    compare,
    detectable,
    holm,
    interval,
    paired,
    paired_in_slices,
    power,
    seeds_needed,
)

OVERLAP = 0.25
ROW = 1 / 288
DIFFERENCES = [0.012, 0.020, 0.008, 0.016, 0.014]


def of(differences, overlap=OVERLAP) -> Paired:
    """Return differences that share as much as the corrected resampled t test supposes: the variance times overlap."""
    values = np.array(differences, float)
    return Paired(values, overlap * float(np.var(values, ddof=1)) if len(values) > 1 else 0.0)


def judge(*differences, resolution=ROW, overlap=OVERLAP) -> list[Any]:
    return compare([of(values, overlap) for values in differences], resolution)


def t_cdf(t: float, freedom: int) -> float:
    """Student's t distribution by the incomplete beta function: nothing that the code uses."""
    tail = special.betainc(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2
    return 1 - tail if t > 0 else tail


def test_the_corrected_resampled_t_test_by_hand():
    """Mean 0.014, s² = 2.0e-5; s² (1/5 + 1/4) = 9.0e-6, standard error 0.003; t = 4.6667 with 4 degrees of freedom."""
    effect = judge(DIFFERENCES, resolution=0)[0]
    assert effect.effect == pytest.approx(0.014)
    assert effect.p == pytest.approx(2 * (1 - t_cdf(0.014 / 0.003, 4)), rel=1e-6)
    assert effect.p == pytest.approx(0.0095, abs=1e-4)
    assert effect.probability == pytest.approx(1 - effect.p / 2)
    assert effect.low == pytest.approx(0.014 - 2.776445 * 0.003, abs=1e-7)
    assert effect.high == pytest.approx(0.014 + 2.776445 * 0.003, abs=1e-7)
    assert (effect.verdict, effect.seeds_needed) == ("helped", None)


def test_without_overlap_it_is_the_plain_paired_t_test():
    """Of textbooks: differences 1, 2, 3 have t = 2 / (1 / sqrt 3) = 3.4641 and p = 0.0742."""
    effect = judge([1.0, 2.0, 3.0], resolution=0, overlap=0)[0]
    assert effect.p == pytest.approx(0.0742, abs=1e-4)


def test_a_technique_that_makes_it_worse_hurts():
    effect = judge([-value for value in DIFFERENCES])[0]
    mirrored = judge(DIFFERENCES)[0]
    assert effect.verdict == "hurt"
    assert effect.p == pytest.approx(mirrored.p)
    assert effect.probability == pytest.approx(1 - mirrored.probability)
    assert (effect.low, effect.high) == pytest.approx((-mirrored.high, -mirrored.low))


def test_an_arm_without_any_difference_has_no_evidence_and_costs_no_warning():
    for resolution in (ROW, 0.0):
        effect = judge([0.0] * 5, resolution=resolution)[0]
        assert (effect.effect, effect.p, effect.probability, effect.verdict) == (0, 1, 0.5, "no evidence")
        assert effect.seeds_needed is None
        assert effect.low <= 0 <= effect.high


def test_a_count_of_rows_varies_at_least_as_a_count_does():
    """Four rows in the mean have a standard deviation of two: that of the differences, 1.3 rows, is taken for luck."""
    effect = judge(DIFFERENCES, overlap=0)[0]
    assert effect.p == pytest.approx(2 * (1 - t_cdf(0.014 / (np.sqrt(0.014 * ROW / 5)), 4)), rel=1e-6)


@pytest.mark.parametrize("seeds", [2, 5])
def test_equal_differences_of_one_row_are_not_certain(seeds):
    effect = judge([ROW] * seeds)[0]
    assert 0.001 < effect.p < 1
    assert effect.low < effect.effect < effect.high


def test_equal_differences_of_the_loss_are_not_certain():
    """Nothing is known about the spread from two seeds that happen to agree."""
    effect = judge([0.1, 0.1], resolution=0.0)[0]
    assert effect.p > 0
    assert effect.low < effect.high


def test_one_seed_says_too_few_and_no_probability():
    effect = judge([0.5])[0]
    assert effect == Effect(0.5, None, None, None, None, differences=(0.5,), verdict="too few seeds")


def test_an_effect_that_leans_says_how_many_seeds_would_decide():
    effect = judge([0.002, 0.014, 0.006, 0.016], overlap=0.02)[0]
    assert effect.verdict == "too few seeds"
    assert effect.seeds_needed is not None
    assert effect.seeds_needed > 4


def test_an_effect_that_no_number_of_seeds_can_show_is_no_evidence():
    """What the seeds share bounds what they can tell: here t tends to 1.4 at most."""
    effect = judge([0.00, 0.02, -0.005, 0.013, 0.007])[0]
    assert (effect.verdict, effect.seeds_needed) == ("no evidence", None)


# Holm


def test_holm_by_hand():
    """Of 0.01, 0.04, 0.03, 0.005: times 3, 1, 2, 4, never below a smaller one's."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_is_at_most_one_and_leaves_none_out():
    assert holm([0.6, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_corrects_upwards_at_most_by_bonferroni_and_keeps_the_order(p_values):
    corrected = holm(p_values)
    for p, q in zip(p_values, corrected, strict=True):
        assert q is not None
        assert p <= q <= min(1, p * len(p_values)) or q == pytest.approx(max(p, min(1, p * len(p_values))))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()


def test_more_arms_make_the_same_effect_less_sure():
    alone = judge(DIFFERENCES)[0]
    among = judge(DIFFERENCES, *[[0.001, -0.001, 0.0, 0.002, -0.002]] * 9)[0]
    assert alone.verdict == "helped"
    assert among.p == alone.p
    assert among.p_holm == pytest.approx(10 * alone.p)
    assert among.verdict == "too few seeds"


# Power and seeds


def test_power_without_sharing_is_that_of_the_t_test():
    """Of textbooks: 34 pairs find an effect of half a standard deviation in 80 % of studies (Cohen 1988)."""
    assert power(0.5, 1.0, 0.0, 34, 1) == pytest.approx(0.808, abs=0.005)
    assert power(0.0, 1.0, 0.0, 34, 1) == pytest.approx(0.025, abs=1e-4)


def test_power_is_what_many_drawn_studies_have():
    rng = np.random.default_rng(0)
    effect, spread, shared, seeds = 1.2, 1.0, 0.1, 6
    values = effect + rng.normal(0, np.sqrt(shared), (2000, 1)) + rng.normal(0, spread, (2000, seeds))
    found = [compare([Paired(row, shared)], 0.0, 3)[0].verdict == "helped" for row in values]
    assert np.mean(found) == pytest.approx(power(effect, spread, shared, seeds, 3), abs=0.03)


@given(st.floats(0.01, 1), st.floats(0, 1), st.integers(2, 50), st.integers(1, 20))
def test_what_is_detectable_is_found_in_four_of_five_studies(spread, share, seeds, comparisons):
    shared = share * spread**2
    size = detectable(spread, shared, seeds, comparisons)
    assert size is not None
    assert power(size, spread, shared, seeds, comparisons) == pytest.approx(0.8, abs=1e-6)
    assert (detectable(spread, shared, seeds + 1, comparisons) or 0) <= size


def test_one_seed_detects_nothing():
    assert detectable(0.1, 0.0, 1, 1) is None


@given(st.floats(0.001, 1), st.floats(0.001, 1), st.floats(0, 1), st.integers(1, 20))
def test_the_seeds_needed_would_decide_and_one_less_would_not(effect, spread, share, arms):
    shared = share * spread**2
    needed = seeds_needed(effect, spread, shared, arms)

    def decided(seeds: int) -> bool:
        return power(effect, spread, shared, seeds, arms) >= 0.8

    if needed is None:
        assert not decided(100)
    else:
        assert decided(needed)
        assert needed == 2 or not decided(needed - 1)


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.integers(1, 10))
def test_a_smaller_effect_or_more_arms_need_no_fewer_seeds(effect, spread, arms):
    def needed(effect, spread, arms):
        return seeds_needed(effect, spread, 0.02, arms) or 101

    base = needed(effect, spread, arms)
    assert needed(effect / 2, spread, arms) >= base
    assert needed(effect, spread * 2, arms) >= base
    assert needed(effect, spread, arms + 1) >= base


# What the seeds share


def test_what_seeds_share_by_hand():
    """Two seeds of two rows each share row 1.

    Its scores are 4 and 2, the mean of all is 2: the only product is (4 - 2) / 2 x (2 - 2) / 2 = 0. With the scores 4
    and 4, the mean 2.5: (1.5 / 2)² = 0.5625.
    """
    rows = [np.array([0, 1]), np.array([1, 2])]
    alone = np.arange(3)
    assert paired(rows, [np.array([1.0, 4.0]), np.array([2.0, 1.0])], alone).shared == 0
    found = paired(rows, [np.array([1.0, 4.0]), np.array([4.0, 1.0])], alone)
    assert found.values.tolist() == [2.5, 2.5]
    assert found.shared == pytest.approx(0.5625)


def test_copies_of_a_row_are_shared_as_the_row_is():
    rows = [np.array([0, 1]), np.array([2, 3])]
    scores = [np.array([4.0, 1.0]), np.array([4.0, 1.0])]
    assert paired(rows, scores, np.arange(4)).shared == 0
    assert paired(rows, scores, np.array([0, 1, 0, 2])).shared == pytest.approx(0.5625)


def test_rows_that_decide_alone_share_as_much_as_nadeau_and_bengio_suppose():
    """Each row's score is the same in all seeds: what differs between seeds is only which rows they have."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(300):
        score = rng.normal(size=100)
        rows = [rng.permutation(100)[:20] for _ in range(10)]
        found = paired(rows, [score[of_seed] for of_seed in rows], np.arange(100))
        ratios.append(found.shared / found.values.var(ddof=1))
    assert np.median(ratios) == pytest.approx(20 / 80, rel=0.1)


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


def test_a_slice_without_rows_in_a_seed_has_no_number_there():
    codes = np.array([0, 0, 1])
    found = paired_in_slices([np.array([0, 1]), np.array([1, 2])], [np.ones(2), np.ones(2)], np.arange(3), codes, 2)
    assert np.isfinite(found[0].values).all()
    assert np.isnan(found[1].values).tolist() == [True, False]


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=10), st.floats(0, 1))
def test_verdict_interval_and_probability_agree(differences, overlap):
    effect = judge(differences, overlap=overlap)[0]
    assert effect.low <= effect.effect <= effect.high
    assert (effect.p < 0.05) == (effect.low > 0 or effect.high < 0)
    assert (effect.verdict == "helped") == (effect.low > 0)
    assert (effect.verdict == "hurt") == (effect.high < 0)
    assert min(effect.probability, 1 - effect.probability) == pytest.approx(effect.p / 2, abs=1e-9)


def test_the_interval_of_a_mean_is_as_wide_as_that_of_its_differences():
    low, high = interval(of(DIFFERENCES))
    effect = judge(DIFFERENCES, resolution=0)[0]
    assert (low, high) == pytest.approx((effect.low, effect.high))
    assert interval(of([0.9])) == (None, None)
