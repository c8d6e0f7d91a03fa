"""How long texts are, and which words they have."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from components.data.report.classes_and_splits import PARTS
from components.data.report.columns import BINS, most_frequent
from components.data.sources import Rows
from components.data.splitting import TEST
from components.study.dataset import DatasetSpec

BLOCK = 4096  # rows that are looked at at a time


def describe_texts(data: DatasetSpec, rows: Rows, mine: np.ndarray) -> dict[str, Any]:
    """Return how long the texts are, which words they have, and how many that the train rows don't have.

    Args:
        data: the study's data.
        rows: of texts, at least one.
        mine: what one seed does with each row, uint8 (rows,).
    """
    limit = rows.x.shape[1]
    blocks = range(0, len(rows.x), BLOCK)
    lengths = np.concatenate([np.count_nonzero(rows.x[start : start + BLOCK], axis=1) for start in blocks])
    # A limit below data.words is the longest row that is not for the test: it cuts test rows only.
    full = (lengths == limit) & ((mine == TEST) | (limit >= data.words))
    counts = {name: _word_counts(rows, np.flatnonzero(mine == part)) for name, part in PARTS.items()}
    total = np.sum(list(counts.values()), axis=0)
    edges = np.unique(np.linspace(0, limit + 1, BINS + 1).astype(int))
    return {
        "least": int(lengths.min()),
        "median": float(np.median(lengths)),
        "p95": float(np.percentile(lengths, 95)),
        "greatest": int(lengths.max()),
        "limit": limit,
        "at_limit": int(full.sum()),
        "words": int(np.count_nonzero(total)),
        "unknown_share": {name: _share(counts[name], counts["train"] == 0) for name in ("test", "validation")},
        "histogram": {"edges": edges.tolist(), "rows": np.histogram(lengths, edges)[0].tolist()},
        "classes": list(_class_words(rows, total)),
    }


def _word_counts(rows: Rows, numbers: np.ndarray) -> np.ndarray:
    """Return int64 (words,): how often each word is in the rows with these numbers."""
    counts = np.zeros(len(rows.words) + 1, np.int64)
    for start in range(0, len(numbers), BLOCK):
        counts += np.bincount(rows.x[numbers[start : start + BLOCK]].ravel(), minlength=len(counts))
    return counts[1:]


def _share(counts: np.ndarray, which: np.ndarray) -> float | None:
    return float(counts[which].sum() / counts.sum()) if counts.any() else None


def _class_words(rows: Rows, total: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield of each class its most frequent words, and those that it has most in excess of its share of all words."""
    numbers = np.split(np.argsort(rows.y, kind="stable"), np.cumsum(np.bincount(rows.y, minlength=len(rows.classes))))
    for name, mine in zip(rows.classes, numbers, strict=False):  # after the last class there are no numbers
        counts = _word_counts(rows, mine)
        excess = counts - total * (counts.sum() / max(total.sum(), 1))
        yield {
            "name": name,
            "frequent": [rows.words[i] for i in most_frequent(counts)],
            "typical": [rows.words[i] for i in most_frequent(np.where(excess >= 1, excess, 0))],
        }
