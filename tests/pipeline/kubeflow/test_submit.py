"""Submitting a study, to a real HTTP server that answers as Kubeflow Pipelines does."""

import subprocess

import pytest
from command import assay

from components.errors import UsageError
from components.study.shards import labels
from components.study.study import Study
from pipeline.kubeflow.client import Client, ClusterError
from pipeline.kubeflow.settings import Cluster
from pipeline.kubeflow.submit import submit
from pipeline.study_file import read_study

MLFLOW = "http://mlflow.team:5000"
PLANTED = "planted-4f1d"  # a secret that must come out nowhere


@pytest.fixture(scope="module")
def study() -> Study:
    return read_study("sklearn:iris", ["recipe.train.epochs=3"], 2)


def test_a_study_is_uploaded_once_and_run(server, connect, study):
    number = submit(connect(), study)
    (run,) = server.runs
    assert run.run_id == number
    assert run.display_name.startswith("iris-")
    (pipeline,), (version,), (experiment,) = server.pipelines, server.versions, server.experiments
    assert (pipeline.display_name, experiment.display_name) == ("assay", "iris")
    assert run.experiment_id == experiment.experiment_id
    assert run.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    parameters = run.runtime_config.parameters
    assert Study.model_validate_json(parameters["study"]) == study
    assert parameters["batches"] == labels(study, Cluster().fan_out)
    assert parameters["run"] == ""
    wanted = version.pipeline_spec["root"]["inputDefinitions"]["parameters"]
    assert set(wanted) == set(parameters)


def test_the_same_content_is_uploaded_once_and_a_change_is_a_version(server, connect, study):
    one, other = submit(connect(), study), submit(connect(fan_out=2), read_study("sklearn:wine", [], 1))
    assert one != other
    assert len(server.versions) == 1  # neither the study nor the number of tasks is in the pipeline
    submit(connect(gpu=1), study)
    assert len(server.pipelines) == 1
    assert len({version.name for version in server.versions}) == 2
    submit(connect(gpu=1), study)
    assert len(server.versions) == 2


def test_options_of_the_run_reach_the_server(server, connect, study):
    submit(connect(experiment="nightly", service_account="trainer", pvc="assay", fan_out=2), study)
    (run,) = server.runs
    assert server.experiments[0].display_name == "nightly"
    assert run.service_account == "trainer"
    assert run.runtime_config.parameters["store"] == "/mnt/assay/store"
    assert len(run.runtime_config.parameters["batches"]) == 2


def test_a_cluster_of_several_users_is_asked_in_ones_own_namespace(server, connect, study):
    server.namespaces = ("alice", "bob")
    submit(connect(namespace="alice"), study)
    submit(connect(namespace="bob"), study)
    assert [pipeline.namespace for pipeline in server.pipelines] == ["alice", "bob"]
    assert [experiment.namespace for experiment in server.experiments] == ["alice", "bob"]
    with pytest.raises(ClusterError, match=r"does not let you list pipelines in the namespace carol.*--namespace"):
        submit(connect(namespace="carol"), study)


def test_what_does_not_fit_an_argument_of_a_command_is_refused_before_anything_is_sent(
    server, connect, study, monkeypatch
):
    monkeypatch.setattr("pipeline.kubeflow.resources.MAX_PARAMETERS", 1000)
    with pytest.raises(UsageError, match=r"the study is \d+ bytes to tell Kubeflow, more than the 1000 that fit"):
        submit(connect(), study)
    assert server.seen == []


def test_without_mlflow_or_with_data_of_this_machine_nothing_is_submitted(
    server, connect, tmp_path, study, monkeypatch
):
    client = Client(Cluster(host=server.url))
    with pytest.raises(UsageError, match="where is MLflow"):
        submit(client, study)
    table = tmp_path / "rows.csv"
    table.write_text("a,y\n1,x\n2,z\n")
    here = read_study(f"table:{table}", [], 1)
    with pytest.raises(UsageError, match=r"data.source: the cluster does not see .*rows.csv"):
        submit(client, here)
    assert server.seen == []
    monkeypatch.setattr("pipeline.kubeflow.submit.VOLUME", str(tmp_path))  # mounted here as in the steps
    submit(connect(pvc="assay"), here)
    server.runs.clear()
    by_name = Cluster(host=server.url, config_maps={"mlflow": {"uri": "MLFLOW_TRACKING_URI"}})
    assert submit(Client(by_name), study) == server.runs[0].run_id


def test_what_is_sent_to_compile_does_not_grow_with_the_study(server, connect):
    submit(connect(), read_study("sklearn:iris", [], 1))
    submit(connect(), read_study("sklearn:iris", ["arms={model.dropout: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}"], 50))
    assert len(server.texts) == 1
    assert len(next(iter(server.texts.values()))) < 32_000


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
