"""Small data made by hand, and the report on it."""

from typing import Any

import numpy as np

from components.data import report
from components.data.raw_values import Column
from components.data.sources import Rows
from components.data.splitting import TEST, TRAIN, VALIDATION, content
from components.study.dataset import DatasetSpec

NAN = np.nan
SOURCES = {"image": "tfds:made", "table": "table:made.csv", "text": "text:made.csv"}


def parts_of(rows: Rows, test=(), validation=()) -> np.ndarray:
    parts = np.full((1, len(rows.y)), TRAIN, np.uint8)
    parts[:, np.array(test, int)] = TEST
    parts[:, np.array(validation, int)] = VALIDATION
    return parts


def inspect(rows: Rows, test=(), validation=(), parts=None, **data) -> dict:
    kind = "image" if rows.x.ndim > 2 else "text" if rows.words else "table"
    described = DatasetSpec.model_validate({"source": SOURCES[kind], "kind": kind, **data})
    parts = parts_of(rows, test, validation) if parts is None else parts
    return report.inspect(described, rows, content(rows), parts)


def table(x, y, columns=None, **more) -> Rows:
    x = np.asarray(x, float)
    columns = columns or tuple(Column(f"c{i}") for i in range(x.shape[1]))
    return Rows(x, np.asarray(y), ("a", "b", "c"), columns, **more)


def column_of(values, kind: Any = "number", names=(), y=None, **data) -> dict:
    """Return the report on a table of one column."""
    y = np.arange(len(values)) % 2 if y is None else y
    return inspect(
        table(np.array(values, float)[:, None], y, (Column("it", kind, tuple(names) if kind == "category" else ()),)),
        **data,
    )


def texts(lines: list[str], y, **more) -> Rows:
    """Return rows of texts, whose words are between spaces."""
    split_up = [line.split() for line in lines]
    words = tuple(sorted({word for line in split_up for word in line}))
    x = np.zeros((len(lines), max(map(len, split_up))), np.int32)
    for row, line in zip(x, split_up, strict=True):
        row[: len(line)] = [words.index(word) + 1 for word in line]
    return Rows(x, np.asarray(y), ("a", "b", "c"), words=words, **more)


def pictures(x, y=None, **more) -> Rows:
    x = np.asarray(x)
    return Rows(x, np.arange(len(x)) % 2 if y is None else np.asarray(y), ("a", "b"), **more)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def finding(found: dict, name: str) -> dict:
    (one,) = [each for each in found["findings"] if each["name"] == name]
    return one


def names(found: dict, *levels: str) -> list[str]:
    return [each["name"] for each in found["findings"] if not levels or each["level"] in levels]
