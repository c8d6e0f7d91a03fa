"""What Kubeflow's MLflow plugin does to a tracking server and to the environment of a task, for tests.

Read in the sources of kubeflow/pipelines, see `components.tracking.runs`: which runs it makes, their names and tags,
what a task is told, what is logged when a task has ended, and what becomes of runs when the pipeline run ends or is
retried.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from components.runtime.events import RUN
from components.tracking.client import client, tracking_uri

INPUTS = {"study": '"{}"', "run": '""'}  # what a task was called with, as JSON
LOOP = ("for-loop-1", "one-batch")  # the runs above the task `train`, which is in a loop


class Plugin:
    """The plugin, and one pipeline run with its tasks.

    Attributes:
        number: of the pipeline run.
        experiment: its number; all pipelines share it.
        root: the number of the pipeline run's run.
        tasks: the numbers of the tasks' runs, by name.
    """

    def __init__(self, number: str, experiment: str = "KFP-Default"):
        """Start a pipeline run."""
        self.api = client()
        known = self.api.get_experiment_by_name(experiment)
        self.experiment = known.experiment_id if known else self.api.create_experiment(experiment)
        self.number = number
        tags = {
            "kfp.pipeline_run_id": number,
            "kfp.pipeline_run_url": f"https://kubeflow.example.org/#/runs/details/{number}",
            "kfp.pipeline_id": "12",
            "mlflow.kfp.idempotencyKey": number,
        }
        self.root = self.api.create_run(self.experiment, run_name=f"assay {number}", tags=tags).info.run_id
        self.tasks: dict[str, str] = {}

    @contextmanager
    def task(self, name: str) -> Iterator[None]:
        """Start a task, tell it of its run by the environment, and end it."""
        above = self.root
        for loop in LOOP if name == "train" else ():
            above = self._start(loop, above)
            self._end(above, "FINISHED")  # a driver ends before what it starts
        run = self.tasks[name] = self._start(name, above)
        told = {"MLFLOW_RUN_ID": run, "MLFLOW_TRACKING_URI": tracking_uri(), "MLFLOW_EXPERIMENT_ID": self.experiment}
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in told.items():
                patch.setenv(variable, value)
            if name == "load":
                patch.setenv(RUN, self.number)  # from the pod's label, see `pipeline.kubeflow.resources`
            try:
                yield
            except BaseException:
                self._end(run, "FAILED")
                raise
        self._end(run, "FINISHED")

    def end(self, status: str) -> None:
        """End the pipeline run: its run, and all below it that is open."""
        self.api.set_terminated(self.root, status)
        self._set_below(self.root, ("RUNNING", "SCHEDULED"), status)

    def retry(self) -> None:
        """Start the pipeline run again: its run is opened, and all below it that has failed."""
        self.api.update_run(self.root, status="RUNNING")
        self._set_below(self.root, ("FAILED", "KILLED"), "RUNNING")

    def below(self, run: str) -> list[Any]:
        """Return the runs right below a run."""
        return list(self.api.search_runs([self.experiment], f"tags.`mlflow.parentRunId` = '{run}'"))

    def _set_below(self, run: str, statuses: tuple[str, ...], to: str) -> None:
        for child in self.below(run):
            if to != "RUNNING" or child.info.status in statuses:
                self._set_below(child.info.run_id, statuses, to)
            if child.info.status in statuses:
                self.api.update_run(child.info.run_id, status=to)

    def _start(self, name: str, above: str) -> str:
        run = self.api.create_run(self.experiment, run_name=name, tags={"mlflow.parentRunId": above})
        return run.info.run_id

    def _end(self, run: str, status: str) -> None:
        for name, value in INPUTS.items():
            self.api.log_param(run, name, value)
        self.api.set_terminated(run, status)
