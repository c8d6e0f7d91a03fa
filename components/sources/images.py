"""`images:DIR`: the user's own images, in a folder per class, or in train/validation/test folders of such folders.

Rows of a validation folder are among those that are drawn from anew for each seed; test rows are those of the test
folder with `data.test: test`.

Two passes over the files: the headers say how many rows, which size and how many channels there are, then each image
is decoded straight into its row of a memory-mapped array. So what is in memory is a few images, not the data set.
"""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from components.data import Data
from components.errors import AssayError
from components.pixels import Header, decode, header
from components.sources import Finding, Rows, reserve

ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".gif")
SYSTEM_FILES = ("thumbs.db", "desktop.ini")  # besides what begins with a dot
SPLITS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
UNREADABLE = "unreadable-files"

MAX_THREADS = 8
BATCH = 1024  # files that wait for a thread at a time
EXAMPLES = 5


@dataclass
class _Listing:
    """The files of a folder: (path, class name, split name) each, and what else is there."""

    files: list[tuple[str, str, str]]
    classes: tuple[str, ...]
    unread: Counter[str]
    loose: int


def read(name: str, data: Data, folder: Path) -> Rows:
    """Return uint8 images (rows, height, width, channels), mapped from x.npy in the folder, in the order of the paths.

    With `data.image_size` the image is resized with its aspect kept and centred, and its edge pixels are repeated
    where it does not fill the frame: bars of one color would show a model what shape the file had, and their hard
    edges are no part of the picture. One channel if all images are grey, else three. Transparency becomes white, of a
    GIF the first frame counts, and of 16 bits a pixel the upper 8 are kept.

    Raises:
        AssayError: for a folder that holds no classes of images, files that can't be read (unless allowed), or images
            of several sizes without `data.image_size`.
    """
    root = Path(name).expanduser()
    try:
        listing = _listing(root)
    except OSError as error:
        raise AssayError(f"images:{name}: can't read {error.filename}: {error.strerror}") from None
    threads = ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1))
    with threads, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        headers = list(_in_order(threads, header, [path for path, _, _ in listing.files]))
        broken = {i: reason for i, reason in enumerate(headers) if isinstance(reason, str)}
        _refuse_broken(root, listing, broken, data)
        good = [i for i in range(len(headers)) if i not in broken]
        seen = [one for one in headers if isinstance(one, Header)]
        size = _size(name, seen, data.image_size)
        channels = 3 if any(one.color for one in seen) else 1
        x = reserve(folder / "x.npy", (len(good), *size, channels), np.dtype(np.uint8), "set a smaller data.image_size")

        def fill(job: tuple[int, str]) -> str | None:
            row, path = job
            pixels = decode(path, (*size, channels))
            if isinstance(pixels, str):
                return pixels
            x[row] = pixels
            return None

        jobs = [(row, listing.files[i][0]) for row, i in enumerate(good)]
        failed = {row: reason for row, reason in enumerate(_in_order(threads, fill, jobs)) if reason}
        x.flush()  # later steps read the file, and not this map
    broken |= {good[row]: reason for row, reason in failed.items()}
    try:
        _refuse_broken(root, listing, broken, data)
    except AssayError:
        (folder / "x.npy").unlink()
        raise
    if failed:
        kept = np.setdiff1d(np.arange(len(good)), list(failed))
        x, good, seen = _only(x, kept), [good[k] for k in kept], [seen[k] for k in kept]
    return _rows(root, listing, x, good, seen, _findings(root, listing, seen, broken))


def _rows(
    root: Path, listing: _Listing, x: np.ndarray, good: list[int], seen: list[Header], findings: tuple[Finding, ...]
) -> Rows:
    number = {name: i for i, name in enumerate(listing.classes)}
    kept = [listing.files[i] for i in good]
    y = np.array([number[label] for _, label, _ in kept], np.int32)
    splits = {
        split: np.array([row for row, (_, _, of) in enumerate(kept) if of == split], np.int64)
        for split in dict.fromkeys(of for _, _, of in kept if of)
    }
    return Rows(
        x,
        y,
        tuple(_shown(label) for label in listing.classes),
        splits=splits,
        names=tuple(_shown(os.path.relpath(path, root)) for path, _, _ in kept),
        sizes=np.array([(one.height, one.width) for one in seen], np.int32),
        findings=findings,
    )


# What is in the folder


def _listing(root: Path) -> _Listing:
    """Return the images of the folder.

    Raises:
        AssayError: where there are no classes of images.
        OSError: for a folder that can't be read.
    """
    if not root.is_dir():
        what = "is a file, and not a folder" if root.exists() else "is not there"
        seen_from = "" if root.is_absolute() else f" (seen from {Path.cwd()})"
        raise AssayError(f"images:{root}: the folder {what}{seen_from}; expected a folder per class in it")
    parts = _parts(root)
    found = _Listing([], (), Counter(), 0)
    classes: dict[str, int] = {}
    for split, part in parts.items():
        folders, loose = _entries(part)
        found.loose += sum(_is_image(name) for name in loose)
        if not folders:
            hint = f"; its {found.loose} images have no class" if found.loose else ""
            raise AssayError(
                f"{_shown(part)} has no class folders{hint}; expected a folder per class, with the images in it"
            )
        for label in folders:
            files = sorted(_files(part / label))
            images = [path for path in files if _is_image(path)]
            found.unread.update(Path(path).suffix.lower() or "no ending" for path in files if not _is_image(path))
            classes[label] = classes.get(label, 0) + len(images)
            found.files += [(path, label, split) for path in images]
    found.classes = tuple(sorted(classes))
    _check_classes(root, found, classes)
    return found


def _parts(root: Path) -> dict[str, Path]:
    """Return the folder of each split that the source has; under "" the root where it has none.

    A folder called `train` is a split if only folders are in it: with images in it, it is a class of trains.

    Raises:
        AssayError: for folders beside the splits, a split that is there twice, or test/ alone.
    """
    folders, _ = _entries(root)
    named = [name for name in folders if name.lower() in SPLITS]
    if not named or not all(_is_split(root / name) for name in named):
        return {"": root}
    others = sorted(set(folders) - set(named))
    if others:
        raise AssayError(
            f"{_shown(root)} has {', '.join(sorted(named))}, which are splits, and {_shown(', '.join(others))}, which "
            "is none; expected either train, validation and test folders, or a folder per class"
        )
    parts: dict[str, Path] = {}
    for name in named:
        split = SPLITS[name.lower()]
        if split in parts:
            raise AssayError(f"{_shown(root)} has two {split} folders: {parts[split].name} and {name}; keep one")
        parts[split] = root / name
    if "train" not in parts:
        raise AssayError(f"{_shown(root)} has {', '.join(named)} and no train folder; expected train, with the classes")
    return {split: parts[split] for split in dict.fromkeys(SPLITS.values()) if split in parts}


def _check_classes(root: Path, found: _Listing, classes: dict[str, int]) -> None:
    lower = Counter(label.lower() for label in classes)
    same = [_shown(label) for label in found.classes if lower[label.lower()] > 1]
    if same:
        raise AssayError(
            f"{_shown(root)}: the class folders {', '.join(same[:EXAMPLES])} differ only in case; "
            "join them, or give one another name"
        )
    unread = _counted(found.unread)
    empty = [_shown(label) for label in found.classes if classes[label] == 0]
    if empty:  # an error: this is nearly always a copy that failed, and nobody wants to lose a class unseen
        hint = f" (in all class folders there are {unread}, which Assay does not read)" if unread else ""
        raise AssayError(
            f"{_shown(root)}: {len(empty)} of {len(classes)} class folders have no PNG, JPEG, BMP or GIF image: "
            f"{_some(empty)}{hint}; add images or remove the folder"
        )
    known = {label for _, label, split in found.files if split != "test"}
    strange = [_shown(label) for label in found.classes if label not in known]
    if strange:
        raise AssayError(
            f"{_shown(root)}: only the test folder has class {_some(strange)}, so no model could learn it; "
            "add it to train, or remove it from test"
        )
    if len(classes) == 1:
        raise AssayError(
            f"{_shown(root)} has one class folder only, {_shown(found.classes[0])!r}; a study needs two classes or more"
        )


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Return the sorted names of the folders and of the files in a folder, without hidden and system files."""
    names = sorted(name for name in os.listdir(folder) if not _is_hidden(name))  # noqa: PTH208 (names, not paths)
    folders = [name for name in names if (folder / name).is_dir() and not _leads_back(folder / name)]
    return folders, [name for name in names if name not in set(folders)]


def _leads_back(folder: Path) -> bool:
    """Tell whether it is a link to a folder that it lies in: as a class it would have the images of all others."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _files(folder: Path) -> Iterator[str]:
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


def _is_split(folder: Path) -> bool:
    """Tell whether there are folders in it, or nothing at all: an empty test/ is a split whose copy failed."""
    folders, files = _entries(folder)
    return bool(folders) or not files


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def _is_image(name: str) -> bool:
    return name.lower().endswith(ENDINGS)


# All images


def _in_order(threads: ThreadPoolExecutor, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    for start in range(0, len(items), BATCH):
        yield from threads.map(function, items[start : start + BATCH])


def _size(name: str, seen: list[Header], wanted: int | tuple[int, int] | None) -> tuple[int, int]:
    if wanted is not None:
        return (wanted, wanted) if isinstance(wanted, int) else wanted
    sizes = Counter((one.height, one.width) for one in seen)
    (common, _), *others = sizes.most_common()
    if others:
        listed = [f"{height}x{width} ({count})" for (height, width), count in sizes.most_common(EXAMPLES)]
        more = f" and {len(sizes) - EXAMPLES} more" if len(sizes) > EXAMPLES else ""
        raise AssayError(
            f"images:{name}: the images have {len(sizes)} sizes, height x width: {', '.join(listed)}{more}; a model "
            f"needs one: set data.image_size, as in `--set data.image_size=[{common[0]},{common[1]}]`"
        )
    return common


def _only(x: np.memmap, kept: np.ndarray) -> np.memmap:
    """Return the array with only these rows, in the same file, copied by way of a second one."""
    file = Path(str(x.filename))
    smaller = np.lib.format.open_memmap(
        file.with_suffix(".tmp"), mode="w+", dtype=x.dtype, shape=(len(kept), *x.shape[1:])
    )
    for start in range(0, len(kept), BATCH):
        smaller[start : start + BATCH] = x[kept[start : start + BATCH]]
    smaller.flush()
    file.with_suffix(".tmp").replace(file)
    return np.lib.format.open_memmap(file, mode="r+")


def _refuse_broken(root: Path, listing: _Listing, broken: dict[int, str], data: Data) -> None:
    """Refuse files that can't be read, unless the study allows them and every class has others.

    Raises:
        AssayError: with the files, or the class.
    """
    if not broken:
        return
    if UNREADABLE in data.allow:
        left = {label for i, (_, label, _) in enumerate(listing.files) if i not in broken}
        lost = next((label for label in listing.classes if label not in left), None)
        if lost is None:
            return
        raise AssayError(f"no image of class {_shown(lost)!r} can be read; mend its files or remove the folder")
    raise AssayError(
        f"{len(broken)} of {len(listing.files)} image files can't be read: {_some(_told(root, listing, broken))}; "
        f"mend or remove them, or go on without them: data.allow: [{UNREADABLE}]"
    )


def _told(root: Path, listing: _Listing, broken: dict[int, str]) -> list[str]:
    return [f"{_shown(listing.files[i][0])} {reason}" for i, reason in sorted(broken.items())]


def _findings(root: Path, listing: _Listing, seen: list[Header], broken: dict[int, str]) -> tuple[Finding, ...]:
    found = []
    if broken:
        text = f"{len(broken)} of {len(listing.files)} image files can't be read and are left out"
        found.append(Finding(UNREADABLE, "warning", text, tuple(_told(root, listing, broken)[:EXAMPLES])))
    if listing.unread:
        text = f"files of other types are left out: {_counted(listing.unread)}"
        found.append(Finding("other-files", "warning", text))
    if listing.loose:
        text = f"images beside the class folders have no class and are left out: {listing.loose}"
        found.append(Finding("loose-files", "warning", text))
    deep = sum(one.deep for one in seen)
    if deep:
        found.append(Finding("deep-images", "note", f"of images with 16 bits a pixel the upper 8 are kept: {deep}"))
    return tuple(found)


def _counted(endings: Counter[str]) -> str:
    return ", ".join(f"{count} {_shown(ending)}" for ending, count in endings.most_common(EXAMPLES))


def _some(texts: list[str]) -> str:
    more = f", and {len(texts) - EXAMPLES} more" if len(texts) > EXAMPLES else ""
    return "; ".join(texts[:EXAMPLES]) + more


def _shown(path: str | Path) -> str:
    """Return a path as text that can be printed; a file's name need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")
