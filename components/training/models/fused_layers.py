"""A network in fewer operations of TensorFlow, with the same numbers.

Keras writes batch normalization and its gradient as some thirty operations, of which most read and write every value,
and an LSTM as some twenty for each word. TensorFlow has one for each. What is saved and served is the network itself,
with nothing but Keras' own layers.
"""

from typing import Any

import keras
import tensorflow as tf


def for_scoring(network: keras.Model) -> keras.Model:
    """Return a model on the network's own variables that does what the network does in evaluation mode."""
    return keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=_call_scoring)


def for_training(network: keras.Model) -> keras.Model:
    """Return a model on the network's own variables that does what the network does in training mode.

    Also moving averages and the states of random numbers change as the network would change them; dropout drops the
    same values. Layers of a kind that there is no faster form of are the network's own, as are those of a frozen part.
    """
    return keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=_call)


def _call_scoring(layer: keras.Operation, *args, **kwargs):
    return _Lstms(layer)(*args, mask=kwargs.get("mask")) if _Lstms.fits(layer) else layer(*args, **kwargs)


def _call(layer: keras.Operation, *args, **kwargs):
    if isinstance(layer, keras.Model) and layer.trainable:
        return for_training(layer)(*args, **kwargs)
    for faster in (_Normalization, _Dropout, _Lstms):
        if faster.fits(layer):
            return faster(layer)(*args, mask=kwargs.get("mask"))
    return layer(*args, **kwargs)


class _Faster(keras.Operation):
    """What a layer does in training mode; shape and type stay."""

    def __init__(self, layer: keras.layers.Layer):
        super().__init__()
        self.layer = layer

    def compute_output_spec(self, x: keras.KerasTensor, mask: keras.KerasTensor | None = None) -> keras.KerasTensor:
        return keras.KerasTensor(x.shape, x.dtype)


class _Normalization(_Faster):
    """Batch normalization of maps, (rows, h, w, channels); numbers of float16 and bfloat16, too, are summed in float32.

    Rows of a dense layer are too few values to gain.
    """

    @staticmethod
    def fits(layer: keras.Operation) -> bool:
        return (
            isinstance(layer, keras.layers.BatchNormalization)
            and layer.trainable
            and len(layer.input.shape) == 4
            and layer.axis in (-1, 3)
            and layer.center
            and layer.scale
            and not layer.renorm
        )

    def call(self, x: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        layer = self.layer
        normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=layer.gamma.value, offset=layer.beta.value, mean=[], variance=[], epsilon=layer.epsilon
        )
        # The operation divides the squares by one less than there are (by 1 where there is but one), Keras by all.
        count = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), tf.float32)
        variance *= tf.maximum(count - 1.0, 1.0) / count
        for moving, of_batch in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(moving * layer.momentum + of_batch * (1.0 - layer.momentum))
        return normalized


class _Dropout(_Faster):
    """Dropout of values or of whole maps: one product with every value, not a product and then a choice."""

    @staticmethod
    def fits(layer: keras.Operation) -> bool:
        plain = type(layer) is keras.layers.Dropout and layer.noise_shape is None
        return (plain or type(layer) is keras.layers.SpatialDropout2D) and 0 < layer.rate < 1

    def call(self, x: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        shape = tf.shape(x)
        if isinstance(self.layer, keras.layers.SpatialDropout2D):
            shape = tf.stack([shape[0], 1, 1, shape[3]])
        # In float32 in any case: bfloat16 has but 128 numbers there, and more than the share would be dropped.
        drawn = keras.random.uniform(shape, dtype="float32", seed=self.layer.seed_generator)
        return x * (tf.cast(drawn >= self.layer.rate, x.dtype) * (1.0 / (1.0 - self.layer.rate)))


class _Lstms(_Faster):
    """LSTMs from either end: each one operation, where Keras has some twenty for each word.

    float32 (rows, words, d), with a mask (rows, words) -> (rows, words, 2 units) or (rows, 2 units). At places outside
    of the mask, which Keras fills with what was last, are zeros.
    """

    @staticmethod
    def fits(layer: keras.Operation) -> bool:
        return (
            isinstance(layer, keras.layers.Bidirectional)
            and layer.compute_dtype == "float32"
            and layer.merge_mode == "concat"
            and all(_is_plain_lstm(lstm) for lstm in (layer.forward_layer, layer.backward_layer))
            and not tf.config.list_physical_devices("GPU")  # which has cuDNN's
        )

    def compute_output_spec(self, x: keras.KerasTensor, mask: keras.KerasTensor | None = None) -> keras.KerasTensor:
        return keras.KerasTensor(self.layer.compute_output_shape(x.shape), x.dtype)

    def call(self, x: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        real: Any = tf.ones(tf.shape(x)[:2], tf.bool) if mask is None else mask
        count = tf.reduce_sum(tf.cast(real, tf.int32), axis=1)
        order = tf.argsort(tf.where(real, 0, 1), axis=1, stable=True)  # the words first, then the room between
        x = tf.gather(x, order, batch_dims=1)
        turned = tf.reverse_sequence(x, count, seq_axis=1)
        ahead = _lstm(x, self.layer.forward_layer.cell, count)
        back = _lstm(turned, self.layer.backward_layer.cell, count)
        if not self.layer.return_sequences:
            last = tf.maximum(count - 1, 0)
            found = tf.concat([tf.gather(way, last, batch_dims=1) for way in (ahead, back)], axis=-1)
            return tf.where(count[:, None] > 0, found, 0.0)
        found = tf.concat([ahead, tf.reverse_sequence(back, count, seq_axis=1)], axis=-1)
        placed = tf.gather(found, tf.argsort(order, axis=1), batch_dims=1)
        return tf.where(real[..., None], placed, 0.0)


def _is_plain_lstm(layer: keras.Layer) -> bool:
    return (
        isinstance(layer, keras.layers.LSTM)
        and (layer.activation, layer.recurrent_activation) == (keras.activations.tanh, keras.activations.sigmoid)
        and layer.use_bias
        and not (layer.dropout or layer.recurrent_dropout or layer.stateful)
    )


def _lstm(x: tf.Tensor, cell: keras.layers.LSTMCell, count: tf.Tensor) -> tf.Tensor:
    """Return (rows, words, units): what a cell says behind each word of the rows, of which `count` are real."""
    weights = tf.concat([cell.kernel.value, cell.recurrent_kernel.value], axis=0)
    # Not BlockLSTMV2, which has Keras' order of the gates: its gradient has the other order, and is wrong (2.21).
    weights, bias = (_in_order(part) for part in (weights, cell.bias.value))
    start, unused = tf.zeros((tf.shape(x)[0], cell.units)), tf.zeros(cell.units)
    outputs = tf.raw_ops.BlockLSTM(
        seq_len_max=tf.cast(tf.reduce_max(count), tf.int64),
        x=tf.transpose(x, (1, 0, 2)),
        cs_prev=start,
        h_prev=start,
        w=weights,
        wci=unused,
        wcf=unused,
        wco=unused,
        b=bias,
        forget_bias=0.0,
        cell_clip=-1.0,
    )
    return tf.transpose(outputs.h, (1, 0, 2))


def _in_order(gates: tf.Tensor) -> tf.Tensor:
    """Return the gates in the order of TensorFlow: input, new, forget, output; Keras has the second two swapped."""
    entering, forgetting, new, leaving = tf.split(gates, 4, axis=-1)
    return tf.concat([entering, new, forgetting, leaving], axis=-1)
