"""The network that is trained computes what Keras' own layers compute."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.data.encoding import Inputs
from components.study.recipe import Model
from components.training import models
from components.training.backends import keras_program
from components.training.models.fused_layers import for_scoring, for_training

MAPS, FLAT, TEXT = Inputs((9, 6, 2)), Inputs((5,)), Inputs((7,), sizes=(20,), dtype="int32")


def build(inputs: Inputs, seed: int = 0, **model: Any) -> keras.Model:
    return models.build(Model.model_validate({"dropout": 0.3, "units": [6, 4], **model}), inputs, 3, 30, seed)


def rows(inputs: Inputs, count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    if inputs.dtype == "int32":
        return rng.integers(0, inputs.sizes[0], (count, *inputs.shape)).astype(np.int32)
    return rng.normal(1, 2, (count, *inputs.shape)).astype(np.float32)


def trained(network: keras.Model, forward: keras.Model, x: np.ndarray) -> list[np.ndarray]:
    """Return logits, gradients and all variables (moving averages, random states) after three steps' passes."""

    @tf.function
    def one_pass(x):
        with tf.GradientTape() as tape:
            logits = forward(x, training=True)
            objective = tf.reduce_sum(logits * tf.range(1.0, 4.0))
        return logits, tape.gradient(objective, [weight.value for weight in network.trainable_variables])

    found = []
    for _ in range(3):
        logits, gradients = one_pass(x)
        found += [np.array(part) for part in (logits, *map(tf.convert_to_tensor, gradients))]
    return found + [np.array(variable) for variable in network.variables]


@pytest.mark.parametrize("count", [1, 2, 33])
@pytest.mark.parametrize(
    ("inputs", "model"),
    [
        (MAPS, {"name": "cnn"}),
        (MAPS, {"name": "resnet", "l2": 0.01}),
        (MAPS, {"name": "cnn", "batch_norm": False, "layer_norm": True}),
        (FLAT, {"name": "mlp"}),
        (TEXT, {"name": "textcnn", "batch_norm": True}),
        (TEXT, {"name": "bilstm", "batch_norm": True}),
        (TEXT, {"name": "transformer"}),
    ],
)
def test_a_pass_gives_the_numbers_of_kerass_own_layers(inputs, model, count):
    plain, twin = build(inputs, **model), build(inputs, **model)
    x = rows(inputs, count)
    of_keras, ours = trained(plain, plain, x), trained(twin, for_training(twin), x)
    for expected, found in zip(of_keras, ours, strict=True):
        # Two rows of a dense layer may be nearly alike: their small variance makes rounding errors large.
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize(
    "words",
    [[[3, 4, 5, 0, 0], [6, 0, 0, 0, 0], [0, 0, 0, 0, 0]], [[0, 3, 0, 4, 0], [0, 0, 0, 0, 7]], [[1, 2, 3, 4, 5]]],
    ids=["room behind", "room between", "no room"],
)
@pytest.mark.parametrize("units", [[4], [4, 3]])
def test_lstms_pass_over_what_is_no_word(words, units):
    networks = [build(Inputs((5,), sizes=(9,), dtype="int32"), name="bilstm", units=units) for _ in range(2)]
    x = np.array(words, np.int32)
    for expected, found in zip(
        trained(networks[0], networks[0], x), trained(networks[1], for_training(networks[1]), x), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(for_scoring(networks[0])(x), networks[0](x), rtol=1e-4, atol=1e-5)
    assert any(type(layer).__name__ == "_Lstms" for layer in for_scoring(networks[0]).operations)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_maps_of_half_precision_are_normalized_as_by_keras(precision):
    with keras_program.precision(precision):
        plain, twin = build(MAPS, name="cnn", dropout=0.0), build(MAPS, name="cnn", dropout=0.0)
    x = rows(MAPS, 33)
    watched = for_training(twin)
    assert sum(type(layer).__name__ == "_Normalization" for layer in watched.operations) == 2
    for expected, found in zip(trained(plain, plain, x), trained(twin, watched, x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.05 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("layer", [keras.layers.Dropout, keras.layers.SpatialDropout2D])
def test_dropout_drops_the_same_values_bit_for_bit(layer):
    given = keras.Input((4, 3, 5))
    network = keras.Model(given, layer(0.3, seed=7)(given))
    twin = for_training(network)
    x = rows(Inputs((4, 3, 5)), 50)
    generator = network.layers[1].seed_generator
    start = np.array(generator.state)
    expected = [np.array(network(x, training=True)) for _ in range(2)]
    generator.state.assign(start)
    found = [np.array(twin(x, training=True)) for _ in range(2)]
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(found[0], found[1])
    assert np.mean(found[0] == 0) == pytest.approx(0.3, abs=0.1)


def test_dropout_drops_its_share_in_half_precision():
    given = keras.Input((1000,), dtype="bfloat16")
    network = keras.Model(given, keras.layers.Dropout(0.3, seed=7, dtype="bfloat16")(given))
    found = np.array(tf.cast(for_training(network)(tf.ones((500, 1000), tf.bfloat16), training=True), tf.float32))
    assert np.mean(found == 0) == pytest.approx(0.3, abs=0.0026)  # four standard deviations


@pytest.mark.parametrize("frozen", [False, True])
def test_a_backbone_is_trained_as_keras_would_and_a_frozen_one_stays(frozen):
    small = {"name": "applications/MobileNetV3Small", "units": None, "frozen": frozen}
    plain, twin = build(Inputs((32, 32, 3)), **small), build(Inputs((32, 32, 3)), **small)
    x = rows(Inputs((32, 32, 3)), 4)
    before = [np.array(weight) for weight in twin.get_layer("MobileNetV3Small").weights]
    expected, found = plain(x, training=True), for_training(twin)(x, training=True)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    after = [np.array(weight) for weight in twin.get_layer("MobileNetV3Small").weights]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True)) == frozen
    for ours, theirs in zip(twin.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_batch_normalization_of_other_kinds_is_left_to_keras():
    given = keras.Input((4, 3, 5))
    kinds = ({"axis": 1}, {"scale": False}, {"center": False}, {"renorm": True}, {"trainable": False})
    parts = [keras.layers.BatchNormalization(**kind)(given) for kind in kinds]
    network = keras.Model(given, keras.layers.Concatenate()(parts))
    x = rows(Inputs((4, 3, 5)), 8)
    start = network.get_weights()
    expected, weights = np.array(network(x, training=True)), network.get_weights()
    network.set_weights(start)
    np.testing.assert_array_equal(for_training(network)(x, training=True), expected)
    assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), weights, strict=True))


def test_what_is_saved_has_kerass_layers_alone(tmp_path):
    network = build(MAPS, name="cnn")
    for_training(network)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras", compile=False)
    assert {type(layer).__module__.split(".")[0] for layer in loaded.layers} == {"keras"}
    x = rows(MAPS, 3)
    np.testing.assert_allclose(loaded(x), network(x), atol=1e-6)
