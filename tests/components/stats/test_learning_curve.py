"""The learning curve: the law is found where there is one, and what it says is right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.stats.learning_curve import LearningCurve, PowerLaw, fit, learning_curve, worth_in_data

SIZES = np.array([100.0, 250.0, 500.0, 1000.0, 2000.0])
ARMS = {int(n): f"{n:.0f} rows" for n in SIZES}


@given(st.floats(0.0, 0.2), st.floats(0.2, 5.0), st.floats(0.1, 1.5))
def test_a_law_without_noise_is_found(floor, scale, exponent):
    errors = PowerLaw(floor, scale, exponent)(SIZES)
    found = fit(SIZES, errors)
    np.testing.assert_allclose(found(SIZES), errors, rtol=0.01)
    assert found(4000) == pytest.approx(float(PowerLaw(floor, scale, exponent)(4000)), rel=0.03)


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=6))
def test_whatever_the_errors_the_law_falls_and_stays_above_zero(errors):
    sizes = 100.0 * 2 ** np.arange(len(errors))
    law = fit(sizes, np.array(errors))
    assert min(law.floor, law.scale) >= 0
    assert law(2 * sizes[-1]) <= law(sizes[-1]) + 1e-12


def test_three_sizes_have_no_floor():
    assert fit(SIZES[:3], np.array([0.3, 0.2, 0.19])).floor == 0


def test_the_law_is_turned_round():
    law = PowerLaw(0.05, 3.0, 0.5)
    assert law.rows(float(law(700))) == pytest.approx(700)
    assert law.rows(0.05) == law.rows(0.01) == np.inf


def noisy(seeds: int, floor: float = 0.02, draw: int = 0) -> dict[int, np.ndarray]:
    random = np.random.default_rng(draw)
    law = PowerLaw(floor, 2.0, 0.5)
    return {int(n): float(law(n)) * random.normal(1, 0.08, seeds) for n in SIZES}


def ends(curve: LearningCurve) -> tuple[float, float]:
    assert curve.twice_low is not None
    assert curve.twice_high is not None
    return curve.twice_low, curve.twice_high


def test_the_interval_of_twice_the_rows_holds_the_truth_as_often_as_it_says():
    truth = float(PowerLaw(0.02, 2.0, 0.5)(4000))
    curves = [learning_curve(noisy(5, draw=draw), 2000, 0.0, ARMS) for draw in range(40)]
    assert np.mean([low <= truth <= high for low, high in map(ends, curves)]) >= 0.875
    assert np.median([curve.twice for curve in curves]) == pytest.approx(truth, rel=0.05)
    assert [point.rows for point in curves[0].points] == SIZES.tolist()


def test_seeds_that_share_rows_are_less_sure():
    alone, shared = (learning_curve(noisy(5), 2000, overlap, ARMS) for overlap in (0.0, 0.25))
    ratio = (ends(shared)[1] - shared.twice) / (ends(alone)[1] - alone.twice)
    assert ratio == pytest.approx(np.sqrt(1 + 5 * 0.25))


def test_two_seeds_have_no_interval():
    curve = learning_curve(noisy(2), 2000, 0.0, ARMS)
    assert curve.twice_low is None
    assert curve.twice < curve.now


def test_a_technique_is_worth_as_much_data_as_would_do_the_same():
    law = PowerLaw(0.0, 2.0, 0.5)
    curve = learning_curve({int(n): np.full(3, float(law(n))) for n in SIZES}, 1000, 0.0, ARMS)
    gain = float(law(1000) - law(2000))
    assert worth_in_data(curve, gain, removed=False) == pytest.approx(2.0, rel=0.02)
    loss = float(law(500) - law(1000))
    assert worth_in_data(curve, loss, removed=True) == pytest.approx(2.0, rel=0.02)
    assert (worth_in_data(curve, -gain, removed=False) or 0) == pytest.approx(0.63, abs=0.05)
    assert worth_in_data(curve, float(law(1000)) + 1, removed=False) is None
    assert worth_in_data(curve, 0.0, removed=True) == pytest.approx(1.0)
