import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from made_up import RESULT_OF_A_CELL, write_result
from small import rewritten
from trainers import trainer_on

from components.errors import AssayError
from components.runtime.cells import RESULT, CellResult, FinishedCell, Store, hand_over
from components.serving.saved_model import Served
from components.stats.metrics import scores
from components.study.shards import shard

# The step


def test_every_cell_is_handed_over_and_told(tiny):
    cells = tiny.study.cells()
    assert {path.name for path in (tiny.folder / "cells").iterdir()} == {cell.id for cell in cells}
    told = {(event["arm"], event["seed"]): event for event in tiny.finished}
    assert set(told) == {(cell.arm, cell.seed) for cell in cells}
    for cell in cells:
        result = tiny.cell(cell.id).result
        assert told[cell.arm, cell.seed]["value"] == result.validation["accuracy"]
        assert told[cell.arm, cell.seed]["epochs"] == result.epochs == len(result.curves["loss"])


def test_an_arm_that_is_the_reference_is_not_trained_twice(tiny):
    reused = {(event["arm"], event["seed"]) for event in tiny.finished if event["reused"]}
    assert reused == {("same", 0), ("same", 1)}


def test_scores_are_of_the_saved_predictions_and_those_of_the_saved_model(tiny):
    prepared, result = tiny.prepared, tiny.cell("0-1")
    validation = prepared.split(1)[1]
    y = np.array(prepared.y[validation])
    assert result.result.validation == scores(result.probabilities("validation"), y)
    model = Served(result.model)
    for part, rows in (("validation", validation), ("test", prepared.test_rows)):
        np.testing.assert_allclose(model(np.array(prepared.x[rows])), result.probabilities(part), atol=1e-5)


def test_the_restored_epochs_scores_are_the_cells(tiny):
    result = tiny.cell("0-0").result
    assert result.epoch < result.epochs - 1  # it stopped early, and went back
    assert result.validation["loss"] == pytest.approx(result.curves["val_loss"][result.epoch], rel=1e-4)
    accuracy = result.curves["val_accuracy"][result.epoch]
    assert result.validation["accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_a_second_run_trains_nothing(tiny, run_steps, in_workplace, monkeypatch):
    monkeypatch.setattr("components.steps.train.Trainer", None)  # whoever trains would call it
    again = run_steps("tiny 1.0").until_trained()
    assert [event["reused"] for event in again.finished] == [True] * 8
    assert again.cell("2-1").result == tiny.cell("2-1").result


def test_only_missing_cells_are_trained(run_steps, in_workplace, tmp_path, tiny):
    """A run that was killed left some cells: the others are trained, with the numbers of the whole run."""
    steps = run_steps("resumed")
    steps.store = tmp_path / "store"
    fingerprint = tiny.prepared.schema.fingerprint
    for cell in [cell for cell in steps.study.cells() if cell.arm in ("reference", "long") and cell.seed == 0]:
        shutil.copytree(Store(tiny.store, fingerprint).path(cell.key), Store(steps.store, fingerprint).path(cell.key))
    steps.until_trained()
    trained = {(event["arm"], event["seed"]) for event in steps.finished if not event["reused"]}
    assert trained == {("reference", 1), ("narrow", 0), ("narrow", 1), ("long", 1)}
    for cell in steps.study.cells():
        resumed, whole = steps.cell(cell.id), tiny.cell(cell.id)
        assert resumed.result.curves == whole.result.curves
        np.testing.assert_array_equal(resumed.probabilities("test"), whole.probabilities("test"))


def test_cells_with_one_program_follow_each_other(make_study):
    arms = {"wide": {"model.units": [8]}, "tanh": {"scale": "tanh"}, "wide tanh": {"model.units": [8], "scale": "tanh"}}
    study = make_study("sklearn:iris", seeds=2, arms=arms)
    ordered = shard(study, 1, "1/1")
    assert [cell.arm for cell in ordered] == ["reference"] * 2 + ["tanh"] * 2 + ["wide"] * 2 + ["wide tanh"] * 2


def test_a_loss_that_is_no_number_from_the_start_names_the_cell_and_a_cure(make_study, iris, tmp_path):
    x = np.array(iris.x)
    huge = rewritten(iris, tmp_path / "data", x=x * np.float32(1e30))
    recipe = {"scale": "none", "model": {"units": [4], "batch_norm": False}, "train": {"optimizer": "sgd"}}
    study = make_study("sklearn:iris", seeds=1, arms={}, recipe={**recipe})
    trainer = trainer_on(huge, study, tmp_path / "run")
    with pytest.raises(AssayError, match=r"arm 'reference', seed 0: .*lower train.learning_rate .*scale: none"):
        trainer.train(study.cells()[:1])
    assert list((tmp_path / "run").glob("store/*")) == []


# Nothing is learned from the test rows


def test_other_test_rows_change_no_scaler_no_weight_and_no_choice(make_study, digits, tmp_path):
    from components.evaluation.judge import judge

    x, y = np.array(digits.x), np.array(digits.y)
    rng = np.random.default_rng(0)
    x[digits.test_rows] = rng.uniform(-1e3, 1e3, x[digits.test_rows].shape)
    y[digits.test_rows] = rng.permutation(y[digits.test_rows])
    poisoned = rewritten(digits, tmp_path / "poisoned", x=x, y=y)
    assert poisoned.schema.fingerprint != digits.schema.fingerprint
    recipe = {"model": {"name": "mlp", "units": [8], "dropout": 0.2}, "train": {"epochs": 2, "batch_size": 128}}
    study = make_study(seeds=2, recipe=recipe, arms={"tanh": {"scale": "standardize"}})
    found = []
    for name, prepared in (("clean", digits), ("other", poisoned)):
        trainer = trainer_on(prepared, study, tmp_path / name)
        cells = [(cell, *trainer.train([cell])) for cell in study.cells()]
        by_arm: dict[str, list[FinishedCell]] = {}
        for cell, result in cells:
            by_arm.setdefault(cell.arm, []).append(result)
        weights = [Served(result.model).network.get_weights() for _, result in cells]
        found.append((weights, (tmp_path / name / "scalers.json").read_text(), judge(study, by_arm, prepared)))
    (weights, scalers, verdict), (other_weights, other_scalers, other_verdict) = found
    assert scalers == other_scalers
    for ours, theirs in zip(weights, other_weights, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert verdict.winner == other_verdict.winner
    for effect, other in zip(verdict.effects, other_verdict.effects, strict=True):
        costs = dict.fromkeys(("cost", "cost_low", "cost_high"), 0)  # times differ
        assert replace(effect, **costs) == replace(other, **costs, look=effect.look)
    assert verdict.test != other_verdict.test


# The store


@pytest.fixture
def finished(tiny):
    """A store with one finished cell in it, and its key."""
    return Store(tiny.store, tiny.prepared.schema.fingerprint), tiny.study.cells()[0].key


def fill(folder) -> None:
    write_result(folder)


def result_in(store: Store) -> CellResult:
    """Return the result of the cell "key"."""
    cell = store.find("key")
    assert cell is not None
    return cell.result


def test_a_cell_is_found_by_its_key_on_the_same_data_alone(finished):
    store, key = finished
    assert store.find(key).result.seed == 0
    assert store.find("another key") is None
    assert Store(store.folder, "other data").find(key) is None


def test_other_code_or_libraries_find_nothing(finished, monkeypatch):
    store, key = finished
    assert store.find(key) is not None
    monkeypatch.setattr("components.runtime.cells.code_version", lambda: "another")
    assert store.find(key) is None


def test_a_cell_that_is_half_written_never_counts(tmp_path):
    store = Store(tmp_path, "data")

    def killed() -> None:
        with store.write("key") as folder:
            fill(folder)
            assert store.find("key") is None
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        killed()
    assert store.find("key") is None
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_behind_never_counts(tmp_path):
    store = Store(tmp_path, "data")
    name = store.path("key").name
    unfinished, fresh = (tmp_path / f".{left}" for left in (f"{name}.x", f"{name}.y"))
    for folder in (unfinished, fresh):
        folder.mkdir()
        fill(folder)
    forgotten, another = tmp_path / ".forgotten.checkpoint", tmp_path / ".another.checkpoint"
    for checkpoint in (forgotten, another, store.checkpoint("key")):
        checkpoint.touch()
    for old in (unfinished, forgotten):
        os.utime(old, (1, 1))
    assert store.find("key") is None
    with store.write("key") as folder:
        fill(folder)
    assert result_in(store) == RESULT_OF_A_CELL
    store.clean("key")
    store.clean("key")
    assert {file.name for file in tmp_path.iterdir()} == {name, fresh.name, another.name}


def test_the_first_of_two_writers_wins(tmp_path):
    store = Store(tmp_path, "data")
    with store.write("key") as slow:
        write_result(slow, seed=1)
        with store.write("key") as fast:
            write_result(fast, seed=2)
    assert result_in(store).seed == 2
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("text", ['{"seed": 1, "validation": {"accuracy": 0.9}}', '{"schema": 99}', "", "[]"])
def test_a_cell_of_another_form_counts_as_none_and_is_written_anew(tmp_path, text):
    store = Store(tmp_path, "data")
    store.path("key").mkdir()
    (store.path("key") / RESULT).write_text(text)
    assert store.find("key") is None
    with store.write("key") as folder:
        fill(folder)
    assert result_in(store) == RESULT_OF_A_CELL
    assert len(list(tmp_path.iterdir())) == 1


def test_finished_cells_can_be_read_by_others(tmp_path):
    """The containers of a team write to one store under several user numbers."""
    plain = tmp_path / "plain"
    plain.mkdir()
    store = Store(tmp_path / "store", "data")
    with store.write("key") as folder:
        fill(folder)
    assert store.path("key").stat().st_mode == plain.stat().st_mode


def test_handing_over_twice_is_harmless(tmp_path):
    """A task that is tried again finds what its first try left."""
    cell = tmp_path / "cell"
    made = write_result(cell, seed=1)
    for _ in range(2):
        hand_over(FinishedCell(cell), tmp_path / "target")
    assert FinishedCell(tmp_path / "target").result == made


def test_handing_over_copies_where_links_are_impossible(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("another file system")

    cell = tmp_path / "cell"
    fill(cell)
    monkeypatch.setattr("os.link", refuse)
    hand_over(FinishedCell(cell), tmp_path / "target")
    assert FinishedCell(tmp_path / "target").result == RESULT_OF_A_CELL


def test_rows_over_the_budget_are_streamed_with_the_same_result(digits, tmp_path, make_study):
    study = make_study("sklearn:digits", recipe={"train": {"epochs": 1}}, arms={}, seeds=1)
    cell = study.cells()[0]
    (held,) = trainer_on(digits, study, tmp_path / "held").train([cell])
    small = study.model_copy(update={"memory": 200_000 / 2**30})
    (streamed,) = trainer_on(digits, small, tmp_path / "streamed").train([cell])
    assert streamed.result.curves == held.result.curves
    for part in ("validation", "test"):
        np.testing.assert_array_equal(streamed.probabilities(part), held.probabilities(part))
