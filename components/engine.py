"""The training engine: one compiled program for a shape of model, reset and reused by every seed.

`keras.Model.fit` on arrays makes an input pipeline every epoch and traces the network for every fresh model; on small
data that is most of its time. Here all batches of an epoch (shuffled, augmented, with their gradient steps) are ONE
`tf.function` over tensors that are already in memory, and so is validation. They are traced once; the next seed assigns
fresh initial values to the same variables. Data that does not fit into memory comes in large blocks. The numbers are
those of the ordinary loop: same batches (a smaller last one included), same order of operations, Keras' own layers and
optimizers.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from components import models
from components.augment import Mixture, augment
from components.encode import Inputs
from components.feed import Feed, Streamed
from components.recipe import Recipe, Train

CURVES: tuple[str, ...] = ("loss", "accuracy", "val_loss", "val_accuracy")
EVALUATION_ROWS = 1024  # rows scored at a time
OPTIMIZERS = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop, "sgd": keras.optimizers.SGD}


@dataclass
class Fit:
    """What training one cell gave.

    Attributes:
        curves: for each name of `CURVES` the value of every epoch.
        epoch: the epoch whose weights the network ends with, from 0.
        diverged: the epoch in which the loss was no longer a finite number, or None.
        epoch_seconds: the median over the epochs. Not the sum: the first epoch of a program also traces it, which is
            nothing that an arm should be charged for. On the CPU these are seconds of processor time: arms run one
            after another, and whatever else the machine does meanwhile must not look like a technique's cost.
    """

    curves: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in CURVES})
    epoch: int = 0
    diverged: int | None = None
    epoch_seconds: float = 0.0


@dataclass(frozen=True)
class Split:
    """Encoded rows to train and validate on: x (rows, ...) or streamed, see `components.encode`; y int32 (rows,)."""

    x: np.ndarray | Streamed
    y: np.ndarray
    val_x: np.ndarray | Streamed
    val_y: np.ndarray


class EarlyStop:
    """Decides, epoch by epoch, as `keras.callbacks.EarlyStopping` does."""

    def __init__(self, recipe: Train):
        """Take the training part of the recipe; without early stopping every epoch is kept and none is the last."""
        self.rule = recipe.early_stopping
        self.best = -np.inf
        self.waited = 0

    def improved(self, curves: dict[str, list[float]]) -> bool:
        """Tell whether the last epoch is the best so far."""
        if self.rule is None:
            return True
        value = self.rule.sign * curves[self.rule.monitor][-1]
        self.waited += 1
        # As Keras: the first value always counts, later ones only when better by more than min_delta.
        if value - self.rule.min_delta > self.best or self.best == -np.inf:
            self.best, self.waited = value, 0
            return True
        return False

    def stop(self) -> bool:
        """Tell whether patience is over."""
        return self.rule is not None and self.waited > 0 and self.waited >= self.rule.patience


class Program:
    """A network with its compiled training epoch; `fit` may be called for one seed after another."""

    def __init__(self, recipe: Recipe, inputs: Inputs, classes: int, rows: int):
        """Build the network for encoded rows, of which `rows` are trained on."""
        self.model_recipe = recipe.model
        self.augment_recipe = recipe.augment
        self.batch_size = recipe.train.batch_size
        self.inputs = inputs
        self.classes = classes
        self.steps = -(-rows // self.batch_size)
        self.network = self._fresh(seed=0)
        self.optimizer = OPTIMIZERS[recipe.train.optimizer](learning_rate=recipe.train.learning_rate)
        self.optimizer.build(self.network.trainable_variables)
        self._optimizer_start = [np.array(v) for v in self.optimizer.variables]
        self._best = [tf.Variable(v.value) for v in self.network.variables]
        self._train = tf.function(self._train_graph, autograph=False)
        self._score = tf.function(self._score_graph, autograph=False)
        self._keep = tf.function(lambda: _assign(self._best, self.network.variables))
        self._restore = tf.function(lambda: _assign([v.value for v in self.network.variables], self._best))
        self._logits = tf.function(lambda x: self.network(x, training=False), reduce_retracing=True)

    def fit(
        self,
        split: Split,
        recipe: Train,
        seed: int,
        spread: np.ndarray,
        on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, values: None,
    ) -> Fit:
        """Train from fresh weights; afterwards `network` holds the weights of the epoch that counts.

        Args:
            split: the rows.
            recipe: how many epochs and when to stop; the rest of it is compiled into the program.
            seed: of weights, order, augmentation and dropout.
            spread: what augmentation measures with, see `Encoder`.
            on_epoch: called after every epoch with its number and its value for each name of `CURVES`.
        """
        self._reset(seed)
        train = Feed(split.x, split.y, self.batch_size)
        validation = Feed(split.val_x, split.val_y, EVALUATION_ROWS)
        spread = tf.constant(spread, tf.float32)
        rows, fit, stopper = len(split.y), Fit(), EarlyStop(recipe)
        durations = []
        clock = time.perf_counter if tf.config.list_physical_devices("GPU") else time.process_time
        for epoch in range(recipe.epochs):
            start = clock()
            order = np.random.default_rng((seed, epoch)).permutation(rows).astype(np.int32)
            step_seed = np.array((seed, epoch * self.steps), np.int32)
            trained, scored = tf.zeros(2), tf.zeros(2)
            for x, y, wanted in train.blocks(order):
                trained = self._train(x, y, wanted, step_seed, spread, trained)
                step_seed = step_seed + np.array((0, -(-len(wanted) // self.batch_size)), np.int32)
            for x, y in validation.straight():
                scored = self._score(x, y, scored)
            values = trained.numpy() / len(split.y), scored.numpy() / len(split.val_y)
            values = dict(zip(CURVES, np.concatenate(values).tolist(), strict=True))
            durations.append(clock() - start)
            # Both: the step that breaks the weights shows first on the validation rows.
            if not np.isfinite([values["loss"], values["val_loss"]]).all():
                fit.diverged = epoch
                break
            for name, value in values.items():
                fit.curves[name].append(value)
            on_epoch(epoch, values)
            if stopper.improved(fit.curves):
                fit.epoch = epoch
                self._keep()
            if stopper.stop():
                break
        restores = stopper.rule is not None and stopper.rule.restore_best
        if restores or fit.diverged is not None:
            self._restore()
        else:
            fit.epoch = len(fit.curves["loss"]) - 1
        fit.epoch_seconds = float(np.median(durations))
        return fit

    def probabilities(self, x: np.ndarray | Streamed) -> np.ndarray:
        """Return float32 (rows, classes) for encoded rows."""
        unlabelled = np.zeros(len(x), np.int32)
        blocks = Feed(x, unlabelled, EVALUATION_ROWS).straight()
        return np.concatenate([self._probabilities(block) for block, _ in blocks])

    def _probabilities(self, x: tf.Tensor) -> np.ndarray:
        chunks = [self._logits(x[start : start + EVALUATION_ROWS]) for start in range(0, len(x), EVALUATION_ROWS)]
        return tf.nn.softmax(tf.concat(chunks, axis=0)).numpy()

    def _fresh(self, seed: int) -> keras.Model:
        return models.build(self.model_recipe, self.inputs, self.classes, self.steps, seed)

    def _reset(self, seed: int) -> None:
        """Give every variable, those of dropout's generators among them, the value that a fresh model would have."""
        for variable, fresh in zip(self.network.variables, self._fresh(seed).variables, strict=True):
            variable.assign(fresh.value)
        for variable, start in zip(self.optimizer.variables, self._optimizer_start, strict=True):
            variable.assign(start)

    def _train_graph(self, x, y, order, seed, spread, totals):
        """Train on one block; adds the summed cross-entropy and the number of hits to `totals`, float32 (2,)."""
        rows, batch = tf.shape(order)[0], self.batch_size

        def one(step, totals):
            taken = order[step * batch : tf.minimum((step + 1) * batch, rows)]
            step_seed = tf.stack([seed[0], seed[1] + step])
            return step + 1, totals + self._step(tf.gather(x, taken), tf.gather(y, taken), step_seed, spread)

        # Not a Python loop: AutoGraph, which would convert it, does nothing on Python 3.13 (TensorFlow 2.21).
        return tf.while_loop(lambda step, _: step * batch < rows, one, (0, totals))[1]

    def _step(self, x, y, seed, spread):
        """Take one gradient step; returns float32 (2,): summed cross-entropy and number of hits, before the step."""
        x = tf.ensure_shape(x, (None, *self.inputs.shape))
        x, mixture = augment(x, self.augment_recipe, seed, spread, categories=len(self.inputs.sizes))
        weights = self.network.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.network(x, training=True)
            losses = _cross_entropy(logits, y, mixture)
            objective = tf.reduce_mean(losses) + (tf.add_n(self.network.losses) if self.network.losses else 0.0)
        self.optimizer.apply(tape.gradient(objective, [w.value for w in weights]), weights)
        return tf.stack([tf.reduce_sum(losses), _hits(logits, _main_label(y, mixture))])

    def _score_graph(self, x, y, totals):
        """Score one block in evaluation mode; adds the summed cross-entropy and the number of hits to `totals`."""
        rows = tf.shape(y)[0]

        def one(start, totals):
            end = tf.minimum(start + EVALUATION_ROWS, rows)
            logits = self.network(tf.ensure_shape(x[start:end], (None, *self.inputs.shape)), training=False)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y[start:end], logits)
            return start + EVALUATION_ROWS, totals + tf.stack([tf.reduce_sum(losses), _hits(logits, y[start:end])])

        return tf.while_loop(lambda start, _: start < rows, one, (0, totals))[1]


def _cross_entropy(logits: tf.Tensor, y: tf.Tensor, mixture: Mixture | None) -> tf.Tensor:
    """Return each row's loss; cross-entropy is linear in the label, so that of a mixed one is the mixture of two."""
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
    if mixture is None:
        return losses
    others = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather(y, mixture.partner), logits)
    return mixture.weight * losses + (1.0 - mixture.weight) * others


def _main_label(y: tf.Tensor, mixture: Mixture | None) -> tf.Tensor:
    """Return each row's label of greater weight: what counts as a hit while training."""
    return y if mixture is None else tf.where(mixture.weight < 0.5, tf.gather(y, mixture.partner), y)


def _hits(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), y), tf.float32))


def _assign(targets, sources) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.assign(source)
