"""Watches and reads runs on a Kubeflow cluster.

`kfp.Client` never ends its wait for a canceled run, and takes a failed one for done: this one knows how a run ended.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

import kfp_server_api as api

from components.errors import UsageError
from components.runtime.events import STEPS
from pipeline.kubeflow.client import BUSY, UNSURE, Client, ClusterError, message

POLL_SECONDS = 10.0
OUTAGE_SECONDS = 300.0  # of the server, which a run outlives
SUCCEEDED, FAILED = api.V2beta1RuntimeState.SUCCEEDED, api.V2beta1RuntimeState.FAILED
ENDED = (SUCCEEDED, FAILED, api.V2beta1RuntimeState.CANCELED, api.V2beta1RuntimeState.SKIPPED)
EXECUTOR = "executor"  # Kubeflow's name for what runs the container of any step; executor(0) and so on are its tries


@dataclass(frozen=True)
class Step:
    """One task of a run: `name` is one of STEPS, `state` is Kubeflow's word, `pods` are those that may have its log."""

    name: str
    state: str
    started: datetime | None
    ended: datetime | None
    error: str
    pods: tuple[str, ...]


@dataclass(frozen=True)
class RemoteRun:
    """A run on the cluster; `state` is Kubeflow's word, and a newer server may have more of them."""

    name: str
    state: str
    error: str
    steps: tuple[Step, ...]

    @property
    def ended(self) -> bool:
        """Whether its state is final."""
        return self.state in ENDED


def look(client: Client, number: str) -> RemoteRun:
    """Return a run as it is now."""
    run = client.ask(f"find the run {number}", client.runs.run_service_get_run, run_id=number)
    return RemoteRun(
        name=run.display_name or number,
        state=run.state or api.V2beta1RuntimeState.RUNTIME_STATE_UNSPECIFIED,
        error=client.hide(message(run.error)),
        steps=tuple(_steps(client, run)),
    )


def follow(
    client: Client, number: str, limit: float | None = None, poll_seconds: float = POLL_SECONDS
) -> Iterator[RemoteRun]:
    """Yield a run as it is, again and again, until it has ended, in whatever way; `limit` is seconds, None for ever.

    Raises:
        ClusterError: when the limit is over, or the server stays away; the run goes on.
    """
    started = answered = time.monotonic()
    run = look(client, number)
    while True:
        yield run
        if run.ended:
            return
        if limit is not None and time.monotonic() + poll_seconds > started + limit:
            raise ClusterError(f"run {number} is still {run.state} after {limit:g} s; it goes on")
        time.sleep(poll_seconds)
        try:
            run, answered = look(client, number), time.monotonic()
        except ClusterError as error:
            if error.status not in (0, BUSY, *UNSURE) or time.monotonic() > answered + OUTAGE_SECONDS:
                raise


def logs(client: Client, number: str, step: str | None = None) -> Iterator[tuple[Step, str]]:
    """Yield the tasks of a run, or those of one step, with their logs, in the order in which they began.

    Raises:
        UsageError: for a step that no run has.
        ClusterError: when there is no log at all.
    """
    if step is not None and step not in STEPS:
        raise UsageError(f"--step {step}: expected one of {', '.join(STEPS)}")
    has_log = False
    for task in look(client, number).steps:
        if step in (None, task.name):
            text = "".join(filter(None, (_log(client, number, pod) for pod in task.pods)))
            if text:
                has_log = True
                yield task, client.hide(text)
    if not has_log:
        which = f"the step {step}" if step else "any step"
        raise ClusterError(
            f"run {number} has no log of {which} (yet, or its pods are gone and the cluster archives no logs)"
        )


def page(client: Client, number: str) -> str:
    """Return the address of a run's page."""
    return f"{client.host}/#/runs/details/{number}"


def _steps(client: Client, run: api.V2beta1Run) -> Iterator[Step]:
    """Yield the tasks that are steps; Kubeflow's own (drivers, loops, the pods below a step) are not."""
    tasks = (run.run_details and run.run_details.task_details) or []
    by_hash = {_hash(task.pod_name): task for task in tasks if task.pod_name}
    ours = [task for task in tasks if task.display_name in STEPS]
    for task in sorted(ours, key=lambda task: str(_time(task.start_time) or "9")):
        yield Step(
            name=task.display_name,
            state=task.state or api.V2beta1RuntimeState.RUNTIME_STATE_UNSPECIFIED,
            started=_time(task.start_time),
            ended=_time(task.end_time),
            error=client.hide(message(task.error)),
            pods=tuple(_pods(task, by_hash)),
        )


def _log(client: Client, number: str, pod: str) -> str | None:
    """Return a pod's log, None where it has none.

    The API has logs at an address that the server of Kubeflow's pages does not pass on; that one has its own.
    """
    of_api = f"/apis/v1alpha1/runs/{quote(number, safe='')}/nodes/{quote(pod, safe='')}/log"
    query = {"podname": pod, "runid": number, "podnamespace": client.cluster.namespace or ""}
    for path, arguments in ((of_api, {}), ("/k8s/pod/logs", query)):

        def read(path: str = path, arguments: dict[str, str] = arguments, **more: object) -> str | None:
            client.api.call_api(path, "GET", query_params=list(arguments.items()), **more)
            answer = client.api.last_response
            return None if answer.getheader("content-type", "").startswith("text/html") else answer.data

        try:
            if (text := client.ask(f"read the log of {pod}", read, once=True, plain=True)) is not None:
                return text
        except ClusterError as error:
            if error.status == 422:
                raise UsageError(f"{client.host} has several users; give yours by --namespace") from None
            if error.status not in (400, 404, 500):  # no such address; or no pod there, or not any more
                raise
    return None


def _time(said: datetime | None) -> datetime | None:
    """Return when something happened; for what has not yet the server says 1970, or the year 1."""
    return said if said and said.year > 1970 else None


def _hash(name: str) -> str:
    """Return what the names of a node of the workflow and of its pod share: they are otherwise made differently."""
    return name.rpartition("-")[2]


def _pods(task: "api.V2beta1PipelineTaskDetail", by_hash: "dict[str, api.V2beta1PipelineTaskDetail]") -> Iterator[str]:
    """Yield the pods that run a step: the executor below it, or where it may be tried again the tries below that."""
    below = [by_hash.get(_hash(child.pod_name or "")) for child in task.child_tasks or []]
    executors = [task for task in below if task is not None and task.display_name.startswith(EXECUTOR)]
    for executor in executors:
        yield from _pods(executor, by_hash)
    if not executors and task.pod_name:
        yield task.pod_name
