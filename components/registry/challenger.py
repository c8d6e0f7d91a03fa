"""The challenger: a study's winner, with what its version in MLflow's registry says of it."""

import hashlib
from dataclasses import dataclass

import numpy as np

from components.data.prepared import Prepared
from components.registry.model_registry import CELL_TAG, METRIC_TAG, SCORE_TAG
from components.registry.provenance import CLASSES_TAG, FORM_TAG, hash_of_classes, hash_of_form
from components.runtime.cells import FinishedCell
from components.stats.metrics import scores
from components.study.study import Study
from components.tracking.client import DATA_TAG


@dataclass(frozen=True)
class Challenger:
    """The winner of a study, and the data that it was found with."""

    prepared: Prepared
    arm: str
    cell: FinishedCell  # whose model it is
    answers: np.ndarray  # its probabilities on the test rows, float32 (rows, classes)
    y: np.ndarray  # the test rows' class numbers (rows,)
    scores: dict[str, float]  # on all test rows

    @classmethod
    def of(cls, prepared: Prepared, arm: str, cell: FinishedCell) -> "Challenger":
        """Score the cell on the test rows."""
        answers, y = cell.probabilities("test"), np.asarray(prepared.y[prepared.test_rows])
        return cls(prepared, arm, cell, answers, y, scores(answers, y))

    @property
    def study(self) -> Study:
        """What was run."""
        return self.prepared.study

    @property
    def predictions(self) -> str:
        """A hash of the answers and the rows."""
        return hashlib.sha256(self.answers.tobytes() + self.prepared.schema.fingerprint.encode()).hexdigest()

    @property
    def score_as_text(self) -> str:
        """The score in the study's metric."""
        return f"{self.study.metric} {self.scores[self.study.metric]:.4f} on {len(self.y)} test rows"

    def tags(self) -> dict[str, str]:
        """Return what a version says of itself."""
        schema = self.prepared.schema
        return {
            DATA_TAG: schema.fingerprint,
            CELL_TAG: self.predictions,
            CLASSES_TAG: hash_of_classes(self.prepared),
            FORM_TAG: hash_of_form(self.prepared),
            "assay.source": schema.source,
            "assay.rows": str(schema.rows),
            "assay.arm": self.arm,
            "assay.seed": str(self.cell.result.seed),
            METRIC_TAG: self.study.metric,
            **{f"{SCORE_TAG}{name}": repr(value) for name, value in self.scores.items()},
        }
