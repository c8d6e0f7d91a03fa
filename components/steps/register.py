"""Step `register`: the winner as a version of the study's model, and the champion where the gate promotes it."""

import json
from pathlib import Path

from components.data.prepared import Prepared
from components.errors import AssayError
from components.registry.challenger import Challenger, decide_and_write
from components.registry.model_registry import NOT_ASKED, PATIENCE, AwayError, Registry
from components.runtime.cells import FinishedCell
from components.runtime.events import step


def register(data: str, runs: str, verdict: str, decision: str, patience: float = PATIENCE) -> None:
    """Register the winner under the study's name, decide, and move the aliases.

    A repeated step ends as the first one would have: with one version and one decision.

    Args:
        data: the prepared data.
        runs: the file of MLflow run numbers that `load` wrote.
        verdict: the folder that `evaluate` wrote.
        decision: folder to write decision.json to: `decision` (promoted, kept or undecided; not asked where the study
            promotes nothing; failed where MLflow was away), `reason`, `model`, `version` (of the winner), `champion`
            (the version that has the alias now), `before` (the one that had it), `aliases` (what is moved), `by`, and
            the evidence, see `gate.decide`.
        patience: seconds that MLflow may be away before the step gives up.
    """
    prepared, mlflow_runs = Prepared(data), json.loads(Path(runs).read_text())
    with step("register") as this:
        with this.span("imports"):
            from components.tracking import client, study_log

            registry = Registry(prepared.study.study, patience)
        folder = Path(decision)
        folder.mkdir(parents=True, exist_ok=True)
        if not prepared.study.promote:
            made = {"decision": NOT_ASKED, "model": registry.name, "reason": "the study says promote: false"}
            with this.span("mlflow"):
                study_log.finish(mlflow_runs, made)
            (folder / "decision.json").write_text(json.dumps(made, indent=1))
            return
        with this.span("report"):
            judged = json.loads((Path(verdict) / "report" / "verdict.json").read_text())
            challenger = Challenger.of(prepared, judged, FinishedCell(Path(verdict) / "winner"))
        try:
            made = decide_and_write(this, registry, mlflow_runs, challenger, client.user())
            with this.span("mlflow"):
                registry.ask(lambda: study_log.finish(mlflow_runs, made))
        except AwayError as error:
            stands = registry.how_it_stands()
            failed = {"decision": "failed", "model": registry.name, "reason": stands, "error": str(error)}
            (folder / "decision.json").write_text(json.dumps(failed, indent=1))
            at = client.without_login(client.tracking_uri())
            raise AssayError(
                f"MLflow at {at} can't be reached, tried for {patience:.0f} s ({error}); "
                f"{stands}; the same command again continues here: what is trained is kept"
            ) from None
        (folder / "decision.json").write_text(json.dumps(made, indent=1))
