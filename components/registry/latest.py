"""The answer of a study's latest finished run, out of MLflow alone."""

from components.evaluation.verdict import Verdict
from components.records import from_json
from components.registry.decision import Decision
from components.registry.model_registry import read_decision
from components.tracking.client import client, read_artifact
from components.tracking.latest import latest_run


def latest(study: str) -> tuple[Verdict, Decision]:
    """Return the verdict and the decision.

    Raises:
        AssayError: when MLflow has no such study, none of its runs is finished, or another version has written them.
    """
    api, run_id = client(), latest_run(study).info.run_id
    verdict = read_artifact(api, run_id, "verdict.json")
    return from_json(Verdict, verdict, f"verdict.json of run {run_id}"), read_decision(api, run_id)
