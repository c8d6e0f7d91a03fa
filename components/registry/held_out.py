"""The gate's evidence: the champion's answers on those of the present test rows that neither model was trained on."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.data.prepared import Prepared
from components.data.slices import slices_of
from components.errors import AssayError
from components.registry import gate
from components.registry.challenger import ANSWERS, CLASSES_TAG, FORM_TAG, USED, Challenger, kept_files
from components.registry.decision import Judgement, Outcome
from components.registry.model_registry import Registry
from components.tracking.client import DATA_TAG, tracking_uri

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


class IncomparableError(AssayError):
    """The champion can't be compared."""

    def __init__(self, message: str, outcome: Outcome):
        """Keep what follows: undecided, or kept where the challenger is for something else."""
        super().__init__(message)
        self.outcome = outcome


def judge(registry: Registry, champion: "ModelVersion", challenger: Challenger) -> Judgement:
    """Return the gate's judgement on the test rows that neither model was trained on.

    Raises:
        IncomparableError: where the champion can't read these rows, or too few of them are new to it.
    """
    prepared = challenger.prepared
    same_data = champion.tags.get(DATA_TAG) == prepared.schema.fingerprint
    with tempfile.TemporaryDirectory() as folder:
        kept = kept_files(registry, champion.run_id or "", folder)
        unseen = _unseen(champion, challenger, kept, same_data)
        numbers = prepared.test_rows[unseen]
        groups = np.asarray(prepared.digests[numbers, 1]) if prepared.digests.shape[1] > 1 else None
        if few := gate.too_few(len(numbers), len(unseen), groups):
            raise IncomparableError(few, Outcome.UNDECIDED)
        if same_data and ANSWERS in kept:
            answers = np.load(kept[ANSWERS])[unseen]
        else:
            answers = _answers(registry.name, champion, prepared, numbers)
    study, rows = prepared.study, gate.Rows(challenger.answers[unseen], answers, challenger.y[unseen], groups)
    slices = slices_of(prepared, numbers, study.slices)
    return gate.judge(study.gate, study.metric, rows, slices, f"champion version {champion.version}")


def _unseen(champion: "ModelVersion", challenger: Challenger, kept: dict[str, Path], same_data: bool) -> np.ndarray:
    """Return which test rows neither model's study has used, bool (rows,).

    With groups a row is used when any row of its group is.

    Raises:
        IncomparableError: where it is not known which rows the champion's study has used.
    """
    ours, theirs = challenger.tags(), champion.tags
    if theirs.get(CLASSES_TAG) != ours[CLASSES_TAG]:
        raise IncomparableError("it knows other classes or columns; give the study another name", Outcome.KEPT)
    used = [challenger.used()]
    is_kept = USED in kept
    if is_kept and theirs.get(FORM_TAG) == ours[FORM_TAG]:
        used.append(np.load(kept[USED]))
    elif not same_data:
        why = "rows were read in another way then" if is_kept else "an earlier Assay did not write it down"
        raise IncomparableError(
            f"it is not known which of the present rows it was trained on, since {why}; `assay promote "
            f"{champion.name}` promotes the challenger by hand",
            Outcome.UNDECIDED,
        )
    of_test = challenger.prepared.digests[challenger.prepared.test_rows]
    return np.logical_not(np.isin(of_test, np.concatenate(used)).any(axis=1))


def _answers(name: str, champion: "ModelVersion", prepared: Prepared, numbers: np.ndarray) -> np.ndarray:
    """Return the champion's probabilities for these rows (rows, classes).

    Raises:
        IncomparableError: when it can't read them.
    """
    from components.serving.mlflow_model import fetch_model
    from components.serving.saved_model import raw_rows

    try:
        with tempfile.TemporaryDirectory() as folder:
            model = fetch_model(tracking_uri(), f"models:/{name}/{champion.version}", folder)
            return model.served(raw_rows(prepared, numbers))
    except ValueError as error:  # other columns, other shapes, another number of classes
        first = str(error).strip().splitlines()[0]
        raise IncomparableError(
            f"it can't be scored on these rows ({first[:200]}); give the study another name", Outcome.KEPT
        ) from None
