"""The saved model: a raw row, the bytes of an image file or a text in, probabilities out.

A folder with network.keras, which turns encoded rows into logits, or with trees.skops, see
`components.serving.tree_files`; and with encoder.json, which says how a raw row is encoded: columns and their values,
the words, what numbers are scaled by; all from the train rows of the model's seed.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.special import softmax

from components.data.encoding import Encoder, Inputs, category_columns, number_columns
from components.data.prepared import Prepared
from components.data.raw_values import Column, numbers, tokens, word_numbers
from components.serving import tree_files
from components.study.source_types import source_type

NETWORK = "network.keras"
ROWS = 1024  # that are predicted at a time


def save(folder: Path, network: Any, encoder: Encoder, prepared: Prepared) -> None:
    """Write the model into the folder `model`; `network` is a Keras model from encoded rows to logits, or trees.

    Values and words that are not in the train rows are left out of it.
    """
    folder = folder / "model"
    folder.mkdir()
    if hasattr(network, "predict_proba"):
        import skops.io

        skops.io.dump(network, folder / tree_files.FILE)
    else:
        network.save(folder / NETWORK)
    words: tuple[str, ...] = ()
    columns = list(encoder.columns)
    if encoder.kind == "text":
        words = tuple(prepared.words[number - 1] for number in encoder.known[0])
        known = (np.arange(1, len(words) + 1),)
    else:
        for place, of_train in zip(category_columns(encoder.columns), encoder.known, strict=True):
            values = tuple(columns[place].values[position] for position in of_train)
            columns[place] = replace(columns[place], values=values)
        known = tuple(np.arange(len(of_train)) for of_train in encoder.known)
    served = replace(encoder, columns=tuple(columns), known=known)
    described = {
        "kind": encoder.kind,
        "classes": prepared.schema.classes,
        "files": source_type(prepared.schema.source).rows_are_files,
        "columns": [asdict(column) for column in columns],
        "inputs": asdict(encoder.inputs),
        "words": words,
        "encoder": served.to_json(),
    }
    (folder / "encoder.json").write_text(json.dumps(described, ensure_ascii=False), "utf-8")


class RowError(ValueError):
    """A row that can't be read.

    Attributes:
        row: its position among the rows that the model was asked about.
        reason: what is wrong with it, in words that go on after the row's name.
    """

    def __init__(self, row: int, reason: str):
        super().__init__(f"row {row}{reason}")
        self.row = row
        self.reason = reason


class Served:
    """A saved model."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        values = json.loads((self.folder / "encoder.json").read_text("utf-8"))
        inputs = Inputs.from_json(values["inputs"])
        self.columns = tuple(Column(**{**column, "values": tuple(column["values"])}) for column in values["columns"])
        self.kind, self.classes, self.files = values["kind"], tuple(values["classes"]), values["files"]
        self.words: tuple[str, ...] = tuple(values["words"])
        self.encoder = Encoder.from_json(values["encoder"], self.kind, inputs, self.columns)

    @cached_property
    def network(self) -> Any:
        """The Keras model, from encoded rows to logits; or trees."""
        if (self.folder / tree_files.FILE).exists():
            import skops.io

            return skops.io.load(self.folder / tree_files.FILE, trusted=tree_files.TRUSTED)
        import keras

        return keras.saving.load_model(self.folder / NETWORK, compile=False)

    def __call__(self, raw: Any) -> np.ndarray:
        """Return float32 (rows, classes), the probability of each class.

        Args:
            raw: of tables a data frame, or a table of pyarrow, with the columns; of text a sequence of str; of images a
                sequence of the bytes of files or of their paths, or an array (rows, height, width, channels).

        Raises:
            RowError: where a row can't be read.
            ValueError: where columns are missing, or images are of another shape.
        """
        prepared = {"image": self._images, "table": self._table, "text": self._text}[self.kind](raw)
        with np.errstate(over="ignore"):
            encoded = self.encoder(prepared)
        if self.kind == "table":  # as float32 a number may be infinite: probabilities would be NaN
            for row, place in np.argwhere(~np.isfinite(encoded))[:1]:
                column = number_columns(self.columns)[place]
                name, value = self.columns[column].name, prepared[row, column]
                raise RowError(int(row), f", column {name!r}: {value} is too large a number")
        if hasattr(self.network, "predict_proba"):
            return tree_files.probabilities(self.network, encoded, len(self.classes))
        parts = [encoded[start : start + ROWS] for start in range(0, len(encoded), ROWS)]
        logits = [np.asarray(self.network(part, training=False)) for part in parts]
        return softmax(np.concatenate([np.zeros((0, len(self.classes)), np.float32), *logits]), axis=1)

    def _table(self, table: pd.DataFrame | pa.Table) -> np.ndarray:
        names = table.column_names if isinstance(table, pa.Table) else list(table.columns)
        lacking = [column.name for column in self.columns if column.name not in names]
        if lacking:
            raise ValueError(f"columns are missing: {', '.join(lacking)}; got {', '.join(map(str, names))}")
        x = np.empty((len(table), len(self.columns)), np.float64)
        for i, column in enumerate(self.columns):
            values: Any = table[column.name]
            try:
                x[:, i] = numbers(values, column)
            except (ValueError, TypeError):
                row, value = _first_unread(values, column)
                raise RowError(row, f", column {column.name!r}: expected a {column.kind}, got {value}") from None
        return x

    def _text(self, texts: Sequence[str]) -> np.ndarray:
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise RowError(row, f": expected text, got {text}")
        return word_numbers([tokens(text) for text in texts], self.words, self.encoder.inputs.shape[0])

    def _images(self, images: Any) -> np.ndarray:
        shape = self.encoder.inputs.shape
        if isinstance(images, np.ndarray) and images.dtype != object:
            if images.shape[1:] != shape:
                raise ValueError(f"expected images of shape {shape}, got {images.shape[1:]}")
            for row in np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))[:1]:
                raise RowError(int(row), " has a pixel that is no finite number")
            return images
        from components.data.image_files import decode

        x = np.zeros((len(images), *shape), np.uint8)
        for row, image in enumerate(images):
            pixels = decode(image, shape)
            if isinstance(pixels, str):
                raise RowError(row, f" {pixels}")
            x[row] = pixels
        return x


def _first_unread(values: Any, column: Column) -> tuple[int, str]:
    """Return the position of the first value that is not what the column says, and the value as text.

    One of the values is such. It is found by halves: values are read fast by the thousand, and slowly one by one.
    """
    part = values.iloc if isinstance(values, pd.Series) else values
    first, end = 0, len(values)
    while end - first > 1:
        middle = (first + end) // 2
        try:
            numbers(part[first:middle], column)
            first = middle
        except (ValueError, TypeError):
            end = middle
    value = part[first]
    return first, repr(value.as_py() if isinstance(value, pa.Scalar) else value)


def raw_rows(prepared: Prepared, numbers_of_rows: np.ndarray) -> Any:
    """Return prepared rows as a model takes them raw: a data frame, a list of texts, or an array of images.

    They are not quite as the user had them: a text is its words, in lower case and cut off where prepared data cuts it.
    """
    x, schema = prepared.x[numbers_of_rows], prepared.schema
    if schema.kind == "image":
        return np.asarray(x)
    if schema.kind == "text":
        words = np.array(["", *prepared.words], object)
        return [" ".join(words[row[row > 0]]) for row in x]
    frame: dict[str, Any] = {column.name: np.asarray(x[:, i], np.float64) for i, column in enumerate(schema.columns)}
    for column in schema.columns:
        if column.kind == "category":
            frame[column.name] = [None if np.isnan(v) else column.values[int(v)] for v in frame[column.name]]
    return pd.DataFrame(frame)
