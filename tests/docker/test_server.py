"""The team's MLflow server: the manifest is valid, and what its container starts does what the manifest says.

No cluster and no image is needed: the container's own command, arguments and environment are run with the MLflow that
is installed here, on a real PostgreSQL. Only host names, ports and paths are exchanged.
"""

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from command import HANGS_SECONDS
from team_server import MANIFEST, NAMESPACE, OBJECTS, PODS, ROOT, container

from pipeline.commands.doctor.servers import check_mlflow

COMPOSE = (ROOT / "docker" / "compose.yaml").read_text()
SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"
SERVICE = ("mlflow", f"mlflow.{NAMESPACE}", f"mlflow.{NAMESPACE}.svc", f"mlflow.{NAMESPACE}.svc.cluster.local")


def test_each_object_is_valid_for_kubernetes():
    import kubernetes_validate

    for described in OBJECTS.values():
        kubernetes_validate.validate(described, "1.33", strict=True)
    broken = json.loads(json.dumps(OBJECTS["StatefulSet", "mlflow"]).replace("readinessProbe", "readynessProbe"))
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.33", strict=True)


def test_no_namespace_and_no_password_is_written_down():
    for described in OBJECTS.values():
        assert "namespace" not in described["metadata"], described["metadata"]
    assert "Secret" not in {kind for kind, _ in OBJECTS}
    for pod in PODS:
        for variable in container(pod)["env"]:
            if re.search("PASSWORD|SECRET", variable["name"]):
                assert not variable["valueFrom"]["secretKeyRef"].get("optional"), variable


def test_the_command_in_the_comment_makes_the_secret_that_the_pods_want():
    said = re.search(r"create secret generic (\S+)", MANIFEST)
    assert said
    made = {(said[1], key) for key in re.findall(r"--from-literal=(\w+)=\"\$\(openssl rand -hex \d+\)\"", MANIFEST)}
    variables = [variable for pod in PODS for variable in container(pod)["env"]]
    wanted = [v["valueFrom"]["secretKeyRef"] for v in variables if "secretKeyRef" in v.get("valueFrom", {})]
    assert {(reference["name"], reference["key"]) for reference in wanted} == made


def test_the_versions_are_those_of_the_constraints_and_of_the_compose_file():
    locked = re.search(r"^mlflow==(\S+)$", (ROOT / "docker" / "constraints.txt").read_text(), re.MULTILINE)
    assert locked
    composed = yaml.safe_load(COMPOSE)["services"]
    assert container("mlflow")["image"] == f"ghcr.io/mlflow/mlflow:v{locked[1]}-full" == composed["mlflow"]["image"]
    assert container("mlflow-postgres")["image"] == composed["postgres"]["image"]


@pytest.mark.parametrize("pod", sorted(PODS))
def test_a_pod_may_do_no_more_than_it_must(pod):
    spec, only = PODS[pod]["spec"], container(pod)
    assert spec["automountServiceAccountToken"] is False
    assert ("ServiceAccount", spec["serviceAccountName"]) in OBJECTS
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= only["resources"]["requests"].keys() & only["resources"]["limits"].keys()
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= only.keys()
    stored = {claim["metadata"]["name"] for claim in OBJECTS["StatefulSet", pod]["spec"]["volumeClaimTemplates"]}
    kept = {volume["name"] for volume in spec["volumes"]}
    assert {mount["name"] for mount in only["volumeMounts"]} == kept | stored


@pytest.mark.parametrize("pod", sorted(PODS))
def test_services_and_network_policies_select_the_pods(pod):
    labels = PODS[pod]["metadata"]["labels"]
    ports = {port["name"] for port in container(pod)["ports"]}
    service, policy = OBJECTS["Service", pod]["spec"], OBJECTS["NetworkPolicy", pod]["spec"]
    assert service["selector"] == policy["podSelector"]["matchLabels"] == labels
    assert {port["targetPort"] for port in service["ports"]} == ports
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == ports


def test_only_mlflow_may_talk_to_postgresql():
    (rule,) = OBJECTS["NetworkPolicy", "mlflow-postgres"]["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": PODS["mlflow"]["metadata"]["labels"]}}]
    env = {variable["name"]: variable.get("value") for variable in container("mlflow")["env"]}
    assert ("Service", env["PGHOST"]) in OBJECTS


def test_compose_keeps_users_as_the_manifest_does():
    assert (ROOT / "docker" / "auth.ini").read_text() == OBJECTS["ConfigMap", "mlflow"]["data"]["auth.ini"]


@pytest.mark.docker
def test_compose_wants_each_password_and_the_host(tmp_path):
    command = next((c for c in (["docker-compose"], ["docker", "compose"]) if _runs([*c, "version"])), None)
    if command is None:
        pytest.skip("neither `docker compose` nor `docker-compose` is here")
    names = set(re.findall(r"\$\{(\w+)", COMPOSE))
    for file in ("compose.yaml", "auth.ini"):
        shutil.copy(ROOT / "docker" / file, tmp_path)

    def config(given: dict[str, str]) -> subprocess.CompletedProcess[str]:
        (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
        env = {name: value for name, value in os.environ.items() if name not in {*names, "PYTHONPATH"}}
        arguments = [*command, "--file", "compose.yaml", "config"]
        return subprocess.run(arguments, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=HANGS_SECONDS)

    planted = {name: f"planted-{name.lower().replace('_', '-')}" for name in names}
    complete = config(planted)
    assert complete.returncode == 0, complete.stderr
    services = yaml.safe_load(complete.stdout)["services"]
    assert services["mlflow"]["environment"]["PGPASSWORD"] == services["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert planted["MLFLOW_HOST"] in str(services["mlflow"]["command"])
    for missing in sorted(names):
        refused = config({name: value for name, value in planted.items() if name != missing})
        assert refused.returncode, missing
        assert "see the top of compose.yaml" in refused.stderr


def _runs(command: list[str]) -> bool:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # Debian's is a Python program
    try:
        return subprocess.run(command, env=env, capture_output=True, timeout=HANGS_SECONDS).returncode == 0
    except OSError:
        return False


@pytest.mark.slow
def test_a_login_is_needed(server):
    assert server.ask(SEARCH)[0] == 401
    assert server.ask(SEARCH, ("admin", "password1234"))[0] == 401
    assert server.ask(SEARCH, ("admin", server.admin))[0] == 200


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SERVICE, "localhost", "127.0.0.1"])
def test_the_service_has_all_its_names(server, name):
    for host in (name, f"{name}:5000"):
        assert server.ask(SEARCH, ("admin", server.admin), host)[0] == 200, host


@pytest.mark.slow
@pytest.mark.parametrize("host", ["example.org", "mlflow.other", "mlflow.team-a.example.org:5000", "10.1.2.3:5000"])
def test_another_host_is_refused_before_any_login(server, host):
    for login in (None, ("admin", server.admin)):
        status, text = server.ask(SEARCH, login, host)
        assert (status, "Invalid Host header" in text) == (403, True)


@pytest.mark.slow
def test_runs_files_and_users_survive_a_restart(server, monkeypatch):
    from mlflow import MlflowClient

    login = ("ada", secrets.token_hex(12))
    asked = {"username": login[0], "password": login[1]}
    assert server.ask("/api/2.0/mlflow/users/create", ("admin", server.admin), body=asked)[0] == 200
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", server.admin)
    client = MlflowClient(server.address)
    run = client.create_run(client.create_experiment("digits"))
    client.log_metric(run.info.run_id, "accuracy", 0.5)
    client.log_text(run.info.run_id, "kept", "notes/kept.txt")
    assert str(run.info.artifact_uri).startswith("mlflow-artifacts:")
    assert [file.read_text() for file in server.artifacts.rglob("kept.txt")] == ["kept"]

    server.stop()
    assert server.ask(SEARCH, ("admin", server.admin))[0] == 0
    server.start()

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", login[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", login[1])
    client = MlflowClient(server.address)
    assert client.get_run(run.info.run_id).data.metrics == {"accuracy": 0.5}
    fetched = client.download_artifacts(run.info.run_id, "notes/kept.txt", str(server.home))
    assert Path(fetched).read_text() == "kept"
    client.create_run(run.info.experiment_id)  # a colleague's study goes on
    denied = server.ask(
        "/api/2.0/mlflow/experiments/delete", login, body={"experiment_id": run.info.experiment_id}
    )  # and remains the colleague's
    assert denied[0] == 403

    # Logins are remembered for a while, but not longer than they are good.
    assert server.ask(SEARCH, login)[0] == 200
    changed = {"username": login[0], "password": secrets.token_hex(12)}
    update = "/api/2.0/mlflow/users/update-password"
    assert server.ask(update, ("admin", server.admin), body=changed, method="PATCH")[0] == 200
    assert server.ask(SEARCH, login)[0] == 401
    assert server.ask(SEARCH, (login[0], changed["password"]))[0] == 200


@pytest.mark.slow
def test_the_doctor_finds_it_healthy_once_somebody_logs_in(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # which the doctor would set for good
    assert "wants a login" in check_mlflow(server.address, deep=False).told
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", server.admin)
    found = check_mlflow(server.address, deep=True)
    assert (found.state, "files can be written and read" in found.told) == ("ok", True), found
    assert not list(server.artifacts.rglob("doctor.txt"))
    stranger = check_mlflow(server.address.replace("127.0.0.1", "0.0.0.0"), deep=False)  # the same by another name
    assert "--allowed-hosts" in stranger.told


@pytest.mark.slow
def test_nothing_is_written_beside_the_volumes_and_no_secret_in_the_log(server):
    assert not list((server.folder / "cwd").iterdir())
    log = server.log.read_text()
    assert "mlflow" in log.lower()
    assert not [name for name, value in server.keys.items() if value in log or value in shlex.join(server.command)]
