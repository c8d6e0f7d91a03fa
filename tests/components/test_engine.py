from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st

from components import engine, models
from components.augment import Mixture
from components.encode import Inputs
from components.engine import CURVES, EarlyStop, Fit, Program, Split
from components.recipe import EarlyStopping, Recipe, Train, merge, program_key

TRAIN, VALIDATION = 150, 60
SPREAD = np.array([0.3, 0.0, 1.0])  # standard deviation, least and greatest value


@pytest.fixture(scope="module")
def split(digits) -> Split:
    """A few digits, scaled to 0..1; with batches of 64 the last one has 22 rows."""
    x, y = np.asarray(digits.x[: TRAIN + VALIDATION], np.float32) / 16, np.array(digits.y[: TRAIN + VALIDATION])
    return Split(x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:])


def recipe_of(**changes: Any) -> Recipe:
    small = {"model": {"units": [12, 8]}, "train": {"epochs": 3, "batch_size": 64, "early_stopping": None}}
    return Recipe.model_validate(merge(small, changes))


def program_of(recipe: Recipe) -> Program:
    return Program(recipe, Inputs((8, 8, 1)), 10, TRAIN)


def fit(program: Program, split: Split, recipe: Recipe, seed: int = 0, **more: Any) -> Fit:
    return program.fit(split, recipe.train, seed, SPREAD, **more)


def weights(program: Program) -> list[np.ndarray]:
    return [np.array(weight) for weight in program.network.get_weights()]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# The same numbers as Keras


def by_keras(recipe: Recipe, split: Split, seed: int) -> tuple[keras.Model, dict[str, list[float]]]:
    """Train the same network by `keras.Model.train_on_batch` over the same batches."""
    steps = -(-TRAIN // recipe.train.batch_size)
    network = models.build(recipe.model, Inputs((8, 8, 1)), 10, steps, seed)
    optimizer = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop, "sgd": keras.optimizers.SGD}
    network.compile(
        optimizer=optimizer[recipe.train.optimizer](recipe.train.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy", keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="plain_loss")],
    )
    curves: dict[str, list[float]] = {name: [] for name in CURVES}
    x = np.asarray(split.x)
    for epoch in range(recipe.train.epochs):
        order = np.random.default_rng((seed, epoch)).permutation(TRAIN)
        batches = [order[start : start + recipe.train.batch_size] for start in range(0, TRAIN, recipe.train.batch_size)]
        logs = [network.train_on_batch(x[rows], split.y[rows], return_dict=True) for rows in batches]
        for name, key in (("loss", "plain_loss"), ("accuracy", "accuracy")):
            total = sum(len(rows) * float(log[key]) for rows, log in zip(batches, logs, strict=True))
            curves[name].append(total / TRAIN)
        scored = network.evaluate(split.val_x, split.val_y, verbose=0, return_dict=True)
        curves["val_loss"].append(float(scored["plain_loss"]))
        curves["val_accuracy"].append(float(scored["accuracy"]))
    return network, curves


@pytest.mark.parametrize(
    ("model", "train"),
    [
        ({"name": "mlp"}, {"optimizer": "adam"}),
        ({"name": "mlp", "batch_norm": False, "l2": 0.01}, {"optimizer": "sgd", "learning_rate": 0.1}),
        ({"name": "cnn", "units": [4, 4], "l2": 0.001}, {"optimizer": "rmsprop"}),
    ],
    ids=["mlp", "mlp with L2", "cnn with batch normalization and L2"],
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


def test_every_row_is_used_once_an_epoch(split):
    """With a learning rate of nearly nothing, the mean train loss is that of the untouched network."""
    recipe = recipe_of(model={"batch_norm": False}, train={"epochs": 1, "learning_rate": 1e-12})
    program = program_of(recipe)
    curves = fit(program, split, recipe).curves
    of_truth = program.probabilities(split.x)[np.arange(TRAIN), split.y]
    assert curves["loss"][0] == pytest.approx(-np.log(of_truth).mean(), rel=1e-5)


# One program for many seeds


def test_a_reused_program_gives_bit_for_bit_what_a_fresh_one_gives(split):
    changes = {"model": {"dropout": 0.3, "l2": 0.001}, "augment": {"rotate": 10, "noise": 0.1}}
    recipe = recipe_of(**changes)
    fresh, used = program_of(recipe), program_of(recipe)
    expected = fit(fresh, split, recipe, seed=1)
    fit(used, split, recipe, seed=0)
    found = fit(used, split, recipe, seed=1)
    assert found.curves == expected.curves
    assert same(weights(used), weights(fresh))
    np.testing.assert_array_equal(used.probabilities(split.val_x), fresh.probabilities(split.val_x))


def test_seeds_differ_and_the_same_seed_repeats(split):
    recipe = recipe_of(model={"dropout": 0.3})
    program = program_of(recipe)
    curves = [fit(program, split, recipe, seed=seed).curves for seed in (0, 1, 0)]
    assert curves[0] == curves[2]
    assert curves[0] != curves[1]


def test_a_program_may_be_reused_with_other_epochs_and_early_stopping(split):
    short, long = recipe_of(train={"epochs": 2}), recipe_of(train={"epochs": 4, "early_stopping": {"patience": 9}})
    assert program_key(short) == program_key(long)
    program = program_of(short)
    first = fit(program, split, short).curves
    second = fit(program, split, long).curves
    assert {name: curve[:2] for name, curve in second.items()} == first


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"units": [12, 9]}},
        {"model": {"dropout": 0.2}},
        {"augment": {"noise": 0.1}},
        {"train": {"batch_size": 32}},
        {"train": {"optimizer": "sgd"}},
        {"train": {"learning_rate": 0.01}},
    ],
)
def test_what_is_compiled_into_a_program_is_in_its_key(changes):
    assert program_key(recipe_of(**changes)) != program_key(recipe_of())


# Techniques do something


def test_l2_shrinks_the_weights(split):
    kernels = []
    for l2 in (0.0, 0.1):
        recipe = recipe_of(model={"l2": l2}, train={"epochs": 10, "learning_rate": 0.01})
        program = program_of(recipe)
        fit(program, split, recipe)
        kernels.append(np.abs(program.network.get_layer("dense_1").kernel).mean())
    assert kernels[1] < 0.9 * kernels[0]


def test_augmentation_never_touches_validation_rows(split):
    """With a learning rate of nearly nothing, only the train rows' own loss can feel it."""
    still = {"model": {"batch_norm": False}, "train": {"epochs": 1, "learning_rate": 1e-12}}
    plain, noisy = (recipe_of(**still, augment={"noise": noise}) for noise in (0.0, 5.0))
    first, second = (fit(program_of(recipe), split, recipe).curves for recipe in (plain, noisy))
    assert first["val_loss"] == pytest.approx(second["val_loss"], rel=1e-6)
    assert first["loss"] != pytest.approx(second["loss"], rel=1e-2)


def test_the_loss_of_mixed_labels_is_the_cross_entropy_with_their_mixture():
    logits = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    y, partner = np.array([0, 1, 2, 3, 0, 1], np.int32), np.array([3, 0, 5, 1, 4, 2], np.int32)
    weight = np.array([0, 0.2, 0.5, 0.7, 0.9, 1], np.float32)
    mixture = Mixture(tf.constant(partner), tf.constant(weight))
    soft = weight[:, None] * np.eye(4)[y] + (1 - weight)[:, None] * np.eye(4)[y[partner]]
    log_shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    losses = engine._cross_entropy(tf.constant(logits), tf.constant(y), mixture)
    np.testing.assert_allclose(losses, -(soft * log_shares).sum(axis=1), rtol=1e-5)
    main = engine._main_label(tf.constant(y), mixture)
    np.testing.assert_array_equal(main[:2], y[partner[:2]])
    np.testing.assert_array_equal(main[2:], y[2:])


def test_training_on_mixed_rows_learns_and_leaves_validation_rows_alone(split):
    still = {"model": {"batch_norm": False}, "train": {"epochs": 1, "learning_rate": 1e-12}}
    plain, mixed = (recipe_of(**still, augment={"mixup": alpha}) for alpha in (0.0, 1.0))
    first, second = (fit(program_of(recipe), split, recipe).curves for recipe in (plain, mixed))
    assert first["val_loss"] == pytest.approx(second["val_loss"], rel=1e-6)
    assert first["val_accuracy"] == second["val_accuracy"]
    assert first["loss"] != second["loss"]
    recipe = recipe_of(model={"units": [64]}, train={"epochs": 25}, augment={"mixup": 0.2, "cutmix": 1.0})
    fitted = fit(program_of(recipe), split, recipe)
    assert fitted.curves["val_accuracy"][-1] > 0.7
    # Accuracy counts the label of greater weight; the loss can't fall below the mixtures' own entropy.
    assert fitted.curves["accuracy"][-1] > 0.5
    assert fitted.curves["loss"][-1] > 0.2


def test_dropout_is_off_when_rows_are_scored(split):
    recipe = recipe_of(model={"dropout": 0.5}, train={"epochs": 1})
    program = program_of(recipe)
    fitted = fit(program, split, recipe)
    first, second = program.probabilities(split.val_x), program.probabilities(split.val_x)
    np.testing.assert_array_equal(first, second)
    of_truth = first[np.arange(VALIDATION), split.val_y]
    assert fitted.curves["val_loss"][0] == pytest.approx(-np.log(of_truth).mean(), rel=1e-5)


def test_training_learns(split):
    recipe = recipe_of(model={"units": [64]}, train={"epochs": 25})
    fitted = fit(program_of(recipe), split, recipe)
    assert fitted.curves["val_accuracy"][-1] > 0.8
    assert fitted.curves["loss"][-1] < fitted.curves["loss"][0] / 4


# Early stopping

curve_values = st.lists(st.floats(0, 4, width=32), min_size=1, max_size=25)


def ours_on(curve: list[float], rule: EarlyStopping) -> tuple[int, int]:
    """Return how many epochs were trained, and the best of them."""
    stopper, curves, best = EarlyStop(Train(early_stopping=rule)), {rule.monitor: []}, 0
    for epoch, value in enumerate(curve):
        curves[rule.monitor].append(value)
        if stopper.improved(curves):
            best = epoch
        if stopper.stop():
            return epoch + 1, best
    return len(curve), best


def keras_on(curve: list[float], rule: EarlyStopping) -> tuple[int, int]:
    callback = keras.callbacks.EarlyStopping(
        rule.monitor,
        min_delta=rule.min_delta,
        patience=rule.patience,
        mode="max" if "accuracy" in rule.monitor else "min",
        restore_best_weights=True,
    )
    model = keras.Sequential([keras.Input((1,))])
    model.stop_training = False
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, value in enumerate(curve):
        callback.on_epoch_end(epoch, {rule.monitor: value})
        if model.stop_training:
            return epoch + 1, callback.best_epoch
    return len(curve), callback.best_epoch


@given(
    curve_values,
    st.integers(0, 6),
    st.sampled_from([0.0, 1e-4, 0.25]),
    st.sampled_from(["val_loss", "val_accuracy", "loss", "accuracy"]),
)
@example([1.0, 1.0, 1.0], 0, 0.0, "val_loss")
@example([1.0, 0.75, 0.5, 0.5], 1, 0.25, "val_loss")
def test_early_stopping_decides_as_keras_does(curve, patience, min_delta, monitor):
    rule = EarlyStopping(monitor=monitor, patience=patience, min_delta=min_delta)
    assert ours_on(curve, rule) == keras_on(curve, rule)


def test_without_early_stopping_the_last_epoch_counts(split):
    recipe = recipe_of(train={"epochs": 4, "learning_rate": 0.3})
    fitted = fit(program_of(recipe), split, recipe)
    assert (fitted.epoch, len(fitted.curves["loss"])) == (3, 4)


@pytest.fixture(scope="module")
def stopped(split) -> tuple[Program, Fit, Recipe]:
    """A training that gets worse after some epochs: its learning rate is far too high."""
    stopping = {"patience": 3, "min_delta": 0.0}
    recipe = recipe_of(train={"epochs": 40, "learning_rate": 0.1, "early_stopping": stopping})
    program = program_of(recipe)
    return program, fit(program, split, recipe), recipe


def test_training_stops_when_patience_is_over_and_ends_with_the_best_epochs_weights(stopped, split):
    program, fitted, _ = stopped
    curve = fitted.curves["val_loss"]
    assert len(curve) < 40
    assert fitted.epoch == int(np.argmin(curve)) == len(curve) - 1 - 3
    of_truth = program.probabilities(split.val_x)[np.arange(VALIDATION), split.val_y]
    assert -np.log(of_truth).mean() == pytest.approx(min(curve), rel=1e-4)


def test_the_restored_weights_are_those_that_training_had_then(stopped, split):
    program, fitted, recipe = stopped
    best = weights(program)
    short = recipe.train.model_copy(update={"epochs": fitted.epoch + 1, "early_stopping": None})
    program.fit(split, short, 0, SPREAD)
    assert same(best, weights(program))


def test_without_restoring_the_last_epochs_weights_stay(stopped, split):
    program, before, recipe = stopped
    rule = recipe.train.early_stopping.model_copy(update={"restore_best": False})
    fitted = program.fit(split, recipe.train.model_copy(update={"early_stopping": rule}), 0, SPREAD)
    assert fitted.curves == before.curves
    assert fitted.epoch == len(fitted.curves["loss"]) - 1
    of_truth = program.probabilities(split.val_x)[np.arange(VALIDATION), split.val_y]
    assert -np.log(of_truth).mean() == pytest.approx(fitted.curves["val_loss"][-1], rel=1e-4)


def test_every_epoch_is_told_when_it_ends(split):
    recipe, told = recipe_of(), []
    fitted = fit(program_of(recipe), split, recipe, on_epoch=lambda epoch, values: told.append((epoch, values)))
    assert [epoch for epoch, _ in told] == [0, 1, 2]
    assert {name: [values[name] for _, values in told] for name in CURVES} == fitted.curves


# Divergence


def test_a_loss_that_is_no_number_is_reported_and_the_last_good_epoch_kept(split):
    wild = {"optimizer": "sgd", "learning_rate": 10.0, "epochs": 8}
    broken = Split(split.x * 1e10, split.y, split.val_x, split.val_y)
    recipe = recipe_of(model={"batch_norm": False}, train=wild)
    fitted = fit(program_of(recipe), broken, recipe)
    assert fitted.diverged is not None
    assert all(len(curve) == fitted.diverged for curve in fitted.curves.values())


@pytest.mark.parametrize("stopping", [None, {"patience": 5}], ids=["all epochs", "early stopping"])
def test_an_epoch_whose_last_step_broke_the_weights_is_no_good_epoch(split, stopping):
    """The train loss is measured before each step: the epoch that breaks shows it on the validation rows alone."""
    one_step = {"batch_size": TRAIN, "optimizer": "sgd", "learning_rate": 10.0, "epochs": 4, "early_stopping": stopping}
    recipe = recipe_of(model={"batch_norm": False, "units": [12]}, train=one_step)
    program = program_of(recipe)
    huge = Split(split.x * 1e19, split.y, split.val_x * 1e19, split.val_y)
    fitted = fit(program, huge, recipe)
    assert fitted.diverged is not None
    assert np.isfinite([value for curve in fitted.curves.values() for value in curve]).all()


# Scoring


def test_rows_are_scored_alike_in_chunks_of_any_number(split, monkeypatch):
    recipe = recipe_of(train={"epochs": 1})
    program = program_of(recipe)
    fit(program, split, recipe)
    whole = program.probabilities(split.val_x)
    monkeypatch.setattr("components.engine.EVALUATION_ROWS", 7)
    np.testing.assert_allclose(program.probabilities(split.val_x), whole, atol=1e-6)
    chunked = fit(program_of(recipe), split, recipe).curves["val_loss"]
    np.testing.assert_allclose(chunked, fit(program, split, recipe).curves["val_loss"], rtol=1e-5)


def test_probabilities_sum_to_one(split):
    program = program_of(recipe_of())
    found = program.probabilities(split.val_x)
    assert found.shape == (VALIDATION, 10)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_the_epoch_is_compiled_once_for_all_seeds(split):
    recipe = recipe_of(train={"epochs": 2})
    program = program_of(recipe)
    for seed in range(3):
        fit(program, split, recipe, seed=seed)
    for compiled in (program._train, program._score):
        assert isinstance(compiled, tf.types.experimental.PolymorphicFunction)
        assert compiled.experimental_get_tracing_count() == 1
