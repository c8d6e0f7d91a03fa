"""The prepared data: what `load` writes and every later step reads, and the only form of data that those know.

A folder with memory-mapped arrays and JSON:
    x.npy           (rows, ...) as `components.data.sources.Rows` says for each kind of data
    y.npy           (rows,) int32 class numbers
    order.npy       (rows,) int64 row numbers in an order that follows from the rows' content alone, so that the same
                    data from another file, or in another order, gives the same numbers
    units.npy       (rows,) int64, the same number where rows don't speak for themselves: copies of a row, groups, or
                    stretches of time
    parts.npy       (seeds, rows) uint8: whether a seed trains on a row, validates or tests on it, or leaves it out
    digests.npy     uint64 (rows, 1), the same for the same values in any data; with groups (rows, 2), the second is the
                    group's
    words.json      of text: all words
    data.json       kind, shape, classes, columns, counts, fingerprint
    study.json      what is run on it: the study, or the retraining that `load` has made of it
    report/         what was found out about the data, for people: data.md, data.json, data.png
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from components.data.encoding import Inputs, inputs_of
from components.data.raw_values import Column
from components.data.sources import Rows
from components.data.splitting import TEST, TRAIN, VALIDATION, Content, share_of, units
from components.study.dataset import DatasetSpec
from components.study.recipe import Kind
from components.study.study import Study

CHUNK_VALUES = 2**22  # read at a time: 32 MB as float64
STUDY = "study.json"
REPORT = "report"


@dataclass(frozen=True)
class Schema:
    """What data.json says."""

    kind: Kind
    source: str  # as the study names it
    shape: tuple[int, ...]  # of one row
    classes: tuple[str, ...]  # their names, in the order of the class numbers
    columns: tuple[Column, ...]  # of a table
    inputs: Inputs  # what a network reads
    rows: int  # how many there are in all
    class_rows: dict[str, int]  # how many of each class
    splits: dict[str, int]  # how many rows are for test, and for each seed for validation and training
    fingerprint: str  # SHA-256 of the rows, labels, classes, groups, times and of which rows are test rows


class RowFile:
    """The rows of an .npy file; `rows[numbers]` reads those rows and nothing else.

    A memory map keeps the pages that were read, and they count as the process's memory. Here what is returned is all.
    """

    def __init__(self, file: Path):
        self._file = file
        self._map = np.load(file, mmap_mode="r")

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        taken = np.empty((len(numbers), *self._map.shape[1:]), self._map.dtype)
        size = taken[:1].nbytes
        targets = taken.reshape(len(taken), -1).view(np.uint8) if len(taken) else taken
        with self._file.open("rb", buffering=0) as file:
            for target, number in zip(targets, numbers, strict=True):
                file.seek(self._map.offset + int(number) * size)
                file.readinto(target.data)
        return taken


def chunks(x: np.ndarray | RowFile, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows with these numbers, some at a time."""
    size = max(CHUNK_VALUES // max(x[rows[:1]].size, 1), 1)
    for start in range(0, len(rows), size):
        yield x[rows[start : start + size]]


def _mapped(name: str) -> cached_property[np.ndarray]:
    return cached_property(lambda prepared: np.load(prepared.folder / f"{name}.npy", mmap_mode="r"))


class Prepared:
    """Prepared data, read from its folder; arrays are memory-mapped and read only where they are used."""

    x = _mapped("x")  # all rows
    y = _mapped("y")  # all class numbers
    digests = _mapped("digests")  # what tells a row again in other data: uint64 (rows, 1), with groups (rows, 2)
    units = _mapped("units")  # a number for each row, the same where rows don't speak for themselves
    _order = _mapped("order")
    _parts = _mapped("parts")

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    @cached_property
    def schema(self) -> Schema:
        """What the data is."""
        return TypeAdapter(Schema).validate_python(json.loads((self.folder / "data.json").read_text("utf-8")))

    @cached_property
    def study(self) -> Study:
        """What is run on the data."""
        return Study.model_validate_json((self.folder / STUDY).read_text("utf-8"))

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All words of text."""
        return tuple(json.loads((self.folder / "words.json").read_text("utf-8")))

    @cached_property
    def rows(self) -> RowFile:
        """All rows, of which only those in use are in memory."""
        return RowFile(self.folder / "x.npy")

    @cached_property
    def test_rows(self) -> np.ndarray:
        """Row numbers of the test rows, the same for every seed."""
        return self._rows_of(0, TEST)

    def used_rows(self) -> np.ndarray:
        """Return the numbers of the rows that models were fitted to, or chosen by, with any seed."""
        return np.flatnonzero(((self._parts == TRAIN) | (self._parts == VALIDATION)).any(axis=0))

    def split(self, seed: int, share: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Return the row numbers to train on and those to validate on, for one seed.

        With a share of the train rows every class has its part of it, and a smaller share's rows are in a larger one's.
        """
        train = self._rows_of(seed, TRAIN)
        if share < 1:
            train = train[share_of(np.asarray(self.y[train]), share, seed)]
        return train, self._rows_of(seed, VALIDATION)

    def _rows_of(self, seed: int, part: int) -> np.ndarray:
        return self._order[self._parts[seed][self._order] == part]

    @classmethod
    def write(
        cls, folder: str | Path, data: DatasetSpec, rows: Rows, content: Content, parts: np.ndarray
    ) -> "Prepared":
        """Write a folder and open it; an `x` that is mapped from this folder's x.npy is there already.

        The parts are those of `components.data.splitting.split`, uint8 (seeds, rows).
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if not (isinstance(rows.x, np.memmap) and rows.x.filename == (folder / "x.npy").resolve()):
            np.save(folder / "x.npy", np.ascontiguousarray(rows.x))
        y, unit = rows.y.astype(np.int32), units(rows, content, int(np.count_nonzero(parts[0] == VALIDATION)))
        identities = [content.digests[:, 0], *([] if rows.groups is None else [rows.groups.astype(np.uint64)])]
        arrays = {"y": y, "order": content.order, "units": unit, "parts": parts}
        for name, array in {**arrays, "digests": np.stack(identities, axis=1)}.items():
            np.save(folder / f"{name}.npy", array)
        if data.kind == "text":
            (folder / "words.json").write_text(json.dumps(rows.words, ensure_ascii=False), "utf-8")
        counts = np.bincount(y, minlength=len(rows.classes))
        names = {"test": TEST, "validation": VALIDATION, "train": TRAIN}
        schema = Schema(
            kind=data.kind,
            source=data.source,
            shape=tuple(rows.x.shape[1:]),
            classes=rows.classes,
            columns=rows.columns,
            inputs=inputs_of(data.kind, rows.x, np.flatnonzero(parts[0] != TEST), rows.columns, data.vocabulary),
            rows=len(y),
            class_rows={name: int(count) for name, count in zip(rows.classes, counts, strict=True)},
            splits={name: int(np.count_nonzero(parts[0] == part)) for name, part in names.items()},
            fingerprint=_fingerprint(data, rows, content, unit, parts[0] == TEST),
        )
        (folder / "data.json").write_text(json.dumps(asdict(schema), indent=1), "utf-8")
        return cls(folder)


def _fingerprint(data: DatasetSpec, rows: Rows, content: Content, unit: np.ndarray, is_test: np.ndarray) -> str:
    # Not the other parts: they follow from the content, the groups or times, and the seed; and more seeds are the same
    # data.
    about = [data.kind, rows.x.shape[1:], str(rows.x.dtype), rows.classes, [asdict(column) for column in rows.columns]]
    fingerprint = hashlib.sha256(json.dumps(about).encode())
    ruled = [] if rows.groups is None else [unit]
    ruled += [] if rows.times is None else [rows.times]
    for array in (content.digests, rows.y.astype(np.int32), is_test, *ruled):
        fingerprint.update(array[content.order].view(np.uint8).data)
    return fingerprint.hexdigest()
