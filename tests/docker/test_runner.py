"""`assay run --on docker`: real containers, which give the same numbers, fail honestly, stop, and are continued."""

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest
from sklearn import datasets

from pipeline import __version__
from pipeline.docker_runner import FOLDER_LABEL, STEP_LABEL, _engine, _run

pytestmark = [pytest.mark.docker, pytest.mark.slow]

ASSAY = str(Path(sys.executable).with_name("assay"))
IMAGE = f"assay:{__version__}"
TINY = ("--seeds", "2", "--set", "recipe.train.epochs=3", "--set", "arms={plain: {model.batch_norm: false}}")
PASSWORD = "pl4nted-p4ssw0rd"
TOKEN = "pl4nted-t0ken"


def wait_for(condition: Callable[[], Any], seconds: float = 240.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.05)
    return found


def events(folder: Path, kind: str) -> list[dict]:
    lines = [line for file in folder.glob(".assay/runs/*/events.jsonl") for line in file.read_text().splitlines()]
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def containers(folder: Path, step: str = "") -> list[Any]:
    """The containers of a working folder that have not been removed."""
    labels = [f"{FOLDER_LABEL}={folder}", *([f"{STEP_LABEL}={step}"] if step else [])]
    return docker.from_env().containers.list(all=True, filters={"label": labels}, ignore_removed=True)


def numbers(folder: Path) -> dict[str, Any]:
    """The verdict without times, and without what names the run."""
    (file,) = folder.glob(".assay/runs/*/verdict.json")

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if k not in ("seconds", "cost", "cost_low", "cost_high")}
        return [timeless(item) for item in value] if isinstance(value, list) else value

    return {
        name: value for name, value in timeless(json.loads(file.read_text())).items() if name not in ("run", "mlflow")
    }


def run(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ASSAY, "run", *arguments], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=500
    )


@pytest.fixture
def someone(tmp_path: Path) -> dict[str, Any]:
    """Arguments of subprocess that make a process an ordinary user's, who may use Docker and owns the folder.

    None where the tests are root's, and their Python, too.
    """
    ordinary = {"user": 10001, "group": 10001, "extra_groups": [Path("/var/run/docker.sock").stat().st_gid]}
    try:
        subprocess.run([sys.executable, "-c", "pass"], check=True, capture_output=True, **ordinary)
    except (OSError, subprocess.CalledProcessError):
        return {}
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):  # pytest's folders are closed to others
        parent.chmod(0o755)
    os.chown(tmp_path, 10001, 10001)
    return ordinary


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of an MLflow server of this machine with a login before it, and the server's folder."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            login = "Basic " + base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
            status, kind, content = 401, "text/plain", b"log in"
            if self.path == "/health" or self.headers.get("Authorization") == login:
                sent = {name: value for name, value in self.headers.items() if name != "Host"}
                with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as inner:
                    inner.request(self.command, self.path, body, sent)
                    answer = inner.getresponse()
                    status, kind, content = answer.status, answer.getheader("Content-Type", "text/plain"), answer.read()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, format: str, *_: Any) -> None:
            pass

    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        f"{folder}/artifacts",
    ]
    quiet = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=quiet, stdout=log, stderr=log, start_new_session=True)
    door = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=door.serve_forever, daemon=True).start()

    def up() -> bool:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200
        except OSError:
            assert process.poll() is None, (folder / "log").read_text()
            return False

    try:
        wait_for(up)
        yield f"http://127.0.0.1:{door.server_port}", folder
    finally:
        door.shutdown()
        door.server_close()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.usefixtures("docker_engine")
def test_a_bounded_container_gives_the_same_numbers_against_a_server_with_a_login(
    tmp_path, tmp_path_factory, server, someone
):
    address, kept = server
    secrets = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": PASSWORD, "AWS_SECRET_ACCESS_KEY": TOKEN}
    running = subprocess.Popen(
        [ASSAY, "run", "iris", *TINY, "--on", "docker"],
        cwd=tmp_path,
        env={**os.environ, **secrets, "MLFLOW_TRACKING_URI": address, "HOME": str(tmp_path.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **someone,
    )
    try:
        wait_for(lambda: running.poll() is not None or events(tmp_path, "step_started"))
        seen = [container.attrs for container in containers(tmp_path)]
        out, said = running.communicate(timeout=500)
    finally:
        running.kill()
    assert running.returncode == 0, said
    assert "4/4 cells" in said
    assert "iris version 1 is the champion now" in out
    owner = tmp_path.stat()
    host, config = seen[0]["HostConfig"], seen[0]["Config"]
    assert config["User"] == f"{owner.st_uid}:{owner.st_gid}"
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert 0 < host["NanoCpus"] <= (os.cpu_count() or 1) * 10**9
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["ShmSize"] >= 2**30
    assert f"AWS_SECRET_ACCESS_KEY={TOKEN}" in config["Env"]
    assert not [bind for bind in host["Binds"] if bind.startswith(f"{tmp_path}:")]  # with a server, only .assay is
    assert {file.stat().st_uid for file in tmp_path.rglob("*")} == {owner.st_uid}
    assert containers(tmp_path) == []

    assert list(kept.glob("artifacts/*")), "MLflow got no files"
    files = [file for folder in (tmp_path, kept) for file in folder.rglob("*") if file.is_file()]
    layers = docker.from_env().images.get(IMAGE)
    texts = [out, said, json.dumps(layers.history()), json.dumps(layers.attrs)]
    texts += [file.read_bytes().decode(errors="replace") for file in files]
    assert not [secret for secret in (PASSWORD, TOKEN) if any(secret in text for text in texts)]

    here = tmp_path_factory.mktemp("here")
    done = run("iris", *TINY, cwd=here)
    assert done.returncode == 0, done.stderr
    assert numbers(tmp_path) == numbers(here)


@pytest.mark.usefixtures("docker_engine")
def test_killed_it_fails_stopped_it_stops_and_then_it_continues(tmp_path, tmp_path_factory):
    """The data are elsewhere, and so must be mounted; the runs are in the working folder's own MLflow store."""
    flowers = tmp_path_factory.mktemp("data") / "flowers.csv"
    datasets.load_iris(as_frame=True).frame.to_csv(flowers, index=False)
    study = (f"table:{flowers}", *TINY, "--set", "recipe.train.epochs=300", "--fan-out", "1", "--on", "docker")
    study += ("--set", "checkpoint=0", "--set", "recipe.train.early_stopping=false")

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [ASSAY, "run", *study], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def trained() -> int:
        return len({(cell["arm"], cell["seed"]) for cell in events(tmp_path, "cell_finished")})

    killed = start()
    wait_for(lambda: killed.poll() is not None or trained() >= 1)
    for container in containers(tmp_path, "train"):
        container.kill()
    _, said = killed.communicate(timeout=120)
    assert killed.returncode == 1, said
    assert "error: the step `train` failed" in said
    assert "the container of the step `train` ended with exit code 137" in said
    assert containers(tmp_path) == []
    before = trained()
    assert 1 <= before < 4, "killed too late for this test to mean anything"

    stopped = start()
    wait_for(lambda: stopped.poll() is not None or trained() > before)
    stopped.send_signal(signal.SIGTERM)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, said
    assert "stopped; `assay run" in said
    assert containers(tmp_path) == []

    done = run(*study, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert trained() == 4
    assert sum(cell["reused"] for cell in events(tmp_path, "cell_finished")) >= 2
    assert containers(tmp_path) == []


def step(folder: Path, code: str) -> int:
    """The exit code of a step that is this code."""
    told = json.dumps({"outputs": {"outputFile": str(folder / "result.json")}})
    command = ["python", "-c", code, "--executor_input", told, "--function_to_execute", "train"]
    volumes = {str(folder): {"bind": str(folder), "mode": "rw"}}
    with _engine() as engine:
        return _run(engine, command, image=IMAGE, volumes=volumes, labels={FOLDER_LABEL: str(folder)}, user=os.getuid())


@pytest.fixture
def built(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """This version's image, as the command builds it; the study fails before it begins."""
    failed = run("table:nosuchfile.csv", "--on", "docker", cwd=tmp_path_factory.mktemp("built"))
    assert "nosuchfile.csv" in failed.stderr
    assert failed.returncode == 1


@pytest.mark.usefixtures("built")
def test_no_crash_is_taken_for_a_success(tmp_path, capfd):
    """Forty at once: kfp's own way took some of them for a success."""
    crashes = ("raise SystemExit(3)", "import os; os.kill(os.getpid(), 9)", "1/0", "import os; os._exit(1)")
    with ThreadPoolExecutor(8) as threads:
        codes = list(threads.map(lambda code: step(tmp_path, code), crashes * 10))
    assert 0 not in codes
    assert step(tmp_path, "pass") == 1  # it ended well, and left no result
    assert "has left no result" in capfd.readouterr().out
    assert step(tmp_path, f"open({str(tmp_path / 'result.json')!r}, 'w')") == 0
    assert containers(tmp_path) == []


@pytest.mark.usefixtures("built")
def test_an_image_with_other_code_is_refused(tmp_path):
    change = "echo '# changed' >> $(python -c 'import components.scale as s; print(s.__file__)')"
    other = f"FROM {IMAGE}\nUSER root\nRUN {change}\n"
    made = subprocess.run(["docker", "build", "--tag", "assay:other", "-"], input=other, text=True, capture_output=True)
    assert made.returncode == 0, made.stderr
    try:
        done = run("iris", "--on", "docker", "--image", "assay:other", cwd=tmp_path)
    finally:
        subprocess.run(["docker", "rmi", "assay:other"], capture_output=True)
    assert done.returncode == 1
    assert "the image assay:other does not hold the code of this Assay" in done.stderr

    done = run("iris", "--on", "docker", "--image", "assay:none", cwd=tmp_path)
    assert done.returncode == 1
    assert "there is no image assay:none" in done.stderr
    assert not (tmp_path / ".assay").exists()
