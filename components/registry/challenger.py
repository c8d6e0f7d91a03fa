"""Step `register`: the winner becomes a version in MLflow's registry, and the champion if it earned that.

What is decided, and how, is in `components.registry.gate`; in which order it is written down, in
`components.registry.model_registry`. Here is what the gate needs: the champion's answers on those of the present
test rows that neither model was trained on. For that each version's run keeps, under `gate/`, the digests of the
rows that its study used (used.npy, uint64, sorted) and the winner's answers on its test rows (test.npy, float32
(rows, classes)).
"""

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.data import drift
from components.data.prepared import Prepared
from components.data.slices import slices_of
from components.errors import AssayError
from components.registry import gate
from components.registry.model_registry import (
    CELL_TAG,
    CHALLENGER,
    CHAMPION,
    KEPT,
    KEPT_FILES,
    METRIC_TAG,
    PREVIOUS,
    PROMOTED,
    ROLLED_BACK_TAG,
    SCORE_TAG,
    UNDECIDED,
    Registry,
    kept_files,
)
from components.runtime.cells import FinishedCell
from components.runtime.events import Step
from components.serving.mlflow_model import log_model
from components.stats.metrics import scores
from components.study.recipe import content_hash
from components.study.study import Study
from components.tracking.client import DATA_TAG

CLASSES_TAG = "assay.classes"  # a hash: names may be many and long
FORM_TAG = "assay.form"  # a hash of how rows are read: digests of another form tell nothing


@dataclass(frozen=True)
class Challenger:
    """The winner of a study, and the data that it was found with.

    Attributes:
        prepared: the data.
        verdict: see `components.steps.evaluate`.
        cell: whose model it is.
        answers: its probabilities on the test rows, float32 (rows, classes).
        y: the test rows' class numbers (rows,).
        scores: on all test rows.
    """

    prepared: Prepared
    verdict: dict[str, Any]
    cell: FinishedCell
    answers: np.ndarray
    y: np.ndarray
    scores: dict[str, float]

    @classmethod
    def of(cls, prepared: Prepared, verdict: dict[str, Any], cell: FinishedCell) -> "Challenger":
        """Score the cell on the test rows."""
        answers, y = cell.probabilities("test"), np.asarray(prepared.y[prepared.test_rows])
        return cls(prepared, verdict, cell, answers, y, scores(answers, y))

    @property
    def study(self) -> Study:
        """What was run."""
        return self.prepared.study

    @property
    def predictions(self) -> str:
        """A hash of the answers and the rows."""
        return hashlib.sha256(self.answers.tobytes() + self.prepared.schema.fingerprint.encode()).hexdigest()

    @property
    def said(self) -> str:
        """The score as text."""
        return f"{self.study.metric} {self.scores[self.study.metric]:.4f} on {len(self.y)} test rows"

    def tags(self) -> dict[str, str]:
        """Return what a version says of itself."""
        schema = self.prepared.schema
        return {
            DATA_TAG: schema.fingerprint,
            CELL_TAG: self.predictions,
            CLASSES_TAG: _classes(self.prepared),
            FORM_TAG: _form(self.study, self.prepared),
            "assay.source": schema.source,
            "assay.rows": str(schema.rows),
            "assay.arm": self.verdict["winner"]["arm"],
            "assay.seed": str(self.cell.result.seed),
            METRIC_TAG: self.study.metric,
            **{f"{SCORE_TAG}{name}": repr(value) for name, value in self.scores.items()},
        }


def decide_and_write(
    this: Step, registry: Registry, runs: dict[str, Any], challenger: Challenger, by: str
) -> dict[str, Any]:
    """Return what was decided, as in decision.json, when all of it is done; or what an earlier try has done.

    Args:
        this: the step.
        registry: of the study.
        runs: what `load` wrote.
        challenger: the study's winner.
        by: who runs it.

    Raises:
        AwayError: where MLflow does not answer.
    """
    with this.span("mlflow"):
        champion = registry.find_champion()
        known = registry.with_predictions(challenger.predictions)
        written = registry.recorded(runs["experiment"], runs["run"])
    if written and written.carried_out:
        return written.made
    if written and registry.champion not in (written.made["before"], written.made["champion"]):
        registry.drop(written.run_id)  # somebody has moved the champion since
        written = None
    if written:
        record, made = written.run_id, written.made
    else:
        found = _decide(this, registry, champion, known, challenger)
        with this.span("mlflow"):
            version = known or _add(registry, runs["parent"], challenger)
            made = {**_moves(registry, found, str(version.version)), "by": by}
            record = registry.record(runs["experiment"], runs["parent"], runs["run"], made)
    with this.span("mlflow"):
        registry.carry_out(record, made)
    return made


def _decide(this: Step, registry: Registry, champion: Any, known: Any, challenger: Challenger) -> dict[str, Any]:
    """Return `decision`, `reason` and the evidence.

    Args:
        this: the step.
        registry: of the study.
        champion: its version, or None.
        known: the version that has the winner's predictions already, or None.
        challenger: the winner.
    """
    if known is not None and str(known.version) == registry.champion:
        reason = f"the winner is the champion already: the same predictions, {challenger.said}"
        return {"decision": KEPT, "reason": reason}
    if known is not None and ROLLED_BACK_TAG in known.tags:
        why = known.tags[ROLLED_BACK_TAG]
        return {"decision": KEPT, "reason": f"version {known.version} was rolled back: {why}"}
    if champion is None:
        said = "no version is the champion" if registry.versions() else "the first version"
        return {"decision": PROMOTED, "reason": f"{said}: {challenger.said}"}
    with this.span("report"):
        try:
            return registry.ask(lambda: judge(registry, champion, challenger))
        except IncomparableError as error:
            return {"decision": error.decision, "reason": f"version {champion.version} stays: {error}"}


def _moves(registry: Registry, found: dict[str, Any], version: str) -> dict[str, Any]:
    """Return the decision as it is written down, with the aliases that it moves."""
    before, aliases = registry.champion, {}
    if found["decision"] == PROMOTED:
        aliases = {**({PREVIOUS: before} if before else {}), CHAMPION: version, CHALLENGER: None}
    elif found["decision"] == UNDECIDED:
        aliases = {CHALLENGER: version}
    about = {"model": registry.name, "version": version, "champion": aliases.get(CHAMPION, before), "before": before}
    return {**about, **found, "aliases": aliases}


def _add(registry: Registry, run: str, challenger: Challenger) -> Any:
    """Log the winner's model to the study's run and return its new version in the registry."""
    import mlflow

    from components.tracking.client import tracking_uri

    mlflow.set_tracking_uri(tracking_uri())  # models are logged by the fluent interface alone
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "used.npy", _used(challenger.prepared))
        shutil.copy(challenger.cell.folder / "test.npy", folder)
        drift.save(challenger.prepared, Path(folder) / drift.PROFILE)
        registry.ask(lambda: registry.api.log_artifacts(run, folder, KEPT_FILES))
    text = challenger.study.data.text or "text"
    logged = registry.ask(lambda: log_model(run, challenger.cell, challenger.prepared, text))
    registry.ask(lambda: registry.api.update_run(run, status="RUNNING"))  # logging a model has ended it
    return registry.add(logged.model_uri, run, logged.model_id, challenger.tags())


class IncomparableError(AssayError):
    """The champion can't be compared.

    Attributes:
        decision: what follows: undecided, or kept where the challenger is for something else.
    """

    def __init__(self, message: str, decision: str):
        """Keep the decision."""
        super().__init__(message)
        self.decision = decision


def judge(registry: Registry, champion: Any, challenger: Challenger) -> dict[str, Any]:
    """Return the gate's decision on the test rows that neither model was trained on, see `gate.decide`.

    Args:
        registry: knows the champion.
        champion: its version.
        challenger: the winner.

    Raises:
        IncomparableError: where the champion can't read these rows, or too few of them are new to it.
    """
    prepared, study = challenger.prepared, challenger.study
    same_data = champion.tags.get(DATA_TAG) == prepared.schema.fingerprint
    with tempfile.TemporaryDirectory() as folder:
        kept = kept_files(registry.api, champion.run_id, folder)
        unseen = _unseen(champion, challenger, kept, same_data)
        numbers = prepared.test_rows[unseen]
        groups = np.asarray(prepared.digests[numbers, 1]) if prepared.digests.shape[1] > 1 else None
        if few := gate.too_few(len(numbers), len(unseen), groups):
            raise IncomparableError(few, UNDECIDED)
        if same_data and "test.npy" in kept:
            answers = np.load(kept["test.npy"])[unseen]
        else:
            answers = _answers(registry.name, champion, prepared, numbers)
    rows = gate.Rows(challenger.answers[unseen], answers, challenger.y[unseen], groups)
    slices = {part.name: inside for part, inside in slices_of(prepared, numbers, study.slices).items()}
    return gate.decide(study.gate, study.metric, rows, slices, f"champion version {champion.version}")


def _unseen(champion: Any, challenger: Challenger, kept: dict[str, Path], same_data: bool) -> np.ndarray:
    """Return which test rows neither model's study has used, bool (rows,).

    With groups a row is used when any row of its group is.

    Raises:
        IncomparableError: where it is not known which rows the champion's study has used.
    """
    prepared = challenger.prepared
    if champion.tags.get(CLASSES_TAG) != _classes(prepared):
        raise IncomparableError("it knows other classes or columns; give the study another name", KEPT)
    used = [_used(prepared)]
    if "used.npy" in kept and champion.tags.get(FORM_TAG) == _form(challenger.study, prepared):
        used.append(np.load(kept["used.npy"]))
    elif not same_data:
        why = "rows were read in another way then" if "used.npy" in kept else "an earlier Assay did not write it down"
        raise IncomparableError(
            f"it is not known which of the present rows it was trained on, since {why}; `assay promote "
            f"{champion.name}` promotes the challenger by hand",
            UNDECIDED,
        )
    of_test = prepared.digests[prepared.test_rows]
    return np.logical_not(np.isin(of_test, np.concatenate(used)).any(axis=1))


def _answers(name: str, champion: Any, prepared: Prepared, numbers: np.ndarray) -> np.ndarray:
    """Return the champion's probabilities for these rows (rows, classes).

    Raises:
        IncomparableError: when it can't read them.
    """
    import mlflow
    import mlflow.pyfunc

    from components.serving.saved_model import raw_rows
    from components.tracking.client import tracking_uri

    mlflow.set_tracking_uri(tracking_uri())
    try:
        model = mlflow.pyfunc.load_model(f"models:/{name}/{champion.version}").unwrap_python_model()
        return model.predict(None, raw_rows(prepared, numbers)).to_numpy()
    except ValueError as error:  # other columns, other shapes, another number of classes
        first = str(error).strip().splitlines()[0]
        raise IncomparableError(
            f"it can't be scored on these rows ({first[:200]}); give the study another name", KEPT
        ) from None


def _used(prepared: Prepared) -> np.ndarray:
    """Return the digests of the rows that the study was fitted to or tuned on, with any seed, and of their groups.

    All seeds count, though one is registered: its arm was chosen by all of them.
    """
    return np.unique(prepared.digests[prepared.used_rows()])


def _classes(prepared: Prepared) -> str:
    return content_hash([prepared.schema.classes, [column.name for column in prepared.schema.columns]])


def _form(study: Study, prepared: Prepared) -> str:
    """Return a hash of how a row is read, on which its digest depends."""
    schema = prepared.schema
    shape = study.data.words if schema.kind == "text" else schema.shape
    columns = [(column.name, column.kind) for column in schema.columns]
    return content_hash([schema.kind, str(prepared.x.dtype), shape, columns, study.data.group])
