import json
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from small import prepare_rows, study_of

from components.data import scaling as module
from components.data.prepared import Prepared
from components.data.raw_values import Column
from components.data.scaling import fit, image_statistics, read_encoder, vocabulary
from components.data.sources import Rows
from components.errors import AssayError
from components.study.recipe import Recipe

SCALES = ("none", "minmax", "tanh", "standardize", "robust")


def recipes(*scales: str, **more) -> dict[str, Recipe]:
    return {name: Recipe.model_validate({"scale": name, **more}) for name in scales}


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr("components.data.prepared.CHUNK_VALUES", 7)


def expected(kind: str, x: np.ndarray, axis) -> np.ndarray:
    """The textbook's formula over all train rows at once."""
    low, high = x.min(axis), x.max(axis)
    q1, median, q3 = np.quantile(x, (0.25, 0.5, 0.75), axis)
    return {
        "none": x,
        "minmax": (x - low) / (high - low),
        "tanh": 2 * (x - low) / (high - low) - 1,
        "standardize": (x - x.mean(axis)) / x.std(axis),
        "robust": (x - median) / (q3 - q1),
    }[kind]


def spread_of(scaled, axis) -> np.ndarray:
    return np.stack([scaled.std(axis), scaled.min(axis), scaled.max(axis)])


@pytest.mark.parametrize("kind", SCALES)
def test_columns_of_a_table_are_scaled_each_by_itself(iris, kind):
    rows = iris.split(0)[0]
    x = np.asarray(iris.x[rows], np.float64)
    encoder = fit(iris, 0, recipes(kind))[kind]
    np.testing.assert_allclose(encoder(iris.x[rows]), expected(kind, x, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(encoder.spread, spread_of(expected(kind, x, 0), 0), rtol=1e-6, atol=1e-12)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("kind", SCALES)
def test_pixels_of_images_are_scaled_all_alike(digits, kind):
    rows = digits.split(0)[0]
    x = np.asarray(digits.x[rows], np.float64)
    encoder = fit(digits, 0, recipes(kind))[kind]
    # Digits are whole numbers in floats: the quartiles come out of a histogram, exact to 1/65536 of the range.
    tolerance: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4} if kind == "robust" else {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(encoder(digits.x[rows]), expected(kind, x, None), **tolerance)
    np.testing.assert_allclose(encoder.spread, spread_of(expected(kind, x, None), None), **tolerance)
    assert encoder.offset.shape == encoder.divisor.shape == ()
    assert encoder.spread.shape == (3,)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("kind", SCALES)
def test_channels_are_scaled_each_by_itself_where_that_is_wanted(kind, tmp_path):
    x = np.random.default_rng(0).integers(0, [50, 100, 250], (60, 4, 5, 3)).astype(np.uint8)
    rows = Rows(x, np.arange(60) % 2, ("a", "b"))
    prepared = prepare_rows(rows, tmp_path, "images:x")
    train = prepared.split(0)[0]
    encoder = fit(prepared, 0, recipes(kind, scale_per_channel=True))[kind]
    pixels = np.asarray(x[train], np.float64)
    wanted = expected(kind, pixels.reshape(-1, 3), 0).reshape(pixels.shape)
    if kind == "robust":  # of whole numbers a quartile is one of them, and not between two
        assert encoder.offset.tolist() == pytest.approx(np.median(pixels.reshape(-1, 3), axis=0), abs=0.5)
        np.testing.assert_allclose(encoder.divisor, np.subtract(*np.quantile(pixels, (0.75, 0.25), (0, 1, 2))), atol=1)
    else:
        np.testing.assert_allclose(encoder(x[train]), wanted, rtol=1e-5, atol=1e-5)
    assert encoder.offset.shape == (3,)
    assert encoder.spread.shape == (3, 3)


def test_bytes_are_scaled_without_overflow(tmp_path):
    x = np.arange(256, dtype=np.uint8).reshape(16, 4, 4, 1)
    statistics = image_statistics(x, np.arange(16))
    assert statistics.scaling("tanh")[:2] == (127.5, 127.5)
    assert statistics.quartiles.tolist() == [63, 127, 191]  # of 0..255 exactly: of an even number the lower middle one


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(2, 40), st.integers(1, 3)), elements=st.floats(-1e6, 1e6, width=32)),
    st.integers(1, 50),
)
def test_statistics_of_pixels_are_those_of_numpy_however_the_rows_are_cut(x, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("components.data.prepared.CHUNK_VALUES", chunk)
        found = image_statistics(x[:, None, None], np.arange(len(x)), per_channel=True)
    x = np.float64(x)
    np.testing.assert_array_equal(found.low, x.min(0))
    np.testing.assert_array_equal(found.high, x.max(0))
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(found.std, x.std(0), rtol=1e-6, atol=1e-6)
    quartiles = np.quantile(x, (0.25, 0.5, 0.75), axis=0, method="inverted_cdf")
    assert (np.abs(found.quartiles - quartiles) <= np.ptp(x, axis=0) * 2**-15).all()


@given(st.floats(-1e9, 1e9), st.integers(2, 300), st.sampled_from([np.float32, np.float64]))
def test_what_is_constant_is_only_shifted(value, rows, dtype):
    x = np.full((rows, 1, 1, 1), value, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("components.data.prepared.CHUNK_VALUES", 16)
        statistics = image_statistics(x, np.arange(rows))
    for kind in SCALES[1:]:
        offset, divisor, spread = statistics.scaling(kind)
        assert divisor == 1
        assert spread[0] == 0
        assert spread[1] == spread[2]
        assert abs(x - offset).max() <= abs(value) * 1e-6


def test_a_small_spread_about_a_great_mean_keeps_its_digits():
    x = (1e8 + np.tile([0.0, 1.0, 2.0], 3000))[:, None, None, None]
    np.testing.assert_allclose(image_statistics(x, np.arange(len(x))).std, np.sqrt(2 / 3), rtol=1e-9)


def test_where_the_quartiles_are_equal_the_standard_deviation_scales(tmp_path):
    x = np.zeros((100, 2))
    x[:20, 0] = np.arange(20)
    x[:, 1] = np.arange(100)  # so that no row is a copy
    rows = Rows(x, np.arange(100) % 2, ("a", "b"), (Column("c"), Column("d")))
    prepared = prepare_rows(rows, tmp_path, "table:x.csv", target="y")
    encoder = fit(prepared, 0, recipes("robust"))["robust"]
    np.testing.assert_allclose(encoder(x)[:, 0], x[:, 0] / x[prepared.split(0)[0], 0].std(), rtol=1e-6)


# Missing values, categories, words


COLUMNS = (Column("age"), Column("smokes", "boolean"), Column("city", "category", ("Bonn", "Kiel", "Ulm")))


@pytest.fixture
def people(tmp_path) -> Prepared:
    """200 rows; a tenth of the ages and of the cities is missing, and Ulm is rare."""
    rng = np.random.default_rng(3)
    x = np.stack([rng.normal(40, 10, 200), rng.integers(0, 2, 200), rng.choice(3, 200, p=[0.5, 0.45, 0.05])], axis=1)
    x[rng.choice(200, 20, replace=False), 0] = np.nan
    x[rng.choice(200, 20, replace=False), 2] = np.nan
    return prepare_rows(Rows(x, rng.integers(0, 2, 200), ("no", "yes"), COLUMNS), tmp_path, "table:x.csv", target="y")


def test_a_missing_number_becomes_the_train_median_and_a_flag(people):
    train = people.split(0)[0]
    encoder = fit(people, 0, recipes("none"))["none"]
    encoded, x = encoder(people.x), np.asarray(people.x)
    missing = np.isnan(x[:, 0])
    assert people.schema.inputs.flags == (0,)
    np.testing.assert_allclose(encoded[missing, 0], np.nanmedian(x[train, 0]), rtol=1e-6)
    np.testing.assert_allclose(encoded[~missing, 0], x[~missing, 0], rtol=1e-6)
    np.testing.assert_array_equal(encoded[:, 2], missing)


def test_categories_are_numbered_as_the_train_rows_have_them(people):
    encoder = fit(people, 0, recipes("none"))["none"]
    x = np.array([[1.0, 0.0, 0], [1, 0, 1], [1, 0, 2], [1, 0, np.nan], [1, 0, 3]])
    assert encoder(x)[:, 3].tolist() == [2, 3, 4, 1, 0]


def test_a_value_that_the_train_rows_lack_is_unseen(people):
    """Seed by seed: a city without a train row gets the number of those never seen, and the others close up."""
    x = np.array(people.x)
    parts = np.load(people.folder / "parts.npy")
    x[(parts[0] == 1) & (x[:, 2] == 0), 2] = 1  # no train row of seed 0 is from Bonn
    np.save(people.folder / "x.npy", x)
    encoder = fit(Prepared(people.folder), 0, recipes("none"))["none"]
    assert encoder(np.array([[1.0, 0, 0], [1, 0, 1], [1, 0, 2]]))[:, 3].tolist() == [0, 2, 3]


def test_a_column_without_any_value_is_nothing(tmp_path):
    x = np.full((40, 2), np.nan)
    x[:, 1] = np.arange(40)
    rows = Rows(x, np.arange(40) % 2, ("a", "b"), (Column("empty"), Column("full")))
    prepared = prepare_rows(rows, tmp_path, "table:x.csv", target="y")
    for encoder in fit(prepared, 0, recipes(*SCALES)).values():
        assert np.isfinite(encoder(x)).all()
        assert (encoder(x)[:, 0] == 0).all()


def test_a_vocabulary_has_the_most_frequent_words_and_of_equals_the_first():
    x = np.array([[3, 3, 1], [2, 1, 3], [4, 0, 0], [5, 5, 5]], np.int32)
    assert vocabulary(x, np.array([0, 1, 2]), 5).tolist() == [3, 1, 2]
    assert vocabulary(x, np.array([0, 1, 2]), 100).tolist() == [3, 1, 2, 4]


def test_words_are_numbered_by_the_vocabulary_of_the_train_rows(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(1, 31, (90, 6)).astype(np.int32)
    x[rng.random(x.shape) < 0.2] = 0
    rows = Rows(x, np.arange(90) % 3, ("a", "b", "c"), words=tuple(f"w{i:02}" for i in range(1, 31)))
    prepared = prepare_rows(rows, tmp_path, "text:x.csv", vocabulary=12)
    encoder = fit(prepared, 0, recipes("none"))["none"]
    known = encoder.known[0]
    assert prepared.schema.inputs.sizes == (14,)
    assert len(known) == 12
    table = {0: 0, **{int(word): number for number, word in enumerate(known, 2)}}
    np.testing.assert_array_equal(encoder(x), np.vectorize(lambda word: table.get(word, 1))(x))


# Nothing leaks


@st.composite
def any_rows(draw) -> tuple[Rows, str]:
    """A small table with every type of column, or texts."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = draw(st.integers(12, 40))
    y = rng.permutation(np.arange(rows) % 2)
    if draw(st.booleans()):
        words = tuple(f"w{i:02}" for i in range(draw(st.integers(2, 30))))
        x = rng.integers(0, len(words) + 1, (rows, draw(st.integers(1, 6)))).astype(np.int32)
        return Rows(x, y, ("a", "b"), words=words), "text:x.csv"
    columns, x = [], []
    kinds: list[Any] = ["number", "boolean", "category"]
    for i, kind in enumerate(draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4))):
        values = tuple(f"v{j:02}" for j in range(draw(st.integers(1, 12)))) if kind == "category" else ()
        columns.append(Column(f"c{i}", kind, values))
        number = rng.normal(0, 10.0 ** draw(st.integers(-3, 6)), rows)
        x.append(number if kind == "number" else rng.integers(0, len(values) or 2, rows))
    table = np.stack(x, axis=1).astype(np.float64)
    table[rng.random(table.shape) < draw(st.sampled_from([0.0, 0.3, 0.9]))] = np.nan
    return Rows(table, y, ("a", "b"), tuple(columns)), "table:x.csv"


@given(any_rows(), st.integers(0, 2), st.sampled_from(SCALES))
def test_no_test_or_validation_row_reaches_a_statistic_or_a_vocabulary(tmp_path_factory, data, seed, kind):
    rows, source = data
    try:
        prepared = prepare_rows(rows, tmp_path_factory.mktemp("data"), source, test=0.3, validation=0.3)
    except AssayError:  # too many rows are copies
        assume(False)
    wanted = recipes("none" if source.startswith("text") else kind)
    before = {name: encoder.to_json() for name, encoder in fit(prepared, seed, wanted).items()}
    others = np.setdiff1d(np.arange(len(rows.y)), prepared.split(seed)[0])
    x = np.array(prepared.x)
    x[others] = x[np.random.default_rng(seed).permutation(others)]
    x[others[: len(others) // 2]] = x.max(initial=0) if source.startswith("text") else np.nan
    np.save(prepared.folder / "x.npy", x)
    after = {name: encoder.to_json() for name, encoder in fit(Prepared(prepared.folder), seed, wanted).items()}
    assert json.dumps(before) == json.dumps(after)


# The step


def test_the_step_writes_an_encoder_for_each_seed_and_scaling_in_use(make_study, iris, tmp_path):
    study = make_study("sklearn:iris", seeds=3, arms={"scale": ["minmax"]})
    module.write(study, iris, tmp_path / "scalers.json")
    written = json.loads((tmp_path / "scalers.json").read_text())
    assert {seed: sorted(of) for seed, of in written.items()} == {s: ["minmax", "standardize"] for s in "012"}
    for seed in range(3):
        fresh = fit(iris, seed, recipes("standardize"))["standardize"]
        read = read_encoder(tmp_path / "scalers.json", seed, study.recipe, iris)
        np.testing.assert_array_equal(read(iris.x), fresh(iris.x))
    assert written["0"] != written["1"]


def test_each_channel_is_a_scaling_of_its_own(tmp_path):
    study = study_of(seeds=1, arms={"scale_per_channel": [True]}, data={"source": "tfds:any"})
    x = np.random.default_rng(0).integers(0, 256, (40, 3, 3, 3)).astype(np.uint8)
    prepared = prepare_rows(Rows(x, np.arange(40) % 2, ("a", "b")), tmp_path, "tfds:any")
    module.write(study, prepared, tmp_path / "scalers.json")
    whole, each = (read_encoder(tmp_path / "scalers.json", 0, arm.recipe, prepared) for arm in study.expand())
    assert (whole.offset.shape, each.offset.shape) == ((), (3,))


def test_an_encoder_for_images_survives_its_file(make_study, digits, tmp_path):
    study = make_study(seeds=1, arms={})
    module.write(study, digits, tmp_path / "scalers.json")
    read = read_encoder(tmp_path / "scalers.json", 0, study.recipe, digits)
    assert (read.offset.shape, float(read.offset), float(read.divisor)) == ((), 0.0, 16.0)
