"""The prepared data: what `load` writes and every later step reads, and the only form of data that those know.

A folder with memory-mapped arrays and one JSON:
    x.npy           (rows, height, width, channels) or (rows, columns), the source's own dtype
    y.npy           (rows,) int32 class numbers
    test.npy        row numbers of the test rows, fixed by the study
    validation.npy  (seeds, rows) row numbers of the validation rows, redrawn for each seed from the rest
    data.json       kind, shape, classes, columns, counts, fingerprint
    report/         what was found out about the data, for people: data.md, data.json, data.png
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from components.study import Kind


@dataclass(frozen=True)
class Schema:
    """What data.json says.

    Attributes:
        kind: image or table.
        source: as the study names it.
        shape: of one row.
        classes: their names, in the order of the class numbers.
        columns: of a table.
        rows: how many there are in all.
        class_rows: how many of each class.
        splits: how many rows are for test, validation and training.
        fingerprint: SHA-256 of the rows, labels, classes and splits.
    """

    kind: Kind
    source: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    rows: int
    class_rows: dict[str, int]
    splits: dict[str, int]
    fingerprint: str


class RowFile:
    """The rows of an .npy file; `rows[numbers]` reads those rows and nothing else.

    A memory map keeps the pages that were read, and they count as the process's memory. Here what is returned is all.
    """

    def __init__(self, file: Path):
        """Read the file's header."""
        self._file = file
        self._map = np.load(file, mmap_mode="r")

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        """Return the rows with these numbers, in their order."""
        taken = np.empty((len(numbers), *self._map.shape[1:]), self._map.dtype)
        size = taken[:1].nbytes
        targets = taken.reshape(len(taken), -1).view(np.uint8) if len(taken) else taken
        with self._file.open("rb", buffering=0) as file:
            for target, number in zip(targets, numbers, strict=True):
                file.seek(self._map.offset + int(number) * size)
                file.readinto(target.data)
        return taken


class Prepared:
    """Prepared data, read from its folder; arrays are memory-mapped and read only where they are used."""

    def __init__(self, folder: str | Path):
        """Open the folder."""
        self.folder = Path(folder)

    @cached_property
    def schema(self) -> Schema:
        """What the data is."""
        values = json.loads((self.folder / "data.json").read_text())
        tuples = {key: tuple(values[key]) for key in ("shape", "classes", "columns")}
        return Schema(**{**values, **tuples})

    @cached_property
    def x(self) -> np.ndarray:
        """All rows."""
        return np.load(self.folder / "x.npy", mmap_mode="r")

    @cached_property
    def y(self) -> np.ndarray:
        """All class numbers."""
        return np.load(self.folder / "y.npy", mmap_mode="r")

    @cached_property
    def test_rows(self) -> np.ndarray:
        """Row numbers of the test rows."""
        return np.load(self.folder / "test.npy")

    @cached_property
    def rows(self) -> "RowFile":
        """All rows, of which only those in use are in memory."""
        return RowFile(self.folder / "x.npy")

    def split(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the row numbers to train on and those to validate on, for one seed."""
        validation = np.load(self.folder / "validation.npy", mmap_mode="r")[seed]
        held_out = np.concatenate([self.test_rows, validation])
        return np.setdiff1d(np.arange(len(self.y)), held_out, assume_unique=True), np.asarray(validation)

    @classmethod
    def write(
        cls,
        folder: str | Path,
        *,
        kind: Kind,
        source: str,
        x: np.ndarray,
        y: np.ndarray,
        classes: tuple[str, ...],
        columns: tuple[str, ...],
        test: np.ndarray,
        validation: np.ndarray,
    ) -> "Prepared":
        """Write a folder and open it; an `x` that is mapped from this folder's x.npy is there already."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        in_place = isinstance(x, np.memmap) and x.filename == (folder / "x.npy").resolve()
        arrays = {
            "x": np.ascontiguousarray(x),
            "y": y.astype(np.int32),
            "test": test.astype(np.int64),
            "validation": validation.astype(np.int64),
        }
        fingerprint = hashlib.sha256(json.dumps([kind, classes, columns]).encode())
        for name, array in arrays.items():
            if name != "x" or not in_place:
                np.save(folder / f"{name}.npy", array)
            # Not the validation rows: they follow from the rest and the seed, and more seeds are the same data.
            if name != "validation":
                fingerprint.update(f"{name}{array.dtype}{array.shape}".encode())
                fingerprint.update(array.reshape(-1).view(np.uint8).data)
        counts = np.bincount(y, minlength=len(classes))
        splits = {"test": len(test), "validation": validation.shape[1]}
        splits["train"] = len(y) - sum(splits.values())
        schema = Schema(
            kind=kind,
            source=source,
            shape=tuple(x.shape[1:]),
            classes=classes,
            columns=columns,
            rows=len(y),
            class_rows={name: int(count) for name, count in zip(classes, counts, strict=True)},
            splits=splits,
            fingerprint=fingerprint.hexdigest(),
        )
        (folder / "data.json").write_text(json.dumps(asdict(schema), indent=1))
        return cls(folder)
