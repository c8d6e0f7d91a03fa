"""The training engine: one compiled program for a shape of model, reset and reused by every seed.

`keras.Model.fit` on arrays makes an input pipeline every epoch and traces the network for every fresh model; on small
data that is most of its time. Here all batches of an epoch (shuffled, augmented, with their gradient steps) are ONE
compiled function over rows that are already where it computes, and so is validation (of JAX only where that is fast).
They are traced once; the next seed assigns fresh initial values to the same variables. Data that does not fit into
memory comes in large blocks. The numbers are those of the ordinary loop: same batches (a smaller last one included),
same order of operations, Keras' own layers and optimizers. What changes from epoch to epoch or from seed to seed, such
as the learning rates and the weights of classes, goes in as arguments.

This module is what is the same for all backends: what happens from epoch to epoch. `components.training.backends`
computes.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from components.runtime.checkpoint import Checkpoint
from components.runtime.devices import Computed
from components.study.recipe import Train
from components.training.epoch_control import EarlyStop, LearningRate

if TYPE_CHECKING:
    from components.training.feed import Streamed

OnEpoch = Callable[[int, dict[str, float]], None]  # of an epoch's number and its value for each name of `CURVES`
CURVES: tuple[str, ...] = ("loss", "accuracy", "val_loss", "val_accuracy", "val_macro_f1")


@dataclass
class Fit:
    """What training one cell gave."""

    # for each name of `CURVES` the value of every epoch
    curves: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in CURVES})
    epoch: int = 0  # the epoch whose weights the network ends with, from 0
    layers: tuple[str, ...] = ()  # the layers that were watched; none without `train.diagnostics`
    # what they showed in every epoch, each (layers, quantities), see `components.training.diagnosis`
    diagnostics: list[np.ndarray] = field(default_factory=list)
    resumed: int = 0  # how many epochs were not trained now but are those of a checkpoint
    diverged: int | None = None  # the epoch in which the loss was no longer a finite number, or None
    # the median over the epochs but the first. That of a program also traces it, which is nothing that an arm should be
    # charged for. On the CPU these are seconds of processor time: arms run one after another, and whatever else the
    # machine does meanwhile must not look like a technique's cost.
    epoch_seconds: float = 0.0


@dataclass(frozen=True)
class Split:
    """Encoded rows to train and validate on: x (rows, ...) or streamed, y int32 (rows,).

    See `components.data.encoding`.
    """

    x: "np.ndarray | Streamed"
    y: np.ndarray
    val_x: "np.ndarray | Streamed"
    val_y: np.ndarray


class Program(ABC):
    """A network with its compiled training epoch; `fit` may be called for one seed after another."""

    network: Any  # the Keras model, from encoded rows to logits
    batch_size: int  # rows in a step
    classes: int  # how many
    layers: tuple[str, ...] = ()  # those that are watched in a step of each epoch
    # what `layers` showed in the last epoch's last step with a whole batch, as few rows say little about dead units and
    # spread; float32 (layers, quantities), see `components.training.layer_watch`
    measured: np.ndarray
    computed: Computed  # what computes
    # seconds, of the processor where it is the processor that computes
    clock: Callable[[], float] = staticmethod(time.process_time)

    def fit(
        self,
        split: Split,
        recipe: Train,
        seed: int,
        spread: np.ndarray,
        on_epoch: OnEpoch = lambda *_: None,
        checkpoint: Checkpoint | None = None,
    ) -> Fit:
        """Train from fresh weights; afterwards `network` holds the weights of the epoch that counts.

        Args:
            split: the rows.
            recipe: epochs, learning rates, class weights and when to stop; the rest is compiled into the program.
            seed: of weights, order, augmentation and dropout.
            spread: what augmentation measures with, see `Encoder`.
            on_epoch: called after every epoch; first for those of the checkpoint.
            checkpoint: where training is written to and continues from; the numbers are those of a run without one.

        Raises:
            TerminatedError: when the process was told to end, see `Checkpoint.on_sigterm`.
        """
        self.begin(split, seed, spread, class_weights(split.y, self.classes, recipe.class_weights == "balanced"))
        progress = _Progress(recipe, -(-len(split.y) // self.batch_size), self.layers, on_epoch)
        if checkpoint and (saved := checkpoint.read()):
            history, arrays = saved
            self.set_state(arrays)
            progress.resume(history)
        with checkpoint.on_sigterm() if checkpoint else nullcontext():
            while progress.goes_on():
                start = self.clock()
                values = self._train_and_evaluate(len(split.y), seed, progress)
                if progress.record(values, self.clock() - start, self.measured):
                    self.keep()
                if checkpoint and progress.fit.diverged is None and checkpoint.due():
                    checkpoint.write(progress.history(), self.state())
        self.release()
        if progress.ends_with_best():
            self.restore()
        return progress.finished()

    def _train_and_evaluate(self, rows: int, seed: int, progress: "_Progress") -> dict[str, float]:
        """Train one epoch on so many rows, and return its value for each name of `CURVES`."""
        epoch = progress.epoch
        order = np.random.default_rng((seed, epoch)).permutation(rows).astype(np.int32)
        rates = progress.learning_rate.rates(epoch)
        trained = self.train_epoch(order, epoch * len(rates), rates)
        return dict(zip(CURVES, [*(trained / rows).tolist(), *_scores(*self.evaluate())], strict=True))

    @abstractmethod
    def begin(self, split: Split, seed: int, spread: np.ndarray, weights: np.ndarray) -> None:
        """Give every variable the value that a fresh program would have, and take the rows.

        Args:
            split: the rows.
            seed: of weights, dropout and augmentation.
            spread: what augmentation measures with.
            weights: of the classes, float32 (classes,).
        """

    @abstractmethod
    def train_epoch(self, order: np.ndarray, step: int, rates: np.ndarray) -> np.ndarray:
        """Take an epoch's steps.

        Args:
            order: of the rows, int32 (rows,).
            step: the number of the first one, from 0 in the first epoch.
            rates: their learning rates, float32 (steps,).

        Returns:
            The summed cross-entropy and the number of hits, each before its step; float32 (2,).
        """

    @abstractmethod
    def evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        """Score the validation rows in evaluation mode.

        Returns:
            The summed cross-entropy, float32 (), and for each class how many rows are of it, were taken for it, and
            both; float32 (3, classes).
        """

    @abstractmethod
    def release(self) -> None:
        """Let go of the rows."""

    @abstractmethod
    def keep(self) -> None:
        """Remember the weights as the best."""

    @abstractmethod
    def restore(self) -> None:
        """Put the best weights back into the network."""

    @abstractmethod
    def state(self) -> list[np.ndarray]:
        """Return all that training goes on from: the weights, also the best, and what the optimizer remembers."""

    @abstractmethod
    def set_state(self, arrays: list[np.ndarray]) -> None:
        """Go on from what `state` returned."""

    @abstractmethod
    def probabilities(self, x: "np.ndarray | Streamed") -> np.ndarray:
        """Return float32 (rows, classes) for encoded rows."""


class _Progress:
    """What is known of a training after each of its epochs (`fit`), and what follows from it for the next one."""

    def __init__(self, recipe: Train, steps: int, layers: tuple[str, ...], on_epoch: OnEpoch):
        self.fit = Fit(layers=layers)
        self.learning_rate = LearningRate(recipe, steps)
        self._recipe = recipe
        self._on_epoch = on_epoch
        self._early_stop = EarlyStop(recipe.early_stopping)
        self._durations: list[float] = []

    @property
    def epoch(self) -> int:
        """The number of the next epoch."""
        return len(self._durations)

    def goes_on(self) -> bool:
        """Tell whether there is a next epoch."""
        return self.fit.diverged is None and self.epoch < self._recipe.epochs and not self._early_stop.stop()

    def record(self, values: dict[str, float], seconds: float, measured: np.ndarray) -> bool:
        """Take note of an epoch, and tell whether it is the best so far."""
        # Both: the step that breaks the weights shows first on the validation rows.
        if not np.isfinite([values["loss"], values["val_loss"]]).all():
            self.fit.diverged = self.epoch
        self._durations.append(seconds)
        if self.fit.diverged is not None:
            return False
        if self.fit.layers:
            self.fit.diagnostics.append(measured)
        return self._improved(values)

    def _improved(self, values: dict[str, float]) -> bool:
        epoch = len(self.fit.curves["loss"])
        for name, value in values.items():
            self.fit.curves[name].append(value)
        self._on_epoch(epoch, values)
        self.learning_rate.update(self.fit.curves)
        best = self._early_stop.improved(self.fit.curves)
        self.fit.epoch = epoch if best else self.fit.epoch
        return best

    def history(self) -> dict[str, list[Any]]:
        """Return what `resume` goes on from, as JSON."""
        return {
            "curves": [self.fit.curves[name] for name in CURVES],
            "diagnostics": [measured.tolist() for measured in self.fit.diagnostics],
            "durations": self._durations,
        }

    def resume(self, history: dict[str, list[Any]]) -> None:
        """Take note of the epochs that a checkpoint has."""
        self._durations = history["durations"]
        self.fit.resumed = self.epoch
        self.fit.diagnostics = [np.array(measured) for measured in history["diagnostics"]]
        for values in zip(*history["curves"], strict=True):
            self._improved(dict(zip(CURVES, values, strict=True)))

    def ends_with_best(self) -> bool:
        """Tell whether the weights of the best epoch are those that count, and not those of the last."""
        rule = self._recipe.early_stopping
        return self.fit.diverged is not None or (rule is not None and rule.restore_best)

    def finished(self) -> Fit:
        """Return what is known of the whole training."""
        if not self.ends_with_best():
            self.fit.epoch = len(self.fit.curves["loss"]) - 1
        self.fit.epoch_seconds = float(np.median(self._durations[1:] or self._durations))
        return self.fit


def class_weights(y: np.ndarray, classes: int, balanced: bool) -> np.ndarray:
    """Return the weight of each class's rows in what is minimized, float32 (classes,); over the rows its mean is 1.

    Balanced ones make all classes that have rows count alike (King and Zeng 2001).
    """
    counts = np.bincount(y, minlength=classes)
    if not balanced:
        return np.ones(classes, np.float32)
    return (len(y) / (np.count_nonzero(counts) * np.maximum(counts, 1))).astype(np.float32)


def _scores(loss: np.ndarray, counts: np.ndarray) -> list[float]:
    """Return mean cross-entropy, accuracy and macro F1 of what `evaluate` counted, as in `components.stats.metrics`."""
    rows, predicted, correct = counts.astype(np.float64)
    f1 = 2 * correct / np.maximum(rows + predicted, 1)
    return [float(loss / rows.sum()), float(correct.sum() / rows.sum()), float(f1.mean())]
