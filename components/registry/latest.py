"""The answer of a study's latest finished run, out of MLflow alone."""

import json
import tempfile
from pathlib import Path
from typing import Any

from components.registry.decision import Decision
from components.registry.model_registry import read_decision
from components.tracking.client import client
from components.tracking.latest import latest_run


def latest(study: str) -> tuple[dict[str, Any], Decision]:
    """Return the verdict and the decision.

    Raises:
        AssayError: when MLflow has no such study, none of its runs is finished, or another version has written them.
    """
    api, run_id = client(), latest_run(study).info.run_id
    with tempfile.TemporaryDirectory() as folder:
        verdict = json.loads(Path(api.download_artifacts(run_id, "verdict.json", folder)).read_text())
    return verdict, read_decision(api, run_id)
