"""The model registry: the versions of a model, its aliases, and a record of every decision on them.

Aliases: `champion` is the version in use, `challenger` the latest one of which the gate could not tell whether it is
better, `previous` the champion before.

A decision is an MLflow run of its own, below the run of the study, with the tag `assay.role` = decision. It is written
BEFORE any alias moves, and ended after the last one has. So whoever dies in between leaves a run that says what was
meant, and who repeats the step carries it out. Each alias moves in one transaction of the registry's, `champion` after
`previous`: at any time there is one champion, the old or the new one.
"""

import logging
import os
import shlex
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from components.errors import AssayError
from components.evaluation.verdict import Verdict
from components.records import FormError, from_json, to_json
from components.registry.decision import Decision, Judgement, Outcome
from components.tracking import client
from components.tracking.client import ROLE_TAG, RUN_TAG
from components.tracking.latest import latest_run
from components.tracking.runs import StudyRuns, set_aside

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"

CELL_TAG = "assay.model"  # of a version: a hash of the saved model's predictions
SCORE_TAG = "assay.test_score."  # and a metric: its score on the test rows of its own study
METRIC_TAG = "assay.metric"  # that of its study
ROLLED_BACK_TAG = "assay.rolled_back"  # of a version: why it was taken back by hand; the gate won't promote it again
DECISION_TAG = "assay.decision"  # of a decision's run, and these
REASON_TAG = "assay.reason"
VERSION_TAG = "assay.version"
MODEL_TAG = "assay.registered_model"
CHAMPION_TAG = "assay.champion"  # the version that is the champion after it
DECISION_FILE = "decision.json"

PATIENCE = 60.0  # seconds that a registry may be away before a step gives up
LONGEST_TAG = 4000  # characters, of which MLflow's databases keep 5000 or 8000

# MLflow's own client repeats a request seven times, with pauses of up to two minutes. Here `Registry.ask` repeats.
REQUESTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
AWAY = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED")

LOG = logging.getLogger(__name__)

T = TypeVar("T")


class AwayError(AssayError):
    """The registry does not answer."""


@contextmanager
def _requests_bounded() -> Generator[None]:
    """Let one request of MLflow's client fail soon, unless the user has said how often it is repeated."""
    ours = {name: value for name, value in REQUESTS.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _is_away(error: Exception) -> bool:
    from mlflow.exceptions import MlflowException
    from requests import HTTPError, RequestException
    from sqlalchemy.exc import OperationalError
    from urllib3.exceptions import HTTPError as Urllib3Error

    if isinstance(error, MlflowException):
        return error.error_code in AWAY
    if isinstance(error, HTTPError) and error.response is not None:
        return error.response.status_code >= 500
    return isinstance(error, RequestException | Urllib3Error | OperationalError | ConnectionError | TimeoutError)


class Registry:
    """The versions of one registered model; what it asks is repeated while MLflow is away, see `ask`.

    Attributes:
        name: the model's.
        api: an MlflowClient.
        champion: the number of the version that has the alias, as far as is known; None before `find_champion`, too.
    """

    def __init__(self, name: str, patience: float = PATIENCE):
        """Name the model, and how many seconds MLflow may be away."""
        self.name, self.patience = name, patience
        self.api = self.ask(client.client)
        self.champion: str | None = None
        self._asked = False
        self._decision: Decision | None = None  # what is being carried out, or was

    def ask(self, call: Callable[[], T]) -> T:
        """Return what the call returns; while MLflow is away it is repeated, so it must be one that may be repeated.

        Raises:
            AwayError: when `patience` is over, with what was answered last, in one line.
        """
        deadline, pause = time.monotonic() + self.patience, 0.5
        while True:
            try:
                with _requests_bounded():
                    return call()
            except Exception as error:
                if not _is_away(error):
                    raise
                if time.monotonic() + pause > deadline:
                    said = f"{type(error).__name__}: {error}".strip().splitlines()[0]
                    raise AwayError(said[:300]) from None
            time.sleep(pause)
            pause = min(2 * pause, 10.0)

    def find(self, call: Callable[[], T]) -> T | None:
        """Return what the call returns, see `ask`; None where MLflow says that there is no such thing."""
        return self.ask(lambda: client.found(call))

    def find_champion(self) -> "ModelVersion | None":
        """Return the champion, or None."""
        found = self.at(CHAMPION)
        self.champion, self._asked = found and str(found.version), True
        return found

    def at(self, alias: str) -> "ModelVersion | None":
        """Return the version with this alias, or None."""
        if not self.versions():  # to a name that is not there yet a server with logins says 403
            return None
        return self.find(lambda: self.api.get_model_version_by_alias(self.name, alias))

    def version(self, number: str) -> "ModelVersion | None":
        """Return a version, or None."""
        return self.find(lambda: self.api.get_model_version(self.name, number))

    def versions(self) -> list[str]:
        """Return the numbers of all versions, the oldest first."""
        found = self.ask(lambda: self.api.search_model_versions(f"name = '{self.name}'"))
        return sorted((str(version.version) for version in found), key=int)

    def with_predictions(self, digest: str) -> "ModelVersion | None":
        """Return the version whose model gives the same predictions, the latest of them, or None."""
        where = f"name = '{self.name}' and tags.`{CELL_TAG}` = '{digest}'"
        found = self.ask(lambda: self.api.search_model_versions(where))
        return max(found, key=lambda version: int(version.version), default=None)

    def add(self, source: str, run_id: str, model_id: str, tags: Mapping[str, str]) -> "ModelVersion":
        """Return a new version, or the one that an earlier try has made; it may be repeated, see `ask`."""
        from mlflow.exceptions import MlflowException

        made = self.with_predictions(tags[CELL_TAG])
        if made is not None:
            return made
        try:
            self.api.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return self.api.create_model_version(self.name, source, run_id, tags=dict(tags), model_id=model_id)

    # Decisions

    def decision(self, judgement: Judgement, version: str, aliases: Mapping[str, str | None]) -> Decision:
        """Return a judgement as a decision on a version, with the aliases that it moves, in their order."""
        return Decision(
            **vars(judgement),
            model=self.name,
            by=client.user(),
            version=version,
            champion=aliases.get(CHAMPION, self.champion),
            before=self.champion,
            aliases=dict(aliases),
        )

    def write(self, decision: Decision, experiment: str, parent: str | None, run: str) -> None:
        """Write a decision down, and carry it out.

        Args:
            decision: what was decided.
            experiment: the study's.
            parent: the run of the study that the version is from.
            run: names this decision: a second try writes no second record.
        """
        run_id = self.ask(lambda: self._record(decision, experiment, parent, run))
        name, version, before = self.name, decision.version, decision.before
        if decision.decision == Outcome.ROLLED_BACK and before:
            # Before the aliases move, since a retraining on the same data would find this version again.
            why = f"{time.strftime('%Y-%m-%d')} {decision.reason}"
            self.ask(lambda: self.api.set_model_version_tag(name, before, ROLLED_BACK_TAG, why))
        if version and version == decision.aliases.get(CHAMPION):
            self.find(lambda: self.api.delete_model_version_tag(name, version, ROLLED_BACK_TAG))
        self._decision = decision
        for alias, number in decision.aliases.items():
            if number is not None:
                self.ask(partial(self.api.set_registered_model_alias, name, alias, number))
            else:
                self.find(partial(self.api.delete_registered_model_alias, name, alias))
        self.champion = decision.champion
        self.ask(lambda: self.api.set_terminated(run_id))

    def _record(self, decision: Decision, experiment: str, parent: str | None, run: str) -> str:
        """Write a decision down, and return the number of its run, which is open until it is carried out."""
        unfinished = self._run_of(experiment, run)
        tags = {ROLE_TAG: "decision", RUN_TAG: run, VERSION_TAG: str(decision.version), MODEL_TAG: self.name}
        name = f"{decision.decision}: version {decision.version}"
        run_id = (unfinished or client.create_run(self.api, experiment, name, tags, parent)).info.run_id
        self.api.log_text(run_id, to_json(decision), DECISION_FILE)
        found = vars(decision.difference) if decision.difference else {}
        numbers = {name: value for name, value in found.items() if isinstance(value, int | float)}
        tags = {
            DECISION_TAG: decision.decision.value,
            REASON_TAG: decision.reason[:LONGEST_TAG],
            CHAMPION_TAG: decision.champion or "none",
            "assay.champion_before": decision.before or "none",
            "mlflow.note.content": f"**{decision.decision}**: {decision.reason}"[:LONGEST_TAG],
        }
        self.api.log_batch(run_id, metrics=client.as_metrics(numbers, 0), tags=client.as_tags(tags))
        return run_id

    def recorded(self, experiment: str, run: str) -> tuple[Decision | None, bool]:
        """Return the decision that a run with this name has written down, and whether it was carried out.

        One that can't be read is given up, and so is one that was not carried out before somebody moved the champion.
        """
        found = self.ask(lambda: self._run_of(experiment, run))
        if found is None or DECISION_TAG not in found.data.tags:
            return None, False
        try:
            decision = self.ask(lambda: read_decision(self.api, found.info.run_id))
            is_done = found.info.status == "FINISHED"
            if is_done or self.champion in (decision.before, decision.champion):
                return decision, is_done
        except FormError as error:
            LOG.warning("what this run has decided before is decided again: %s", error)
        self.ask(lambda: set_aside(self.api, found, "overtaken"))
        return None, False

    def end_study(self, runs: StudyRuns, decision: Decision) -> None:
        """Log the decision to the study's run and end it, unless whoever made it does."""
        self.ask(lambda: self.api.log_text(runs.parent, to_json(decision), DECISION_FILE))
        self.ask(lambda: self.api.set_tag(runs.parent, DECISION_TAG, f"{decision.decision}: {decision.reason}"))
        if not runs.joined:
            self.ask(lambda: self.api.set_terminated(runs.parent))

    def decisions(self, most: int) -> list["Run"]:
        """Return the runs of the latest decisions on this model, in whatever experiment, the newest first."""
        where = f"tags.`{ROLE_TAG}` = 'decision' and tags.`{MODEL_TAG}` = '{self.name}'"
        return self.ask(lambda: client.latest_runs(self.api, where, most))

    def how_it_stands(self) -> str:
        """Return what is the champion, as far as is known, when MLflow is away."""
        name, made = self.name, self._decision
        if made and made.champion != self.champion:
            return (
                f"it is not known whether version {made.champion} of {name!r} became the champion: "
                f"`assay champion {shlex.quote(name)}` tells when MLflow is back"
            )
        if made and self.champion == made.champion != made.before:
            return f"version {self.champion} of {name!r} is the champion; only the record of it is not complete"
        if not self._asked:
            return f"nothing was promoted: the champion of {name!r} is the one it was"
        stays = f"version {self.champion} is still the champion" if self.champion else "there is no champion yet"
        return f"nothing was promoted: of {name!r} {stays}"

    def _run_of(self, experiment: str, run: str) -> "Run | None":
        """Return the run of the decision that a study run has made."""
        return next(iter(client.search_runs(self.api, experiment, run, "decision")), None)


def read_decision(api: "MlflowClient", run_id: str) -> Decision:
    """Return the decision that is kept with a run.

    Raises:
        FormError: where another version of Assay has written it.
    """
    return from_json(Decision, client.read_artifact(api, run_id, DECISION_FILE), f"{DECISION_FILE} of run {run_id}")


def latest(study: str) -> tuple[Verdict, Decision]:
    """Return the verdict and the decision of a study's latest finished run, out of MLflow alone.

    Raises:
        AssayError: when MLflow has no such study, none of its runs is finished, or another version has written them.
    """
    api, run_id = client.client(), latest_run(study).info.run_id
    verdict = client.read_artifact(api, run_id, "verdict.json")
    return from_json(Verdict, verdict, f"verdict.json of run {run_id}"), read_decision(api, run_id)
