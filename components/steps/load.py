"""Step `load`: any source -> checked, split, reported, prepared data; and the study's runs are opened in MLflow."""

import os
from pathlib import Path

from components.data import report
from components.data.preparation import prepare, record
from components.data.prepared import REPORT
from components.errors import AssayError
from components.records import to_json
from components.runtime.events import RUN, step
from components.study.study import Study


def load(study: str, run: str, store: str, data: str, runs: str) -> None:
    """Write the prepared data and the MLflow run numbers.

    Args:
        study: the study as JSON.
        run: this run's unique name; the parent run in MLflow carries it, so that a resumed run finds its own. "" for
            what KFP_RUN_ID says.
        store: folder of the finished cells; made here, so that a folder that can't be written fails first.
        data: folder to write the prepared data to.
        runs: file to write the MLflow run numbers to, as JSON.
    """
    parsed = Study.model_validate_json(study)
    with step("load") as this:
        run = run or os.environ.get(RUN, "")
        if not run:
            raise AssayError("the run has no name; give the pipeline's parameter `run` one that no other run has")
        Path(store).mkdir(parents=True, exist_ok=True)
        with this.span("imports"):
            import sklearn.model_selection  # noqa: F401 (0.9 s, that are not charged to the data)
        with this.span("data"):
            prepared = prepare(parsed, data)
        with this.span("imports"):
            from components.registry import retrain
            from components.tracking.client import client
            from components.tracking.runs import open_runs
        with this.span("mlflow"):
            if parsed.retrain.enabled:
                parsed = retrain.resolve(parsed, prepared, run, prepared.folder / REPORT, this)
                prepared = record(parsed, prepared.folder)
            opened = open_runs(parsed, run, prepared.schema)
            client().log_artifacts(opened.parent, str(prepared.folder / REPORT), "data")
            retrain.log(opened, prepared.folder / REPORT)
        for line in report.short(report.read(prepared.folder / REPORT), "MLflow, data/data.md"):
            this.emit("warning", message=line)
        Path(runs).write_text(to_json(opened), "utf-8")
