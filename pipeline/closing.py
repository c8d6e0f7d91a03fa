"""Tells MLflow that a run was stopped or has failed: `python -m pipeline.closing RUN_FOLDER`; see `pipeline.local`."""

import json
import sys
from pathlib import Path

from pipeline.local import Run

STATUS = {"stopped": "KILLED", "failed": "FAILED"}  # MLflow's words for ours


def main() -> None:
    """Close the run's MLflow runs, unless it has been continued meanwhile."""
    from components.opening import close_runs

    run = Run(Path(sys.argv[1]))
    study = json.loads(run.read()["arguments"]["study"])["study"]
    close_runs(study, run.folder.name, lambda: STATUS.get(run.read().get("state", "")))


if __name__ == "__main__":
    main()
