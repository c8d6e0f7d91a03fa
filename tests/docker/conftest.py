"""What the tests in containers share, each made once: the image, a study run without it, a team's server."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import ASSAY, HANGS_SECONDS
from filelock import FileLock
from planted import TOKEN
from team_server import ROOT, Server, running_postgres

from pipeline import __version__

BASE_IMAGE = "python:3.11-slim"  # of docker/Dockerfile


@pytest.fixture(scope="session")
def docker_engine() -> None:
    """Skip where no Docker engine answers, or it has no base image for ours and can't pull it."""

    def fails(*command: str) -> int:
        return subprocess.run(["docker", *command], capture_output=True, timeout=HANGS_SECONDS).returncode

    if shutil.which("docker") is None or fails("version"):
        pytest.skip("no Docker engine answers")
    if fails("image", "inspect", BASE_IMAGE) and fails("pull", BASE_IMAGE):
        pytest.skip(f"the base image {BASE_IMAGE} is not here, and can't be pulled")


@pytest.fixture(scope="session")
def image(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """This version's image, built by the command where secrets lie beside the sources and in the environment."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in (".dockerignore", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    for name in ("docker", "pipeline", "components"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".env", ".git/config", "docker/.env", "pipeline/.env", "components/.netrc"):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text(f"PASSWORD={TOKEN}\n")
    command = [ASSAY, "run", "table:nosuchfile.csv", "--on", "docker"]  # the study fails before it begins
    env = {**os.environ, "PYTHONPATH": str(checkout), "AWS_SECRET_ACCESS_KEY": TOKEN, "UV_INDEX_TEAM_PASSWORD": TOKEN}
    with FileLock(tmp_path_factory.getbasetemp().parent / "image.lock"):  # another worker finds what the first built
        failed = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, timeout=HANGS_SECONDS)
    assert failed.returncode == 1, failed.stderr
    assert "nosuchfile.csv" in failed.stderr
    return f"assay:{__version__}"


@pytest.fixture(scope="session")
def study() -> tuple[str, ...]:
    """Arguments of `assay run`: two arms with two seeds, and seconds of training."""
    return "iris", "--seeds", "2", "--set", "recipe.train.epochs=3", "--set", "arms={plain: {model.batch_norm: false}}"


@pytest.fixture(scope="session")
def here(study: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the study was run without containers, and with a secret in the environment."""
    folder, env = tmp_path_factory.mktemp("here"), {**os.environ, "AWS_SECRET_ACCESS_KEY": TOKEN}
    done = subprocess.run(
        [ASSAY, "run", *study], cwd=folder, env=env, capture_output=True, text=True, timeout=HANGS_SECONDS
    )
    assert done.returncode == 0, done.stderr
    (folder / "said").write_text(done.stdout + done.stderr)
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A team's server, on a PostgreSQL of its own."""
    with running_postgres() as postgres:
        made = Server(tmp_path_factory.mktemp("server"), postgres)
        try:
            made.start()
            yield made
        finally:
            made.stop()
