"""A folder per class, or train/validation/test folders of such folders: what files are in it, and their rows.

Rows of a validation folder are among those that are drawn from anew for each seed; test rows are those of the test
folder with `data.test: test`.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from components.data.issues import MAX_EXAMPLES, DataIssue, some
from components.data.sources import Rows
from components.errors import AssayError
from components.study.dataset import DatasetSpec

SYSTEM_FILES = ("thumbs.db", "desktop.ini")  # besides what begins with a dot
SPLITS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
UNREADABLE = "unreadable-files"


@dataclass(frozen=True)
class FileKind:
    """The kind of files that a source reads."""

    name: str  # what one is called: image
    form: str  # what one is called where there is none: "PNG or GIF image"
    endings: tuple[str, ...]  # of the files, in lower case; those with others are left out and counted
    mend: str  # what to do with those that can't be read

    def has(self, path: str) -> bool:
        """Tell whether a file is of this kind, by its ending."""
        return path.lower().endswith(self.endings)


class File(NamedTuple):
    """A file in a class folder; `split` is train, validation, test, or "" where the source has no splits."""

    path: str
    label: str
    split: str


@dataclass(frozen=True)
class Listing:
    """The files of a folder."""

    root: Path
    kind: FileKind
    files: list[File]  # in the order of their paths within each class, and of the classes within each split
    classes: tuple[str, ...]  # the names of the class folders, sorted; of a listing that was checked, each has files
    others: Counter[str]  # how many files of other kinds the class folders have, by their ending
    loose: int  # how many files of this kind lie beside the class folders
    unreadable: tuple[str, ...] = ()  # what was left out since it can't be read, and why

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What each file is called: its path from the root."""
        return tuple(shown(os.path.relpath(file.path, self.root)) for file in self.files)


def list_files(root: Path, kind: FileKind) -> Listing:
    """Return the files of a kind in the class folders; hidden ones do not count, links are followed.

    Raises:
        AssayError: for a folder that can't be read, or has no classes that a study could be made of: two or more, each
            with files, also outside of test, and none that differ only in case.
    """
    files: list[File] = []
    classes: set[str] = set()
    others: Counter[str] = Counter()
    loose = 0
    try:
        for split, part in _parts(root).items():
            folders, beside = _entries(part)
            without_class = sum(kind.has(name) for name in beside)
            if not folders:
                hint = f"; its {without_class} {kind.name}s have no class" if without_class else ""
                expected = f"expected a folder per class, with the {kind.name}s in it"
                raise AssayError(f"{shown(part)} has no class folders{hint}; {expected}")
            loose += without_class
            classes.update(folders)
            for label in folders:
                for path in sorted(files_below(part / label)):
                    if kind.has(path):
                        files.append(File(path, label, split))
                    else:
                        others[Path(path).suffix.lower() or "no ending"] += 1
    except OSError as error:
        raise AssayError(f"can't read {shown(error.filename)}: {error.strerror}") from None
    listing = Listing(root, kind, files, tuple(sorted(classes)), others, loose)
    _check_classes(listing)
    return listing


def readable(listing: Listing, broken: Mapping[int, str], data: DatasetSpec) -> Listing:
    """Return the listing without files that can't be read: why, by their position, such as "has no bytes".

    Raises:
        AssayError: with the files, unless `data.allow` goes on without them, or with a class that has no others.
    """
    if not broken:
        return listing
    kept = [file for i, file in enumerate(listing.files) if i not in broken]
    reasons = tuple(f"{listing.names[i]} {reason}" for i, reason in sorted(broken.items()))
    rest = replace(listing, files=kept, unreadable=listing.unreadable + reasons)
    if UNREADABLE not in data.allow:
        raise AssayError(
            f"{shown(listing.root)}: {len(broken)} of {len(listing.files)} {listing.kind.name} files can't be read: "
            f"{_some(reasons)}; {listing.kind.mend}, or go on without them: data.allow: [{UNREADABLE}]"
        )
    lost = sorted(set(listing.classes) - {file.label for file in kept})
    if lost:
        raise AssayError(
            f"{shown(listing.root)}: no {listing.kind.name} of class {shown(lost[0])!r} can be read; mend its files or "
            "remove the folder"
        )
    return rest


def labelled(listing: Listing, x: np.ndarray) -> Rows:
    """Return the rows that were read from the files (files, ...), with classes, splits, names and issues."""
    number = {label: i for i, label in enumerate(listing.classes)}
    splits = np.array([file.split for file in listing.files])
    return Rows(
        x,
        np.array([number[file.label] for file in listing.files], np.int32),
        tuple(shown(label) for label in listing.classes),
        splits={split: np.flatnonzero(splits == split) for split in dict.fromkeys(splits.tolist()) if split},
        names=listing.names,
        issues=tuple(_issues(listing)),
    )


def shown(path: str | Path) -> str:
    """Return a path as text that can be printed; a file's name need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


# What is in the folder


def _parts(root: Path) -> dict[str, Path]:
    """Return the folder of each split that the source has; under "" the root where it has none.

    A folder called `train` is a split if only folders are in it: with files in it, it is a class of trains.
    """
    folders, _ = _entries(root)
    named = [name for name in folders if name.lower() in SPLITS]
    entries = [_entries(root / name) for name in named]
    if not named or any(files and not below for below, files in entries):  # an empty test/ is one whose copy failed
        return {"": root}
    others = sorted(set(folders) - set(named))
    if others:
        raise AssayError(
            f"{shown(root)} has {', '.join(sorted(named))}, which are splits, and {shown(', '.join(others))}, which "
            "is none; expected either train, validation and test folders, or a folder per class"
        )
    parts: dict[str, Path] = {}
    for name in named:
        split = SPLITS[name.lower()]
        if split in parts:
            raise AssayError(f"{shown(root)} has two {split} folders: {parts[split].name} and {name}; keep one")
        parts[split] = root / name
    if "train" not in parts:
        raise AssayError(f"{shown(root)} has {', '.join(named)} and no train folder; expected train, with the classes")
    return {split: parts[split] for split in dict.fromkeys(SPLITS.values()) if split in parts}


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Return the sorted names of the folders and of the files in a folder, without hidden and system files."""
    names = sorted(name for name in os.listdir(folder) if not _is_hidden(name))  # noqa: PTH208 (names, not paths)
    folders = [name for name in names if (folder / name).is_dir() and not _leads_back(folder / name)]
    return folders, [name for name in names if name not in set(folders)]


def _leads_back(folder: Path) -> bool:
    """Tell whether it is a link to a folder that it lies in: as a class it would have the files of all others."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def files_below(folder: Path) -> Iterator[str]:
    """Yield all files below a folder; links are followed, but no folder is entered twice."""

    def stop(error: OSError) -> None:
        raise error

    entered = set()
    for where, folders, names in os.walk(folder, followlinks=True, onerror=stop):
        real = os.path.realpath(where)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        yield from (os.path.join(where, name) for name in names if not _is_hidden(name))  # noqa: PTH118 (a million)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_FILES


# What no study can be made of


def _check_classes(listing: Listing) -> None:
    where, classes, kind = shown(listing.root), listing.classes, listing.kind
    lower = Counter(label.lower() for label in classes)
    same = [label for label in classes if lower[label.lower()] > 1]
    if same:
        raise AssayError(
            f"{where}: the class folders {_some(same, ', ')} differ only in case; join them, or give one another name"
        )
    filled = {file.label for file in listing.files}
    empty = [label for label in classes if label not in filled]
    if empty:  # an error: this is nearly always a copy that failed, and nobody wants to lose a class unseen
        others = _counted(listing.others)
        hint = f" (in all class folders there are {others}, which Assay does not read)" if others else ""
        raise AssayError(
            f"{where}: {len(empty)} of {len(classes)} class folders have no {kind.form}: {_some(empty)}{hint}; "
            f"add {kind.name}s or remove the folder"
        )
    learned = {file.label for file in listing.files if file.split != "test"}
    strange = [label for label in classes if label not in learned]
    if strange:
        raise AssayError(
            f"{where}: only the test folder has class {_some(strange)}, so no model could learn it; add it to train, "
            "or remove it from test"
        )
    if len(classes) == 1:
        raise AssayError(f"{where} has one class folder only, {shown(classes[0])!r}; a study needs two classes or more")


# Issues


def _issues(listing: Listing) -> Iterator[DataIssue]:
    kind, unreadable = {"kind": listing.kind.name}, listing.unreadable
    if unreadable:
        sentence = "{count} of {files} {kind} files can't be read and are left out"
        values = {"files": len(listing.files) + len(unreadable), **kind}
        yield DataIssue(UNREADABLE, "warning", sentence, len(unreadable), values, unreadable[:MAX_EXAMPLES])
    if listing.others:
        sentence, values = "files of other types are left out: {endings}", {"endings": _counted(listing.others)}
        yield DataIssue("other-files", "warning", sentence, listing.others.total(), values)
    if listing.loose:
        sentence = "{kind}s beside the class folders have no class and are left out: {count}"
        yield DataIssue("loose-files", "warning", sentence, listing.loose, kind)


def _counted(endings: Counter[str]) -> str:
    return ", ".join(f"{count} {shown(ending)}" for ending, count in endings.most_common(MAX_EXAMPLES))


def _some(names: Iterable[str], join: str = "; ") -> str:
    return some([shown(name) for name in names], join)
