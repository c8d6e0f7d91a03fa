"""Settings of a cluster: where they come from, and what is refused."""

import pytest

from components.errors import UsageError
from pipeline.kubeflow.settings import Cluster, read_cluster
from pipeline.study_file import read_study

MLFLOW = "http://mlflow.team:5000"
PLANTED = "planted-4f1d"  # a secret that must come out nowhere


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
