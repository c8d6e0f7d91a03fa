"""What is said of a training: measured numbers made up, and real trainings that go wrong or well."""

import json
from typing import Any

import numpy as np
import pytest

from components.data.encoding import Inputs
from components.reporting.phrases import diagnosis_as_text
from components.study.recipe import Recipe, Train, merge
from components.training.backends.tensorflow_program import Program
from components.training.diagnosis import QUANTITIES, by_layer, diagnose
from components.training.engine import CURVES, Fit, Split

SOUND = {"gradient_norm": 1.0, "weight_norm": 5.0, "update_ratio": 1e-3, "dead": 0.1, "spread": 0.5}


def made_up(epochs: int = 6, losses: list[float] | None = None, **layers: dict[str, Any]) -> Fit:
    """Return a training in which layers are sound but for what is given: a number, or one for each epoch."""
    rows = [
        [np.broadcast_to(np.array({**SOUND, **of}.get(quantity, np.nan), float), epochs) for quantity in QUANTITIES]
        for of in layers.values()
    ]
    fit = Fit(layers=tuple(layers), diagnostics=list(np.moveaxis(np.array(rows), 2, 0)))
    fit.curves["loss"] = losses or np.geomspace(1, 0.1, epochs).tolist()
    return fit


def told(fit: Fit, **train: Any) -> list[str]:
    return [diagnosis_as_text(diagnosis) for diagnosis in diagnose(fit, 10, Train.model_validate(train))]


# In words


def test_nothing_is_said_of_a_sound_training():
    assert told(made_up(dense_1={}, logits={})) == []


def test_a_training_that_has_learned_all_is_sound():
    """In the end all gradients are tiny together, or nothing at all."""
    shrinking = {"gradient_norm": [1, 0.1, 1e-3, 1e-6, 1e-12, 0], "update_ratio": [1e-2, 1e-3, 1e-5, 1e-7, 1e-9, 0]}
    assert told(made_up(dense_1=shrinking, logits=shrinking)) == []


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (
            {"gradient_norm": [2e-7, 2e-7, 2e-7, 2e-7, 1e-7, 1]},
            "gradients vanish: layer dense_1 receives 2e-7 of the last layer's",
        ),
        ({"gradient_norm": 0.0}, "gradients vanish: layer dense_1 receives 0 of the last layer's"),
        ({"gradient_norm": 3e4}, "gradients explode: layer dense_1 receives 30000 times the last layer's"),
        (
            {"dead": [0, 0, 0, 0.7, 0.75, 0.75], "gradient_norm": 0.0},
            "units are dead: 75 % of layer dense_1 are positive for no row of a batch",
        ),
        ({"saturated": 0.9}, "units saturate: 90 % of the outputs of layer dense_1 are at an end"),
        (
            {"update_ratio": 0.3},
            "updates are too large: a step changes layer dense_1 by 30 % of its weights; lower train.learning_rate "
            "(now 0.001)",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_layer_and_its_size(first, expected):
    assert told(made_up(dense_1=first, dense_2={}, logits={})) == [expected]


def test_updates_are_too_small_only_where_no_layer_ever_moves():
    still = {"update_ratio": 4e-7}
    assert told(made_up(dense_1=still, logits={})) == []
    assert told(made_up(dense_1=still, logits=still), learning_rate=1e-7) == [
        "updates are too small: a step changes no layer by more than 4e-7 of its weights; raise train.learning_rate "
        "(now 1e-07)"
    ]


def test_units_that_only_the_first_epochs_leave_dead_are_sound():
    assert told(made_up(dense_1={"dead": [1, 1, 0.2, 0.1, 0.1, 0.1]}, logits={})) == []


def test_a_loss_that_is_no_number_has_its_epoch_its_reason_and_a_cure():
    fit = made_up(6, dense_1={"gradient_norm": [1, 2, 4, 50, 900, 8e4]}, logits={})
    fit.diverged = 6
    first, *_ = told(fit, epochs=20, learning_rate=0.5)
    assert first == (
        "training diverges: the loss is not a finite number in epoch 7 of 20 after gradients grew from 1 to 80000, in "
        "layer dense_1 the most; lower train.learning_rate (now 0.5) or clip gradients (train.clip_norm)"
    )
    assert "clip_norm" not in told(fit, clip_norm=1.0)[0]


def test_a_loss_that_rises_above_guessing_diverges_though_it_is_a_number():
    """Of ten classes, guessing has a cross-entropy of 2.3."""
    assert told(made_up(3, [2.0, 5.0, 30.0], logits={}))[0].startswith(
        "training diverges: the training loss rose from 2 to 30, and guessing has 2.3"
    )
    assert told(made_up(3, [40.0, 35.0, 30.0], logits={})) == []
    assert told(made_up(3, [0.1, 0.2, 2.2], logits={})) == []


def test_a_divergence_is_named_without_diagnostics_too():
    fit = Fit(curves={name: [1.0] for name in CURVES}, diverged=1)
    assert told(fit)[0].startswith("training diverges: the loss is not a finite number in epoch 2 of 100; lower")
    assert by_layer(fit) == {}


def test_layers_have_what_they_have_as_json():
    fit = made_up(2, conv_1={"dead": np.nan, "gradient_norm": [1.0, np.inf]}, logits={"spread": np.nan, "dead": np.nan})
    found = by_layer(fit)
    assert json.loads(json.dumps(found, allow_nan=False))["conv_1"]["gradient_norm"] == [1.0, None]
    assert list(found["conv_1"]) == ["gradient_norm", "weight_norm", "update_ratio", "spread"]
    assert found["conv_1"]["gradient_norm"] == (1.0, None)
    assert list(found["logits"]) == ["gradient_norm", "weight_norm", "update_ratio"]


# Real trainings


@pytest.fixture(scope="module")
def trained(digits):
    """Return a function: train on digits, and return what is found."""
    x, y = np.asarray(digits.x[:700], np.float32) / 16, np.array(digits.y[:700])
    split = Split(x[:500], y[:500], x[500:], y[500:])

    def train(**changes: Any) -> tuple[list[str], Fit]:
        base = {"model": {"units": [32, 32]}, "train": {"epochs": 8, "early_stopping": None}}
        recipe = Recipe.model_validate(merge(base, changes))
        fit = Program(recipe, Inputs((8, 8, 1)), 10, 500).fit(split, recipe.train, 0, np.array([0.3, 0.0, 1.0]))
        return [diagnosis.kind for diagnosis in diagnose(fit, 10, recipe.train)], fit

    return train


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": {"batch_norm": False}, "train": {"epochs": 60}},
        {"model": {"batch_norm": False, "activation": "tanh"}},
        {"model": {"batch_norm": False, "activation": "sigmoid"}},
        {"model": {"activation": "gelu", "dropout": 0.5}},
        {"model": {"name": "cnn", "units": [8, 16]}, "train": {"schedule": "cosine"}},
        {"model": {"name": "resnet", "units": [4, 8]}, "train": {"epochs": 3}},
        {"model": {"name": "logistic", "batch_norm": False}, "train": {"optimizer": "sgd", "learning_rate": 0.01}},
    ],
    ids=json.dumps,
)
def test_sound_trainings_have_no_findings(trained, changes):
    assert trained(**changes)[0] == []


def test_a_learning_rate_far_too_high_kills_units(trained):
    found, _ = trained(model={"batch_norm": False}, train={"learning_rate": 1.0})
    assert "units are dead" in found


def test_tanh_units_with_large_weights_saturate(trained):
    found, _ = trained(model={"batch_norm": False, "activation": "tanh"}, train={"learning_rate": 0.3})
    assert "units saturate" in found


def test_a_tiny_learning_rate_is_said(trained):
    found, _ = trained(train={"learning_rate": 1e-7})
    assert found == ["updates are too small"]
