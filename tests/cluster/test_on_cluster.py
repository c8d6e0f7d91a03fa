"""The whole way on a real cluster: submit, wait, look into MLflow, retrain, schedule, see it fire, delete.

KFP_HOST names Kubeflow Pipelines, ASSAY_PROFILE a file with the keys of a study's section `cluster` (image, mlflow or
config_maps, ...), and MLFLOW_HOST the same MLflow server as it is reached from here; where it wants a login, that is in
MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from components.study.study import Retrain, Study
from components.tracking.client import ROLE_TAG, STUDY_TAG
from pipeline.kubeflow.client import Client
from pipeline.kubeflow.recurring_runs import change, put, schedules
from pipeline.kubeflow.runs import follow, logs
from pipeline.kubeflow.settings import read_cluster
from pipeline.kubeflow.submit import experiment, submit
from pipeline.schedules.cron import read_cron
from pipeline.study_file import read_study

NEEDED = ("KFP_HOST", "ASSAY_PROFILE", "MLFLOW_HOST")
LIMIT_SECONDS = 1800
FIRE_SECONDS = 300
SCHEDULE = "assay-test-every-minute"

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(os.environ.get(name) for name in NEEDED), reason=f"needs a cluster: set {', '.join(NEEDED)}"
    ),
]

# Read when the file is: the tests' own environment has no variable of Assay's or MLflow's.
LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
SAID = {name: os.environ.get(name, "") for name in (*NEEDED, *LOGIN)}


@pytest.fixture(scope="module")
def client() -> Client:
    options = {"host": SAID["KFP_HOST"], "namespace": os.environ.get("KFP_NAMESPACE"), "fan_out": 2}
    made = Client(read_cluster(None, Path(SAID["ASSAY_PROFILE"]), options))
    made.check()
    return made


@pytest.fixture(scope="module")
def study() -> Study:
    return read_study("iris", ["recipe.train.epochs=3", "arms={plain: {model.batch_norm: false}}"], 2)


@pytest.fixture
def scheduled(client: Client, study: Study) -> Iterator[str]:
    number, _ = put(client, study, SCHEDULE, read_cron("* * * * *"))
    yield number
    if SCHEDULE in [one.name for one in schedules(client)]:
        change(client, SCHEDULE, "delete")


@pytest.fixture
def tracking(monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """MLflow, as it is reached from here."""
    for name in LOGIN:
        if SAID[name]:
            monkeypatch.setenv(name, SAID[name])
    return MlflowClient(SAID["MLFLOW_HOST"])


def finished_runs(tracking: MlflowClient, study: Study) -> list[Run]:
    """The finished runs of the study, in whichever experiment they are, the newest first."""
    experiments = [found.experiment_id for found in tracking.search_experiments()]
    where = f"tags.`{ROLE_TAG}` = 'study' and tags.`{STUDY_TAG}` = '{study.study}' and status = 'FINISHED'"
    return list(tracking.search_runs(experiments, where, order_by=["attributes.start_time DESC"]))


def test_a_submitted_study_succeeds_and_is_in_mlflow(client, study, tracking):
    number = submit(client, study)
    *_, run = follow(client, number, LIMIT_SECONDS)
    assert run.state == "SUCCEEDED", run
    assert [step.name for step in run.steps][:2] == ["load", "scale"]
    assert any(text for _, text in logs(client, number, "load"))
    assert finished_runs(tracking, study)


def test_its_winner_is_retrained(client, study, tracking):
    """After the test above, which makes the champion."""
    again = study.model_copy(update={"retrain": Retrain(enabled=True, seeds=2)})
    *_, run = follow(client, submit(client, again), LIMIT_SECONDS)
    assert run.state == "SUCCEEDED", run
    assert finished_runs(tracking, study)[0].data.tags["assay.retrain"] == "recipe"


def test_a_schedule_fires_and_is_gone_when_it_is_deleted(client, study, scheduled):
    assert SCHEDULE in [one.name for one in schedules(client)]
    deadline = time.monotonic() + FIRE_SECONDS
    fired: list[str] = []
    while not fired:
        assert time.monotonic() < deadline, "the schedule did not fire"
        time.sleep(10)
        runs = client.pages("runs", client.runs.run_service_list_runs, experiment_id=experiment(client, study))
        fired = [run.run_id for run in runs if run.recurring_run_id == scheduled]
    *_, run = follow(client, fired[0], LIMIT_SECONDS)
    assert run.state == "SUCCEEDED", run
    change(client, SCHEDULE, "delete")
    assert SCHEDULE not in [one.name for one in schedules(client)]
