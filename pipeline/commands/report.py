"""Gets the report of a run out of MLflow and opens it."""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from components.errors import AssayError, UsageError
from components.tracking.client import PARENT_TAG, ROLE_TAG, check_store, client
from components.tracking.latest import latest_run
from pipeline.study_file import study_name

PAGE = "report.html"
RUN_ID = re.compile(r"[0-9a-f]{32}")  # as MLflow makes them


def save_report(study: str | None, output: Path | None) -> Path:
    """Write the page of a run to a file, `.assay/reports/RUN.html` by default, and return that.

    A study's name, file or source stands for its latest finished run, and None for the latest of all; or it is the
    number of a run.

    Raises:
        AssayError: when there is no such run, or it has no page.
        UsageError: when the file can't be written.
    """
    run = _run(study)
    file = output or Path(".assay/reports") / f"{run.info.run_name or run.info.run_id}.html"
    with tempfile.TemporaryDirectory() as scratch:
        if PAGE not in {entry.path for entry in client().list_artifacts(run.info.run_id)}:
            raise AssayError(
                f"run {run.info.run_id} has no {PAGE}: it is no finished run of Assay, or of a version before there "
                "were reports; `assay run` on the same study makes a new one"
            )
        page = client().download_artifacts(run.info.run_id, PAGE, scratch)
        try:
            if output is None:
                file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(page, file)
        except OSError as error:
            raise UsageError(f"can't write {file}: {error.strerror}; `-o FILE` writes elsewhere") from None
    return file


def _run(study: str | None) -> Any:
    """Return the study's run in MLflow, which must be there."""
    from mlflow.exceptions import MlflowException

    if study is None or not RUN_ID.fullmatch(study):
        return latest_run(study and study_name(study))
    check_store()
    try:
        run = client().get_run(study)
        while run.data.tags.get(ROLE_TAG) in ("arm", "seed"):  # the page is of the whole study
            run = client().get_run(run.data.tags[PARENT_TAG])
    except MlflowException:
        raise AssayError(f"MLflow has no run {study}; `assay report` without it opens the latest") from None
    return run
