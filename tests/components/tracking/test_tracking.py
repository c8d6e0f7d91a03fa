import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import HANGS_SECONDS
from made_up import effect_of, verdict_of

from components.errors import AssayError
from components.evaluation.verdict import Harm, Interaction, ValidationSlice
from components.records import to_json
from components.registry.model_registry import latest
from components.reporting.phrases import sentence
from components.stats.paired_effects import Estimate
from components.tracking import client, study_log, ui_views
from components.tracking.cell_log import CellLogger
from components.tracking.client import check_reachable, tracking_uri
from components.tracking.latest import latest_pages
from components.tracking.runs import open_runs


def runs_of(experiment: str, run: str) -> list[Any]:
    return list(client.client().search_runs([experiment], f"tags.`assay.run` = '{run}'", max_results=1000))


def children(runs: list[Any], parent: str) -> list[Any]:
    return [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent]


@pytest.fixture
def logged(tiny, in_workplace) -> list[Any]:
    """All runs of the tiny study."""
    return runs_of(tiny.runs.experiment, tiny.run)


# Where runs go


def test_without_a_server_runs_are_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"


def test_the_environment_names_another_place(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert tracking_uri() == "http://mlflow:5000"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_server_that_does_not_answer_is_one_sentence(make_study, digits, monkeypatch):
    uri = f"http://127.0.0.1:{closed_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for ask in (lambda: open_runs(make_study(arms={}), "run", digits.schema), lambda: latest("tiny")):
        with pytest.raises(AssayError, match="no MLflow server answers at") as caught:
            ask()
        assert uri in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["http://", "http://no such host.invalid", "http://127.0.0.1:99999"])
def test_an_address_that_is_none_is_one_sentence(uri):
    with pytest.raises(AssayError, match="MLFLOW_TRACKING_URI: no MLflow server answers"):
        check_reachable(uri)


def test_a_port_where_something_else_listens_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(AssayError, match="MLFLOW_TRACKING_URI: no MLflow server answers"):
            check_reachable(f"http://127.0.0.1:{port}")
        thread.join()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(AssayError, match=r"MLFLOW_TRACKING_URI: .*missing is not a folder that can be written"):
        check_reachable(f"sqlite:///{tmp_path}/missing/mlflow.db")


# Runs of a study


def test_the_study_is_above_its_arms_and_they_above_their_seeds(tiny, logged):
    study = [run for run in logged if "mlflow.parentRunId" not in run.data.tags]
    assert [run.info.run_id for run in study] == [tiny.runs.parent]
    below = children(logged, tiny.runs.parent)
    arms = [run for run in below if run.data.tags["assay.role"] == "arm"]
    assert sorted(run.info.run_name for run in arms) == ["long", "narrow", "reference", "same"]
    assert [run.data.tags["assay.role"] for run in below if run not in arms] == ["decision"]
    for arm in arms:
        seeds = children(logged, arm.info.run_id)
        assert sorted(run.info.run_name for run in seeds) == [f"{arm.info.run_name}, seed {s}" for s in (0, 1)]
    assert len(logged) == 1 + 4 + 8 + 1
    assert {run.info.status for run in logged} == {"FINISHED"}


def test_a_seeds_run_has_its_recipe_its_curves_and_the_restored_epochs_scores(tiny, logged):
    run = next(run for run in logged if run.info.run_name == "narrow, seed 1")
    result = tiny.cell("2-1").result
    assert run.data.params["model.units"] == "[3]"
    assert run.data.params["train.early_stopping.patience"] == "1"
    assert run.data.params["seed"] == "1"
    assert run.data.params["computed.backend"] == "tensorflow"
    assert run.data.params["computed.precision"] == "float32"
    metrics = run.data.metrics
    assert metrics["validation/accuracy"] == result.validation["accuracy"]
    assert metrics["validation/macro_f1"] == result.validation["macro_f1"]
    assert metrics["restored_epoch"] == result.epoch
    assert metrics["recall/7"] == result.recall[7]
    history = client.client().get_metric_history(run.info.run_id, "val_loss")
    assert [(point.step, point.value) for point in history] == list(enumerate(result.curves["val_loss"]))


def test_a_reused_cells_run_says_so_and_is_as_complete(tiny, logged):
    by_name = {run.info.run_name: run for run in logged}
    trained, reused = by_name["reference, seed 0"], by_name["same, seed 0"]
    assert (trained.data.tags["assay.reused"], reused.data.tags["assay.reused"]) == ("false", "true")
    assert reused.data.metrics == trained.data.metrics
    assert {**reused.data.params, "arm": ""} == {**trained.data.params, "arm": ""}


def test_an_arms_run_has_its_effect_and_verdict(tiny, logged):
    by_name = {run.info.run_name: run for run in logged}
    for effect in tiny.verdict["effects"]:
        run = by_name[effect["arm"]]
        assert run.data.tags["assay.verdict"] == effect["verdict"]
        assert run.data.metrics["effect"] == effect["effect"]
        assert run.data.metrics["validation/accuracy"] == effect["arm_mean"]


def test_the_studys_run_has_data_reference_table_and_figures(tiny, logged):
    run = next(run for run in logged if run.info.run_id == tiny.runs.parent)
    assert run.data.params["data.source"] == "sklearn:digits"
    assert run.data.params["reference.model.units"] == "[16]"
    assert [data.dataset.name for data in run.inputs.dataset_inputs] == ["sklearn:digits"]
    assert "| technique | " in run.data.tags["mlflow.note.content"]
    test = tiny.verdict["test"]
    assert run.data.metrics["test/winner/accuracy"] == test["winner"]["accuracy"]
    files = {file.path for file in client.client().list_artifacts(run.info.run_id)}
    assert {"verdict.json", "verdict.csv", "verdict.md", "decision.json", "study.json"} <= files
    assert {"effects.png", "curves.png", "confusion.png"} <= files


def test_the_latest_verdict_comes_back_out_of_mlflow_alone(tiny, in_workplace):
    verdict, decision = latest("tiny 1.0")
    assert verdict == tiny.judgement
    assert decision == tiny.decision


def test_an_unknown_study_is_named_with_the_nearest(tiny, in_workplace):
    with pytest.raises(AssayError, match=r"has no study 'tiny'; did you mean 'tiny 1.0'\?"):
        latest("tiny")


def test_a_study_without_a_finished_run_says_so(make_study, digits, tiny, in_workplace):
    open_runs(make_study(study="just begun", arms={}, seeds=1), "begun", digits.schema)
    with pytest.raises(AssayError, match="no run of study 'just begun' is finished yet"):
        latest("just begun")


# Continuing


def test_a_seed_that_died_is_made_anew_and_a_finished_one_is_left(opened, digits, tiny):
    study, runs = opened
    died, finished = study.cells()
    first = CellLogger(runs, digits.schema)
    log = first.start(died)
    log.epoch(0, {"val_loss": 9.0})
    log._send()
    first.start(finished).finish(tiny.cell("0-0"), reused=False)
    before = {run.info.run_name: run.info.run_id for run in runs_of(runs.experiment, runs.run)}

    second = CellLogger(runs, digits.schema)
    for cell in (died, finished):
        log = second.start(cell)
        log.epoch(0, {"val_loss": 1.0})
        log.finish(tiny.cell("0-0"), reused=False)
    after = {run.info.run_name: run for run in runs_of(runs.experiment, runs.run)}
    assert len(after) == len(before) == 1 + 2 + 2
    assert after["tanh, seed 0"].info.run_id == before["tanh, seed 0"]
    anew = after["reference, seed 0"]
    assert anew.info.run_id != before["reference, seed 0"]
    assert anew.info.status == "FINISHED"
    assert [p.value for p in client.client().get_metric_history(anew.info.run_id, "val_loss")] == [1.0]


def test_many_epochs_are_all_logged(opened, digits, tiny):
    """More values than MLflow takes in one call, as a reused cell of a long training has."""
    study, runs = opened
    cell = tiny.cell("0-0")
    curve = [float(i) for i in range(251)]
    curves = dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy"), tuple(curve))
    layers = {"dense_1": {"dead": (0.0,) * 251}}
    cell.result = replace(cell.result, curves=curves, epochs=251, diagnostics=layers)
    log = CellLogger(runs, digits.schema).start(study.cells()[0])
    log.finish(cell, reused=True)
    history = client.client().get_metric_history(str(log.run_id), "loss")
    assert [point.value for point in history] == curve


@pytest.mark.parametrize(
    "classes", [("a+", "a*", *"23456789"), ("", "/", *"23456789"), ("x" * 300, f"{'x' * 300}y", *"23456789")]
)
def test_every_class_keeps_its_recall_whatever_its_name(opened, digits, tiny, classes):
    study, runs = opened
    log = CellLogger(runs, replace(digits.schema, classes=classes)).start(study.cells()[0])
    log.finish(tiny.cell("0-0"), reused=True)
    metrics = client.client().get_run(str(log.run_id)).data.metrics
    assert len([name for name in metrics if name.startswith("recall/")]) == 10


WRITERS = 6
CELLS_EACH = 5


@pytest.mark.slow
def test_six_processes_may_log_into_one_file_at_once(make_study, digits, tiny, in_workplace, tmp_path):
    study = make_study(study="crowded", arms={}, seeds=WRITERS * CELLS_EACH)
    runs = open_runs(study, "crowded", digits.schema)
    (tmp_path / "runs.json").write_text(to_json(runs))
    shared = [study.model_dump_json(), tmp_path / "runs.json", tiny.folder / "data", tiny.cell("0-0").folder]
    command = [sys.executable, str(Path(__file__).with_name("writer.py")), *map(str, shared)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [
        subprocess.Popen(
            [*command, *(str(i) for i in range(len(study.cells())) if i % WRITERS == number)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(WRITERS)
    ]
    said = [writer.communicate(timeout=HANGS_SECONDS)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * WRITERS, said
    seeds = [run for run in runs_of(runs.experiment, "crowded") if run.data.tags["assay.role"] == "seed"]
    assert sorted(int(run.data.tags["assay.seed"]) for run in seeds) == list(range(WRITERS * CELLS_EACH))
    assert {run.info.status for run in seeds} == {"FINISHED"}
    curve = tiny.cell("0-0").result.curves["val_loss"]
    for run in seeds:
        history = client.client().get_metric_history(run.info.run_id, "val_loss")
        assert tuple(point.value for point in history) == curve


# What the UI opens at


def test_an_arms_run_has_the_mean_curves_scores_and_model_of_its_seeds(tiny, logged):
    run = next(run for run in logged if run.info.run_name == "long")
    results = [cell.result for cell in (tiny.cell("3-0"), tiny.cell("3-1"))]
    history = client.client().get_metric_history(run.info.run_id, "val_loss")
    means = np.mean([result.curves["val_loss"] for result in results], axis=0)
    assert [point.step for point in history] == list(range(len(means)))
    assert [point.value for point in history] == pytest.approx(means.tolist())
    for name in ("loss", "macro_f1"):
        mean = np.mean([result.validation[name] for result in results])
        assert run.data.metrics[f"validation/{name}"] == pytest.approx(mean)
    files = {file.path for file in client.client().list_artifacts(run.info.run_id, "model")}
    assert {"model/encoder.json", "model/network.keras"} <= files


def test_curves_of_unequal_length_are_averaged_over_the_seeds_that_still_train(tiny):
    cells = [tiny.cell("3-0"), tiny.cell("3-1")]
    for cell, losses in zip(cells, ((4.0,), (2.0, 1.0)), strict=True):
        cell.result = replace(cell.result, curves={"loss": losses})
    assert [(m.key, m.step, m.value) for m in study_log._mean_curves(cells)] == [("loss", 0, 3.0), ("loss", 1, 1.0)]


def test_every_run_says_what_it_was_made_of(tiny, logged):
    fingerprint = tiny.prepared.schema.fingerprint
    for run in (run for run in logged if run.data.tags["assay.role"] != "decision"):
        (data,) = run.inputs.dataset_inputs
        assert (data.dataset.name, data.dataset.digest) == ("sklearn:digits", fingerprint[:32])
        assert run.data.tags["assay.data"] == fingerprint[:12]
        assert len(run.data.tags["assay.code"]) == 12
    seeds = [run for run in logged if run.data.tags["assay.role"] == "seed"]
    for run in seeds:
        (scaler,) = client.client().list_artifacts(run.info.run_id)
        assert scaler.path == "encoder.json"


def test_a_verdicts_harms_interactions_and_other_metrics_are_on_the_arms():
    other = Estimate(-0.1, -0.2, None)
    unsure: dict[str, Any] = dict.fromkeys(("low", "high", "error"))
    small, third = ValidationSlice("size", "small", 9.0, None), ValidationSlice("class", "3", 9.0, None)
    pair: dict[str, Any] = {"differences": (), "shared": 0.0, "error": None, "detectable": None, "chance": None}
    verdict = verdict_of(
        effect_of("a", 0.1, "helped", **unsure, detectable=0.2, others={"loss": other}),
        interactions=(Interaction(**vars(other), **pair, verdict="unknown", arm="a + b", techniques=("a", "b")),),
        harms=tuple(Harm(**vars(other), arm="a", technique="a", slice=of) for of in (third, small)),
    )
    numbers, tags = study_log._of_arms(verdict)
    others = {"effect/loss": -0.1, "low/loss": -0.2}
    assert numbers["a"] == {"effect": 0.1, "detectable": 0.2, "cost": 0.4, **others}
    assert numbers["a + b"] == {"interaction/effect": -0.1, "interaction/low": -0.2}
    assert json.loads(tags["a"].pop(study_log.LOOK_TAG)) == asdict(verdict.effects[0].look)
    assert tags == {"a": {"assay.verdict": "helped", "assay.harms": "class: 3, size: small"}}


def test_the_saved_view_finds_the_arms_and_its_columns_and_charts_are_theirs(tiny, logged):
    api = client.client()
    experiment = api.get_experiment(tiny.runs.experiment)
    state = json.loads(json.loads(experiment.tags[ui_views.view_tag("tiny 1.0")])["state"])
    found = api.search_runs([experiment.experiment_id], state["searchFilter"], order_by=[f"{state['orderByKey']} DESC"])
    assert {run.info.run_id for run in found} == set(tiny.runs.arms.values())
    best = max(tiny.verdict["effects"], key=lambda effect: effect["effect"])
    assert found[0].data.metrics["effect"] == best["effect"]
    known = {f"metrics.`{name}`" for name in found[0].data.metrics} | {f"tags.`{name}`" for name in found[0].data.tags}
    assert set(state["selectedColumns"]) <= known
    assert {chart["metricKey"] for chart in state["compareRunCharts"]} <= set(found[0].data.metrics)
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == sections
    assert sentence(tiny.judgement) in experiment.tags["mlflow.note.content"]


def test_the_latest_runs_pages_are_found_by_the_studys_name(tiny, in_workplace):
    pages = latest_pages("tiny 1.0")
    assert f"experiments/{tiny.runs.experiment}/runs/{tiny.runs.parent}?" in pages["verdict"]
    assert all(arm in pages["compare"] for arm in tiny.runs.arms.values())
    with pytest.raises(AssayError, match="has no study 'tinny'"):
        latest_pages("tinny")
    assert set(latest_pages(None)) == set(pages)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://ann:pl4nted@127.0.0.1:1/mlflow", "http://127.0.0.1:1/mlflow"),
        ("postgresql+psycopg2://ann:pl4nted@db/mlflow", "postgresql+psycopg2://db/mlflow"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("https://mlflow.example.org", "https://mlflow.example.org"),
    ],
)
def test_an_address_is_shown_without_the_login_that_may_be_in_it(address, shown):
    assert client.without_login(address) == shown


def test_a_server_that_is_away_is_told_without_the_login():
    with pytest.raises(AssayError, match=r"no MLflow server answers at http://127\.0\.0\.1:1 ") as told:
        client.check_reachable("http://ann:pl4nted@127.0.0.1:1")
    assert "pl4nted" not in str(told.value)
