"""The client against a real HTTP server that answers as Kubeflow Pipelines does; the compiled pipeline."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import kfp_server_api as api
import pytest
import yaml
from command import assay
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2
from kfp_server import Kfp, RefusalError
from test_graph import dangling

from components.errors import UsageError
from components.study import Study
from pipeline import __version__
from pipeline import cluster as module
from pipeline.cluster import Client, ClusterError, RemoteRun, State
from pipeline.cluster_settings import Cluster, read_cluster
from pipeline.graph import batches
from pipeline.platform import compile_for
from pipeline.study_file import read_study

MLFLOW = "http://mlflow.team:5000"
PLANTED = "planted-4f1d"  # a secret that must come out nowhere
RICH = Cluster(
    image="registry.example.com/assay:1",
    gpu=2,
    gpu_type="amd.com/gpu",
    cpu="6",
    memory="12Gi",
    shm="3Gi",
    pvc="assay",
    node_selector={"pool": "gpu"},
    tolerations=("nvidia.com/gpu:NoSchedule", "team=vision:NoExecute", "spot"),
    mlflow=MLFLOW,
    secrets={"mlflow-auth": {"password": "MLFLOW_TRACKING_PASSWORD"}},
    config_maps={"bucket": {"endpoint": "MLFLOW_S3_ENDPOINT_URL"}},
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kfp]:
    monkeypatch.setattr(module, "BACKOFF_SECONDS", 0.01)
    for name in ("KFP_TOKEN", "KFP_COOKIE", "KFP_HOST", "KFP_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    running = Kfp()
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def connect(server: Kfp) -> Callable[..., Client]:
    def make(answer_seconds: float = 10.0, **settings: object) -> Client:
        return Client(Cluster.model_validate({"host": server.url, "mlflow": MLFLOW, **settings}), answer_seconds)

    return make


@pytest.fixture(scope="module")
def study() -> Study:
    return read_study("sklearn:iris", ["recipe.train.epochs=3"], 2)


def task(name: str, state: str, began: int, **more: object) -> api.V2beta1PipelineTaskDetail:
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=began)
    return api.V2beta1PipelineTaskDetail(display_name=name, state=state, start_time=start, **more)


# Submitting


def test_a_study_is_uploaded_once_and_run(server, connect, study):
    number = connect().submit(study)
    (run,) = server.runs
    assert run.run_id == number
    assert run.display_name.startswith("iris-")
    (pipeline,), (version,), (experiment,) = server.pipelines, server.versions, server.experiments
    assert (pipeline.display_name, experiment.display_name) == ("assay", "iris")
    assert run.experiment_id == experiment.experiment_id
    assert run.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    parameters = run.runtime_config.parameters
    assert Study.model_validate_json(parameters["study"]) == study
    assert parameters["batches"] == batches(study, Cluster().fan_out)
    assert parameters["run"] == ""
    wanted = version.pipeline_spec["root"]["inputDefinitions"]["parameters"]
    assert set(wanted) == set(parameters)


def test_the_same_content_is_uploaded_once_and_a_change_is_a_version(server, connect, study):
    one, other = connect().submit(study), connect(fan_out=2).submit(read_study("sklearn:wine", [], 1))
    assert one != other
    assert len(server.versions) == 1  # neither the study nor the number of tasks is in the pipeline
    connect(gpu=1).submit(study)
    assert len(server.pipelines) == 1
    assert len({version.name for version in server.versions}) == 2
    connect(gpu=1).submit(study)
    assert len(server.versions) == 2


def test_options_of_the_run_reach_the_server(server, connect, study):
    connect(experiment="nightly", service_account="trainer", pvc="assay", fan_out=2).submit(study)
    (run,) = server.runs
    assert server.experiments[0].display_name == "nightly"
    assert run.service_account == "trainer"
    assert run.runtime_config.parameters["store"] == "/mnt/assay/store"
    assert len(run.runtime_config.parameters["batches"]) == 2


def test_a_cluster_of_several_users_is_asked_in_ones_own_namespace(server, connect, study):
    server.namespaces = ("alice", "bob")
    connect(namespace="alice").submit(study)
    connect(namespace="bob").submit(study)
    assert [pipeline.namespace for pipeline in server.pipelines] == ["alice", "bob"]
    assert [experiment.namespace for experiment in server.experiments] == ["alice", "bob"]
    with pytest.raises(ClusterError, match=r"does not let you list pipelines in the namespace carol.*--namespace"):
        connect(namespace="carol").submit(study)


def test_what_does_not_fit_an_argument_of_a_command_is_refused_before_anything_is_sent(server, connect):
    arms = ", ".join(f"arm number {number}: {{model.dropout: 0.{number + 1:03}}}" for number in range(200))
    large = read_study("sklearn:iris", [f"arms={{{arms}}}"], 30)
    with pytest.raises(UsageError, match=r"its 6030 cells are \d+ bytes to tell Kubeflow.*fewer arms or seeds"):
        connect(fan_out=8).submit(large)
    assert server.seen == []


def test_without_mlflow_or_with_data_of_this_machine_nothing_is_submitted(
    server, connect, tmp_path, study, monkeypatch
):
    client = Client(Cluster(host=server.url))
    with pytest.raises(UsageError, match="where is MLflow"):
        client.submit(study)
    table = tmp_path / "rows.csv"
    table.write_text("a,y\n1,x\n2,z\n")
    here = read_study(f"table:{table}", [], 1)
    with pytest.raises(UsageError, match=r"data.source: the cluster does not see .*rows.csv"):
        client.submit(here)
    assert server.seen == []
    monkeypatch.setattr(module, "VOLUME", str(tmp_path))  # mounted here as in the steps
    connect(pvc="assay").submit(here)
    server.runs.clear()
    by_name = Cluster(host=server.url, config_maps={"mlflow": {"uri": "MLFLOW_TRACKING_URI"}})
    assert Client(by_name).submit(study) == server.runs[0].run_id


# Logins


def test_a_token_that_expires_is_read_again_and_tried_at_once(server, connect, tmp_path, study):
    file = tmp_path / "token"
    file.write_text("old\n")
    server.token = "new"
    client = connect(token_file=str(file))
    with pytest.raises(ClusterError, match=r"does not accept the login \(401\).*--token-file") as refused:
        client.check()
    assert "old" not in str(refused.value)  # the server echoes it
    assert server.asked("GET .*/healthz") == 1

    server.renew = lambda: file.write_text("new\n")
    client.check()
    assert server.asked("GET .*/healthz") == 3


def test_logins_come_from_a_file_the_environment_or_the_pod(server, connect, tmp_path, monkeypatch):
    pod, file, biscuit = tmp_path / "pod", tmp_path / "token", tmp_path / "cookie"
    pod.write_text("of-pod")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(pod))
    server.token = "of-pod"
    connect().check()
    monkeypatch.setenv("KFP_TOKEN", "of-environment")
    server.token = "of-environment"
    connect().check()
    file.write_text("of-file")
    server.token = "of-file"
    connect(token_file=str(file)).check()
    server.token, server.cookie = None, "authservice_session=abc"
    with pytest.raises(ClusterError, match=r"does not accept the login \(302\)"):
        connect().check()
    biscuit.write_text("authservice_session=abc\n")
    connect(cookie_file=str(biscuit)).check()
    file.write_text("")
    with pytest.raises(UsageError, match=r"token_file: .*token holds nothing"):
        connect(token_file=str(file)).check()
    with pytest.raises(UsageError, match="token_file: no-such-file can't be read"):
        connect(token_file="no-such-file").check()


@pytest.mark.parametrize("name", ["KFP_TOKEN", "KFP_COOKIE"])
@pytest.mark.parametrize("ending", ["\nmore", "\N{EURO SIGN}", "\x07"])
def test_a_login_that_no_header_can_hold_is_refused_and_not_repeated(connect, monkeypatch, name, ending):
    monkeypatch.setenv(name, PLANTED + ending)
    with pytest.raises(UsageError, match=f"{name} holds .*; expected one line") as refused:
        connect().check()
    assert PLANTED not in str(refused.value)


# Trouble


def test_a_busy_server_is_asked_again_when_it_says_even_to_start_a_run(server, connect, study):
    server.failures = {"POST .*/runs": [RefusalError(429, headers={"Retry-After": "0"}) for _ in range(3)]}
    connect().submit(study)
    assert len(server.runs) == 1
    assert server.asked("POST .*/runs") == 4


def test_the_pause_is_what_retry_after_asks_for(monkeypatch):
    def pause(value: str) -> float:
        error = api.ApiException(status=429)
        error.headers = {"Retry-After": value}
        return module._asked_pause(error, 7.0)

    assert pause("3") == 3.0
    assert pause("soon") == 7.0
    assert pause("Wed, 01 Jan 2020 00:00:00 GMT") == 0.0


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_that_fails_is_asked_again(server, connect, status):
    server.failures = {"GET .*/healthz": [RefusalError(status), RefusalError(status)]}
    connect().check()
    assert server.asked("GET .*/healthz") == 3


@pytest.mark.parametrize("what", ["pipelines", "pipelines/upload_version", "experiments", "runs"])
@pytest.mark.parametrize("done", [True, False])
def test_nothing_is_made_twice_when_the_answer_to_making_it_is_a_failure(server, connect, study, what, done):
    server.failures = {f"POST .*/{what}": [RefusalError(500, "lost connection", done=done)]}
    connect().submit(study)
    kept = (server.pipelines, server.versions, server.experiments, server.runs)
    assert [len(one) for one in kept] == [1, 1, 1, 1]
    assert server.asked(f"POST .*/{what}") == (1 if done else 2)


def test_a_server_that_never_makes_it_is_given_up(server, connect, study):
    server.failures = {"POST .*/runs": [RefusalError(500, "database is locked") for _ in range(9)]}
    with pytest.raises(ClusterError, match=r"failed to start a run \(500\) \(database is locked\)"):
        connect().submit(study)
    assert server.asked("POST .*/runs") == module.TRIES
    assert server.runs == []


def test_a_refused_upload_says_why(server, connect, study):
    server.failures = {"POST .*/upload_version": [RefusalError(400, "unknown executor")]}
    with pytest.raises(ClusterError, match=r"refuses to upload the pipeline \(400\) \(unknown executor\)"):
        connect().submit(study)


def test_two_that_make_the_same_thing_at_once_share_it(server, connect, study):
    server.failures = {"POST .*/pipelines": [RefusalError(409, "assay already exists", done=True)]}
    connect().submit(study)
    assert len(server.pipelines) == 1


def test_a_slow_answer_is_waited_for_only_so_long_and_starts_no_second_run(server, connect, study):
    server.failures = {"POST .*/runs": [RefusalError(500, delay=0.6, done=True)]}
    connect(answer_seconds=0.3).submit(study)
    assert len(server.runs) == 1
    server.failures = {"GET .*/healthz": [RefusalError(500, delay=0.4) for _ in range(4)]}
    with pytest.raises(ClusterError, match=r"did not look at the server within 0.2 s; look at `assay status`"):
        connect(answer_seconds=0.2).check()


@pytest.mark.parametrize(
    ("status", "message", "parts"),
    [
        (403, "no role", ["does not let you find the run r1 (403)", "no role", "--namespace"]),
        (404, "gone", ["can't find the run r1: there is none (404)", "--host"]),
        (409, "", ["is there already (409)"]),
        (429, "", ["too busy to find the run r1 (429)", "a few minutes"]),
        (400, "bad filter", ["refuses to find the run r1 (400) (bad filter)"]),
        (500, "database is locked", ["failed to find the run r1 (500) (database is locked)"]),
    ],
)
def test_every_refusal_is_one_sentence_that_says_what_to_do(server, connect, status, message, parts):
    server.failures = {"GET .*/runs/r1": [RefusalError(status, message) for _ in range(4)]}
    with pytest.raises(ClusterError) as refused:
        connect().run("r1")
    assert refused.value.status == status
    for part in (server.url, *parts):
        assert part in str(refused.value)
    assert "\n" not in str(refused.value)


def test_where_nobody_listens_or_it_is_not_kubeflow_is_said_at_once(server, connect):
    with pytest.raises(ClusterError, match=r"nobody answers at http://127.0.0.1:9; check --host"):
        Client(Cluster(host="http://127.0.0.1:9")).check()
    with pytest.raises(UsageError, match="which cluster"):
        Client(Cluster())
    page = {"GET .*/healthz": [RefusalError(302, headers={"Location": "/login", "Content-Type": "text/html"})]}
    server.failures = page
    with pytest.raises(ClusterError, match="does not accept the login"):
        connect().check()
    server.failures = {"GET .*/healthz": [RefusalError(200, headers={"Content-Type": "text/html"})]}
    with pytest.raises(ClusterError, match="answers with a page, not with data"):
        connect().check()
    tls = server.url.replace("http://", "https://")
    with pytest.raises(ClusterError, match=r"no safe connection.*SSL_CERT_FILE"):
        Client(Cluster(host=tls)).check()


def test_a_server_older_than_the_sdk_is_named_and_what_it_does_not_know_too(server, connect, study):
    assert connect().check() == ""
    server.tag = "2.4.1"
    assert "Kubeflow Pipelines 2.4.1, older than the 2.17" in connect().check()
    server.pages = True
    assert "Kubeflow Pipelines 2.4.1, older than the 2.17" in connect().check()
    server.pages = "broken"
    with pytest.raises(ClusterError, match="no answer from its own pipeline API; look at the service ml-pipeline"):
        connect().check()
    server.pages, server.tag = False, "unknown"
    assert connect().check() == ""
    server.fields = {"runtime_config"}
    with pytest.raises(ClusterError, match=r"is older than this version of Assay.*runtime_config.*needs an update"):
        connect().submit(study)
    server.failures = {"GET .*/healthz": [RefusalError(404, "Not Found")]}
    with pytest.raises(ClusterError, match="no API of Kubeflow Pipelines 2; expected a server of version 2 or newer"):
        connect().check()


# Runs


@pytest.mark.parametrize("end", ["SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"])
def test_waiting_ends_with_every_final_state(server, connect, study, end):
    server.states = ["PENDING", "RUNNING", "PAUSED", "CANCELING", "A_STATE_OF_TOMORROW", end]
    client = connect()
    looks: list[RemoteRun] = []
    run = client.wait(client.submit(study), looks.append, poll_seconds=0)
    assert run.state == State(end)
    assert [look.state.ended for look in looks] == [False] * 5 + [True]


def test_waiting_survives_an_outage_and_ends_at_its_limit(server, connect, study, monkeypatch):
    server.states = ["RUNNING", "SUCCEEDED"]
    client = connect()
    number = client.submit(study)
    outage = [None, *(RefusalError(503) for _ in range(module.TRIES + 1)), RefusalError(429)]
    server.failures = {"GET .*/runs/.*": list(outage)}
    assert client.wait(number, lambda run: None, poll_seconds=0).state is State.SUCCEEDED
    server.states = ["RUNNING"]
    other = client.submit(study)
    with pytest.raises(ClusterError, match=f"run {other} is still RUNNING after 0 s; it goes on"):
        client.wait(other, lambda run: None, limit=0, poll_seconds=0.1)
    monkeypatch.setattr(module, "OUTAGE_SECONDS", 0.0)
    server.failures = {"GET .*/runs/.*": list(outage)}
    with pytest.raises(ClusterError, match=r"\(503\)"):
        client.wait(other, lambda run: None, poll_seconds=0)


def test_cancel_stops_a_run_and_leaves_an_ended_one(server, connect, study):
    server.states = ["RUNNING"]
    client = connect()
    number = client.submit(study)
    client.cancel(number)
    assert client.wait(number, lambda run: None, poll_seconds=0).state is State.CANCELED
    client.cancel(number)
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
    number = client.submit(study)
    steps = client.run(number).steps
    assert [(step.name, step.state.value, step.error) for step in steps] == [
        ("load", "SUCCEEDED", ""),
        ("train", "RUNNING", ""),
        ("train", "FAILED", "OOMKilled"),
    ]
    assert [(step.name, text) for step, text in client.logs(number)] == [
        ("load", "loaded\n"),
        ("train", "epoch 1\n"),
        ("train", "killed\nmemory\n"),
    ]
    assert [text for _, text in client.logs(number, "train")] == ["epoch 1\n", "killed\nmemory\n"]
    server.logs = {}
    with pytest.raises(ClusterError, match="no log of the step train"):
        list(client.logs(number, "train"))
    with pytest.raises(UsageError, match="--step fit: expected one of load, scale"):
        list(client.logs(number, "fit"))


def test_logs_of_a_cluster_of_several_users_want_a_namespace(server, connect, study):
    server.namespaces, server.pages = ("alice",), True
    server.details = api.V2beta1RunDetails(task_details=[task("load", "RUNNING", 1, pod_name="p1")])
    server.logs = {"p1": "loaded\n"}
    number = connect(namespace="alice").submit(study)
    assert [text for _, text in connect(namespace="alice").logs(number)] == ["loaded\n"]
    with pytest.raises(UsageError, match="give yours by --namespace"):
        list(connect().logs(number))


def test_a_page_in_the_place_of_a_log_is_none(server, connect, study):
    server.details = api.V2beta1RunDetails(task_details=[task("load", "RUNNING", 1, pod_name="p1")])
    client = connect()
    number = client.submit(study)
    server.failures = {"GET .*/logs?": [RefusalError(200, "<html>", headers={"Content-Type": "text/html"})] * 2}
    with pytest.raises(ClusterError, match="no log of any step"):
        list(client.logs(number))


def test_what_has_not_begun_has_no_time(server, connect, study):
    never = datetime(1, 1, 1, tzinfo=UTC)
    waiting = task("scale", "PENDING", 0)
    waiting.start_time = waiting.end_time = never
    server.details = api.V2beta1RunDetails(task_details=[waiting])
    client = connect()
    run = client.run(client.submit(study))
    assert (run.steps[0].started, run.steps[0].ended, run.ended) == (None, None, None)


# The settings


def test_profile_goes_over_section_and_options_over_both(tmp_path):
    file, profile = tmp_path / "s.yaml", tmp_path / "p.yaml"
    head = "study: s\ndata: {source: sklearn:iris}\n"
    file.write_text(head + "cluster:\n  gpu: 1\n  cpu: 2\n  namespace: mine\n  node_selector: {a: b}\n")
    profile.write_text("host: http://one:8080/\ncpu: 3\nnode_selector: {c: d}\n")
    found = read_cluster(str(file), profile, {"namespace": "yours", "gpu": None, "node_selector": {}})
    assert found == Cluster(
        host="http://one:8080", gpu=1, cpu="3", namespace="yours", node_selector={"a": "b", "c": "d"}
    )
    assert read_cluster("iris", None, {}) == Cluster()


def test_the_cluster_changes_neither_the_study_nor_its_cells(tmp_path):
    file = tmp_path / "s.yaml"
    head = "study: s\ndata: {source: sklearn:iris}\n"
    file.write_text(head)
    plain = read_study(str(file), [], None)
    file.write_text(head + "cluster: {gpu: 4, host: http://there}\n")
    other = read_study(str(file), [], None)
    assert other.digest() == plain.digest()
    assert [cell.key for cell in other.cells()] == [cell.key for cell in plain.cells()]


@pytest.mark.parametrize(
    ("own", "used"),
    [
        ("http://mlflow.example.com", "http://mlflow.example.com"),
        ("http://localhost:5000", None),
        ("sqlite:///mlflow.db", None),
    ],
)
def test_mlflow_is_where_this_machine_has_it_unless_something_says_more(monkeypatch, tmp_path, own, used):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own)
    assert read_cluster("iris", None, {}).mlflow == used
    profile = tmp_path / "p.yaml"
    profile.write_text("config_maps: {mlflow: {uri: MLFLOW_TRACKING_URI}}\n")
    assert read_cluster("iris", profile, {}).mlflow is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://u:{PLANTED}@mlflow.example.com")
    with pytest.raises(UsageError, match=r"MLFLOW_TRACKING_URI: .*without a password") as refused:
        read_cluster("iris", None, {})
    assert PLANTED not in str(refused.value)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("gpus: 1", ["s.yaml:4: ", "cluster.gpus", "expected gpu"]),
        ("gpu: two", ["s.yaml:4: ", "cluster.gpu", "a whole number"]),
        ("memory: 8 GB", ["s.yaml:4: ", "cluster.memory", "such as 8Gi"]),
        ("cpu: many", ["s.yaml:4: ", "cluster.cpu", "500m"]),
        ("host: kfp.example.com", ["s.yaml:4: ", "cluster.host", "http://"]),
        ("timezone: Mars", ["s.yaml:4: ", "cluster.timezone", "Europe/Berlin"]),
        ("tolerations: ['a=b=c:Never']", ["s.yaml:4: ", "cluster.tolerations", "NoSchedule"]),
    ],
)
def test_a_wrong_setting_is_named_with_its_line(tmp_path, line, parts):
    file = tmp_path / "s.yaml"
    file.write_text(f"study: s\ndata: {{source: sklearn:iris}}\ncluster:\n  {line}\n")
    with pytest.raises(UsageError) as refused:
        read_cluster(str(file), None, {})
    for part in parts:
        assert part in str(refused.value)


@pytest.mark.parametrize(
    "line", [f"mlflow: http://u:{PLANTED}@host", f"secrets: {{s: {{k: '{PLANTED}'}}}}", f"host: {PLANTED}"]
)
def test_a_secret_where_none_belongs_is_refused_and_not_repeated(tmp_path, line):
    profile = tmp_path / "p.yaml"
    profile.write_text(line + "\n")
    with pytest.raises(UsageError) as refused:
        read_cluster(None, profile, {})
    assert PLANTED not in str(refused.value)


def test_a_variable_is_given_once():
    with pytest.raises(ValueError, match="MLFLOW_TRACKING_URI is given more than once"):
        Cluster(mlflow=MLFLOW, secrets={"s": {"uri": "MLFLOW_TRACKING_URI"}})


# The compiled pipeline


@pytest.fixture(scope="module")
def compiled() -> tuple[dict, dict]:
    spec, platform = yaml.safe_load_all(compile_for(RICH))
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def test_the_compiled_pipeline_is_valid_and_nothing_in_it_dangles(compiled):
    spec, platform = compiled
    parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert parsed.schema_version == "2.1.0"
    deployment = json_format.ParseDict(spec["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
    assert set(deployment.executors) == {f"exec-{step}" for step in module.STEPS}
    for settings in platform.values():
        json_format.ParseDict(settings, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    assert list(dangling(spec)) == []
    assert "enableCache" not in yaml.safe_dump(spec)  # off for every task, uploaded or not


@pytest.mark.parametrize("step", module.STEPS)
def test_each_step_gets_what_it_needs_and_only_training_a_gpu(compiled, step):
    spec, platform = compiled
    container = spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]
    resources, settings = container["resources"], platform[f"exec-{step}"]
    trains = step == "train"
    assert container["image"] == "registry.example.com/assay:1"
    assert resources["resourceCpuLimit"] == resources["resourceCpuRequest"] == ("6" if trains else "1")
    assert resources["resourceMemoryLimit"] == resources["resourceMemoryRequest"] == "12Gi"
    accelerator = resources.get("accelerator", {})
    wanted = ("2", "amd.com/gpu") if trains else (None, None)
    assert (accelerator.get("resourceCount"), accelerator.get("resourceType")) == wanted
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert environment == {"MLFLOW_TRACKING_URI": MLFLOW, "TFDS_DATA_DIR": "/mnt/assay/tfds"}
    (mount,) = settings["pvcMount"]
    assert (mount["constant"], mount["mountPath"]) == ("assay", "/mnt/assay")
    (secret,), (config,) = settings["secretAsEnv"], settings["configMapAsEnv"]
    assert secret["secretName"] == "mlflow-auth"
    assert secret["keyToEnv"] == [{"secretKey": "password", "envVar": "MLFLOW_TRACKING_PASSWORD"}]
    assert config["configMapName"] == "bucket"
    assert ("fieldPathAsEnv" in settings) == (step == "load")
    assert {"emptyDirMounts", "tolerations", "nodeSelector"} & set(settings) == (
        {"emptyDirMounts", "tolerations", "nodeSelector"} if trains else set()
    )
    if trains:
        (shm,) = settings["emptyDirMounts"]
        assert (shm["mountPath"], shm["medium"], shm["sizeLimit"]) == ("/dev/shm", "Memory", "3Gi")
        assert settings["nodeSelector"]["labels"] == {"pool": "gpu"}
        assert settings["tolerations"] == [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "team", "operator": "Equal", "value": "vision", "effect": "NoExecute"},
            {"key": "spot", "operator": "Exists"},
        ]


def test_what_is_sent_to_compile_does_not_grow_with_the_study(server, connect):
    connect().submit(read_study("sklearn:iris", [], 1))
    connect().submit(read_study("sklearn:iris", ["arms={model.dropout: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}"], 50))
    assert len(server.texts) == 1
    assert len(next(iter(server.texts.values()))) < 32_000


def test_without_a_gpu_or_a_volume_none_is_asked_for():
    text = compile_for(Cluster(mlflow=MLFLOW))
    assert f"image: assay:{__version__}\n" in text  # what `assay run --on docker` builds
    assert f"image: assay:{__version__}-gpu\n" in compile_for(Cluster(gpu=1))
    assert "accelerator" not in text
    assert "pvcMount" not in text
    assert "tolerations" not in text


def test_a_run_without_a_name_is_called_by_its_number_in_mlflow(monkeypatch, tmp_path, study):
    from components.load import load

    monkeypatch.chdir(tmp_path)
    paths = [str(tmp_path / name) for name in ("store", "data", "runs")]
    with pytest.raises(SystemExit, match="the run has no name"):
        load(study.model_dump_json(), "", *paths)
    monkeypatch.setenv("KFP_RUN_ID", "7c8d")
    load(study.model_dump_json(), "", *paths)
    assert json.loads((tmp_path / "runs").read_text())["run"] == "7c8d"


# The command


def test_the_command_submits_waits_and_tells_links_and_no_secret(server, tmp_path):
    token = tmp_path / "token"
    token.write_text(PLANTED)
    server.token = PLANTED
    server.states = ["RUNNING", "SUCCEEDED"]
    options = ("--host", server.url, "--token-file", str(token))
    profile = tmp_path / "profile.yaml"
    profile.write_text(f"mlflow: {MLFLOW}\nsecrets: {{mlflow-auth: {{password: MLFLOW_TRACKING_PASSWORD}}}}\n")
    done = assay(
        "submit", "iris", *options, "--profile", "profile.yaml", "--gpu", "1", cwd=tmp_path, KFP_COOKIE=PLANTED
    )
    assert done.returncode == 0, done.stderr
    number = done.stdout.strip()
    assert number == server.runs[0].run_id
    assert f"{server.url}/#/runs/details/{number}" in done.stderr
    assert f"MLflow: {MLFLOW}, experiment iris" in done.stderr
    shown = [done]
    shown.append(assay("status", number, *options, cwd=tmp_path))
    assert "RUNNING" in shown[-1].stdout
    shown.append(assay("wait", number, *options, cwd=tmp_path))
    assert (shown[-1].returncode, shown[-1].stdout) == (0, "")
    server.token = "another"
    shown.append(assay("status", number, *options, cwd=tmp_path))  # the server echoes what it was given
    assert shown[-1].returncode == 1
    bodies = b"".join(body for _, _, _, body in server.seen).decode()
    assert "mlflow-auth" in bodies
    for text in (bodies, *server.texts.values(), *(one.stdout + one.stderr for one in shown)):
        assert PLANTED not in text
    assert not list(tmp_path.glob(".assay*"))


def test_the_exit_code_of_wait_tells_success_from_all_else(server, tmp_path, connect, study):
    number = connect().submit(study)
    server.states = ["FAILED"]
    server.details = api.V2beta1RunDetails(task_details=[task("train", "FAILED", 1)])
    done = assay("wait", number, "--host", server.url, cwd=tmp_path)
    assert done.returncode == 1
    assert "ended as FAILED in the step train" in done.stderr
    assert f"`assay logs {number} --step train --host {server.url}`" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["submit", "iris"], ["which cluster?", "--host"]),
        (["submit", "iris", "--host", "http://x", "--node-selector", "gpu"], ["--node-selector gpu", "KEY=VALUE"]),
        (["submit", "iris", "--host", "http://x", "--toleration", "a:b"], ["--toleration: ", "NoSchedule"]),
        (["submit", "iris", "--host", "http://x", "--gpu", "-1"], ["--gpu: ", "at least 0"]),
        (["submit", "iris", "--host", "http://x", "--fan-out", "0"], ["--fan-out: ", "at least 1"]),
        (["status", "x", "--host", "ftp://x"], ["--host: ", "http://"]),
    ],
)
def test_bad_options_are_one_message(tmp_path, arguments, parts):
    done: subprocess.CompletedProcess[str] = assay(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr


def test_a_ready_study_may_be_submitted_from_python_with_its_settings_as_json(tmp_path: Path):
    assert Cluster.model_validate_json(RICH.model_dump_json()) == RICH
    assert json.loads(RICH.model_dump_json())["tolerations"][2] == "spot"
