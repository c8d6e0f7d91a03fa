"""A network's training on TensorFlow in fewer operations, with the same numbers.

Keras writes batch normalization and its gradient as some thirty operations, of which most read and write every value;
TensorFlow has one for each. What is saved and served is the network itself, with nothing but Keras' own layers.
"""

import keras
import tensorflow as tf


def for_training(network: keras.Model) -> keras.Model:
    """Return a model on the network's own variables that does what the network does in training mode.

    Also moving averages and the states of random numbers change as the network would change them; dropout drops the
    same values. Layers of a kind that there is no faster form of are the network's own, as are those of a frozen part.
    """
    return keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=_call)


def _call(layer: keras.Operation, *args, **kwargs):
    if isinstance(layer, keras.Model) and layer.trainable:
        return for_training(layer)(*args, **kwargs)
    for faster in (_Normalization, _Dropout):
        if faster.fits(layer):
            return faster(layer)(*args)
    return layer(*args, **kwargs)


class _Faster(keras.Operation):
    """What a layer does in training mode; shape and type stay."""

    def __init__(self, layer: keras.layers.Layer):
        super().__init__()
        self.layer = layer

    def compute_output_spec(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor(x.shape, x.dtype)


class _Normalization(_Faster):
    """Batch normalization of maps, float32 (rows, h, w, channels). Rows of a dense layer are too few values to gain."""

    @staticmethod
    def fits(layer: keras.Operation) -> bool:
        return (
            isinstance(layer, keras.layers.BatchNormalization)
            and layer.trainable
            and layer.compute_dtype == "float32"
            and len(layer.input.shape) == 4
            and layer.axis in (-1, 3)
            and layer.center
            and layer.scale
            and not layer.renorm
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        layer = self.layer
        normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=layer.gamma.value, offset=layer.beta.value, mean=[], variance=[], epsilon=layer.epsilon
        )
        # The operation divides the squares by one less than there are (by 1 where there is but one), Keras by all.
        count = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), tf.float32)
        variance *= tf.maximum(count - 1.0, 1.0) / count
        for moving, found in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(moving * layer.momentum + found * (1.0 - layer.momentum))
        return normalized


class _Dropout(_Faster):
    """Dropout of values or of whole maps: one product with every value, not a product and then a choice."""

    @staticmethod
    def fits(layer: keras.Operation) -> bool:
        plain = type(layer) is keras.layers.Dropout and layer.noise_shape is None
        return (plain or type(layer) is keras.layers.SpatialDropout2D) and 0 < layer.rate < 1

    def call(self, x: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(x)
        if isinstance(self.layer, keras.layers.SpatialDropout2D):
            shape = tf.stack([shape[0], 1, 1, shape[3]])
        drawn = keras.random.uniform(shape, dtype=x.dtype, seed=self.layer.seed_generator)
        return x * (tf.cast(drawn >= self.layer.rate, x.dtype) * (1.0 / (1.0 - self.layer.rate)))
