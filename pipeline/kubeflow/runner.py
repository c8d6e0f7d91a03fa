"""Runs a study on a Kubeflow cluster; the run goes on there when who watches it leaves."""

import time
from collections.abc import Iterator
from typing import cast

from components.errors import AssayError
from components.runtime.events import STEPS, Event
from components.study.study import Study
from pipeline.kubeflow.client import Client
from pipeline.kubeflow.runs import FAILED, POLL_SECONDS, SUCCEEDED, RemoteRun, follow, look
from pipeline.kubeflow.submit import submit


class ClusterRunner:
    """A run on a cluster: that of `start`, or one that was started before; a `pipeline.runners.runner.Runner`."""

    def __init__(self, client: Client, number: str = "", limit: float | None = None, poll: float = POLL_SECONDS):
        """Take a run's number where it was started before; `limit` and `poll` are seconds, see `follow`."""
        self.client = client
        self.number = number
        self._limit, self._poll = limit, poll

    def start(self, study: Study) -> None:
        """Start a run of the study; an unclear answer never starts it twice."""
        self.number = submit(self.client, study)

    def events(self) -> Iterator[list[Event]]:
        """Yield an event `state` whenever the run has come further: its `message` says how far.

        Raises:
            ClusterError: when the limit is over, or the server stays away; the run goes on.
            AssayError: when it has ended and did not succeed.
        """
        run, before = None, ""
        for run in follow(self.client, self.number, self._limit, self._poll):
            now = _summary(run)
            event = {"event": "state", "step": "", "label": "", "time": time.time(), "message": now}
            yield [] if now == before else [cast(Event, event)]
            before = now
        if run and run.state != SUCCEEDED:
            failed = next((step for step in run.steps if step.state == FAILED), None)
            where, option = (f" in the step {failed.name}", f" --step {failed.name}") if failed else ("", "")
            reason = (failed.error if failed else "") or run.error
            raise AssayError(
                f"run {self.number} ended as {run.state}{where}{f' ({reason})' if reason else ''}; "
                f"`assay logs {self.number}{option} --host {self.client.host}` shows what it wrote"
            )

    def stop(self) -> None:
        """Stop the run; one that has ended stays as it is."""
        if not look(self.client, self.number).ended:
            call = self.client.runs.run_service_terminate_run
            self.client.ask(f"stop the run {self.number}", call, run_id=self.number)


def _summary(run: RemoteRun) -> str:
    """Return a run's state in a line: `RUNNING: load, scale, train 1 of 3`."""
    tasks = {name: [step.state for step in run.steps if step.name == name] for name in STEPS}
    done = {name: states.count(SUCCEEDED) for name, states in tasks.items() if states}
    parts = [name if n == len(tasks[name]) else f"{name} {n} of {len(tasks[name])}" for name, n in done.items()]
    return run.state + (f": {', '.join(parts)}" if parts else "")
