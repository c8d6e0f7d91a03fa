"""Tells MLflow that a run was stopped or has failed: `python -m pipeline.runners.close_runs RUN_FOLDER`.

See `pipeline.runners.run`.
"""

import json
import sys
from pathlib import Path

from pipeline.runners.run_folder import RunFolder

STATUS = {"stopped": "KILLED", "failed": "FAILED"}  # MLflow's words for ours


def main() -> None:
    """Close the run's MLflow runs, unless it has been continued meanwhile."""
    from components.tracking.runs import close_runs

    run = RunFolder(Path(sys.argv[1]))
    study = json.loads(run.read()["arguments"]["study"])["study"]
    close_runs(study, run.folder.name, lambda: STATUS.get(run.read().get("state", "")))


if __name__ == "__main__":
    main()
