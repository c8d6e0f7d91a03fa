"""Retraining: the champion's recipe on the data of today, or the whole study again where that data has drifted.

It is a run like any other. `load` alone decides what is trained, since only there are the data and the registry known,
and writes it beside the prepared data, where all later steps find it. The gate then compares the new model with the
champion on rows that neither has used, and promotes or keeps.
"""

import logging
import tempfile
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from components.data import drift
from components.data.prepared import Prepared
from components.data.retraining import FILE, Retraining, read
from components.errors import StudyError
from components.evaluation.verdict import Verdict
from components.records import FormError, from_json, to_json
from components.registry.challenger import kept_files
from components.registry.model_registry import LONGEST_TAG, Registry
from components.reporting.phrases import retraining_lines
from components.runtime.events import Step
from components.study.study import REFERENCE, Retrain, Study
from components.study.validation_errors import explain
from components.tracking.client import DATA_TAG, client, origin, read_artifact, search_runs
from components.tracking.latest import latest_runs
from components.tracking.runs import StudyRuns

if TYPE_CHECKING:
    from mlflow.entities import Run

TRAINED_TAG = "assay.retrain"  # of a study's run: recipe or study

LOG = logging.getLogger(__name__)


def resolve(study: Study, prepared: Prepared, run: str, report: Path, running: Step) -> Study:
    """Return what is to be run, and write and say why; a run that is continued goes on as what it was.

    Args:
        study: as the user gave it; the champion is looked for under its name.
        prepared: the data of today.
        run: the run's unique name.
        report: folder to write retrain.json to.
        running: the step.

    Raises:
        AwayError: where MLflow does not answer.
    """
    registry = Registry(study.study)
    chosen, found = _before(registry, study, prepared, run) or _now(registry, study, prepared)
    chosen = chosen.model_copy(update={"retrain": Retrain()})  # what is run: to run it again is no retraining
    (report / FILE).write_text(to_json(found), "utf-8")
    for line in retraining_lines(found):
        running.emit("said", message=line)
    running.emit("study", study=chosen.model_dump_json())
    return chosen


def _before(registry: Registry, study: Study, prepared: Prepared, run: str) -> tuple[Study, Retraining] | None:
    """Return what an earlier try of this run has resolved on the same data, if any has.

    It may have promoted its model since; then the champion is its own, and nothing would be new.
    """
    experiment = registry.ask(lambda: registry.api.get_experiment_by_name(study.study))
    if experiment is None:
        return None
    for known in registry.ask(lambda: search_runs(registry.api, experiment.experiment_id, run, "study")):
        if TRAINED_TAG in known.data.tags and known.data.tags[DATA_TAG] == origin(prepared.schema)[DATA_TAG]:
            trained = _artifact(registry, known.info.run_id, "study.json")
            found = _artifact(registry, known.info.run_id, f"data/{FILE}")
            if trained and found:
                try:
                    return Study.model_validate_json(trained), from_json(Retraining, found, FILE)
                except (FormError, ValidationError) as error:  # of another Assay
                    said = explain(error, Study) if isinstance(error, ValidationError) else error
                    LOG.warning("what an earlier try has found is looked for again: %s", said)
    return None


def _now(registry: Registry, study: Study, prepared: Prepared) -> tuple[Study, Retraining]:
    """Return what is to be run, and why."""
    champion = registry.find_champion()
    if champion is None:
        return study, Retraining("no champion", None)
    run_id = champion.run_id or ""  # none where another program has made the version
    last, techniques = _last_study(registry, run_id, study)
    date = datetime.fromtimestamp(last.info.start_time / 1000, UTC).date().isoformat() if last else None
    drift = _drift(registry, run_id, study, prepared)
    arm = champion.tags.get("assay.arm", REFERENCE)
    found = Retraining("recipe", registry.champion, arm, drift, techniques=techniques, since=date)
    if study.retrain.study_if_drift and drift and drift.drifted:
        since = _drift(registry, last.info.run_id, study, prepared) if last else None
        if since is None or since.drifted:
            return study, replace(found, why="drift")
        found = replace(found, is_studied=True)
    trained = _artifact(registry, run_id, "study.json")
    if trained is None:
        return study, replace(found, why="run is gone")
    try:
        recipes = {one.name: one.recipe for one in Study.model_validate_json(trained).expand()}
        if arm not in recipes:
            raise StudyError(("arms",), f"no arm is called {arm!r}")
        return study.of_recipe(recipes[arm], study.retrain.seeds), found
    except (StudyError, ValidationError) as error:  # of another kind of data, or of another Assay
        said = explain(error, Study) if isinstance(error, ValidationError) else error
        return study, replace(found, why="unfit recipe", error=str(said))


def log(runs: StudyRuns, report: Path) -> None:
    """Log to the study's run what is retrained, if anything is, and how far the data has drifted."""
    found = read(report)
    if found is None:
        return
    api, run_id = client(), runs.parent
    api.set_tag(run_id, TRAINED_TAG, found.trained)
    api.set_tag(run_id, "assay.retrain_reason", " ".join(retraining_lines(found))[:LONGEST_TAG])
    if found.drift:
        api.log_metric(run_id, "drift/new_rows", found.drift.new)
        api.log_metric(run_id, "drift/psi", max((value.psi for value in found.drift.values), default=0.0))


def _artifact(registry: Registry, run_id: str, path: str) -> str | None:
    """Return the text of a run's file; None where the run or the file is gone."""
    content = registry.find(lambda: read_artifact(registry.api, run_id, path))
    return None if content is None else content.decode()


def _drift(registry: Registry, run_id: str, study: Study, prepared: Prepared) -> drift.Drift | None:
    """Return how the data differs from that of a run which registered a version; None where that is not known."""
    with tempfile.TemporaryDirectory() as folder:
        kept = kept_files(registry, run_id, folder)
        return drift.measure(prepared, kept[drift.PROFILE], study.retrain.drift) if drift.PROFILE in kept else None


def _last_study(registry: Registry, champion_run: str, study: Study) -> "tuple[Run | None, dict[str, str]]":
    """Return the run of the last whole study that has finished, if there is one, and its verdict on each technique.

    It is looked for in the experiment of the champion's run.
    """
    api = registry.api
    champions = registry.find(lambda: api.get_run(champion_run))
    if champions is None:
        return None, {}
    for run in registry.ask(lambda: latest_runs(api, study.study, 100, experiments=[champions.info.experiment_id])):
        if run.data.tags.get(TRAINED_TAG) == "recipe":
            continue
        text, known = _artifact(registry, run.info.run_id, "verdict.json"), None
        with suppress(FormError):  # another Assay has written it
            known = from_json(Verdict, text, "verdict.json") if text else None
        if known and known.effects:
            return run, {of.technique: of.verdict for of in known.effects}
    return None, {}
