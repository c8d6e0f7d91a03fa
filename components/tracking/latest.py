"""A study's latest finished run in MLflow, and its pages."""

import tempfile
from typing import TYPE_CHECKING

from components.errors import AssayError
from components.evaluation.verdict import Verdict
from components.formatting import nearest
from components.tracking import ui_views
from components.tracking.client import (
    FINISHED,
    ROLE_TAG,
    RUN_TAG,
    STUDY_TAG,
    check_store,
    client,
    latest_runs,
    search_runs,
    tracking_uri,
    without_login,
)

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

    check_store()
    api, at, arm = client(), verdict.mlflow, verdict.winner.arm
    arms = search_runs(api, at.experiment_id, verdict.run, "arm", at.run_id) if at and verdict.run else []
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
    api = client()
    if study is None and not _latest_of(api, FINISHED):
        return {}
    run = latest_run(study)
    arms = search_runs(api, run.info.experiment_id, run.data.tags[RUN_TAG], "arm", run.info.run_id)
    in_order = sorted(arms, key=lambda arm: arm.data.metrics.get("effect", 0.0), reverse=True)
    numbers = [arm.info.run_id for arm in in_order]
    return ui_views.pages(run.data.tags[STUDY_TAG], run.info.experiment_id, run.info.run_id, numbers)


def latest_run(study: str | None) -> "Run":
    """Return MLflow's run of a study's latest finished run; of all studies' where none is named.

    Raises:
        AssayError: when MLflow has no such study, or no run is finished.
    """
    check_store()
    api = client()
    mine = () if study is None else (f"tags.`{STUDY_TAG}` = {study!r}",)
    if found := _latest_of(api, FINISHED, *mine):
        return found[0]
    if study is None:
        raise AssayError("no run is finished yet; `assay run digits` makes the first")
    if _latest_of(api, *mine):
        raise AssayError(f"no run of study {study!r} is finished yet; `assay run` starts or continues it")
    names = {run.data.tags[STUDY_TAG] for run in _latest_of(api, most=1000)}
    at = without_login(tracking_uri())
    raise AssayError(f"MLflow at {at} has no study {study!r}; {nearest(study, sorted(names))}")


def _latest_of(api: "MlflowClient", *conditions: str, most: int = 1) -> list["Run"]:
    """Return the latest runs of studies, the newest first; a study's may be in any experiment, see `runs`."""
    return latest_runs(api, " and ".join((f"tags.`{ROLE_TAG}` = 'study'", *conditions)), most)
