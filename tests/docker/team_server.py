"""The team's MLflow server as mlflow.yaml describes it: its own command, on a real PostgreSQL of this machine."""

import base64
import json
import os
import pwd
import re
import secrets
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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import HANGS_SECONDS

ROOT = Path(__file__).parents[2]
MANIFEST = (ROOT / "mlflow.yaml").read_text()
OBJECTS: dict[tuple[str, str], dict[str, Any]] = {
    (o["kind"], o["metadata"]["name"]): o for o in yaml.safe_load_all(MANIFEST)
}
PODS = {name: o["spec"]["template"] for (kind, name), o in OBJECTS.items() if kind == "StatefulSet"}
NAMESPACE = "team-a"
START_SECONDS = 240


def container(pod: str) -> dict[str, Any]:
    (only,) = PODS[pod]["spec"]["containers"]
    return only


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL with the database `mlflow`, whose user `mlflow` has the password."""

    programs: Path
    port: int
    password: str

    def dump(self) -> bytes:
        """All that is in the database, as SQL."""
        where = ["--host=127.0.0.1", f"--port={self.port}", "--username=mlflow", "--inserts", "mlflow"]
        env = {**os.environ, "PGPASSWORD": self.password}
        return subprocess.run(
            [self.programs / "pg_dump", *where], env=env, capture_output=True, timeout=HANGS_SECONDS, check=True
        ).stdout


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a PostgreSQL with an empty database `mlflow`, as its image makes it."""
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
        made = subprocess.run(initdb, cwd=folder, capture_output=True, text=True, timeout=HANGS_SECONDS, **as_user)
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
                yield Postgres(programs, port, password)
            finally:
                server.send_signal(signal.SIGINT)  # ends now, and cleanly
                server.wait(60)


class Server:
    """What the manifest's container runs, as a process of this machine."""

    def __init__(self, folder: Path, postgres: "Postgres"):
        self.port, self.admin = free_port(), secrets.token_hex(24)
        self.address, self.folder, self.postgres = f"http://127.0.0.1:{self.port}", folder, postgres
        self.artifacts, self.log, self.home = folder / "artifacts", folder / "log", folder / "tmp"
        for made in (self.artifacts, self.home, folder / "cwd"):
            made.mkdir()
        (folder / "auth.ini").write_text(OBJECTS["ConfigMap", "mlflow"]["data"]["auth.ini"])
        keys = {"POSTGRES_PASSWORD": postgres.password, "MLFLOW_AUTH_ADMIN_PASSWORD": self.admin}
        self.keys = {**keys, "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32)}
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
            **self._environment(),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(postgres.port),
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
            with urllib.request.urlopen(request, timeout=HANGS_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""
