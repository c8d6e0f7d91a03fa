"""Puts the steps of a run into containers on this machine: their image, what they may see and do, and how they ended.

The graph, the store and the events are those of `pipeline.runners.process`. What a step needs of this machine is
mounted at the path that it has here, so that a path means the same inside and outside. The network is the host's: an
MLflow server listens on 127.0.0.1 by default, which a container reaches by no other network, and it refuses other names
of the host.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from docker import DockerClient, from_env
from docker.errors import APIError, ContainerError, DockerException, ImageNotFound
from docker.types import DeviceRequest

from components.errors import AssayError
from components.runtime.code_version import source_version
from components.runtime.devices import cores
from components.runtime.events import TRACKING
from components.study.study import Study
from pipeline.runners import graph_process
from pipeline.runners.process import ProcessRunner
from pipeline.runners.run_folder import OpenRun, RunFolder
from pipeline.version import __version__

if TYPE_CHECKING:
    from kfp.local import DockerRunner as KfpDockerRunner

ROOT = Path(__file__).parents[2]
DOCKERFILE = "docker/Dockerfile"

# The beginnings of the names of variables that a step needs. Files and folders that they name are mounted.
PASSED = (
    "ASSAY_", "MLFLOW_", "DATABRICKS_", "TF_", "TFDS_", "XLA_", "OMP_", "NVIDIA_", "CUDA_VISIBLE_DEVICES",
    "AWS_", "AZURE_", "GCS_", "GOOGLE_", "FSSPEC_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "PYTHONHASHSEED", "PYTHONSAFEPATH", "PYTHONUNBUFFERED", "TMPDIR", "USER", "LOGNAME",
)  # fmt: skip

MEMORY_SHARE = 0.9  # of the engine's memory: a step that wants more is killed, and not what else runs on the machine
PIDS = 4096  # processes and threads; TensorFlow has some for each core, several times
SHARED_MEMORY = "1g"  # at /dev/shm, where Docker's own limit is 64 MiB; it takes only what is written
TMPFS = "rw,nosuid,nodev,mode=1777"
IMAGE_FOLDER = Path("/usr/local/lib")  # where the image has Python
LAST_LINES = 15

STEP_LABEL, RUN_LABEL, STUDY_LABEL, FOLDER_LABEL = "assay.step", "assay.run", "assay.study", "assay.folder"

Volumes = dict[str, dict[str, str]]  # by the path here: the path inside as `bind`, and the `mode`


def find_image(image: str | None, gpu: bool, say: Callable[[str], None]) -> str:
    """Return the number of the steps' image, which no later build under its name changes.

    Without a name it is this version's own, which is built from the checkout where there is one; `say` is told so.

    Raises:
        AssayError: where no engine answers, it has no GPUs to give, or there is no image with this code.
    """
    name = image or f"assay:{__version__}{'-gpu' if gpu else ''}"
    command = f"`docker build --file {DOCKERFILE} --tag {name} .`"
    checkout = (ROOT / DOCKERFILE).is_file()
    with _engine() as engine:
        if gpu and "nvidia" not in engine.info().get("Runtimes", {}):
            raise AssayError(
                "--gpu: this Docker engine has no NVIDIA runtime; install NVIDIA's container toolkit, or leave "
                "--gpu out"
            )
        if image is None and checkout:
            _build(engine, name, gpu, say)
        try:
            found = str(engine.images.get(name).id)
        except ImageNotFound:
            raise AssayError(
                f"there is no image {name} on this engine; pull it, or build it with {command} in a checkout of Assay "
                f"{__version__}" + (", or leave --image out" if image and checkout else "")
            ) from None
        _check_code(engine, found, name, command)
        return found


class DockerRunner(ProcessRunner):
    """Runs the graph like `ProcessRunner`, and each of its steps in a container."""

    graph = "pipeline.runners.docker"

    def __init__(self, run: OpenRun, image: str, gpu: bool):
        """Take the folder of the run, the image of its steps, and whether they get this machine's GPUs."""
        super().__init__(run)
        self._containers = {"image": image, "gpu": gpu}
        self._labels: list[str] = []

    def start(self, study: Study) -> None:
        """Remove what a killed run may have left: the study's lock is held, so no other run of it is alive here."""
        self._labels = [f"{STUDY_LABEL}={study.study}", f"{FOLDER_LABEL}={Path.cwd()}"]
        _remove(self._labels)
        self.run.write(containers=self._containers)
        super().start(study)

    def stop(self) -> None:
        """Kill the child, and remove the study's containers."""
        super().stop()
        if self._labels:  # none would mean the containers of all
            with suppress(AssayError):  # the engine is gone, and what ended the run matters more
                _remove(self._labels)


def container_runner(run: RunFolder) -> "KfpDockerRunner":
    """Return kfp's runner for a run; to be called in the working folder, by the process that runs the graph."""
    from kfp import local

    state, home = run.read(), Path.cwd()
    study, containers = Study.model_validate_json(state["arguments"]["study"]), state["containers"]
    environment = {name: value for name, value in os.environ.items() if name.startswith(PASSED)}
    mounts = _mounts(study, home, environment)
    options: dict[str, object] = {}
    if containers["gpu"]:
        options["device_requests"] = [DeviceRequest(count=-1, capabilities=[["gpu"]])]
    else:
        environment["CUDA_VISIBLE_DEVICES"] = "-1"  # /proc shows them in every container
    with _engine() as engine:
        options |= _bounds(engine.info())
    for name in ("outputs", "workspace"):  # the engine would make them, as root's
        (run.folder / name).mkdir(exist_ok=True)
    _replace_run(containers["image"], {str(path): {"bind": str(path), "mode": mode} for path, mode in mounts.items()})
    return local.DockerRunner(
        environment={**environment, "HOME": str(_user_folder())},
        labels={RUN_LABEL: run.folder.name, STUDY_LABEL: study.study, FOLDER_LABEL: str(home)},
        working_dir=str(home),
        tmpfs={str(path): TMPFS for path in (Path("/tmp"), _user_folder()) if path not in mounts},
        network_mode="host",
        **options,
    )


@contextmanager
def _engine() -> Iterator[DockerClient]:
    """Give a client of the engine that DOCKER_HOST names, or else of this machine's; its errors are AssayErrors."""
    try:
        engine = from_env()
    except DockerException as error:
        raise AssayError(
            f"no Docker engine answers ({error}); start it, see that you may use it, or run without `--on docker`"
        ) from None
    try:
        yield engine
    except (DockerException, requests.RequestException) as error:
        raise AssayError(f"the Docker engine: {error}") from None
    finally:
        engine.close()


def _remove(labels: list[str]) -> None:
    with _engine() as engine:
        for container in engine.containers.list(all=True, filters={"label": labels}, ignore_removed=True):
            with suppress(APIError):  # it is being removed already
                container.remove(force=True)


def _build(engine: DockerClient, name: str, gpu: bool, say: Callable[[str], None]) -> None:
    """Build the image from the checkout; what has not changed since the last time is taken from then."""
    lines: list[str] = []
    announced = False
    wanted = {"path": str(ROOT), "dockerfile": DOCKERFILE, "buildargs": {"ACCELERATOR": "gpu" if gpu else "cpu"}}
    answers = engine.api.build(**wanted, tag=name, rm=True, forcerm=True, decode=True)
    for answer in answers:
        lines += str(answer.get("stream") or answer.get("error") or "").splitlines()
        if not announced and lines and "Running in" in lines[-1]:
            announced = True
            say(f"building the image {name}: the first time this takes minutes, and after a change of the code seconds")
        if "error" in answer:
            last = "\n".join(f"  {line}" for line in lines[-LAST_LINES:] if line.strip())
            raise AssayError(f"the image {name} could not be built from {ROOT / DOCKERFILE}; the last lines:\n{last}")


def _check_code(engine: DockerClient, image: str, name: str, command: str) -> None:
    """Ask the image for its code, and refuse another: a label would only say what somebody wrote there."""
    ask = "from components.runtime.code_version import source_version; print(source_version())"
    try:
        said = engine.containers.run(image, ["python", "-c", ask], remove=True, network_mode="none", stderr=False)
        holds = said.decode().strip()
    except (ContainerError, APIError):  # no Python there, or none of this package
        holds = None
    if holds != source_version():
        raise AssayError(
            f"the image {name} does not hold the code of this Assay ({__version__}); build it again: {command}, in the "
            "checkout that this Assay is from"
        )


def _mounts(study: Study, home: Path, environment: Mapping[str, str]) -> dict[Path, str]:
    """Return what a step reads (`ro`) and writes (`rw`) of this machine, as absolute paths that are there.

    With an MLflow server only `.assay` in the working folder is written; else it has MLflow's database and files, too.
    """
    source = study.data.source_type
    read = [study.data.address] if source.is_path else []
    read += [arm.recipe.model.weights for arm in study.expand() if arm.recipe.model.weights]
    read += [value for value in environment.values() if value.startswith(os.sep)]  # credentials, certificates
    paths = {Path(os.path.normpath(home / Path(given).expanduser())) for given in read}  # links stay links
    # A token may be too long for a path, and then only this function does not mind.
    mounts = {path: "ro" for path in paths if os.path.exists(path) and not path.is_relative_to(home / ".assay")}  # noqa: PTH110
    if source.cache:
        variable, folder = source.cache
        sets = home / Path(environment.get(variable) or _user_folder() / folder).expanduser()
        prepared = (sets / re.split("[/:]", study.data.address)[0]).is_dir()
        sets.mkdir(parents=True, exist_ok=True)
        mounts[sets] = "ro" if prepared else "rw"  # what is not prepared yet is prepared there, once for all studies
    mounts[home / ".assay"] = "rw"
    tracking = environment[TRACKING]
    if urlsplit(tracking).scheme not in ("http", "https", "databricks"):
        mounts[home] = "rw"
        if tracking.startswith("sqlite:///"):
            mounts[home / Path(tracking.removeprefix("sqlite:///")).parent] = "rw"
    if Path("/") in mounts:
        raise AssayError("`--on docker` can't give the folder / to a container; change to another folder, or name one")
    return mounts


def _bounds(engine: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a container may do and use, as arguments of docker's `containers.run`, by what the engine has."""
    security = engine.get("SecurityOptions") or []
    rootless, selinux = "name=rootless" in security, "name=selinux" in security
    memory = int(engine["MemTotal"] * MEMORY_SHARE)
    return {
        # Files belong to who runs this. Where the engine is not root's, that is who is root inside.
        "user": "0:0" if rootless else f"{os.getuid()}:{os.getgid()}",
        "group_add": [] if rootless else [str(group) for group in os.getgroups()],
        "read_only": True,
        "cap_drop": ["ALL"],
        # SELinux would want the user's own files to be labelled anew.
        "security_opt": ["no-new-privileges", *(["label=disable"] if selinux else [])],
        "nano_cpus": min(cores(), engine["NCPU"]) * 10**9,
        "mem_limit": memory,
        "memswap_limit": memory,
        "pids_limit": PIDS,
        "shm_size": SHARED_MEMORY,
    }


def _user_folder() -> Path:
    """Return the container's home: where this user's is, so that ~ means the same, or /tmp where that can't be."""
    try:
        folder = Path.home()
    except RuntimeError:  # a user without one
        return Path("/tmp")
    return Path("/tmp") if IMAGE_FOLDER.is_relative_to(folder) else folder


def _replace_run(number: str, mounts: Volumes) -> None:
    """Replace kfp's function that runs a container.

    That one lets the engine remove a container when it ends, and asks afterwards how it ended; where it is too late it
    says that all went well. It would use the image by the name in the pipeline, and mount only what kfp wants.
    """
    from kfp.local import docker_task_handler

    def run(client: DockerClient, image: str, command: list[str], volumes: Volumes, **more: object) -> int:
        return _run(client, command, image=number, volumes={**mounts, **volumes}, **more)

    docker_task_handler.run_docker_container = run


def _run(client: DockerClient, command: list[str], **options: Any) -> int:
    """Run a step in a container to its end, print what it prints, and return 0 only where it has left its result."""
    step = command[command.index("--function_to_execute") + 1]
    result = Path(json.loads(command[command.index("--executor_input") + 1])["outputs"]["outputFile"])
    result.unlink(missing_ok=True)
    options["labels"] = {**options["labels"], STEP_LABEL: step}
    container = None
    try:
        container = client.containers.create(command=command, **options)
        container.start()
        for text in container.logs(stream=True, follow=True):
            print(text.decode(errors="replace"), end="")
        code = container.wait()["StatusCode"]
        container.reload()
        memory = "; it wanted more memory than there is" if container.attrs["State"]["OOMKilled"] else ""
    except (DockerException, requests.RequestException) as error:
        print(f"the container of the step `{step}`: {error}")
        return 1
    finally:
        if container:
            with suppress(DockerException, requests.RequestException):
                container.remove(force=True)
    if code:
        print(f"the container of the step `{step}` ended with exit code {code}{memory}")
    elif not result.exists():
        print(f"the container of the step `{step}` has left no result")
        return 1
    return code


if __name__ == "__main__":
    graph_process.main(container_runner)
