"""`table:FILE`: labelled rows of CSV, TSV, JSON Lines or Parquet; numbers, true or false, and categories.

What a column is follows from all its values: numbers, or only true and false, or else categories. A column that is
mostly numbers is refused, since a misprint would make categories of a measurement.
"""

import difflib
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from components.data import raw_values
from components.data.issues import MAX_EXAMPLES, DataIssue, some
from components.data.raw_values import Array, Column
from components.data.sources import Rows
from components.data.sources.files import Table, fetched, frame
from components.errors import AssayError
from components.formatting import MANY, did_you_mean
from components.study.dataset import DatasetSpec

TARGETS = ("target", "label", "class", "y")
MAX_NUMBERS = 20  # more different numbers than these may be a measurement, and no classes
MAX_VALUES = 100_000  # of a category

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_COMMA = re.compile(r"[+-]?\d+,\d+")


def read(data: DatasetSpec, folder: Path) -> Rows:
    """Return float64 rows (rows, columns) in the file's order; without the target, group, time and ignored columns.

    Args:
        data: names the file, or its address such as gs://bucket/file.csv; says which column is what.
        folder: is there; what is fetched is kept in it while it is read.

    Raises:
        AssayError: for a file, a column or a value that can't be used, with its line.
    """
    with fetched(data.address, folder) as path:
        table = frame(path, data.delimiter)
        target = target_of(table, data)
        for option in ("ignore", "categorical"):
            for column in getattr(data, option):
                check_column(table, option, column)
        y, classes = labels(table, target)
        groups = group_numbers(table, data.group) if data.group else None
        times = time_numbers(table, data.time) if data.time else None
        used = {target, data.group, data.time, *data.ignore}
        features = {column: array for column, array in table.columns.items() if column not in used}
        x, columns, issues = _features(table, features, data.categorical)
    return Rows(x, y, classes, columns, groups=groups, times=times, names=table.names, issues=issues)


# Columns with a use of their own; those of `text:FILE` too


def check_column(table: Table, option: str, name: str) -> None:
    """Check that there is a column.

    Raises:
        AssayError: with the nearest names.
    """
    names = list(table.columns)
    if name in names:
        return
    near = names if len(names) <= MANY else difflib.get_close_matches(name, names, MANY, 0.0)
    more = f", and {len(names) - len(near)} more" if len(names) > len(near) else ""
    raise AssayError(f"data.{option}: {table.path} has no column {name!r}; expected {did_you_mean(name, near)}{more}")


def target_of(table: Table, data: DatasetSpec) -> str:
    """Return the name of the target column: `data.target`, or the only one that is called like one."""
    lacking = "no column is called target, label, class or y"
    return only_column(table, "target", data.target, TARGETS, lacking, "columns could be the target")


def only_column(table: Table, option: str, stated: str | None, names: Sequence[str], none: str, several: str) -> str:
    """Return the column that an option states, or the only one that has one of the names.

    Raises:
        AssayError: where there is none, or several; `none` and `several` say so.
    """
    if stated:
        check_column(table, option, stated)
        return stated
    called = [name for name in table.columns if name.strip().lower() in names]
    if len(called) == 1:
        return called[0]
    what = f"{len(called)} {several}" if called else none
    raise AssayError(f"{table.path}: {what}; pass data.{option}: {some(called or list(table.columns), ' or ')}")


def labels(table: Table, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return class numbers, int32 (rows,), and the classes, sorted: as numbers if all are, else as text.

    Raises:
        AssayError: for missing labels, or a measurement.
    """
    texts, positions = _texts(table, name)
    _refuse_missing(table, name, positions == len(texts), "have no label", "label or remove them")
    values = [_number(text) for text in texts]
    if None not in values and len(texts) > MAX_NUMBERS:
        measured = np.array(values, np.float64)
        fractions = bool((measured != np.floor(measured)).any())
        if fractions or len(texts) > len(table) / 2:
            raise AssayError(
                f"{table.path}: the target {name!r} has {len(texts)} different numbers in {len(table)} rows, such as "
                f"{texts[0]} and {texts[1]}; a study needs classes: name another column in data.target, or make "
                "classes of the numbers first, such as low and high"
            )
    order = sorted(range(len(texts)), key=lambda i: (0.0 if None in values else values[i], texts[i]))
    rank = np.empty(len(texts), np.int32)
    rank[order] = np.arange(len(texts), dtype=np.int32)
    return rank[positions], tuple(texts[i] for i in order)


def group_numbers(table: Table, name: str) -> np.ndarray:
    """Return int64 (rows,), a hash of the value, whatever other values there are: 7 and 7.0 are one patient.

    Raises:
        AssayError: for rows without a value.
    """
    check_column(table, "group", name)
    texts, positions = _texts(table, name)
    _refuse_missing(table, name, positions == len(texts), "have no group", "give each a value of its own")
    hashes = []
    for text in texts:
        number = raw_values.as_decimal(text)
        same = text if number is None else str(hash(number))  # equal numbers have equal hashes, in every process
        hashes.append(hashlib.blake2b(same.encode("utf-8", "surrogatepass"), digest_size=8).digest())
    return np.frombuffer(b"".join(hashes), np.int64)[positions]


def time_numbers(table: Table, name: str) -> np.ndarray:
    """Return float64 (rows,) of numbers, or int64 of dates: microseconds since 1970, UTC where no zone is said.

    Raises:
        AssayError: for a value that is neither.
    """
    check_column(table, "time", name)
    array = table.columns[name]
    if pa.types.is_date(array.type) or pa.types.is_timestamp(array.type):
        zone = array.type.tz if pa.types.is_timestamp(array.type) else None
        array = pc.cast(array, pa.timestamp("us", zone), safe=False)
        _refuse_missing(table, name, pc.is_null(array).to_numpy(), "have no time", "give them one or remove them")
        return pc.cast(array, pa.int64()).to_numpy()
    texts, positions = _texts(table, name)
    _refuse_missing(table, name, positions == len(texts), "have no time", "give them one or remove them")
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


def _texts(table: Table, name: str) -> tuple[list[str], np.ndarray]:
    """Return a column's different values as text, and for each row the position of its value, their number for none."""
    distinct, positions = raw_values.different(raw_values.cleaned(table.columns[name]))
    texts: dict[str, int] = {}
    merged = [texts.setdefault(raw_values.category(value), len(texts)) for value in distinct]  # 0.0 and -0.0 are both 0
    return list(texts), np.array([*merged, len(texts)], np.int64)[positions]


def _refuse_missing(table: Table, name: str, missing: np.ndarray, what: str, mend: str) -> None:
    rows = np.flatnonzero(missing)
    if len(rows):
        listed = some([table.names[int(row)] for row in rows[: MAX_EXAMPLES + 1]], more=len(rows) - MAX_EXAMPLES)
        raise AssayError(f"{table.path}, column {name!r}: {len(rows)} of {len(table)} rows {what}: {listed}; {mend}")


def _number(text: str) -> float | None:
    try:
        return raw_values.number(text)
    except ValueError:
        return None


def _place(table: Table, row: int, name: str) -> str:
    return f"{table.path}, {table.names[row]}, column {name!r}"


# Features


def _features(
    table: Table, features: dict[str, Array], categorical: tuple[str, ...]
) -> tuple[np.ndarray, tuple[Column, ...], tuple[DataIssue, ...]]:
    """Return the rows, their columns and what is odd about them.

    Raises:
        AssayError: for a value that can't be used, or where no column is left.
    """
    empty: list[str] = []
    dates: list[str] = []
    columns: list[Column] = []
    kept: list[np.ndarray] = []
    for name, array in features.items():
        column = _column(table, name, raw_values.cleaned(array), name in categorical)
        if column is None:
            empty.append(name)
            continue
        numbers = raw_values.numbers(array, column)
        _refuse_infinite(table, column, numbers)
        columns.append(column)
        kept.append(numbers)
        if column.values and all(_DATE.match(value) for value in column.values):
            dates.append(name)
    if not columns:
        raise AssayError(f"{table.path} has no column left to learn from; expected one besides target, group and time")
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
    """Return what a column is; None where all its values are missing.

    Args:
        table: for messages.
        name: of the column.
        array: its values, cleaned.
        coded: numbers are codes.

    Raises:
        AssayError: for dates, numbers among which are others, and too many categories.
    """
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
    is_number = np.array([*(_number(value) is not None for value in distinct), False])
    present = len(array) - array.null_count
    count = np.count_nonzero(is_number[positions])
    commas = np.array([*(bool(_COMMA.fullmatch(value)) for value in distinct), False])
    wrong = ~is_number
    wrong[-1] = False  # what is missing is not wrong
    hint = "mend them"
    if count < present / 2:
        if np.count_nonzero((commas | is_number)[positions]) < present:
            return "category"
        wrong, hint = commas, "write 1.5 and not 1,5"
    rows = np.flatnonzero(wrong[positions])
    raise AssayError(
        f"{_place(table, int(rows[0]), name)} is {str(distinct[positions[rows[0]]])!r}, and {count} of {present} "
        f"values are numbers; {hint} ({len(rows)} rows), or pass data.categorical: [{name}]"
    )


def _refuse_infinite(table: Table, column: Column, numbers: np.ndarray) -> None:
    rows = np.flatnonzero(np.isinf(numbers))
    if len(rows):
        value = table.columns[column.name][int(rows[0])].as_py()
        raise AssayError(
            f"{_place(table, int(rows[0]), column.name)} is {value!r}; expected a number below 1.8e308, or nothing "
            f"where it is missing ({len(rows)} rows)"
        )
