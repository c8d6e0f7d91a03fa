"""MLflow: the study is a run, each arm a run below it, each seed a run below its arm.

Runs are made and filled with `MlflowClient` alone: the fluent interface reads and sets the environment, and two steps
of a study may run in two processes or pods at once. Where the runs go is MLFLOW_TRACKING_URI; without it `mlflow.db`
in the working folder, which a plain `mlflow ui` there shows. `components.tracking.runs` makes the runs of the study
and its arms; here they are filled, and `components.tracking.latest` finds them again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from statistics import fmean
from typing import Any

from components.data.prepared import Schema
from components.evaluation.looks import Look
from components.evaluation.verdict import Verdict
from components.reporting.phrases import sentence
from components.reporting.tables import COLUMNS
from components.runtime.cells import FinishedCell
from components.stats.paired_effects import Estimate
from components.tracking import ui_views
from components.tracking.client import DATA_TAG, ROLE_TAG, as_metrics, as_tags, client, latest_runs, origin
from components.tracking.runs import StudyRuns

LOOK_TAG = "assay.look"  # of an arm's run: its part in a verdict, as JSON
MOST_LOOKS = 5000  # arms' runs, the latest


def log_verdict(
    runs: StudyRuns,
    verdict: Verdict,
    description: str,
    folder: Path,
    cells: Mapping[str, Sequence[FinishedCell]],
    typical: Mapping[str, FinishedCell],
) -> None:
    """Log the verdict to the study's run, each arm's numbers to the arm's own, and what the UI opens at.

    Args:
        runs: of the study and its arms.
        verdict: of the study.
        description: Markdown.
        folder: its files become artifacts.
        cells: by arm, in the order of the seeds.
        typical: of each arm the cell whose model its run gets.
    """
    api = client()
    numbers, tags = _of_arms(verdict)
    for arm, of_arm in cells.items():
        run_id = runs.arms[arm]
        means = _means(of_arm)
        first = f"validation/{verdict.metric}"  # the compare view draws the metric that was logged first
        told = as_metrics({first: means.pop(first), **means, **numbers.get(arm, {})}, 0)
        api.log_batch(run_id, metrics=told, tags=as_tags(tags.get(arm, {})))
        api.log_batch(run_id, metrics=_mean_curves(of_arm))
        api.log_artifacts(run_id, str(typical[arm].model), "model")
        api.set_terminated(run_id)
    answer = {"assay.winner": verdict.winner.arm, "assay.answer": sentence(verdict)}
    told = as_tags({"mlflow.note.content": description, **answer})
    api.log_batch(runs.parent, metrics=as_metrics(_of_study(verdict), 0), tags=told)
    api.log_artifacts(runs.parent, str(folder))
    study, experiment = verdict.study, runs.experiment
    api.set_experiment_tag(experiment, ui_views.view_tag(study), ui_views.view(study, runs.run, verdict.metric))
    if not runs.joined:  # else it is an experiment of many pipelines
        links = ui_views.pages(study, experiment, runs.parent, list(runs.arms.values()))
        text = ui_views.description(answer["assay.answer"], runs.run, links)
        api.set_experiment_tag(experiment, "mlflow.note.content", text)


def looks(runs: StudyRuns, schema: Schema) -> list[Look]:
    """Return the verdicts that MLflow remembers of the study's experiment and the same data."""
    data = origin(schema)[DATA_TAG]
    where = f"tags.`{ROLE_TAG}` = 'arm' and tags.`{DATA_TAG}` = '{data}'"
    tags = [run.data.tags.get(LOOK_TAG) for run in latest_runs(client(), where, MOST_LOOKS, [runs.experiment])]
    return [Look(**json.loads(tag)) for tag in tags if tag]


def _of_study(verdict: Verdict) -> dict[str, float]:
    """Return the metrics of the study's run."""
    return {
        f"validation/{verdict.metric}": verdict.winner.mean,
        **{f"test/reference/{name}": score for name, score in verdict.test.reference.items()},
        **{f"test/winner/{name}": score for name, score in verdict.test.winner.items()},
    }


def _of_arms(verdict: Verdict) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, str]]]:
    """Return the verdict's metrics and tags by arm; what is None is left out."""
    numbers: dict[str, dict[str, Any]] = {}
    tags: dict[str, dict[str, str]] = {}
    for effect in verdict.effects:
        numbers[effect.arm] = {column.key: column.value(effect, verdict) for column in COLUMNS if column.logged}
        for metric, other in effect.others.items():
            numbers[effect.arm] |= {f"{name}/{metric}": value for name, value in _estimate(other).items()}
        tags[effect.arm] = {"assay.verdict": effect.verdict, LOOK_TAG: json.dumps(asdict(effect.look))}
        if harmed := [harm.slice.name for harm in verdict.harms if harm.arm == effect.arm]:
            tags[effect.arm]["assay.harms"] = ", ".join(harmed)
    for pair in verdict.interactions:
        numbers[pair.arm] = {f"interaction/{name}": value for name, value in _estimate(pair).items()}
    for point in verdict.curve.points if verdict.curve else ():
        numbers.setdefault(point.arm, {})["train_rows"] = point.rows
    known = {arm: {name: of for name, of in values.items() if of is not None} for arm, values in numbers.items()}
    return known, tags


def _estimate(of: Estimate) -> dict[str, float | None]:
    return {"effect": of.effect, "low": of.low, "high": of.high}


def _means(cells: Sequence[FinishedCell]) -> dict[str, float]:
    """Return the means over the seeds of what each of them has once."""
    results = [cell.result for cell in cells]
    means = {name: fmean(r.validation[name] for r in results) for name in results[0].validation}
    return {
        **{f"validation/{name}": value for name, value in means.items()},
        "restored_epoch": fmean(r.epoch for r in results),
        "epochs": fmean(r.epochs for r in results),
        "training_seconds": fmean(r.seconds for r in results),
    }


def _mean_curves(cells: Sequence[FinishedCell]) -> list[Any]:
    """Return for each epoch the means over the seeds that still train, as the figure of the curves has them."""
    return [
        metric
        for name in cells[0].result.curves
        for epoch, values in enumerate(zip_longest(*(cell.result.curves[name] for cell in cells)))
        for metric in as_metrics({name: fmean(value for value in values if value is not None)}, epoch)
    ]
