"""`images:DIR`: the user's own images, in a folder per class, or in train/validation/test folders of such folders.

Two passes over the files: the headers say how many rows, which size and how many channels there are, then each image
is decoded straight into its row of a memory-mapped array. So what is in memory is a few images, not the data set.
"""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from components.data.image_files import Header, decode, header
from components.data.issues import DataIssue, some
from components.data.sources import Rows, reserve
from components.data.sources.files import fetched
from components.data.sources.folders import FileKind, Listing, labelled, list_files, readable, shown
from components.errors import AssayError
from components.study.dataset import DatasetSpec

ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".gif")
IMAGES = FileKind("image", "PNG, JPEG, BMP or GIF image", ENDINGS, "mend or remove them")

MAX_THREADS = 8
BATCH = 1024  # files that wait for a thread at a time


def read(data: DatasetSpec, folder: Path) -> Rows:
    """Return uint8 images (rows, height, width, channels), mapped from x.npy in the folder, in the order of the paths.

    With `data.image_size` the image is resized and its edge pixels repeated, see `components.data.image_files.decode`:
    bars of one color would show a model what shape the file had, and their hard edges are no part of the picture. One
    channel if all images are gray, else three.

    Raises:
        AssayError: for a folder that holds no classes of images, files that can't be read (unless allowed), or images
            of several sizes without `data.image_size`.
    """
    with fetched(data.address, folder) as root:
        if not root.is_dir():
            what = "is a file, and not a folder" if root.exists() else "is not there"
            seen_from = "" if root.is_absolute() else f" (seen from {Path.cwd()})"
            raise AssayError(f"images:{root}: the folder {what}{seen_from}; expected a folder per class in it")
        return _decoded(list_files(root, IMAGES), data, folder / "x.npy")


def _decoded(listing: Listing, data: DatasetSpec, file: Path) -> Rows:
    threads = ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1))
    with threads, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        headers = list(_in_order(threads, header, [path for path, _, _ in listing.files]))
        listing = readable(listing, _reasons(headers), data)
        seen = [image for image in headers if isinstance(image, Header)]
        shape = (*_size(listing.root, seen, data.image_size), 3 if any(image.color for image in seen) else 1)
        x = reserve(file, (len(seen), *shape), np.dtype(np.uint8), "set a smaller data.image_size")

        def fill(row: int) -> str | None:
            pixels = decode(listing.files[row].path, shape)
            if isinstance(pixels, str):
                return pixels
            x[row] = pixels
            return None

        failed = _reasons(_in_order(threads, fill, range(len(seen))))
        x.flush()  # later steps read the file, and not this map
    if failed:
        file.unlink()
        return _decoded(readable(listing, failed, data), data, file)
    rows = labelled(listing, x)
    rows.sizes = np.array([(image.height, image.width) for image in seen], np.int32)
    deep = sum(image.deep for image in seen)
    if deep:
        sentence = "of images with 16 bits a pixel the upper 8 are kept: {count}"
        rows.issues += (DataIssue("deep-images", "note", sentence, deep),)
    return rows


def _reasons(results: Iterable[object]) -> dict[int, str]:
    """Return what is text, by its position: why a file can't be read."""
    return {i: reason for i, reason in enumerate(results) if isinstance(reason, str)}


def _in_order(threads: ThreadPoolExecutor, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    for start in range(0, len(items), BATCH):
        yield from threads.map(function, items[start : start + BATCH])


def _size(root: Path, seen: list[Header], wanted: int | tuple[int, int] | None) -> tuple[int, int]:
    if wanted is not None:
        return (wanted, wanted) if isinstance(wanted, int) else wanted
    sizes = Counter((image.height, image.width) for image in seen)
    (common, _), *others = sizes.most_common()
    if others:
        listed = some([f"{height}x{width} ({count})" for (height, width), count in sizes.most_common()])
        raise AssayError(
            f"{shown(root)}: the images have {len(sizes)} sizes, height x width: {listed}; a model needs one: set "
            f"data.image_size, as in `--set data.image_size=[{common[0]},{common[1]}]`"
        )
    return common
