"""What is served answers on raw rows as the network was evaluated on encoded ones."""

import io
import json
import re

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from scipy.special import softmax
from small import prepare_rows

from components.data.preparation import prepare
from components.data.prepared import Prepared
from components.data.raw_values import Column, as_words
from components.data.scaling import fit
from components.data.sources import Rows
from components.errors import AssayError
from components.serving import saved_model
from components.serving.saved_model import RowError, Served, raw_rows
from components.study.model_catalogue import APPLICATIONS, MODELS
from components.study.recipe import Model, Recipe
from components.training import models

SCALES = ("none", "minmax", "tanh", "standardize", "robust")


def saved(prepared: Prepared, folder, scale: str = "none", seed: int = 0, **model) -> tuple[Served, np.ndarray]:
    """Return a served untrained network, and its probabilities of all rows, encoded as for training."""
    encoder = fit(prepared, seed, {"": Recipe.model_validate({"scale": scale})})[""]
    recipe = Model.model_validate({"units": [8], **model})
    network = models.build(recipe, prepared.schema.inputs, len(prepared.schema.classes), 10, seed)
    saved_model.save(folder, network, encoder, prepared)
    return Served(folder / "model"), softmax(np.array(network(encoder(np.array(prepared.x)))), axis=1)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("data", ["digits", "iris"])
def test_arrays_and_tables_of_numbers(request, tmp_path, data, scale):
    prepared = request.getfixturevalue(data)
    model, evaluated = saved(prepared, tmp_path, scale, name="cnn" if data == "digits" else "mlp")
    raw = raw_rows(prepared, np.arange(len(prepared.y)))
    np.testing.assert_allclose(model(raw), evaluated, atol=1e-5)
    np.testing.assert_allclose(model(raw[:3]), evaluated[:3], atol=1e-5)
    assert model(raw[:0]).shape == (0, len(prepared.schema.classes))


NETWORKS = [name for name, model in MODELS.items() if not model.trees and not name.startswith(APPLICATIONS)]


def prepared_texts(folder) -> Prepared:
    words, x, _ = as_words([f"w{i % 7} w{i % 5} {'more' * (i % 3)} w{i}" for i in range(60)], 5)
    return prepare_rows(Rows(x, np.arange(60) % 2, ("a", "b"), words=words), folder, "text:x.csv", words=5)


@pytest.mark.parametrize("name", [*NETWORKS, "applications/MobileNetV3Small"])
def test_every_network_as_it_was_evaluated(request, tmp_path, name):
    for kind in MODELS[name].kinds:
        folder = tmp_path / kind
        if kind == "text":
            prepared = prepared_texts(folder)
        elif kind == "table":
            prepared = prepare_rows(rows_of(people(0, 80)), folder, "table:x.csv")
        else:
            prepared = request.getfixturevalue("digits")
            folder.mkdir()
        scale = "none" if kind == "text" else "minmax"
        model, evaluated = saved(prepared, folder, scale, name=name, units=[8, 4], embedding=8)
        chosen = np.arange(40)
        np.testing.assert_allclose(model(raw_rows(prepared, chosen)), evaluated[chosen], atol=1e-5)
        if name in NETWORKS:  # an untrained backbone says the same of all images
            assert np.ptp(evaluated, axis=0).max() > 1e-4


@pytest.mark.parametrize(
    ("offset", "unit"),
    [(1e4, 1.0), (1e6, 1.0), (1.6e9, 1.0), (0.0, 1e-9), (0.0, 1e20), (3e-5, 1e-8), (0.0, 1e200), (0.0, 1e-200)],
    ids=[
        "ten thousands",
        "millions",
        "seconds since 1970",
        "nanometres",
        "astronomers' metres",
        "small",
        "1e200",
        "1e-200",
    ],
)
@pytest.mark.parametrize("scale", SCALES[1:])
def test_columns_in_any_unit(tmp_path, offset, unit, scale):
    x = offset + unit * np.random.default_rng(0).normal(size=(200, 2))
    rows = Rows(x, np.arange(200) % 2, ("a", "b"), (Column("c"), Column("d")))
    model, evaluated = saved(prepare_rows(rows, tmp_path, "table:x.csv"), tmp_path, scale)
    np.testing.assert_allclose(model(pd.DataFrame({"c": x[:, 0], "d": x[:, 1]})), evaluated, atol=1e-5)
    assert np.ptp(evaluated[:, 0]) > 0.05, "the digits that tell rows apart are there"


CITIES = ("Bonn", "K\u00f6ln", "Ulm")


def people(seed: int, rows: int) -> pd.DataFrame:
    """A table with numbers, booleans, categories and missing values, as a user has it."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 10, rows).round(1),
            "smokes": rng.choice([True, False], rows).astype(object),
            "city": rng.choice(CITIES, rows).astype(object),
        }
    )
    for name in frame:
        frame.loc[rng.random(rows) < 0.1, name] = None
    return frame


def rows_of(frame: pd.DataFrame) -> Rows:
    columns = (Column("age"), Column("smokes", "boolean"), Column("city", "category", CITIES))
    smokes = [np.nan if pd.isna(v) else float(v) for v in frame["smokes"]]
    city = [np.nan if pd.isna(v) else CITIES.index(v) for v in frame["city"]]
    x = np.stack([frame["age"].to_numpy(np.float64), np.array(smokes), np.array(city)], axis=1)
    return Rows(x, np.arange(len(frame)) % 2, ("no", "yes"), columns)


@pytest.mark.parametrize("categories", ["one-hot", "embedding"])
@pytest.mark.parametrize("scale", SCALES)
def test_tables_with_categories_booleans_and_missing_values(tmp_path, scale, categories):
    frame = people(0, 80)
    prepared = prepare_rows(rows_of(frame), tmp_path, "table:x.csv")
    model, evaluated = saved(prepared, tmp_path, scale, categories=categories)
    np.testing.assert_allclose(model(frame), evaluated, atol=1e-5)
    as_a_file_has_it = frame.astype(object).where(frame.notna(), "").astype(str)
    np.testing.assert_allclose(model(as_a_file_has_it), evaluated, atol=1e-5)
    np.testing.assert_allclose(model(raw_rows(prepared, np.arange(80))), evaluated, atol=1e-5)


def test_an_unknown_category_counts_as_unseen(tmp_path):
    model, _ = saved(prepare_rows(rows_of(people(0, 80)), tmp_path, "table:x.csv"), tmp_path)
    rows = pd.DataFrame({"age": [30.0] * 3, "smokes": [True] * 3, "city": ["Paris", "Rom", "Bonn"]})
    paris, rome, bonn = model(rows)
    np.testing.assert_array_equal(paris, rome)
    assert (paris != bonn).any()


@pytest.mark.parametrize("repeated", [1, 50], ids=["few", "many"])
@pytest.mark.parametrize(
    "codes", [("01067", "1069", "80331"), ("1.0", "2.0", "2.50"), ("FALSE", "TRUE", "unused"), ("0", "false", "1.5")]
)
def test_codes_are_known_though_pandas_reads_them_as_numbers(tmp_path, codes, repeated):
    """The model is asked with a data frame as in the README: read by pandas, which knows nothing of codes."""
    x = (np.arange(60) % (2 if codes[2] == "unused" else 3))[:, None].astype(np.float64)
    columns = (Column("code", "category", codes),)
    rows = Rows(np.c_[x, np.arange(60.0)], np.arange(60) // 3 % 2, ("a", "b"), (*columns, Column("n")))
    model, evaluated = saved(prepare_rows(rows, tmp_path, "table:x.csv"), tmp_path)
    file = io.StringIO("code,n\n" + "".join(f"{codes[int(c)]},{n}\n" for n, c in enumerate(x[:, 0])) * repeated)
    np.testing.assert_allclose(model(pd.read_csv(file)), np.tile(evaluated, (repeated, 1)), atol=1e-5)


def test_codes_of_32_bits_are_known_in_few_rows_and_in_many(tmp_path):
    """A column of Parquet may be float32, whose 0.1 is another number as float64."""
    codes = (np.arange(600) % 3 / 10).astype(np.float32)
    column = Column("code", "category", ("0", "0.1", "0.2"))
    rows = Rows(np.c_[np.arange(600) % 3, np.arange(600.0)], np.arange(600) // 3 % 2, ("a", "b"), (column, Column("n")))
    model, evaluated = saved(prepare_rows(rows, tmp_path, "table:x.parquet"), tmp_path)
    frame = pd.DataFrame({"code": codes, "n": np.arange(600)})
    np.testing.assert_allclose(model(frame), evaluated, atol=1e-5)
    np.testing.assert_allclose(model(frame[:3]), evaluated[:3], atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(12, 60), st.sampled_from(SCALES), st.integers(0, 2))
def test_any_table_and_seed(tmp_path_factory, seed, rows, scale, of_seed):
    frame, folder = people(seed, rows), tmp_path_factory.mktemp("data")
    try:
        prepared = prepare_rows(rows_of(frame), folder, "table:x.csv", test=0.3, validation=0.3)
    except AssayError:  # too many copies
        assume(False)
    model, evaluated = saved(prepared, folder, scale, of_seed)
    np.testing.assert_allclose(model(frame), evaluated, atol=1e-5)


def test_a_row_that_can_not_be_read_is_said(tmp_path):
    model, _ = saved(prepare_rows(rows_of(people(0, 80)), tmp_path, "table:x.csv"), tmp_path)
    row = {"age": [30.0], "smokes": [True], "city": ["Ulm"]}
    with pytest.raises(ValueError, match="columns are missing: city; got age, smokes"):
        model(pd.DataFrame({"age": [30.0], "smokes": [True]}))
    for rows, place in ((3, 1), (1000, 0), (1000, 613), (1000, 999)):
        ages = pd.Series(["30"] * rows, index=range(7, 7 + rows), dtype=object)
        ages.iloc[place] = "young"
        frame = pd.DataFrame({"age": ages, "smokes": True, "city": "Ulm"})
        for table in (frame, pa.Table.from_pandas(frame)):
            with pytest.raises(RowError, match=f"^row {place}, column 'age': expected a number, got 'young'$") as error:
                model(table)
            assert error.value.row == place
    with pytest.raises(ValueError, match=r"column 'smokes': expected a boolean, got .*often"):
        model(pd.DataFrame({**row, "smokes": ["often"]}))
    for large in ("inf", "-1e+300"):  # training refuses the first, and float32 has no room for the second
        with pytest.raises(ValueError, match=re.escape(f"row 1, column 'age': {large} is too large")):
            model(pd.DataFrame({"age": [30.0, float(large)], "smokes": [True] * 2, "city": ["Ulm"] * 2}))


TEXTS = ["Good, very good!", "bad", "not good at all", "\u597d\u7684 ok", "", "It's fine.", "BAD bad bad"] * 6


@pytest.mark.parametrize("vocabulary", [4, 1000])
def test_texts(tmp_path, vocabulary):
    words, x, _ = as_words(TEXTS, 4)
    x[:, 3] = np.where(np.arange(len(x)) % 2 & (x[:, 3] == 0), 1, x[:, 3])  # so that not all are copies
    rows = Rows(x, np.arange(len(x)) % 2, ("a", "b"), words=words)
    prepared = prepare_rows(rows, tmp_path, "text:x.csv", words=4, vocabulary=vocabulary)
    model, evaluated = saved(prepared, tmp_path)
    np.testing.assert_allclose(model(raw_rows(prepared, np.arange(len(x)))), evaluated, atol=1e-5)
    untouched = np.flatnonzero(np.arange(len(x)) % 2 == 0)
    np.testing.assert_allclose(model([TEXTS[i] for i in untouched]), evaluated[untouched], atol=1e-5)
    assert np.ptp(evaluated[:, 0]) > 1e-3


@pytest.mark.parametrize("value", [None, np.nan, 5])
def test_what_is_no_text_is_said(tmp_path, value):
    """A cell without text is NaN in the data frame that pandas reads."""
    words, x, _ = as_words(TEXTS, 6)
    rows = Rows(x, np.arange(len(TEXTS)) % 2, ("a", "b"), words=words)
    model, _ = saved(prepare_rows(rows, tmp_path, "text:x.csv"), tmp_path)
    with pytest.raises(ValueError, match=f"row 1: expected text, got {value}"):
        model(["good", value])


def test_a_saved_model_has_the_words_and_values_of_its_train_rows_only(tmp_path):
    x = np.arange(1, 41, dtype=np.int32)[:, None]
    words = tuple(f"w{i:02}" for i in range(1, 41))
    prepared = prepare_rows(Rows(x, np.arange(40) % 2, ("a", "b"), words=words), tmp_path, "text:x.csv")
    saved(prepared, tmp_path, seed=1)
    kept = json.loads((tmp_path / "model" / "encoder.json").read_text())["words"]
    assert sorted(kept) == sorted(words[row] for row in prepared.split(1)[0])


def test_files_of_images(tmp_path, make_study):
    rng = np.random.default_rng(0)
    files = []
    for row in range(24):
        folder = tmp_path / "images" / f"class {row % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(rng.integers(0, 256, (12, 9 + row % 3, 3)).astype(np.uint8))
        image.save(folder / f"{row:02}.{('png', 'jpg')[row % 3 == 0]}")
        files.append(folder / f"{row:02}.{('png', 'jpg')[row % 3 == 0]}")
    files.sort()
    study = make_study(f"images:{tmp_path / 'images'}", seeds=1, arms={}, data={"image_size": [8, 6]})
    prepared = prepare(study, tmp_path)
    model, evaluated = saved(prepared, tmp_path, "standardize", name="cnn")
    np.testing.assert_allclose(model([file.read_bytes() for file in files]), evaluated, atol=1e-5)
    bitmap = io.BytesIO()
    Image.fromarray(np.array(prepared.x[3])).save(bitmap, "BMP")
    np.testing.assert_allclose(model([bitmap.getvalue()]), evaluated[3:4], atol=1e-5)
    with pytest.raises(ValueError, match="row 1 is no PNG, JPEG, BMP or GIF image"):
        model([files[0].read_bytes(), b"nothing"])
    with pytest.raises(ValueError, match=r"expected images of shape \(8, 6, 3\), got \(8, 8, 3\)"):
        model(np.zeros((1, 8, 8, 3)))
    pixels = np.zeros((3, 8, 6, 3))
    pixels[2, 5, 4, 1] = np.nan
    with pytest.raises(ValueError, match="row 2 has a pixel that is no finite number"):
        model(pixels)


def test_a_saved_model_needs_nothing_but_its_folder(digits, tmp_path):
    _, evaluated = saved(digits, tmp_path, "minmax", name="cnn")
    keras.backend.clear_session()
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    np.testing.assert_allclose(Served(tmp_path / "elsewhere")(np.array(digits.x)), evaluated, atol=1e-5)
