from typing import Any

import numpy as np
import pytest
import skops.io
from small import prepare_rows

from components.data.encoding import Inputs
from components.data.prepared import Prepared
from components.data.raw_values import Column
from components.data.scaling import fit
from components.data.sources import Rows
from components.errors import AssayError
from components.serving import saved_model, tree_files
from components.serving.saved_model import Served, raw_rows
from components.stats.metrics import scores
from components.study.model_catalogue import MODELS
from components.study.recipe import Recipe
from components.training.engine import CURVES, Split
from components.training.feed import Streamed
from components.training.trees import Forest

TREES = [name for name, model in MODELS.items() if model.trees]
TABLE = Inputs((3,), sizes=(4,))


def fitted(name: str, split: Split, inputs: Inputs, classes: int, seed: int = 0) -> tuple[Forest, Any]:
    recipe = Recipe.model_validate({"model": {"name": name}})
    forest = Forest(recipe, inputs, classes)
    return forest, forest.fit(split, recipe.train, seed, np.zeros((3, 0)))


def split_of(prepared: Prepared, seed: int = 0) -> tuple[Split, Any]:
    encoder = fit(prepared, seed, {"": Recipe()})[""]
    train, validation = prepared.split(seed)
    x, y = prepared.x, np.array(prepared.y)
    return Split(encoder(x[train]), y[train], encoder(x[validation]), y[validation]), encoder


def mixed(rows: int) -> Any:
    """Two numbers and a category; the class is the parity of the category's number, with a little of the first."""
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(size=rows), rng.normal(size=rows), rng.integers(0, 4, rows)], axis=1).astype(np.float32)
    y = ((x[:, 2] % 2) + (x[:, 0] > 1)).astype(np.int32)
    half = rows // 2
    return Split(x[:half], y[:half], x[half:], y[half:])


@pytest.mark.parametrize("name", TREES)
def test_trees_learn_and_a_seed_repeats(name):
    split = mixed(400)
    forest, fit = fitted(name, split, TABLE, 3)
    found = forest.probabilities(split.val_x)
    assert (found.dtype, found.shape) == (np.float32, (200, 3))
    assert fit.curves["val_accuracy"] == [scores(found, split.val_y)["accuracy"]]
    assert fit.curves["val_accuracy"][0] > 0.95
    assert {len(fit.curves[curve]) for curve in CURVES} == {1}
    again, _ = fitted(name, split, TABLE, 3)
    np.testing.assert_array_equal(again.probabilities(split.val_x), found)


def test_a_seed_is_another_forest():
    split = mixed(200)
    first, second = (fitted("random_forest", split, TABLE, 3, seed)[0].probabilities(split.val_x) for seed in (0, 1))
    assert (first != second).any()


def test_boosted_trees_know_which_columns_are_categories():
    forest, _ = fitted("hist_gradient_boosting", mixed(200), Inputs((3,), sizes=(4,)), 3)
    assert forest.network.is_categorical_.tolist() == [False, False, True]
    forest, _ = fitted("hist_gradient_boosting", mixed(200), Inputs((3,), sizes=(256,)), 3)
    assert forest.network.is_categorical_ is None


@pytest.mark.parametrize("name", TREES)
def test_a_class_without_train_rows_has_no_chance(name):
    split = mixed(200)
    forest, _ = fitted(name, Split(split.x, split.y * 2, split.val_x, split.val_y * 2), TABLE, 5)
    found = forest.probabilities(split.val_x)
    np.testing.assert_array_equal(found[:, [1, 3]], 0)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "data"), [("random_forest", "digits"), ("random_forest", "table"), ("hist_gradient_boosting", "table")]
)
def test_served_trees_answer_on_raw_rows_as_they_were_evaluated(request, tmp_path, name, data):
    if data == "digits":
        prepared = request.getfixturevalue("digits")
    else:
        x, rng = mixed(300).x.astype(np.float64), np.random.default_rng(0)
        x[rng.random(x.shape) < 0.1] = np.nan
        columns = (Column("a"), Column("b"), Column("c", "category", ("u", "v", "w", "x")))
        rows = Rows(x, np.arange(len(x)) % 2, ("no", "yes"), columns)
        prepared = prepare_rows(rows, tmp_path / "data", "table:x.csv")
    split, encoder = split_of(prepared)
    forest, _ = fitted(name, split, prepared.schema.inputs, len(prepared.schema.classes))
    saved_model.save(tmp_path, forest.network, encoder, prepared)
    served, chosen = Served(tmp_path / "model"), prepared.test_rows
    expected = forest.probabilities(encoder(prepared.x[chosen]))
    np.testing.assert_allclose(served(raw_rows(prepared, chosen)), expected, atol=1e-6)
    assert served(raw_rows(prepared, chosen[:0])).shape == (0, len(prepared.schema.classes))
    assert set(skops.io.get_untrusted_types(file=tmp_path / "model" / tree_files.FILE)) <= set(tree_files.TRUSTED)


def test_rows_that_do_not_fit_into_memory_are_said():
    split = mixed(40)
    streamed = Streamed(lambda rows: split.x[rows], np.arange(20), 5)
    with pytest.raises(AssayError, match="random_forest needs all rows in memory; raise the study's `memory`"):
        fitted("random_forest", Split(streamed, split.y, split.val_x, split.val_y), TABLE, 3)
