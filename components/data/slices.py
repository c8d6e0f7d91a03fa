"""Slices: parts of the rows in which a technique or a model is looked at by itself: a class, or a column's value.

What is better overall may be worse for some; a mean does not show it.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from components.data.prepared import Prepared
from components.data.raw_values import Column
from components.errors import AssayError

QUARTERS = (0.25, 0.5, 0.75)
MOST_VALUES = 50  # of a column that has more, the most frequent are slices, and the others are one
CLASS = "class"


@dataclass(frozen=True)
class Slice:
    """A part of the rows."""

    column: str  # of a table, or `class`
    value: str  # what its rows have there, in words: `6`, `Biscoe`, `9.75 to 19.5`, `others` or `missing`

    @property
    def name(self) -> str:
        """As people see it: `class: 6`."""
        return f"{self.column}: {self.value}"


@dataclass(frozen=True)
class Slicing:
    """A way to cut all rows into slices."""

    slices: tuple[Slice, ...]
    codes: np.ndarray  # int64 (all rows,), the place in `slices` of each row's slice


def slicings(prepared: Prepared, columns: Sequence[str]) -> list[Slicing]:
    """Return how the rows are cut: by class, and by each of a table's columns: at its values, or numbers' quartiles.

    Raises:
        AssayError: for a column that the data does not have.
    """
    known = {column.name: place for place, column in enumerate(prepared.schema.columns)}
    for name in columns:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1) or list(known)[:10]
            raise AssayError(f"slices: no column is called {name!r}; expected one such as {', '.join(near)}")
    of_class = Slicing(tuple(Slice(CLASS, name) for name in prepared.schema.classes), np.asarray(prepared.y, np.int64))
    cut = [_by_column(np.asarray(prepared.x[:, known[name]]), prepared.schema.columns[known[name]]) for name in columns]
    return [of_class, *cut]


def slices_of(prepared: Prepared, rows: np.ndarray, columns: Sequence[str]) -> dict[Slice, np.ndarray]:
    """Return for each slice which of the rows with these numbers are in it, bool (rows,); empty ones are left out."""
    masks: dict[Slice, np.ndarray] = {}
    for slicing in slicings(prepared, columns):
        for code, part in enumerate(slicing.slices):
            # Two slices are called the same where a column's own value is `missing`, or the column `class`.
            masks[part] = masks.get(part, False) | (slicing.codes[rows] == code)
    return {part: inside for part, inside in masks.items() if inside.any()}


def _by_column(values: np.ndarray, column: Column) -> Slicing:
    missing = np.isnan(values)
    if column.kind == "number" and len(np.unique(values[~missing])) > len(QUARTERS) + 1:
        edges = np.unique(np.quantile(values[~missing], QUARTERS))
        codes = np.searchsorted(edges, values)  # an edge belongs to the slice below it
        # With as many digits as they need to differ: slices are told apart by their names.
        written = ([f"{edge:.{digits}g}" for edge in edges] for digits in (4, 7, 12, 17))
        shown = next(shown for shown in written if len(set(shown)) == len(edges))
        names = [f"up to {shown[0]}", *(f"{low} to {high}" for low, high in pairwise(shown))]
        names.append(f"above {shown[-1]}")
    else:
        kept = np.unique(values[~missing], return_counts=True)
        kept = np.sort(kept[0][np.argsort(-kept[1], kind="stable")[:MOST_VALUES]])
        codes = np.searchsorted(kept, values)
        other = ~missing & ~np.isin(values, kept)
        names = [_shown(value, column) for value in kept] + ["others"] * bool(other.any())
        codes[other] = len(kept)
    if missing.any():
        codes[missing] = len(names)
        names.append("missing")
    return Slicing(tuple(Slice(column.name, name) for name in names), codes.astype(np.int64))


def _shown(value: float, column: Column) -> str:
    if column.kind == "category":
        return column.values[int(value)]
    return str(bool(value)).lower() if column.kind == "boolean" else f"{value:g}"
