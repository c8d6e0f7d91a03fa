"""Runs the graph of one run with kfp.local: `python -m pipeline.runners.graph_process RUN_FOLDER`.

This is a process of its own since kfp patches `print` and the root logger, prints hundreds of lines, and can't be
stopped but with its process group.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.runners.run_folder import RunFolder


def main(task_runner: Callable[[RunFolder], object] | None = None) -> None:
    """Run the graph with the arguments in the folder's run.json, and leave verdict.json and decision.json there.

    Args:
        task_runner: makes kfp's runner of the steps; else they are processes.
    """
    folder = Path(sys.argv[1])
    _name_python(folder / "bin")
    from kfp import local

    from components.runtime.devices import cores
    from pipeline.graph import assay

    run = RunFolder(folder)
    _run_side_by_side(cores())
    local.init(
        task_runner(run) if task_runner else local.SubprocessRunner(use_venv=False),
        pipeline_root=str(folder / "outputs"),
        workspace_root=str(folder / "workspace"),  # kfp deletes it
    )
    try:
        outputs = assay(**run.read()["arguments"]).outputs
    except RuntimeError as error:  # all that kfp tells of a failed task; the task itself has told more
        sys.exit(str(error))
    keep_results(run, outputs["verdict"].path, outputs["decision"].path)


def keep_results(run: RunFolder, verdict: str, decision: str) -> None:
    """Copy what is read when the run has ended out of the folders that `evaluate` and `register` wrote."""
    shutil.copyfile(Path(verdict) / "report" / "verdict.json", run.folder / "verdict.json")
    shutil.copyfile(Path(decision) / "decision.json", run.folder / "decision.json")


def _run_side_by_side(tasks: int) -> None:
    """Let this many tasks of a loop run at once: kfp.local's own limit is 2, whatever the machine."""
    from kfp.local.orchestrator import enhanced_dag_orchestrator

    class Executor(enhanced_dag_orchestrator.ParallelExecutor):
        def __init__(self, *_: object, **__: object):
            super().__init__()
            self.conservative_max = self.max_workers = tasks

    enhanced_dag_orchestrator.ParallelExecutor = Executor


def _name_python(folder: Path) -> None:
    """Make `python3` mean this interpreter for the tasks.

    kfp puts `sys.executable` in the place of every "python3" in a task's command: in paths and values too, and
    unquoted. So it is told that the interpreter's name is `python3`, and a script of that name leads to it.
    """
    folder.mkdir(exist_ok=True)
    script = folder / "python3"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', "utf-8")
    script.chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    sys.executable = "python3"


if __name__ == "__main__":
    main()
