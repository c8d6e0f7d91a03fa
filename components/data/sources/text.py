"""`text:FILE`: labelled texts in a column of CSV, TSV, JSON Lines or Parquet; `text:DIR`: a folder of .txt a class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from components.data.issues import DataIssue, some
from components.data.raw_values import as_words
from components.data.sources import Rows
from components.data.sources.files import Table, fetched, frame
from components.data.sources.folders import FileKind, labelled, list_files, readable, shown
from components.data.sources.table import check_column, only_column, rows_of
from components.errors import AssayError
from components.study.dataset import DatasetSpec

OF_FILES = ("target", "ignore", "group", "time", "delimiter", "text")  # options that a folder has no use for
TEXTS = FileKind("text", ".txt file", (".txt",), "write them anew, as with `iconv -f latin1 -t utf-8`, or remove them")


def read(data: DatasetSpec, folder: Path) -> Rows:
    """Return int32 rows (rows, words) in the file's order, or in that of the paths; cut off after `data.words` words.

    Raises:
        AssayError: for a file, a column or a text that can't be used, with its line.
    """
    with fetched(data.address, folder) as path:
        return _of_folders(path, data) if path.is_dir() else _of_table(frame(path, data.delimiter), data)


def _of_table(table: Table, data: DatasetSpec) -> Rows:
    for column in data.ignore:
        check_column(table, "ignore", column)
    text = only_column(table, "text", data.text, ("text",))
    texts = ["" if value is None else str(value) for value in table.columns[text].to_pylist()]
    x, words, issues = _numbers(f"{table.path}, column {text!r}", texts, table.names, data.words)
    return rows_of(table, data, x, words=words, issues=issues)


def _numbers(
    where: str, texts: Sequence[str], names: Sequence[str], length: int
) -> tuple[np.ndarray, tuple[str, ...], tuple[DataIssue, ...]]:
    """Return the rows of texts, all words in them, and a note on those that are cut off."""
    words, x, lengths = as_words(texts, length)
    empty = np.flatnonzero(lengths == 0).tolist()
    if empty:
        listed = some([names[row] for row in empty])
        raise AssayError(f"{where}: {len(empty)} of {len(texts)} texts have no words: {listed}; write or remove them")
    cut = int(np.count_nonzero(lengths > length))
    if not cut:
        return x, words, ()
    sentence = "{count} of {texts} texts are cut off after {words} words (data.words); the longest has {longest}"
    values = {"texts": len(texts), "words": length, "longest": int(lengths.max())}
    return x, words, (DataIssue("long-texts", "note", sentence, cut, values),)


# Folders


def _of_folders(root: Path, data: DatasetSpec) -> Rows:
    for option in OF_FILES:
        if getattr(data, option):
            raise AssayError(f"data.{option}: {root} is a folder of texts, and has no columns; leave it out")
    listing = list_files(root, TEXTS)
    texts: list[str] = []
    broken: dict[int, str] = {}
    for i, (path, _, _) in enumerate(listing.files):
        try:
            texts.append(read_text(path))
        except ValueError as error:
            broken[i] = str(error)
    listing = readable(listing, broken, data)
    x, words, issues = _numbers(shown(root), texts, listing.names, data.words)
    rows = labelled(listing, x)
    rows.words, rows.issues = words, rows.issues + issues
    return rows


def read_text(path: str) -> str:
    """Return the text of a file.

    Raises:
        ValueError: for a file that can't be read, with why, in words that go on after its name.
    """
    try:
        if not Path(path).is_file():  # opening a pipe would wait for ever
            raise ValueError("is no ordinary file, or a link that leads nowhere")
        return Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"has byte 0x{error.object[error.start]:02x} in line {line}, which is not UTF-8") from None
    except OSError as error:
        raise ValueError(str(error.strerror)) from None
