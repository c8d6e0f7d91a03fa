"""Encoders: prepared rows to what a network reads. One is fitted for each seed, on train rows only, and is served.

images   (x - offset) / divisor, float32, of the same shape
tables   float32 (rows, numbers + flags + categories): numbers and booleans with the train median where one is
missing, scaled; then a 1 where a number was missing, for the columns in `Inputs.flags`; then for each
column of categories the number of its value: 0 one that the train rows don't have, 1 missing, from 2 the
train rows' values
text     int32 (rows, words): 0 none, 1 a word that the vocabulary doesn't have, from 2 the vocabulary
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from components.data.raw_values import Column
from components.study.recipe import Kind

UNSEEN, ABSENT, FIRST = 0, 1, 2  # numbers of a category: not among the train rows, missing, the first value
NO_WORD, UNKNOWN_WORD, FIRST_WORD = 0, 1, 2


@dataclass(frozen=True)
class Inputs:
    """What the network reads; the same for every seed, so that one compiled program serves them all.

    Decided by the rows that are not test rows. Nothing is learned from it: it is how much room there is.
    """

    shape: tuple[int, ...]  # of one encoded row
    # of a table: the columns of numbers that may be missing, by their place among all columns
    flags: tuple[int, ...] = ()
    # of a table: how many numbers each column of categories has; they are the last of an encoded row. Of text: how many
    # the vocabulary has. Empty for images.
    sizes: tuple[int, ...] = ()
    dtype: str = "float32"  # of encoded rows: int32 for text, else float32

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Inputs":
        """Return the inputs that JSON has as a mapping."""
        return cls(tuple(values["shape"]), tuple(values["flags"]), tuple(values["sizes"]), values["dtype"])


@dataclass(frozen=True)
class Encoder:
    """Prepared rows -> encoded rows, with what was measured on train rows."""

    kind: Kind
    inputs: Inputs  # what it makes
    columns: tuple[Column, ...] = ()  # of a table
    # of images float64 () or (channels,), of tables (numbers,); empty for text
    offset: np.ndarray = field(default_factory=lambda: np.zeros(0))
    divisor: np.ndarray = field(default_factory=lambda: np.ones(0))  # as `offset`; 1 where the train rows are all alike
    # of tables (numbers,): what is put where a number is missing
    median: np.ndarray = field(default_factory=lambda: np.zeros(0))
    # of tables an array for each column of categories: the positions of the values of the train rows; of text one
    # array, the words of the vocabulary, as prepared data numbers them
    known: tuple[np.ndarray, ...] = ()
    absent: tuple[bool, ...] = ()  # of tables: for each column of categories whether the train rows have one missing
    # float64 (3,) or (3, channels) for images, (3, columns of an encoded row) for tables: standard deviation, least and
    # greatest value of the encoded train rows; what augmentation measures with. 0 for what is no number.
    spread: np.ndarray = field(default_factory=lambda: np.zeros((3, 0)))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return prepared rows encoded."""
        return {"image": self._image, "table": self._table, "text": self._text}[self.kind](x)

    def _image(self, x: np.ndarray) -> np.ndarray:
        return (np.asarray(x, np.float32) - self.offset.astype(np.float32)) * (1 / self.divisor).astype(np.float32)

    def _table(self, x: np.ndarray) -> np.ndarray:
        encoded = np.empty((len(x), *self.inputs.shape), np.float32)
        numbers, categories = number_columns(self.columns), category_columns(self.columns)
        values = np.asarray(x[:, numbers], np.float64)
        encoded[:, : len(numbers)] = (np.where(np.isnan(values), self.median, values) - self.offset) / self.divisor
        start = len(numbers)
        encoded[:, start : start + len(self.inputs.flags)] = np.isnan(x[:, self.inputs.flags])
        start += len(self.inputs.flags)
        for place, (column, known, absent) in enumerate(zip(categories, self.known, self.absent, strict=True), start):
            table = np.full(len(self.columns[column].values) + 1, UNSEEN, np.float32)
            table[known] = np.arange(FIRST, FIRST + len(known))
            codes = x[:, column]
            missing = np.isnan(codes)
            of_values = table[np.where(missing, 0, codes).astype(np.int64)]
            encoded[:, place] = np.where(missing, ABSENT if absent else UNSEEN, of_values)
        return encoded

    def _text(self, x: np.ndarray) -> np.ndarray:
        (known,) = self.known
        table = np.full(max(int(known.max(initial=0)), int(x.max(initial=0))) + 1, UNKNOWN_WORD, np.int32)
        table[known] = np.arange(FIRST_WORD, FIRST_WORD + len(known))
        table[NO_WORD] = NO_WORD
        return table[x]

    def to_json(self) -> dict[str, Any]:
        """Return the encoder as JSON, without the columns and inputs, which the prepared data has."""
        values = {name: getattr(self, name).tolist() for name in ("offset", "divisor", "median", "spread")}
        return {**values, "known": [known.tolist() for known in self.known], "absent": list(self.absent)}

    @classmethod
    def from_json(cls, values: dict[str, Any], kind: Kind, inputs: Inputs, columns: tuple[Column, ...]) -> "Encoder":
        """Return the encoder that `to_json` wrote."""
        arrays = {name: np.array(values[name], np.float64) for name in ("offset", "divisor", "median", "spread")}
        known = tuple(np.array(codes, np.int64) for codes in values["known"])
        return cls(kind, inputs, columns, **arrays, known=known, absent=tuple(values["absent"]))


def number_columns(columns: tuple[Column, ...]) -> list[int]:
    """Return the places of the columns of numbers and booleans."""
    return [i for i, column in enumerate(columns) if column.kind != "category"]


def category_columns(columns: tuple[Column, ...]) -> list[int]:
    """Return the places of the columns of categories."""
    return [i for i, column in enumerate(columns) if column.kind == "category"]


def inputs_of(kind: Kind, x: np.ndarray, rest: np.ndarray, columns: tuple[Column, ...], vocabulary: int) -> Inputs:
    """Return what a network reads of prepared rows `x`; `rest` are the numbers of those that are not test rows.

    A text has at most as many words as the vocabulary.
    """
    if kind == "image":
        return Inputs(tuple(x.shape[1:]))
    if kind == "text":
        words = min(vocabulary, int(np.count_nonzero(np.unique(x[rest]))))
        return Inputs(tuple(x.shape[1:]), sizes=(words + FIRST_WORD,), dtype="int32")
    numbers, categories = number_columns(columns), category_columns(columns)
    flags = tuple(i for i in numbers if np.isnan(x[rest, i]).any())
    sizes = tuple(int(np.count_nonzero(~np.isnan(np.unique(x[rest, i])))) + FIRST for i in categories)
    return Inputs((len(numbers) + len(flags) + len(categories),), flags, sizes)
