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

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
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

    x: np.ndarray | Streamed
    y: np.ndarray
    val_x: np.ndarray | Streamed
    val_y: np.ndarray


def ignore(epoch: int, values: dict[str, float]) -> None:
    """Be told of an epoch, and do nothing."""


@dataclass(frozen=True)
class Reading:
    """What one cell reads off a training."""

    recipe: Train  # when it ends, and which weights count; the rest is compiled into the program
    on_epoch: OnEpoch = ignore  # called after every epoch; first for those of a checkpoint


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
        on_epoch: OnEpoch = ignore,
        checkpoint: Checkpoint | None = None,
    ) -> Fit:
        """Train one cell, as `fit_together` does; afterwards `network` holds the weights of the epoch that counts."""
        (found,) = self.fit_together(split, [Reading(recipe, on_epoch)], seed, spread, checkpoint)
        self.restore(0)
        return found

    def fit_together(
        self,
        split: Split,
        readings: Sequence[Reading],
        seed: int,
        spread: np.ndarray,
        checkpoint: Checkpoint | None = None,
    ) -> list[Fit]:
        """Train once, from fresh weights, what several cells read off; `restore` then gives each one's weights.

        Args:
            split: the rows.
            readings: of each cell when it ends, and which weights count; the numbers are those of a run of its own.
                All else is the same for all, see `components.study.recipe.trajectory_key`.
            seed: of weights, order, augmentation and dropout.
            spread: what augmentation measures with, see `Encoder`.
            checkpoint: where training is written to and continues from; the numbers are those of a run without one.

        Raises:
            TerminatedError: when the process was told to end, see `Checkpoint.on_sigterm`.
        """
        longest = max((reading.recipe for reading in readings), key=lambda recipe: recipe.epochs)
        weights = class_weights(split.y, self.classes, longest.class_weights == "balanced")
        self.begin(split, seed, spread, weights, len(readings))
        trajectory = _Trajectory(longest, readings, -(-len(split.y) // self.batch_size), self.layers)
        if checkpoint and (saved := checkpoint.read()):
            history, arrays = saved
            self.set_state(arrays)
            trajectory.resume(history)
        with checkpoint.on_sigterm() if checkpoint else nullcontext():
            while trajectory.goes_on():
                self._train_and_evaluate(len(split.y), seed, trajectory)
                if checkpoint and checkpoint.due():
                    checkpoint.write(trajectory.history, self.state())
        self.release()
        return [progress.finished() for progress in trajectory.progress]

    def _train_and_evaluate(self, rows: int, seed: int, trajectory: _Trajectory) -> None:
        """Train one epoch on so many rows, score what the cells read off, and keep the weights that count."""
        start, epoch = self.clock(), trajectory.epoch
        order = np.random.default_rng((seed, epoch)).permutation(rows).astype(np.int32)
        rates = trajectory.learning_rate.rates(epoch)
        trained = (self.train_epoch(order, epoch * len(rates), rates) / rows).tolist()
        seconds = (scored_from := self.clock()) - start
        for averaged in trajectory.views():
            if averaged:
                self.average()
            values = dict(zip(CURVES, [*trained, *_scores(*self.evaluate())], strict=True))
            scoring, scored_from = (now := self.clock()) - scored_from, now
            for place in trajectory.record(averaged, values, seconds + scoring, self.measured):
                self.keep(place)
            if averaged:
                self.end_average()
        trajectory.end_epoch(self.measured)

    @abstractmethod
    def begin(self, split: Split, seed: int, spread: np.ndarray, weights: np.ndarray, readings: int) -> None:
        """Give every variable the value that a fresh program would have, and take the rows.

        Args:
            split: the rows.
            seed: of weights, dropout and augmentation.
            spread: what augmentation measures with.
            weights: of the classes, float32 (classes,).
            readings: how many weights are going to be kept at a time.
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
    def average(self) -> None:
        """Score and keep the moving average of the weights, until `end_average`."""

    @abstractmethod
    def end_average(self) -> None:
        """Score, keep and train the weights as they were trained."""

    @abstractmethod
    def keep(self, reading: int) -> None:
        """Remember the weights as those that count so far for a reading."""

    @abstractmethod
    def restore(self, reading: int) -> None:
        """Put the weights that count for a reading into the network."""

    @abstractmethod
    def state(self) -> list[np.ndarray]:
        """Return all that training goes on from: the weights, also the kept, and what the optimizer remembers."""

    @abstractmethod
    def set_state(self, arrays: list[np.ndarray]) -> None:
        """Go on from what `state` returned."""

    @abstractmethod
    def probabilities(self, x: np.ndarray | Streamed) -> np.ndarray:
        """Return float32 (rows, classes) for encoded rows."""


class _Trajectory:
    """What is known of a training after each of its epochs, and what follows from it for the next one."""

    def __init__(self, longest: Train, readings: Sequence[Reading], steps: int, layers: tuple[str, ...]):
        self.learning_rate = LearningRate(longest, steps)
        self.progress = [_Progress(reading, layers) for reading in readings]
        self.history: list[Any] = []  # of each epoch what was measured and what `record` was told, as JSON
        self._read: list[Any] = []  # of the last epoch

    @property
    def epoch(self) -> int:
        """The number of the next epoch."""
        return len(self.history)

    def goes_on(self) -> bool:
        """Tell whether anyone reads the next epoch."""
        return bool(self.views())

    def views(self) -> list[bool]:
        """Return how the next epoch's weights are read: as trained (False), as their moving average (True), or both."""
        return sorted({progress.averaged for progress in self.progress if progress.goes_on()})

    def record(self, averaged: bool, values: dict[str, float], seconds: float, measured: np.ndarray) -> list[int]:
        """Take note of an epoch as one of the views has it, and return for which readings its weights count so far."""
        self._read.append([averaged, seconds, *values.values()])
        self.learning_rate.update(values["val_loss"])
        return [
            place
            for place, progress in enumerate(self.progress)
            if progress.averaged == averaged and progress.goes_on() and progress.record(values, seconds, measured)
        ]

    def end_epoch(self, measured: np.ndarray) -> None:
        """Take note that all views have been recorded."""
        self.history.append([measured.tolist(), self._read])
        self._read = []

    def resume(self, history: list[Any]) -> None:
        """Take note of the epochs that a checkpoint has."""
        for of_layers, read in history:
            measured = np.array(of_layers)
            for averaged, seconds, *values in read:
                self.record(averaged, dict(zip(CURVES, values, strict=True)), seconds, measured)
            self.end_epoch(measured)
        for progress in self.progress:
            progress.fit.resumed = progress.epochs


class _Progress:
    """What a cell reads off a training (`fit`)."""

    def __init__(self, reading: Reading, layers: tuple[str, ...]):
        self.fit = Fit(layers=layers)
        self.averaged = reading.recipe.ema > 0
        self._reading = reading
        self._early_stop = EarlyStop(reading.recipe.early_stopping)
        self._durations: list[float] = []

    @property
    def epochs(self) -> int:
        """How many it has read."""
        return len(self._durations)

    def goes_on(self) -> bool:
        """Tell whether it reads the next epoch, too."""
        enough = self.epochs >= self._reading.recipe.epochs
        return self.fit.diverged is None and not enough and not self._early_stop.stop()

    def record(self, values: dict[str, float], seconds: float, measured: np.ndarray) -> bool:
        """Take note of an epoch, and tell whether its weights are those that count so far."""
        epoch = self.epochs
        self._durations.append(seconds)
        # Both: the step that breaks the weights shows first on the validation rows.
        if not np.isfinite([values["loss"], values["val_loss"]]).all():
            self.fit.diverged = epoch
            return False
        if self.fit.layers:
            self.fit.diagnostics.append(measured)
        for name, value in values.items():
            self.fit.curves[name].append(value)
        self._reading.on_epoch(epoch, values)
        rule = self._reading.recipe.early_stopping
        best = self._early_stop.improved(self.fit.curves)
        counts = best or (rule is not None and not rule.restore_best and not self.goes_on())
        self.fit.epoch = epoch if counts else self.fit.epoch
        return counts

    def finished(self) -> Fit:
        """Return what is known of the whole training."""
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
