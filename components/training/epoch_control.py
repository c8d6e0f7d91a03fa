"""What is decided from epoch to epoch: when training ends, and the learning rate of every step."""

import numpy as np

from components.study.recipe import EarlyStopping, Train

Curves = dict[str, list[float]]
MIN_DELTA = 1e-4  # a smaller fall of val_loss counts as none on a plateau, as Keras has it


class Patience:
    """Counts the epochs since a value was at its best, as Keras' callbacks do."""

    def __init__(self, sign: int, min_delta: float):
        """Take +1 where a higher value is better, else -1, and the change up to which nothing has improved."""
        self.sign, self.min_delta = sign, min_delta
        self.best = -np.inf
        self.epochs = 0  # since the best

    def improved(self, value: float) -> bool:
        """Tell whether this epoch's value is the best so far."""
        value *= self.sign
        self.epochs += 1
        # As Keras: the first value always counts, later ones only when better by more than min_delta.
        if value - self.min_delta > self.best or self.best == -np.inf:
            self.best, self.epochs = value, 0
            return True
        return False


class EarlyStop:
    """Decides, epoch by epoch, as `keras.callbacks.EarlyStopping` does."""

    def __init__(self, rule: EarlyStopping | None):
        """Take the rule; without one every epoch is kept and none is the last."""
        self.rule = rule
        self.patience = Patience(rule.sign, rule.min_delta) if rule else Patience(1, 0.0)

    def improved(self, curves: Curves) -> bool:
        """Tell whether the last epoch is the best so far; until it is watched every epoch is."""
        if self.rule is None:
            return True
        curve = curves[self.rule.monitor]
        return len(curve) <= self.rule.start_from_epoch or self.patience.improved(curve[-1])

    def stop(self) -> bool:
        """Tell whether patience is over."""
        return self.rule is not None and self.patience.epochs > 0 and self.patience.epochs >= self.rule.patience


class LearningRate:
    """The learning rate of every step: a tensor for the training program, and never compiled into it."""

    def __init__(self, recipe: Train, steps: int):
        self.recipe = recipe
        self.steps = steps
        self.patience = Patience(-1, MIN_DELTA)
        self.factor = 1.0

    def rates(self, epoch: int) -> np.ndarray:
        """Return float32 (steps,): those of an epoch; numbers as `keras.optimizers.schedules.CosineDecay` has them."""
        steps = epoch * self.steps + np.arange(self.steps)
        warm, total = self.recipe.warm_up * self.steps, self.recipe.epochs * self.steps
        share = np.ones(self.steps)
        if self.recipe.schedule == "cosine":
            share = (1 + np.cos(np.pi * (steps - warm) / (total - warm))) / 2
        share = np.where(steps < warm, steps / max(warm, 1), share)
        return (self.recipe.learning_rate * self.factor * share).astype(np.float32)

    def update(self, val_loss: float) -> None:
        """Lower the rate after a plateau of val_loss, as `keras.callbacks.ReduceLROnPlateau` does."""
        if self.recipe.schedule != "plateau" or self.patience.improved(val_loss):
            return
        if self.patience.epochs >= self.recipe.plateau.patience:
            self.patience.epochs = 0
            self.factor *= self.recipe.plateau.factor
