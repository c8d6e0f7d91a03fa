"""Networks for text that know the order of words. What is behind a text's end changes nothing in them."""

import keras

from components.data.encoding import Inputs
from components.training.models.layers import Layers, mean_of_words, real_words

WIDTHS = (3, 4, 5)  # of the windows of `textcnn`, in words
HEADS = 4


def bilstm(x: keras.KerasTensor, layers: Layers, inputs: Inputs, units: tuple[int, ...]) -> keras.KerasTensor:
    """Bidirectional LSTMs on top of each other, then one dense layer twice as wide as the last.

    Batch normalization and dropout are in the dense layer.
    """
    first = keras.ops.expand_dims(keras.ops.arange(x.shape[1]) == 0, 0)
    real = keras.ops.logical_or(real_words(x), first)  # on a GPU an LSTM refuses a text without a word
    words = layers.words(x, inputs)
    for i, width in enumerate(units, 1):
        words = layers.lstm(words, real, width, f"lstm_{i}", sequence=i < len(units))
    return layers.dense(words, 2 * units[-1], "dense_1")


def textcnn(x: keras.KerasTensor, layers: Layers, inputs: Inputs, units: tuple[int, ...]) -> keras.KerasTensor:
    """Filters over 3, 4 and 5 words, of each the most it finds in the text (Kim 2014); further units are dense."""
    real = real_words(x)
    words = layers.words(x, inputs) * keras.ops.cast(keras.ops.expand_dims(real, -1), "float32")
    ngrams = [layers.ngrams(words, real, units[0], width, f"conv_{width}") for width in WIDTHS]
    x = keras.layers.Concatenate(name="found")(ngrams)
    for i, width in enumerate(units[1:], 1):
        x = layers.dense(x, width, f"dense_{i}")
    return x


def transformer(x: keras.KerasTensor, layers: Layers, inputs: Inputs, units: tuple[int, ...]) -> keras.KerasTensor:
    """A small transformer encoder (Vaswani et al. 2017), of which the mean over the words is taken.

    Each width is that of a block's feed-forward layer. Blocks normalize before they act, which trains without a warm-up
    (Xiong et al. 2020). Places have trained vectors.
    """
    real, words = real_words(x), layers.words(x, inputs)
    places = keras.ops.cumsum(keras.ops.ones_like(x), axis=1) - 1  # a constant would not be a part of the network
    words = words + layers.embedding(places, x.shape[1], layers.recipe.embedding, "places")
    words = layers.dropout(words, "words_dropout")
    for i, width in enumerate(units, 1):
        words = words + _attention(_normalized(words, f"block_{i}_norm_1"), real, layers, f"block_{i}")
        change = layers.dense(_normalized(words, f"block_{i}_norm_2"), width, f"block_{i}_dense")
        words = words + layers.linear(change, layers.recipe.embedding, f"block_{i}_out")
    return mean_of_words(x, _normalized(words, "norm"))


def _normalized(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.LayerNormalization(name=name)(x)


def _attention(x: keras.KerasTensor, real: keras.KerasTensor, layers: Layers, name: str) -> keras.KerasTensor:
    """Return what each word takes from the real words; (rows, words, d) -> (rows, words, d).

    Not `keras.layers.MultiHeadAttention`: it gives one seed to all its kernels, and so the same weights.
    """
    words, width = x.shape[1:]
    size = -(-width // HEADS)
    parts = [layers.linear(x, HEADS * size, f"{name}_{part}") for part in ("query", "key", "value")]
    query, key, value = (keras.ops.reshape(part, (-1, words, HEADS, size)) for part in parts)
    seen = keras.ops.expand_dims(keras.ops.expand_dims(real, 1), 1)  # by every head and every word
    # In float32 at any precision: float16 has no -1e9, and of a text without a word would be no number.
    scores = keras.ops.cast(keras.ops.einsum("bqhd,bkhd->bhqk", query, key), "float32") / size**0.5
    shares = keras.ops.softmax(keras.ops.where(seen, scores, -1e9), axis=-1)
    shares = keras.ops.cast(shares, value.dtype)
    taken = keras.ops.reshape(keras.ops.einsum("bhqk,bkhd->bqhd", shares, value), (-1, words, HEADS * size))
    return layers.dropout(layers.linear(taken, width, f"{name}_attention"), f"{name}_attention_dropout")
