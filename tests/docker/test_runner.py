"""`assay run --on docker`: real containers, which give the same numbers, fail honestly, stop, and are continued."""

import io
import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import pytest
from command import ASSAY, HANGS_SECONDS, cells, events, wait_for
from planted import LOGIN, NAME, PASSWORD, PLANTED, TOKEN, files_below, found_in
from sklearn import datasets

from pipeline import __version__
from pipeline.runners.docker import FOLDER_LABEL, STEP_LABEL, _engine, _run

pytestmark = [pytest.mark.docker, pytest.mark.slow]

IMAGE = f"assay:{__version__}"
PATIENCE = 1200  # seconds: a container takes longer to start than a process, and a busy machine is no failure


def begun(folder: Path) -> bool:
    """Whether a step has begun."""
    return any(event["event"] == "step_started" for event in events(folder))


def containers(folder: Path, step: str = "") -> list[Any]:
    """The containers of a working folder that have not been removed."""
    labels = [f"{FOLDER_LABEL}={folder}", *([f"{STEP_LABEL}={step}"] if step else [])]
    return docker.from_env().containers.list(all=True, filters={"label": labels}, ignore_removed=True)


TIMES_AND_NAMES = ("seconds", "cost", "cost_low", "cost_high", "run", "mlflow")


def numbers(folder: Path) -> dict[str, Any]:
    """The verdict without times, and without what names the run."""
    (file,) = folder.glob(".assay/runs/*/verdict.json")

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if k not in TIMES_AND_NAMES}
        return [timeless(item) for item in value] if isinstance(value, list) else value

    return timeless(json.loads(file.read_text()))


def run(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ASSAY, "run", *arguments],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=HANGS_SECONDS,
    )


@pytest.fixture
def as_somebody(tmp_path: Path) -> list[str]:
    """What makes of a command that of an ordinary user, who may use Docker and owns the folder.

    Of root's rights it has one: to read. The tests' Python may be in a folder that is closed to others.
    """
    if os.getuid():
        return []
    socket = Path(urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")).path)
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):  # pytest's folders are closed to others
        parent.chmod(0o755)
    os.chown(tmp_path, 10001, 10001)
    rights = [f"--{kind}-caps=-all,+dac_read_search" for kind in ("inh", "ambient")]
    return ["setpriv", "--reuid=10001", "--regid=10001", f"--groups={socket.stat().st_gid}", *rights, "--"]


@pytest.mark.usefixtures("image")
def test_a_bounded_container_gives_the_same_numbers_against_a_team_server(tmp_path, study, here, server, as_somebody):
    """What is secret reaches the steps, and remains in none of the places that they write to."""
    asked = {"username": NAME, "password": PASSWORD}
    assert server.ask("/api/2.0/mlflow/users/create", ("admin", server.admin), body=asked)[0] == 200
    login = {"MLFLOW_TRACKING_USERNAME": NAME, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
    env = {**login, "MLFLOW_TRACKING_URI": server.address, "AWS_SECRET_ACCESS_KEY": TOKEN, "HOME": str(tmp_path.parent)}
    running = subprocess.Popen(
        [*as_somebody, ASSAY, "run", *study, "--on", "docker"],
        cwd=tmp_path,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: running.poll() is not None or begun(tmp_path), PATIENCE)
        seen = [container.attrs for container in containers(tmp_path)]
        out, said = running.communicate(timeout=HANGS_SECONDS)
    finally:
        running.kill()
    assert running.returncode == 0, said
    assert "4/4 cells" in said
    assert "iris version 1 is the champion now" in out
    owner = tmp_path.stat()
    host, config = seen[0]["HostConfig"], seen[0]["Config"]
    assert owner.st_uid != 0
    assert config["User"] == f"{owner.st_uid}:{owner.st_gid}"
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert 0 < host["NanoCpus"] <= (os.cpu_count() or 1) * 10**9
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["ShmSize"] >= 2**30
    assert not [bind for bind in host["Binds"] if bind.startswith(f"{tmp_path}:")]  # with a server, only .assay is
    assert {file.stat().st_uid for file in tmp_path.rglob("*")} == {owner.st_uid}
    assert containers(tmp_path) == []
    assert numbers(tmp_path) == numbers(here)

    environment = config.pop("Env")  # the only place that is to have them
    assert {f"MLFLOW_TRACKING_PASSWORD={PASSWORD}", f"AWS_SECRET_ACCESS_KEY={TOKEN}"} <= set(environment)
    compiled = tmp_path / "iris.pipeline.yaml"
    subprocess.run(
        [ASSAY, "compile", "iris", "-o", compiled], env={**os.environ, **env}, check=True, timeout=HANGS_SECONDS
    )
    built = docker.from_env().images.get(IMAGE)
    told = {"container": seen, "output": [out, said], "image": [built.attrs, built.history()]}
    contents = [(name, io.BytesIO(json.dumps(text).encode())) for name, text in told.items()]
    contents += [("PostgreSQL", io.BytesIO(server.postgres.dump()))]
    searched = chain(contents, *map(files_below, (tmp_path, server.folder, here)))
    found = found_in(searched, PLANTED, LOGIN, b"iris", b"model.batch_norm")
    assert {"PostgreSQL", "run.log", "run.json", "mlflow.db", compiled.name} <= found[b"iris"]
    assert {"container", "PostgreSQL", "mlflow.db", compiled.name} <= found[b"model.batch_norm"]
    assert list(server.artifacts.glob("*")), "MLflow got no files"
    assert not found[PLANTED] | found[LOGIN]


@pytest.mark.usefixtures("image")
def test_killed_it_fails_stopped_it_stops_and_then_it_continues(tmp_path, tmp_path_factory, study):
    """The data are elsewhere, and so must be mounted; the runs are in the working folder's own MLflow store."""
    flowers = tmp_path_factory.mktemp("data") / "flowers.csv"
    datasets.load_iris(as_frame=True).frame.to_csv(flowers, index=False)
    study = (f"table:{flowers}", *study[1:], "--set", "recipe.train.epochs=300", "--fan-out", "1", "--on", "docker")
    study += ("--set", "checkpoint=0", "--set", "recipe.train.early_stopping=false")

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [ASSAY, "run", *study], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def trained() -> int:
        return len({(cell["arm"], cell["seed"]) for cell in cells(tmp_path)})

    killed = start()
    wait_for(lambda: killed.poll() is not None or trained() >= 1, PATIENCE)
    for container in containers(tmp_path, "train"):
        container.kill()
    _, said = killed.communicate(timeout=HANGS_SECONDS)
    assert killed.returncode == 1, said
    assert "error: the step `train` failed" in said
    assert "the container of the step `train` ended with exit code 137" in said
    assert containers(tmp_path) == []
    before = trained()
    assert 1 <= before < 4, "killed too late for this test to mean anything"

    stopped = start()
    wait_for(lambda: stopped.poll() is not None or containers(tmp_path), PATIENCE)
    stopped.send_signal(signal.SIGTERM)
    _, said = stopped.communicate(timeout=HANGS_SECONDS)
    assert stopped.returncode == 130, said
    assert "stopped; `assay run" in said
    assert containers(tmp_path) == []

    done = run(*study, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert trained() == 4
    assert sum(cell["reused"] for cell in cells(tmp_path)) >= before
    assert containers(tmp_path) == []


def step(folder: Path, code: str) -> int:
    """The exit code of a step that is this code."""
    told = json.dumps({"outputs": {"outputFile": str(folder / "result.json")}})
    command = ["python", "-c", code, "--executor_input", told, "--function_to_execute", "train"]
    volumes = {str(folder): {"bind": str(folder), "mode": "rw"}}
    with _engine() as engine:
        return _run(engine, command, image=IMAGE, volumes=volumes, labels={FOLDER_LABEL: str(folder)}, user=os.getuid())


@pytest.mark.usefixtures("image")
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


@pytest.mark.usefixtures("image")
def test_an_image_with_other_code_is_refused(tmp_path):
    change = "echo '# changed' >> $(python -c 'import components.data.scaling as s; print(s.__file__)')"
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
