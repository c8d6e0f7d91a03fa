from typing import Any

import keras
import numpy as np
import pytest

from components.data.encoding import Inputs
from components.study.recipe import Model
from components.training import models
from components.training.models import layers as layers_module

SHAPES = {"mlp": (4,), "cnn": (8, 8, 1)}
KINDS = ("mlp", "cnn")


def build(name: str, seed: int = 0, steps: int = 30, shape=None, **switches: Any) -> keras.Model:
    return models.build(Model.model_validate({"name": name, **switches}), Inputs(shape or SHAPES[name]), 3, steps, seed)


def layers(network: keras.Model, kind: str) -> list:
    return [layer for layer in network.layers if kind in type(layer).__name__]


@pytest.mark.parametrize("name", KINDS)
def test_batch_normalization_follows_every_hidden_layer_or_none(name):
    assert len(layers(build(name), "BatchNormalization")) == 3
    assert layers(build(name, batch_norm=False), "BatchNormalization") == []


@pytest.mark.parametrize("name", KINDS)
def test_layer_normalization_follows_every_hidden_layer_or_none(name):
    network = build(name, batch_norm=False, layer_norm=True)
    assert len(layers(network, "LayerNormalization")) == 3
    assert layers(build(name), "LayerNormalization") == []
    assert network.get_layer("dense_1").use_bias  # which is not taken away again, as by batch normalization


def test_layer_normalization_is_over_the_units_of_a_row_and_the_maps_of_a_pixel():
    for name, shape in SHAPES.items():
        network = build(name, batch_norm=False, layer_norm=True)
        first = "dense_1" if name == "mlp" else "conv_1"
        normed = keras.Model(network.input, network.get_layer(f"{first}_norm").output)
        out = np.array(normed(np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)))
        np.testing.assert_allclose(out.mean(axis=-1), 0, atol=1e-5)
        assert np.median(out.std(axis=-1)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", KINDS)
def test_a_bias_is_there_exactly_where_no_batch_normalization_follows(name):
    def hidden(network):
        return [layer for layer in network.layers if hasattr(layer, "kernel")][:-1]

    assert [layer.use_bias for layer in hidden(build(name))] == [False] * 3
    assert [layer.use_bias for layer in hidden(build(name, batch_norm=False))] == [True] * 3
    assert build(name).get_layer("logits").use_bias


@pytest.mark.parametrize("name", KINDS)
def test_dropout_has_the_rate_or_is_not_there(name):
    assert [layer.rate for layer in layers(build(name, dropout=0.25), "Dropout")] == [0.25] * 3
    assert layers(build(name), "Dropout") == []


def test_convolutions_drop_whole_maps():
    network = build("cnn", dropout=0.5, batch_norm=False)
    first = keras.Model(network.input, network.get_layer("conv_1_dropout").output)
    maps = np.array(first(np.ones((4, 8, 8, 1), np.float32), training=True)).reshape(4, 16, -1)
    dead = (maps == 0).all(axis=1)
    kept = keras.Model(network.input, network.get_layer("conv_1_pool").output)(np.ones((4, 8, 8, 1), np.float32))
    alive = (np.array(kept).reshape(4, 16, -1) > 0).any(axis=1)
    assert 0.2 < dead[alive].mean() < 0.8
    assert (maps[:, :, :].min(axis=1)[~dead & alive] >= 0).all()


@pytest.mark.parametrize("name", KINDS)
def test_l1_and_l2_are_the_penalty_on_the_kernels_alone(name):
    network = build(name, l2=0.01)
    kernels = [np.array(layer.kernel) for layer in network.layers if hasattr(layer, "kernel")]
    assert len(kernels) == 4
    penalty = sum(float(np.sum(kernel**2)) for kernel in kernels) * 0.01
    assert float(sum(network.losses)) == pytest.approx(penalty, rel=1e-5)
    assert build(name).losses == []
    lengths = sum(float(np.abs(kernel).sum()) for kernel in kernels)
    both = build(name, l1=0.001, l2=0.01)
    assert float(sum(both.losses)) == pytest.approx(penalty + 0.001 * lengths, rel=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_a_layer_starts_with_the_same_weights_in_every_arm(name):
    plain = {w.path: np.array(w) for w in build(name).weights if w.path.endswith("kernel")}
    different: list[dict[str, Any]] = [{"batch_norm": False}, {"dropout": 0.5}, {"l2": 0.1}, {"l1": 0.1}]
    different.append({"batch_norm": False, "layer_norm": True})
    for switches in different:
        other = {w.path: np.array(w) for w in build(name, **switches).weights if w.path.endswith("kernel")}
        assert plain.keys() == other.keys()
        for path, kernel in plain.items():
            np.testing.assert_array_equal(kernel, other[path])


@pytest.mark.parametrize("name", KINDS)
def test_a_seed_decides_the_weights(name):
    first, again, other = (build(name, seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_layers_of_a_network_start_differently():
    network = build("mlp", units=(8, 8, 8), shape=(8,))
    kernels = [np.array(network.get_layer(f"dense_{i}").kernel) for i in (1, 2, 3)]
    assert not np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[1], kernels[2])


def test_the_mlp_is_the_textbooks():
    network = build("mlp")
    assert [layer.units for layer in layers(network, "Dense")] == [64, 128, 128, 3]
    order = [type(layer).__name__ for layer in network.layers]
    assert order == ["InputLayer", *["Dense", "BatchNormalization", "Activation"] * 3, "Dense"]


@pytest.mark.parametrize(
    ("activation", "least", "most"), [("relu", 0, 99), ("sigmoid", 0, 1), ("tanh", -1, 1), ("gelu", -0.171, 99)]
)
@pytest.mark.parametrize("name", KINDS)
def test_hidden_layers_have_the_activation(name, activation, least, most):
    network = build(name, activation=activation)
    found = layers(network, "Activation")
    assert [layer.name for layer in found] == [f"{layer.name.rpartition('_')[0]}_{activation}" for layer in found]
    assert len(found) == 3
    x = np.linspace(-5, 5, 11, dtype=np.float32)
    for layer in found:
        out = np.array(layer(x))
        assert least <= out.min() < out.max() <= most
        assert not np.allclose(out, x)


def test_units_set_the_widths():
    assert [layer.units for layer in layers(build("mlp", units=(5, 7)), "Dense")] == [5, 7, 3]
    network = build("cnn", units=(4, 6, 8))
    assert [layer.filters for layer in layers(network, "Conv2D")] == [4, 6, 8]
    assert network.get_layer("dense_1").units == 16


@pytest.mark.parametrize("shape", [(8, 8, 1), (1, 1, 3), (9, 5, 2)])
@pytest.mark.parametrize("name", KINDS)
def test_both_networks_take_images_of_any_size(name, shape):
    network = build(name, shape=shape, units=(4, 4, 4))
    assert network(np.zeros((2, *shape), np.float32)).shape == (2, 3)


@pytest.mark.parametrize(("steps", "expected"), [(1, 0.9), (10, 0.9), (21, 1 - 1 / 21), (100, 0.99), (5000, 0.99)])
def test_batch_normalization_averages_span_about_an_epoch(steps, expected):
    assert layers_module.momentum(steps) == pytest.approx(expected)
    assert [layer.momentum for layer in layers(build("mlp", steps=steps), "Batch")] == pytest.approx([expected] * 3)


def test_a_stated_momentum_is_kept():
    assert [layer.momentum for layer in layers(build("mlp", batch_norm_momentum=0.5), "Batch")] == [0.5] * 3


# Tables with categories, and texts


TABLE = Inputs((5,), flags=(1,), sizes=(4, 3))  # three numbers and two columns of categories


def of_table(**switches: Any) -> keras.Model:
    recipe = Model.model_validate({"units": [16], "batch_norm": False, **switches})
    return models.build(recipe, TABLE, 3, 30, 0)


@pytest.mark.parametrize("categories", ["one-hot", "embedding"])
def test_every_category_has_an_effect_of_its_own(categories):
    network = of_table(categories=categories)
    rows = np.array([[0.1, 0.2, 0.3, first, second] for first in range(4) for second in range(3)], np.float32)
    logits = np.array(network(rows))
    assert len(np.unique(logits.round(6), axis=0)) == 12
    if categories == "one-hot":  # one more dense layer would be needed for them to act together
        assert network.get_layer("dense_1").kernel.shape == (3 + 4 + 3, 16)
    else:
        assert network.get_layer("category_0").embeddings.shape == (4, 2)
        assert network.get_layer("category_1").embeddings.shape == (3, 2)


@pytest.mark.parametrize(("size", "width"), [(2, 1), (3, 2), (10, 5), (99, 50), (1000, 50)])
def test_a_category_gets_half_as_many_numbers_and_at_most_fifty(size, width):
    assert layers_module.embedding_width(size) == width


TEXT = Inputs((6,), sizes=(20,), dtype="int32")


def of_text(length: int = 6, **switches: Any) -> keras.Model:
    recipe = Model.model_validate({"units": [16], "embedding": 8, **switches})
    return models.build(recipe, Inputs((length,), sizes=(20,), dtype="int32"), 3, 30, 0)


def test_a_text_is_the_mean_of_its_words_whatever_their_order_and_the_room_behind_them():
    short, long = of_text(6), of_text(9)
    long.set_weights(short.get_weights())
    text = np.array([[5, 7, 9, 0, 0, 0]], np.int32)
    wider = np.array([[9, 5, 7, 0, 0, 0, 0, 0, 0]], np.int32)
    np.testing.assert_allclose(short(text), long(wider), atol=1e-6)
    twice = np.array([[5, 7, 9, 5, 7, 9]], np.int32)
    np.testing.assert_allclose(short(text), short(twice), atol=1e-6)
    assert np.abs(np.array(short(text)) - np.array(short(text + 1))).max() > 1e-4


def test_a_text_without_a_word_is_zeros_and_no_number_is_lost():
    assert np.isfinite(np.array(of_text()(np.zeros((1, 6), np.int32)))).all()


def test_words_start_alike_in_every_arm_and_otherwise_for_every_seed():
    def words(network: keras.Model) -> np.ndarray:
        return np.array(network.get_layer("words").embeddings)

    np.testing.assert_array_equal(words(of_text()), words(of_text(dropout=0.5, batch_norm=False)))
    recipe = Model.model_validate({"units": [16], "embedding": 8})
    assert (words(models.build(recipe, TEXT, 3, 30, 1)) != words(of_text())).any()
