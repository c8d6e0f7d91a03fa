"""Runs a study in the working folder by any runner: watched, stoppable, and continued by the same call."""

import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import AssayError
from components.runtime.devices import cores, gpus
from components.runtime.events import Event
from components.study.study import Study
from pipeline.runners.run_folder import OpenRun, RunFolder, open_run
from pipeline.runners.runner import Runner, RunnerMaker

if TYPE_CHECKING:
    from components.evaluation.verdict import Verdict
    from components.registry.decision import Decision

MAX_TASKS = 8  # side by side unless the user says more: each holds TensorFlow and its rows in memory
TASKS_ON_GPU = 2  # one computes while the other reads; their networks share the GPU's memory


class StoppedError(AssayError):
    """The user stopped the run.

    Attributes:
        kept: how many cells are finished, which the next run need not train.
        total: how many there are; 0 where that is not known.
    """

    exit_code = 130

    def __init__(self, kept: int, total: int = 0):
        """Keep the numbers."""
        super().__init__(f"stopped; the same call continues: {kept} of {total} cells are kept")
        self.kept = kept
        self.total = total


@dataclass(frozen=True)
class Finished:
    """A run that ended well.

    Its events and times (seconds since the epoch) are of this sitting: what an earlier one did is not in them.
    """

    folder: Path
    verdict: "Verdict"
    decision: "Decision"
    events: list[Event]
    begun: float
    ended: float


def default_fan_out() -> int:
    """Return over how many training tasks to spread the cells on this machine."""
    return TASKS_ON_GPU if gpus() else min(cores(), MAX_TASKS)


def run_study(
    study: Study,
    fan_out: int,
    make_runner: RunnerMaker,
    begin: Callable[[RunFolder], Callable[[list[Event]], None]],
) -> Finished:
    """Run a study in the working folder; an unfinished run of the same study is continued.

    Its cells are spread over `fan_out` train tasks at most. `begin` is called with the run when it starts; what it
    returns is called with the new events, again and again.

    Raises:
        AssayError: when it can't start or a step fails.
        StoppedError: on Ctrl-C or SIGTERM; nothing is left running, and the next run continues.
    """
    with _sigterm_is_ctrl_c(), open_run(study, fan_out, Path.cwd()) as run:
        return sit(study, run, make_runner(run), begin(run))


def sit(study: Study, run: OpenRun, runner: Runner, watch: Callable[[list[Event]], None]) -> Finished:
    """Run the study once, from its start to its end.

    Raises:
        AssayError: when a step fails.
        StoppedError: on Ctrl-C.
    """
    begun, events = time.time(), []
    try:
        try:
            runner.start(study)
            for new in runner.events():
                watch(new)
                events += new
        finally:
            runner.stop()
        verdict, decision = run.results()
    except KeyboardInterrupt:
        _close(run, "stopped")
        raise StoppedError(run.finished_cells()) from None
    except AssayError:
        run.keep_decision()
        _close(run, "failed")
        raise
    run.write(state="finished")
    run.clean()
    return Finished(run.folder, verdict, decision, events, begun, time.time())


@contextmanager
def _sigterm_is_ctrl_c() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C; Python lets only its main thread do so, and a notebook may run this in another."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _close(run: OpenRun, state: str) -> None:
    """Write how the run ended, and start a process that tells MLflow; do not wait for it.

    Importing MLflow takes seconds, and who pressed Ctrl-C does not wait for that; a server may be out of reach, too. It
    is in no folder of the user's, and ends by itself.
    """
    run.write(state=state)
    impatient = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    closer = subprocess.Popen(
        [sys.executable, "-m", "pipeline.runners.close_runs", str(run.folder)],
        env={**run.environment, **impatient, "TMPDIR": tempfile.gettempdir(), "PYTHONSAFEPATH": "1"},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    closer.returncode = 0  # else Python warns of a process that nobody waits for
