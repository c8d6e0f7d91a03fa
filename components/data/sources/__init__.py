"""Where labelled rows come from: one module a kind of source, all with the same `read`.

A source module has one function, `read(name, data, folder) -> Rows`. Adding a source is that module and a line in
`SOURCES`.
"""

import importlib
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from components.data.raw_values import Column
from components.errors import AssayError
from components.study.dataset import DatasetSpec


@dataclass(frozen=True)
class Finding:
    """Something about the data that its owner should know.

    Attributes:
        name: what kind of finding it is; errors are allowed by it, in `data.allow`.
        level: an error stops the study, a warning is printed, a note is only in the report.
        text: one sentence, with counts.
        examples: a few files, rows or columns.
    """

    name: str
    level: Literal["error", "warning", "note"]
    text: str
    examples: tuple[str, ...] = ()


@dataclass
class Rows:
    """Labelled rows as a source gives them.

    Attributes:
        x: by the kind of data; may be memory-mapped.
            images (rows, height, width, channels), any numeric dtype;
            tables (rows, columns), floating: numbers, 0 or 1 for booleans, and for a category the position of its
            value in `Column.values`; NaN is a missing value;
            text (rows, words) int32: 1 + the position of a word in `words`, in the order of the text, then zeros.
        y: class numbers (rows,), integers that index `classes`.
        classes: the classes' names.
        columns: of a table; empty for other kinds.
        words: every word of the text, each once; empty for other kinds.
        splits: the source's own splits, as row numbers by name; empty where it has none.
        groups: a number for each row (rows,), the same for rows that must stay together, and whatever other rows there
            are; None without `data.group`.
        times: a number for each row (rows,), greater is newer: float64, or of dates int64 microseconds since 1970; None
            without `data.time`.
        names: what each row is called, such as its file or line; empty where rows have only numbers.
        sizes: height and width of each image before it was resized (rows, 2); None where nothing is resized.
        findings: what the source found while reading.
    """

    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...]
    columns: tuple[Column, ...] = ()
    words: tuple[str, ...] = ()
    splits: dict[str, np.ndarray] = field(default_factory=dict)
    groups: np.ndarray | None = None
    times: np.ndarray | None = None
    names: Sequence[str] = ()
    sizes: np.ndarray | None = None
    findings: tuple[Finding, ...] = ()


SOURCES = {
    "images": "components.data.sources.images",
    "sklearn": "components.data.sources.scikit",
    "table": "components.data.sources.table",
    "text": "components.data.sources.text",
    "tfds": "components.data.sources.tfds",
}


def read(data: DatasetSpec, folder: Path) -> Rows:
    """Return the rows of the study's source.

    Args:
        data: names the source and says how to read it.
        folder: is there, and may be used for an `x` that is larger than memory: as `x.npy`.

    Raises:
        AssayError: where the data can't be had, or is not of the kind that the study says.
    """
    scheme, _, name = data.source.partition(":")
    return importlib.import_module(SOURCES[scheme]).read(name, data, folder)


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
