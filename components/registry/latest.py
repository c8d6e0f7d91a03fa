"""The answer of a study's latest finished run, out of MLflow alone."""

import tempfile
from pathlib import Path

from components.evaluation.verdict import Verdict
from components.records import from_json
from components.registry.decision import Decision
from components.registry.model_registry import read_decision
from components.tracking.client import client
from components.tracking.latest import latest_run


def latest(study: str) -> tuple[Verdict, Decision]:
    """Return the verdict and the decision.

    Raises:
        AssayError: when MLflow has no such study, none of its runs is finished, or another version has written them.
    """
    api, run_id = client(), latest_run(study).info.run_id
    with tempfile.TemporaryDirectory() as folder:
        verdict = Path(api.download_artifacts(run_id, "verdict.json", folder)).read_bytes()
    return from_json(Verdict, verdict, f"verdict.json of run {run_id}"), read_decision(api, run_id)
