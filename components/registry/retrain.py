"""Retraining: the champion's recipe on the data of today, or the whole study again where that data has drifted.

It is a run like any other. `load` alone decides what is trained, since only there are the data and the registry known,
and writes it beside the prepared data, where all later steps find it. The gate then compares the new model with the
champion on rows that neither has used, and promotes or keeps.
"""

import json
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from components.data import drift
from components.data.prepared import Prepared
from components.errors import StudyError
from components.evaluation.verdict import Retraining, Verdict
from components.records import FormError, from_json
from components.registry.model_registry import LONGEST_TAG, Registry, found_or, kept_files
from components.runtime.events import Step
from components.study.recipe import Recipe
from components.study.study import REFERENCE, Retrain, Study
from components.study.validation_errors import explain
from components.tracking.client import DATA_TAG, ROLE_TAG, STUDY_TAG, client, origin, search_runs

FILE = "retrain.json"  # in the folder of the data report
TRAINED_TAG = "assay.retrain"  # of a study's run: recipe or study
MOST_RUNS = 100  # in which the last study is looked for
MOST_TOLD = 3  # values that have drifted, in a sentence

Trained = Literal["recipe", "study"]


def resolve(study: Study, prepared: Prepared, run: str, report: Path, running: Step) -> Study:
    """Return what is to be run, and write and say why; a run that is continued goes on as what it was.

    Args:
        study: as the user gave it; the champion is looked for under its name.
        prepared: the data of today.
        run: the run's unique name.
        report: folder to write retrain.json to: `champion` (its version, or None), `arm` (whose recipe it has),
            `trained` (recipe or study), `drift` (see `drift.measure`; None where there is nothing to measure it by),
            `techniques` (the verdict of the last study on each, and `since`, its date) and `said`, all this in words.
        running: the step.

    Raises:
        AwayError: where MLflow does not answer.
    """
    registry = Registry(study.study)
    chosen, found = _before(registry, study, prepared, run) or _now(registry, study, prepared)
    chosen = chosen.model_copy(update={"retrain": Retrain()})  # what is run: to run it again is no retraining
    (report / FILE).write_text(json.dumps(found, indent=1), "utf-8")
    for line in found["said"]:
        running.emit("said", message=line)
    running.emit("study", study=chosen.model_dump_json())
    return chosen


def _before(registry: Registry, study: Study, prepared: Prepared, run: str) -> tuple[Study, dict[str, Any]] | None:
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
                return Study.model_validate_json(trained), json.loads(found)
    return None


def _now(registry: Registry, study: Study, prepared: Prepared) -> tuple[Study, dict[str, Any]]:
    """Return what is to be run, and what retrain.json says."""
    champion = registry.find_champion()
    found: dict[str, Any] = {"champion": registry.champion, "arm": None, "drift": None, "techniques": {}, "since": None}
    if champion is None:
        said = ["No version is the champion yet, so the whole study is run."]
        return study, {**found, "trained": "study", "said": said}
    last_run, last = _last_study(registry, champion, study)
    found |= {"arm": champion.tags.get("assay.arm", REFERENCE), **last}
    found["drift"] = _drift(registry, champion.run_id, study, prepared)
    said = [drift_as_text(found["drift"], registry.champion)]
    of = f"version {registry.champion} ({found['arm']})"
    if study.retrain.study_if_drift and found["drift"] and found["drift"]["drifted"]:
        since = _drift(registry, last_run, study, prepared) if last_run else None
        if since is None or since["drifted"]:
            return study, {**found, "trained": "study", "said": [*said, "So the whole study is run."]}
        said.append(f"A whole study was run on such rows on {found['since']}, and its winner was not promoted.")
    trained = _artifact(registry, champion.run_id, "study.json")
    if trained is None:
        why = f"The run of {of} is gone, and its recipe with it, so the whole study is run."
        return study, {**found, "trained": "study", "said": [*said, why]}
    try:
        chosen = study.of_recipe(_recipe(trained, found["arm"]), study.retrain.seeds)
    except (StudyError, ValidationError) as error:  # of another kind of data, or of another Assay
        why = explain(error, Study) if isinstance(error, ValidationError) else error
        why = f"The recipe of {of} can't be trained here ({why}), so the whole study is run."
        return study, {**found, "trained": "study", "said": [*said, why]}
    return chosen, {**found, "trained": "recipe", "said": [*said, f"The recipe of {of} is trained again."]}


def read(report: Path) -> Retraining | None:
    """Return what `resolve` wrote; None where nothing is retrained."""
    file = report / FILE
    if not file.exists():
        return None
    found = json.loads(file.read_text("utf-8"))
    return Retraining(**{**found, "said": tuple(found["said"])})


def log(runs: Mapping[str, Any], report: Path) -> None:
    """Log to the study's run what is retrained, if anything is, and how far the data has drifted.

    Args:
        runs: what `tracking.open_runs` returned.
        report: the folder of retrain.json.
    """
    found = read(report)
    if found is None:
        return
    api, run_id = client(), runs["parent"]
    api.set_tag(run_id, TRAINED_TAG, found.trained)
    api.set_tag(run_id, "assay.retrain_reason", " ".join(found.said)[:LONGEST_TAG])
    if found.drift:
        api.log_metric(run_id, "drift/new_rows", found.drift["new"])
        api.log_metric(run_id, "drift/psi", max((value["psi"] for value in found.drift["values"]), default=0.0))


def drift_as_text(found: Mapping[str, Any] | None, champion: str | None) -> str:
    """Return what `drift.measure` found in one sentence."""
    if found is None:
        return f"How far the data has drifted is not known: nothing was kept of that of version {champion}."
    if not found["new"]:
        return f"No row is new since version {champion}."
    new = f"{found['new']:,} of {found['rows']:,} rows are new since version {champion}"
    if found["compared"] == "all":
        new = f"Rows have come and gone since version {champion}; all {found['rows']:,} are compared"
    if found["new"] == found["rows"]:
        new = f"No row of today was there for version {champion}; all {found['rows']:,} are compared"
    if not found["enough"]:
        of = " of different groups" if found["looked_at"] < found["new"] else ""
        return f"{new}, too few to tell whether the data has drifted (it takes {drift.FEWEST_ROWS}{of})."
    moved = [value for value in found["values"] if value["drifted"]]
    if moved:
        told = [f"{of['name']} ({of['then']}, now {of['now']}; PSI {of['psi']:.2f})" for of in moved[:MOST_TOLD]]
        more = f" and {len(moved) - MOST_TOLD} more" if len(moved) > MOST_TOLD else ""
        return f"{new}, and they have drifted: {', '.join(told)}{more}."
    most = max(found["values"], key=lambda value: value["psi"])
    return f"{new}, and they have not drifted: the greatest PSI is {most['psi']:.2f} ({most['name']})."


def _recipe(trained: str, arm: str) -> Recipe:
    """Return the recipe of an arm of a study, which is given as JSON.

    Raises:
        StudyError: where it has no such arm.
        ValidationError: where it can't be read.
    """
    recipes = {one.name: one.recipe for one in Study.model_validate_json(trained).expand()}
    if arm not in recipes:
        raise StudyError(("arms",), f"no arm is called {arm!r}")
    return recipes[arm]


def _artifact(registry: Registry, run_id: str, path: str) -> str | None:
    """Return the text of a run's file; None where the run or the file is gone."""
    with tempfile.TemporaryDirectory() as folder:
        file = registry.ask(lambda: found_or(lambda: registry.api.download_artifacts(run_id, path, folder), None))
        return file and Path(file).read_text("utf-8")


def _drift(registry: Registry, run_id: str, study: Study, prepared: Prepared) -> dict[str, Any] | None:
    """Return how the data differs from that of a run which registered a version; None where that is not known."""
    with tempfile.TemporaryDirectory() as folder:
        kept = registry.ask(lambda: kept_files(registry.api, run_id, folder))
        return drift.measure(prepared, kept[drift.PROFILE], study.retrain.drift) if drift.PROFILE in kept else None


def _last_study(registry: Registry, champion: Any, study: Study) -> tuple[str | None, dict[str, Any]]:
    """Return the number of the last whole study's run, and its `techniques` and `since`."""
    for run in registry.ask(lambda: _finished(registry.api, champion, study)):
        if run.data.tags.get(TRAINED_TAG) == "recipe":
            continue
        text, known = _artifact(registry, run.info.run_id, "verdict.json"), None
        with suppress(FormError):  # another Assay has written it
            known = from_json(Verdict, text, "verdict.json") if text else None
        if known and known.effects:
            on = datetime.fromtimestamp(run.info.start_time / 1000, UTC).date().isoformat()
            return run.info.run_id, {"techniques": {of.technique: of.verdict for of in known.effects}, "since": on}
    return None, {}


def _finished(api: Any, champion: Any, study: Study) -> list[Any]:
    """Return the finished runs of the study that are with the champion's in MLflow, the newest first."""
    experiment = found_or(lambda: api.get_run(champion.run_id).info.experiment_id, None)
    if experiment is None:
        return []
    where = f"tags.`{ROLE_TAG}` = 'study' and tags.`{STUDY_TAG}` = {study.study!r} and attributes.status = 'FINISHED'"
    return api.search_runs([experiment], where, max_results=MOST_RUNS, order_by=["attributes.start_time DESC"])
