"""Nothing is on two sides: no row, no copy of it, no group, and nothing newer than what it is scored on."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from components.data.preparation import prepare
from components.data.raw_values import Column
from components.data.sources import Rows
from components.data.splitting import (
    GOLDEN,
    TEST,
    TRAIN,
    UNUSED,
    VALIDATION,
    content,
    share_of,
    split,
    stratified,
    units,
)
from components.errors import AssayError
from components.study.dataset import DatasetSpec

NAMES = ("a", "b", "c")


def of(x: np.ndarray, y: np.ndarray | None = None, **more) -> Rows:
    return Rows(x, np.zeros(len(x), int) if y is None else y, NAMES, **more)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_identical_rows_have_the_number_of_the_first(dtype):
    x = np.array([[1, 2], [3, 4], [1, 2], [2, 1], [3, 4], [1, 2]], dtype)
    assert content(of(x)).first.tolist() == [0, 1, 0, 3, 1, 0]
    assert content(of(np.asfortranarray(x))).first.tolist() == [0, 1, 0, 3, 1, 0]


def test_minus_zero_is_zero_and_every_nan_is_the_same():
    other_nan = np.array([0xFFF8000000000001], np.uint64).view(np.float64)[0]
    assert content(of(np.array([[0.0], [-0.0], [np.nan], [other_nan]]))).first.tolist() == [0, 0, 2, 2]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_groups_are_those_of_the_values(values):
    assert content(of(np.array(values)[:, None])).first.tolist() == [values.index(value) for value in values]


@given(st.permutations(range(12)), st.integers(0, 3))
def test_the_order_follows_from_the_rows_and_not_from_their_places(places, copies):
    x = np.arange(12)[:, None] % (12 - copies)
    y = np.arange(12) % 3
    places = np.array(places)
    straight, turned = content(of(x, y)).order, content(of(x[places], y[places])).order
    np.testing.assert_array_equal(x[straight], x[places][turned])
    np.testing.assert_array_equal(y[straight], y[places][turned])


def test_a_value_counts_by_its_text_and_not_by_its_number():
    """A city or a word that comes in with other rows changes the numbers of those that were there."""
    few, many = (
        Column("city", "category", ("Bonn", "Ulm")),
        Column("city", "category", ("Aachen", "Bonn", "Kiel", "Ulm")),
    )
    one = content(of(np.array([[0.0], [1.0], [np.nan]]), columns=(few,)))
    other = content(of(np.array([[1.0], [3.0], [np.nan]]), columns=(many,)))
    np.testing.assert_array_equal(one.digests, other.digests)
    short = content(of(np.array([[1, 2], [2, 0]], np.int32), words=("a", "c")))
    long = content(of(np.array([[1, 3, 0], [3, 0, 0]], np.int32), words=("a", "b", "c")))
    np.testing.assert_array_equal(short.digests, long.digests)


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
            taken = stratified(rows, y, fraction, seed, NAMES, groups, np.zeros(len(y), int))
        except AssayError:
            assume(False)
        rest = np.setdiff1d(rows, taken)
        assert len(set(taken)) == len(taken)
        assert len(taken) + len(rest) == len(rows)
        assert set(groups[taken - 1000]).isdisjoint(groups[rest - 1000])
        assert set(y[taken - 1000]) == set(y[rest - 1000]) == set(y)
        amounts.add(len(taken))
        assert taken.tolist() == stratified(rows, y, fraction, seed, NAMES, groups, np.zeros(len(y), int)).tolist()
    (amount,) = amounts
    assert abs(amount - len(y) * fraction) <= 10 * len(set(y))


@given(st.lists(st.integers(20, 60), min_size=2, max_size=3), st.sampled_from([0.1, 0.2, 0.5]), st.integers(0, 3))
def test_with_rows_enough_that_stand_alone_proportions_are_exact(counts, fraction, seed):
    y = np.repeat(np.arange(len(counts)), counts)
    groups = np.arange(len(y))
    for start in np.cumsum([0, *counts[:-1]]):
        groups[start : start + 5] = start  # five copies in every class
        groups[start + 5 : start + 7] = start + 5
    taken = stratified(np.arange(len(y)), y, fraction, seed, NAMES, groups, np.zeros(len(y), int))
    assert len(taken) == round(len(y) * fraction)
    assert np.abs(np.bincount(y[taken], minlength=len(counts)) - np.array(counts) * fraction).max() < 1.0001


def test_each_seed_draws_other_groups():
    y, groups = np.repeat([0, 1], 60), np.arange(120) // 2  # every row twice
    drawn = [
        set(groups[stratified(np.arange(120), y, 0.2, seed, NAMES, groups, np.zeros(len(y), int))])
        for seed in range(40)
    ]
    assert len({frozenset(each) for each in drawn}) == 40
    assert set.union(*drawn) == set(range(60))


def test_large_groups_of_all_sizes_are_drawn_at_random_as_well():
    groups = np.repeat(np.arange(40), np.arange(1, 41))
    y = (groups % 2).astype(int)
    drawn = [
        frozenset(groups[stratified(np.arange(820), y, 0.25, seed, NAMES, groups, np.zeros(len(y), int))])
        for seed in range(20)
    ]
    assert len(set(drawn)) > 15


@pytest.mark.parametrize("grouped", [False, True])
def test_seeds_are_balanced_folds_and_go_on_where_others_ended(grouped):
    """Of a fifth each, five seeds take every row once, the next five once more; and twelve begin with the first ten."""
    y = np.repeat([0, 1, 2], 40)
    groups = np.arange(120) // (2 if grouped else 1)
    times, drawn = np.zeros(120, int), []
    for seed in range(12):
        drawn.append(stratified(np.arange(120), y, 0.2, seed, NAMES, groups, times))
        times[drawn[-1]] += 1
        assert np.bincount(y[drawn[-1]]).tolist() == [8, 8, 8]
        assert np.ptp(times) <= 1
    assert not np.array_equal(drawn[0], drawn[5])


def test_windows_of_time_are_spread_evenly():
    """Whatever the number of seeds: no two neighbors are further from each other than twice the mean."""
    starts = np.sort(np.arange(8) * GOLDEN % 1)
    assert np.diff(starts).max() < 2 / 8


def test_a_class_of_copies_alone_is_refused_by_name():
    y = np.array([0] * 20 + [1] * 5)
    groups = np.array([*range(20), *[20] * 5])
    with pytest.raises(AssayError, match="all 5 rows of class 'b' are identical or of one group"):
        stratified(np.arange(25), y, 0.2, 0, NAMES, groups, np.zeros(len(y), int))


def test_many_copies_take_no_longer_than_a_moment():
    groups = np.arange(200_000) // 2
    taken = stratified(np.arange(200_000), groups % 2, 0.2, 0, NAMES, groups, np.zeros(200_000, int))
    assert len(taken) == 40_000


def test_the_copy_in_iris_is_with_its_twin_in_every_draw(make_study, tmp_path):
    prepared = prepare(make_study("sklearn:iris", seeds=30, arms={}), tmp_path)
    twins = [101, 142]
    np.testing.assert_array_equal(*prepared.x[twins])
    for seed in range(30):
        for part in (*prepared.split(seed), prepared.test_rows):
            assert np.isin(twins, part).sum() in (0, 2)


# Whole splits


TABLE = {"source": "table:x.csv", "target": "y"}


@st.composite
def labelled(draw) -> Rows:
    """Rows of two or three classes, some of them copies, in groups and with times."""
    rows = draw(st.integers(20, 120))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.integers(0, draw(st.sampled_from([3 * rows, 10**6])), (rows, 1)).astype(np.float64)
    y = rng.integers(0, draw(st.integers(2, 3)), rows)
    groups = rng.integers(0, rows // 2, rows)
    times = rng.choice(draw(st.sampled_from([5, 1000])), rows).astype(np.float64)
    return Rows(x, y, NAMES, (Column("c"),), groups=groups, times=times)


@given(labelled(), st.sampled_from(["rows", "group", "time"]), st.sampled_from([0.1, 0.2, 0.4]))
def test_every_split_is_disjoint_complete_and_keeps_its_rule(rows, rule, fraction):
    rows.groups = rows.groups if rule == "group" else None
    rows.times = rows.times if rule == "time" else None
    data = DatasetSpec.model_validate({**TABLE, "test": fraction})
    same = content(rows)
    try:
        parts = split(rows, data, 4, same)
    except AssayError:
        assume(False)
    assert parts.shape == (4, len(rows.y))
    assert (parts[0] == TEST).any()
    assert ((parts == TEST) == (parts[0] == TEST)).all(), "the test rows are those of every seed"
    counts = {(np.count_nonzero(one == TRAIN), np.count_nonzero(one == VALIDATION)) for one in parts}
    assert len(counts) == 1, "every seed has as many rows"
    assert 0 not in counts.pop()
    for one in parts:
        sides = [np.flatnonzero(one == part) for part in (TRAIN, VALIDATION, TEST)]
        if rule == "time":
            assert rows.times is not None
            train, validation, test = (rows.times[side] for side in sides)
            assert train.max() <= validation.min()
            assert max(validation.max(), rows.times[one == UNUSED].max(initial=-1)) < test.min()
            continue
        assert set(one) == {TRAIN, VALIDATION, TEST}
        for kept in (same.first, *([] if rows.groups is None else [rows.groups])):
            values = [set(kept[side]) for side in sides]
            assert sum(map(len, values)) == len(set.union(*values))


@given(st.lists(st.integers(15, 60), min_size=2, max_size=3), st.sampled_from([0.1, 0.2, 0.4]))
def test_the_classes_have_their_shares_in_every_part(counts, fraction):
    y = np.repeat(np.arange(len(counts)), counts)
    rows = Rows(np.arange(len(y), dtype=np.float64)[:, None], y, NAMES[: len(counts)], (Column("c"),))
    parts = split(rows, DatasetSpec.model_validate({**TABLE, "test": fraction}), 3, content(rows))
    for one in parts:
        shares = np.bincount(y) / len(y)
        for part in (TRAIN, VALIDATION, TEST):
            mine = np.bincount(y[one == part], minlength=len(counts))
            assert np.abs(mine - shares * mine.sum()).max() <= 1.5


@pytest.mark.parametrize("different", [40, 25], ids=["alone", "copies"])
@pytest.mark.parametrize("in_groups", [False, True], ids=["rows", "groups"])
@given(st.permutations(range(40)))
def test_the_same_rows_in_another_order_are_split_alike(different, in_groups, places):
    rng = np.random.default_rng(0)
    x, y = np.arange(40.0)[:, None] % different, np.arange(40) % 2
    of_group = rng.integers(0, 25, 40)
    data, places = DatasetSpec.model_validate(TABLE), np.array(places)

    def parts(to: np.ndarray) -> np.ndarray:
        rows = Rows(x[to], y[to], NAMES[:2], (Column("c"),), groups=of_group[to] if in_groups else None)
        return split(rows, data, 2, content(rows))

    np.testing.assert_array_equal(parts(np.arange(40))[:, places], parts(places))


def test_a_rare_class_in_groups_of_several_classes_is_in_every_part():
    """Class c comes in 5 of 30 groups, never first: a single draw leaves it out of a part in every third seed."""
    groups = np.arange(120) // 4
    y = np.where((groups % 6 == 5) & (np.arange(120) % 4 == 3), 2, np.arange(120) % 2)
    rows = Rows(np.arange(120.0)[:, None], y, NAMES, (Column("c"),), groups=groups)
    parts = split(rows, DatasetSpec.model_validate(TABLE), 30, content(rows))
    for one in parts:
        for part in (TRAIN, VALIDATION, TEST):
            assert set(y[one == part]) == {0, 1, 2}
            assert np.count_nonzero(one == part) == np.count_nonzero(parts[0] == part)


def test_copies_of_a_group_go_with_it():
    """A row of group 1 equals one of group 2, and another of 2 one of 3: the three are one."""
    x = np.arange(60.0)[:, None]
    groups = np.arange(60) // 3
    x[3], x[6] = x[2], x[5]
    rows = Rows(x, np.arange(60) % 2, NAMES[:2], (Column("c"),), groups=groups)
    for one in split(rows, DatasetSpec.model_validate({**TABLE, "validation": 0.4}), 10, content(rows)):
        assert len(set(one[:9])) == 1


def test_a_seeds_window_in_time_is_its_own():
    rows = Rows(np.arange(200.0)[:, None], np.arange(200) % 2, NAMES[:2], (Column("c"),), times=np.arange(200.0))
    parts = split(rows, DatasetSpec.model_validate(TABLE), 5, content(rows))
    assert np.flatnonzero(parts[0] == TEST).tolist() == list(range(160, 200))
    begins = {int(np.flatnonzero(one)[0]) for one in parts}
    assert len(begins) == 5
    for one in parts:
        used = np.flatnonzero((one == TRAIN) | (one == VALIDATION))
        assert len(used) == 128
        assert (np.diff(used) == 1).all()


def test_rows_that_are_near_in_time_count_as_one():
    times = np.random.default_rng(0).permutation(200).astype(float)
    rows = Rows(np.arange(200.0)[:, None], np.arange(200) % 2, NAMES[:2], (Column("c"),), times=times)
    found = units(rows, content(rows), 26)[np.argsort(times)]
    assert found.tolist() == (np.arange(200) // 8).tolist()


def test_rows_of_one_time_have_no_newest():
    rows = Rows(np.arange(20.0)[:, None], np.arange(20) % 2, NAMES[:2], (Column("c"),), times=np.zeros(20))
    with pytest.raises(AssayError, match="all 20 rows have the same time"):
        split(rows, DatasetSpec.model_validate(TABLE), 1, content(rows))


def test_classes_that_follow_each_other_in_time_are_refused():
    rows = Rows(np.arange(40.0)[:, None], np.arange(40) // 35, NAMES[:2], (Column("c"),), times=np.arange(40.0))
    with pytest.raises(AssayError, match="are all of class 'a'"):
        split(rows, DatasetSpec.model_validate(TABLE), 1, content(rows))


# Test rows of data that grows


def held_out_of(rows: Rows, fraction: float = 0.2, **data: str) -> set[float]:
    parts = split(rows, DatasetSpec.model_validate({**TABLE, "test": fraction, **data}), 1, content(rows))
    return set(rows.x[parts[0] == TEST, 0].tolist())


def growing(count: int, per_group: int = 0) -> Rows:
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(4000, 1)), rng.integers(0, 2, 4000)
    groups = (np.arange(4000) // per_group)[:count] if per_group else None
    return Rows(x[:count], y[:count], NAMES[:2], (Column("c"),), groups=groups)


@pytest.mark.parametrize("per_group", [0, 5], ids=["rows", "groups"])
def test_a_test_row_stays_one_when_rows_are_added(per_group):
    before, after = (held_out_of(growing(count, per_group)) for count in (1000, 1300))
    old = set(growing(1000).x[:, 0].tolist())
    assert (len(before), len(after)) == (200, 260)
    assert len(before & after) >= 0.85 * len(before)
    assert len((after & old) - before) <= 0.15 * len(before)  # few that a model of before was trained on
    many = held_out_of(growing(4000, per_group))
    assert len(before & many) >= 0.8 * len(before)  # by chance it were 0.2


def test_a_group_that_grows_stays_on_its_side():
    """A tenth of the rows more, all of them in groups that were there: few groups change sides."""
    rows = growing(1100, 5)
    assert rows.groups is not None
    rows.groups[1000:] = np.arange(100) * 2
    few = growing(1000, 5)
    assert few.groups is not None
    parts = [split(each, DatasetSpec.model_validate(TABLE), 1, content(each))[0] for each in (few, rows)]
    sides = [set(of[part == TEST]) for of, part in zip((few.groups, rows.groups), parts, strict=True)]
    assert len(sides[0] & sides[1]) >= 0.9 * len(sides[0])
    assert len(sides[0]) in range(35, 46)


def test_a_large_group_is_no_test_of_its_own():
    """By its key it would come first, and bring a third of the rows instead of a tenth."""
    rows = growing(300)
    rows.groups = np.where(np.arange(300) < 100, 0, np.arange(300))  # 0 is the smallest key
    assert len(held_out_of(rows, 0.1)) == 30


# Shares of the train rows


@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.floats(0.01, 1.0), st.integers(0, 3))
def test_a_share_has_every_class_in_proportion_and_is_in_a_larger_one(counts, share, seed):
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    taken, more = share_of(y, share, seed), share_of(y, min(1.0, share * 1.5), seed)
    assert taken.sum() == max(round(len(y) * share), len(counts)) or (np.bincount(y[taken]) == 1).any()
    assert np.abs(np.bincount(y[taken], minlength=len(counts)) - np.array(counts) * share).max() <= 1
    assert not (taken & ~more).any()
    assert share_of(y, 1.0, seed).all()
    np.testing.assert_array_equal(taken, share_of(y, share, seed))
