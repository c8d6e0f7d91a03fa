"""The models that are no networks: scikit-learn's trees on encoded rows, as honest rivals.

They know no epochs, and ignore what only networks have.
"""

from __future__ import annotations

import pkgutil
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.data.encoding import Inputs
from components.errors import AssayError
from components.runtime.checkpoint import Checkpoint
from components.runtime.devices import Computed
from components.serving.tree_files import probabilities
from components.stats.metrics import scores
from components.study.model_catalogue import MODELS
from components.study.recipe import Recipe, Train
from components.training.engine import CURVES, Fit, OnEpoch, Reading, Split, ignore

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

    from components.training.feed import Streamed

MAX_CATEGORIES = 255  # that HistGradientBoostingClassifier takes for categories; columns of more it takes for numbers


class Forest:
    """Fits trees as `components.training.engine.Program` fits networks; `network` is scikit-learn's estimator."""

    def __init__(self, recipe: Recipe, inputs: Inputs, classes: int, threads: int | None = None):
        """Take the recipe, of which the model's name alone is used; `threads` of None is one for each core."""
        self.name, self.threads = recipe.model.name, threads
        self.inputs, self.classes = inputs, classes
        self.network: Any = None
        self.computed = Computed("scikit-learn", "cpu", 1, "float64", jit=False)

    def fit(
        self,
        split: Split,
        recipe: Train,
        seed: int,
        spread: np.ndarray,
        on_epoch: OnEpoch = ignore,
        checkpoint: Checkpoint | None = None,
    ) -> Fit:
        """Fit fresh trees; the curves are those of one epoch, and there is nothing to continue from.

        Raises:
            AssayError: for rows that do not fit into memory.
        """
        from threadpoolctl import threadpool_limits

        if not isinstance(split.x, np.ndarray):
            raise AssayError(f"{self.name} needs all rows in memory; raise the study's `memory`")
        self.network = pkgutil.resolve_name(MODELS[self.name].builder)(self.inputs, seed)
        start = time.process_time()
        with threadpool_limits(self.threads, "openmp"):
            self.network.fit(split.x.reshape(len(split.x), -1), split.y)
        seconds = time.process_time() - start
        trained = scores(self.probabilities(split.x), split.y)
        scored = scores(self.probabilities(split.val_x), split.val_y)
        values = {name: scored[name[4:]] if name.startswith("val_") else trained[name] for name in CURVES}
        on_epoch(0, values)
        return Fit(curves={name: [value] for name, value in values.items()}, epoch_seconds=seconds)

    def fit_together(
        self,
        split: Split,
        readings: Sequence[Reading],
        seed: int,
        spread: np.ndarray,
        checkpoint: Checkpoint | None = None,
    ) -> list[Fit]:
        """Fit once: of trees all cells read the same."""

        def tell_all(epoch: int, values: dict[str, float]) -> None:
            for reading in readings:
                reading.on_epoch(epoch, values)

        return [self.fit(split, readings[0].recipe, seed, spread, tell_all)] * len(readings)

    def restore(self, reading: int) -> None:
        """Do nothing: there is one state of trees."""

    def probabilities(self, x: np.ndarray | Streamed) -> np.ndarray:
        """Return float32 (rows, classes) for encoded rows."""
        return probabilities(self.network, np.asarray(x), self.classes)


def random_forest(inputs: Inputs, seed: int) -> ClassifierMixin:
    """Return an untrained forest with scikit-learn's own settings (Breiman 2001); it takes categories as numbers."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(random_state=seed)


def hist_gradient_boosting(inputs: Inputs, seed: int) -> ClassifierMixin:
    """Return untrained boosted trees with scikit-learn's own settings, told the categories (Ke et al. 2017)."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    numbers = int(np.prod(inputs.shape)) - len(inputs.sizes)
    categories = [numbers + i for i, size in enumerate(inputs.sizes) if size <= MAX_CATEGORIES]
    return HistGradientBoostingClassifier(categorical_features=categories or None, random_state=seed)
