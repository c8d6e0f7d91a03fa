"""`table:FILE`: labelled rows of CSV, TSV, JSON Lines or Parquet; numbers, true or false, and categories.

What a column is follows from all its values: numbers, or only true and false, or else categories. A column that is
mostly numbers is refused, since a misprint would make categories of a measurement.
"""

import difflib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from components.data import raw_values
from components.data.issues import MAX_EXAMPLES, DataIssue, some
from components.data.raw_values import Array, Column
from components.data.sources import Rows
from components.data.sources.files import Table, fetched, frame
from components.data.splitting import hashed
from components.errors import AssayError
from components.formatting import MANY, did_you_mean, in_words
from components.study.dataset import DatasetSpec

TARGETS = ("target", "label", "class", "y")
MAX_NUMBERS = 20  # more different numbers than these may be a measurement, and no classes
MAX_VALUES = 100_000  # of a category

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_COMMA = re.compile(r"[+-]?\d+,\d+")


def read(data: DatasetSpec, folder: Path) -> Rows:
    """Return float64 rows (rows, columns) in the file's order; without the target, group, time and ignored columns.

    Raises:
        AssayError: for a file, a column or a value that can't be used, with its line.
    """
    with fetched(data.address, folder) as path:
        table = frame(path, data.delimiter)
        used = {only_column(table, "target", data.target, TARGETS), data.group, data.time, *data.ignore}
        for option in ("ignore", "categorical"):
            for column in getattr(data, option):
                check_column(table, option, column)
        x, columns, issues = _features(table, used, data.categorical)
        return rows_of(table, data, x, columns=columns, issues=issues)


# Columns with a use of their own; those of `text:FILE` too


def check_column(table: Table, option: str, name: str) -> None:
    """Raise an AssayError, with the nearest names, where there is no such column."""
    names = list(table.columns)
    if name in names:
        return
    near = names if len(names) <= MANY else difflib.get_close_matches(name, names, MANY, 0.0)
    more = f", and {len(names) - len(near)} more" if len(names) > len(near) else ""
    raise AssayError(f"data.{option}: {table.path} has no column {name!r}; expected {did_you_mean(name, near)}{more}")


def only_column(table: Table, option: str, stated: str | None, names: Sequence[str]) -> str:
    """Return the column that an option states, or the only one that has one of the names; else raise an AssayError."""
    if stated:
        check_column(table, option, stated)
        return stated
    called = [name for name in table.columns if name.strip().lower() in names]
    if len(called) == 1:
        return called[0]
    what = f"no column is called {in_words(names, 'or')}"
    if called:
        what = f"{len(called)} columns could be the {option}"
    raise AssayError(f"{table.path}: {what}; pass data.{option}: {some(called or list(table.columns), ' or ')}")


def rows_of(table: Table, data: DatasetSpec, x: np.ndarray, **more: Any) -> Rows:
    """Return the rows of a file with their classes, groups and times.

    Raises:
        AssayError: for a label, group or time that is missing or can't be used, with its line.
    """
    y, classes = _labels(table, only_column(table, "target", data.target, TARGETS))
    groups = _groups(table, data.group) if data.group else None
    times = _times(table, data.time) if data.time else None
    return Rows(x, y, classes, groups=groups, times=times, names=table.names, **more)


def _labels(table: Table, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return class numbers, int32 (rows,), and the classes, sorted: as numbers if all are, else as text."""
    texts, positions = _texts(table, name, "have no label", "label or remove them")
    values = [_number(text) for text in texts]
    if None not in values and len(texts) > MAX_NUMBERS:
        measured = np.array(values, np.float64)
        if (measured != np.floor(measured)).any() or len(texts) > len(table) / 2:
            raise AssayError(
                f"{table.path}: the target {name!r} has {len(texts)} different numbers in {len(table)} rows, such as "
                f"{texts[0]} and {texts[1]}; a study needs classes: name another column in data.target, or make "
                "classes of the numbers first, such as low and high"
            )
    order = sorted(range(len(texts)), key=lambda i: (0.0 if None in values else values[i], texts[i]))
    return np.argsort(order).astype(np.int32)[positions], tuple(texts[i] for i in order)


def _groups(table: Table, name: str) -> np.ndarray:
    """Return int64 (rows,), a hash of the value, whatever other values there are: 7 and 7.0 are one patient."""
    check_column(table, "group", name)
    texts, positions = _texts(table, name, "have no group", "give each a value of its own")
    numbers = map(raw_values.as_decimal, texts)
    # Equal numbers have equal hashes, in every process.
    same = (text if number is None else str(hash(number)) for text, number in zip(texts, numbers, strict=True))
    return np.array([hashed(text) for text in same], np.uint64).view(np.int64)[positions]


def _times(table: Table, name: str) -> np.ndarray:
    """Return float64 (rows,) of numbers, or int64 of dates: microseconds since 1970, UTC where no zone is said."""
    check_column(table, "time", name)
    array = table.columns[name]
    texts, positions = _texts(table, name, "have no time", "give them one or remove them")
    if pa.types.is_date(array.type) or pa.types.is_timestamp(array.type):
        zone = array.type.tz if pa.types.is_timestamp(array.type) else None
        return pc.cast(pc.cast(array, pa.timestamp("us", zone), safe=False), pa.int64()).to_numpy()
    values = [_number(text) for text in texts]
    if None not in values:
        times = np.array(values, np.float64)
        wrong = ~np.isfinite(times)
    else:
        dates = pd.to_datetime(pd.Series(texts, dtype=object), format="ISO8601", utc=True, errors="coerce")
        wrong = dates.isna().to_numpy()
        times = dates.dt.as_unit("us").astype("int64").to_numpy()
    if wrong.any():
        row = int(np.flatnonzero(wrong[positions])[0])
        raise AssayError(
            f"{_place(table, row, name)} is {texts[positions[row]]!r}; expected all numbers, or all dates such as "
            "2026-01-31 or 2026-01-31T12:00:00Z"
        )
    return times[positions]


def _texts(table: Table, name: str, what: str, mend: str) -> tuple[list[str], np.ndarray]:
    """Return a column's different values as text, and for each row the position of its value; refuse missing ones."""
    distinct, positions = raw_values.different(raw_values.cleaned(table.columns[name]))
    rows = np.flatnonzero(positions == len(distinct)).tolist()
    if rows:
        listed = some([table.names[row] for row in rows])
        raise AssayError(f"{table.path}, column {name!r}: {len(rows)} of {len(table)} rows {what}: {listed}; {mend}")
    numbers, texts = pd.factorize(np.array([raw_values.category(value) for value in distinct], object))
    return list(texts), numbers[positions]  # 0.0 and -0.0 are both 0


def _number(text: str) -> float | None:
    try:
        return raw_values.number(text)
    except ValueError:
        return None


def _place(table: Table, row: int, name: str) -> str:
    return f"{table.path}, {table.names[row]}, column {name!r}"


# Features


def _features(
    table: Table, used: set[str | None], categorical: tuple[str, ...]
) -> tuple[np.ndarray, tuple[Column, ...], tuple[DataIssue, ...]]:
    """Return the rows, their columns but those that are used, and what is odd about them."""
    empty: list[str] = []
    columns: list[Column] = []
    kept: list[np.ndarray] = []
    for name, array in table.columns.items():
        if name in used:
            continue
        column = _column(table, name, raw_values.cleaned(array), name in categorical)
        if column is None:
            empty.append(name)
            continue
        columns.append(column)
        kept.append(raw_values.numbers(array, column))
        infinite = np.flatnonzero(np.isinf(kept[-1])).tolist()
        if infinite:
            raise AssayError(
                f"{_place(table, infinite[0], name)} is {array[infinite[0]].as_py()!r}; expected a number below "
                f"1.8e308, or nothing where it is missing ({len(infinite)} rows)"
            )
    if not columns:
        raise AssayError(f"{table.path} has no column left to learn from; expected one besides target, group and time")
    dates = [column.name for column in columns if column.values and all(map(_DATE.match, column.values))]
    odd = (
        ("empty-columns", empty, "{count} columns have no values and are left out"),
        ("date-columns", dates, "{count} columns of dates are read as categories; see data.time and data.ignore"),
    )
    issues = tuple(
        DataIssue(kind, "warning", sentence, len(names), examples=tuple(names[:MAX_EXAMPLES]))
        for kind, names, sentence in odd
        if names
    )
    return np.stack(kept, axis=1), tuple(columns), issues


def _column(table: Table, name: str, array: Array, coded: bool) -> Column | None:
    """Return what a column of cleaned values is, None where all are missing; `coded` makes categories of numbers."""
    if array.null_count == len(array):
        return None
    if pa.types.is_temporal(array.type):
        raise AssayError(
            f"{table.path}, column {name!r} is of type {array.type}, from which Assay learns nothing: "
            f"pass data.ignore: [{name}], or data.time: {name}"
        )
    kind = "category" if coded else _kind(table, name, array)
    if kind != "category":
        return Column(name, kind)
    values = sorted({raw_values.category(value) for value in raw_values.different(array)[0]})
    if len(values) > MAX_VALUES:
        raise AssayError(
            f"{table.path}, column {name!r} has {len(values)} different values, such as {values[0]!r} and "
            f"{values[1]!r}; expected at most {MAX_VALUES}: pass data.ignore: [{name}]"
        )
    return Column(name, "category", tuple(values))


def _kind(table: Table, name: str, array: Array) -> Literal["number", "boolean", "category"]:
    if pa.types.is_boolean(array.type):
        return "boolean"
    if not pa.types.is_string(array.type):
        return "number"
    if pc.all(pc.is_in(pc.utf8_lower(array.drop_null()), pa.array(list(raw_values.BOOLEANS)))).as_py():
        return "boolean"
    try:
        raw_values.numbers(array, Column(name))
        return "number"
    except ValueError:
        distinct, positions = raw_values.different(array)

    def which(test: Callable[[str], object]) -> np.ndarray:
        return np.array([*(bool(test(value)) for value in distinct), False])[positions]

    present = positions < len(distinct)
    is_number, commas = which(lambda value: _number(value) is not None), which(_COMMA.fullmatch)
    wrong, hint = present & ~is_number, "mend them"
    if is_number.sum() < present.sum() / 2:
        if (wrong & ~commas).any():
            return "category"
        wrong, hint = commas, "write 1.5 and not 1,5"
    rows = np.flatnonzero(wrong)
    raise AssayError(
        f"{_place(table, int(rows[0]), name)} is {str(distinct[positions[rows[0]]])!r}, and {is_number.sum()} of "
        f"{present.sum()} values are numbers; {hint} ({len(rows)} rows), or pass data.categorical: [{name}]"
    )
