"""Step `register`: the gate. The winner becomes the champion only if it is at least as good on the same test rows."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from components.errors import AssayError
from components.events import step
from components.metrics import scores
from components.packaging import log_model
from components.prepared import Prepared
from components.recipe import content_hash
from components.store import CellResult
from components.study import HIGHER_IS_BETTER, Study

CHAMPION = "champion"
DATA_TAG = "assay.data"  # the fingerprint of the data: the same test rows when it is the same
CELL_TAG = "assay.model"  # a hash of the saved model's predictions
CLASSES_TAG = "assay.classes"  # a hash: names may be many and long
SCORE_TAG = "assay.test_score"


def register(study: str, data: str, runs: str, verdict: str, decision: str) -> None:
    """Log the winner, register it under the study's name, and move the alias `champion` if it earned it.

    Args:
        study: the study as JSON.
        data: the prepared data.
        runs: the file of MLflow run numbers that `load` wrote.
        verdict: the folder that `evaluate` wrote.
        decision: folder to write decision.json to: `decision` (promoted or kept), `model`, `version` (of the winner),
            `champion` (the version that has the alias now) and `reason`.
    """
    parsed, mlflow_runs = Study.model_validate_json(study), json.loads(Path(runs).read_text())
    with step("register") as this:
        with this.span("imports"):
            from components import tracking

            api = tracking.client()
        with this.span("report"):
            prepared = Prepared(data)
            judged = json.loads((Path(verdict) / "report" / "verdict.json").read_text())
            winner = CellResult(Path(verdict) / "winner")
            score = scores(winner.probabilities("test"), _labels(prepared))[parsed.metric]
        champion = _champion(api, parsed.study)
        if champion and champion.tags.get(CELL_TAG) == _predictions_hash(winner, prepared):
            made = {
                "decision": "kept",
                "version": str(champion.version),
                "champion": str(champion.version),
                "reason": f"the winner is the champion already: the same predictions, {parsed.metric} {score:.4f}",
            }
        else:
            with this.span("imports"):
                import mlflow.pyfunc

                mlflow.set_tracking_uri(tracking.tracking_uri())  # models are logged by the fluent interface alone
            with this.span("report"):
                made = _gate(parsed, champion, score, prepared)
            with this.span("mlflow"):
                made["version"] = _log(api, parsed, mlflow_runs, winner, judged, score, prepared)
                if made["decision"] == "promoted":
                    api.set_registered_model_alias(parsed.study, CHAMPION, made["version"])
            made["champion"] = str(champion.version) if champion and made["decision"] == "kept" else made["version"]
        made = {"model": parsed.study, **made}
        with this.span("mlflow"):
            tracking.finish(mlflow_runs, made)
        Path(decision).mkdir(parents=True, exist_ok=True)
        (Path(decision) / "decision.json").write_text(json.dumps(made, indent=1))


def _gate(study: Study, champion, score: float, prepared: Prepared) -> dict[str, Any]:
    """Decide: promoted if there is no champion, or the winner is at least as good as it on the same test rows."""
    said = f"{study.metric} {score:.4f} on {len(prepared.test_rows)} test rows"
    if champion is None:
        return {"decision": "promoted", "reason": f"the first version: {said}"}
    try:
        rival = _score_of(champion, study, prepared)
    except AssayError as error:
        return {"decision": "kept", "reason": f"version {champion.version} stays: {error}"}
    sign = 1 if HIGHER_IS_BETTER[study.metric] else -1
    decision = "promoted" if sign * score >= sign * rival else "kept"
    reason = f"{said}, champion version {champion.version} has {rival:.4f} on the same rows"
    return {"decision": decision, "reason": reason}


def _score_of(champion, study: Study, prepared: Prepared) -> float:
    """Return the champion's score on this study's test rows: its own record if they are the same rows, else anew.

    Raises:
        AssayError: when it can't be loaded or can't read these rows.
    """
    if champion.tags.get(DATA_TAG) == prepared.schema.fingerprint and f"{SCORE_TAG}.{study.metric}" in champion.tags:
        return float(champion.tags[f"{SCORE_TAG}.{study.metric}"])
    import mlflow.pyfunc

    from components.serve import raw_rows

    if champion.tags.get(CLASSES_TAG) != _classes(prepared):
        raise AssayError("it knows other classes; give the study another name")
    try:
        model = mlflow.pyfunc.load_model(f"models:/{study.study}/{champion.version}").unwrap_python_model()
        probabilities = model.predict(None, raw_rows(prepared, prepared.test_rows))
        return scores(probabilities.to_numpy(), _labels(prepared))[study.metric]
    except ValueError as error:  # other columns, other shapes, another number of classes
        first = str(error).strip().splitlines()[0]
        raise AssayError(f"it can't be scored on these rows ({first[:200]}); give the study another name") from None


def _log(api, study: Study, runs, winner: CellResult, verdict, score: float, prepared: Prepared) -> str:
    """Log the winner's model to the study's run and return the number of its new version in the registry."""
    from mlflow.exceptions import MlflowException

    logged = log_model(runs["parent"], winner, prepared, study.data.text or "text")
    try:
        api.create_registered_model(study.study)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {
        DATA_TAG: prepared.schema.fingerprint,
        CELL_TAG: _predictions_hash(winner, prepared),
        CLASSES_TAG: _classes(prepared),
        "assay.arm": verdict["winner"]["arm"],
        "assay.seed": str(winner.result["seed"]),
        f"{SCORE_TAG}.{study.metric}": repr(score),
    }
    made = api.create_model_version(study.study, logged.model_uri, runs["parent"], tags=tags, model_id=logged.model_id)
    return str(made.version)


def _champion(api, name: str):
    from mlflow.exceptions import MlflowException

    try:
        return api.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _classes(prepared: Prepared) -> str:
    return content_hash([prepared.schema.classes, [column.name for column in prepared.schema.columns]])


def _labels(prepared: Prepared) -> np.ndarray:
    return np.asarray(prepared.y[prepared.test_rows])


def _predictions_hash(cell: CellResult, prepared: Prepared) -> str:
    import hashlib

    on_rows = cell.probabilities("test").tobytes() + prepared.schema.fingerprint.encode()
    return hashlib.sha256(on_rows).hexdigest()
