"""The team's MLflow server: the manifest is valid, and what its container starts does what the manifest says.

No cluster and no image is needed: the container's own command, arguments and environment are run with the MLflow that
is installed here, on a real PostgreSQL. Only host names, ports and paths are exchanged.
"""

import base64
import json
import os
import pwd
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.doctor_servers import check_mlflow

ROOT = Path(__file__).parents[2]
MANIFEST = (ROOT / "mlflow.yaml").read_text()
COMPOSE = (ROOT / "docker" / "compose.yaml").read_text()
OBJECTS: dict[tuple[str, str], dict[str, Any]] = {
    (o["kind"], o["metadata"]["name"]): o for o in yaml.safe_load_all(MANIFEST)
}
PODS = {name: o["spec"]["template"] for (kind, name), o in OBJECTS.items() if kind == "StatefulSet"}
NAMESPACE = "team-a"
START_SECONDS = 240
SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"
SERVICE = ("mlflow", f"mlflow.{NAMESPACE}", f"mlflow.{NAMESPACE}.svc", f"mlflow.{NAMESPACE}.svc.cluster.local")


def container(pod: str) -> dict[str, Any]:
    (only,) = PODS[pod]["spec"]["containers"]
    return only


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
        return subprocess.run(arguments, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)

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
        return subprocess.run(command, env=env, capture_output=True, timeout=60).returncode == 0
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def postgres() -> Iterator[tuple[int, str]]:
    """The port and the password of a PostgreSQL with an empty database `mlflow`, as its image makes it."""
    import psycopg2

    found = shutil.which("initdb") or next(iter(sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")))), "")
    if not found:
        pytest.skip("PostgreSQL's server is not installed (on Debian: apt-get install postgresql)")
    programs = Path(found).resolve().parent
    as_user: dict[str, Any] = {}
    if os.getuid() == 0:  # PostgreSQL refuses to be root
        nobody = pwd.getpwnam("nobody")
        as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    port, password = free_port(), secrets.token_hex(24)
    with tempfile.TemporaryDirectory(prefix="assay-postgres-") as folder:
        words, data = Path(folder, "password"), Path(folder, "data")
        words.write_text(password)
        if as_user:
            for path in (words, Path(folder)):
                os.chown(path, as_user["user"], as_user["group"])
        initdb = [programs / "initdb", "--pgdata", data, "--username=mlflow", "--pwfile", words, "--no-sync"]
        initdb += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        made = subprocess.run(initdb, cwd=folder, capture_output=True, text=True, timeout=120, **as_user)
        assert made.returncode == 0, made.stderr
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with Path(folder, "log").open("w+") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, *options], cwd=folder, stdout=log, stderr=log, **as_user
            )
            try:
                where = {"host": "127.0.0.1", "port": port, "user": "mlflow", "password": password}
                deadline = time.monotonic() + 60
                while True:
                    try:
                        connection = psycopg2.connect(**where, dbname="postgres")
                        break
                    except psycopg2.OperationalError:
                        assert server.poll() is None, Path(folder, "log").read_text()
                        assert time.monotonic() < deadline, Path(folder, "log").read_text()
                        time.sleep(0.2)
                connection.autocommit = True
                connection.cursor().execute("CREATE DATABASE mlflow")
                connection.close()
                yield port, password
            finally:
                server.send_signal(signal.SIGINT)  # ends now, and cleanly
                server.wait(60)


class Server:
    """What the manifest's container runs, as a process of this machine."""

    def __init__(self, folder: Path, postgres: tuple[int, str]):
        self.port, self.admin = free_port(), secrets.token_hex(24)
        self.address, self.folder = f"http://127.0.0.1:{self.port}", folder
        self.artifacts, self.log, self.home = folder / "artifacts", folder / "log", folder / "tmp"
        for made in (self.artifacts, self.home, folder / "cwd"):
            made.mkdir()
        (folder / "auth.ini").write_text(OBJECTS["ConfigMap", "mlflow"]["data"]["auth.ini"])
        keys = {"POSTGRES_PASSWORD": postgres[1], "MLFLOW_AUTH_ADMIN_PASSWORD": self.admin}
        self.keys = {**keys, "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32)}
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
            **self._environment(),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(postgres[0]),
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
        }
        exchanged = {
            "--host=0.0.0.0": "--host=127.0.0.1",
            "--port=5000": f"--port={self.port}",
            "--artifacts-destination=/mlflow/artifacts": f"--artifacts-destination={self.artifacts}",
        }
        only = container("mlflow")
        assert exchanged.keys() <= set(only["args"])
        arguments = [exchanged.get(argument, argument) for argument in only["args"]]
        self.command = [self._expanded(word) for word in [*only["command"], *arguments]]
        self.command[0] = str(Path(sys.executable).with_name(self.command[0]))
        self.process: subprocess.Popen[bytes] | None = None

    def _environment(self) -> dict[str, str]:
        values = {}
        for variable in container("mlflow")["env"]:
            source = variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                values[variable["name"]] = self.keys[source["secretKeyRef"]["key"]]
            elif source:
                assert source == {"fieldRef": {"fieldPath": "metadata.namespace"}}
                values[variable["name"]] = NAMESPACE
            else:
                values[variable["name"]] = variable["value"]
        return values

    def _expanded(self, word: str) -> str:
        """Put in the container's variables, as Kubernetes does."""
        return re.sub(r"\$\((\w+)\)", lambda name: self.environment[name[1]], word)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder / "cwd",
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        probe = container("mlflow")["readinessProbe"]["httpGet"]["path"]
        deadline = time.monotonic() + START_SECONDS
        while self.ask(probe, host="10.1.2.3:5000")[0] != 200:  # a kubelet asks by the pod's address
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.3)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(30)

    def ask(
        self,
        path: str,
        login: tuple[str, str] | None = None,
        host: str | None = None,
        body: Any = None,
        method: str | None = None,
    ) -> tuple[int, str]:
        """Return status and text of an answer; status 0 where there is none."""
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(self.address + path, data, method=method)
        request.add_header("Content-Type", "application/json")
        request.add_header("Host", host or f"mlflow.{NAMESPACE}:5000")
        if login:
            request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""


@pytest.fixture(scope="module")
def server(postgres, tmp_path_factory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"), postgres)
    try:
        made.start()
        yield made
    finally:
        made.stop()


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
