"""How long texts are, and which words they have."""

from collections.abc import Iterator

import numpy as np

from components.data.prepared import chunks
from components.data.report.classes_and_splits import PARTS
from components.data.report.columns import BINS, most_frequent
from components.data.report.data_report import ClassWords, Histogram, TextReport
from components.data.sources import Rows
from components.data.splitting import TEST
from components.study.dataset import DatasetSpec


def describe_texts(data: DatasetSpec, rows: Rows, parts: np.ndarray) -> TextReport:
    """Return how long the texts are, at least one, which words they have, and which share the train rows don't have.

    The parts are those of one seed (rows,).
    """
    limit = rows.x.shape[1]
    lengths = np.concatenate([np.count_nonzero(chunk, axis=1) for chunk in chunks(rows.x, np.arange(len(rows.x)))])
    # A limit below data.words is the longest row that is not for the test: it cuts test rows only.
    full = (lengths == limit) & ((parts == TEST) | (limit >= data.words))
    counts = {name: _word_counts(rows, np.flatnonzero(parts == part)) for name, part in PARTS.items()}
    total, unseen = np.sum(list(counts.values()), axis=0), counts["train"] == 0
    unknown = {name: float(of[unseen].sum() / of.sum()) if of.any() else None for name, of in counts.items()}
    edges = np.unique(np.linspace(0, limit + 1, BINS + 1).astype(int))
    return TextReport(
        least=int(lengths.min()),
        median=float(np.median(lengths)),
        p95=float(np.percentile(lengths, 95)),
        greatest=int(lengths.max()),
        limit=limit,
        at_limit=int(full.sum()),
        words=int(np.count_nonzero(total)),
        unknown_share={name: unknown[name] for name in ("test", "validation")},
        histogram=Histogram(tuple(edges.tolist()), tuple(np.histogram(lengths, edges)[0].tolist())),
        classes=tuple(_class_words(rows, total)),
    )


def _word_counts(rows: Rows, numbers: np.ndarray) -> np.ndarray:
    """Return int64 (words,): how often each word is in the rows with these numbers."""
    counts = np.zeros(len(rows.words) + 1, np.int64)
    for chunk in chunks(rows.x, numbers):
        counts += np.bincount(chunk.ravel(), minlength=len(counts))
    return counts[1:]


def _class_words(rows: Rows, total: np.ndarray) -> Iterator[ClassWords]:
    """Yield of each class its most frequent words, and those that it has most in excess of its share of all words."""
    numbers = np.split(np.argsort(rows.y, kind="stable"), np.cumsum(np.bincount(rows.y, minlength=len(rows.classes))))
    for name, of_class in zip(rows.classes, numbers, strict=False):  # after the last class there are no numbers
        counts = _word_counts(rows, of_class)
        excess = counts - total * (counts.sum() / max(total.sum(), 1))
        frequent, typical = most_frequent(counts), most_frequent(np.where(excess >= 1, excess, 0))
        yield ClassWords(name, tuple(rows.words[i] for i in frequent), tuple(rows.words[i] for i in typical))
