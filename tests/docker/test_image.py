"""The image, built once: it serves a registered model with the answers that the model gives here."""

import io
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import ASSAY, HANGS_SECONDS
from planted import PLANTED, files_of_image, found_in
from sklearn import datasets

pytestmark = [pytest.mark.docker, pytest.mark.slow]

START_SECONDS = 180


def docker(*arguments: str, timeout: float = HANGS_SECONDS) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout)


@pytest.fixture(scope="module")
def workplace(here: Path) -> Path:
    """A folder in which a study was run, and the rows that are asked about."""
    datasets.load_iris(as_frame=True).data.to_csv(here / "flowers.csv", index=False)
    return here


@pytest.fixture(scope="module")
def answers(workplace: Path) -> pd.DataFrame:
    """What the model answers on this machine."""
    command = [ASSAY, "predict", "iris", "flowers.csv"]
    done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, timeout=HANGS_SECONDS, check=True)
    return pd.read_csv(io.StringIO(done.stdout))


def hardened(workplace: Path) -> list[str]:
    """Options of `docker run`: nothing can be written but what is given, and nobody is root."""
    user = f"{os.getuid() or 10001}:{os.getgid() or 10001}"
    if not os.getuid():  # MLflow opens its database for writing
        subprocess.run(["chown", "-R", user, str(workplace)], check=True)
        for parent in workplace.parents[:2]:  # pytest's folders are closed to others
            parent.chmod(0o755)
    return ["--user", user, "--read-only", "--tmpfs", "/tmp", "-v", f"{workplace}:{workplace}", "-w", str(workplace)]


@pytest.fixture(scope="module")
def service(image: str, workplace: Path) -> Iterator[str]:
    """The address of a container that serves the model."""
    serve = ["mlflow", "models", "serve", "-m", "models:/iris@champion", "--env-manager", "local", "--host", "0.0.0.0"]
    published = ["--detach", "--init", "--publish", "127.0.0.1::5000"]
    started = docker("run", *published, *hardened(workplace), image, *serve, "--port", "5000")
    assert started.returncode == 0, started.stderr
    container = started.stdout.strip()
    try:
        address = f"http://{docker('port', container, '5000').stdout.split()[0]}"
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{address}/ping", timeout=5)
                break
            except OSError:
                logs = docker("logs", container)
                running = docker("inspect", "--format", "{{.State.Running}}", container).stdout.strip()
                assert running == "true", logs.stdout + logs.stderr
                assert time.monotonic() < deadline, logs.stdout + logs.stderr
                time.sleep(0.5)
        yield address
    finally:
        docker("rm", "--force", container)


def test_a_container_serves_the_same_answers(service, answers):
    split = json.loads(datasets.load_iris(as_frame=True).data.to_json(orient="split", index=False))
    body = json.dumps({"dataframe_split": split}).encode()
    request = urllib.request.Request(f"{service}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=HANGS_SECONDS) as answer:
        found = pd.DataFrame(json.load(answer)["predictions"])
    np.testing.assert_allclose(found, answers[found.columns], atol=1e-5)
    assert np.ptp(found, axis=0).max() > 0.01


def test_the_command_in_a_container_gives_the_same_answers(image, workplace, answers):
    done = docker(
        "run", "--rm", *hardened(workplace), image, "assay", "predict", "iris", "flowers.csv", timeout=HANGS_SECONDS
    )
    assert done.returncode == 0, done.stderr
    found = pd.read_csv(io.StringIO(done.stdout))
    pd.testing.assert_frame_equal(found, answers, atol=1e-5, rtol=0)


def test_it_runs_as_a_number_with_byte_code_and_without_a_shell(image):
    described = json.loads(docker("image", "inspect", image).stdout)[0]["Config"]
    assert described["User"].partition(":")[0].isdecimal()
    assert described["User"].partition(":")[0] != "0"
    assert not described["Entrypoint"]
    assert described["Labels"]["org.opencontainers.image.title"] == "Assay"
    probe = "import importlib.util, pathlib, components.serving.saved_model as s, keras as k; "
    probe += "print(*(pathlib.Path(importlib.util.cache_from_source(m.__file__)).exists() for m in (s, k)))"
    done = docker("run", "--rm", "--read-only", "--tmpfs", "/tmp", image, "python", "-c", probe)
    assert done.stdout.split() == ["True", "True"], done.stderr


def test_no_secret_is_in_a_layer_or_in_the_history(image):
    known = b'assay = "pipeline.cli.main:main"', b"uv pip install --system"  # in a file, and in the history
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
        assert saving.stdout
        found = found_in(files_of_image(saving.stdout), PLANTED, *known)
    assert saving.returncode == 0
    assert all(found[text] for text in known)
    assert not found[PLANTED]
