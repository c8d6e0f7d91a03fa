"""How good predictions are: every number of a cell that the study may compare."""

import numpy as np
from sklearn.metrics import f1_score, recall_score

Scores = dict[str, float]


def scores(probabilities: np.ndarray, y: np.ndarray) -> Scores:
    """Return accuracy, loss (mean cross-entropy, nats) and macro F1.

    Args:
        probabilities: float (rows, classes).
        y: class numbers (rows,).
    """
    predicted = probabilities.argmax(axis=1)
    of_truth = probabilities[np.arange(len(y)), y].astype(np.float64)
    return {
        "accuracy": float(np.mean(predicted == y)),
        "loss": float(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)).mean()),
        "macro_f1": float(
            f1_score(y, predicted, average="macro", labels=range(probabilities.shape[1]), zero_division=0)
        ),
    }


def recalls(probabilities: np.ndarray, y: np.ndarray) -> list[float]:
    """Return for each class the share of its rows that were found; 0 for a class without rows."""
    classes = range(probabilities.shape[1])
    found = recall_score(y, probabilities.argmax(axis=1), average=None, labels=classes, zero_division=0)
    return [float(value) for value in found]


def confusion(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return counts (classes, classes): rows are the truth, columns what was predicted."""
    classes = probabilities.shape[1]
    return np.bincount(y * classes + probabilities.argmax(axis=1), minlength=classes**2).reshape(classes, classes)
