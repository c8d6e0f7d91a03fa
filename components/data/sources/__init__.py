"""Where labelled rows come from: one module a kind of source, all with the same `read`.

A source module has one function, `read(data, folder) -> Rows`. Adding a source is that module and a row in
`components.study.source_types.SOURCE_TYPES`.
"""

import importlib
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from components.data.issues import DataIssue
from components.data.raw_values import Column
from components.errors import AssayError
from components.study.dataset import DatasetSpec


@dataclass
class Rows:
    """Labelled rows as a source gives them."""

    # may be memory-mapped; by the kind of data:
    # images (rows, height, width, channels), any numeric dtype;
    # tables (rows, columns), floating: numbers, 0 or 1 for booleans, and for a category the position of its value in
    # `Column.values`; NaN is a missing value;
    # text (rows, words) int32: 1 + the position of a word in `words`, in the order of the text, then zeros
    x: np.ndarray
    y: np.ndarray  # class numbers (rows,), integers that index `classes`
    classes: tuple[str, ...]
    columns: tuple[Column, ...] = ()  # of a table; empty for other kinds
    words: tuple[str, ...] = ()  # every word of the text, each once; empty for other kinds
    # the source's own splits, as row numbers by name; empty where it has none
    splits: dict[str, np.ndarray] = field(default_factory=dict)
    # a number for each row (rows,), the same for rows that must stay together, and whatever other rows there are; None
    # without `data.group`
    groups: np.ndarray | None = None
    # a number for each row (rows,), greater is newer: float64, or of dates int64 microseconds since 1970; None without
    # `data.time`
    times: np.ndarray | None = None
    names: Sequence[str] = ()  # what each row is called, such as its file or line; empty where rows have only numbers
    # height and width of each image before it was resized (rows, 2); None where nothing is resized
    sizes: np.ndarray | None = None
    issues: tuple[DataIssue, ...] = ()  # what the source saw while reading


def read(data: DatasetSpec, folder: Path) -> Rows:
    """Return the rows of the study's source.

    Args:
        data: names the source and says how to read it.
        folder: is there, and may be used for an `x` that is larger than memory, as `x.npy`, and while a source that is
            elsewhere is read.

    Raises:
        AssayError: where the data can't be had, or is not of the kind that the study says.
    """
    return importlib.import_module(data.source_type.module).read(data, folder)


def reserve(file: Path, shape: tuple[int, ...], dtype: np.dtype, mend: str = "choose another folder") -> np.memmap:
    """Return a new array on disk.

    Raises:
        AssayError: when the disk has no room; without this check, writing to the array would kill the process.
    """
    needed, free = math.prod(shape) * dtype.itemsize, shutil.disk_usage(file.parent).free
    if needed > free:
        raise AssayError(
            f"the rows need {needed / 1e9:.1f} GB, and {file.parent} has {free / 1e9:.1f} GB left; make room, or {mend}"
        )
    return np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
