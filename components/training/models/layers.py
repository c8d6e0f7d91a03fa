"""The layers that networks are made of, and what turns encoded rows of any kind into features.

Every builder gets a `Layers`, which adds the switches that all networks have (normalization, dropout, L1, L2), so
a technique means the same in each of them. A layer's random numbers are seeded by the cell's seed and the layer's name:
the same layer starts with the same weights in every arm, which keeps paired differences small.
"""

import hashlib

import keras

from components.data.encoding import NO_WORD, Inputs
from components.study.recipe import Model

MIN_VALUE = -6e4  # below what is found; float16 ends at -65504


class Layers:
    """Adds layers with the recipe's switches.

    Batch normalization comes before the activation and makes the bias superfluous (Ioffe and Szegedy 2015). Layer
    normalization stands at the same place and does not (Ba et al. 2016); in a convolution it is over the maps of each
    pixel, as in ConvNeXt (Liu et al. 2022). Dropout in convolutions drops whole maps, since neighboring pixels carry
    the same signal (Tompson et al. 2015).
    """

    def __init__(self, recipe: Model, steps: int, seed: int):
        """Take the number of steps in an epoch, and the cell's seed."""
        self.recipe = recipe
        self.seed = seed
        self.momentum = recipe.batch_norm_momentum if recipe.batch_norm_momentum is not None else momentum(steps)

    def dense(self, x: keras.KerasTensor, units: int, name: str) -> keras.KerasTensor:
        """A dense layer and its activation; (rows, features) -> (rows, units)."""
        layer = keras.layers.Dense(units, **self._kernel(name))
        return self._activate(layer(x), name, keras.layers.Dropout)

    def convolution(self, x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
        """A 3x3 convolution, 2x2 pooling and the activation; (rows, h, w, channels) -> (rows, h/2, w/2, filters)."""
        layer = keras.layers.Conv2D(filters, 3, padding="same", **self._kernel(name))
        pool = keras.layers.MaxPooling2D(2, padding="same", name=f"{name}_pool")
        return self._activate(layer(x), name, keras.layers.SpatialDropout2D, pool)

    def output(self, x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
        """Logits; (rows, features) -> (rows, classes)."""
        return self.linear(x, classes, "logits", dtype="float32")

    def embedding(self, x: keras.KerasTensor, numbers: int, width: int, name: str) -> keras.KerasTensor:
        """A trained vector for each number; int (rows, ...) -> float32 (rows, ..., width).

        It starts narrower than Keras' uniform(0.05) would for few numbers and wider for many: with the deviation of a
        Glorot kernel, so that the first dense layer sees about what it would see of a one-hot row.
        """
        start = keras.initializers.GlorotUniform(self._seed(name))
        return keras.layers.Embedding(numbers, width, embeddings_initializer=start, name=name)(x)

    def words(self, x: keras.KerasTensor, inputs: Inputs) -> keras.KerasTensor:
        """The words' vectors; int32 (rows, words) -> float32 (rows, words, width)."""
        return self.embedding(x, inputs.sizes[0], self.recipe.embedding, "words")

    def bare_convolution(
        self, x: keras.KerasTensor, filters: int, name: str, size: int = 3, strides: int = 1
    ) -> keras.KerasTensor:
        """A convolution and nothing behind it; (rows, h, w, channels) -> (rows, h/strides, w/strides, filters)."""
        return keras.layers.Conv2D(filters, size, strides, padding="same", **self._kernel(name))(x)

    def activation(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Normalization, activation and dropout, of images' whole maps; the shape stays."""
        return self._activate(x, name, keras.layers.SpatialDropout2D if len(x.shape) == 4 else keras.layers.Dropout)

    def ngrams(
        self, x: keras.KerasTensor, real: keras.KerasTensor, filters: int, width: int, name: str
    ) -> keras.KerasTensor:
        """The most that each filter finds in `width` words side by side (Kim 2014).

        (rows, words, d) -> (rows, filters). `real` is bool (rows, words). Other places must be zeros in `x`, so that a
        text's end looks the same whether or not there is room behind it.
        """

        def most(found: keras.KerasTensor) -> keras.KerasTensor:
            there = keras.ops.expand_dims(real, -1)
            best = keras.ops.max(keras.ops.where(there, found, MIN_VALUE), axis=1)
            return keras.ops.where(keras.ops.any(there, axis=1), best, 0.0)

        layer = keras.layers.Conv1D(filters, width, padding="same", **self._kernel(name))
        return self._activate(layer(x), name, keras.layers.Dropout, most)

    def lstm(
        self, x: keras.KerasTensor, real: keras.KerasTensor, units: int, name: str, *, sequence: bool
    ) -> keras.KerasTensor:
        """LSTMs from either end (Hochreiter and Schmidhuber 1997, Graves and Schmidhuber 2005).

        (rows, words, d) -> (rows, words, 2 units), or (rows, 2 units) without `sequence`. `real` is bool (rows, words);
        other places change nothing. The L2 penalty is on what is read, and not on what is remembered.
        """
        one_way = [
            keras.layers.LSTM(
                units,
                return_sequences=sequence,
                go_backwards=backwards,
                **{**self._kernel(f"{name}_{way}"), "use_bias": True},
                recurrent_initializer=keras.initializers.Orthogonal(seed=self._seed(f"{name}_{way}_recurrent")),
                seed=self._seed(f"{name}_{way}_dropout"),
            )
            for way, backwards in (("forward", False), ("backward", True))
        ]
        return keras.layers.Bidirectional(one_way[0], backward_layer=one_way[1], name=name)(x, mask=real)

    def linear(self, x: keras.KerasTensor, units: int, name: str, dtype: str | None = None) -> keras.KerasTensor:
        """A dense layer with a bias and nothing behind it; (..., features) -> (..., units)."""
        return keras.layers.Dense(units, **{**self._kernel(name), "use_bias": True}, dtype=dtype)(x)

    def dropout(self, x: keras.KerasTensor, name: str, kind: type = keras.layers.Dropout) -> keras.KerasTensor:
        """Dropout alone."""
        return kind(self.recipe.dropout, seed=self._seed(name), name=name)(x) if self.recipe.dropout else x

    def _activate(self, x, name: str, dropout: type, pool=None) -> keras.KerasTensor:
        # Pooling comes first. The largest of four pixels stays the largest under a ReLU, sigmoid or tanh and under a
        # normalization with a positive gain, so only the pixels that the statistics are taken from differ; they are a
        # quarter as many.
        x = pool(x) if pool else x
        if self.recipe.batch_norm:
            x = keras.layers.BatchNormalization(momentum=self.momentum, name=f"{name}_norm")(x)
        if self.recipe.layer_norm:
            x = keras.layers.LayerNormalization(name=f"{name}_norm")(x)
        kind = self.recipe.activation
        x = keras.layers.Activation(kind, name=f"{name}_{kind}")(x)
        return self.dropout(x, f"{name}_dropout", dropout)

    def _kernel(self, name: str) -> dict:
        l1, l2 = self.recipe.l1, self.recipe.l2
        return {
            "name": name,
            "use_bias": not self.recipe.batch_norm,
            "kernel_initializer": keras.initializers.GlorotUniform(self._seed(name)),
            "kernel_regularizer": keras.regularizers.L1L2(l1, l2) if l1 or l2 else None,
        }

    def _seed(self, name: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{name}".encode()).digest()[:4], "big") >> 1


def momentum(steps: int) -> float:
    """Return a batch-normalization momentum whose moving averages span about an epoch, within 10 to 100 steps.

    Keras' 0.99 needs hundreds of steps before the averages mean anything: with 20 steps an epoch, validation scores
    stay near chance for the first ten epochs.
    """
    return 1.0 - 1.0 / min(max(steps, 10), 100)


def features(x: keras.KerasTensor, layers: Layers, inputs: Inputs) -> keras.KerasTensor:
    """Return a flat row of numbers; encoded rows of any kind -> (rows, features).

    Images are flattened. Of a table the categories become one-hot or embedded. Of text it is the mean of the words'
    vectors (Iyyer et al. 2015).
    """
    if x.dtype == "int32":
        return mean_of_words(x, layers.words(x, inputs))
    if inputs.sizes:
        return with_categories(x, layers, inputs.sizes)
    return keras.layers.Flatten(name="flatten")(x) if len(x.shape) > 2 else x


def real_words(x: keras.KerasTensor) -> keras.KerasTensor:
    """Return what is a word, and not room behind a text: int32 (rows, words) -> bool (rows, words)."""
    return keras.ops.not_equal(x, NO_WORD)


def mean_of_words(x: keras.KerasTensor, vectors: keras.KerasTensor) -> keras.KerasTensor:
    """Return the mean over what is a word: int32 (rows, words) and (rows, words, width) -> (rows, width)."""
    is_word = keras.ops.expand_dims(keras.ops.cast(real_words(x), "float32"), -1)
    words = keras.ops.maximum(keras.ops.sum(is_word, axis=1), 1.0)
    return keras.ops.sum(vectors * is_word, axis=1) / words


def with_categories(x: keras.KerasTensor, layers: Layers, sizes: tuple[int, ...]) -> keras.KerasTensor:
    """Return an encoded row of a table with its last columns, which are categories, spread out."""
    numbers = x.shape[-1] - len(sizes)
    parts = [x[:, :numbers]] if numbers else []
    for i, size in enumerate(sizes):
        category = keras.ops.cast(x[:, numbers + i], "int32")
        if layers.recipe.categories == "one-hot":
            parts.append(keras.ops.one_hot(category, size))
        else:
            parts.append(layers.embedding(category, size, embedding_width(size), f"category_{i}"))
    return keras.ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]


def embedding_width(size: int) -> int:
    """Return how wide the vector of one of `size` categories is: half as many, at most 50 (Guo and Berkhahn 2016)."""
    return min(-(-size // 2), 50)
