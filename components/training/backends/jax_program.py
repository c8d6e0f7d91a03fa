"""Training computed by JAX, on all devices of the machine; TensorFlow augments and streams on the CPU meanwhile.

The weights and what the optimizer remembers are handed from one compiled function to the next, which writes the new
values over the old ones. A batch's rows are divided among the devices and everything else is on each of them, so
gradients and batch statistics are those of the whole batch (data parallelism).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
import tensorflow as tf
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from components.data.encoding import Inputs
from components.study.recipe import Recipe
from components.training.augment import Mixture, augment
from components.training.backends import keras_program
from components.training.diagnosis import QUANTITIES
from components.training.engine import Split
from components.training.feed import Feed, Streamed
from components.training.layer_watch import LOGITS

EVALUATION_ROWS = 1024  # rows scored at a time
AHEAD = 2**26  # bytes of rows that are augmented at a time, while JAX computes with those before
PARTS = 8  # of an epoch that is augmented in memory, so that the first part is soon there

Weights = tuple[list[jax.Array], list[jax.Array]]  # values of the trainable variables and of the others
State = tuple[list[jax.Array], list[jax.Array], list[jax.Array]]  # and of those of the optimizer


class Batches(NamedTuple):
    """Batches of one size, for one step each."""

    x: Any  # rows (steps, batch, ...); with `order` (rows, ...), any of them
    y: Any  # int32 (steps, batch); with `order` (rows,)
    order: Any  # int32 (steps, batch), which rows are whose; None where they are in place
    mixture: Mixture | None  # how the labels are mixed, each (steps, batch); None where they are not
    steps: int  # how many steps there are; what follows is room


class Program(keras_program.KerasProgram):
    """A network whose epoch is one function compiled by XLA, and a second one for a smaller last batch.

    On the CPU and with convolutions it is a function for each step.
    """

    def __init__(self, recipe: Recipe, inputs: Inputs, classes: int, rows: int):
        super().__init__(recipe, inputs, classes, rows)
        self._watched = rows // min(self.batch_size, rows) - 1  # the last step with a whole batch
        self.optimizer = keras_program.optimizer(recipe.train, self.network, self.computed.precision)
        self._optimizer_start = [np.array(v) for v in self.optimizer.variables]
        self._rate = next(i for i, v in enumerate(self.optimizer.variables) if v is self.optimizer.learning_rate)
        # On the CPU, XLA's fast convolutions are for what is in no loop: on 8x8 images a step in one takes five times
        # as long. Of other layers it is the call of a compiled function that takes long.
        convolutions = any(len(v.shape) > 2 for v in self.network.trainable_variables)
        self._loops = self.computed.device != "cpu" or not convolutions
        mesh = Mesh(np.array(jax.local_devices()[: self.computed.devices]), ("rows",))
        self._everywhere = NamedSharding(mesh, PartitionSpec())
        self._divided = NamedSharding(mesh, PartitionSpec("rows"))
        compiled = partial(jax.jit, out_shardings=self._everywhere)
        # On the devices, as what is added to them: a function is compiled anew for arguments that are elsewhere.
        self._nothing = self._on_devices(
            (np.zeros(2, np.float32), np.full((len(self.layers), len(QUANTITIES)), np.nan, np.float32))
        )
        self._no_counts = self._on_devices((np.zeros((), np.float32), np.zeros((3, classes), np.float32)))
        self._copied = compiled(lambda tree: jax.tree.map(jnp.copy, tree))
        self._train = compiled(self._train_steps, donate_argnums=0)
        self._averaged = compiled(self._average)
        self._score = compiled(self._score_rows)
        self._logits = compiled(self._predict)
        self._augmented = tf.function(self._augment_graph, autograph=False)

    def begin(self, split: Split, seed: int, spread: np.ndarray, weights: np.ndarray, readings: int) -> None:
        self._state: State = self._copied((*self._values(self._fresh(seed)), self._optimizer_start))
        self._weights = self._copied(self._state[:2])
        self._kept: list[Weights] = [self._weights] * readings  # for each the weights that count so far
        self._seed = seed
        self._spread, self._class_weights = tf.constant(spread, tf.float32), weights
        by_tensorflow = isinstance(split.x, Streamed) or self.recipe.augment.on()
        self._feed = Feed(split.x, split.y, self.batch_size) if by_tensorflow else None
        self._rows: Any = None if by_tensorflow else self._on_devices((split.x, split.y))
        self._validation: Any = split.val_x, split.val_y
        if not isinstance(split.val_x, Streamed):
            self._validation = [self._on_devices(chunk) for chunk in _chunks(split.val_x, split.val_y)]

    def train_epoch(self, order: np.ndarray, step: int, rates: np.ndarray) -> np.ndarray:
        totals, watched = self._nothing, self._watched
        for batches in _ahead(self._prepared(order, step)) if self._feed else self._gathered(order):
            of_steps, rates = rates[: batches.steps], rates[batches.steps :]
            of_steps = np.pad(of_steps, (0, _room(batches) - len(of_steps)))
            where = np.int32(watched)
            self._state, totals = self._train(self._state, batches, of_steps, self._class_weights, where, totals)
            watched -= batches.steps
        self._weights = self._state[:2]
        self.measured = np.asarray(totals[1])
        return np.asarray(totals[0])

    def evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        totals = self._no_counts
        for x, y in self._validation if isinstance(self._validation, list) else _chunks(*self._validation):
            totals = self._score(self._weights, x, y, totals)
        return np.asarray(totals[0]), np.asarray(totals[1])

    def release(self) -> None:
        self._feed = self._rows = self._validation = None

    def average(self) -> None:
        self._weights = self._averaged(self._state)

    def end_average(self) -> None:
        self._weights = self._state[:2]

    def keep(self, reading: int) -> None:
        self._kept[reading] = self._copied(self._weights)

    def restore(self, reading: int) -> None:
        variables = [*self.network.trainable_variables, *self.network.non_trainable_variables]
        trained, others = self._kept[reading]
        for variable, value in zip(variables, [*trained, *others], strict=True):
            variable.assign(value)

    def state(self) -> list[np.ndarray]:
        return [np.asarray(value) for value in jax.tree.leaves((self._state, self._kept))]

    def set_state(self, arrays: list[np.ndarray]) -> None:
        saved = jax.tree.unflatten(jax.tree.structure((self._state, self._kept)), arrays)
        self._state, self._kept = self._copied(saved)

    def probabilities(self, x: np.ndarray | Streamed) -> np.ndarray:
        weights = self._values(self.network)
        chunks = [np.asarray(self._logits(weights, part)) for part, _ in _chunks(x, np.zeros(len(x), np.int32))]
        return np.concatenate([np.zeros((0, self.classes), np.float32), *chunks])

    def _on_devices(self, arrays: Any) -> Any:
        return jax.device_put(arrays, self._everywhere)

    # Rows, in steps

    def _gathered(self, order: np.ndarray) -> Iterator[Batches]:
        """Yield an epoch's batches of rows that are on the devices."""
        x, y = self._rows
        for batches in _in_steps(order, self.batch_size):
            size = len(batches) if self._loops else 1
            for start in range(0, len(batches), size):
                yield Batches(x, y, batches[start : start + size], None, size)

    def _prepared(self, order: np.ndarray, step: int) -> Iterator[Batches]:
        """Yield an epoch's batches as TensorFlow augments or streams them, in parts of as many steps."""
        assert self._feed
        row_bytes = 4 * int(np.prod(self.inputs.shape))
        most = max(min(AHEAD // (row_bytes * self.batch_size), -(-self.steps // PARTS)), 1) if self._loops else 1
        for x, y, wanted in self._feed.blocks(order):
            for batches in _in_steps(wanted, self.batch_size):
                size = most if batches.shape[1] == self.batch_size else 1
                for start in range(0, len(batches), size):
                    part = batches[start : start + size]
                    seed = np.array((self._seed, step), np.int32)
                    x_part, y_part, mixture = self._augmented(x, y, part, seed, self._spread)
                    with_room = partial(_with_room, size - len(part))
                    x_part, y_part, mixture = jax.tree.map(with_room, (x_part, y_part, mixture))
                    yield Batches(x_part, y_part, None, mixture or None, len(part))
                    step += len(part)

    def _augment_graph(self, x, y, order, seed, spread):
        """Return rows (steps, batch, ...), labels and mixture of the steps from seed[1] on."""

        def one(given):
            step, taken = given
            rows = tf.ensure_shape(tf.gather(x, taken), (None, *self.inputs.shape))
            step_seed = tf.stack([seed[0], seed[1] + step])
            rows, mixture = augment(rows, self.recipe.augment, step_seed, spread, categories=len(self.inputs.sizes))
            return rows, tf.gather(y, taken), mixture or ()

        like = tf.TensorSpec((None, *self.inputs.shape), x.dtype), tf.TensorSpec((None,), y.dtype)
        mixture = ()
        if self.recipe.augment.has("mix"):
            mixture = Mixture(tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.float32))
        return tf.map_fn(one, (tf.range(tf.shape(order)[0]), order), fn_output_signature=(*like, mixture))

    # What JAX compiles

    def _train_steps(self, state: State, batches: Batches, rates, class_weights, watched, totals):
        """Take the steps, and return what became of `totals`.

        Their first, float32 (2,), gets the summed cross-entropy and the number of hits added. The second, float32
        (layers, quantities), is what the watched layers showed last, which is measured in step `watched`.
        """
        x, y, order, mixture, steps = batches

        def one(step, carried):
            state, (total, measured) = carried
            taken = step if order is None else order[step]
            of_step = None if mixture is None else Mixture(*(self._share(part[step]) for part in mixture))
            rows = self._share(x[taken]), self._share(y[taken]), of_step
            state, counted, measured = self._train_step(
                state, *rows, rates[step], class_weights, step == watched, measured
            )
            return state, (total + counted, measured)

        return one(0, (state, totals)) if _room(batches) == 1 else jax.lax.fori_loop(0, steps, one, (state, totals))

    def _train_step(self, state: State, x, y, mixture: Mixture | None, rate, class_weights, watched, measured):
        """Take one gradient step; returns float32 (2,): summed cross-entropy and number of hits, before the step.

        Also returns `measured`; where the step is `watched`, what was measured in it.
        """
        before, others, remembered = state
        remembered = [*remembered[: self._rate], rate, *remembered[self._rate + 1 :]]

        def objective(trainable):
            network = self._watch.network if self._watch else self.network
            outputs, after, penalties = network.stateless_call(trainable, others, x, training=True, return_losses=True)
            logits = outputs[LOGITS] if self._watch else outputs
            losses, objectives = self.losses(logits, y, mixture, class_weights)
            with keras.StatelessScope(list(zip(self.optimizer.variables, remembered, strict=True))):
                scaled = self.optimizer.scale_loss(jnp.mean(objectives) + sum(penalties))
                scale = self.optimizer.scale_loss(1.0)
            return scaled, (after, outputs, logits, losses, scale)

        gradients, (others, outputs, logits, losses, scale) = jax.grad(objective, has_aux=True)(before)
        trainable, remembered = self.optimizer.stateless_apply(remembered, gradients, before)
        if self._watch:
            measure = self._watch.measure
            shown, old, new = ([of[i] for i in self._watch.kernels] for of in (gradients, before, trainable))
            shown = keras_program.unscaled(shown, scale)
            measured = jax.lax.cond(watched, lambda: measure(shown, old, new, outputs), lambda: measured)
        counted = jnp.stack([jnp.sum(losses), keras_program.hits(logits, y, mixture)])
        return (trainable, others, remembered), counted, measured

    def _average(self, state: State) -> Weights:
        """Return the weights with those that are trained replaced by their moving average."""
        trainable, others, remembered = state
        variables = self.network.trainable_variables
        mapping = [*zip(variables, trainable, strict=True), *zip(self.optimizer.variables, remembered, strict=True)]
        with keras.StatelessScope(mapping) as scope:
            self.optimizer.finalize_variable_values(variables)
        return [scope.get_current_value(variable) for variable in variables], others

    def _score_rows(self, weights: Weights, x, y, totals):
        """Score rows in evaluation mode; adds to `totals` what `engine.Program.evaluate` returns."""
        logits, _ = self.network.stateless_call(*weights, self._share(x), training=False)
        losses, _ = keras_program.losses(logits, [(1.0, y)], jnp.ones(self.classes), 0.0)
        truth, predicted = jax.nn.one_hot(y, self.classes), jax.nn.one_hot(jnp.argmax(logits, axis=1), self.classes)
        counted = jnp.sum(jnp.stack([truth, predicted, truth * predicted]), axis=1)
        return totals[0] + jnp.sum(losses), totals[1] + counted

    def _predict(self, weights: Weights, x):
        return jax.nn.softmax(self.network.stateless_call(*weights, self._share(x), training=False)[0])

    def _share(self, rows):
        """Divide rows among the devices, where they can be divided evenly."""
        divides = len(rows) % self.computed.devices == 0
        return jax.lax.with_sharding_constraint(rows, self._divided if divides else self._everywhere)

    @staticmethod
    def _values(network: keras.Model) -> Weights:
        return [v.value for v in network.trainable_variables], [v.value for v in network.non_trainable_variables]


def _in_steps(order: np.ndarray, batch: int) -> list[np.ndarray]:
    """Return the order as int32 (steps, batch), and what is left over as (1, left)."""
    whole = len(order) // batch * batch
    parts = order[:whole].reshape(-1, batch), order[whole:].reshape(1, -1)
    return [part for part in parts if part.size]


def _room(batches: Batches) -> int:
    """Return how many steps there may be, of which the shapes of arrays know."""
    return len(batches.y if batches.order is None else batches.order)


def _with_room(room: int, part: tf.Tensor) -> np.ndarray:
    """Return a tensor as an array with room for so many more steps, so that all parts have one shape."""
    array = np.asarray(part)
    return np.concatenate([array, np.zeros((room, *array.shape[1:]), array.dtype)]) if room else array


def _chunks(x: np.ndarray | Streamed, y: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows and labels, EVALUATION_ROWS at a time."""
    blocks = Feed(x, y, EVALUATION_ROWS).straight() if isinstance(x, Streamed) else [(x, y)]
    for rows, labels in blocks:
        rows, labels = np.asarray(rows), np.asarray(labels)
        for start in range(0, len(rows), EVALUATION_ROWS):
            yield rows[start : start + EVALUATION_ROWS], labels[start : start + EVALUATION_ROWS]


def _ahead(items: Iterator[Batches]) -> Iterator[Batches]:
    """Yield what an iterator gives, the next of which is made in a thread meanwhile."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, items, None)
            yield item
