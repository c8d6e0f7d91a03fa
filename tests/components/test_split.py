"""Identical rows stay together in every draw."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from components.errors import AssayError
from components.load import prepare
from components.split import identical, stratified

NAMES = ("a", "b", "c")


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_identical_rows_have_the_number_of_the_first(dtype):
    x = np.array([[1, 2], [3, 4], [1, 2], [2, 1], [3, 4], [1, 2]], dtype)
    assert identical(x).tolist() == [0, 1, 0, 3, 1, 0]
    assert identical(np.asfortranarray(x)).tolist() == [0, 1, 0, 3, 1, 0]


def test_minus_zero_is_zero():
    assert identical(np.array([[0.0], [-0.0]])).tolist() == [0, 0]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_groups_are_those_of_the_values(values):
    assert identical(np.array(values)[:, None]).tolist() == [values.index(value) for value in values]


@st.composite
def grouped(draw):
    """Labels and groups: some rows alone, some with up to nine copies, a few of which have another label."""
    sizes = draw(st.lists(st.sampled_from([1, 1, 1, 1, 2, 2, 3, 7, 10]), min_size=4, max_size=40))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.array(draw(st.lists(st.integers(0, 2), min_size=len(sizes), max_size=len(sizes))))
    y = labels[groups]
    if draw(st.booleans()):
        y[-1] = (y[-1] + 1) % 3
    order = np.random.default_rng(0).permutation(len(y))
    return y[order], groups[order]


@given(grouped(), st.sampled_from([0.1, 0.2, 0.5, 0.8]))
def test_no_group_is_ever_on_both_sides_and_every_seed_gets_as_many_rows(data, fraction):
    y, groups = data
    rows = np.arange(len(y)) + 1000
    amounts = set()
    for seed in range(4):
        try:
            taken = stratified(rows, y, fraction, seed, NAMES, groups)
        except AssayError:
            assume(False)
        rest = np.setdiff1d(rows, taken)
        assert len(set(taken)) == len(taken)
        assert len(taken) + len(rest) == len(rows)
        assert set(groups[taken - 1000]).isdisjoint(groups[rest - 1000])
        assert set(y[taken - 1000]) == set(y[rest - 1000]) == set(y)
        amounts.add(len(taken))
        assert taken.tolist() == stratified(rows, y, fraction, seed, NAMES, groups).tolist()
    (amount,) = amounts
    assert abs(amount - len(y) * fraction) <= 10 * len(set(y))


@given(st.lists(st.integers(20, 60), min_size=2, max_size=3), st.sampled_from([0.1, 0.2, 0.5]), st.integers(0, 3))
def test_with_rows_enough_that_stand_alone_proportions_are_exact(counts, fraction, seed):
    y = np.repeat(np.arange(len(counts)), counts)
    groups = np.arange(len(y))
    for start in np.cumsum([0, *counts[:-1]]):
        groups[start : start + 5] = start  # five copies in every class
        groups[start + 5 : start + 7] = start + 5
    taken = stratified(np.arange(len(y)), y, fraction, seed, NAMES, groups)
    assert len(taken) == round(len(y) * fraction)
    assert np.abs(np.bincount(y[taken], minlength=len(counts)) - np.array(counts) * fraction).max() < 1.0001


def test_each_seed_draws_other_groups_and_each_group_comes_in_turn():
    y, groups = np.repeat([0, 1], 60), np.arange(120) // 2  # every row twice
    drawn = [set(groups[stratified(np.arange(120), y, 0.2, seed, NAMES, groups)]) for seed in range(40)]
    assert len({frozenset(each) for each in drawn}) == 40
    assert set.union(*drawn) == set(range(60))


def test_large_groups_of_all_sizes_are_drawn_at_random_as_well():
    groups = np.repeat(np.arange(40), np.arange(1, 41))
    y = (groups % 2).astype(int)
    drawn = [frozenset(groups[stratified(np.arange(820), y, 0.25, seed, NAMES, groups)]) for seed in range(20)]
    assert len(set(drawn)) > 15


def test_without_copies_the_draw_is_scikit_learns():
    y = np.repeat([0, 1, 2], 20)
    alone = stratified(np.arange(60), y, 0.2, 5, NAMES)
    assert alone.tolist() == stratified(np.arange(60), y, 0.2, 5, NAMES, np.arange(60)).tolist()


def test_a_class_of_copies_alone_is_refused_by_name():
    y = np.array([0] * 20 + [1] * 5)
    groups = np.array([*range(20), *[20] * 5])
    with pytest.raises(AssayError, match="all 5 rows of class 'b' are identical"):
        stratified(np.arange(25), y, 0.2, 0, NAMES, groups)


def test_many_copies_take_no_longer_than_a_moment():
    groups = np.arange(200_000) // 2
    taken = stratified(np.arange(200_000), groups % 2, 0.2, 0, NAMES, groups)
    assert len(taken) == 40_000


def test_the_copy_in_iris_is_with_its_twin_in_every_draw(make_study, tmp_path):
    prepared = prepare(make_study("sklearn:iris", seeds=30, arms={}), tmp_path)
    twins = [101, 142]
    np.testing.assert_array_equal(*prepared.x[twins])
    for seed in range(30):
        for part in (*prepared.split(seed), prepared.test_rows):
            assert np.isin(twins, part).sum() in (0, 2)
