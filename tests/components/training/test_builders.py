"""What holds for every network, and what each is made of."""

import inspect
import pkgutil
from typing import Any

import keras
import numpy as np
import pytest

from components.data.encoding import NO_WORD, Inputs
from components.errors import AssayError
from components.study.model_catalogue import APPLICATIONS, MODELS
from components.study.recipe import Model, Recipe
from components.training import models
from components.training.backends.tensorflow_program import Program
from components.training.engine import Split
from components.training.models.layers import Layers
from components.training.models.text import HEADS, WIDTHS, _attention

IMAGE, TABLE, TEXT = Inputs((12, 10, 1)), Inputs((5,), flags=(1,), sizes=(4, 3)), Inputs((9,), (), (20,), "int32")
OF = {"image": IMAGE, "table": TABLE, "text": TEXT}
SMALL = {"units": [6, 4], "embedding": 8}
NETWORKS = [name for name, model in MODELS.items() if not model.trees and not name.startswith(APPLICATIONS)]
CASES = [(name, kind) for name in NETWORKS for kind in MODELS[name].kinds]
WITH_SWITCHES = [(name, kind) for name, kind in CASES if name != "logistic"]
BACKBONE = {"name": "applications/MobileNetV3Small"}


def build(name: str, inputs: Inputs, seed: int = 0, **switches: Any) -> keras.Model:
    return models.build(Model.model_validate({"name": name, **SMALL, **switches}), inputs, 3, 30, seed)


def rows(inputs: Inputs, count: int = 24) -> np.ndarray:
    rng = np.random.default_rng(0)
    if inputs.dtype == "int32":
        x = rng.integers(1, inputs.sizes[0], (count, *inputs.shape)).astype(np.int32)
        x[np.arange(inputs.shape[0]) >= rng.integers(1, inputs.shape[0] + 1, count)[:, None]] = NO_WORD
        return x
    x = rng.random((count, *inputs.shape)).astype(np.float32)
    for place, size in enumerate(inputs.sizes, inputs.shape[0] - len(inputs.sizes)):
        x[:, place] = rng.integers(0, size, count)
    return x


def flat_layers(network: keras.Model) -> list[keras.Layer]:
    """The layers, with a bidirectional one as its two."""
    two = [[part.forward_layer, part.backward_layer] for part in network.layers if hasattr(part, "forward_layer")]
    return [part for part in network.layers if not hasattr(part, "forward_layer")] + [
        part for pair in two for part in pair
    ]


def kernels(network: keras.Model) -> dict[str, np.ndarray]:
    cells = [getattr(layer, "cell", layer) for layer in flat_layers(network)]
    found = [getattr(cell, name) for cell in cells for name in ("kernel", "embeddings") if hasattr(cell, name)]
    return {weight.path: np.array(weight) for weight in found}


def test_every_model_has_a_builder_and_every_backbone_a_row():
    assert all(inspect.isfunction(pkgutil.resolve_name(model.builder)) for model in MODELS.values())
    backbones = [name for name, value in vars(keras.applications).items() if inspect.isfunction(value)]
    assert {f"{APPLICATIONS}{name}" for name in backbones} == {name for name in MODELS if name.startswith(APPLICATIONS)}


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_seed_decides_the_weights_and_a_layer_starts_alike_in_every_arm(name, kind):
    first, again, other = (build(name, OF[kind], seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    plain = kernels(build(name, OF[kind]))
    switched = kernels(build(name, OF[kind], batch_norm=False, dropout=0.5, l2=0.1))
    assert plain.keys() == switched.keys()
    assert all(np.array_equal(plain[path], switched[path]) for path in plain)
    shapes = [(kernel.shape, kernel.tobytes()) for kernel in plain.values()]
    assert len(set(shapes)) == len(shapes), "no two layers start with the same weights"


@pytest.mark.parametrize(("name", "kind"), WITH_SWITCHES)
def test_batch_normalization_and_dropout_are_there_or_not(name, kind):
    def count(network: keras.Model, of: str) -> int:
        return sum(of in type(layer).__name__ for layer in network.layers)

    on, off = build(name, OF[kind], dropout=0.2), build(name, OF[kind], batch_norm=False)
    assert count(on, "BatchNorm") > 0
    assert count(on, "Dropout") >= count(on, "BatchNorm")
    assert {layer.rate for layer in on.layers if "Dropout" in type(layer).__name__} == {0.2}
    assert (count(off, "BatchNorm"), count(off, "Dropout")) == (0, 0)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_l2_is_the_penalty_on_the_kernels_alone(name, kind):
    network = build(name, OF[kind], l2=0.01)
    penalty = sum(float(np.sum(of**2)) for path, of in kernels(network).items() if "embeddings" not in path) * 0.01
    assert float(sum(network.losses)) == pytest.approx(penalty, rel=1e-5)
    assert build(name, OF[kind]).losses == []


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_program_gives_the_same_weights_for_the_same_seed_and_learns(name, kind):
    inputs = OF[kind]
    x = rows(inputs, 60)
    first = x.reshape(60, -1)[:, 0]
    y = (first > np.median(first)).astype(np.int32)
    train = {"epochs": 12, "batch_size": 20, "learning_rate": 0.01, "early_stopping": None}
    model = {"name": name, "embedding": 8, "units": [8, 8], "dropout": 0.1}
    recipe = Recipe.model_validate({"model": model, "train": train})
    program = Program(recipe, inputs, 2, 60)
    split = Split(x, y, x[:30], y[:30])
    runs, weights = [], []
    for seed in (1, 2, 1):
        runs.append(program.fit(split, recipe.train, seed, np.array([0.3, 0.0, 1.0])).curves)
        weights.append([np.array(weight) for weight in program.network.get_weights()])
    assert runs[0] == runs[2] != runs[1]
    assert all(np.array_equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))
    assert runs[0]["loss"][-1] < 0.95 * runs[0]["loss"][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"), [("resnet", "image"), ("bilstm", "text"), ("textcnn", "text"), ("transformer", "text")]
)
def test_a_network_is_trained_to_the_weights_of_keras_itself(name, kind):
    inputs, batch, seed = OF[kind], 25, 5
    x = rows(inputs, 60)
    y = (np.arange(60) % 2).astype(np.int32)
    train = {"epochs": 2, "batch_size": batch, "optimizer": "sgd", "learning_rate": 0.1, "early_stopping": None}
    recipe = Recipe.model_validate({"model": {"name": name, **SMALL, "l2": 0.001}, "train": train})
    program = Program(recipe, inputs, 2, 60)
    program.fit(Split(x, y, x, y), recipe.train, seed, np.array([0.3, 0.0, 1.0]))
    network = models.build(recipe.model, inputs, 2, -(-60 // batch), seed)
    network.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for epoch in range(2):
        order = np.random.default_rng((seed, epoch)).permutation(60)
        for start in range(0, 60, batch):
            network.train_on_batch(x[order[start : start + batch]], y[order[start : start + batch]])
    for ours, theirs in zip(program.network.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


# Images


@pytest.mark.parametrize(("side", "sides", "halving"), [(28, (14, 7, 4), (1, 2, 3)), (16, (16, 8, 4), (2, 3))])
def test_a_resnet_halves_the_image_and_ends_with_the_mean(side, sides, halving):
    network = build("resnet", Inputs((side, side, 1)), units=[4, 8, 16])
    shapes = [network.get_layer(f"stage_{stage}_block_2_sum").output.shape[1:] for stage in (1, 2, 3)]
    assert shapes == [(side, side, width) for side, width in zip(sides, (4, 8, 16), strict=True)]
    assert network.get_layer("logits").kernel.shape == (16, 3)
    names = [layer.name for layer in network.layers if "Conv2D" in type(layer).__name__]
    assert [name for name in names if "shortcut" in name] == [f"stage_{stage}_block_1_shortcut" for stage in halving]
    assert len(names) == 1 + 3 * 2 * 2 + len(halving)


def test_a_residual_block_that_changes_nothing_hands_on_what_it_got():
    network = build("resnet", Inputs((8, 8, 1)), units=[4])
    for block in (1, 2):
        kernel = network.get_layer(f"stage_1_block_{block}_conv_2").kernel
        kernel.assign(np.zeros(kernel.shape))
    parts = keras.Model(network.input, [network.get_layer(name).output for name in ("stem", "stage_1_block_2_sum")])
    before, after = parts(rows(Inputs((8, 8, 1))))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 5, 3), (1, 1, 2)])
def test_a_resnet_takes_images_of_any_size(shape):
    assert build("resnet", Inputs(shape))(np.zeros((2, *shape), np.float32)).shape == (2, 3)


def test_a_backbone_takes_small_grey_images_and_weights_from_a_file(tmp_path):
    network = models.build(Model.model_validate(BACKBONE), Inputs((8, 9, 1)), 3, 30, 1)
    backbone = network.get_layer("MobileNetV3Small")
    assert backbone.input.shape == (None, 32, 36, 3)
    assert not any("Rescaling" in type(layer).__name__ for layer in backbone.layers)
    backbone.save_weights(tmp_path / "backbone.weights.h5")
    frozen = {**BACKBONE, "weights": str(tmp_path / "backbone.weights.h5"), "frozen": True, "batch_norm": False}
    other = models.build(Model.model_validate(frozen), Inputs((8, 9, 1)), 3, 30, 2)
    loaded = other.get_layer("MobileNetV3Small")
    assert all(np.array_equal(a, b) for a, b in zip(backbone.get_weights(), loaded.get_weights(), strict=True))
    assert [weight.path for weight in other.trainable_variables] == ["logits/kernel", "logits/bias"]
    again = models.build(Model.model_validate(BACKBONE), Inputs((8, 9, 1)), 3, 30, 1)
    assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), again.get_weights(), strict=True))


def test_images_or_weights_that_do_not_fit_a_backbone_are_said(tmp_path):
    with pytest.raises(AssayError, match=r"applications/Xception on images of shape \(32, 32, 3\).*at least 71x71"):
        models.build(Model.model_validate({"name": "applications/Xception"}), Inputs((32, 32, 3)), 3, 30, 0)
    (tmp_path / "x.weights.h5").write_bytes(b"nothing")
    wrong = {**BACKBONE, "weights": str(tmp_path / "x.weights.h5")}
    with pytest.raises(AssayError, match=r"MobileNetV3Small on images of shape .* weights .*x.weights.h5: "):
        models.build(Model.model_validate(wrong), Inputs((32, 32, 3)), 3, 30, 0)


# Texts


ORDERED = ("bilstm", "textcnn", "transformer")


@pytest.mark.parametrize("name", ORDERED)
def test_what_is_behind_a_text_changes_nothing(name):
    network = build(name, TEXT)
    x = rows(TEXT)
    before = np.array(network(x))
    words = network.get_layer("words").embeddings
    table = np.array(words)
    table[NO_WORD] = 100.0
    words.assign(table)
    np.testing.assert_allclose(network(x), before, atol=1e-5)
    longer = build(name, Inputs((14,), (), (20,), "int32"))
    for weight, of in zip(longer.weights, network.weights, strict=True):
        value = np.array(weight)
        value[tuple(slice(n) for n in of.shape)] = np.array(of)  # the transformer has more places now
        weight.assign(value)
    np.testing.assert_allclose(longer(np.pad(x, ((0, 0), (0, 5)))), before, atol=1e-5)


@pytest.mark.parametrize("name", ORDERED)
def test_the_order_of_words_counts_and_a_text_without_words_is_no_error(name):
    network = build(name, TEXT)
    x = np.array([[3, 5, 7, 11, 0, 0, 0, 0, 0], [7, 3, 11, 5, 0, 0, 0, 0, 0], [0] * 9], np.int32)
    logits = np.array(network(x))
    assert np.isfinite(logits).all()
    assert np.abs(logits[0] - logits[1]).max() > 1e-6


def test_the_bilstm_is_the_textbooks():
    recipe = Model.model_validate({"name": "bilstm", "batch_norm": False, "dropout": 0.5})
    network = models.build(recipe, Inputs((30,), (), (1000,), "int32"), 2, 30, 0)
    parts = [layer for layer in network.layers if layer.weights or "Dropout" in type(layer).__name__]
    told = [(type(layer).__name__, layer.output.shape[1:]) for layer in parts]
    assert told == [
        ("Embedding", (30, 64)),
        ("Bidirectional", (30, 128)),
        ("Bidirectional", (64,)),
        ("Dense", (64,)),
        ("Dropout", (64,)),
        ("Dense", (2,)),
    ]


def test_a_textcnn_takes_the_most_over_the_places_of_real_words():
    network = build("textcnn", TEXT, batch_norm=False, units=[5])
    assert [network.get_layer(f"conv_{width}").kernel.shape for width in WIDTHS] == [(w, 8, 5) for w in WIDTHS]
    text = [3, 5, 7, 11]
    vectors = np.array(network.get_layer("words").embeddings)[text]
    padded = np.pad(vectors, ((1, 1), (0, 0)))
    kernel = np.array(network.get_layer("conv_3").kernel)
    best = np.max([np.einsum("wd,wdf->f", padded[i : i + 3], kernel) for i in range(4)], axis=0)
    found = keras.Model(network.input, network.get_layer("conv_3_relu").output)(np.array([text + [0] * 5], np.int32))
    np.testing.assert_allclose(found, np.maximum(best, 0)[None], atol=1e-6)


def test_attention_is_that_of_keras():
    recipe = Model.model_validate({"name": "transformer", **SMALL})
    inputs, real = keras.Input((6, 8)), keras.Input((6,), dtype="bool")
    ours = keras.Model([inputs, real], _attention(inputs, real, Layers(recipe, 30, 0), "a"))
    theirs = keras.layers.MultiHeadAttention(HEADS, 2)
    x = np.random.default_rng(0).normal(size=(3, 6, 8)).astype(np.float32)
    mask = np.arange(6) < np.array([[2], [6], [4]])
    theirs(x, x, attention_mask=mask[:, None])
    theirs.set_weights(
        [
            np.array(weight).reshape(of.shape)
            for weight, of in zip(ours.get_weights(), theirs.get_weights(), strict=True)
        ]
    )
    np.testing.assert_allclose(ours([x, mask]), theirs(x, x, attention_mask=mask[:, None]), atol=1e-5)
