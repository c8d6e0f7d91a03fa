"""The doctor, asked about real servers on the loopback that answer as the real ones do, or hang, or are not there."""

import base64
import importlib.metadata
import io
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from command import assay
from rich.console import Console

from pipeline.commands import doctor
from pipeline.commands.doctor import examine, machine, servers
from pipeline.commands.doctor.check_result import CheckResult
from pipeline.commands.doctor.machine import check_packages
from pipeline.commands.doctor.servers import check_mlflow, check_pipelines
from pipeline.kubeflow.settings import Cluster

MLFLOW = importlib.metadata.version("mlflow")
KFP = importlib.metadata.version("kfp")
Answer = tuple[int, str]
Answers = dict[str, Answer | Callable[[dict[str, str]], Answer]]


@pytest.fixture
def serve() -> Iterator[Callable[[Answers], str]]:
    """Return what starts a server that gives these answers by path, and 404 to all else."""
    servers = []

    def start(answers: Answers) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                answer = answers.get(self.path.partition("?")[0], (404, "not found"))
                status, text = answer(dict(self.headers)) if callable(answer) else answer
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _no_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # there may be an .mlflow/credentials or a .netrc
    monkeypatch.delenv("KF_PIPELINES_SA_TOKEN_PATH", raising=False)
    monkeypatch.delenv("KFP_HOST", raising=False)


def wants(name: str, password: str, then: Answer) -> Callable[[dict[str, str]], Answer]:
    expected = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
    return lambda headers: then if headers.get("Authorization") == expected else (401, "You are not authenticated.")


def mlflow(version: str = MLFLOW, more: Answers | None = None) -> Answers:
    return {
        "/health": (200, "OK"),
        "/version": (200, version),
        "/api/2.0/mlflow/experiments/search": (200, '{"experiments": []}'),
        **(more or {}),
    }


def test_an_mlflow_server_of_our_version_is_fine(serve):
    found = check_mlflow(serve(mlflow()), deep=False)
    assert found.state == "ok"
    assert MLFLOW in found.told


def test_an_older_server_is_worth_a_warning_and_another_major_does_not_fit(serve):
    assert check_mlflow(serve(mlflow("3.0.1")), deep=False).state == "warning"
    found = check_mlflow(serve(mlflow("2.22.0")), deep=False)
    assert found.state == "missing"
    assert "2.22.0" in found.told
    assert MLFLOW in found.mend


def test_a_login_is_asked_for_refused_and_taken(serve, monkeypatch):
    locked = wants("ada", "s3cret", (200, "{}"))
    address = serve(mlflow(more={"/api/2.0/mlflow/experiments/search": locked}))
    asked = check_mlflow(address, deep=False)
    assert (asked.state, "wants a login" in asked.told) == ("missing", True)
    assert "MLFLOW_TRACKING_USERNAME" in asked.mend
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    assert "refuses the login" in check_mlflow(address, deep=False).told
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
    assert check_mlflow(address, deep=False).state == "ok"


def test_the_login_may_be_in_mlflows_own_file(serve, tmp_path):
    address = serve(mlflow(more={"/api/2.0/mlflow/experiments/search": wants("ada", "s3cret", (200, "{}"))}))
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = ada\nmlflow_tracking_password = s3cret\n"
    )
    assert check_mlflow(address, deep=False).state == "ok"


def test_a_host_that_is_not_allowed_is_explained(serve):
    refused = (403, "Invalid Host header - possible DNS rebinding attack detected")
    found = check_mlflow(serve(mlflow(more={"/api/2.0/mlflow/experiments/search": refused})), deep=False)
    assert found.state == "missing"
    assert "--allowed-hosts" in found.told
    assert "--allowed-hosts=127.0.0.1,127.0.0.1:*" in found.mend


def test_what_is_not_mlflow_is_not_taken_for_it(serve):
    assert "is not MLflow" in check_mlflow(serve({"/health": (200, "<html>")}), deep=False).told
    assert "is not MLflow" in check_mlflow(serve({}), deep=False).told


def test_a_server_that_is_not_there_or_silent_is_told(nobody, monkeypatch):
    monkeypatch.setattr(servers, "ANSWER_SECONDS", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert "Connection refused" in check_mlflow(gone, deep=False).told
    assert "no answer within" in check_mlflow(nobody, deep=False).told
    assert "did not look at the server within 0.5 s" in check_pipelines(Cluster(host=nobody)).told
    found = check_pipelines(Cluster(host=gone))
    assert ("nobody answers" in found.told, "port-forward" in found.mend) == (True, True)


def test_no_password_of_an_address_is_shown(serve):
    address = serve(mlflow("2.0")).replace("http://", "http://ada:s3cret@")
    found = check_mlflow(address, deep=False)
    assert "s3cret" not in found.told + found.mend
    gone = check_mlflow("http://ada:s3cret@127.0.0.1:9", deep=False)
    assert "s3cret" not in gone.told + gone.mend


def test_a_store_that_only_the_server_reaches_is_told(serve, monkeypatch):
    signed = {
        "/api/2.0/mlflow-artifacts/presigned/1/a/x.txt": (200, '{"url": "http://127.0.0.1:9/x?signature=s3cret"}')
    }
    address = serve(mlflow(more={**signed, "/api/2.0/mlflow-artifacts/artifacts/1/a/x.txt": (200, "x")}))
    found = servers._fetch(address, "1/a/x.txt", {})
    assert found
    assert "can't be fetched at http://127.0.0.1:9: Connection refused" in found.told
    assert "s3cret" not in found.told
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "false")  # what it says to set
    assert servers._fetch(address, "1/a/x.txt", {}) is None


def test_without_a_server_the_folder_of_the_database_counts(tmp_path):
    assert check_mlflow(f"sqlite:///{tmp_path}/mlflow.db", deep=False).state == "ok"
    assert check_mlflow(f"sqlite:///{tmp_path}/none/mlflow.db", deep=False).state == "missing"


@pytest.mark.parametrize("pages", [False, True])
@pytest.mark.parametrize(
    ("tag", "state", "part"),
    [(KFP, "ok", f"has {KFP}"), ("", "ok", "does not tell"), ("2.4.0", "warning", "2.4.0")],
)
def test_the_version_of_a_pipeline_api_is_compared_with_the_sdk(server, tag, state, part, pages):
    server.tag, server.pages = tag, pages
    found = check_pipelines(Cluster(host=server.url))
    assert found.state == state
    assert part in found.told


def test_a_pipeline_api_is_asked_with_every_login_that_submit_has(server, tmp_path, monkeypatch):
    pod, file, biscuit = tmp_path / "pod", tmp_path / "token", tmp_path / "cookie"
    server.token = "t0ken"
    refused = check_pipelines(Cluster(host=server.url))
    assert (refused.state, "does not accept the login (401)" in refused.told) == ("missing", True)
    file.write_text("t0ken\n")
    assert check_pipelines(Cluster(host=server.url, token_file=str(file))).state == "ok"
    pod.write_text("t0ken")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(pod))
    assert check_pipelines(Cluster(host=server.url)).state == "ok"
    monkeypatch.setenv("KFP_TOKEN", "old")  # comes before the pod's
    assert "(401)" in check_pipelines(Cluster(host=server.url)).told
    server.token, server.cookie = None, "session=abc"
    assert "(302)" in check_pipelines(Cluster(host=server.url)).told
    biscuit.write_text("session=abc")
    assert check_pipelines(Cluster(host=server.url, cookie_file=str(biscuit))).state == "ok"


def test_a_cluster_of_several_users_is_asked_in_ones_own_namespace(server):
    server.namespaces = ("alice",)
    assert check_pipelines(Cluster(host=server.url, namespace="alice")).state == "ok"
    assert "(403)" in check_pipelines(Cluster(host=server.url, namespace="bob")).told


def test_a_page_or_another_server_is_not_a_pipeline_api(serve):
    assert "no API of Kubeflow Pipelines 2" in check_pipelines(Cluster(host=serve({}))).told
    page = serve({"/apis/v2beta1/healthz": (200, "{}")})  # without a type
    assert "answers with a page" in check_pipelines(Cluster(host=page)).told


def test_packages_are_compared_with_their_ranges():
    assert check_packages(["typer>=0.15", "numpy>=2; python_version<'3'", "no-such-one; extra == 'x'"]) == CheckResult(
        "ok", "1 have a version that fits"
    )
    found = check_packages(["typer>=99", "no-such-package>=1", "mlflow<1; extra == 'old'"])
    assert found.state == "missing"
    for part in ("typer ", "no-such-package is not installed", f"mlflow {MLFLOW}"):
        assert part in found.told


def test_disk_and_memory_have_two_thresholds(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "MEMORY_LIMIT", tmp_path / "memory.max")
    for limit, state in (("300000000", "missing"), ("1000000000", "warning")):
        machine.MEMORY_LIMIT.write_text(limit + "\n")
        found = machine.check_memory()
        assert (found.state, f"{int(limit) / 1e9:.1f} GB" in found.told) == (state, True)
        assert "--fan-out 1" in found.mend
    machine.MEMORY_LIMIT.write_text("max\n")
    assert machine._memory() > 300_000_000


def executable(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    ("script", "state", "part"),
    [
        ("echo 28.1", "ok", "engine 28.1"),
        ("echo 'dial unix: permission denied' >&2; exit 1", "warning", "may not use it"),
        ("echo 'Cannot connect to the Docker daemon' >&2; exit 1", "warning", "Cannot connect"),
        (None, "warning", "not installed"),
    ],
)
def test_a_docker_engine_may_be_there_closed_stopped_or_missing(tmp_path, monkeypatch, script, state, part):
    if script:
        executable(tmp_path, "docker", script)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    found = machine.check_docker()
    assert (found.state, part in found.told) == (state, True), found
    if state == "warning":
        monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")  # now it was asked for
        assert machine.check_docker().state == "missing"


def test_a_gpu_without_cuda_for_tensorflow_is_worth_a_warning(tmp_path, monkeypatch):
    executable(tmp_path, "nvidia-smi", "echo NVIDIA H200")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("components.runtime.devices.GPUS", tmp_path / "none")
    installed = any((package.name or "").startswith("nvidia-cudnn") for package in importlib.metadata.distributions())
    found = machine.check_gpu(deep=False)
    assert found.state == ("ok" if installed else "warning")
    assert "NVIDIA H200" in found.told
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert machine.check_gpu(deep=False) == CheckResult("ok", "none; the CPU computes")


@pytest.mark.slow
def test_tensorflow_and_jax_are_asked_for_their_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert machine._seen_by_libraries() == {"TensorFlow": 0, "JAX": 0}


def test_a_check_that_hangs_or_breaks_hides_no_other():
    release = threading.Event()

    def hang() -> CheckResult:
        release.wait(60)
        return CheckResult("ok", "late")

    def fail() -> CheckResult:
        raise ZeroDivisionError("by zero")

    found = examine({"hangs": hang, "breaks": fail, "works": lambda: CheckResult("ok", "fine")}, 1.0)
    release.set()
    assert list(found) == ["hangs", "breaks", "works"]
    assert (found["hangs"].state, "no answer within 1 s" in found["hangs"].told) == ("missing", True)
    assert "ZeroDivisionError" in found["breaks"].told
    assert found["works"] == CheckResult("ok", "fine")


def test_checks_run_side_by_side():
    together = threading.Barrier(3, timeout=30)

    def meet() -> CheckResult:
        together.wait()
        return CheckResult("ok", "met")

    assert {found.told for found in examine(dict.fromkeys("abc", meet), 30.0).values()} == {"met"}


def test_the_table_says_how_to_mend():
    out = io.StringIO()
    doctor.show(Console(file=out, width=80), {"MLflow": CheckResult("missing", "[nobody] answers", "start it")})
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert ["MLflow", "missing", "[nobody]", "answers"] in lines
    assert ["->", "start", "it"] in lines


def test_the_command_fails_where_what_was_asked_for_is_not_there(tmp_path, server, nobody):
    plain = assay("doctor", cwd=tmp_path)
    assert plain.returncode == 0, plain.stdout + plain.stderr
    assert "runs are kept in" in plain.stdout
    for asked, part in (
        ({"MLFLOW_TRACKING_URI": nobody}, "no answer within"),
        ({"KFP_HOST": nobody}, "did not look at"),
    ):
        done = assay("doctor", cwd=tmp_path, **asked)
        assert done.returncode == 1, done.stdout
        assert part in " ".join(done.stdout.split())
    (tmp_path / "token").write_text("planted-4f1d")
    (tmp_path / "profile.yaml").write_text(f"host: {server.url}\ntoken_file: token\n")
    server.token = "planted-4f1d"
    assert assay("doctor", "--profile", "profile.yaml", cwd=tmp_path).returncode == 0
    (tmp_path / "token").write_text("planted-4f1d\nmore")
    done = assay("doctor", "--profile", "profile.yaml", cwd=tmp_path)
    assert (done.returncode, "holds several lines" in " ".join(done.stdout.split())) == (1, True)
    assert "planted-4f1d" not in done.stdout + done.stderr
