"""How good predictions are: every number of a cell that the study may compare."""

import numpy as np
from sklearn.metrics import recall_score

Scores = dict[str, float]

CONFIDENCE_BINS = 15


def scores(probabilities: np.ndarray, y: np.ndarray) -> Scores:
    """Return accuracy, loss (mean cross-entropy, nats), macro F1 and ECE.

    ECE is the expected calibration error: how far the confidence in the predicted class is from the share of right
    predictions, over `CONFIDENCE_BINS` bins of equal width (Guo et al. 2017, "On Calibration of Modern Neural
    Networks").

    Args:
        probabilities: float (rows, classes).
        y: class numbers (rows,).
    """
    return {name: float(of_rows.mean()) for name, of_rows in row_scores(probabilities, y).items()}


def row_scores(probabilities: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Return each metric by row, float64 (rows,): what the row adds to it. The mean is the metric.

    Accuracy and loss are means of rows as they are. Macro F1 and ECE are not: a row's number is what it adds where the
    others stay (the influence function, Hampel 1974), which is what the variance of the metric is made of.

    Args: those of `scores`.
    """
    predicted = probabilities.argmax(axis=1)
    right = (predicted == y).astype(np.float64)
    of_truth = probabilities[np.arange(len(y)), y].astype(np.float64)
    return {
        "accuracy": right,
        "loss": -np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)),
        "macro_f1": _f1_by_row(predicted, y, probabilities.shape[1]),
        "ece": _calibration_by_row(probabilities.max(axis=1).astype(np.float64), right),
    }


def _f1_by_row(predicted: np.ndarray, y: np.ndarray, classes: int) -> np.ndarray:
    """Return macro F1 and what each row changes of it; a class that is neither there nor predicted has 0.

    F1 of a class is 2 TP / (2 TP + FP + FN). A row adds 1 to the denominator of its class and of the predicted one,
    and where these are the same, 2 to the numerator.
    """
    found = np.bincount(y[predicted == y], minlength=classes)
    whole = np.bincount(y, minlength=classes) + np.bincount(predicted, minlength=classes)
    of_class = 2 * found / np.maximum(whole, 1)
    per_row = np.where(predicted == y, 2 - 2 * of_class[y], -of_class[y]) / whole[y]
    per_row -= np.where(predicted == y, 0, of_class[predicted] / whole[predicted])
    return of_class.mean() + len(y) * per_row / classes


def _calibration_by_row(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    bins = confidence_bins(confidence)
    gaps = np.bincount(bins, confidence - right, CONFIDENCE_BINS)
    return np.sign(gaps)[bins] * (confidence - right)


def confidence_bins(confidence: np.ndarray) -> np.ndarray:
    """Return the bin of each confidence (rows,), from 0 to CONFIDENCE_BINS - 1."""
    return np.minimum((confidence * CONFIDENCE_BINS).astype(np.int64), CONFIDENCE_BINS - 1)


def recalls(probabilities: np.ndarray, y: np.ndarray) -> list[float]:
    """Return for each class the share of its rows that were found; 0 for a class without rows."""
    classes = range(probabilities.shape[1])
    found = recall_score(y, probabilities.argmax(axis=1), average=None, labels=classes, zero_division=0)
    return [float(value) for value in found]


def confusion(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return counts (classes, classes): rows are the truth, columns what was predicted."""
    classes = probabilities.shape[1]
    return np.bincount(y * classes + probabilities.argmax(axis=1), minlength=classes**2).reshape(classes, classes)
