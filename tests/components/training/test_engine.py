from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_class_weight

from components.data.encoding import Inputs
from components.errors import AssayError
from components.stats.metrics import scores
from components.study.recipe import Model, Recipe, Train, merge, program_key, trajectory_key
from components.training import engine, models
from components.training.augment import Mixture
from components.training.backends import keras_program, tensorflow_program
from components.training.backends.tensorflow_program import Program
from components.training.engine import CURVES, Fit, Reading, Split

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


def fit(program: engine.Program, split: Split, recipe: Recipe, seed: int = 0, **more: Any) -> Fit:
    return program.fit(split, recipe.train, seed, SPREAD, **more)


def weights(program: engine.Program) -> list[np.ndarray]:
    return [np.array(weight) for weight in program.network.get_weights()]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# The same numbers as Keras


def optimizer_of(train: Train, steps: int) -> keras.optimizers.Optimizer:
    """Return Keras' own optimizer for the recipe, with Keras' own schedule."""
    kinds = {"adam": keras.optimizers.AdamW, "rmsprop": keras.optimizers.RMSprop, "sgd": keras.optimizers.SGD}
    rate = train.learning_rate
    if train.schedule == "cosine":
        warm, total = train.warm_up * steps, train.epochs * steps
        warming = {"warmup_target": rate, "warmup_steps": warm} if warm else {}
        rate = keras.optimizers.schedules.CosineDecay(0.0 if warm else rate, total - warm, **warming)
    optimizer = kinds[train.optimizer](
        rate,
        weight_decay=train.weight_decay,
        global_clipnorm=train.clip_norm or None,
        use_ema=bool(train.ema),
        ema_momentum=train.ema,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def by_keras(recipe: Recipe, split: Split, seed: int) -> tuple[keras.Model, dict[str, list[float]]]:
    """Train the same network by `keras.Model.train_on_batch` over the same batches, with what Keras itself has."""
    train = recipe.train
    steps = -(-TRAIN // train.batch_size)
    network = models.build(recipe.model, Inputs((8, 8, 1)), 10, steps, seed)
    optimizer = optimizer_of(train, steps)
    network.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=train.label_smoothing),
        metrics=["accuracy", keras.metrics.CategoricalCrossentropy(from_logits=True, name="plain_loss")],
    )
    balanced = dict(enumerate(compute_class_weight("balanced", classes=np.arange(10), y=split.y)))
    weights = balanced if train.class_weights == "balanced" else None
    curves: dict[str, list[float]] = {name: [] for name in CURVES}
    x, y = np.asarray(split.x), np.eye(10, dtype=np.float32)[split.y]
    trained = network.get_weights()
    for epoch in range(train.epochs):
        network.set_weights(trained)
        order = np.random.default_rng((seed, epoch)).permutation(TRAIN)
        batches = [order[start : start + train.batch_size] for start in range(0, TRAIN, train.batch_size)]
        logs = [network.train_on_batch(x[rows], y[rows], class_weight=weights, return_dict=True) for rows in batches]
        for name, key in (("loss", "plain_loss"), ("accuracy", "accuracy")):
            total = sum(len(rows) * float(log[key]) for rows, log in zip(batches, logs, strict=True))
            curves[name].append(total / TRAIN)
        trained = network.get_weights()
        optimizer.finalize_variable_values(network.trainable_variables)  # nothing without an average
        scored = network.evaluate(split.val_x, np.eye(10)[split.val_y], verbose=0, return_dict=True)
        curves["val_loss"].append(float(scored["plain_loss"]))
        curves["val_accuracy"].append(float(scored["accuracy"]))
        predicted = network.predict(split.val_x, verbose=0).argmax(axis=1)
        curves["val_macro_f1"].append(f1_score(split.val_y, predicted, average="macro", labels=range(10)))
    return network, curves


@pytest.mark.parametrize(
    ("model", "train"),
    [
        ({"name": "mlp"}, {"optimizer": "adam"}),
        ({"name": "mlp", "batch_norm": False, "l2": 0.01}, {"optimizer": "sgd", "learning_rate": 0.1}),
        ({"name": "cnn", "units": [4, 4], "l2": 0.001}, {"optimizer": "rmsprop"}),
        ({"name": "mlp", "batch_norm": False, "layer_norm": True, "l1": 0.01}, {"clip_norm": 0.5}),
        ({"name": "mlp"}, {"weight_decay": 0.5, "schedule": "cosine", "warm_up": 1, "learning_rate": 0.01}),
        ({"name": "mlp"}, {"label_smoothing": 0.1, "class_weights": "balanced", "ema": 0.8}),
    ],
    ids=[
        "mlp",
        "mlp with L2",
        "cnn with batch normalization and L2",
        "layer normalization, L1 and clipping",
        "AdamW with warm-up and cosine",
        "label smoothing, class weights and weight averaging",
    ],
)
def test_a_cell_is_trained_to_the_numbers_of_keras_itself(split, model, train):
    recipe = recipe_of(model=model, train=train)
    program = program_of(recipe)
    curves = fit(program, split, recipe, seed=5).curves
    network, expected = by_keras(recipe, split, seed=5)
    for name in CURVES:
        np.testing.assert_allclose(curves[name], expected[name], rtol=1e-5, err_msg=name)
    # Of Adam's steps the two round another ten-thousandth, see `on_tensorflow.Adam`.
    atol = max(1e-7, 1e-4 * recipe.train.learning_rate) if recipe.train.optimizer == "adam" else 1e-7
    for ours, theirs in zip(weights(program), network.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=atol)


def test_fused_adam_is_the_formula():
    """Kingma and Ba 2015, algorithm 1 with the epsilon of Keras, in double precision."""
    rng = np.random.default_rng(0)
    weight, rate, epsilon = rng.normal(size=(4, 3)), 0.1, 1e-7
    variable = keras.Variable(weight.astype(np.float32))
    adam = tensorflow_program.Adam(rate)
    adam.build([variable])
    m, v = np.zeros((4, 3)), np.zeros((4, 3))
    for step in range(1, 31):
        gradient = rng.normal(size=(4, 3)).astype(np.float32)
        adam.apply([tf.constant(gradient)])
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient.astype(float) ** 2
        alpha = rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weight = weight - alpha * m / (np.sqrt(v) + epsilon)
        np.testing.assert_allclose(variable, weight, rtol=1e-5, atol=1e-6)


def test_every_row_is_used_once_an_epoch(split):
    """With a learning rate of nearly nothing, the mean train loss is that of the untouched network."""
    recipe = recipe_of(model={"batch_norm": False}, train={"epochs": 1, "learning_rate": 1e-12})
    program = program_of(recipe)
    curves = fit(program, split, recipe).curves
    of_truth = program.probabilities(split.x)[np.arange(TRAIN), split.y]
    assert curves["loss"][0] == pytest.approx(-np.log(of_truth).mean(), rel=1e-5)


# One program for many seeds


@pytest.mark.parametrize("train", [{}, {"ema": 0.9, "schedule": "plateau", "plateau": {"patience": 1}}])
def test_a_reused_program_gives_bit_for_bit_what_a_fresh_one_gives(split, train):
    changes = {"model": {"dropout": 0.3, "l2": 0.001}, "augment": {"rotate": 10, "noise": 0.1}}
    recipe = recipe_of(**changes, train=train)
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
        {"train": {"clip_norm": 1.0}},
        {"train": {"weight_decay": 0.01}},
        {"train": {"label_smoothing": 0.1}},
        {"train": {"ema": 0.9}},
        {"model": {"activation": "tanh"}},
        {"train": {"diagnostics": False}},
        {"train": {"backend": "jax"}},
        {"train": {"precision": "bfloat16"}},
        {"train": {"jit": True}},
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


def test_l1_makes_weights_zero(split):
    kernels = []
    for l1 in (0.0, 0.05):
        recipe = recipe_of(model={"l1": l1}, train={"epochs": 20, "learning_rate": 0.01})
        program = program_of(recipe)
        fit(program, split, recipe)
        kernels.append(np.abs(np.array(program.network.get_layer("dense_1").kernel)))
    assert (kernels[1] < 0.01).mean() > 0.5 > (kernels[0] < 0.01).mean()


def test_weight_decay_takes_its_share_of_kernels_alone():
    """With gradients of nothing, a step takes the learning rate's share of the decay, and only from kernels."""
    recipe = Train(weight_decay=0.5)
    inputs = Inputs((5,), flags=(1,), sizes=(4, 3))
    network = models.build(Model(units=(6,), categories="embedding"), inputs, 3, 10, 0)
    before = {w.path: np.array(w) for w in network.trainable_variables}
    optimizer = keras_program.optimizer(recipe, network)
    optimizer.learning_rate.assign(0.1)
    optimizer.apply([tf.zeros(w.shape) for w in network.trainable_variables])
    for weight in network.trainable_variables:
        kept = 0.95 if "kernel" in weight.path else 1.0
        np.testing.assert_allclose(weight, kept * before[weight.path], rtol=1e-6, err_msg=weight.path)
    assert {path.split("/")[-1] for path in before} == {"kernel", "bias", "gamma", "beta", "embeddings"}


def test_a_word_that_is_twice_in_a_batch_has_one_gradient():
    """Adam divides by the root of the squared sum, and not of the sum of squares: twice as much changes nothing."""
    recipe = recipe_of(model={"embedding": 4, "batch_norm": False}, train={"epochs": 1, "batch_size": 2})
    inputs = Inputs((2,), sizes=(9,), dtype="int32")
    x, y = np.array([[3, 0], [3, 0]], np.int32), np.zeros(2, np.int32)
    program = Program(recipe, inputs, 2, 2)
    program.begin(Split(x, y, x, y), 0, np.zeros(0), np.ones(2, np.float32), 1)
    before = np.array(program.network.get_layer("words").embeddings)
    program.fit(Split(x, y, x, y), recipe.train, 0, np.zeros(0))
    moved = np.abs(np.array(program.network.get_layer("words").embeddings) - before)
    np.testing.assert_allclose(moved[3], recipe.train.learning_rate, rtol=1e-3)
    assert (moved[[0, 1, 2, 4, 5, 6, 7, 8]] == 0).all()


def test_balanced_classes_weigh_alike_and_rows_one_on_average():
    y = np.array([0] * 6 + [2] * 2, np.int32)  # class 1 has no row in this seed
    weights = engine.class_weights(y, 3, balanced=True)
    np.testing.assert_allclose(weights[[0, 2]], compute_class_weight("balanced", classes=np.array([0, 2]), y=y))
    assert weights[y].mean() == pytest.approx(1)
    np.testing.assert_array_equal(engine.class_weights(y, 3, balanced=False), np.ones(3))


def test_class_weights_find_a_rare_class():
    rng = np.random.default_rng(0)
    y = (np.arange(400) % 20 == 0).astype(np.int32)
    x = (rng.normal(size=(400, 2)) + y[:, None]).astype(np.float32)
    found = []
    for weights in ("none", "balanced"):
        recipe = recipe_of(train={"epochs": 15, "learning_rate": 0.01, "class_weights": weights})
        program = Program(recipe, Inputs((2,)), 2, 400)
        program.fit(Split(x, y, x, y), recipe.train, 0, SPREAD)
        found.append((program.probabilities(x).argmax(axis=1) == 1)[y == 1].mean())
    assert found[0] < 0.3 < 0.6 < found[1]


def test_label_smoothing_makes_predictions_less_sure_and_leaves_the_shown_loss_plain(split):
    sure, shown = [], []
    for smoothing in (0.0, 0.3):
        recipe = recipe_of(model={"units": [64]}, train={"epochs": 25, "label_smoothing": smoothing})
        program = program_of(recipe)
        shown.append(fit(program, split, recipe).curves["loss"])
        sure.append(program.probabilities(split.x).max(axis=1).mean())
    assert sure[1] < sure[0] - 0.1
    assert shown[0][0] == pytest.approx(shown[1][0], rel=0.1)


def test_clipping_bounds_the_step(split):
    """Plain gradient descent moves all weights together by the learning rate times the clipped length."""
    train = {"epochs": 1, "batch_size": TRAIN, "optimizer": "sgd", "learning_rate": 1.0, "clip_norm": 0.01}
    recipe = recipe_of(train=train)
    program = program_of(recipe)
    program.begin(split, 0, SPREAD, np.ones(10, np.float32), 1)
    before = [np.array(w) for w in program.network.trainable_variables]
    fit(program, split, recipe)
    moved = [np.array(w) - b for w, b in zip(program.network.trainable_variables, before, strict=True)]
    assert np.sqrt(sum((m**2).sum() for m in moved)) == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("stopping", [None, {"patience": 2, "min_delta": 0.0}], ids=["last", "best"])
def test_averaged_weights_are_what_is_scored_and_kept(split, stopping):
    train = {"epochs": 12, "ema": 0.9, "learning_rate": 0.1, "early_stopping": stopping}
    recipe = recipe_of(train=train)
    program = program_of(recipe)
    fitted = fit(program, split, recipe)
    of_truth = program.probabilities(split.val_x)[np.arange(VALIDATION), split.val_y]
    assert -np.log(of_truth).mean() == pytest.approx(fitted.curves["val_loss"][fitted.epoch], rel=1e-4)


def test_weight_averaging_does_not_change_how_weights_are_trained(split):
    plain, averaged = (recipe_of(train={"ema": ema}) for ema in (0.0, 0.9))
    curves = [fit(program_of(recipe), split, recipe).curves for recipe in (plain, averaged)]
    assert curves[0]["loss"] == curves[1]["loss"]
    assert curves[0]["val_loss"] != curves[1]["val_loss"]


def test_augmentation_never_touches_validation_rows(split):
    """With a learning rate of nearly nothing, only the train rows' own loss can feel it."""
    still = {"model": {"batch_norm": False}, "train": {"epochs": 1, "learning_rate": 1e-12}}
    plain, noisy = (recipe_of(**still, augment={"noise": noise}) for noise in (0.0, 5.0))
    first, second = (fit(program_of(recipe), split, recipe).curves for recipe in (plain, noisy))
    assert first["val_loss"] == pytest.approx(second["val_loss"], rel=1e-6)
    assert first["loss"] != pytest.approx(second["loss"], rel=1e-2)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_mixed_labels_is_the_cross_entropy_with_their_mixture(smoothing):
    """Each of the two labels is smoothed, and weighs what its class weighs."""
    logits = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    y, partner = np.array([0, 1, 2, 3, 0, 1], np.int32), np.array([3, 0, 5, 1, 4, 2], np.int32)
    weight = np.array([0, 0.2, 0.5, 0.7, 0.9, 1], np.float32)
    of_class = np.array([0.5, 1, 2, 4], np.float32)
    mixture = Mixture(tf.constant(partner), tf.constant(weight))
    soft = weight[:, None] * np.eye(4)[y] + (1 - weight)[:, None] * np.eye(4)[y[partner]]
    log_shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    labels = keras_program.labels(tf.constant(y), mixture)
    losses, minimized = keras_program.losses(tf.constant(logits), labels, tf.constant(of_class), smoothing)
    np.testing.assert_allclose(losses, -(soft * log_shares).sum(axis=1), rtol=1e-5)
    smooth = (1 - smoothing) * np.eye(4) + smoothing / 4
    heavy = (soft * of_class) @ smooth
    np.testing.assert_allclose(minimized, -(heavy * log_shares).sum(axis=1), rtol=1e-5)
    main = np.array([*y[partner[:2]], *y[2:]])
    found = [keras_program.hits(tf.one_hot(of, 4), tf.constant(y), mixture) for of in (main, (main + 1) % 4)]
    assert found == [len(y), 0]


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


READ_OFF = (
    {"early_stopping": None, "epochs": 9},
    {"early_stopping": None, "epochs": 4},
    {"early_stopping": {"patience": 1, "min_delta": 0.01}},
    {"early_stopping": {"patience": 2, "restore_best": False}},
    {"early_stopping": {"patience": 2, "monitor": "val_accuracy", "start_from_epoch": 2}},
    {"early_stopping": None, "epochs": 5, "ema": 0.9},
    {"early_stopping": {"patience": 1}, "ema": 0.9},
)


@pytest.mark.parametrize(
    "shared",
    [{"learning_rate": 0.05}, {"learning_rate": 0.2, "optimizer": "sgd"}, {"learning_rate": 10.0, "optimizer": "sgd"}],
)
def test_what_is_read_off_one_training_is_what_runs_of_their_own_give(split, shared):
    recipes = [recipe_of(model={"batch_norm": False}, train={**shared, "epochs": 9, **reading}) for reading in READ_OFF]
    assert len({trajectory_key(recipe) for recipe in recipes}) == 1
    together = program_of(recipes[-1])
    fits = together.fit_together(split, [Reading(recipe.train) for recipe in recipes], 3, SPREAD)
    for place, (recipe, found) in enumerate(zip(recipes, fits, strict=True)):
        alone = program_of(recipe)
        expected = fit(alone, split, recipe, seed=3)
        assert (found.curves, found.epoch, found.diverged) == (expected.curves, expected.epoch, expected.diverged)
        np.testing.assert_array_equal(found.diagnostics, expected.diagnostics)
        if expected.diverged != 0:
            together.restore(place)
            assert same(weights(together), weights(alone))


def test_a_learning_rate_that_follows_the_scores_and_a_cosine_are_trainings_of_their_own():
    def differ(*readings, **shared):
        return len({trajectory_key(recipe_of(train={**shared, **reading})) for reading in readings}) == len(readings)

    assert differ({"ema": 0.9}, {}, schedule="plateau")
    assert not differ({"ema": 0.9}, {}, schedule="cosine")
    assert differ({"epochs": 5}, {}, schedule="cosine")
    assert not differ({"epochs": 5}, {}, schedule="plateau")
    assert differ({"learning_rate": 0.1}, {"weight_decay": 0.1}, {"batch_size": 32}, {})


@pytest.mark.parametrize(("epochs", "expected"), [(1, 100.0), (2, 1.0), (3, 1.5)])
def test_the_seconds_of_an_epoch_leave_out_the_one_that_traces(split, epochs, expected):
    recipe = recipe_of(train={"epochs": epochs})
    program = program_of(recipe)
    ticks = iter([0.0, 90.0, 100.0, 100.0, 100.5, 101.0, 101.0, 102.0, 103.0])
    program.clock = lambda: next(ticks)
    assert fit(program, split, recipe).epoch_seconds == expected


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


def test_the_curves_end_with_the_scores_of_the_metrics(split):
    """Also where a class has no validation rows and is never predicted."""
    few = Split(split.x, split.y, split.val_x[:9], split.val_y[:9])
    recipe = recipe_of(model={"units": [64]}, train={"epochs": 15})
    program = program_of(recipe)
    curves = fit(program, few, recipe).curves
    found = scores(program.probabilities(few.val_x), few.val_y)
    expected = {name: value for name, value in found.items() if f"val_{name}" in CURVES}
    assert set(expected) == {"loss", "accuracy", "macro_f1"}
    assert {name: curves[f"val_{name}"][-1] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert len(set(few.val_y)) < 10


def test_rows_are_scored_alike_in_chunks_of_any_number(split, monkeypatch):
    recipe = recipe_of(train={"epochs": 1})
    program = program_of(recipe)
    fit(program, split, recipe)
    whole = program.probabilities(split.val_x)
    monkeypatch.setattr("components.training.backends.tensorflow_program.EVALUATION_ROWS", 7)
    np.testing.assert_allclose(program.probabilities(split.val_x), whole, atol=1e-6)
    chunked = fit(program_of(recipe), split, recipe).curves["val_loss"]
    np.testing.assert_allclose(chunked, fit(program, split, recipe).curves["val_loss"], rtol=1e-5)


def test_probabilities_sum_to_one(split):
    program = program_of(recipe_of())
    found = program.probabilities(split.val_x)
    assert found.shape == (VALIDATION, 10)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_the_epoch_is_compiled_once_for_all_seeds_schedules_and_class_weights(split):
    cosine = {"schedule": "cosine", "warm_up": 1}
    changes: list[dict[str, Any]] = [{}, cosine, {"schedule": "plateau"}, {"class_weights": "balanced"}]
    recipes = [recipe_of(train={"epochs": 2, "ema": 0.9, **change}) for change in (*changes, {"learning_rate": 0.1})]
    program = program_of(recipes[0])
    for seed, recipe in enumerate(recipes):
        fit(program, split, recipe, seed=seed)
    assert len({program_key(recipe) for recipe in recipes}) == 1
    for compiled in (program._train, program._score, program._average):
        assert isinstance(compiled, tf.types.experimental.PolymorphicFunction)
        assert compiled.experimental_get_tracing_count() == 1


# Precision and XLA


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns_with_weights_and_logits_of_float32(split, precision):
    """Among the steps is one whose gradients are beyond float16: it is left out, and the loss scaled less."""
    train = {"epochs": 12, "learning_rate": 0.01, "precision": precision}
    recipe = recipe_of(model={"name": "cnn", "units": [8]}, train=train)
    program = program_of(recipe)
    fitted = fit(program, split, recipe)
    assert fitted.curves["val_accuracy"][-1] > 0.7
    assert program.network.get_layer("conv_1").compute_dtype == precision
    assert {weight.dtype.name for weight in weights(program)} == {"float32"}
    assert program.network.outputs[0].dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"
    assert program.computed.precision == precision


@pytest.mark.parametrize("model", [{}, {"name": "resnet", "units": [4]}], ids=["mlp", "resnet"])
def test_a_step_compiled_by_xla_gives_the_same_numbers(split, model):
    curves = []
    for jit in ("auto", True):
        recipe = recipe_of(model=model, augment={"rotate": 10}, train={"jit": jit, "epochs": 2, "batch_size": 75})
        program = program_of(recipe)
        assert program.computed.jit == (jit is True)
        curves.append(fit(program, split, recipe).curves)
    for name in CURVES:
        np.testing.assert_allclose(curves[1][name], curves[0][name], rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("name", ["textcnn", "transformer"])
def test_a_text_without_a_word_is_a_number_in_half_precision(name):
    """What is behind a text's end is left out by a number that float16 has."""
    recipe = recipe_of(model={"name": name, "embedding": 8}, train={"precision": "float16"})
    x, y = np.array([[0, 0, 0], [3, 4, 0], [5, 0, 0], [6, 7, 8]], np.int32), np.array([0, 1, 0, 1], np.int32)
    program = Program(recipe, Inputs((3,), sizes=(9,), dtype="int32"), 2, 4)
    assert program.fit(Split(x, y, x, y), recipe.train, 0, np.zeros(0)).diverged is None
    np.testing.assert_allclose(program.probabilities(x).sum(axis=1), 1, atol=1e-3)


def test_max_pooling_is_not_compiled_where_it_must_be_deterministic():
    with pytest.raises(AssayError, match="no deterministic gradient of max pooling, which cnn needs"):
        program_of(recipe_of(model={"name": "cnn"}, train={"jit": True}))


def test_lstms_are_not_compiled():
    with pytest.raises(ValidationError, match=r"expected train\.jit: auto or false for bilstm"):
        recipe_of(model={"name": "bilstm"}, train={"jit": True})
    recipe_of(model={"name": "bilstm"}, train={"jit": True, "backend": "jax"})
