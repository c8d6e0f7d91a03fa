"""Asks a registered model about a file or a folder, and writes its probabilities as CSV.

Rows are read, asked about and written some at a time, so that neither a long file nor a large folder has to fit into
memory. What is written appears when all rows were read, or not at all.
"""

import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from components.data.sources.files import blocks, fetched
from components.data.sources.folders import FileKind, files_below, shown
from components.data.sources.images import IMAGES
from components.data.sources.text import TEXTS, read_text
from components.errors import AssayError, UsageError
from components.formatting import nearest
from components.registry.model_registry import CHAMPION
from components.serving import saved_model
from components.serving.mlflow_model import NotOurModelError, fetch_model
from components.tracking import client
from pipeline.commands.quiet import native_libraries_silent

if TYPE_CHECKING:
    from mlflow import MlflowClient

VALUES = 1 << 24  # numbers that are encoded at a time: 64 MB
ROWS = 1 << 16  # that are asked about at a time, at most
ARRAY = ".npy"

Block = tuple[Sequence[int] | Sequence[str], Any]  # numbers or files of the rows, and the rows as the model takes them


class Model:
    """A registered model.

    Attributes:
        name: with its version: `digits version 3`.
        served: what answers.
        column: the name of the column of texts or files; None where rows are no such.
        takes_files: whether images may be files: not where the model learned from arrays of other numbers than bytes.
    """

    def __init__(self, wanted: str):
        """Find NAME, NAME@ALIAS or NAME@VERSION and open it; without an alias, the champion.

        Raises:
            AssayError: where there is no such model, alias or version, or it can't be loaded, or is none of Assay's.
        """
        uri = client.tracking_uri()
        client.check_store("models")
        name, _, which = wanted.partition("@")
        version = _version(client.client(), client.without_login(uri), name, which or CHAMPION)

        from mlflow.exceptions import MlflowException

        self.name = f"{name} version {version}"
        try:
            with tempfile.TemporaryDirectory() as folder, native_libraries_silent():
                model = fetch_model(uri, f"models:/{name}/{version}", folder)
                _ = model.served.network  # read before its files are gone; loads TensorFlow where it is one
        except (MlflowException, OSError, ValueError) as error:
            raise AssayError(f"{self.name} can't be loaded: {str(error).splitlines()[0]}") from None
        except NotOurModelError:
            raise AssayError(f"{self.name} was not made by Assay; ask it with mlflow.pyfunc.load_model") from None
        self.served, self.column = model.served, model.column
        self.takes_files = self.served.files or model.input_type == np.uint8

    def predict(self, rows: object) -> pd.DataFrame:
        """Return the probability of each class, a row for each of the rows.

        Args:
            rows: raw, see `components.serving.saved_model.Served`; or the path of a file or folder.

        Raises:
            AssayError: for a row that can't be read.
        """
        if not isinstance(rows, str | Path):
            return probabilities(self.served, rows)
        check(str(rows), None)
        return pd.concat([answers for _, answers in _answers(self, str(rows))])

    def __repr__(self) -> str:
        return f"Model({self.name})"


def _version(api: "MlflowClient", uri: str, name: str, which: str) -> str:
    """Return the number of a version that is called by an alias or by its number, and must be there."""
    from mlflow.exceptions import MlflowException

    try:
        registered = api.get_registered_model(name)
    except MlflowException:
        names = [model.name for model in api.search_registered_models()]
        hint = nearest(name, names)
        raise AssayError(f"no model {name!r} is registered at {uri}; {hint}; `assay run` registers one") from None
    if not which.isdecimal():
        if which in registered.aliases:
            return str(registered.aliases[which])
        known = ", ".join(sorted(registered.aliases)) or "none"
        raise AssayError(f"model {name!r} has no alias {which!r}; its aliases: {known}; {name}@1 is version 1")
    versions = sorted(int(found.version) for found in api.search_model_versions(f"name = '{name}'"))
    if int(which) not in versions:
        known = ", ".join(map(str, versions)) or "none"
        raise AssayError(f"model {name!r} has no version {which}; its versions: {known}")
    return str(int(which))


def probabilities(served: saved_model.Served, rows: object) -> pd.DataFrame:
    """Return the probability of each class, a row for each of the raw rows.

    Raises:
        AssayError: for a row that can't be read.
    """
    try:
        return pd.DataFrame(served(rows), columns=list(served.classes), index=getattr(rows, "index", None))
    except ValueError as error:
        raise AssayError(str(error)) from None


def check(source: str, output: Path | None) -> None:
    """Check what can be checked before a model is loaded, which takes seconds.

    Raises:
        UsageError: where there is nothing to read, or what is to be written is no CSV file in a folder that is there.
    """
    if "://" not in source and not Path(source).expanduser().exists():
        raise UsageError(f"{source} is not there (seen from {Path.cwd()}); expected a file or a folder")
    if output and output.suffix.lower() != ".csv":
        raise UsageError(f"-o {output}: expected the name of a .csv file")
    if output and not output.parent.is_dir():
        raise UsageError(f"can't write {output}: there is no folder {output.parent}")


def write(model: Model, source: str, output: Path | None) -> int:
    """Write a line for each row: its number or file, the class that is most probable, each class's probability.

    The source is a file or folder, on this machine or at an address such as gs://bucket/rows.csv, and the output a CSV
    file, or None for the screen. Return how many rows there were.

    Raises:
        AssayError: for a row that can't be read; nothing is written then.
    """
    classes, rows = model.served.classes, 0
    with _whole(output) as file:
        for names, answers in _answers(model, source):
            kind = "file" if isinstance(names[0], str) else "row"
            added = {_free(kind, classes): names, _free("prediction", classes): answers.idxmax(axis=1).to_numpy()}
            frame = pd.concat([pd.DataFrame(added), answers.reset_index(drop=True)], axis=1)
            frame.to_csv(file, index=False, header=not rows, lineterminator="\n")
            rows += len(names)
    return rows


def _answers(model: Model, source: str) -> Iterator[tuple[Sequence[int] | Sequence[str], pd.DataFrame]]:
    """Yield the names of rows, and the probability of each class, some rows at a time."""
    with tempfile.TemporaryDirectory(prefix="assay-") as scratch, fetched(source, Path(scratch)) as path:
        for names, raw in _blocks(model, path):
            try:
                found = model.served(raw)
            except saved_model.RowError as error:
                name = names[error.row]
                file = path / name if isinstance(name, str) and path.is_dir() else path
                row = f", row {name}" if isinstance(name, int) else ""
                raise AssayError(f"{shown(file)}{row}{error.reason}") from None
            except ValueError as error:
                raise AssayError(f"{shown(path)}: {error}") from None
            yield names, pd.DataFrame(found, columns=list(model.served.classes), index=pd.Index(names))


def _free(name: str, classes: Sequence[str]) -> str:
    """Return the name of a column that no class has."""
    return _free(f"{name}_", classes) if name in classes else name


# What is asked about


def _blocks(model: Model, path: Path) -> Iterator[Block]:
    """Yield the rows of a file or folder, some at a time."""
    served = model.served
    size = min(max(VALUES // math.prod(served.encoder.inputs.shape), 1), ROWS)
    if served.kind == "image":
        yield from _array(path, size) if path.suffix.lower() == ARRAY else _images(model, path, size)
    elif served.kind == "text" and (path.is_dir() or TEXTS.has(path.name)):
        for names, files in _files(path, TEXTS, size):
            yield names, [_text(file) for file in files]
    else:
        columns = [column.name for column in served.columns] or [model.column or "text"]
        first = 1
        for block in blocks(path, columns):
            for start in range(0, len(block), size):
                part = block.slice(start, size)
                texts = part.column(0).to_pylist() if served.kind == "text" else []
                rows = part if served.kind == "table" else [None if text is None else str(text) for text in texts]
                yield range(first, first + len(part)), rows
                first += len(part)


def _text(file: str) -> str:
    try:
        return read_text(file)
    except ValueError as error:
        raise AssayError(f"{shown(file)} {error}") from None


def _images(model: Model, path: Path, size: int) -> Iterator[Block]:
    if not model.takes_files:
        shape = ", ".join(map(str, model.served.encoder.inputs.shape))
        raise AssayError(
            f"{model.name} was trained on arrays; expected a {ARRAY} file (rows, {shape}), got {shown(path)}"
        )
    return _files(path, IMAGES, size)


def _files(path: Path, kind: FileKind, size: int) -> Iterator[tuple[Sequence[str], list[str]]]:
    """Yield names and paths of the files of a kind below a folder, sorted; or of the one file."""
    root = path if path.is_dir() else path.parent
    try:
        files = sorted(file for file in files_below(path) if kind.has(file)) if path.is_dir() else [str(path)]
    except OSError as error:
        raise AssayError(f"can't read {shown(error.filename)}: {error.strerror}") from None
    if not files:
        raise AssayError(f"{shown(path)} has no {kind.form} in it")
    for start in range(0, len(files), size):
        part = files[start : start + size]
        yield [shown(os.path.relpath(file, root)) for file in part], part


def _array(path: Path, size: int) -> Iterator[Block]:
    try:
        x = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise AssayError(f"{shown(path)} can't be read as an array: {str(error).splitlines()[0]}") from None
    if not np.issubdtype(x.dtype, np.number) or x.ndim == 0 or len(x) == 0:
        raise AssayError(f"{shown(path)} is an array of {x.dtype}, {x.shape}; expected rows of numbers")
    for start in range(0, len(x), size):
        part = np.array(x[start : start + size])
        yield range(start + 1, start + len(part) + 1), part


# What is written


@contextmanager
def _whole(output: Path | None) -> Iterator[IO[str]]:
    """Give a file to write to; it becomes the output, or is printed, when the block ends, and vanishes if it fails."""
    if output is None:
        with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as file:
            yield file
            file.seek(0)
            try:
                shutil.copyfileobj(file, sys.stdout)
                sys.stdout.flush()
            except BrokenPipeError:  # the reader has seen enough, as `head` does
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    unfinished = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            yield file
        unfinished.replace(output)
    except OSError as error:
        raise UsageError(f"can't write {output}: {error.strerror}") from None
    finally:
        unfinished.unlink(missing_ok=True)
