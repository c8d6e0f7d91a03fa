import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from components import scale as module
from components.prepared import Prepared
from components.scale import Scaler, Statistics, read_scaler, scale

SCALES = ("none", "minmax", "tanh", "standardize")


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_VALUES", 7)


def expected(kind: str, x: np.ndarray, axis) -> np.ndarray:
    """The textbook's formula over all train rows at once."""
    low, high = x.min(axis), x.max(axis)
    return {
        "none": x,
        "minmax": (x - low) / (high - low),
        "tanh": 2 * (x - low) / (high - low) - 1,
        "standardize": (x - x.mean(axis)) / x.std(axis),
    }[kind]


def spread_of(scaled, axis) -> np.ndarray:
    return np.stack([scaled.std(axis), scaled.min(axis), scaled.max(axis)])


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("kind", SCALES)
def test_columns_of_a_table_are_scaled_each_by_itself(iris, kind):
    rows = iris.split(0)[0]
    x = np.asarray(iris.x[rows], np.float64)
    scaler = Statistics.of(iris.x, rows, "table").scaler(kind)
    np.testing.assert_allclose(scaler(iris.x[rows]), expected(kind, x, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scaler.spread, spread_of(expected(kind, x, 0), 0), rtol=1e-6, atol=1e-12)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("kind", SCALES)
def test_pixels_of_images_are_scaled_all_alike(digits, kind):
    rows = digits.split(0)[0]
    x = np.asarray(digits.x[rows], np.float64)
    scaler = Statistics.of(digits.x, rows, "image").scaler(kind)
    np.testing.assert_allclose(scaler(digits.x[rows]), expected(kind, x, None), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scaler.spread, spread_of(expected(kind, x, None), None), rtol=1e-6, atol=1e-12)
    assert scaler.offset.shape == scaler.divisor.shape == ()
    assert scaler.spread.shape == (3,)


def test_bytes_are_scaled_without_overflow():
    x = np.arange(256, dtype=np.uint8).reshape(16, 4, 4, 1)
    scaled = Statistics.of(x, np.arange(16), "image").scaler("tanh")(x)
    assert scaled.dtype == np.float32
    assert (scaled.min(), scaled.max()) == (-1, 1)


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(2, 40), st.integers(1, 3)), elements=st.floats(-1e6, 1e6, width=32)),
    st.integers(1, 50),
)
def test_statistics_are_those_of_numpy_however_the_rows_are_cut(x, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_VALUES", chunk)
        found = Statistics.of(x, np.arange(len(x)), "table")
    x = np.float64(x)
    np.testing.assert_array_equal(found.low, x.min(0))
    np.testing.assert_array_equal(found.high, x.max(0))
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(found.std, x.std(0), rtol=1e-6, atol=1e-6)


@given(st.floats(-1e9, 1e9), st.integers(2, 300), st.sampled_from([np.float32, np.float64]))
def test_a_constant_column_is_only_shifted(value, rows, dtype):
    x = np.full((rows, 1), value, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_VALUES", 16)
        statistics = Statistics.of(x, np.arange(rows), "table")
    for kind in SCALES[1:]:
        scaler = statistics.scaler(kind)
        assert scaler.divisor == 1
        assert scaler.spread[0] == 0
        assert scaler.spread[1] == scaler.spread[2]
        assert abs(scaler(x)).max() <= abs(value) * 1e-6


def test_a_small_spread_about_a_great_mean_keeps_its_digits():
    x = (1e8 + np.tile([0.0, 1.0, 2.0], 3000))[:, np.newaxis]
    found = Statistics.of(x, np.arange(len(x)), "table")
    np.testing.assert_allclose(found.std, np.sqrt(2 / 3), rtol=1e-9)


@pytest.mark.parametrize("kind", SCALES)
def test_only_the_train_rows_count(iris, kind):
    train, validation = iris.split(0)
    x = np.array(iris.x)
    before = Statistics.of(x, train, "table").scaler(kind)
    x[validation] = 1e9
    x[iris.test_rows] = np.nan
    after = Statistics.of(x, train, "table").scaler(kind)
    for name in ("offset", "divisor", "spread"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


# The step


def test_the_step_writes_a_scaler_for_each_seed_and_scaling_in_use(make_study, iris, tmp_path):
    study = make_study("sklearn:iris", seeds=3, arms={"scale": ["minmax"]})
    scale(study.model_dump_json(), str(iris.folder), str(tmp_path / "scalers.json"))
    written = json.loads((tmp_path / "scalers.json").read_text())
    assert {seed: sorted(of) for seed, of in written.items()} == {s: ["minmax", "standardize"] for s in "012"}
    for seed in range(3):
        rows = iris.split(seed)[0]
        fresh = Statistics.of(iris.x, rows, "table").scaler("standardize")
        read = read_scaler(tmp_path / "scalers.json", seed, "standardize")
        np.testing.assert_array_equal(read(iris.x), fresh(iris.x))
    assert written["0"] != written["1"]


def test_a_scaler_for_images_survives_its_file(make_study, digits, tmp_path):
    study = make_study(seeds=1, arms={})
    scale(study.model_dump_json(), str(digits.folder), str(tmp_path / "scalers.json"))
    read = read_scaler(tmp_path / "scalers.json", 0, "minmax")
    assert isinstance(read, Scaler)
    assert (read.offset.shape, float(read.offset), float(read.divisor)) == ((), 0.0, 16.0)


def test_the_step_reads_no_test_rows(make_study, iris, tmp_path):
    """The same file comes out whatever the test rows hold."""
    study = make_study("sklearn:iris", seeds=3, arms={}).model_dump_json()
    poisoned = np.array(iris.x)
    poisoned[iris.test_rows] = np.nan
    schema = iris.schema
    other = Prepared.write(
        tmp_path / "data",
        kind="table",
        source=schema.source,
        x=poisoned,
        y=np.array(iris.y),
        classes=schema.classes,
        columns=schema.columns,
        test=iris.test_rows,
        validation=np.stack([iris.split(seed)[1] for seed in range(3)]),
    )
    scale(study, str(iris.folder), str(tmp_path / "a.json"))
    scale(study, str(other.folder), str(tmp_path / "b.json"))
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()
