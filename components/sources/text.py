"""`text:FILE`: labelled texts in a column of CSV, TSV, JSON Lines or Parquet; `text:DIR`: a folder of .txt a class."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from components.data import Data
from components.errors import AssayError
from components.raw import tokens, word_numbers
from components.sources import Finding, Rows
from components.sources.files import Table, fetched, frame
from components.sources.images import UNREADABLE, _entries, _files, _parts, _shown
from components.sources.table import check_column, group_numbers, labels, some, target_of, time_numbers

TEXT = "text"
ENDING = ".txt"
OF_FILES = ("target", "ignore", "group", "time", "delimiter", "text")  # options that a folder has no use for
EXAMPLES = 5


def read(name: str, data: Data, folder: Path) -> Rows:
    """Return int32 rows (rows, words) in the file's order, or in that of the paths; cut off after `data.words` words.

    Args:
        name: a path of a file, or of a folder with a folder per class or with train/validation/test folders of such
            folders; or an address such as gs://bucket/file.csv.
        data: says which column is what.
        folder: is there; what is fetched is kept in it while it is read.

    Raises:
        AssayError: for a file, a column or a text that can't be used, with its line.
    """
    with fetched(name, folder) as path:
        return _of_folders(path, data) if path.is_dir() else _of_table(frame(path, data.delimiter), data)


def _of_table(table: Table, data: Data) -> Rows:
    for column in data.ignore:
        check_column(table, "ignore", column)
    text = _text_column(table, data)
    y, classes = labels(table, target_of(table, data))
    groups = group_numbers(table, data.group) if data.group else None
    times = time_numbers(table, data.time) if data.time else None
    texts = ["" if value is None else str(value) for value in table.columns[text].to_pylist()]
    x, words, findings = _numbers(f"{table.path}, column {text!r}", texts, table.names, data.words)
    return Rows(x, y, classes, words=words, groups=groups, times=times, names=table.names, findings=findings)


def _text_column(table: Table, data: Data) -> str:
    """Return the name of the column of the text: `data.text`, or the only one that is called so.

    Raises:
        AssayError: where there is none, or several.
    """
    if data.text:
        check_column(table, "text", data.text)
        return data.text
    found = [name for name in table.columns if name.strip().lower() == TEXT]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} columns are called text" if found else "no column is called text"
    raise AssayError(f"{table.path}: {what}; pass data.text: {some(found or list(table.columns), ' or ')}")


def _numbers(
    where: str, texts: Sequence[str], names: Sequence[str], length: int
) -> tuple[np.ndarray, tuple[str, ...], tuple[Finding, ...]]:
    """Return the rows of texts, all words in them, and a note on those that are cut off.

    Raises:
        AssayError: for texts without words.
    """
    known: dict[str, str] = {}  # keeps one copy of each word, and not one for each place
    rows: list[list[str]] = []
    lengths = np.zeros(len(texts), np.int64)
    for row, text in enumerate(texts):
        words = tokens(text)
        lengths[row] = len(words)
        rows.append([known.setdefault(word, word) for word in words[:length]])
    empty = np.flatnonzero(lengths == 0)
    if len(empty):
        listed = some([names[int(row)] for row in empty[:EXAMPLES]], more=len(empty) - EXAMPLES)
        raise AssayError(f"{where}: {len(empty)} of {len(texts)} texts have no words: {listed}; write or remove them")
    ordered = tuple(sorted(known))
    x = word_numbers(rows, ordered, min(length, int(lengths.max())))
    cut = np.count_nonzero(lengths > length)
    if not cut:
        return x, ordered, ()
    text = f"{cut} of {len(texts)} texts are cut off after {length} words (data.words); the longest has {lengths.max()}"
    return x, ordered, (Finding("long-texts", "note", text),)


# Folders


def _of_folders(root: Path, data: Data) -> Rows:
    for option in OF_FILES:
        if getattr(data, option):
            raise AssayError(f"data.{option}: {root} is a folder of texts, and has no columns; leave it out")
    try:
        files, others = _listing(root)
        texts = [_read(path) for path, _, _ in files]
    except OSError as error:
        raise AssayError(f"can't read {error.filename}: {error.strerror}") from None
    good = [i for i, text in enumerate(texts) if isinstance(text, str)]
    broken = [f"{_shown(files[i][0])}{text.args[0]}" for i, text in enumerate(texts) if not isinstance(text, str)]
    _refuse_broken(files, good, broken, data)
    kept = [files[i] for i in good]
    classes = sorted({label for _, label, _ in kept})
    names = tuple(_shown(os.path.relpath(path, root)) for path, _, _ in kept)
    x, words, findings = _numbers(str(root), [text for text in texts if isinstance(text, str)], names, data.words)
    if broken:
        text = f"{len(broken)} of {len(files)} text files can't be read and are left out"
        findings += (Finding(UNREADABLE, "warning", text, tuple(broken[:EXAMPLES])),)
    if others:
        counts = ", ".join(f"{count} {_shown(ending)}" for ending, count in others.most_common(EXAMPLES))
        findings += (Finding("other-files", "warning", f"files that are no .txt in a class are left out: {counts}"),)
    return Rows(
        x,
        np.array([classes.index(label) for _, label, _ in kept], np.int32),
        tuple(_shown(label) for label in classes),
        words=words,
        splits={
            split: np.array([row for row, (_, _, of) in enumerate(kept) if of == split], np.int64)
            for split in dict.fromkeys(of for _, _, of in kept if of)
        },
        names=names,
        findings=findings,
    )


def _listing(root: Path) -> tuple[list[tuple[str, str, str]], Counter[str]]:
    """Return (path, class, split) of each text, and how many other files there are, by their ending.

    Raises:
        AssayError: where there are no classes of texts.
        OSError: for a folder that can't be read.
    """
    files: list[tuple[str, str, str]] = []
    others: Counter[str] = Counter()
    classes: set[str] = set()
    for split, part in _parts(root).items():
        folders, loose = _entries(part)
        if not folders:
            raise AssayError(f"{_shown(part)} has no class folders; expected a folder per class, with .txt files in it")
        classes.update(folders)
        others.update(f"{Path(name).suffix.lower() or 'no ending'} beside the classes" for name in loose)
        for label in folders:
            for path in sorted(_files(part / label)):
                if path.lower().endswith(ENDING):
                    files.append((path, label, split))
                else:
                    others[Path(path).suffix.lower() or "no ending"] += 1
    with_texts = {label for _, label, _ in files}
    learned = {label for _, label, split in files if split != "test"}
    for wrong, what in (
        (classes - with_texts, "class folders have no .txt file; add some or remove the folder"),
        (with_texts - learned, "classes are only in test, so no model could learn them; add them to train"),
    ):
        if wrong:
            raise AssayError(f"{_shown(root)}: {len(wrong)} of {len(classes)} {what}: {_shown(some(sorted(wrong)))}")
    if len(classes) == 1:
        raise AssayError(f"{_shown(root)} has one class folder only, {_shown(*classes)!r}; a study needs two or more")
    return files, others


def _read(path: str) -> str | ValueError:
    """Return the text of a file, or why it is none."""
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        return ValueError(f", line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8")


def _refuse_broken(files: list[tuple[str, str, str]], good: list[int], broken: list[str], data: Data) -> None:
    """Refuse files that can't be read, unless the study allows them and every class has others.

    Raises:
        AssayError: with the files, or the class.
    """
    if broken and UNREADABLE not in data.allow:
        raise AssayError(
            f"{len(broken)} of {len(files)} text files can't be read: {some(broken, '; ')}; write them anew, as with "
            f"`iconv -f latin1 -t utf-8`, or go on without them: data.allow: [{UNREADABLE}]"
        )
    lost = sorted({label for _, label, _ in files} - {files[i][1] for i in good})
    if lost:
        raise AssayError(f"no text of class {_shown(lost[0])!r} can be read; mend its files or remove the folder")
