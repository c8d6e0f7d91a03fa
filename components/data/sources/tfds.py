"""`tfds:NAME[/CONFIG][:VERSION]`: a data set of tensorflow-datasets, read where it is prepared, else prepared first.

It is prepared from files that the user placed in the download folder, or from those that tensorflow-datasets
downloads. Placed files need neither a network nor the long names that tensorflow-datasets gives its downloads.
"""

import contextlib
import gzip
import logging
import math
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
import requests
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums, downloader, resource

from components.data.issues import DataIssue, first_line
from components.data.raw_values import Column, as_words
from components.data.sources import Rows, reserve
from components.errors import AssayError
from components.runtime.events import Step
from components.study.dataset import DatasetSpec
from components.study.recipe import Kind

RANKS: dict[Kind, int] = {"image": 3, "table": 1, "text": 0}  # dimensions of one row

BATCH_BYTES = 1 << 25  # rows that are read at a time
UNKNOWN_SIDE = 1024  # pixels, to choose the rows of a batch where the data set does not say how large its images are
MAX_SECONDS = 5.0  # seconds that a server has to answer
RETRIES = 3  # a second in all; the 10 of tensorflow-datasets are 200 s
MAX_REPACKED = 0.1  # by how much of its size another packer may change a file
MAX_LISTED = 10  # files that a message names


def read(data: DatasetSpec, folder: Path) -> Rows:
    """Return all labelled splits, joined, with each split's row numbers; `x` is mapped from x.npy in the folder.

    Images are (rows, height, width, channels), tables (rows, columns), in the data set's own dtype, and text is its
    words. A data set that is not prepared is prepared first, once for all studies, where TFDS_DATA_DIR says or in
    ~/tensorflow_datasets.

    Raises:
        AssayError: for a data set that is unknown, without labels, of another kind than `data.kind`, with rows that
            differ in size, or that can't be prepared or read.
    """
    name = data.address
    logging.getLogger("absl").setLevel(logging.ERROR)  # the warnings of tensorflow-datasets are for its own developers
    builder = _builder(name)
    features, label = _supervised(name, builder, data.kind)
    issues: tuple[DataIssue, ...] = ()
    if not builder.is_prepared():
        issues = _prepare(name, builder)
        builder = _builder(name)
    try:
        rows = _rows(data, builder, features, label, folder / "x.npy")
    except tf.errors.InvalidArgumentError:  # of `batch`
        raise _differ_in_size(name) from None
    except tf.errors.OpError as error:
        raise AssayError(
            f"tfds:{name}: {builder.data_dir} can't be read ({first_line(error)}); copy it again, or remove it to "
            "have it prepared anew"
        ) from None
    rows.issues = issues + rows.issues
    return rows


def texts(builder: tfds.core.DatasetBuilder, split: str, feature: str) -> list[str]:
    """Return a split's texts, in the order in which its labels are read; bytes that are no UTF-8 become U+FFFD."""
    return [text.decode("utf-8", "replace") for batch in _batches(builder, split, 1024, feature) for text in batch]


# What the data set is


def _builder(name: str) -> tfds.core.DatasetBuilder:
    try:
        return tfds.builder(name)
    except tfds.core.DatasetNotFoundError:
        raise AssayError(f"tensorflow-datasets knows no data set {name!r}; `tfds list` shows what there is") from None
    except (ValueError, AssertionError) as error:
        raise AssayError(f"tfds:{name} is not possible: {first_line(error)}") from None
    except ImportError as error:
        raise AssayError(f"tfds:{name} needs a Python package that is not there: {first_line(error)}") from None


def _supervised(name: str, builder: tfds.core.DatasetBuilder, kind: Kind) -> tuple[str, str]:
    """Return the names of what is learned from, which is of this kind, and of the class label."""
    keys = builder.info.supervised_keys
    label = keys and isinstance(keys[1], str) and builder.info.features[keys[1]]
    if not isinstance(label, tfds.features.ClassLabel):
        raise AssayError(f"tfds:{name} says of no feature that it is the class label; choose a classification data set")
    if not isinstance(keys[0], str) or isinstance(builder.info.features[keys[0]], tfds.features.FeaturesDict):
        raise AssayError(f"tfds:{name} has several features as its input; expected one image, or one vector of numbers")
    feature = builder.info.features[keys[0]]
    numbers = np.dtype(feature.np_dtype).kind in "iuf"
    fits = next((k for k, rank in RANKS.items() if numbers != (k == "text") and rank == len(feature.shape)), None)
    if fits != kind:
        mend = f"add `kind: {fits}` to `data`" if fits else "images, tables of numbers and texts are supported"
        what = f"{np.dtype(feature.np_dtype)} rows" if numbers else "rows that are no numbers,"
        raise AssayError(f"tfds:{name} has {what} of shape {feature.shape}, which is no {kind}; {mend}")
    return keys[0], keys[1]


# Its rows


def _rows(data: DatasetSpec, builder: tfds.core.DatasetBuilder, features: str, label: str, file: Path) -> Rows:
    none = np.empty(0, np.int64)
    labels = {s: np.concatenate([none, *_batches(builder, s, 1024, label)]) for s in builder.info.splits}
    # In a test split of a competition, say, all are -1.
    unlabelled = [split for split, of_split in labels.items() if (of_split < 0).all()]
    issues: tuple[DataIssue, ...] = ()
    if unlabelled:
        sentence, values = "splits without labels are left out: {splits}", {"splits": ", ".join(unlabelled)}
        issues = (DataIssue("unlabelled-splits", "note", sentence, len(unlabelled), values),)
    labelled = {split: of_split for split, of_split in labels.items() if split not in unlabelled}
    if not labelled:
        raise AssayError(f"tfds:{data.address} has no labelled rows; choose another data set")
    y = np.concatenate(list(labelled.values()))
    starts = np.cumsum([len(of_split) for of_split in labelled.values()])[:-1]
    splits = dict(zip(labelled, np.split(np.arange(len(y)), starts), strict=True))
    words: tuple[str, ...] = ()
    if data.kind == "text":
        words, x, _ = as_words((text for split in labelled for text in texts(builder, split, features)), data.words)
    else:
        x = _array(data.address, builder, features, splits, len(y), file)
    columns = tuple(Column(f"{features}_{i}") for i in range(x.shape[1])) if data.kind == "table" else ()
    return Rows(x, y, tuple(builder.info.features[label].names), columns, words, splits, issues=issues)


def _array(
    name: str, builder: tfds.core.DatasetBuilder, features: str, splits: Iterable[str], count: int, file: Path
) -> np.ndarray:
    """Return the rows, of which a batch is in memory."""
    feature = builder.info.features[features]
    bytes_of_row = math.prod(side or UNKNOWN_SIDE for side in feature.shape) * np.dtype(feature.np_dtype).itemsize
    batches = (_batches(builder, split, 1 + BATCH_BYTES // bytes_of_row, features) for split in splits)
    x, start = None, 0
    for rows in chain.from_iterable(batches):
        if x is None:
            x = reserve(file, (count, *rows.shape[1:]), rows.dtype)
        if rows.shape[1:] != x.shape[1:]:
            raise _differ_in_size(name)
        x[start : start + len(rows)] = rows
        start += len(rows)
    assert x is not None
    x.flush()  # later steps read the file, and not this map
    return x


def _batches(builder: tfds.core.DatasetBuilder, split: str, size: int, feature: str) -> Iterator[np.ndarray]:
    """Yield a feature of a split, always in the same order; no other feature is decoded."""
    wanted = tfds.decode.PartialDecoding({feature: True})
    once = tfds.ReadConfig(try_autocache=False)  # else all rows of a data set below 250 MB are kept in memory
    # Not `as_dataset(batch_size=...)`, which would fill up smaller images with zeros, silently.
    for batch in tfds.as_numpy(builder.as_dataset(split=split, decoders=wanted, read_config=once).batch(size)):
        yield batch[feature]


def _differ_in_size(name: str) -> AssayError:
    return AssayError(
        f"tfds:{name}: its images differ in size; Assay needs one size: write them to folders, `images:DIR`"
    )


# Preparing it


class _File(NamedTuple):
    """A file that a data set is made of."""

    url: str  # where it is downloaded from
    info: checksums.UrlInfo  # its size and SHA-256
    plain: str  # its name on the server, or the long one where it has none or two have the same
    long: str  # what tensorflow-datasets calls it, with the SHA-256 in it


def _prepare(name: str, builder: tfds.core.DatasetBuilder) -> tuple[DataIssue, ...]:
    """Prepare it, from placed files as far as there are any; what fails leaves nothing that looks prepared."""
    root = Path(builder.data_dir_root).expanduser()
    downloads = root / "downloads"
    folder = downloads / builder.name
    elsewhere = (
        f"Or run `tfds build {name}` on another machine, and copy its ~/tensorflow_datasets/{builder.name} "
        f"to {root}, or to the folder that TFDS_DATA_DIR names."
    )
    by_hand = " ".join((builder.MANUAL_DOWNLOAD_INSTRUCTIONS or "").split())
    _check_possible(name, builder, downloads / "manual", by_hand, elsewhere)
    files = _files(builder)
    placed = [(file, path) for file in files if (path := _placed(folder, file))]
    missing = [file for file in files if not _placed(folder, file)]
    listed = [f"  {file.plain} ({file.info.size}) from {file.url}\n" for file in missing[:MAX_LISTED]]
    listed += [f"  and {len(missing) - MAX_LISTED} more\n"] * (len(missing) > MAX_LISTED)
    mend = (f" Place these in {folder} and run this again:\n{''.join(listed)}" if missing else "\n") + elsewhere
    if missing and not _answers([file.url for file in missing]):
        raise AssayError(
            f"tfds:{name} is not prepared on this machine (looked in {builder.data_dir}), and no server of its files "
            f"answers.{mend}"
        )
    source = f"downloaded to {folder}" if missing else f"made from the files in {folder}" if placed else "made"
    Step("load").emit("warning", message=f"tfds:{name} is {source}, once; this may take minutes")
    issues: tuple[DataIssue, ...] = ()
    try:
        issues = _adopt(builder.name, placed)
        _build(builder, downloads)
    except AssayError:
        raise
    except Exception as error:  # a data set's code is anyone's
        if not _builder(name).is_prepared():  # by another study, meanwhile
            hint = f" What must be downloaded by hand: {by_hand}" if by_hand else ""
            hint += "".join(f" Look at the {issue.text} ({', '.join(issue.examples)})." for issue in issues)
            what = f"{type(error).__name__}: {first_line(error)}"
            raise AssayError(f"tfds:{name} could not be prepared ({what}).{hint}{mend}") from error
    return issues


def _check_possible(name: str, builder: tfds.core.DatasetBuilder, manual: Path, by_hand: str, elsewhere: str) -> None:
    """Refuse a folder that is there and not complete, and files that only a person may download."""
    if Path(builder.data_dir).exists():  # tensorflow-datasets would take it as it is
        raise AssayError(
            f"tfds:{name}: {builder.data_dir} is not complete, it has no dataset_info.json; copy it again, or remove it"
        )
    if by_hand and not any(manual.glob("*")):
        raise AssayError(
            f"tfds:{name} must be downloaded by hand, to the folder {manual} (manual_dir), where nothing "
            f"is: {by_hand}\n{elsewhere}"
        )


def _build(builder: tfds.core.DatasetBuilder, downloads: Path) -> None:
    tfds.disable_progress_bar()
    downloader.MAX_RETRIES = RETRIES
    downloads.mkdir(parents=True, exist_ok=True)
    # A folder of its own: what was once unpacked from a wrong file would be taken again.
    with (
        tempfile.TemporaryDirectory(prefix="unpacked-", dir=downloads) as unpacked,
        contextlib.redirect_stdout(sys.stderr),  # where tensorflow-datasets prints what it begins and ends
    ):
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(extract_dir=unpacked))


def _files(builder: tfds.core.DatasetBuilder) -> list[_File]:
    """Return what the data set is made of, as far as tensorflow-datasets has written it down."""
    infos: dict[str, checksums.UrlInfo] = builder.url_infos or {}
    plain = {url: info.filename or PurePosixPath(urlsplit(url).path).name for url, info in infos.items()}
    times = Counter(plain.values())
    files = []
    for url, info in infos.items():
        name, long = plain[url], resource.get_dl_fname(url, info.checksum)
        files.append(_File(url, info, name if name and times[name] == 1 else long, long))
    return files


def _placed(folder: Path, file: _File) -> Path | None:
    # The plain name first: who copies a file again, after a wrong one, copies it to that.
    return next((folder / name for name in (file.plain, file.long) if (folder / name).is_file()), None)


def _adopt(dataset: str, placed: list[tuple[_File, Path]]) -> tuple[DataIssue, ...]:
    """Check all placed files, and then make of them what tensorflow-datasets takes for its own downloads."""
    repacked = tuple(file.plain for file, path in placed if _is_repacked(path, file.info))
    for file, path in placed:
        known = path.rename(path.with_name(file.long))
        if not resource.is_locally_cached(known):  # whose checksum tensorflow-datasets does not look at again
            resource.write_info_file(file.url, known, dataset, file.info.filename or file.plain, file.info)
    if not repacked:
        return ()
    sentence = "placed files with another checksum than the original's, but whole: {count} of {files}"
    return (DataIssue("repacked-files", "note", sentence, len(repacked), {"files": len(placed)}, repacked),)


def _is_repacked(path: Path, expected: checksums.UrlInfo) -> bool:
    """Tell whether it is a whole gzip file of about the right size, and not byte for byte the expected one."""
    actual = checksums.compute_url_info(path)
    if actual == expected:
        return False
    if path.suffix not in (".gz", ".tgz") or abs(actual.size - expected.size) > MAX_REPACKED * expected.size:
        raise AssayError(
            f"{path} is not the file that tensorflow-datasets knows: expected {int(expected.size)} bytes with SHA-256 "
            f"{expected.checksum}, got {int(actual.size)} bytes with {actual.checksum}; copy it again"
        )
    try:
        with gzip.open(path) as stream:  # which compares the content with the checksum at its end
            while stream.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise AssayError(f"{path} is broken or was cut off ({first_line(error)}); copy it again") from None
    return True


def _answers(urls: list[str]) -> bool:
    """Tell, within `MAX_SECONDS` seconds, whether the server of any of these URLs answers."""
    answered = threading.Event()

    def ask(url: str) -> None:
        try:
            with requests.get(url, stream=True, timeout=MAX_SECONDS) as response:
                if response.status_code < 500:  # 502 and more is what a proxy says that reaches nothing
                    answered.set()
        except requests.exceptions.InvalidSchema:  # file: and ftp:, which tensorflow-datasets tries once
            answered.set()
        except requests.RequestException:
            pass

    one_a_server = {urlsplit(url).netloc: url for url in urls}.values()
    # Threads, since no timeout covers the look-up of a name.
    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in list(one_a_server)[:MAX_LISTED]]
    for thread in threads:
        thread.start()
    end = time.monotonic() + MAX_SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return answered.is_set()
