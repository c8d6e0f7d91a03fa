"""Raw values, as a user has them, to numbers, as prepared data has them, and back.

The sources and the served model call these same functions, so what is served is read as it was trained on.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np

# What stands for a missing value in a file, besides nothing at all. They are compared without spaces around them.
MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None")
BOOLEANS = {"true": 1.0, "false": 0.0}

# A word: letters and digits with inner apostrophes, one character of a script that writes no spaces, or one sign.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+(?:['’][^\W_]+)*|[^\w\s]|_"
)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: as the file has it.
        kind: number, boolean (true or false) or category.
        values: of a category, each once, sorted; a row holds a value's position. Empty for the other kinds.
    """

    name: str
    kind: Literal["number", "boolean", "category"] = "number"
    values: tuple[str, ...] = ()


def is_missing(value: Any) -> bool:
    """Tell whether a raw value stands for none: None, NaN, or text that is in `MISSING`."""
    if isinstance(value, str):
        return value.strip() in MISSING
    return value is None or value != value  # NaN and pandas' NaT differ from themselves


def numbers(values: Sequence[Any], column: Column) -> np.ndarray:
    """Return a column's raw values as prepared data has them: float64 (rows,), NaN where one is missing.

    A category's value that the column does not know becomes `len(column.values)`.

    Raises:
        ValueError: with the first value that is no number, or no boolean.
    """
    if column.kind == "category":
        position = {value: float(i) for i, value in enumerate(column.values)}
        unknown = float(len(position))
        return np.array([np.nan if is_missing(v) else position.get(category(v), unknown) for v in values], np.float64)
    read = boolean if column.kind == "boolean" else number
    return np.array([np.nan if is_missing(value) else read(value) for value in values], np.float64)


def category(value: Any) -> str:
    """Return a category's value as text: without spaces around it; a whole number without `.0`."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def number(value: Any) -> float:
    """Return a raw value as a number.

    Raises:
        ValueError: where it is none.
    """
    if isinstance(value, str) and "_" in value:  # Python reads 1_000 as a number, and no one else does
        raise ValueError(value)
    return float(value)


def boolean(value: Any) -> float:
    """Return 1.0 for true and 0.0 for false, in any case, or as a number.

    Raises:
        ValueError: where it is neither.
    """
    found = BOOLEANS.get(str(value).strip().lower())
    if found is None:
        found = float(value)
    if found not in (0.0, 1.0):
        raise ValueError(value)
    return found


def tokens(text: str) -> list[str]:
    """Return the words of a text, in lower case; marks such as ! are words, and so is each Chinese character."""
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def as_words(texts: Iterable[str], length: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Return every word of the texts, sorted, and the texts as prepared data has them: int32 (texts, words).

    Args:
        texts: raw.
        length: in words; what is longer is cut off.
    """
    found = [tokens(text)[:length] for text in texts]
    words = tuple(sorted(set(chain.from_iterable(found))))
    return words, word_numbers(found, words, max(map(len, found), default=0))


def word_numbers(texts: Iterable[Sequence[str]], words: Sequence[str], length: int) -> np.ndarray:
    """Return the words of texts as prepared data has them.

    Args:
        texts: the words of each text, as `tokens` gives them; all beyond `length` are cut off.
        words: that are known, each once.
        length: of a row.

    Returns:
        int32 (texts, length): 1 + the position of each word in `words`, `len(words) + 1` for others, then zeros.
    """
    position = {word: i for i, word in enumerate(words, 1)}
    unknown = len(position) + 1
    cut = [text[:length] for text in texts]
    flat = np.fromiter((position.get(word, unknown) for word in chain.from_iterable(cut)), np.int32)
    lengths = np.array([len(text) for text in cut], np.int64)
    rows = np.zeros((len(cut), length), np.int32)
    rows[np.arange(length) < lengths[:, None]] = flat
    return rows
