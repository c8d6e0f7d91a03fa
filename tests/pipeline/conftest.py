"""What several test files use: one finished run, a Kubeflow Pipelines server and a client of it."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import TINY, assay

from pipeline.kubeflow.settings import Cluster

if TYPE_CHECKING:
    from kfp_server import Kfp

    from pipeline.kubeflow.client import Client


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder and the output of one whole tiny run.

    The folder has a space in its name, which shells split at, and "python3", which kfp.local replaces everywhere. In it
    is a package that is called like one of ours.
    """
    folder = tmp_path_factory.mktemp("a python3 course")
    (folder / "components").mkdir()
    (folder / "components" / "__init__.py").write_text("raise RuntimeError('the user owns this package')")
    return folder, assay("run", *TINY, cwd=folder)


@pytest.fixture
def run_of() -> Callable[[Path], Path]:
    """Finds the only run's folder."""

    def find(folder: Path) -> Path:
        (run,) = folder.glob(".assay/runs/*")
        return run

    return find


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> "Iterator[Kfp]":
    """A server that answers as Kubeflow Pipelines does; nobody here is logged in anywhere."""
    from kfp_server import Kfp

    monkeypatch.setattr("pipeline.kubeflow.client.BACKOFF_SECONDS", 0.01)
    for name in ("KFP_TOKEN", "KFP_COOKIE", "KFP_HOST", "KFP_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    running = Kfp()
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def connect(server: "Kfp") -> "Callable[..., Client]":
    """Makes clients of the server, with settings of a cluster."""
    from pipeline.kubeflow.client import Client

    def make(answer_seconds: float = 10.0, **settings: object) -> Client:
        return Client(
            Cluster.model_validate({"host": server.url, "mlflow": "http://mlflow.team:5000", **settings}),
            answer_seconds,
        )

    return make
