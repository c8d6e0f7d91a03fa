"""Raw values, as a user has them, to numbers, as prepared data has them, and back.

The sources and the served model call these same functions, so what is served is read as it was trained on.
"""

import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from itertools import chain
from typing import Any, Literal, SupportsFloat, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# What stands for a missing value in a file, besides nothing at all. They are compared without spaces around them.
MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None")
BOOLEANS = {"true": 1.0, "false": 0.0}

MIN_AT_ONCE = 256  # values; fewer are read sooner one by one

Array: TypeAlias = pa.Array | pa.ChunkedArray
RawValue = str | SupportsFloat  # that is not missing

# Scripts that write no spaces between words: Thai, Lao, Myanmar, Khmer, Chinese and Japanese.
_DENSE = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    r"\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
# What nobody sees: control and formatting characters, such as the joiners inside an emoji.
_UNSEEN = (
    r"\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ff"
)
# Accents and vowel signs belong to the letter before them, and Python's \w has none of them.
_MARK = f"[{''.join(chr(c) for c in range(0x300, 0x10000) if unicodedata.category(chr(c)).startswith('M'))}]"
_LETTER = rf"[^\W_{_DENSE}]"
_LETTERS = f"{_LETTER}+(?:{_MARK}+{_LETTER}*)*"
# A word: letters and digits with inner apostrophes, one character of a script that writes no spaces, or one sign.
_WORD = re.compile(rf"{_LETTERS}(?:['\u2019]{_LETTERS})*|[{_DENSE}]{_MARK}*|[^\w\s{_UNSEEN}]|_")


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str  # as the file has it
    kind: Literal["number", "boolean", "category"] = "number"
    # of a category, each once, sorted; a row holds a value's position. Empty for the other kinds.
    values: tuple[str, ...] = ()


def is_missing(value: object) -> bool:
    """Tell whether a raw value stands for none: None, NaN, pandas' NA, or text that is in `MISSING`."""
    if isinstance(value, str):
        return value.strip() in MISSING
    try:
        return value is None or bool(value != value)  # NaN and pandas' NaT differ from themselves
    except TypeError:  # pandas' NA does not say
        return True


def numbers(values: Any, column: Column) -> np.ndarray:
    """Return a column's raw values as prepared data has them: float64 (rows,), NaN where one is missing.

    A category's value that the column does not know becomes `len(column.values)`. What pandas made a number or a
    boolean is known by what it means: 1067 is the code "01067" where there is no "1067". The values are a sequence, a
    pandas Series, or a pyarrow array of text, numbers or booleans.

    Raises:
        ValueError: with the first value that is no number, or no boolean.
    """
    array = _array(values)
    if array is None:
        read = _reader(column)
        if isinstance(getattr(values, "dtype", None), np.dtype) and values.dtype.kind == "f":
            values = np.asarray(values)  # a Series would give 0.1 of float32 as 0.10000000149
        return np.array([np.nan if is_missing(value) else read(value) for value in values], np.float64)
    array = cleaned(array)
    if column.kind == "number" and (at_once := _at_once(array)) is not None:
        return at_once
    distinct, positions = different(array)
    read = _reader(column)
    return np.array([*(read(value) for value in distinct), np.nan], np.float64)[positions]


def cleaned(array: Array) -> Array:
    """Return a pyarrow array with null where a value is missing, and text without spaces around it."""
    if pa.types.is_floating(array.type):
        return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    if not _is_text(array.type):
        return array
    trimmed = pc.utf8_trim_whitespace(array)
    return pc.if_else(pc.is_in(trimmed, pa.array(MISSING, array.type)), pa.scalar(None, array.type), trimmed)


def different(array: Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the different values of a pyarrow array, in the order of their first rows, without null.

    And for each row the position of its value, int64 (rows,): as many as there are values where it is null.
    """
    distinct = pc.unique(array).drop_null()
    positions = pc.index_in(array, distinct).fill_null(len(distinct))
    return distinct.to_numpy(zero_copy_only=False), positions.to_numpy().astype(np.int64)


def _array(values: Any) -> Array | None:
    """Return the values as a pyarrow array; None where they are few, or of several types, which only Python knows."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if len(values) < MIN_AT_ONCE:
        return None
    try:
        array = pa.array(values, from_pandas=True)
    except (ValueError, TypeError, OverflowError):
        return None
    tests = (_is_text, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    return array if any(test(array.type) for test in tests) else None


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _at_once(array: Array) -> np.ndarray | None:
    """Return a cleaned array as numbers; None where it must be looked at one by one."""
    try:
        cast = pc.cast(array, pa.float64(), safe=False)
    except pa.ArrowInvalid:
        return None
    if _is_text(array.type) and not pc.all(pc.is_finite(cast)).as_py() and cast.null_count < len(cast):
        return None  # pyarrow reads nan(1), and Python does not
    return cast.fill_null(np.nan).to_numpy()


def _reader(column: Column) -> Callable[[RawValue], float]:
    """Return what makes a number of a value that is not missing."""
    if column.kind != "category":
        return boolean if column.kind == "boolean" else number
    position = {value: float(i) for i, value in enumerate(column.values)}
    unknown = float(len(position))

    @cache  # made only where it is needed: there may be many values
    def alike() -> dict[Decimal | str, float]:
        return {_meaning(value): i for value, i in reversed(position.items())}

    def read(value: RawValue) -> float:
        text = category(value)
        if text not in position and not isinstance(value, str):
            return alike().get(_meaning(text), unknown)
        return position.get(text, unknown)

    return read


def _meaning(text: str) -> Decimal | str:
    """Return a category as the number that it is, else in lower case: pandas makes 1067 of 01067, True of TRUE."""
    number = as_decimal(text)
    return text.lower() if number is None else number


def as_decimal(text: str) -> Decimal | None:
    """Return the number that a text is, exactly; None where it is none."""
    try:
        decimal = Decimal(text)
    except InvalidOperation:
        return None
    return decimal if decimal.is_finite() else None


def category(value: object) -> str:
    """Return a category's value as text: without spaces around it; a whole number without `.0`."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def number(value: RawValue) -> float:
    """Return a raw value as a number, or raise a ValueError where it is none."""
    if not isinstance(value, str):
        try:
            return float(value)
        except OverflowError:  # an int of more than 308 digits
            raise ValueError(value) from None
    if "_" in value:  # Python reads 1_000 as a number, and no one else does
        raise ValueError(value)
    return float(value.strip())  # float itself leaves some spaces


def boolean(value: RawValue) -> float:
    """Return 1.0 for true and 0.0 for false, in any case, or as a number; raise a ValueError for what is neither."""
    truth = BOOLEANS.get(str(value).strip().lower())
    if truth is None:
        truth = number(value)
    if truth not in (0.0, 1.0):
        raise ValueError(value)
    return truth


def tokens(text: str) -> list[str]:
    """Return the words of a text, in lower case; marks such as ! are words, and so is each Chinese character."""
    return _WORD.findall(unicodedata.normalize("NFC", text.lower()))


def as_words(texts: Iterable[str], length: int) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return the words of raw texts that are left when each is cut off after `length` of them.

    Returns:
        every word, sorted; the texts as prepared data has them, int32 (texts, words); and how many words each had
        before it was cut, int64 (texts,).
    """
    cut: list[list[str]] = []
    lengths: list[int] = []
    for text in texts:
        words = tokens(text)
        lengths.append(len(words))
        cut.append([sys.intern(word) for word in words[:length]])  # one copy of each word, and not one a place
    ordered = tuple(sorted(set(chain.from_iterable(cut))))
    return ordered, word_numbers(cut, ordered, max(map(len, cut), default=0)), np.array(lengths, np.int64)


def word_numbers(texts: Iterable[Sequence[str]], words: Sequence[str], length: int) -> np.ndarray:
    """Return the words of texts as prepared data has them; all beyond `length` are cut off.

    Returns:
        int32 (texts, length): 1 + the position of each word in `words`, `len(words) + 1` for others, then zeros.
    """
    position = {word: i for i, word in enumerate(words, 1)}
    cut = [text[:length] for text in texts]
    rows = np.zeros((len(cut), length), np.int32)
    for row, text in zip(rows, cut, strict=True):
        row[: len(text)] = [position.get(word, len(words) + 1) for word in text]
    return rows
