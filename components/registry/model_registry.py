"""The model registry: the versions of a model, its aliases, and a record of every decision on them.

Aliases: `champion` is the version in use, `challenger` the latest one of which the gate could not tell whether it is
better, `previous` the champion before.

A decision is an MLflow run of its own, below the run of the study, with the tag `assay.role` = decision. It is written
BEFORE any alias moves, and ended after the last one has. So whoever dies in between leaves a run that says what was
meant, and who repeats the step carries it out. Each alias moves in one transaction of the registry's, `champion` after
`previous`: at any time there is one champion, the old or the new one.
"""

import json
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from components.errors import AssayError
from components.tracking import client
from components.tracking.client import ROLE_TAG, RUN_TAG

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"

PROMOTED, KEPT, UNDECIDED, ROLLED_BACK = "promoted", "kept", "undecided", "rolled back"
NOT_ASKED = "not asked"  # of a study that promotes nothing; it is not recorded

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
KEPT_FILES = "gate"  # folder of a version's run: what a gate or a retraining asks about it

PATIENCE = 60.0  # seconds that a registry may be away before a step gives up
LONGEST_PAUSE = 10.0
LONGEST_TAG = 4000  # characters, of which MLflow's databases keep 5000 or 8000

# MLflow's own client repeats a request seven times, with pauses of up to two minutes. Here `patiently` repeats.
REQUESTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
AWAY = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED")
MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")

T = TypeVar("T")


class AwayError(AssayError):
    """The registry does not answer."""


def patiently(call: Callable[[], T], patience: float = PATIENCE) -> T:
    """Return what the call returns; while the server is away it is repeated, so it must be one that may be repeated.

    Args:
        call: talks to MLflow.
        patience: seconds after which it is given up.

    Raises:
        AwayError: with what was answered last, in one line.
    """
    deadline, pause = time.monotonic() + patience, 0.5
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
        pause = min(2 * pause, LONGEST_PAUSE)


@contextmanager
def _requests_bounded() -> Iterator[None]:
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


@dataclass(frozen=True)
class Written:
    """A decision that was written down.

    Attributes:
        run_id: of its run.
        made: as in decision.json.
        carried_out: whether its aliases have moved.
    """

    run_id: str
    made: dict[str, Any]
    carried_out: bool


class Registry:
    """The versions of one registered model; what it asks is repeated while MLflow is away, see `patiently`.

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
        self._made: Mapping[str, Any] | None = None  # what is being carried out, or was
        self._moving = False

    def ask(self, call: Callable[[], T]) -> T:
        """Return what the call returns, see `patiently`."""
        return patiently(call, self.patience)

    def find_champion(self) -> Any:
        """Return the champion, or None."""
        found = self.at(CHAMPION)
        self.champion, self._asked = found and str(found.version), True
        return found

    def at(self, alias: str) -> Any:
        """Return the version with this alias, or None."""
        if not self.versions():  # to a name that is not there yet a server with logins says 403
            return None
        return self.ask(lambda: found_or(lambda: self.api.get_model_version_by_alias(self.name, alias), None))

    def version(self, number: str) -> Any:
        """Return a version, or None."""
        return self.ask(lambda: found_or(lambda: self.api.get_model_version(self.name, number), None))

    def versions(self) -> list[str]:
        """Return the numbers of all versions, the oldest first."""
        found = self.ask(lambda: self.api.search_model_versions(f"name = '{self.name}'"))
        return sorted((str(version.version) for version in found), key=int)

    def with_predictions(self, digest: str) -> Any:
        """Return the version whose model gives the same predictions, the latest of them, or None."""
        where = f"name = '{self.name}' and tags.`{CELL_TAG}` = '{digest}'"
        found = self.ask(lambda: self.api.search_model_versions(where))
        return max(found, key=lambda version: int(version.version), default=None)

    def add(self, source: str, run_id: str, model_id: str, tags: Mapping[str, str]) -> Any:
        """Return a new version, or the one that an earlier try has made."""
        return self.ask(lambda: self._add(source, run_id, model_id, tags))

    def _add(self, source: str, run_id: str, model_id: str, tags: Mapping[str, str]) -> Any:
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

    def tag(self, version: str, name: str, value: str | None) -> None:
        """Set a version's tag, or remove it."""
        if value is not None:
            self.ask(lambda: self.api.set_model_version_tag(self.name, version, name, value))
        elif name in self.version(version).tags:
            self.ask(lambda: self.api.delete_model_version_tag(self.name, version, name))

    # Decisions

    def record(self, experiment: str, parent: str | None, run: str, made: Mapping[str, Any]) -> str:
        """Write down what was decided, and return the number of its run, which is open until `carry_out`.

        Args:
            experiment: the study's.
            parent: the run of the study that the version is from.
            run: names this decision: a second try writes no second record.
            made: the decision, as in decision.json.
        """
        self._made = made
        return self.ask(lambda: self._record(experiment, parent, run, made))

    def _record(self, experiment: str, parent: str | None, run: str, made: Mapping[str, Any]) -> str:
        unfinished = self._decision(experiment, run)
        tags = {
            ROLE_TAG: "decision",
            RUN_TAG: run,
            VERSION_TAG: str(made["version"]),
            MODEL_TAG: self.name,
            "mlflow.source.name": "assay",
            "mlflow.source.type": "LOCAL",
            "mlflow.user": made["by"],
            **({"mlflow.parentRunId": parent} if parent else {}),
        }
        name = f"{made['decision']}: version {made['version']}"
        run_id = (unfinished or self.api.create_run(experiment, run_name=name, tags=tags)).info.run_id
        self.api.log_dict(run_id, dict(made), DECISION_FILE)
        self._describe(run_id, made)
        return run_id

    def recorded(self, experiment: str, run: str) -> Written | None:
        """Return the decision that a run with this name has written down, or None."""
        return self.ask(lambda: self._recorded(experiment, run))

    def _recorded(self, experiment: str, run: str) -> Written | None:
        found = self._decision(experiment, run)
        if found is None or DECISION_TAG not in found.data.tags:
            return None
        with tempfile.TemporaryDirectory() as folder:
            file = self.api.download_artifacts(found.info.run_id, DECISION_FILE, folder)
            made = json.loads(Path(file).read_text("utf-8"))
        return Written(found.info.run_id, made, found.info.status == "FINISHED")

    def carry_out(self, run_id: str, made: Mapping[str, Any]) -> None:
        """Move the aliases, in the order in which the decision names them, and end its run.

        Args:
            run_id: what `record` returned.
            made: the decision.
        """
        self._made, self._moving = made, True
        for alias, version in made["aliases"].items():
            if version is not None:
                self.ask(lambda alias=alias, to=version: self.api.set_registered_model_alias(self.name, alias, to))
            elif self.at(alias) is not None:
                self.ask(lambda alias=alias: self.api.delete_registered_model_alias(self.name, alias))
        self.champion, self._moving = made["champion"], False
        self.ask(lambda: self.api.set_terminated(run_id))

    def drop(self, run_id: str) -> None:
        """Give up a decision that was not carried out before somebody moved the champion; it is kept, as failed."""
        self.ask(lambda: self.api.set_tag(run_id, RUN_TAG, "overtaken"))
        self.ask(lambda: self.api.set_terminated(run_id, status="FAILED"))

    def decisions(self, most: int) -> list[Any]:
        """Return the runs of the latest decisions on this model, in whatever experiment, the newest first."""
        where = f"tags.`{ROLE_TAG}` = 'decision' and tags.`{MODEL_TAG}` = '{self.name}'"
        latest = ["attributes.start_time DESC"]
        everywhere = [experiment.experiment_id for experiment in self.ask(self.api.search_experiments)]
        return list(self.ask(lambda: self.api.search_runs(everywhere, where, max_results=most, order_by=latest)))

    def how_it_stands(self) -> str:
        """Return what is the champion, as far as is known, when MLflow is away."""
        name, made = self.name, self._made
        if self._moving and made and made["champion"] != self.champion:
            return (
                f"it is not known whether version {made['champion']} of {name!r} became the champion: "
                f"`assay champion {shlex.quote(name)}` tells when MLflow is back"
            )
        if made and self.champion == made["champion"] != made["before"]:
            return f"version {self.champion} of {name!r} is the champion; only the record of it is not complete"
        if not self._asked:
            return f"nothing was promoted: the champion of {name!r} is the one it was"
        stays = f"version {self.champion} is still the champion" if self.champion else "there is no champion yet"
        return f"nothing was promoted: of {name!r} {stays}"

    def _decision(self, experiment: str, run: str) -> Any:
        where = f"tags.`{RUN_TAG}` = '{run}' and tags.`{ROLE_TAG}` = 'decision'"
        return next(iter(self.api.search_runs([experiment], where, max_results=1)), None)

    def _describe(self, run_id: str, made: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        numbers = made.get("difference") or {}
        metrics = [Metric(name, float(of), now, 0) for name, of in numbers.items() if isinstance(of, int | float)]
        tags = {
            DECISION_TAG: made["decision"],
            REASON_TAG: made["reason"][:LONGEST_TAG],
            CHAMPION_TAG: made["champion"] or "none",
            "assay.champion_before": made["before"] or "none",
            "mlflow.note.content": f"**{made['decision']}**: {made['reason']}"[:LONGEST_TAG],
        }
        self.api.log_batch(run_id, metrics=metrics, tags=[RunTag(name, value) for name, value in tags.items()])


def kept_files(api: Any, run_id: str, folder: str) -> dict[str, Path]:
    """Download what a version's run keeps for later: files by name, none where the run or they are gone."""
    there = found_or(lambda: api.list_artifacts(run_id, KEPT_FILES), [])
    return {Path(file.path).name: Path(api.download_artifacts(run_id, file.path, folder)) for file in there}


def found_or(call: Callable[[], T], otherwise: T) -> T:
    """Return what the call returns; something else where MLflow says that there is no such thing."""
    from mlflow.exceptions import MlflowException

    try:
        return call()
    except MlflowException as error:
        if error.error_code in MISSING:
            return otherwise
        raise
