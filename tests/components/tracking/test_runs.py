import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp_plugin import INPUTS, Plugin

from components.errors import AssayError
from components.records import from_json, to_json
from components.registry.model_registry import Registry, latest
from components.reporting.phrases import sentence
from components.study.study import Study
from components.tracking import client, ui_views
from components.tracking.cell_log import CellLogger
from components.tracking.client import as_params
from components.tracking.latest import latest_pages
from components.tracking.runs import StudyRuns, close_runs, open_runs


def runs_of(experiment: str, run: str) -> list[Any]:
    return list(client.client().search_runs([experiment], f"tags.`assay.run` = '{run}'", max_results=1000))


def studies(name: str) -> list[Any]:
    """Return the runs of a study in all of MLflow."""
    api = client.client()
    everywhere = [experiment.experiment_id for experiment in api.search_experiments()]
    return list(api.search_runs(everywhere, f"tags.`assay.role` = 'study' and tags.`assay.study` = '{name}'"))


def seen(run: str) -> dict[str, Any]:
    """Return all that somebody sees of a run."""
    files = client.client().list_artifacts(run)
    return {**client.client().get_run(run).to_dictionary(), "files": [file.path for file in files]}


# Our own runs


def test_the_runs_in_a_file_are_read_and_written_as_they_were(opened):
    golden = (Path(__file__).parent / "golden" / "runs.json").read_text()
    assert to_json(from_json(StudyRuns, golden, "runs.json")) == golden
    assert json.loads(to_json(opened[1])).keys() == json.loads(golden).keys()


def test_a_run_that_is_opened_again_continues_the_same_runs(opened, digits):
    study, runs = opened
    assert open_runs(study, runs.run, digits.schema) == runs
    assert len(runs_of(runs.experiment, runs.run)) == 1 + 2


def test_another_run_of_the_study_has_runs_of_its_own(opened, digits):
    study, runs = opened
    other = open_runs(study, "another", digits.schema)
    assert other.experiment == runs.experiment
    assert not set(other.arms.values()) & set(runs.arms.values())
    assert other.parent != runs.parent


def test_an_experiment_that_was_deleted_is_said(opened, digits):
    study, runs = opened
    client.client().delete_experiment(runs.experiment)
    with pytest.raises(AssayError, match=f"was deleted; restore it .*-x {runs.experiment}"):
        open_runs(study, "again", digits.schema)


def test_the_runs_of_a_stopped_study_are_closed_and_opened_again(opened, digits):
    study, runs = opened

    def statuses() -> set[str]:
        return {run.info.status for run in runs_of(runs.experiment, runs.run)}

    close_runs(study.study, runs.run, lambda: None)  # it has been continued meanwhile
    assert statuses() == {"RUNNING"}
    close_runs(study.study, runs.run, lambda: "KILLED")
    assert statuses() == {"KILLED"}
    open_runs(study, runs.run, digits.schema)
    assert statuses() == {"RUNNING"}


def test_what_never_came_to_mlflow_needs_no_closing(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    close_runs("tiny", "run", lambda: "FAILED")
    assert list(tmp_path.iterdir()) == []


# A whole study in a pipeline run that Kubeflow's MLflow plugin follows


@pytest.fixture(scope="module")
def joined(tiny, workplace, run_steps, tmp_path_factory):
    """A study like `tiny` that was trained anew in such a pipeline run, and the plugin before it has ended its run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(workplace)
        plugin = Plugin("7c8d")
        steps = dataclasses.replace(run_steps("joined"), run="", store=tmp_path_factory.mktemp("joined"))
        steps.task = plugin.task
        return steps.all(), plugin


def test_a_pipeline_runs_run_is_the_studys_and_there_is_no_other(joined, in_workplace):
    steps, plugin = joined
    (study,) = studies("joined")
    assert study.info.run_id == plugin.root == steps.runs.parent == steps.verdict["mlflow"]["run_id"]
    assert plugin.api.get_experiment_by_name("joined") is None
    everything = plugin.api.search_runs([plugin.experiment], max_results=1000)
    assert [run.info.run_id for run in everything if "mlflow.parentRunId" not in run.data.tags] == [plugin.root]
    assert "| technique | " in study.data.tags["mlflow.note.content"]
    assert study.data.tags["assay.answer"] == sentence(steps.judgement)
    files = {file.path for file in plugin.api.list_artifacts(plugin.root)}
    assert {"verdict.json", "decision.json", "study.json", "data", "effects.png", "report.html"} <= files


def test_arms_seeds_and_the_decision_are_below_it_beside_the_tasks(joined, in_workplace):
    steps, plugin = joined
    below = plugin.below(plugin.root)
    tasks = {"load", "scale", "for-loop-1", "evaluate", "register"}
    assert {run.info.run_name for run in below if "assay.role" not in run.data.tags} == tasks
    arms = [run for run in below if run.data.tags.get("assay.role") == "arm"]
    assert {run.info.run_id for run in arms} == set(steps.runs.arms.values())
    for arm in arms:
        seeds = plugin.below(arm.info.run_id)
        assert sorted(run.info.run_name for run in seeds) == [f"{arm.info.run_name}, seed {s}" for s in (0, 1)]
        assert {run.info.status for run in (arm, *seeds)} == {"FINISHED"}
    (decision,) = [run for run in below if run.data.tags.get("assay.role") == "decision"]
    assert decision.data.tags["assay.decision"] == "promoted"
    assert [run.info.run_id for run in Registry("joined").decisions(10)] == [decision.info.run_id]
    assert client.client().get_model_version_by_alias("joined", "champion").run_id == plugin.root


def test_what_is_the_plugins_stays_as_it_made_it(joined, in_workplace):
    _, plugin = joined
    root = plugin.api.get_run(plugin.root)
    assert (root.info.run_name, root.info.status) == ("assay 7c8d", "RUNNING")
    assert root.data.tags["kfp.pipeline_run_id"] == "7c8d"
    # Params never change, so ours must be in nobody's way. One is MLflow's copy of the model's, which gives way.
    assert {name for name in root.data.params if "." not in name} == {"column"}
    for name in ("load", "scale", "train", "evaluate", "register"):
        task = plugin.api.get_run(plugin.tasks[name])
        assert task.data.params == INPUTS
        assert task.data.metrics == {}
        assert not [tag for tag in task.data.tags if tag.startswith("assay.")]
        assert plugin.api.list_artifacts(task.info.run_id) == []
        assert plugin.below(task.info.run_id) == []
    assert "mlflow.note.content" not in plugin.api.get_experiment(plugin.experiment).tags


def test_the_numbers_are_those_of_a_study_with_a_run_of_its_own(joined, tiny, in_workplace):
    steps, plugin = joined
    timed = ("cost", "cost_low", "cost_high", "training_seconds")

    def numbers(run: Any) -> dict[str, float]:
        return {name: of for name, of in run.data.metrics.items() if name not in timed}

    api = client.client()
    assert numbers(api.get_run(plugin.root)) == numbers(api.get_run(tiny.runs.parent))
    assert api.get_run(plugin.root).data.params == api.get_run(tiny.runs.parent).data.params
    for name, arm in steps.runs.arms.items():
        assert numbers(api.get_run(arm)) == numbers(api.get_run(tiny.runs.arms[name]))
        mine = {run.data.tags["assay.seed"]: run for run in plugin.below(arm)}
        where = f"tags.`mlflow.parentRunId` = '{tiny.runs.arms[name]}'"
        for run in api.search_runs([tiny.runs.experiment], where):
            other = mine[run.data.tags["assay.seed"]]
            assert numbers(other) == numbers(run)
            curves = [api.get_metric_history(of.info.run_id, "val_loss") for of in (other, run)]
            assert [(p.step, p.value) for p in curves[0]] == [(p.step, p.value) for p in curves[1]]


def test_a_joined_study_is_found_by_its_name_when_the_plugin_has_ended_it(joined, in_workplace):
    steps, plugin = joined
    with pytest.raises(AssayError, match="no run of study 'joined' is finished yet"):
        latest("joined")
    plugin.end("FINISHED")
    try:
        assert latest("joined") == (steps.judgement, steps.decision)
        pages = latest_pages("joined")
        assert f"#/experiments/{plugin.experiment}/runs/{plugin.root}?" in pages["verdict"]
        assert "viewStateShareKey=assay.joined&" in pages["charts"]
        assert ui_views.view_tag("joined") in plugin.api.get_experiment(plugin.experiment).tags
    finally:
        plugin.api.update_run(plugin.root, status="RUNNING")


# Retried, failed, and without the plugin


@pytest.fixture
def plugin(in_workplace, request) -> Plugin:
    """A pipeline run in an experiment of its own."""
    return Plugin(request.node.name[:40], f"of {request.node.name}")


@pytest.fixture
def open_in(make_study, digits, tiny, in_workplace, request) -> Callable[..., tuple[Study, StudyRuns]]:
    """Return what opens a study's runs in a task of a pipeline run."""

    def opens(plugin: Plugin, task: str = "load") -> tuple[Study, StudyRuns]:
        study = make_study(study=request.node.name[:40].strip("["), arms={"tanh": {"scale": "tanh"}}, seeds=1)
        with plugin.task(task):
            return study, open_runs(study, "named", digits.schema)

    return opens


@pytest.mark.parametrize("task", ["load", "train"])
def test_a_pipeline_runs_run_is_found_above_a_loop_too_and_a_repeated_step_finds_the_same_runs(plugin, open_in, task):
    study, runs = open_in(plugin, task)
    assert (runs.parent, runs.joined) == (plugin.root, True)
    assert open_in(plugin, task)[1] == runs
    assert len(runs_of(plugin.experiment, "named")) == 1 + 2
    assert plugin.api.get_experiment_by_name(study.study) is None


def test_what_a_failed_pipeline_run_left_open_is_ended_by_the_plugin_and_continued_when_it_is_retried(
    plugin, open_in, digits, tiny
):
    study, runs = open_in(plugin)
    died, finished = study.cells()
    logger = CellLogger(runs, digits.schema)
    logger.start(died)
    logger.start(finished).finish(tiny.cell("0-0"), reused=False)
    plugin.end("FAILED")
    assert plugin.api.get_run(runs.arms["tanh"]).info.status == "FAILED"

    plugin.retry()
    with plugin.task("train"):
        again = CellLogger(runs, digits.schema)
        for cell in (died, finished):
            again.start(cell).finish(tiny.cell("0-0"), reused=False)
    for name, arm in runs.arms.items():
        (seed,) = plugin.below(arm)
        assert (seed.info.run_name, seed.info.status) == (f"{name}, seed 0", "FINISHED")
    assert plugin.api.get_run(plugin.root).info.status == "RUNNING"


def test_another_pipeline_run_of_the_same_name_has_its_own_run_and_arms(plugin, open_in):
    """The name is the pipeline's parameter `run`."""
    _, first = open_in(plugin)
    other = Plugin("another", f"of {plugin.number}")
    other.experiment = plugin.experiment
    _, second = open_in(other)
    assert second.parent == other.root
    assert not set(first.arms.values()) & set(second.arms.values())
    assert len(plugin.below(plugin.root)) == 1 + 2


def of_none(plugin: Plugin) -> str:
    return "0" * 32


def deleted(plugin: Plugin) -> str:
    plugin.api.delete_run(plugin.root)
    return plugin.root


def of_another_pipeline_run(plugin: Plugin) -> str:
    return Plugin("ffff").root


def of_no_pipeline(plugin: Plugin) -> str:
    return plugin.api.create_run(plugin.experiment).info.run_id


@pytest.mark.parametrize(
    ("named", "why"),
    [
        (of_none, "it, or a run above it, is not to be read at sqlite:"),
        (deleted, "it, or a run above it, is not to be read at sqlite:"),
        (of_another_pipeline_run, "it is of the pipeline run ffff, and this is "),
        (of_no_pipeline, "no run above it is of a pipeline run"),
    ],
)
def test_a_run_that_can_not_be_joined_is_said_and_left_alone(
    plugin, make_study, digits, tiny, monkeypatch, caplog, named, why
):
    run = named(plugin)
    before = seen(run) if named is not of_none else None
    monkeypatch.setenv("MLFLOW_RUN_ID", run)
    monkeypatch.setenv("KFP_RUN_ID", plugin.number)
    study = make_study(study=f"beside {named.__name__}", arms={}, seeds=1)
    with caplog.at_level(logging.WARNING, "components.tracking.runs"):
        runs = open_runs(study, "beside", digits.schema)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"MLFLOW_RUN_ID: {run} is not joined ({why}")
    (own,) = studies(study.study)
    assert (own.info.run_id, own.info.status, runs.joined) == (runs.parent, "RUNNING", False)
    assert plugin.api.get_experiment(own.info.experiment_id).name == study.study
    assert before == (seen(run) if named is not of_none else None)


def test_a_store_that_fails_is_not_taken_for_a_run_that_is_not_there(plugin, open_in, monkeypatch):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def fail(self, run_id: str) -> None:
        raise MlflowException("the database is locked")

    monkeypatch.setattr(MlflowClient, "get_run", fail)
    with pytest.raises(MlflowException, match="locked"):
        open_in(plugin)


def test_a_run_that_a_shell_has_open_is_left_alone_by_a_whole_study(run_steps, tiny, in_workplace, monkeypatch):
    """As `mlflow run` sets it, when the steps themselves are called there."""
    api = client.client()
    experiment = api.create_experiment("somebody's")
    shell = api.create_run(experiment).info.run_id
    api.log_batch(shell, params=as_params({"data.rows": 3, "arm": "mine"}))
    before = seen(shell)
    monkeypatch.setenv("MLFLOW_RUN_ID", shell)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    steps = run_steps("in a shell").all()
    assert seen(shell) == before
    assert [run.info.run_id for run in api.search_runs([experiment])] == [shell]
    assert api.search_logged_models([experiment]) == []
    (own,) = studies("in a shell")
    assert (own.info.run_id, own.info.status) == (steps.runs.parent, "FINISHED")
    assert len(runs_of(steps.runs.experiment, steps.run)) == 1 + 4 + 8 + 1
    for ours, theirs in zip(steps.judgement.effects, tiny.judgement.effects, strict=True):
        assert dataclasses.replace(ours, look=theirs.look) == theirs
