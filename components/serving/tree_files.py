"""Trees as files, and their answers.

skops loads only types that it is told to trust: unlike a pickle, a file can't bring code of its own.
"""

from typing import Any

import numpy as np

FILE = "trees.skops"

# What these two models are made of, besides what skops trusts by itself: tables of numbers, and a check of categories.
TRUSTED = [
    "functools.partial",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    "sklearn.utils.validation.check_array",
]


def probabilities(estimator: Any, x: np.ndarray, classes: int) -> np.ndarray:
    """Return float32 (rows, classes) for encoded rows; 0 for a class that the train rows did not have."""
    shares = np.zeros((len(x), classes), np.float32)
    if len(x):  # scikit-learn refuses none
        shares[:, estimator.classes_] = estimator.predict_proba(x.reshape(len(x), -1))
    return shares
