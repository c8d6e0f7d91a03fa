import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn import datasets
from small import prepare_rows, rewritten

from components.data.preparation import check, prepare
from components.data.raw_values import Column
from components.data.sources import Rows, read
from components.data.splitting import stratified
from components.errors import AssayError
from components.study.dataset import DatasetSpec


def rows_of(x, y, **more) -> Rows:
    x, y = np.asarray(x), np.asarray(y)
    columns = () if x.ndim > 2 else tuple(Column(f"c{i}") for i in range(x.shape[1]))
    return Rows(x, y, more.pop("classes", ("a", "b")), columns, **more)


# scikit-learn's data sets


@pytest.mark.parametrize(
    ("name", "shape", "rows", "classes"),
    [
        ("digits", (8, 8, 1), 1797, 10),
        ("iris", (4,), 150, 3),
        ("wine", (13,), 178, 3),
        ("breast_cancer", (30,), 569, 2),
    ],
)
def test_scikit_learns_rows_come_unchanged(name, shape, rows, classes, tmp_path):
    found, bunch = read(DatasetSpec(source=f"sklearn:{name}"), tmp_path), getattr(datasets, f"load_{name}")()
    assert found.x.shape == (rows, *shape)
    assert found.x.dtype == (np.float32 if name == "digits" else np.float64)
    np.testing.assert_array_equal(found.x.reshape(rows, -1), bunch.data)
    np.testing.assert_array_equal(found.y, bunch.target)
    assert found.classes == tuple(map(str, bunch.target_names))
    assert len(found.classes) == classes
    assert len(found.columns) == (0 if name == "digits" else shape[0])


# The split


def test_splits_are_disjoint_and_complete(digits):
    for seed in range(3):
        train, validation = digits.split(seed)
        together = np.concatenate([train, validation, digits.test_rows])
        assert sorted(together) == list(range(1797))
        assert len(train) == digits.schema.splits["train"]
        assert len(validation) == digits.schema.splits["validation"]


def test_the_fractions_are_of_all_rows_and_of_the_rest(digits):
    assert digits.schema.splits == {"test": 359, "validation": 288, "train": 1150}  # 0.2 of 1797; 0.2 of 1438


def test_every_class_is_in_proportion_in_every_part(iris):
    train, validation = iris.split(1)
    for part, share in ((iris.test_rows, 10), (validation, 8), (train, 32)):
        assert np.bincount(iris.y[part]).tolist() == [share] * 3


def test_each_seed_has_its_own_validation_rows_and_always_the_same(digits, make_study, tmp_path):
    again = prepare(make_study(seeds=5, arms={}), tmp_path)
    drawn = [digits.split(seed)[1].tolist() for seed in range(3)]
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]
    assert drawn == [again.split(seed)[1].tolist() for seed in range(3)]
    np.testing.assert_array_equal(digits.test_rows, again.test_rows)


@given(st.lists(st.integers(0, 3), min_size=4, max_size=120), st.floats(0.05, 0.9), st.integers(0, 5))
@example([0] * 97 + [1] * 3, 0.1, 0)  # a rare class, of which a tenth is less than a row
def test_whatever_the_labels_every_class_is_in_both_parts_or_it_is_refused(labels, fraction, seed):
    y, rows = np.array(labels), np.arange(len(labels)) + 1000
    try:
        taken = stratified(rows, y, fraction, seed, ("a", "b", "c", "d"), rows, np.zeros_like(rows))
    except AssayError:
        return
    rest = np.setdiff1d(rows, taken)
    assert len(taken) == round(len(y) * fraction)
    assert len(set(taken)) == len(taken)
    assert set(taken) <= set(rows)
    assert set(y[taken - 1000]) == set(y[rest - 1000]) == set(y)


@given(st.lists(st.integers(20, 60), min_size=2, max_size=4), st.sampled_from([0.1, 0.2, 0.5]))
def test_classes_keep_their_proportions(counts, fraction):
    y = np.repeat(np.arange(len(counts)), counts)
    taken = stratified(np.arange(len(y)), y, fraction, 0, ("a", "b", "c", "d"), np.arange(len(y)), np.zeros_like(y))
    assert np.abs(np.bincount(y[taken], minlength=len(counts)) - np.array(counts) * fraction).max() < 1.0001


# The fingerprint


def test_the_fingerprint_is_that_of_the_content(digits, tmp_path):
    assert rewritten(digits, tmp_path).schema.fingerprint == digits.schema.fingerprint


def test_any_changed_pixel_label_or_test_row_is_another_fingerprint(digits, tmp_path):
    x, y = np.array(digits.x), np.array(digits.y)
    x[1796, 7, 7, 0] += 1
    y[1796] = (y[1796] + 1) % 10
    classes = ("zero", *digits.schema.classes[1:])
    changed = [{"x": x}, {"y": y}, {"classes": classes}, {"x": np.float64(digits.x)}]
    prints = {rewritten(digits, tmp_path / "data", **change).schema.fingerprint for change in changed}
    parts = np.load(digits.folder / "parts.npy")
    train, test = digits.split(0)[0][0], digits.test_rows[0]
    parts[:, [train, test]] = parts[:, [test, train]]
    copy = rewritten(digits, tmp_path / "copy")
    np.save(copy.folder / "parts.npy", parts)
    prints.add(rewritten(copy, tmp_path / "data").schema.fingerprint)
    assert len(prints | {digits.schema.fingerprint}) == len(changed) + 2


def test_the_same_rows_in_another_order_are_the_same_data(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2)), rng.integers(0, 2, 60)
    places = rng.permutation(60)
    columns = (Column("a"), Column("b"))
    one, other = (
        prepare_rows(Rows(x[to], y[to], ("a", "b"), columns), tmp_path / name, "table:x.csv")
        for name, to in (("one", slice(None)), ("other", places))
    )
    assert one.schema.fingerprint == other.schema.fingerprint
    for seed in range(3):
        for mine, theirs in zip(one.split(seed), other.split(seed), strict=True):
            np.testing.assert_array_equal(one.x[mine], other.x[theirs])


def test_another_time_or_group_of_a_row_is_another_fingerprint(tmp_path):
    """The test rows are the same, and other rows are validated on: no finished cell may be taken for this data."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 1)), np.arange(60) % 2
    turned = np.r_[np.arange(40)[::-1], np.arange(40, 60)]

    def fingerprint(groups: np.ndarray | None = None, times: np.ndarray | None = None, **data) -> str:
        own = {"test": np.arange(12)}
        rows = Rows(x, y, ("a", "b"), (Column("c"),), groups=groups, times=times, splits=own)
        return prepare_rows(rows, tmp_path, "table:x.csv", **data).schema.fingerprint

    assert fingerprint(times=np.arange(60.0)) != fingerprint(times=turned.astype(float))
    pairs = np.arange(60) // 2
    joined = [fingerprint(groups=np.where(pairs == one, 0, pairs)) for one in range(30)]
    assert len(set(joined)) == 30
    same = fingerprint(groups=pairs[::-1], test="test") == fingerprint(groups=pairs, test="test")
    assert same, "which number a group has does not count, but for a draw of test rows"


def test_more_seeds_are_the_same_data(digits, make_study, tmp_path):
    assert prepare(make_study(seeds=1, arms={}), tmp_path).schema.fingerprint == digits.schema.fingerprint


# What no study can be made of


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (rows_of(np.zeros((0, 2)), np.zeros(0, int)), "the data has no rows"),
        (rows_of(np.zeros((3, 2)), [1, 1, 1]), "all 3 rows are of class 'b'; a study needs two classes or more"),
        (rows_of(np.zeros((3, 2)), [0, -1, -1]), "2 rows have no label"),
        (
            rows_of(np.zeros((10**5, 1)), np.arange(10**5), classes=tuple(map(str, range(10**5)))),
            "the 100000 rows have 100000 classes, such as '0' and '1'; expected at most 10000",
        ),
        (rows_of([[0, 1], [2, np.inf]], [0, 1], names=("line 2", "line 3")), "line 3, column 'c1' is inf"),
        (rows_of([[0, 1], [-np.inf, 0]], [0, 1]), "row 1, column 'c0' is -inf"),
        (rows_of(np.full((2, 2, 2, 1), np.nan), [0, 1]), "row 0, pixel 0 is nan"),
    ],
)
def test_unusable_rows_are_refused(rows, words):
    with pytest.raises(AssayError, match=words):
        check(rows)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64])
def test_usable_rows_of_any_number_type_pass(dtype):
    check(rows_of(np.ones((4, 2), dtype), [0, 1, 0, 1]))


@pytest.mark.parametrize(
    ("source", "data"),
    [
        ("sklearn:iris", {"test": 0.01}),  # 2 rows for 3 classes
        ("sklearn:iris", {"test": 0.99}),
        ("sklearn:iris", {"validation": 0.001}),
    ],
)
def test_too_small_parts_are_refused(make_study, tmp_path, source, data):
    with pytest.raises(AssayError, match=r"too few rows to split: 1[25]0 rows of 3 classes"):
        prepare(make_study(source, data=data, arms={}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_class_with_one_row_is_named():
    with pytest.raises(AssayError, match="1 of class 'b'"):
        stratified(np.arange(10), np.array([0] * 9 + [1]), 0.3, 0, ("a", "b"), np.arange(10), np.zeros(10, int))


# The step


def test_a_store_that_can_not_be_written_stops_the_step_before_anything_is_read(make_study, tmp_path):
    from components.steps.load import load

    blocked = tmp_path / "file"
    blocked.write_text("")
    study = make_study("tfds:never_read").model_dump_json()
    with pytest.raises(OSError, match="file"):
        load(study, "run", str(blocked / "store"), str(tmp_path / "data"), str(tmp_path / "runs.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_step_writes_data_and_run_numbers(tiny):
    assert json.loads((tiny.folder / "data" / "data.json").read_text())["rows"] == 1797
    assert set(tiny.runs.arms) == {"reference", "same", "narrow", "long"}
    assert {event["step"] for event in tiny.events} == {"load", "scale", "train", "evaluate", "register"}


def test_prepared_data_is_read_where_it_is_used(digits):
    assert isinstance(digits.x, np.memmap)
    assert Path(digits.folder / "x.npy").stat().st_size >= digits.x.nbytes
