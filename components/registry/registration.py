"""The winner becomes a version in MLflow's registry, and the champion if it earned that.

What is decided, and how, is in `components.registry.gate`, on which rows in `components.registry.held_out`; in which
order it is written down, in `components.registry.model_registry`.
"""

from typing import TYPE_CHECKING

from components.registry.challenger import Challenger, keep
from components.registry.decision import Decision, Judgement, Outcome
from components.registry.held_out import IncomparableError, judge
from components.registry.model_registry import CHALLENGER, CHAMPION, PREVIOUS, ROLLED_BACK_TAG, Registry
from components.runtime.events import Step
from components.serving.mlflow_model import log_model
from components.tracking.client import tracking_uri
from components.tracking.runs import StudyRuns

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def register_winner(this: Step, registry: Registry, runs: StudyRuns, challenger: Challenger) -> Decision:
    """Return what was decided when all of it is done; or what an earlier try has done.

    Raises:
        AwayError: where MLflow does not answer.
    """
    with this.span("mlflow"):
        champion = registry.find_champion()
        known = registry.with_predictions(challenger.predictions)
        decision, is_done = registry.recorded(runs.experiment, runs.run)
    if decision is None:
        judgement = _judged(this, registry, champion, known, challenger)
        with this.span("mlflow"):
            version = str((known or _add(registry, runs.parent, challenger)).version)
        aliases: dict[str, str | None] = {}
        if judgement.decision == Outcome.PROMOTED:
            aliases = {PREVIOUS: registry.champion} if champion else {}
            aliases |= {CHAMPION: version, CHALLENGER: None}
        elif judgement.decision == Outcome.UNDECIDED:
            aliases = {CHALLENGER: version}
        decision = registry.decision(judgement, version, aliases)
    if not is_done:
        with this.span("mlflow"):
            registry.write(decision, runs.experiment, runs.parent, runs.run)
    return decision


def _judged(
    this: Step,
    registry: Registry,
    champion: "ModelVersion | None",
    known: "ModelVersion | None",
    challenger: Challenger,
) -> Judgement:
    """Return what follows for the winner; `known` is the version that has its predictions already, if one has."""
    metric = challenger.prepared.study.metric
    score = f"{metric} {challenger.scores[metric]:.4f} on {len(challenger.y)} test rows"
    if known is not None and str(known.version) == registry.champion:
        reason = f"the winner is the champion already: the same predictions, {score}"
        return Judgement(decision=Outcome.KEPT, reason=reason)
    if known is not None and ROLLED_BACK_TAG in known.tags:
        reason = f"version {known.version} was rolled back: {known.tags[ROLLED_BACK_TAG]}"
        return Judgement(decision=Outcome.KEPT, reason=reason)
    if champion is None:
        lacking = "no version is the champion" if registry.versions() else "the first version"
        return Judgement(decision=Outcome.PROMOTED, reason=f"{lacking}: {score}")
    with this.span("report"):
        try:
            return registry.ask(lambda: judge(registry, champion, challenger))
        except IncomparableError as error:
            return Judgement(decision=error.outcome, reason=f"version {champion.version} stays: {error}")


def _add(registry: Registry, run: str, challenger: Challenger) -> "ModelVersion":
    """Log the winner's model to the study's run and return its new version in the registry."""
    import mlflow

    mlflow.set_tracking_uri(tracking_uri())  # models are logged by the fluent interface alone
    keep(registry, run, challenger)
    text = challenger.prepared.study.data.text or "text"
    logged = registry.ask(lambda: log_model(run, challenger.cell, challenger.prepared, text))
    registry.ask(lambda: registry.api.update_run(run, status="RUNNING"))  # logging a model has ended it
    return registry.ask(lambda: registry.add(logged.model_uri, run, logged.model_id, challenger.tags()))
