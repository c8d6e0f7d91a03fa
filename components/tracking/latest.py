"""A study's latest finished run in MLflow, and its pages."""

import tempfile
from typing import TYPE_CHECKING

from components.errors import AssayError
from components.evaluation.verdict import Verdict
from components.formatting import nearest
from components.tracking import client, ui_views

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from components.serving.saved_model import Served


def winners_model(verdict: Verdict) -> "Served":
    """Return the saved model of a verdict's winner, out of MLflow.

    Raises:
        AssayError: when its run is not there any more.
    """
    from components.serving.saved_model import Served

    client.check_store()
    api, at, arm = client.client(), verdict.mlflow, verdict.winner.arm
    arms = client.search_runs(api, at.experiment_id, verdict.run, "arm", at.run_id) if at and verdict.run else []
    run_id = next((run.info.run_id for run in arms if run.data.tags["assay.arm"] == arm), None)
    if run_id is None:
        raise AssayError(f"MLflow has no run of the arm {arm!r} any more; `assay run` makes it again")
    with tempfile.TemporaryDirectory() as folder:
        model = Served(api.download_artifacts(run_id, "model", folder))
        _ = model.network  # read before its files are gone
    return model


def latest_pages(study: str | None) -> dict[str, str]:
    """Return the addresses of the latest finished run's pages; none where none is.

    See `components.tracking.ui_views.pages`.

    Args:
        study: its name; any by default.

    Raises:
        AssayError: when MLflow has no such study, or none of its runs is finished.
    """
    api = client.client()
    if study is None and not latest_runs(api, None):
        return {}
    run = latest_run(study)
    arms = client.search_runs(api, run.info.experiment_id, run.data.tags[client.RUN_TAG], "arm", run.info.run_id)
    arms.sort(key=lambda arm: arm.data.metrics.get("effect", 0.0), reverse=True)
    numbers = [arm.info.run_id for arm in arms]
    return ui_views.pages(run.data.tags[client.STUDY_TAG], run.info.experiment_id, run.info.run_id, numbers)


def latest_run(study: str | None) -> "Run":
    """Return MLflow's run of a study's latest finished run; of all studies' where none is named.

    Raises:
        AssayError: when MLflow has no such study, or no run is finished.
    """
    client.check_store()
    api = client.client()
    if found := latest_runs(api, study):
        return found[0]
    if study is None:
        raise AssayError("no run is finished yet; `assay run digits` makes the first")
    if latest_runs(api, study, finished=False):
        raise AssayError(f"no run of study {study!r} is finished yet; `assay run` starts or continues it")
    names = {run.data.tags[client.STUDY_TAG] for run in latest_runs(api, None, 1000, finished=False)}
    at = client.without_login(client.tracking_uri())
    raise AssayError(f"MLflow at {at} has no study {study!r}; {nearest(study, sorted(names))}")


def latest_runs(
    api: "MlflowClient", study: str | None, most: int = 1, finished: bool = True, experiments: list[str] | None = None
) -> list["Run"]:
    """Return the latest runs of a study, or of all, the newest first; they may be in any experiment, see `runs`."""
    where = f"tags.`{client.ROLE_TAG}` = 'study'"
    where += "" if study is None else f" and tags.`{client.STUDY_TAG}` = {study!r}"
    where += " and attributes.status = 'FINISHED'" if finished else ""
    return client.latest_runs(api, where, most, experiments)
