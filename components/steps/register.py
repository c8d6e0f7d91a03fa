"""Step `register`: the winner as a version of the study's model, and the champion where the gate promotes it."""

from pathlib import Path

from components.data.prepared import Prepared
from components.errors import AssayError
from components.evaluation.verdict import Verdict
from components.records import from_json, to_json
from components.registry.challenger import Challenger
from components.registry.decision import Decision, Outcome
from components.registry.model_registry import DECISION_FILE, PATIENCE, AwayError, Registry
from components.registry.registration import register_winner
from components.runtime.cells import FinishedCell
from components.runtime.events import step
from components.tracking.client import tracking_uri, user, without_login
from components.tracking.runs import StudyRuns


def register(data: str, runs: str, verdict: str, decision: str, patience: float = PATIENCE) -> None:
    """Register the winner under the study's name, decide, and move the aliases.

    A repeated step ends as the first one would have: with one version and one decision.

    Args:
        data: the prepared data.
        runs: the file of MLflow run numbers that `load` wrote.
        verdict: the folder that `evaluate` wrote.
        decision: folder to write decision.json to, see `components.registry.decision`.
        patience: seconds that MLflow may be away before the step gives up.
    """
    prepared, file = Prepared(data), Path(decision) / DECISION_FILE
    with step("register") as this:
        with this.span("imports"):
            registry = Registry(prepared.study.study, patience)
        study_runs = from_json(StudyRuns, Path(runs).read_bytes(), runs)
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with this.span("report"):
                text = (Path(verdict) / "report" / "verdict.json").read_bytes()
                judged = from_json(Verdict, text, "verdict.json")
            if prepared.study.promote and not judged.goes_on:
                with this.span("report"):
                    challenger = Challenger(prepared, judged.winner.arm, FinishedCell(Path(verdict) / "winner"))
                made = register_winner(this, registry, study_runs, challenger)
            else:
                reason = "more seeds are planned" if prepared.study.promote else "the study says promote: false"
                made = Decision(decision=Outcome.NOT_ASKED, reason=reason, model=registry.name, by=user())
            with this.span("mlflow"):
                registry.end_study(study_runs, made)
        except AwayError as error:
            raise _failed(registry, error, file) from None
        file.write_text(to_json(made), "utf-8")


def _failed(registry: Registry, error: AwayError, file: Path) -> AssayError:
    """Write that MLflow is away, and return what is said of it."""
    stands = registry.how_it_stands()
    failed = Decision(decision=Outcome.FAILED, reason=stands, model=registry.name, by=user(), error=str(error))
    file.write_text(to_json(failed), "utf-8")
    return AssayError(
        f"MLflow at {without_login(tracking_uri())} can't be reached, tried for {registry.patience:.0f} s ({error}); "
        f"{stands}; the same command again continues here: what is trained is kept"
    )
