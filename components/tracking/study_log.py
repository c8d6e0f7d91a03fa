"""MLflow: the study is a run, each arm a run below it, each seed a run below its arm.

Runs are made and filled with `MlflowClient` alone: the fluent interface reads and sets the environment, and two steps
of a study may run in two processes or pods at once. Where the runs go is MLFLOW_TRACKING_URI; without it `mlflow.db`
in the working folder, which a plain `mlflow ui` there shows. `components.tracking.runs` makes the runs of the study
and its arms; here they are filled, and read again.
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from statistics import fmean
from typing import Any

from components.runtime.cells import FinishedCell
from components.tracking import ui_views
from components.tracking.client import as_metrics, as_tags, client

ARM_NUMBERS = ("effect", "low", "high", "p_holm", "probability", "detectable", "cost", "cost_low", "cost_high")


def log_verdict(
    runs: Mapping[str, Any],
    verdict: Mapping[str, Any],
    description: str,
    folder: Path,
    cells: Mapping[str, Sequence[FinishedCell]],
    typical: Mapping[str, FinishedCell],
) -> None:
    """Log the verdict to the study's run, each arm's numbers to the arm's own, and what the UI opens at.

    Args:
        runs: what `opening.open_runs` returned.
        verdict: see `components.steps.evaluate`.
        description: Markdown.
        folder: its files become artifacts.
        cells: by arm, in the order of the seeds.
        typical: of each arm the cell whose model its run gets.
    """
    api = client()
    metric, winner, test = verdict["metric"], verdict["winner"], verdict["test"]
    numbers, tags = _of_arms(verdict)
    for arm, of_arm in cells.items():
        run_id = runs["arms"][arm]
        means = _means(of_arm)
        first = f"validation/{metric}"  # the compare view draws the metric that was logged first
        told = as_metrics({first: means.pop(first), **means, **numbers.get(arm, {})}, 0)
        api.log_batch(run_id, metrics=told, tags=as_tags(tags.get(arm, {})))
        api.log_batch(run_id, metrics=_mean_curves(of_arm))
        api.log_artifacts(run_id, str(typical[arm].model), "model")
        api.set_terminated(run_id)
    parent_metrics = {f"validation/{metric}": winner["mean"]}
    for who in ("reference", "winner"):
        names = [name for name in test[who] if name != "per_seed"]
        parent_metrics |= {f"test/{who}/{name}": test[who][name] for name in names}
    told = {"mlflow.note.content": description, "assay.winner": winner["arm"], "assay.answer": verdict["sentence"]}
    api.log_batch(runs["parent"], metrics=as_metrics(parent_metrics, 0), tags=as_tags(told))
    api.log_artifacts(runs["parent"], str(folder))
    study, experiment = verdict["study"], runs["experiment"]
    api.set_experiment_tag(experiment, ui_views.view_tag(study), ui_views.view(study, runs["run"], metric))
    if not runs["joined"]:  # else it is an experiment of many pipelines
        links = ui_views.pages(study, experiment, runs["parent"], list(runs["arms"].values()))
        api.set_experiment_tag(experiment, "mlflow.note.content", ui_views.description(verdict, links))


def _of_arms(verdict: Mapping[str, Any]) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, str]]]:
    """Return the verdict's metrics and tags by arm; what is None or not in this verdict is left out."""
    numbers: dict[str, dict[str, float]] = {}
    tags: dict[str, dict[str, str]] = {}
    for effect in verdict["effects"]:
        told = {name: effect.get(name) for name in ARM_NUMBERS}
        for metric, other in effect.get("others", {}).items():
            told |= {f"{name}/{metric}": other[name] for name in ("effect", "low", "high", "probability")}
        numbers[effect["arm"]] = {name: value for name, value in told.items() if value is not None}
        tags[effect["arm"]] = {"assay.verdict": effect["verdict"]}
    for pair in verdict.get("interactions", ()):
        told = {f"interaction/{name}": pair[name] for name in ("effect", "low", "high", "probability")}
        numbers[pair["arm"]] = {name: value for name, value in told.items() if value is not None}
    for point in verdict["curve"]["points"] if verdict["curve"] else ():
        numbers.setdefault(point["arm"], {})["train_rows"] = point["rows"]
    for arm in tags:
        harmed = [harm["slice"] for harm in verdict.get("harms", ()) if harm["arm"] == arm]
        if harmed:
            tags[arm]["assay.harms"] = ", ".join(harmed)
    return numbers, tags


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


def finish(runs: Mapping[str, Any], decision: Mapping[str, Any]) -> None:
    """Log the registry's decision to the study's run and end it, unless whoever made it does."""
    api = client()
    api.log_dict(runs["parent"], dict(decision), "decision.json")
    api.set_tag(runs["parent"], "assay.decision", f"{decision['decision']}: {decision['reason']}")
    if not runs["joined"]:
        api.set_terminated(runs["parent"])
