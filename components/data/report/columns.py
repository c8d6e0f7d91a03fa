"""What is in a table's columns, and the signs that one of them was made from the label, or tells nothing.

    label-column    values and classes map one to one: each value stands for one class, each class for one value, in
                    all rows. A missing value is a value, too. It takes MIN_ROWS rows, at least MIN_OF_CLASS of each
                    class, since among a few rows that happens by chance.

Weaker signs of a label among the columns are warnings: of each class the value is missing in all rows or in none;
cutting a column's sorted numbers in one place per class separates all classes (honest for a very good measurement); or
each value is always of one class although values repeat REPEATED times on average (a code made from the label). None
of iris's columns does any of that. A column has one finding at most, the gravest.
"""

import math
from collections import defaultdict
from typing import Any, Literal

import numpy as np

from components.data.raw_values import Column
from components.data.sources import Finding, Rows
from components.study.dataset import FILES, DatasetSpec

MIN_ROWS = 20
MIN_OF_CLASS = 3
REPEATED = 10
OWN_VALUE = 0.9  # share of rows with a value of their own, from which on a column names the rows
MUCH_MISSING = 0.5
BINS = 20
EXAMPLES = 5
FREQUENT = 5  # values of a column, and words of a class, that are named

# What may be found of a column, the gravest first.
SIGNS: dict[str, tuple[Literal["error", "warning"], str]] = {
    "label-column": ("error", "say the class by a code of its own for each class; {leave}"),
    "missing-tells-class": (
        "warning",
        "have a value in all rows of some classes and in no row of the others; if that is known only after the class, "
        "{leave}",
    ),
    "identifier-columns": (
        "warning",
        "name the rows: nearly each row has a value of its own, of which nothing can be learned; {leave}",
    ),
    "telling-column": (
        "warning",
        "tell every row's class alone; are they made from the label, or known only after it?",
    ),
    "constant-columns": ("warning", "have the same value, or none, in every row"),
    "much-missing": ("warning", "have no value in more than half of the rows"),
}


def describe_columns(data: DatasetSpec, rows: Rows) -> tuple[list[dict[str, Any]], list[Finding]]:
    """Return what is in each column of a table, and what is found of the columns.

    Args:
        data: the study's data.
        rows: of a table, at least one.
    """
    counts = np.bincount(rows.y)
    present = counts[counts > 0]
    enough = len(rows.y) >= MIN_ROWS and len(present) > 1 and present.min() >= MIN_OF_CLASS
    described = []
    found: dict[str, list[str]] = defaultdict(list)
    for i, column in enumerate(rows.columns):
        values = np.asarray(rows.x[:, i], np.float64)
        order = np.argsort(values)  # once for all that is asked; NaN is last
        ordered, y = values[order], rows.y[order]
        entry = _column(column, ordered)
        described.append(entry)
        found[_sign(entry, ordered, y, enough)].append(column.name)
    can_ignore = data.source.partition(":")[0] in FILES
    leave = "data.ignore leaves them out" if can_ignore else "leave them out of the data"
    findings = []
    for name, (level, text) in SIGNS.items():
        if found[name]:
            text = f"{len(found[name])} of {len(rows.columns)} columns {text.format(leave=leave)}"
            findings.append(Finding(name, level, text, tuple(found[name][:EXAMPLES])))
    return described, findings


def _column(column: Column, values: np.ndarray) -> dict[str, Any]:
    """Return what is in a column, whose values (rows,) are in rising order, with NaN last."""
    missing = int(np.count_nonzero(np.isnan(values)))
    known = values[: len(values) - missing]
    different = len(_starts(known))
    entry: dict[str, Any] = {
        "name": column.name,
        "type": column.kind,
        "missing": missing,
        "missing_share": missing / len(values),
        "different": different,
        "constant": different + (missing > 0) == 1,
    }
    if column.kind == "number":
        ends = {"least": float(known[0]), "mean": _mean(known), "greatest": float(known[-1])} if different else {}
        histogram = _histogram(known) if different > 1 else []
        return {**entry, **dict.fromkeys(("least", "mean", "greatest")), **ends, "histogram": histogram}
    counts = np.bincount(known.astype(np.int64))
    names = column.values if column.kind == "category" else ("false", "true")
    return {**entry, "frequent": [{"value": names[i], "rows": int(counts[i])} for i in most_frequent(counts)]}


def _sign(entry: dict[str, Any], values: np.ndarray, y: np.ndarray, enough: bool) -> str:
    """Return the name of the gravest finding on a column, or "".

    Args:
        entry: what `_column` says of it.
        values: the column (rows,) in rising order, with NaN last.
        y: the class numbers in the same order.
        enough: whether there are rows enough to say that a column and the class go together.
    """
    if entry["constant"]:
        return "constant-columns"
    tells = tells_label(values, y, entry["type"] == "category") if enough else ""
    if tells == "equal":
        return "label-column"
    if enough and _missing_tells(np.isnan(values), y):
        return "missing-tells-class"
    if _names_rows(entry, values):
        return "identifier-columns"
    if tells == "telling":
        return "telling-column"
    return "much-missing" if entry["missing_share"] > MUCH_MISSING else ""


def tells_label(values: np.ndarray, y: np.ndarray, is_category: bool = False) -> str:
    """Return "equal" where values and classes map one to one, "telling" for the weaker signs, else "".

    Args:
        values: of a column (rows,), in rising order, with NaN last; NaN is one more value.
        y: class numbers (rows,), in the same order.
        is_category: whether the order of the values means nothing.
    """
    starts = _starts(values)
    label = np.minimum.reduceat(y, starts)
    if (label != np.maximum.reduceat(y, starts)).any():  # a value that occurs with two classes
        return ""
    if len(starts) == np.count_nonzero(np.bincount(y)):
        return "equal"
    if len(starts) * REPEATED <= len(y):
        return "telling"
    of_known = label[~np.isnan(values[starts])]
    cuts = np.count_nonzero(np.diff(of_known))  # going up the values, how often the class changes
    return "telling" if not is_category and cuts == len(np.unique(of_known)) - 1 else ""


def _missing_tells(missing: np.ndarray, y: np.ndarray) -> bool:
    """Tell whether of each class the value is missing in all rows or in none, and both occur."""
    of_all, of_missing = np.bincount(y), np.bincount(y[missing], minlength=int(y.max()) + 1)
    return bool(missing.any() and not missing.all() and ((of_missing == 0) | (of_missing == of_all)).all())


def _names_rows(entry: dict[str, Any], values: np.ndarray) -> bool:
    """Tell whether a column names the rows: nearly each category is there once, or nearly consecutive numbers are."""
    known = len(values) - entry["missing"]
    if known < MIN_ROWS or entry["different"] < OWN_VALUE * known or entry["type"] == "boolean":
        return False
    if entry["type"] == "category":
        return True
    span = entry["greatest"] / 2 - entry["least"] / 2  # the half: the whole may be too large for a float
    return known == len(values) == entry["different"] and span * 2 * OWN_VALUE < known and bool((values % 1 == 0).all())


def _starts(values: np.ndarray) -> np.ndarray:
    """Return where each different value begins in an array (rows,) in rising order, with NaN last, as one value."""
    new = (values[1:] != values[:-1]) & ~np.isnan(values[:-1])
    return np.flatnonzero(np.concatenate([np.ones(min(len(values), 1), bool), new]))


def _mean(values: np.ndarray) -> float:
    """Return the mean of values in rising order; they are scaled by a power of two, for the sum may be too large."""
    scale = math.ldexp(1.0, math.frexp(float(np.abs(values).max()))[1] - 1)
    # A rounded sum of equal values may lie beside them.
    return min(max(float((values / scale).mean()) * scale, float(values[0])), float(values[-1]))


def _histogram(values: np.ndarray) -> list[int]:
    """Return how many of the values, which are in rising order, are in each of BINS equal parts of their range."""
    share = np.linspace(0, 1, BINS + 1)[1:-1]
    edges = np.sort(values[0] * (1 - share) + values[-1] * share)  # no difference, which may be too large
    return np.diff(np.searchsorted(values, edges), prepend=0, append=len(values)).tolist()


def most_frequent(counts: np.ndarray) -> list[int]:
    """Return the positions of the FREQUENT greatest counts above 0, the greatest first."""
    enough = np.partition(counts, -FREQUENT)[-FREQUENT] if len(counts) > FREQUENT else 0
    among = np.flatnonzero((counts >= enough) & (counts > 0))
    return among[np.argsort(-counts[among], kind="stable")][:FREQUENT].tolist()
