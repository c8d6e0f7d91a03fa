"""The provenance of a version: what its run keeps, so that a later gate or retraining can compare with it.

Under `gate/` of its run there are the digests of the rows that its study used (used.npy, uint64, sorted), the winner's
answers on its test rows (test.npy, float32 (rows, classes)), and the profile of the data, see `components.data.drift`.
"""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.data import drift
from components.data.prepared import Prepared
from components.registry.model_registry import Registry, found_or
from components.runtime.cells import FinishedCell
from components.study.recipe import content_hash

if TYPE_CHECKING:
    from mlflow import MlflowClient

CLASSES_TAG = "assay.classes"  # a hash: names may be many and long
FORM_TAG = "assay.form"  # a hash of how rows are read: digests of another form tell nothing
FOLDER, USED, ANSWERS = "gate", "used.npy", "test.npy"


def keep(registry: Registry, run_id: str, prepared: Prepared, cell: FinishedCell) -> None:
    """Log to a run what is kept of a study's data, and of its winner's cell."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / USED, used(prepared))
        shutil.copy(cell.folder / ANSWERS, folder)
        drift.save(prepared, Path(folder) / drift.PROFILE)
        registry.ask(lambda: registry.api.log_artifacts(run_id, folder, FOLDER))


def kept_files(api: "MlflowClient", run_id: str, folder: str) -> dict[str, Path]:
    """Download what a version's run keeps: files by name, none where the run or they are gone."""
    listed = found_or(lambda: api.list_artifacts(run_id, FOLDER), [])  # pyright: ignore[reportUnknownMemberType]
    return {Path(file.path).name: Path(api.download_artifacts(run_id, file.path, folder)) for file in listed}


def used(prepared: Prepared) -> np.ndarray:
    """Return the digests of the rows that the study was fitted to or tuned on, with any seed, and of their groups.

    All seeds count, though one is registered: its arm was chosen by all of them.
    """
    return np.unique(prepared.digests[prepared.used_rows()])


def hash_of_classes(prepared: Prepared) -> str:
    """Return a hash of what the rows' columns and classes are called."""
    return content_hash([prepared.schema.classes, [column.name for column in prepared.schema.columns]])


def hash_of_form(prepared: Prepared) -> str:
    """Return a hash of how a row is read, on which its digest depends."""
    schema, data = prepared.schema, prepared.study.data
    shape = data.words if schema.kind == "text" else schema.shape
    columns = [(column.name, column.kind) for column in schema.columns]
    return content_hash([schema.kind, str(prepared.x.dtype), shape, columns, data.group])
