"""What is measured inside a network: against NumPy, and without a trace in the training."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.data.encoding import Inputs
from components.runtime.checkpoint import Checkpoint
from components.study.recipe import Model, Recipe, merge
from components.training import models
from components.training.backends.tensorflow_program import Program
from components.training.diagnosis import QUANTITIES
from components.training.engine import Fit, Split
from components.training.layer_watch import LOGITS, LayerStatistics

TRAIN = 150
SPREAD = np.array([0.3, 0.0, 1.0])


@pytest.fixture(scope="module")
def split(digits) -> Split:
    x, y = np.asarray(digits.x[:210], np.float32) / 16, np.array(digits.y[:210])
    return Split(x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:])


def recipe_of(**changes: Any) -> Recipe:
    small = {"model": {"units": [12, 8]}, "train": {"epochs": 2, "batch_size": 64, "early_stopping": None}}
    return Recipe.model_validate(merge(small, changes))


def program_of(recipe: Recipe) -> Program:
    return Program(recipe, Inputs((8, 8, 1)), 10, TRAIN)


def table(fit: Fit, epoch: int = 0) -> dict[str, dict[str, float]]:
    return {
        layer: dict(zip(QUANTITIES, row.tolist(), strict=True))
        for layer, row in zip(fit.layers, fit.diagnostics[epoch], strict=True)
    }


def by_hand(recipe: Recipe, split: Split) -> dict[str, dict[str, float]]:
    """Take the first epoch's first step, on 128 of 150 rows, by Keras itself, and return what it shows."""
    network = models.build(recipe.model, Inputs((8, 8, 1)), 10, 2, 0)
    x = np.asarray(split.x)
    rows = np.random.default_rng((0, 0)).permutation(TRAIN)[: recipe.train.batch_size]
    with tf.GradientTape(persistent=True) as tape:
        data_loss = tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(
                split.y[rows], network(x[rows], training=True), from_logits=True
            )
        )
        loss = data_loss + sum(network.losses)
    values = [w.value for w in network.trainable_variables]
    gradients, of_data = tape.gradient(loss, values), tape.gradient(data_loss, values)
    gradient_of = {w.path: np.array(g, np.float64) for w, g in zip(network.trainable_variables, of_data, strict=True)}
    watched = keras.Model(network.input, [layer.output for layer in network.layers])
    outputs = dict(zip([layer.name for layer in network.layers], watched(x[rows], training=True), strict=True))
    before = {w.path: np.array(w, np.float64) for w in network.trainable_variables}
    keras.optimizers.SGD(recipe.train.learning_rate).apply(gradients, network.trainable_variables)
    expected = {}
    for name in ("dense_1", "dense_2", "logits"):
        kernel = network.get_layer(name).kernel
        row = {
            "gradient_norm": np.linalg.norm(gradient_of[kernel.path]),
            "weight_norm": np.linalg.norm(before[kernel.path]),
            "update_ratio": np.linalg.norm(np.array(kernel) - before[kernel.path])
            / np.linalg.norm(before[kernel.path]),
        }
        if name != "logits":
            out = np.array(outputs[f"{name}_{recipe.model.activation}"], np.float64)
            row["spread"] = np.mean([out[:, unit].std() for unit in range(out.shape[1])])
            if recipe.model.activation == "relu":
                row["dead"] = np.mean([(out[:, unit] <= 0).all() for unit in range(out.shape[1])])
            elif recipe.model.activation == "tanh":
                row["saturated"] = np.mean(np.abs(out) > 0.97)
            else:
                row["saturated"] = np.mean((out < 0.015) | (out > 0.985))
        expected[name] = {quantity: row.get(quantity, np.nan) for quantity in QUANTITIES}
    return expected


@pytest.mark.parametrize(
    "model",
    [{"batch_norm": True}, {"batch_norm": False, "l2": 0.1, "l1": 0.01}]
    + [{"batch_norm": False, "activation": activation} for activation in ("tanh", "sigmoid")],
    ids=["batch normalization", "L2", "tanh", "sigmoid"],
)
def test_the_numbers_are_those_of_the_last_whole_batch(split, model):
    """With batches of 128 the first of two is whole; inputs are so large that units are dead or saturated."""
    large = Split(5 * (split.x + 1), split.y, split.val_x, split.val_y)
    train = {"batch_size": 128, "optimizer": "sgd", "learning_rate": 0.01, "epochs": 1}
    recipe = recipe_of(model=model, train=train)
    found = table(program_of(recipe).fit(large, recipe.train, 0, SPREAD))
    expected = by_hand(recipe, large)
    assert list(found) == list(expected)
    for layer, row in expected.items():
        assert found[layer] == pytest.approx(row, rel=1e-4, nan_ok=True), layer
    idle = [row["dead"] if model.get("activation") is None else row["saturated"] for row in expected.values()]
    assert model["batch_norm"] or np.nanmax(idle) > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"dropout": 0.3, "l2": 0.001}, "train": {"ema": 0.9, "clip_norm": 1.0}},
        {"model": {"name": "cnn", "units": [4, 4]}, "train": {"optimizer": "rmsprop"}},
        {"model": {"name": "resnet", "units": [4, 8]}, "train": {"epochs": 1}},
        {"model": {"name": "logistic", "batch_norm": False}},
    ],
    ids=lambda changes: changes["model"].get("name", "mlp"),
)
def test_training_is_bit_for_bit_the_same_without_diagnostics(split, changes):
    fits, weights = [], []
    for on in (True, False):
        recipe = recipe_of(**merge(changes, {"train": {"diagnostics": on}}))
        program = program_of(recipe)
        fits.append(program.fit(split, recipe.train, 0, SPREAD))
        weights.append(program.network.get_weights())
    assert fits[0].curves == fits[1].curves
    assert all(np.array_equal(one, other) for one, other in zip(*weights, strict=True))
    assert len(fits[0].diagnostics) == len(fits[0].curves["loss"])
    assert (fits[1].layers, fits[1].diagnostics) == ((), [])


def test_every_layer_with_kernels_and_every_activation_is_watched():
    def layers(inputs: Inputs, **model: Any) -> tuple[str, ...]:
        return LayerStatistics(models.build(Model.model_validate(model), inputs, 3, 10, 0), "relu").layers

    image, text = Inputs((8, 8, 1)), Inputs((6,), sizes=(9,), dtype="int32")
    assert layers(image, name="cnn", units=[4, 4]) == ("conv_1", "conv_2", "dense_1", "logits")
    assert layers(image, name="resnet", units=[4])[:4] == (
        "stem",
        "stage_1_block_1_start",
        "stage_1_block_1_conv_1",
        "stage_1_block_1_middle",
    )
    assert layers(text, name="bilstm", units=[3, 2], embedding=4) == ("words", "lstm_1", "lstm_2", "dense_1", "logits")
    assert layers(image, name="logistic") == ("logits",)


def test_what_a_layer_does_not_have_is_no_number(split):
    recipe = recipe_of(model={"name": "resnet", "units": [4]}, train={"epochs": 1})
    found = table(program_of(recipe).fit(split, recipe.train, 0, SPREAD))
    kernels, activity = {"gradient_norm", "weight_norm", "update_ratio"}, {"dead", "spread"}
    for layer, has in (("stem", kernels), ("last", activity), ("logits", kernels)):
        assert {quantity for quantity, value in found[layer].items() if not np.isnan(value)} == has


def test_kernels_of_a_layer_are_measured_as_one_vector():
    """An LSTM from either end has four kernels; so has a network inside the network many."""
    text = Inputs((6,), sizes=(9,), dtype="int32")
    network = models.build(Model.model_validate({"name": "bilstm", "units": [3], "embedding": 4}), text, 3, 10, 0)
    watch = LayerStatistics(network, "relu")
    rng = np.random.default_rng(0)
    shapes = [network.trainable_variables[i].shape for i in watch.kernels]
    gradients, before, after = ([rng.normal(size=shape).astype(np.float32) for shape in shapes] for _ in range(3))
    outputs = watch.network(rng.integers(0, 9, (5, 6)).astype(np.int32))
    assert LOGITS in outputs
    row = np.array(watch.measure(gradients, before, after, outputs))[watch.layers.index("lstm_1")]
    mine = [i for i, n in enumerate(watch.kernels) if "lstm_1" in network.trainable_variables[n].path]
    assert len(mine) == 4
    lengths = [
        np.sqrt(sum((of[i].astype(float) ** 2).sum() for i in mine))
        for of in (gradients, before, [a - b for a, b in zip(after, before, strict=True)])
    ]
    np.testing.assert_allclose(row[:3], [lengths[0], lengths[1], lengths[2] / lengths[1]], rtol=1e-5)


def test_one_layer_that_breaks_does_not_hide_the_others():
    network = models.build(Model.model_validate({"units": [3, 2]}), Inputs((4,)), 2, 10, 0)
    watch = LayerStatistics(network, "relu")
    kernels = [np.array(network.trainable_variables[i]) for i in watch.kernels]
    broken = [np.full_like(kernels[0], np.inf), *kernels[1:]]
    outputs = watch.network(np.ones((5, 4), np.float32), training=False)
    measured = np.array(watch.measure(broken, kernels, kernels, outputs))
    assert np.isinf(measured[0, 0])
    assert np.isfinite(measured[1:, 0]).all()


def test_a_last_batch_of_few_rows_is_not_measured(split):
    """150 rows in batches of 149: with one row alone, every unit's spread would be 0."""
    recipe = recipe_of(train={"batch_size": 149})
    found = table(program_of(recipe).fit(split, recipe.train, 0, SPREAD))
    assert found["dense_1"]["spread"] > 0.1


def test_a_training_of_less_than_a_batch_is_measured(split):
    recipe = recipe_of(train={"batch_size": 1000})
    fitted = program_of(recipe).fit(split, recipe.train, 0, SPREAD)
    assert np.isfinite(fitted.diagnostics[-1][:, 0]).all()


def test_a_continued_training_has_the_diagnostics_of_all_its_epochs(split, tmp_path):
    recipe = recipe_of(train={"epochs": 3})
    whole = program_of(recipe).fit(split, recipe.train, 0, SPREAD)

    def killed(epoch: int, values: dict[str, float]) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    program, checkpoint = program_of(recipe), Checkpoint(tmp_path / "checkpoint", 0.0)
    with pytest.raises(KeyboardInterrupt):
        program.fit(split, recipe.train, 0, SPREAD, killed, checkpoint)
    resumed = program.fit(split, recipe.train, 0, SPREAD, checkpoint=checkpoint)
    assert resumed.resumed == 2
    np.testing.assert_array_equal(resumed.diagnostics, whole.diagnostics)
