"""The child process that runs the graph with kfp.local."""

import os
import subprocess
import sys

import pytest
from command import HANGS_SECONDS

from components.runtime import devices
from pipeline.runners import run

# Each of three tasks waits for the two others, which by kfp.local's own limit of two it never meets.
MEETING = """
import sys
from pathlib import Path
from kfp import dsl, local
from pipeline.runners.graph_process import _name_python, _run_side_by_side

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def meet(name: str, folder: str) -> None:
    import time
    from pathlib import Path

    (Path(folder) / name).touch()
    deadline = time.monotonic() + 60
    while len(list(Path(folder).iterdir())) < 3:
        if time.monotonic() > deadline:
            raise SystemExit("nobody came")
        time.sleep(0.02)

@dsl.pipeline(name="meeting")
def meeting(names: list[str], folder: str):
    with dsl.ParallelFor(names) as name:
        meet(name=name, folder=folder)

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    _name_python(folder / "bin")
    _run_side_by_side(3)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "outputs"))
    (folder / "met").mkdir()
    meeting(names=["a", "b", "c"], folder=str(folder / "met"))
"""


def test_as_many_tasks_of_a_loop_run_at_once_as_are_wanted(tmp_path):
    script = tmp_path / "meeting.py"
    script.write_text(MEETING)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=HANGS_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {file.name for file in (tmp_path / "met").iterdir()} == {"a", "b", "c"}


@pytest.mark.parametrize(("cores", "gpu", "expected"), [(1, False, 1), (6, False, 6), (64, False, 8), (64, True, 2)])
def test_cells_are_spread_over_what_the_machine_has(tmp_path, monkeypatch, cores, gpu, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    monkeypatch.setattr(devices, "CPU_LIMIT", tmp_path / "none")
    monkeypatch.setattr(run, "gpus", lambda: ["NVIDIA A100"] if gpu else [])
    assert run.default_fan_out() == expected


@pytest.mark.parametrize(("limit", "expected"), [("max 100000", 64), ("250000 100000", 2), ("50000 100000", 1)])
def test_a_container_has_the_cores_that_it_may_use(tmp_path, monkeypatch, limit, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    monkeypatch.setattr(devices, "CPU_LIMIT", tmp_path / "cpu.max")
    devices.CPU_LIMIT.write_text(f"{limit}\n")
    assert devices.cores() == expected
