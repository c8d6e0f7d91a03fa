"""A new model is a builder and a row: it is then known to studies, trained, scored, registered and loaded."""

import keras
import numpy as np
import pytest

from components.data.encoding import Inputs
from components.errors import StudyError
from components.serving.saved_model import Served, raw_rows
from components.study.model_catalogue import MODELS, ModelType
from components.study.study import Study
from components.training.models.layers import Layers, features


def bottleneck(x: keras.KerasTensor, layers: Layers, inputs: Inputs, units: tuple[int, ...]) -> keras.KerasTensor:
    narrow = layers.dense(features(x, layers, inputs), units[0], "narrow")
    return layers.dense(narrow, units[1], "wide")


def extra_trees(inputs: Inputs, seed: int):
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(20, random_state=seed)


ROWS = {
    "bottleneck": ModelType(
        description="a narrow layer before a wide one",
        builder=f"{__name__}:bottleneck",
        kinds=("image",),
        cost=1.0,
        units=(12, 24),
        own={"model": {"dropout": 0.0}},
    ),
    "extra_trees": ModelType(
        description="extremely randomized trees (Geurts et al. 2006)",
        builder=f"{__name__}:extra_trees",
        kinds=("image", "table"),
        cost=10.0,
        own=MODELS["random_forest"].own,
        trees=True,
    ),
}


@pytest.fixture(autouse=True)
def _rows(monkeypatch):
    for name, row in ROWS.items():
        monkeypatch.setitem(MODELS, name, row)


def test_a_study_knows_the_model(make_study):
    recipe = make_study(recipe={"model": {"name": "bottleneck"}}).recipe
    assert (recipe.model.name, recipe.model.dropout, recipe.augment.rotate) == ("bottleneck", 0.0, 10.0)
    assert {*ROWS} < set(Study.model_json_schema()["$defs"]["Model"]["properties"]["name"]["enum"])
    with pytest.raises(StudyError, match=r"bottleneck needs images, and the data is a table; .*, extra_trees"):
        make_study("sklearn:iris", recipe={"model": {"name": "bottleneck"}})


@pytest.mark.slow
@pytest.mark.usefixtures("in_workplace")
def test_a_study_trains_the_model_through_all_steps(run_steps):
    model = {"name": "bottleneck", "units": None}
    recipe = {"model": model, "train": {"epochs": 8, "learning_rate": 0.01, "early_stopping": False}}
    steps = run_steps("adding a model", recipe=recipe, arms={"trees": {"model.name": "extra_trees"}}).all()
    assert [effect["arm"] for effect in steps.verdict["effects"]] == ["trees"]
    network, trees = steps.cell("0-0").result, steps.cell("1-0").result
    assert list(network.diagnostics) == ["narrow", "wide", "logits"]
    assert network.validation["accuracy"] > 0.5
    assert trees.computed.backend == "scikit-learn"
    assert trees.validation["accuracy"] > 0.9
    assert steps.decision.decision == "promoted"
    some = steps.prepared.test_rows[:20]
    for cell in (steps.cell("0-0"), steps.cell("1-0")):
        answers = Served(cell.model)(raw_rows(steps.prepared, some))
        np.testing.assert_allclose(answers, cell.probabilities("test")[:20], atol=1e-5)
