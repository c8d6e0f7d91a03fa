"""Networks of dense layers, for any kind of data."""

import keras

from components.data.encoding import Inputs
from components.training.models.layers import Layers, features


def logistic(x: keras.KerasTensor, layers: Layers, inputs: Inputs, units: tuple[int, ...]) -> keras.KerasTensor:
    """Logistic regression: no hidden layer, so that of the switches only L2 has something to act on."""
    return features(x, layers, inputs)


def mlp(x: keras.KerasTensor, layers: Layers, inputs: Inputs, units: tuple[int, ...]) -> keras.KerasTensor:
    """Dense layers over the features of a row."""
    x = features(x, layers, inputs)
    for i, width in enumerate(units, 1):
        x = layers.dense(x, width, f"dense_{i}")
    return x
