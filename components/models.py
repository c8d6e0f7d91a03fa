"""The networks, as Keras models from scaled rows to logits. A network is one builder, registered in `BUILDERS`.

Every builder gets a `Layers`, which adds the switches that all networks have (batch normalization, dropout, L2), so
a technique means the same in each of them. A layer's random numbers are seeded by the cell's seed and the layer's name:
the same layer starts with the same weights in every arm, which keeps paired differences small.
"""

import hashlib
from collections.abc import Callable

import keras

from components.recipe import UNITS, Model
from components.scale import Scaler


class Layers:
    """Adds layers with the recipe's switches.

    Batch normalization comes before the activation and makes the bias superfluous (Ioffe and Szegedy 2015). Dropout in
    convolutions drops whole maps, since neighbouring pixels carry the same signal (Tompson et al. 2015).
    """

    def __init__(self, recipe: Model, steps: int, seed: int):
        """Take the model's part of the recipe, the number of steps in an epoch, and the cell's seed."""
        self.recipe = recipe
        self.seed = seed
        self.momentum = recipe.batch_norm_momentum if recipe.batch_norm_momentum is not None else momentum(steps)

    def dense(self, x: keras.KerasTensor, units: int, name: str) -> keras.KerasTensor:
        """A dense ReLU layer; (rows, features) -> (rows, units)."""
        layer = keras.layers.Dense(units, **self._kernel(name))
        return self._activate(layer(x), name, keras.layers.Dropout)

    def convolution(self, x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
        """A 3x3 ReLU convolution and 2x2 pooling; (rows, h, w, channels) -> (rows, h/2, w/2, filters)."""
        layer = keras.layers.Conv2D(filters, 3, padding="same", **self._kernel(name))
        pool = keras.layers.MaxPooling2D(2, padding="same", name=f"{name}_pool")
        return self._activate(layer(x), name, keras.layers.SpatialDropout2D, pool)

    def output(self, x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
        """Logits; (rows, features) -> (rows, classes)."""
        kernel = {**self._kernel("logits"), "use_bias": True}
        return keras.layers.Dense(classes, **kernel, dtype="float32")(x)

    def _activate(self, x, name: str, dropout: type, pool=None) -> keras.KerasTensor:
        # Pooling comes first. The largest of four pixels stays the largest under a ReLU and under a normalization with
        # a positive gain, so only the pixels that the statistics are taken from differ; they are a quarter as many.
        x = pool(x) if pool else x
        if self.recipe.batch_norm:
            x = keras.layers.BatchNormalization(momentum=self.momentum, name=f"{name}_norm")(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
        if self.recipe.dropout:
            x = dropout(self.recipe.dropout, seed=self._seed(f"{name}_dropout"), name=f"{name}_dropout")(x)
        return x

    def _kernel(self, name: str) -> dict:
        return {
            "name": name,
            "use_bias": not self.recipe.batch_norm,
            "kernel_initializer": keras.initializers.GlorotUniform(self._seed(name)),
            "kernel_regularizer": keras.regularizers.L2(self.recipe.l2) if self.recipe.l2 else None,
        }

    def _seed(self, name: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{name}".encode()).digest()[:4], "big") >> 1


def momentum(steps: int) -> float:
    """Return a batch-normalization momentum whose moving averages span about an epoch, within 10 to 100 steps.

    Keras' 0.99 needs hundreds of steps before the averages mean anything: with 20 steps an epoch, validation scores
    stay near chance for the first ten epochs.
    """
    return 1.0 - 1.0 / min(max(steps, 10), 100)


def mlp(x: keras.KerasTensor, layers: Layers, units: tuple[int, ...]) -> keras.KerasTensor:
    """Dense layers; images are flattened."""
    x = keras.layers.Flatten(name="flatten")(x) if len(x.shape) > 2 else x
    for i, width in enumerate(units, 1):
        x = layers.dense(x, width, f"dense_{i}")
    return x


def cnn(x: keras.KerasTensor, layers: Layers, units: tuple[int, ...]) -> keras.KerasTensor:
    """3x3 convolutions, each with 2x2 pooling, then one dense layer twice as wide as the last convolution."""
    for i, filters in enumerate(units, 1):
        x = layers.convolution(x, filters, f"conv_{i}")
    x = keras.layers.Flatten(name="flatten")(x)
    return layers.dense(x, 2 * units[-1], "dense_1")


BUILDERS: dict[str, Callable[[keras.KerasTensor, Layers, tuple[int, ...]], keras.KerasTensor]] = {
    "mlp": mlp,
    "cnn": cnn,
}


def build(recipe: Model, shape: tuple[int, ...], classes: int, steps: int, seed: int) -> keras.Model:
    """Return an untrained network: float32 (rows, *shape), scaled -> float32 (rows, classes) logits.

    Args:
        recipe: the model's part of the recipe.
        shape: of one row.
        classes: how many.
        steps: in an epoch; decides the batch-normalization momentum.
        seed: of the initial weights and of dropout.
    """
    inputs = keras.Input(shape, name="scaled")
    layers = Layers(recipe, steps, seed)
    hidden = BUILDERS[recipe.name](inputs, layers, recipe.units or UNITS[recipe.name])
    return keras.Model(inputs, layers.output(hidden, classes), name=recipe.name)


def served(network: keras.Model, scaler: Scaler) -> keras.Model:
    """Return the model to save: raw rows in, probabilities out; the scaler is a layer of it."""
    inputs = keras.Input(network.input_shape[1:], name="raw")
    offset, factor = scaler.float32()
    # Two layers: one would add offset * factor, and lose the digits that the subtraction keeps. Not Normalization,
    # whose divisor is at least 1e-7.
    shifted = keras.layers.Rescaling(1.0, (-offset).tolist(), name="shift")(inputs)
    scaled = keras.layers.Rescaling(factor.tolist(), name="scale")(shifted)
    probabilities = keras.layers.Softmax(name="probabilities")(network(scaled))
    return keras.Model(inputs, probabilities, name=f"{network.name}_served")
