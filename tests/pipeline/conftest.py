"""One finished run that several tests look at."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command import TINY, assay


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
