"""The challenger: a study's winner, what its version in the registry says of it, and what is kept for comparisons.

A later gate or retraining compares with a version by what stands under `gate/` of its run: the digests of the rows that
its study used (used.npy, uint64, sorted), the winner's answers on its test rows (test.npy, float32 (rows, classes)),
and the profile of the data, see `components.data.drift`.
"""

import hashlib
import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from components.data import drift
from components.data.prepared import Prepared
from components.registry.model_registry import CELL_TAG, METRIC_TAG, SCORE_TAG, Registry
from components.runtime.cells import FinishedCell
from components.stats.metrics import scores
from components.study.recipe import content_hash
from components.tracking.client import DATA_TAG

CLASSES_TAG = "assay.classes"  # a hash of what columns and classes are called: names may be many and long
FORM_TAG = "assay.form"  # a hash of how rows are read: digests of another form tell nothing
FOLDER, USED, ANSWERS = "gate", "used.npy", "test.npy"


class Challenger:
    """The winner of a study, and the data that it was found with.

    Attributes:
        prepared: the data.
        arm: the winner.
        cell: whose model it is.
        answers: its probabilities on the test rows, float32 (rows, classes).
        y: the test rows' class numbers (rows,).
        scores: on all test rows.
        predictions: a hash of the answers and the rows.
    """

    def __init__(self, prepared: Prepared, arm: str, cell: FinishedCell):
        """Score the cell on the test rows."""
        self.prepared, self.arm, self.cell = prepared, arm, cell
        self.answers, self.y = cell.probabilities("test"), np.asarray(prepared.y[prepared.test_rows])
        self.scores = scores(self.answers, self.y)
        self.predictions = hashlib.sha256(self.answers.tobytes() + prepared.schema.fingerprint.encode()).hexdigest()

    def tags(self) -> dict[str, str]:
        """Return what a version says of itself."""
        schema, data = self.prepared.schema, self.prepared.study.data
        shape = data.words if schema.kind == "text" else schema.shape
        columns = [(column.name, column.kind) for column in schema.columns]
        return {
            DATA_TAG: schema.fingerprint,
            CELL_TAG: self.predictions,
            CLASSES_TAG: content_hash([schema.classes, [column.name for column in schema.columns]]),
            FORM_TAG: content_hash([schema.kind, str(self.prepared.x.dtype), shape, columns, data.group]),
            "assay.source": schema.source,
            "assay.rows": str(schema.rows),
            "assay.arm": self.arm,
            "assay.seed": str(self.cell.result.seed),
            METRIC_TAG: self.prepared.study.metric,
            **{f"{SCORE_TAG}{name}": repr(value) for name, value in self.scores.items()},
        }

    def used(self) -> np.ndarray:
        """Return the digests of the rows that its study was fitted to or tuned on, with any seed, and of their groups.

        All seeds count, though one is registered: its arm was chosen by all of them.
        """
        return np.unique(self.prepared.digests[self.prepared.used_rows()])


def keep(registry: Registry, run_id: str, challenger: Challenger) -> None:
    """Log to a run what is kept of the challenger and its data."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / USED, challenger.used())
        shutil.copy(challenger.cell.folder / ANSWERS, folder)
        drift.save(challenger.prepared, Path(folder) / drift.PROFILE)
        registry.ask(lambda: registry.api.log_artifacts(run_id, folder, FOLDER))


def kept_files(registry: Registry, run_id: str, folder: str) -> dict[str, Path]:
    """Download what a version's run keeps: files by name, none where the run or they are gone."""
    api = registry.api
    listed = registry.find(lambda: api.list_artifacts(run_id, FOLDER))  # pyright: ignore[reportUnknownMemberType]
    downloaded = [registry.ask(partial(api.download_artifacts, run_id, file.path, folder)) for file in listed or ()]
    return {Path(path).name: Path(path) for path in downloaded}
