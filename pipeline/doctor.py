"""Looks whether this machine, and the servers that were named, are fit for Assay; says how to mend what is not.

The checks run side by side, each with a limit, so that the answer comes within seconds whatever hangs.
"""

import importlib.metadata
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.compute import gpus
from components.errors import AssayError
from components.tracking import SQLITE, check_reachable, tracking_uri
from pipeline import __version__

if TYPE_CHECKING:
    import requests

DISTRIBUTION = "assay-pipeline"
IMAGE = f"assay:{__version__}"  # what `assay run --on docker` builds and takes
ANSWER_SECONDS = 3.0  # for one request or command
CHECK_SECONDS = 10.0  # for all of a check
DEEP_SECONDS = 180.0  # TensorFlow's import alone took 30 on a busy machine
GIGABYTE = 10**9
DISK = (1 * GIGABYTE, 5 * GIGABYTE)  # with less it is missing, or worth a warning
MEMORY = (GIGABYTE // 2, 2 * GIGABYTE)  # TensorFlow alone takes half of the first
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, in bytes
KFP_TOKEN = (
    "/var/run/secrets/kubeflow/pipelines/token"  # where kfp looks for it, unless KF_PIPELINES_SA_TOKEN_PATH is set
)

State = Literal["ok", "warning", "missing"]
STYLES: dict[State, str] = {"ok": "green", "warning": "yellow", "missing": "bold red"}


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        state: missing where what Assay needs, or what was asked for by name, is not as it must be.
        told: what was found.
        mend: what to do about it.
    """

    state: State
    told: str
    mend: str = ""


Check = Callable[[], Finding]


def checks(host: str | None, deep: bool) -> dict[str, Check]:
    """Return the checks by name.

    Args:
        host: the address of a Kubeflow Pipelines API.
        deep: import TensorFlow and JAX, and write to MLflow.
    """
    return {
        "Python": check_python,
        "packages": lambda: check_packages(importlib.metadata.requires(DISTRIBUTION) or []),
        "disk": lambda: _enough(shutil.disk_usage(Path.cwd()).free, DISK, "free here", "make room"),
        "memory": lambda: _enough(_memory(), MEMORY, "available", "close programs, or run with --fan-out 1"),
        "GPU": lambda: check_gpu(deep),
        "Docker": check_docker,
        "Docker image": check_image,
        "MLflow": lambda: check_mlflow(tracking_uri(), deep),
        "pipelines": lambda: check_pipelines(host),
    }


def examine(to_check: dict[str, Check], seconds: float) -> dict[str, Finding]:
    """Run checks side by side; one that fails or takes too long is a finding, too.

    Args:
        to_check: by name.
        seconds: what has not answered by then counts as missing. Its thread is left behind.
    """
    answers: queue.Queue[tuple[str, Finding]] = queue.Queue()

    def ask(name: str, check: Check) -> None:
        try:
            found = check()
        except Exception as error:  # whatever it is: one check must not hide what the others found
            found = Finding("missing", f"can't be checked: {type(error).__name__}: {error}")
        answers.put((name, found))

    for name, check in to_check.items():
        threading.Thread(target=ask, args=(name, check), daemon=True).start()
    found: dict[str, Finding] = {}
    deadline = time.monotonic() + seconds
    while len(found) < len(to_check):
        try:
            name, finding = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        found[name] = finding
    late = Finding("missing", f"no answer within {seconds:g} s", "look whether something in between drops packets")
    return {name: found.get(name, late) for name in to_check}


def show(console: Console, found: dict[str, Finding]) -> None:
    """Print what was found as a table, each mend below what it mends."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("check", "", "found"):
        table.add_column(heading, overflow="fold")
    for name, finding in found.items():
        told = Text(finding.told)
        if finding.mend:
            told.append(f"\n-> {finding.mend}", style="bold")
        table.add_row(name, Text(finding.state, style=STYLES[finding.state]), told)
    console.print(table)


def check_python() -> Finding:
    """Compare this Python with what Assay's package asks for."""
    from packaging.specifiers import SpecifierSet

    wanted = importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"]
    here = ".".join(str(part) for part in sys.version_info[:3])
    if SpecifierSet(wanted).contains(here):
        return Finding("ok", f"{here}, {sys.executable}")
    return Finding("missing", f"{here} at {sys.executable}; Assay wants {wanted}", "make setup PYTHON=python3.12")


def check_packages(wanted: Sequence[str]) -> Finding:
    """Compare the installed packages with requirements such as `numpy>=2.0`.

    A requirement of an extra counts only where its package is installed.
    """
    from packaging.requirements import Requirement

    wrong, fine = [], 0
    for requirement in map(Requirement, wanted):
        extra = requirement.marker is not None and "extra" in str(requirement.marker)
        if requirement.marker and not extra and not requirement.marker.evaluate():
            continue
        installed = _installed(requirement.name)
        if installed is None and not extra:
            wrong.append(f"{requirement.name} is not installed (wanted: {requirement.specifier})")
        elif installed and not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} {installed} (wanted: {requirement.specifier})")
        else:
            fine += installed is not None
    if wrong:
        return Finding("missing", "; ".join(wrong), "make setup, or pip install --constraint docker/constraints.txt .")
    return Finding("ok", f"{fine} have a version that fits")


def _installed(name: str) -> str | None:
    """Return a package's version; tensorflow-cpu is TensorFlow, too."""
    for alias in (name, "tensorflow-cpu") if name == "tensorflow" else (name,):
        try:
            return importlib.metadata.version(alias)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _enough(found: int, wanted: tuple[int, int], where: str, mend: str) -> Finding:
    """Compare a number of bytes with the least that is needed and the least that is comfortable."""
    told = f"{found / GIGABYTE:.1f} GB {where}"
    if found >= wanted[1]:
        return Finding("ok", told)
    state: State = "warning" if found >= wanted[0] else "missing"
    return Finding(state, f"{told}; {wanted[1] / GIGABYTE:.1f} GB are comfortable", mend)


def _memory() -> int:
    """Return how many bytes of memory are available, at most a container's limit."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except OSError:  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(available, int(MEMORY_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or "max"
        return available


def check_gpu(deep: bool) -> Finding:
    """Look for NVIDIA's GPUs, and whether TensorFlow can use them.

    Args:
        deep: ask TensorFlow and JAX themselves, which takes many seconds.
    """
    models = gpus() or _listed_by_driver()
    if not models:
        return Finding("ok", "none; the CPU computes")
    told = ", ".join(models)
    if not any((package.name or "").startswith("nvidia-cudnn") for package in importlib.metadata.distributions()):
        return Finding("warning", f"{told}, but no CUDA for TensorFlow", f"pip install '{DISTRIBUTION}[gpu]'")
    if not deep:
        return Finding("ok", f"{told}, and CUDA's libraries; --deep asks TensorFlow")
    seen = _seen_by_libraries()
    blind = [name for name, devices in seen.items() if devices == 0]
    if blind:
        mend = "compare the CUDA version that `nvidia-smi` prints with the nvidia- packages; JAX wants jax[cuda12]"
        return Finding("warning", f"{told}, but {' and '.join(blind)} can't use it", mend)
    return Finding("ok", f"{told}, usable by {' and '.join(seen)}")


def _listed_by_driver() -> list[str]:
    """Return the GPUs that nvidia-smi lists, for machines whose driver is not in /proc."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1") or not shutil.which("nvidia-smi"):
        return []
    done = _command("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []


def _seen_by_libraries() -> dict[str, int]:
    """Return how many GPUs TensorFlow and, where it is installed, JAX see; each is asked in a process of its own."""
    asked = {"TensorFlow": "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"}
    if _installed("jax"):
        asked["JAX"] = "import jax; print(sum(device.platform == 'gpu' for device in jax.devices()))"
    seen = {}
    for name, program in asked.items():
        done = _command(sys.executable, "-c", program, seconds=DEEP_SECONDS / 3)
        if done.returncode:
            raise AssayError(f"{name} can't be imported: {_last_line(done.stderr)}")
        seen[name] = int(done.stdout.split()[-1])
    return seen


def check_docker() -> Finding:
    """Ask the Docker engine for its version; it is needed by what runs in containers only."""
    state: State = "missing" if os.environ.get("DOCKER_HOST") else "warning"
    if not shutil.which("docker"):
        return Finding(
            state, "not installed; only runs in containers need it", "https://docs.docker.com/engine/install/"
        )
    done = _command("docker", "version", "--format", "{{.Server.Version}}")
    if done.returncode == 0:
        return Finding("ok", f"engine {done.stdout.strip()}")
    reason = _last_line(done.stderr)
    if "permission denied" in reason.lower():
        mend = "sudo usermod --append --groups docker $USER, then log in again; who may do so is as good as root"
        return Finding(state, "the engine is there, and you may not use it", mend)
    return Finding(
        state, f"the engine does not answer: {reason}", "start it (sudo systemctl start docker), or see DOCKER_HOST"
    )


def check_image() -> Finding:
    """Look whether Assay's image is built."""
    if not shutil.which("docker") or _command("docker", "version").returncode:
        return Finding("ok", "not looked for, as no engine answers")
    done = _command("docker", "image", "inspect", "--format", "{{.Id}}", IMAGE)
    if done.returncode == 0:
        return Finding("ok", f"{IMAGE}, {done.stdout.strip().removeprefix('sha256:')[:12]}")
    return Finding("warning", f"there is no image {IMAGE}", "`assay run STUDY --on docker` builds it")


def check_mlflow(uri: str, deep: bool) -> Finding:
    """Ask the tracking server whether it is there, lets us in, and has a version that fits.

    Args:
        uri: see `components.tracking.tracking_uri`.
        deep: write a file, read it and delete it.
    """
    if not uri.startswith(("http://", "https://")):
        try:
            check_reachable(uri)
        except AssayError as error:
            return Finding("missing", str(error))
        where = uri.removeprefix(SQLITE) if uri.startswith(SQLITE) else f"a {uri.partition(':')[0]} database"
        return Finding("ok", f"no server; runs are kept in {where}")
    shown, base = _without_login(uri), uri.rstrip("/")
    health = _get(f"{base}/health", {})
    if isinstance(health, str):
        return Finding(
            "missing", f"nobody answers at {shown}: {health}", "start the server, or mend MLFLOW_TRACKING_URI"
        )
    if health.status_code != 200 or health.text.strip() != "OK":
        mend = "mend MLFLOW_TRACKING_URI; it is the address of MLflow's own page"
        return Finding("missing", f"what answers at {shown} is not MLflow ({health.status_code} for /health)", mend)
    headers = _mlflow_login()
    answer = _get(f"{base}/api/2.0/mlflow/experiments/search?max_results=1", headers)
    refusal = answer if isinstance(answer, str) else _refusal(answer, shown, bool(headers))
    if isinstance(refusal, Finding):
        return refusal
    if refusal:
        return Finding("missing", f"{shown} is healthy, but a question failed: {refusal}")
    version = _get(f"{base}/version", headers)
    fits = _fits(version if isinstance(version, str) else version.text.strip(), shown)
    if not deep or fits.state == "missing":
        return fits
    failed = _write_and_read(uri, headers)
    if failed:
        return Finding("missing", f"{shown}: {failed.told}", failed.mend)
    return Finding(fits.state, f"{fits.told}; files can be written and read", fits.mend)


def _refusal(answer: "requests.Response", shown: str, login: bool) -> Finding | str:
    """Return what is wrong with the answer to a question, and how to mend it; nothing where it is fine."""
    if answer.status_code == 401 and login:
        return Finding(
            "missing", f"{shown} refuses the login", "mend MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD"
        )
    if answer.status_code == 401:
        mend = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        return Finding("missing", f"{shown} wants a login", mend)
    if answer.status_code == 403 and "Invalid Host header" in answer.text:
        name = urlsplit(shown).hostname
        return Finding(
            "missing",
            f"the server is not to be called {name}: it answers only to the names in its --allowed-hosts",
            f"start it with --allowed-hosts={name},{name}:*,... or use one of its names in MLFLOW_TRACKING_URI",
        )
    return "" if answer.status_code == 200 else f"{answer.status_code} {answer.reason}"


def _fits(server: str, shown: str) -> Finding:
    """Compare the version of an MLflow server with that of the client."""
    from packaging.version import InvalidVersion, Version

    here = importlib.metadata.version("mlflow")
    try:
        there = Version(server)
    except InvalidVersion:
        return Finding("warning", f"{shown} does not say its version; the client is {here}")
    told = f"{shown} has {there}, the client {here}"
    if there.major != Version(here).major:
        return Finding("missing", told, f"install MLflow {here} there, or pip install 'mlflow=={there}' here")
    if there.release[:2] < Version(here).release[:2]:
        return Finding("warning", told, f"install MLflow {here} there: an older server may not know all that is asked")
    return Finding("ok", told)


def _mlflow_login() -> dict[str, str]:
    """Return the header with the login that MLflow's client would use."""
    import requests

    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    name, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if not (name and password) and (Path.home() / ".mlflow" / "credentials").exists():
        from mlflow.utils.credentials import read_mlflow_creds

        known = read_mlflow_creds()
        name, password = known.username, known.password
    if not (name and password):
        return {}
    prepared = requests.Request("GET", "http://x", auth=(name.encode(), password.encode())).prepare()
    return {"Authorization": prepared.headers["Authorization"]}


def _write_and_read(uri: str, headers: dict[str, str]) -> Finding | None:
    """Log a tiny file to a run of its own, fetch it, and delete all of it; return what failed."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # its own seven take minutes
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    api = MlflowClient(uri)
    try:
        experiment = api.create_experiment(f"assay doctor {os.urandom(4).hex()}")
        try:
            run = api.create_run(experiment)
            api.log_text(run.info.run_id, "written by `assay doctor`", "doctor.txt")
            folder = str(run.info.artifact_uri)
            failed = _fetch(uri.rstrip("/"), f"{urlsplit(folder).path.strip('/')}/doctor.txt", headers)
            get_artifact_repository(folder, tracking_uri=uri).delete_artifacts("doctor.txt")
        finally:
            api.delete_experiment(experiment)
    except Exception as error:  # of requests, of MLflow or of a bucket's own client
        reason = str(error).rpartition("Caused by ")[2].splitlines()[0][:300]
        return Finding("missing", f"no file can be written: {reason}", "look at the server's log")
    return failed


def _fetch(base: str, path: str, headers: dict[str, str]) -> Finding | None:
    """Fetch a file of a server that keeps files for its clients; return what failed.

    A server with a bucket has its clients fetch files there, at addresses that it signs.
    """
    signed = None
    if os.environ.get("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true").lower() in ("true", "1"):
        answer = _get(f"{base}/api/2.0/mlflow-artifacts/presigned/{path}", headers)
        signed = None if isinstance(answer, str) or answer.status_code != 200 else _json(answer)
    address = signed["url"] if signed else f"{base}/api/2.0/mlflow-artifacts/artifacts/{path}"
    fetched = _get(address, signed.get("headers", {}) if signed else headers)
    if not isinstance(fetched, str) and fetched.status_code == 200:
        return None
    reason = fetched if isinstance(fetched, str) else f"{fetched.status_code} {fetched.reason}"
    parts = urlsplit(address)
    told = f"a file was written, but can't be fetched at {parts.scheme}://{parts.netloc.rpartition('@')[2]}: {reason}"
    if not signed:
        return Finding("missing", told, "look at the server's log")
    mend = "set MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD=false here; or give the server, in MLFLOW_S3_ENDPOINT_URL, an "
    return Finding("missing", told, mend + "address of its store that its clients reach, too")


def check_pipelines(host: str | None) -> Finding:
    """Ask a Kubeflow Pipelines API whether it is there, lets us in, and is as new as the SDK."""
    if not host:
        return Finding("ok", "no cluster was named (--host or KFP_HOST)")
    base = (host if "://" in host else f"https://{host}").rstrip("/")
    shown, headers = _without_login(base), _kfp_login()
    health = _get(f"{base}/apis/v2beta1/healthz", headers)
    if isinstance(health, str):
        mend = "kubectl port-forward --namespace kubeflow service/ml-pipeline-ui 8080:80, then --host http://localhost:8080"
        return Finding("missing", f"nobody answers at {shown}: {health}", mend)
    door = _get(f"{base}/apis/v2beta1/pipelines?page_size=1", headers)
    if isinstance(door, str):
        return Finding("missing", f"{shown} is healthy, but a question failed: {door}")
    if {health.status_code, door.status_code} & {301, 302, 303, 307, 401, 403}:
        told = "refuses the token" if headers else "wants a login"
        mend = "give a token: a file that KF_PIPELINES_SA_TOKEN_PATH names"
        return Finding("missing", f"{shown} {told} ({door.status_code})", mend)
    about = _json(health)
    if health.status_code != 200 or door.status_code != 200 or about is None or _json(door) is None:
        told = f"what answers at {shown} is not a Kubeflow Pipelines API ({health.status_code}, {door.status_code})"
        return Finding("missing", told, "give the address of its page, as in --host http://localhost:8080")
    return _new_enough(base, headers, shown + (", for several users" if about.get("multi_user") else ""))


def _new_enough(base: str, headers: dict[str, str], shown: str) -> Finding:
    """Compare the version of a pipeline API, which only its older address tells, with that of the SDK."""
    from packaging.version import InvalidVersion, Version

    older = _get(f"{base}/apis/v1beta1/healthz", headers)
    here = importlib.metadata.version("kfp")
    try:
        about = None if isinstance(older, str) else _json(older)
        there = Version(str((about or {}).get("tag_name", "")))
    except InvalidVersion:
        return Finding("ok", f"{shown}, of a version that it does not tell; the SDK is {here}")
    told = f"{shown} has {there}, the SDK {here}"
    if there.major < 2:
        return Finding("missing", told, "Assay needs Kubeflow Pipelines 2")
    if there.release[:2] < Version(here).release[:2]:
        return Finding("warning", told, "upgrade the cluster: an older server may not know all that the SDK writes")
    return Finding("ok", told)


def _kfp_login() -> dict[str, str]:
    """Return the header with the token that kfp reads from a file, if there is one."""
    try:
        token = Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or KFP_TOKEN).read_text().strip()
    except OSError:
        return {}
    return {"Authorization": f"Bearer {token}"}


def _get(address: str, headers: dict[str, str]) -> "requests.Response | str":
    """Ask once, as MLflow's client would; return the answer, or why there is none."""
    import requests

    try:
        return requests.get(address, headers=headers, timeout=ANSWER_SECONDS, allow_redirects=False)
    except (requests.RequestException, ValueError) as error:
        if isinstance(error, requests.exceptions.SSLError):
            return "its certificate is not trusted here; REQUESTS_CA_BUNDLE names a file of those that are"
        if isinstance(error, requests.Timeout):
            return f"no answer within {ANSWER_SECONDS:g} s"
        return _root_cause(error)


def _root_cause(error: BaseException) -> str:
    """Return what the system said, out of the errors that libraries wrapped around it."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return getattr(error, "strerror", None) or str(error)


def _json(answer: "requests.Response") -> dict | None:
    try:
        value = answer.json()
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _without_login(address: str) -> str:
    """Return an address without the name and password that may be in it."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _command(*words: str, seconds: float = ANSWER_SECONDS) -> subprocess.CompletedProcess[str]:
    """Run a command; one that hangs has failed."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"no answer within {seconds:g} s")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
