"""Runs a study's graph in a child process on this machine, each step in a process below it."""

import time
from collections.abc import Iterator

from components.runtime.events import Event
from components.study.study import Study
from pipeline.runners.child_process import ChildProcess
from pipeline.runners.run_folder import OpenRun

POLL_SECONDS = 0.2
LAST_WORDS_SECONDS = 3.0  # how long a failing step may still write its traceback


class ProcessRunner:
    """Runs the graph with kfp.local, see `pipeline.runners.graph_process`."""

    graph = "pipeline.runners.graph_process"  # the module that the child runs

    def __init__(self, run: OpenRun):
        """Take the folder of the run."""
        self.run = run
        self._child: ChildProcess | None = None

    def start(self, study: Study) -> None:
        """Start the child, which holds the study's lock as long as it lives."""
        with self.run.log.open("a") as log:
            folder, environment = str(self.run.folder), self.run.environment
            self._child = ChildProcess(self.graph, [folder], environment, log, keep=(self.run.lock,))

    def events(self) -> Iterator[list[Event]]:
        """Yield events until the child has ended, or a step has failed: then nobody waits for its neighbours.

        Raises:
            AssayError: in the words of the step that has failed.
        """
        assert self._child, "it was not started"
        deadline = float("inf")
        while True:
            running = self._child.running() and time.monotonic() < deadline
            new = self.run.new_events()
            yield new
            if not running:
                break
            if deadline == float("inf") and any(event["event"] == "failed" for event in new):
                deadline = time.monotonic() + LAST_WORDS_SECONDS
            time.sleep(POLL_SECONDS)
        self.stop()
        if self._child.process.returncode:
            raise self.run.failure()

    def stop(self) -> None:
        """Kill the child and all that it started."""
        if self._child:
            self._child.close()
