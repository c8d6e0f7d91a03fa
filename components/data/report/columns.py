"""What is in a table's columns, and the signs that one of them was made from the label, or tells nothing.

    label-column    values and classes map one to one: each value stands for one class, each class for one value, in
                    all rows. A missing value is a value, too. It takes MIN_ROWS rows, at least MIN_OF_CLASS of each
                    class, since among a few rows that happens by chance.

Weaker signs of a label among the columns are warnings: of each class the value is missing in all rows or in none;
cutting a column's sorted numbers in one place per class separates all classes (honest for a very good measurement); or
each value is always of one class although values repeat MIN_REPEATED times on average (a code made from the label).
None of iris's columns does any of that. A column has one issue at most, the gravest.
"""

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np

from components.data.issues import MAX_EXAMPLES, DataIssue, Level
from components.data.raw_values import Column
from components.data.report.data_report import ColumnReport, ValueCount
from components.data.sources import Rows
from components.study.dataset import DatasetSpec

MIN_ROWS = 20
MIN_OF_CLASS = 3
MIN_REPEATED = 10
MIN_OWN_VALUES = 0.9  # share of rows with a value of their own, from which on a column names the rows
MAX_MISSING = 0.5
BINS = 20
MAX_FREQUENT = 5  # values of a column, and words of a class, that are named

# What may be the issue with a column, the gravest first.
SIGNS: dict[str, tuple[Level, str]] = {
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


def describe_columns(data: DatasetSpec, rows: Rows) -> tuple[tuple[ColumnReport, ...], list[DataIssue]]:
    """Return what is in each column of a table with at least one row, and the issues with them."""
    counts = np.bincount(rows.y)
    present = counts[counts > 0]
    enough = len(rows.y) >= MIN_ROWS and len(present) > 1 and present.min() >= MIN_OF_CLASS
    described = []
    signs: dict[str, list[str]] = defaultdict(list)
    for i, column in enumerate(rows.columns):
        values = np.asarray(rows.x[:, i], np.float64)
        order = np.argsort(values)  # once for all that is asked; NaN is last
        ordered, y = values[order], rows.y[order]
        described.append(_column(column, ordered))
        signs[_sign(described[-1], ordered, y, enough)].append(column.name)
    leave = "data.ignore leaves them out" if "ignore" in data.source_type.options else "leave them out of the data"
    values = {"columns": len(rows.columns), "leave": leave}
    issues = [
        DataIssue(
            *(kind, level, f"{{count}} of {{columns}} columns {text}", len(signs[kind]), values),
            examples=tuple(signs[kind][:MAX_EXAMPLES]),
        )
        for kind, (level, text) in SIGNS.items()
        if signs[kind]
    ]
    return tuple(described), issues


def _column(column: Column, values: np.ndarray) -> ColumnReport:
    """Return what is in a column, whose values (rows,) are in rising order, with NaN last."""
    missing = int(np.count_nonzero(np.isnan(values)))
    known = values[: len(values) - missing]
    different = len(np.unique(known))
    constant = different + (missing > 0) == 1
    described = ColumnReport(column.name, column.kind, missing, missing / len(values), different, constant)
    if column.kind == "number":
        if not different:
            return described
        histogram = _histogram(known) if different > 1 else ()
        ends = {"least": float(known[0]), "greatest": float(known[-1])}
        return replace(described, **ends, mean=_mean(known), histogram=histogram)
    counts = np.bincount(known.astype(np.int64))
    names = column.values if column.kind == "category" else ("false", "true")
    frequent = tuple(ValueCount(names[i], int(counts[i])) for i in most_frequent(counts))
    return replace(described, frequent=frequent)


def _sign(column: ColumnReport, values: np.ndarray, y: np.ndarray, enough: bool) -> str:
    """Return the kind of the gravest issue of a column, or "".

    Values (rows,) are in rising order, with NaN last, class numbers in the same order; `enough` says whether the rows
    can tell that a column and the class go together.
    """
    if column.constant:
        return "constant-columns"
    tells = tells_label(values, y, column.type == "category") if enough else ""
    if tells == "equal":
        return "label-column"
    if enough and _missing_tells(np.isnan(values), y):
        return "missing-tells-class"
    if _names_rows(column, values):
        return "identifier-columns"
    if tells == "telling":
        return "telling-column"
    return "much-missing" if column.missing_share > MAX_MISSING else ""


def tells_label(values: np.ndarray, y: np.ndarray, is_category: bool = False) -> str:
    """Return "equal" where values and classes map one to one, "telling" for the weaker signs, else "".

    Values (rows,) are in rising order, with NaN last as one more value, class numbers in the same order. The order of
    categories means nothing.
    """
    starts = np.unique(values, return_index=True)[1]
    label = np.minimum.reduceat(y, starts)
    if (label != np.maximum.reduceat(y, starts)).any():  # a value that occurs with two classes
        return ""
    if len(starts) == np.count_nonzero(np.bincount(y)):
        return "equal"
    if len(starts) * MIN_REPEATED <= len(y):
        return "telling"
    of_known = label[~np.isnan(values[starts])]
    cuts = np.count_nonzero(np.diff(of_known))  # going up the values, how often the class changes
    return "telling" if not is_category and cuts == len(np.unique(of_known)) - 1 else ""


def _missing_tells(missing: np.ndarray, y: np.ndarray) -> bool:
    """Tell whether of each class the value is missing in all rows or in none, and both occur."""
    of_all, of_missing = np.bincount(y), np.bincount(y[missing], minlength=int(y.max()) + 1)
    return bool(missing.any() and not missing.all() and ((of_missing == 0) | (of_missing == of_all)).all())


def _names_rows(column: ColumnReport, values: np.ndarray) -> bool:
    """Tell whether a column names the rows: nearly each category is there once, or nearly consecutive numbers are."""
    known = len(values) - column.missing
    if known < MIN_ROWS or column.different < MIN_OWN_VALUES * known or column.type == "boolean":
        return False
    if column.type == "category":
        return True
    if known < len(values) or column.different < known:
        return False
    span = float(values[-1]) / 2 - float(values[0]) / 2  # the half: the whole may be too large for a float
    return bool(span * 2 * MIN_OWN_VALUES < known and (values % 1 == 0).all())


def _mean(values: np.ndarray) -> float:
    """Return the mean of values in rising order; they are scaled by a power of two, for the sum may be too large."""
    scale = math.ldexp(1.0, math.frexp(float(np.abs(values).max()))[1] - 1)
    # A rounded sum of equal values may lie beside them.
    return min(max(float((values / scale).mean()) * scale, float(values[0])), float(values[-1]))


def _histogram(values: np.ndarray) -> tuple[int, ...]:
    """Return how many of the values, which are in rising order, are in each of BINS equal parts of their range."""
    share = np.linspace(0, 1, BINS + 1)[1:-1]
    edges = np.sort(values[0] * (1 - share) + values[-1] * share)  # no difference, which may be too large
    return tuple(np.diff(np.searchsorted(values, edges), prepend=0, append=len(values)).tolist())


def most_frequent(counts: np.ndarray) -> list[int]:
    """Return the positions of the MAX_FREQUENT greatest counts above 0, the greatest first."""
    order = np.argsort(-counts, kind="stable")[:MAX_FREQUENT]
    return order[counts[order] > 0].tolist()
