"""Training computed by TensorFlow."""

import math
from collections.abc import Iterator
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from components.data.encoding import Inputs
from components.errors import AssayError
from components.study.recipe import Recipe, Train
from components.training.augment import augment
from components.training.backends import keras_program
from components.training.diagnosis import QUANTITIES
from components.training.engine import Split
from components.training.feed import Feed, Streamed
from components.training.layer_watch import LOGITS
from components.training.models.fused_layers import for_scoring, for_training

EVALUATION_ROWS = 1024  # rows scored at a time


class Adam(keras.optimizers.Adam):
    """Keras' Adam (Kingma and Ba 2015), with each variable updated by one operation of TensorFlow's and not by twenty.

    The formula is the same, with 1 - 0.999 rounded otherwise: steps differ by two hundred-thousandths of their length.
    """

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: keras.Variable) -> None:
        """Update one variable."""
        number = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[number].value.handle,
            v=self._velocities[number].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.convert_to_tensor(learning_rate),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


class Program(keras_program.KerasProgram):
    """A network whose epoch is one `tf.function`."""

    def __init__(self, recipe: Recipe, inputs: Inputs, classes: int, rows: int):
        super().__init__(recipe, inputs, classes, rows)
        self.computed = replace(self.computed, jit=self.computed.jit and self._may_jit(recipe.train))
        self._training = for_training(self._watch.network if self._watch else self.network)
        self._scoring = for_scoring(self.network)
        self.optimizer = keras_program.optimizer(recipe.train, self.network, self.computed.precision, Adam)
        self._optimizer_start = [np.array(v) for v in self.optimizer.variables]
        self._kept: list[_Kept] = []  # for each reading
        self._whole = min(self.batch_size, rows)
        self._train = tf.function(self._train_graph, autograph=False)
        if self.computed.jit:  # the step alone: XLA would draw other random numbers for augmentation
            self._update = tf.function(self._update, jit_compile=True, autograph=False)
        self._score = tf.function(self._score_graph, autograph=False)
        self._trained = [tf.Variable(v.value) for v in self.network.trainable_variables] if recipe.train.ema else []
        self._average = tf.function(self._average_graph, autograph=False)
        self._unaverage = tf.function(
            lambda: _assign([v.value for v in self.network.trainable_variables], self._trained)
        )
        self._logits = tf.function(lambda x: self._scoring(x, training=False), reduce_retracing=True)

    def begin(self, split: Split, seed: int, spread: np.ndarray, weights: np.ndarray, readings: int) -> None:
        _assign(self.network.variables, [fresh.value for fresh in self._fresh(seed).variables])
        _assign(self.optimizer.variables, self._optimizer_start)
        self._seed = seed
        self._spread, self._weights = tf.constant(spread, tf.float32), tf.constant(weights)
        self._rows = Feed(split.x, split.y, self.batch_size)
        self._validation = Feed(split.val_x, split.val_y, EVALUATION_ROWS)
        self._readings = readings
        while len(self._kept) < readings:
            self._kept.append(_Kept(self.network))

    def train_epoch(self, order: np.ndarray, step: int, rates: np.ndarray) -> np.ndarray:
        totals = tf.zeros(2), tf.fill((len(self.layers), len(QUANTITIES)), math.nan)
        for x, y, wanted in self._rows.blocks(order):
            steps = -(-len(wanted) // self.batch_size)
            seed = np.array((self._seed, step), np.int32)
            totals = self._train(x, y, wanted, seed, self._spread, rates[:steps], self._weights, totals)
            step, rates = step + steps, rates[steps:]
        self.measured = totals[1].numpy()
        return totals[0].numpy()

    def evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        totals = tf.zeros(()), tf.zeros((3, self.classes))
        for x, y in self._validation.straight():
            totals = self._score(x, y, totals)
        return totals[0].numpy(), totals[1].numpy()

    def release(self) -> None:
        del self._rows, self._validation

    def average(self) -> None:
        self._average()

    def end_average(self) -> None:
        self._unaverage()

    def keep(self, reading: int) -> None:
        self._kept[reading].keep()

    def restore(self, reading: int) -> None:
        self._kept[reading].restore()

    def state(self) -> list[np.ndarray]:
        return [np.array(variable) for variable in self._variables()]

    def set_state(self, arrays: list[np.ndarray]) -> None:
        _assign(self._variables(), arrays)

    def _variables(self) -> list:
        kept = [variable for reading in self._kept[: self._readings] for variable in reading.weights]
        return [*self.network.variables, *self.optimizer.variables, *kept]

    def probabilities(self, x: np.ndarray | Streamed) -> np.ndarray:
        found = []
        for block, _ in Feed(x, np.zeros(len(x), np.int32), EVALUATION_ROWS).straight():
            chunks = [block[start : start + EVALUATION_ROWS] for start in range(0, len(block), EVALUATION_ROWS)]
            found.append(tf.nn.softmax(tf.concat([self._logits(chunk) for chunk in chunks], axis=0)).numpy())
        return np.concatenate(found)

    def _may_jit(self, train: Train) -> bool:
        """Tell whether XLA compiles the network, which is an error where the recipe says that it should."""
        kinds = {type(layer) for layer in _layers(self.network)}
        same = train.deterministic or self.computed.device == "cpu"
        if keras.layers.Bidirectional in kinds:  # neither TensorFlow's LSTM nor cuDNN's; the recipe refuses jit: true
            return False
        if not (same and keras.layers.MaxPooling2D in kinds):
            return True
        if train.jit == "auto":
            return False
        lacks = "has no deterministic gradient of max pooling"
        raise AssayError(f"train.jit: XLA {lacks}, which {self.recipe.model.name} needs; expected auto or false")

    def _average_graph(self) -> None:
        """Set the weights as trained aside, and put their moving average into the network."""
        _assign(self._trained, self.network.trainable_variables)
        self.optimizer.finalize_variable_values(self.network.trainable_variables)

    def _train_graph(self, x, y, order, seed, spread, rates, weights, totals):
        """Train on one block, and return what became of `totals`.

        Their first, float32 (2,), gets the summed cross-entropy and the number of hits added. The second, float32
        (layers, quantities), is what the watched layers showed last.
        """
        rows, batch = tf.shape(order)[0], self.batch_size
        watched = rows // self._whole - 1

        def one(step, total, measured):
            taken = order[step * batch : tf.minimum((step + 1) * batch, rows)]
            step_seed = tf.stack([seed[0], seed[1] + step])
            self.optimizer.learning_rate.assign(rates[step])
            rows_of_step = tf.gather(x, taken), tf.gather(y, taken)
            scored, measured = self._train_step(*rows_of_step, step_seed, spread, weights, step == watched, measured)
            return step + 1, total + scored, measured

        # Not a Python loop: AutoGraph, which would convert it, does nothing on Python 3.13 (TensorFlow 2.21).
        return tf.while_loop(lambda step, *_: step * batch < rows, one, (0, *totals))[1:]

    def _train_step(self, x, y, seed, spread, class_weights, watched, measured):
        """Take one gradient step; returns float32 (2,): summed cross-entropy and number of hits, before the step.

        Also returns `measured`; where the step is `watched`, bool (), what was measured in it. That changes no step.
        """
        x = tf.ensure_shape(x, (None, *self.inputs.shape))
        x, mixture = augment(x, self.recipe.augment, seed, spread, categories=len(self.inputs.sizes))
        return self._update(x, y, mixture, class_weights, watched, measured)

    def _update(self, x, y, mixture, class_weights, watched, measured):
        """Take one gradient step on augmented rows, see `_train_step`."""
        weights = self.network.trainable_variables
        with tf.GradientTape() as tape:
            outputs = self._training(x, training=True)
            logits = outputs[LOGITS] if self._watch else outputs
            losses, objectives = self.losses(logits, y, mixture, class_weights)
            objective = tf.reduce_mean(objectives) + (tf.add_n(self.network.losses) if self.network.losses else 0.0)
            objective, scale = self.optimizer.scale_loss(objective), self.optimizer.scale_loss(1.0)
        gradients = tape.gradient(objective, [w.value for w in weights])
        # Dense: Keras' optimizers square the parts of a word that a batch has twice one by one, and not their sum.
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        before = self._kernels(weights)  # The optimizer then writes beside them, which costs less than a second `cond`.
        self.optimizer.apply(gradients, weights)
        if self._watch:
            measure, after = self._watch.measure, self._kernels(weights)
            shown = keras_program.unscaled(self._kernels(gradients), scale)
            measured = tf.cond(watched, lambda: measure(shown, before, after, outputs), lambda: measured)
        return tf.stack([tf.reduce_sum(losses), keras_program.hits(logits, y, mixture)]), measured

    def _kernels(self, of_weights) -> list[tf.Tensor]:
        """Return what is for the kernels of the watched layers, as it is now."""
        return [tf.convert_to_tensor(of_weights[i]) for i in self._watch.kernels] if self._watch else []

    def _score_graph(self, x, y, totals):
        """Score one block in evaluation mode; adds to `totals` what `engine.Program.evaluate` returns."""
        rows = tf.shape(y)[0]

        def one(start, loss, counts):
            end = tf.minimum(start + EVALUATION_ROWS, rows)
            logits = self._scoring(tf.ensure_shape(x[start:end], (None, *self.inputs.shape)), training=False)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y[start:end], logits)
            truth = tf.one_hot(y[start:end], self.classes)
            predicted = tf.one_hot(tf.argmax(logits, axis=1), self.classes)
            counted = tf.reduce_sum(tf.stack([truth, predicted, truth * predicted]), axis=1)
            return start + EVALUATION_ROWS, loss + tf.reduce_sum(losses), counts + counted

        return tf.while_loop(lambda start, *_: start < rows, one, (0, *totals))[1:]


class _Kept:
    """The weights that count so far."""

    def __init__(self, network: keras.Model):
        self.weights = [tf.Variable(v.value) for v in network.variables]
        self.keep = tf.function(lambda: _assign(self.weights, network.variables))
        self.restore = tf.function(lambda: _assign([v.value for v in network.variables], self.weights))


def _layers(network: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield the layers, and those of networks among them."""
    for layer in network.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def _assign(targets, sources) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.assign(source)
