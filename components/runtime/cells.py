"""The store of finished cells: a folder per cell, named by all that decides its result, and never written twice.

A cell's folder holds
    result.json       recipe, seed, scores, curves and what computed it: `CellResult`
    validation.npy    float32 (rows, classes), probabilities of the validation rows of its seed
    test.npy          float32 (rows, classes), probabilities of the test rows: sealed, `evaluate` opens only the
                      winner's and the reference's
    model/            raw rows in, probabilities out: see `components.serving.saved_model`
    augmentation.png  of the reference's first seed, where it augments images: some of them, and what becomes of them
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np

from components.records import FormError, from_json
from components.runtime.code_version import code_version
from components.runtime.devices import Computed, gpus
from components.study.recipe import Recipe, content_hash

RESULT = "result.json"
PREVIEW = "augmentation.png"
ABANDONED_SECONDS = 7 * 24 * 3600

# The gravest first.
DiagnosisKind = Literal[
    "training diverges",
    "units are dead",
    "units saturate",
    "gradients vanish",
    "gradients explode",
    "updates are too large",
    "updates are too small",
]
DIAGNOSIS_KINDS: tuple[DiagnosisKind, ...] = get_args(DiagnosisKind)


@dataclass(frozen=True)
class Diagnosis:
    """What was wrong in a training, see `components.training.diagnosis`; `reporting.phrases` says it in words."""

    kind: DiagnosisKind
    layer: str | None  # that has it most; None where it is of no layer
    numbers: dict[str, float]  # by name, such as the `share` of the units that are dead; each kind has its own


@dataclass(frozen=True)
class CellResult:
    """What the training of a cell came to."""

    SCHEMA: ClassVar[int] = 1

    recipe: Recipe
    seed: int
    validation: dict[str, float]  # each metric on the validation rows of the seed, with the weights that were kept
    recall: tuple[float, ...]  # of each class on those rows
    curves: dict[str, tuple[float, ...]]  # for each of `components.training.engine.CURVES` a value an epoch
    epochs: int  # that were trained
    epoch: int  # from 0, whose weights were kept
    diverged: int | None  # the epoch, from 0, whose loss was no finite number; None of most cells
    # By layer and quantity a value an epoch, see `components.training.diagnosis`; None where it was no finite number.
    diagnostics: dict[str, dict[str, tuple[float | None, ...]]]
    findings: tuple[Diagnosis, ...]  # the gravest first; mostly none
    seconds: float  # of training; of processor time where it is the processor that computes
    computed: Computed


class FinishedCell:
    """A finished cell, read from its folder."""

    def __init__(self, folder: str | Path):
        """Open the folder.

        Raises:
            FormError: where the result is of another form.
        """
        self.folder = Path(folder)
        self.result = from_json(CellResult, (self.folder / RESULT).read_bytes(), str(self.folder / RESULT))

    @property
    def model(self) -> Path:
        """The saved model's folder."""
        return self.folder / "model"

    @property
    def preview(self) -> Path:
        """The figure of augmented images; most cells have none."""
        return self.folder / PREVIEW

    def probabilities(self, part: str) -> np.ndarray:
        """Return float32 (rows, classes) of the part `validation` or `test`."""
        return np.load(self.folder / f"{part}.npy")


class Store:
    """Finished cells under one folder, for one version of the data and of the code."""

    def __init__(self, folder: str | Path, fingerprint: str):
        self.folder = Path(folder)
        self.fingerprint = fingerprint

    def path(self, key: str) -> Path:
        """Return where the cell with this key is, or would be."""
        return self.folder / content_hash([key, self.fingerprint, code_version(), gpus()])[:24]

    def checkpoint(self, *keys: str) -> Path:
        """Return where the checkpoint of cells that are trained together is, or would be.

        See `components.runtime.checkpoint`.
        """
        return self.folder / f".{self.path(' '.join(keys)).name}.checkpoint"

    def clean(self, *keys: str) -> None:
        """Remove the cells' checkpoint, and of any cell what killed processes left and nobody continues."""
        self.checkpoint(*keys).unlink(missing_ok=True)
        for left in self.folder.glob(".*"):
            with suppress(FileNotFoundError):  # another task removes it, too, or has finished it
                if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()

    def find(self, key: str) -> FinishedCell | None:
        """Return the finished cell, or None; one that another Assay wrote in another form counts as none."""
        with suppress(FormError, FileNotFoundError):
            return FinishedCell(self.path(key))
        return None

    @contextmanager
    def write(self, key: str) -> Iterator[Path]:
        """Give a folder to fill; it appears in the store whole, when the block ends, or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{self.path(key).name}.", dir=self.folder))
        try:
            yield unfinished
            unfinished.chmod(self.folder.stat().st_mode)  # mkdtemp's folder is for its owner alone
            if self.find(key) is None:
                shutil.rmtree(self.path(key), ignore_errors=True)  # of another form
                unfinished.rename(self.path(key))
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def hand_over(cell: FinishedCell, target: Path) -> None:
    """Make the cell's files appear in another folder: hard links where the file system allows, else copies."""
    shutil.rmtree(target, ignore_errors=True)  # of a try that died
    shutil.copytree(cell.folder, target, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
