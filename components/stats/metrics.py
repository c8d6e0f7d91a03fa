"""How good predictions are: every number of a cell that the study may compare, one row of `METRICS` each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Scores = dict[str, float]
Rows = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of probabilities (rows, classes) and class numbers (rows,)

CONFIDENCE_BINS = 15


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        title: what people call it.
        higher_is_better: its direction.
        by_row: what each row adds to it, float64 (rows,); the mean is the metric. Of a metric that is no mean of rows
            as they are that is what a row adds where the others stay (the influence function, Hampel 1974), of which
            the variance of the metric is made.
        of_whole: None of a mean of rows. Else what each row adds to sums (rows, sums), and the metric of such sums, as
            of (draws, sums): the bootstrap draws rows, and a slice has no such metric.
        unit: "points" of a share, which people read in percent; "" of a plain number.
        counts: it is made of rows of which each counts at most one, so that with so many rows it has steps of 1 / rows.
        by_class: only the most probable class of a row matters to it.
        decides: a study may be about it; else it only guards, and is shown.
    """

    title: str
    higher_is_better: bool
    by_row: Rows
    of_whole: tuple[Callable[[np.ndarray, np.ndarray], Any], Callable[[np.ndarray], np.ndarray]] | None = None
    unit: Literal["points", ""] = "points"
    counts: bool = True
    by_class: bool = False
    decides: bool = True

    @property
    def sign(self) -> int:
        """+1 where a higher value is better, else -1."""
        return 1 if self.higher_is_better else -1

    def resolution(self, rows: float) -> float:
        """Return its smallest step with so many rows."""
        return 1 / rows if self.counts else 0.0

    def sums(self, probabilities: np.ndarray, y: np.ndarray) -> Any:
        """Return what each row adds to sums, (rows, sums), an array or a sparse one; `of_sums` knows their meaning."""
        if self.of_whole:
            return self.of_whole[0](probabilities, y)
        return np.stack([np.ones(len(y)), self.by_row(probabilities, y)], axis=1)

    def of_sums(self, sums: np.ndarray) -> np.ndarray:
        """Return the metric of each row of sums (draws, sums)."""
        return self.of_whole[1](sums) if self.of_whole else sums[:, 1] / sums[:, 0]


def scores(probabilities: np.ndarray, y: np.ndarray) -> Scores:
    """Return every metric.

    Args:
        probabilities: float (rows, classes).
        y: class numbers (rows,).
    """
    return {name: float(of_rows.mean()) for name, of_rows in row_scores(probabilities, y).items()}


def row_scores(probabilities: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Return every metric by row, float64 (rows,), see `Metric.by_row`."""
    return {name: metric.by_row(probabilities, y) for name, metric in METRICS.items()}


def _right(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (probabilities.argmax(axis=1) == y).astype(np.float64)


def _brier(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return half the squared distance to the truth, 0 to 1 (Brier 1950); with two classes as for one of them alone."""
    error = probabilities.astype(np.float64)
    error[np.arange(len(y)), y] -= 1.0
    return (error**2).sum(axis=1) / 2


def _cross_entropy(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    of_truth = probabilities[np.arange(len(y)), y].astype(np.float64)
    return -np.log(np.maximum(of_truth, np.finfo(np.float32).tiny))


def _f1_by_row(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return macro F1 and what each row changes of it; a class that is neither there nor predicted has 0.

    F1 of a class is 2 TP / (2 TP + FP + FN). A row adds 1 to the denominator of its class and of the predicted one,
    and where these are the same, 2 to the numerator.
    """
    predicted, classes = probabilities.argmax(axis=1), probabilities.shape[1]
    found = np.bincount(y[predicted == y], minlength=classes)
    whole = np.bincount(y, minlength=classes) + np.bincount(predicted, minlength=classes)
    of_class = 2 * found / np.maximum(whole, 1)
    per_row = np.where(predicted == y, 2 - 2 * of_class[y], -of_class[y]) / whole[y]
    per_row -= np.where(predicted == y, 0, of_class[predicted] / whole[predicted])
    return of_class.mean() + len(y) * per_row / classes


def _f1_sums(probabilities: np.ndarray, y: np.ndarray) -> Any:
    """Return for each row which class it is of, which one is predicted, and which one is found: (rows, 3 classes)."""
    classes, predicted = probabilities.shape[1], probabilities.argmax(axis=1)
    found = np.flatnonzero(predicted == y)
    every = np.arange(len(y))
    places = (np.r_[every, every, found], np.r_[y, classes + predicted, 2 * classes + y[found]])
    return _ones(places, (len(y), 3 * classes))


def _f1_of_sums(sums: np.ndarray) -> np.ndarray:
    truth, predicted, found = np.split(sums, 3, axis=1)
    return (2 * found / np.maximum(truth + predicted, 1)).mean(axis=1)


def _calibration_by_row(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the expected calibration error by row.

    It is how far the confidence in the predicted class is from the share of right predictions, over `CONFIDENCE_BINS`
    bins of equal width (Guo et al. 2017, "On Calibration of Modern Neural Networks").
    """
    too_high, bins = _too_high(probabilities, y)
    return np.sign(np.bincount(bins, too_high, CONFIDENCE_BINS))[bins] * too_high


def _calibration_sums(probabilities: np.ndarray, y: np.ndarray) -> Any:
    """Return for each row one, and in the place of its bin by how much its confidence is too high: (rows, 1 + bins)."""
    too_high, bins = _too_high(probabilities, y)
    every = np.arange(len(y))
    places = (np.r_[every, every], np.r_[np.zeros(len(y), int), 1 + bins])
    return _ones(places, (len(y), 1 + CONFIDENCE_BINS), np.r_[np.ones(len(y)), too_high])


def _calibration_of_sums(sums: np.ndarray) -> np.ndarray:
    return np.abs(sums[:, 1:]).sum(axis=1) / sums[:, 0]


def _too_high(probabilities: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    confidence = probabilities.max(axis=1).astype(np.float64)
    return confidence - _right(probabilities, y), confidence_bins(confidence)


def _ones(places: tuple[np.ndarray, np.ndarray], shape: tuple[int, int], values: np.ndarray | None = None) -> Any:
    from scipy.sparse import csr_array  # 0.1 s, for the gate alone

    return csr_array((np.ones(len(places[0])) if values is None else values, places), shape)


METRICS = {
    "accuracy": Metric("accuracy", higher_is_better=True, by_row=_right, by_class=True),
    "macro_f1": Metric("macro F1", True, _f1_by_row, (_f1_sums, _f1_of_sums), by_class=True),
    "brier": Metric("Brier score", higher_is_better=False, by_row=_brier),
    "loss": Metric("loss", higher_is_better=False, by_row=_cross_entropy, unit="", counts=False),  # in nats
    "ece": Metric(
        "calibration error",
        higher_is_better=False,
        by_row=_calibration_by_row,
        of_whole=(_calibration_sums, _calibration_of_sums),
        counts=False,
        decides=False,
    ),
}


def confidence_bins(confidence: np.ndarray) -> np.ndarray:
    """Return the bin of each confidence (rows,), from 0 to CONFIDENCE_BINS - 1."""
    return np.minimum((confidence * CONFIDENCE_BINS).astype(np.int64), CONFIDENCE_BINS - 1)


def recalls(probabilities: np.ndarray, y: np.ndarray) -> list[float]:
    """Return for each class the share of its rows that were found; 0 for a class without rows."""
    counts = confusion(probabilities, y)
    return (counts.diagonal() / np.maximum(counts.sum(axis=1), 1)).tolist()


def confusion(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return counts (classes, classes): rows are the truth, columns what was predicted."""
    classes = probabilities.shape[1]
    return np.bincount(y * classes + probabilities.argmax(axis=1), minlength=classes**2).reshape(classes, classes)
