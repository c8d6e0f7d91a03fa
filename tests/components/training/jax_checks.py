"""What is tested of JAX in a process of its own, which `test_jax` starts: Keras has one backend in a process.

The process has two devices, of which most tests see one.
"""

import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
import pytest
import tensorflow as tf
from test_engine import SPREAD, TRAIN, VALIDATION, by_keras, fit, same, split, weights
from trainers import trainer_on

from components.data.encoding import Inputs
from components.runtime import devices
from components.runtime.checkpoint import Checkpoint
from components.study.recipe import Recipe, Train, merge
from components.training.augment import augment
from components.training.backends import jax_program
from components.training.backends.jax_program import Program
from components.training.engine import CURVES, Split
from components.training.feed import Streamed

__all__ = ["split"]  # the fixture

DEVICES = jax.local_devices()


@pytest.fixture(autouse=True)
def _devices(request, monkeypatch):
    """Show one device, but to tests that ask for more."""
    count = getattr(request, "param", 1)
    monkeypatch.setattr("jax.local_devices", lambda: DEVICES[:count])
    devices.device.cache_clear()


def recipe_of(**changes: Any) -> Recipe:
    small = {
        "model": {"units": [12, 8]},
        "train": {"epochs": 3, "batch_size": 64, "early_stopping": None, "backend": "jax"},
    }
    return Recipe.model_validate(merge(small, changes))


def program_of(recipe: Recipe) -> Program:
    return Program(recipe, Inputs((8, 8, 1)), 10, TRAIN)


def test_the_process_computes_with_jax():
    assert keras.config.backend() == "jax"
    assert len(DEVICES) == 2
    assert tf.config.get_visible_devices("GPU") == []


# The same numbers as Keras


@pytest.mark.parametrize(
    ("model", "train"),
    [
        ({"name": "cnn", "units": [4], "l2": 0.001}, {"optimizer": "rmsprop"}),
        (
            {"batch_norm": False, "layer_norm": True, "l1": 0.01},
            {
                "clip_norm": 0.5,
                "weight_decay": 0.5,
                "schedule": "cosine",
                "warm_up": 1,
                "learning_rate": 0.01,
                "label_smoothing": 0.1,
                "class_weights": "balanced",
            },
        ),
    ],
    ids=["cnn with batch normalization and L2", "mlp with all that is compiled into a step"],
)
def test_a_cell_is_trained_to_the_numbers_of_keras_itself(split, model, train):
    recipe = recipe_of(model=model, train=train)
    program = program_of(recipe)
    curves = fit(program, split, recipe, seed=5).curves
    network, expected = by_keras(recipe, split, seed=5)
    for name in CURVES:
        np.testing.assert_allclose(curves[name], expected[name], rtol=1e-5, err_msg=name)
    for ours, theirs in zip(weights(program), network.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_averaged_weights_are_what_is_scored(split):
    """The average starts at the weights after the first step, and takes its share of each step that follows."""
    base = {"batch_size": TRAIN, "learning_rate": 0.05}
    plain, after = program_of(recipe_of(model={"batch_norm": False}, train=base)), []
    for epochs in (1, 2, 3):
        fit(plain, split, recipe_of(train={**base, "epochs": epochs}))
        after.append(weights(plain))
    recipe = recipe_of(model={"batch_norm": False}, train={**base, "ema": 0.8})
    program = program_of(recipe)
    fitted = fit(program, split, recipe)
    for average, first, second, third in zip(weights(program), *after, strict=True):
        expected = 0.8 * (0.8 * first + 0.2 * second) + 0.2 * third
        np.testing.assert_allclose(average, expected, rtol=1e-4, atol=1e-6)
    of_truth = program.probabilities(split.val_x)[np.arange(VALIDATION), split.val_y]
    assert -np.log(of_truth).mean() == pytest.approx(fitted.curves["val_loss"][-1], rel=1e-5)


# One program for many seeds; continuing


FULL = {
    "model": {"dropout": 0.3, "l2": 0.001},
    "augment": {"rotate": 10, "mixup": 0.2},
    "train": {"ema": 0.9, "schedule": "plateau", "early_stopping": {"patience": 9}},
}


def test_a_reused_program_gives_bit_for_bit_what_a_fresh_one_gives_also_from_a_checkpoint(split, tmp_path):
    recipe = recipe_of(**FULL)
    fresh, used = program_of(recipe), program_of(recipe)
    expected = fit(fresh, split, recipe, seed=1)
    fit(used, split, recipe, seed=0)
    found = fit(used, split, recipe, seed=1)
    assert found.curves == expected.curves
    assert same(weights(used), weights(fresh))
    np.testing.assert_array_equal(used.probabilities(split.val_x), fresh.probabilities(split.val_x))

    def killed(epoch, values):
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(used, split, recipe, seed=1, checkpoint=Checkpoint(tmp_path / "cell", 0), on_epoch=killed)
    fit(used, split, recipe, seed=0)
    resumed = fit(used, split, recipe, seed=1, checkpoint=Checkpoint(tmp_path / "cell", 0))
    assert resumed.resumed == 1
    assert resumed.curves == expected.curves
    assert same(weights(used), weights(fresh))
    compiled = used._train._cache_size()  # pyright: ignore[reportAttributeAccessIssue]
    assert compiled == 2  # the batches of an epoch, and the smaller last one


@pytest.mark.parametrize(
    "changes",
    [{"model": {"name": "cnn"}}, {"augment": {"noise": 0.1}}, {"train": {"precision": "float16"}}],
    ids=["a step at a time", "augmented in parts", "with a scaled loss"],
)
def test_layers_are_watched_and_that_changes_no_number(split, changes):
    """Plain gradient descent changes a kernel by the learning rate times its gradient, in the one watched step."""
    rate = 0.01
    train = {"optimizer": "sgd", "learning_rate": rate, "epochs": 2}
    on = recipe_of(**merge({"train": train}, changes))
    off = recipe_of(**merge({"train": {**train, "diagnostics": False}}, changes))
    watched, plain = program_of(on), program_of(off)
    found, expected = fit(watched, split, on), fit(plain, split, off)
    assert found.curves == expected.curves
    assert same(weights(watched), weights(plain))
    assert expected.diagnostics == []
    assert found.layers[-1] == "logits"
    for of_epoch in found.diagnostics:
        gradient, weight, ratio = of_epoch[:, :3].T
        assert (gradient > 0).all()
        np.testing.assert_allclose(ratio * weight, rate * gradient, rtol=2e-3)
    norms = [np.linalg.norm(watched.network.get_layer(name).kernel) for name in found.layers]
    np.testing.assert_allclose(found.diagnostics[-1][:, 1], norms, rtol=0.05)


def test_the_best_epochs_weights_are_restored(split):
    stopping = {"patience": 2, "min_delta": 0.0}
    recipe = recipe_of(train={"epochs": 30, "learning_rate": 0.1, "early_stopping": stopping})
    program = program_of(recipe)
    fitted = fit(program, split, recipe)
    best = weights(program)
    assert fitted.epoch == int(np.argmin(fitted.curves["val_loss"])) < len(fitted.curves["loss"]) - 1
    program.fit(split, recipe.train.model_copy(update={"epochs": fitted.epoch + 1, "early_stopping": None}), 0, SPREAD)
    assert same(best, weights(program))


def test_a_loss_that_is_no_number_is_reported(split):
    broken = Split(split.x * 1e10, split.y, split.val_x, split.val_y)
    recipe = recipe_of(model={"batch_norm": False}, train={"optimizer": "sgd", "learning_rate": 10.0, "epochs": 8})
    assert fit(program_of(recipe), broken, recipe).diverged is not None


# Rows that come from TensorFlow


def test_augmented_rows_are_those_of_tensorflow(split, monkeypatch):
    """And those of a small last batch."""
    recipe = recipe_of(augment={"rotate": 10, "noise": 0.1, "cutmix": 1.0})
    program = program_of(recipe)
    program.begin(split, 7, SPREAD, np.ones(10, np.float32), 1)
    order = np.random.default_rng(0).permutation(TRAIN).astype(np.int32)
    steps = 0
    for batches in program._prepared(order, 30):
        assert batches.mixture is not None
        for i in range(batches.steps):
            taken = order[steps * 64 : (steps + 1) * 64]
            seed = tf.constant([7, 30 + steps])
            x, mixture = augment(tf.constant(split.x[taken]), recipe.augment, seed, tf.constant(SPREAD, tf.float32))
            assert mixture is not None
            np.testing.assert_array_equal(batches.x[i], x)
            np.testing.assert_array_equal(batches.y[i], split.y[taken])
            np.testing.assert_array_equal(batches.mixture.partner[i], mixture.partner)
            np.testing.assert_array_equal(batches.mixture.weight[i], mixture.weight)
            steps += 1
    assert steps == program.steps == 3


def test_rows_that_are_streamed_or_augmented_a_few_steps_at_a_time_give_the_same_numbers(split, monkeypatch):
    recipe = recipe_of(model={"dropout": 0.2}, train={"batch_size": 20, "epochs": 2})
    held = fit(program_of(recipe), split, recipe)
    streamed = Split(
        Streamed(lambda rows: split.x[rows], np.arange(TRAIN), 70),
        split.y,
        Streamed(lambda rows: split.val_x[rows], np.arange(VALIDATION), 32),
        split.val_y,
    )
    monkeypatch.setattr(jax_program, "EVALUATION_ROWS", 16)
    monkeypatch.setattr(jax_program, "PARTS", 4)  # two steps, and one where a block of three ends
    program = program_of(recipe)
    for name, curve in fit(program, streamed, recipe).curves.items():
        np.testing.assert_allclose(curve, held.curves[name], rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(program.probabilities(streamed.val_x), program.probabilities(split.val_x), atol=1e-6)


# Several devices


@pytest.mark.parametrize("_devices", [2], indirect=True)
@pytest.mark.parametrize("augment", [{}, {"mixup": 0.2}], ids=["rows on the devices", "rows of TensorFlow"])
def test_two_devices_give_the_numbers_of_one(split, augment, monkeypatch):
    """Also with a last batch, and validation rows, that can't be divided evenly: 17 of 149 rows, and 59."""
    recipe = recipe_of(model={"dropout": 0.2}, augment=augment, train={"batch_size": 66, "epochs": 2})
    program = program_of(recipe)
    assert program.computed.devices == 2
    rows = Split(split.x[:-1], split.y[:-1], split.val_x[:-1], split.val_y[:-1])
    two = fit(program, rows, recipe).curves
    monkeypatch.setattr("jax.local_devices", lambda: DEVICES[:1])
    devices.device.cache_clear()
    one = fit(program_of(recipe), rows, recipe).curves
    for name in CURVES:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("_devices", [2], indirect=True)
def test_a_batch_is_computed_by_both_devices():
    recipe = recipe_of()
    program = program_of(recipe)
    x = jax.device_put(np.zeros((64, 8, 8, 1), np.float32), program._everywhere)
    shared = jax.jit(program._share)(x)
    assert {shard.data.shape for shard in shared.addressable_shards} == {(32, 8, 8, 1)}
    told = devices.unused(Train(backend="jax", batch_size=33))
    assert told is not None
    assert "divisible by 2" in told


# Precision


def test_half_precision_learns(split):
    train = {"epochs": 12, "learning_rate": 0.01, "precision": "float16"}
    recipe = recipe_of(model={"name": "cnn", "units": [8]}, train=train)
    program = program_of(recipe)
    fitted = fit(program, split, recipe)
    assert fitted.curves["val_accuracy"][-1] > 0.7
    assert program.network.get_layer("conv_1").compute_dtype == "float16"
    assert {str(np.asarray(weight).dtype) for weight in weights(program)} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


# A cell


def test_a_cell_for_others_to_open(digits, make_study, tmp_path):
    """`test_jax` opens what is left here with TensorFlow."""
    train = {"backend": "jax", "epochs": 2, "batch_size": 128, "precision": "bfloat16"}
    study = make_study(recipe={"model": {"units": [8]}, "train": train}, arms={}, seeds=1)
    (result,) = trainer_on(digits, study, tmp_path / "jax").train(study.cells())
    expected = {"backend": "jax", "device": "cpu", "devices": 1, "precision": "bfloat16", "jit": True}
    assert asdict(result.result.computed) == expected
    shutil.copytree(result.folder, Path(os.environ["JAX_CELL"]))
