"""Opens a study's runs in MLflow, so that every step finds them, and closes those of a run that was stopped.

On a cluster they may be there in part: Kubeflow's own MLflow plugin (from its 2.17 on, where the operator turned it on)
makes a run for the pipeline run and one below it for each task, and where it may tell tasks so, each finds its own in
MLFLOW_RUN_ID. Then the pipeline run's run IS the study's: what Assay says of the study goes there, and the arms below
it. It stays the plugin's, which named it, ends it with the pipeline run, then ends what is still open below it, and
opens it again when the pipeline run is retried. So Assay neither names, opens nor ends it, and makes no other.
Read in backend/src/common/plugins/mlflow, backend/src/apiserver/plugins/mlflow and backend/src/v2/common/plugins/mlflow
of kubeflow/pipelines.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from components.data.prepared import Schema
from components.errors import AssayError
from components.runtime.events import RUN
from components.study.study import Study
from components.tracking import client
from components.tracking.client import RUN_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

TASK_RUN = "MLFLOW_RUN_ID"  # in the environment, from the plugin: the run of this task
DIGEST_TAG = "assay.digest"  # of a study's run: what is run
PIPELINE_TAG = "kfp.pipeline_run_id"  # of a pipeline run's run, by the plugin: the number of the pipeline run

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudyRuns:
    """The MLflow runs of a study, as `load` hands them to the other steps."""

    SCHEMA: ClassVar[int] = 2

    run: str  # its unique name
    tracking_uri: str  # where they are, without a login
    experiment: str  # its number
    parent: str  # the number of the study's own
    joined: bool  # the parent is the plugin's, and so not ours to end
    arms: dict[str, str]  # run numbers by arm


def open_runs(study: Study, run: str, schema: Schema) -> StudyRuns:
    """Find or make the runs of the study and of its arms.

    Args:
        study: the study.
        run: the run's unique name. Where it died before, its runs are found by it and continued.
        schema: of the prepared data.

    Raises:
        AssayError: when MLflow does not answer, or the study's experiment was deleted.
    """
    client.check_reachable(client.tracking_uri())
    api = client.client()
    tags = {RUN_TAG: run, client.ROLE_TAG: "study", client.STUDY_TAG: study.study}
    parent = _pipelines_run(api) or _own_run(api, study, run, schema, tags)
    parent_id, experiment, joined = parent.info.run_id, parent.info.experiment_id, PIPELINE_TAG in parent.data.tags
    _log_study(api, parent_id, study, schema, tags)
    arms = _open_arms(api, experiment, parent_id, study, run, schema)
    for run_id in (*([] if joined else [parent_id]), *arms.values()):
        api.update_run(run_id, status="RUNNING")
    uri = client.without_login(client.tracking_uri())
    return StudyRuns(run, uri, experiment, parent_id, joined, arms)


def _open_arms(
    api: "MlflowClient", experiment: str, parent: str, study: Study, run: str, schema: Schema
) -> dict[str, str]:
    """Return the numbers of the arms' runs below the study's; those that are not there are made."""
    below = client.search_runs(api, experiment, run, "arm", parent)  # a pipeline run of the same name may have others
    known = {arm.data.tags["assay.arm"]: arm.info.run_id for arm in below}
    arms: dict[str, str] = {}
    for arm in study.expand():
        tags = {RUN_TAG: run, client.ROLE_TAG: "arm", "assay.arm": arm.name, "assay.technique": arm.technique}
        run_id = known.get(arm.name) or client.create_run(api, experiment, arm.name, tags, parent).info.run_id
        params = client.as_params({"arm": arm.name, **arm.recipe.model_dump(mode="json")})
        api.log_batch(run_id, params=params, tags=client.as_tags(client.origin(schema)))
        client.log_data_set(api, run_id, schema)
        arms[arm.name] = run_id
    return arms


def _pipelines_run(api: "MlflowClient") -> "Run | None":
    """Return the run that the plugin made for this pipeline run, or None.

    Where the environment names a run that can't be joined, the log says why. A study whose results are in a run of its
    own has lost nothing, so that stops no step.
    """
    task = os.environ.get(TASK_RUN)
    if not task:
        return None
    found = _readable(api, task)
    while found and (above := found.data.tags.get(client.PARENT_TAG)):  # a task in a loop is deeper
        found = _readable(api, above)
    if found is None:
        why = f"it, or a run above it, is not to be read at {client.without_login(client.tracking_uri())}"
    elif PIPELINE_TAG not in found.data.tags:
        why = "no run above it is of a pipeline run"
    elif os.environ.get(RUN, found.data.tags[PIPELINE_TAG]) != found.data.tags[PIPELINE_TAG]:
        why = f"it is of the pipeline run {found.data.tags[PIPELINE_TAG]}, and this is {os.environ[RUN]}"
    else:
        return found
    LOG.warning("%s: %s is not joined (%s); the study has a run of its own", TASK_RUN, task, why)
    return None


def _readable(api: "MlflowClient", run_id: str) -> "Run | None":
    """Return a run; None where there is none, or we may not see it."""
    found = client.found(lambda: api.get_run(run_id), "PERMISSION_DENIED")
    return found if found and found.info.lifecycle_stage == "active" else None


def _own_run(api: "MlflowClient", study: Study, run: str, schema: Schema, tags: dict[str, str]) -> "Run":
    """Return the study's run in its own experiment; it is made where there is none.

    What died on other data, as last night's rows, is another one's: its params can't change, nor would they be true.
    """
    experiment = experiment_of(api, study.study)
    decides = {DIGEST_TAG: study.digest(), client.DATA_TAG: client.origin(schema)[client.DATA_TAG]}
    known = client.search_runs(api, experiment, run, "study")
    # One that died early may not have come so far that it says what it is of.
    if known and all(known[0].data.tags.get(name, value) == value for name, value in decides.items()):
        return known[0]
    if known:
        for left in api.search_runs([experiment], f"tags.`{RUN_TAG}` = '{run}'", max_results=5000):
            set_aside(api, left, f"{run} overtaken")
    return client.create_run(api, experiment, run, tags)


def set_aside(api: "MlflowClient", left: "Run", name: str) -> None:
    """End what an earlier try of a run left in MLflow, under a name by which nobody finds it as this run's."""
    api.set_tag(left.info.run_id, RUN_TAG, name)
    if left.info.status != "FINISHED":
        api.set_terminated(left.info.run_id, "FAILED")


def experiment_of(api: "MlflowClient", name: str) -> str:
    """Return the number of the study's experiment; it is made where there is none."""
    from mlflow.exceptions import MlflowException

    known = api.get_experiment_by_name(name)
    if known is None:
        try:
            # A UI that sorts experiments by kind opens this one at its runs, and not at traces of a language model.
            return api.create_experiment(name, tags={"mlflow.experimentKind": "custom_model_development"})
        except MlflowException:  # another process was faster
            known = api.get_experiment_by_name(name)
            assert known is not None
    if known.lifecycle_stage != "active":
        raise AssayError(
            f"the MLflow experiment {name!r} was deleted; restore it (`mlflow experiments restore "
            f"-x {known.experiment_id}`) or give the study another name"
        )
    return known.experiment_id


def _log_study(api: "MlflowClient", run_id: str, study: Study, schema: Schema, tags: dict[str, str]) -> None:
    # MLflow's params never change, and the run may be another's: each of ours has a prefix.
    params = {
        "study.metric": study.metric,
        "study.seeds": study.seeds,
        "data.source": schema.source,
        "data.rows": schema.rows,
        "data.classes": len(schema.classes),
        **{f"data.{part}_rows": count for part, count in schema.splits.items()},
        "reference": study.expand()[0].recipe.model_dump(mode="json"),
    }
    told = {**tags, DIGEST_TAG: study.digest(), **client.origin(schema)}
    api.log_batch(run_id, params=client.as_params(params), tags=client.as_tags(told))
    api.log_dict(run_id, study.model_dump(mode="json"), "study.json")
    client.log_data_set(api, run_id, schema)


def close_runs(study: str, run: str, status: Callable[[], str | None]) -> None:
    """End the MLflow runs of a study run that did not come to its own end; `open_runs` opens them again.

    It is for runs on this machine. On a cluster the plugin, where it is, ends all runs below its own.

    Args:
        study: its name.
        run: the run's unique name.
        status: tells KILLED or FAILED, or None where the run has been continued; asked before each change.
    """
    uri = client.tracking_uri()
    client.check_reachable(uri)
    if not client.is_there(uri):
        return  # it ended before there was anything to log
    api = client.client()
    experiment = api.get_experiment_by_name(study)
    where = f"tags.`{RUN_TAG}` = '{run}' and attributes.status = 'RUNNING'"
    for left in api.search_runs([experiment.experiment_id], where, max_results=5000) if experiment else ():
        if word := status():
            api.set_terminated(left.info.run_id, word)
