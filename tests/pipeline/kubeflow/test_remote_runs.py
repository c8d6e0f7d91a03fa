"""Runs on a server that answers as Kubeflow Pipelines does: their states, steps and logs."""

from datetime import UTC, datetime, timedelta

import kfp_server_api as api
import pytest
from command import assay
from kfp_server import RefusalError

from components.errors import AssayError, UsageError
from components.study.study import Study
from pipeline.kubeflow import runs
from pipeline.kubeflow.client import TRIES, ClusterError
from pipeline.kubeflow.runner import ClusterRunner
from pipeline.kubeflow.runs import follow, logs, look
from pipeline.kubeflow.submit import submit
from pipeline.study_file import read_study


@pytest.fixture(scope="module")
def study() -> Study:
    return read_study("sklearn:iris", ["recipe.train.epochs=3"], 2)


def task(name: str, state: str, began: int, **more: object) -> api.V2beta1PipelineTaskDetail:
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=began)
    return api.V2beta1PipelineTaskDetail(display_name=name, state=state, start_time=start, **more)


@pytest.mark.parametrize("end", ["SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"])
def test_waiting_ends_with_every_final_state(server, connect, study, end):
    server.states = ["PENDING", "RUNNING", "PAUSED", "CANCELING", "A_STATE_OF_TOMORROW", end]
    client = connect()
    looks = list(follow(client, submit(client, study), poll_seconds=0))
    assert looks[-1].state == end
    assert [look.ended for look in looks] == [False] * 5 + [True]


def test_waiting_survives_an_outage_and_ends_at_its_limit(server, connect, study, monkeypatch):
    server.states = ["RUNNING", "SUCCEEDED"]
    client = connect()
    number = submit(client, study)
    outage = [None, *(RefusalError(503) for _ in range(TRIES + 1)), RefusalError(429)]
    server.failures = {"GET .*/runs/.*": list(outage)}
    assert [*follow(client, number, poll_seconds=0)][-1].state == "SUCCEEDED"
    server.states = ["RUNNING"]
    other = submit(client, study)
    with pytest.raises(ClusterError, match=f"run {other} is still RUNNING after 0 s; it goes on"):
        list(follow(client, other, limit=0, poll_seconds=0.1))
    monkeypatch.setattr(runs, "OUTAGE_SECONDS", 0.0)
    server.failures = {"GET .*/runs/.*": list(outage)}
    with pytest.raises(ClusterError, match=r"\(503\)"):
        list(follow(client, other, poll_seconds=0))


def test_cancel_stops_a_run_and_leaves_an_ended_one(server, connect, study):
    server.states = ["RUNNING"]
    client = connect()
    runner = ClusterRunner(client, poll=0)
    runner.start(study)
    runner.stop()
    with pytest.raises(AssayError, match=f"run {runner.number} ended as CANCELED"):
        list(runner.events())
    runner.stop()
    assert server.asked("POST .*:terminate") == 1


def node(name: str, template: str, number: str, state: str, began: int, *below: str, **more: object):
    """A node of the workflow as the server gives it: its own pod's name, and the numbers of the nodes below.

    A pod is called by workflow, template and number, a node by workflow and number.
    """
    children = [api.PipelineTaskDetailChildTask(pod_name=f"assay-x7k2p-{one}") for one in below]
    return task(name, state, began, pod_name=f"assay-x7k2p-{template}-{number}", child_tasks=children, **more)


@pytest.mark.parametrize("pages", [False, True])
def test_steps_and_their_logs_are_found_among_kubeflows_own_tasks(server, connect, study, pages):
    server.pages = pages
    impl, retried = "system-container-impl", "retry-system-container-impl"
    failed = api.GoogleRpcStatus(code=1, message="OOMKilled")
    server.details = api.V2beta1RunDetails(
        task_details=[
            node("root", "root", "10", "FAILED", 0, "11"),
            node("train", "retry-system-container-executor", "30", "FAILED", 9, "31", error=failed),
            node("executor", retried, "31", "FAILED", 9, "32", "33"),
            node("executor(0)", retried, "32", "FAILED", 9),
            node("executor(1)", retried, "33", "FAILED", 12),
            node("train-driver", "system-container-driver", "29", "SUCCEEDED", 8, "30"),
            node("train", "retry-system-container-executor", "20", "RUNNING", 8, "21"),
            node("executor", retried, "21", "RUNNING", 8, "22"),
            node("executor(0)", retried, "22", "RUNNING", 8),
            node("load", "system-container-executor", "12", "SUCCEEDED", 1, "13"),
            node("executor", impl, "13", "SUCCEEDED", 1, "14"),
            node("scale-driver", "system-container-driver", "14", "SUCCEEDED", 3),
        ]
    )
    server.logs = {
        f"assay-x7k2p-{impl}-13": "loaded\n",
        f"assay-x7k2p-{retried}-22": "epoch 1\n",
        f"assay-x7k2p-{retried}-32": "killed\n",
        f"assay-x7k2p-{retried}-33": "memory\n",
        "assay-x7k2p-system-container-driver-14": "never shown",
    }
    client = connect()
    number = submit(client, study)
    steps = look(client, number).steps
    assert [(step.name, step.state, step.error) for step in steps] == [
        ("load", "SUCCEEDED", ""),
        ("train", "RUNNING", ""),
        ("train", "FAILED", "OOMKilled"),
    ]
    assert [(step.name, text) for step, text in logs(client, number)] == [
        ("load", "loaded\n"),
        ("train", "epoch 1\n"),
        ("train", "killed\nmemory\n"),
    ]
    assert [text for _, text in logs(client, number, "train")] == ["epoch 1\n", "killed\nmemory\n"]
    server.logs = {}
    with pytest.raises(ClusterError, match="no log of the step train"):
        list(logs(client, number, "train"))
    with pytest.raises(UsageError, match="--step fit: expected one of load, scale"):
        list(logs(client, number, "fit"))


def test_logs_of_a_cluster_of_several_users_want_a_namespace(server, connect, study):
    server.namespaces, server.pages = ("alice",), True
    server.details = api.V2beta1RunDetails(task_details=[task("load", "RUNNING", 1, pod_name="p1")])
    server.logs = {"p1": "loaded\n"}
    number = submit(connect(namespace="alice"), study)
    assert [text for _, text in logs(connect(namespace="alice"), number)] == ["loaded\n"]
    with pytest.raises(UsageError, match="give yours by --namespace"):
        list(logs(connect(), number))


def test_a_page_in_the_place_of_a_log_is_none(server, connect, study):
    server.details = api.V2beta1RunDetails(task_details=[task("load", "RUNNING", 1, pod_name="p1")])
    client = connect()
    number = submit(client, study)
    server.failures = {"GET .*/logs?": [RefusalError(200, "<html>", headers={"Content-Type": "text/html"})] * 2}
    with pytest.raises(ClusterError, match="no log of any step"):
        list(logs(client, number))


def test_what_has_not_begun_has_no_time(server, connect, study):
    never = datetime(1, 1, 1, tzinfo=UTC)
    waiting = task("scale", "PENDING", 0)
    waiting.start_time = waiting.end_time = never
    server.details = api.V2beta1RunDetails(task_details=[waiting])
    client = connect()
    run = look(client, submit(client, study))
    assert (run.steps[0].started, run.steps[0].ended) == (None, None)


def test_the_exit_code_of_wait_tells_success_from_all_else(server, tmp_path, connect, study):
    number = submit(connect(), study)
    server.states = ["FAILED"]
    server.details = api.V2beta1RunDetails(task_details=[task("train", "FAILED", 1)])
    done = assay("wait", number, "--host", server.url, cwd=tmp_path)
    assert done.returncode == 1
    assert "ended as FAILED in the step train" in done.stderr
    assert f"`assay logs {number} --step train --host {server.url}`" in done.stderr
