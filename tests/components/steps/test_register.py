import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import INVALID_PARAMETER_VALUE, MlflowException

from components.data.sources import read
from components.registry.model_registry import CHALLENGER, CHAMPION, PREVIOUS, ROLLED_BACK_TAG, Registry
from components.runtime.cells import FinishedCell
from components.serving.saved_model import raw_rows
from components.stats.metrics import scores
from components.study.dataset import DatasetSpec
from components.tracking import client


def versions(name: str) -> list[Any]:
    found = client.client().search_model_versions(f"name = '{name}'")
    return sorted(found, key=lambda version: int(version.version))


def champion(name: str) -> Any:
    return client.client().get_model_version_by_alias(name, CHAMPION)


def alias(name: str, which: str) -> str | None:
    found = Registry(name).at(which)
    return found and str(found.version)


def decisions(steps) -> list[Any]:
    return Registry(steps.study.study).decisions(100)


# Arms and recipes that the shared store has already, so that nothing is trained: only names differ. The poor one takes
# all rows for the same few classes, of which it misses none: slices are left to tests of their own.
ANY_SLICE = {"gate": {"slice_margin": 1.0}}
GOOD: dict[str, Any] = {"arms": {}, "recipe": {"train": {"early_stopping": False}}, **ANY_SLICE}
POOR: dict[str, Any] = {"arms": {}, "recipe": {"model": {"units": [3]}}, **ANY_SLICE}

pytestmark = pytest.mark.usefixtures("tiny", "in_workplace")


def test_the_first_winner_is_promoted(tiny):
    assert tiny.decision.decision == "promoted"
    assert tiny.decision.model == "tiny 1.0"
    assert str(champion("tiny 1.0").version) == str(tiny.decision.version) == "1"
    assert "first version" in tiny.decision.reason


def test_the_version_says_where_it_comes_from(tiny):
    version = champion("tiny 1.0")
    assert version.run_id == tiny.runs.parent
    assert version.tags["assay.arm"] == tiny.verdict["winner"]["arm"]
    assert version.tags["assay.data"] == tiny.prepared.schema.fingerprint
    assert version.tags["assay.seed"] == str(tiny.verdict["winner"]["seed"])


def test_the_champion_answers_on_raw_rows_as_it_was_evaluated(tiny):
    model = mlflow.pyfunc.load_model("models:/tiny 1.0@champion")
    raw = np.array(tiny.prepared.x[tiny.prepared.test_rows])
    winner = tiny.verdict["winner"]
    arm = [arm.name for arm in tiny.study.expand()].index(winner["arm"])
    evaluated = tiny.cell(f"{arm}-{winner['seed']}").probabilities("test")
    np.testing.assert_allclose(model.predict(raw), evaluated, atol=1e-5)
    np.testing.assert_allclose(model.predict(raw[:1]), evaluated[:1], atol=1e-5)


def test_the_champion_refuses_rows_of_another_shape(tiny):
    model = mlflow.pyfunc.load_model("models:/tiny 1.0@champion")
    with pytest.raises(mlflow.exceptions.MlflowException, match="shape"):
        model.predict(np.zeros((2, 9, 9, 1), np.float32))


def test_a_worse_winner_is_kept_out(run_steps):
    run_steps("gate", **GOOD).all()
    worse = run_steps("gate", **POOR).all()
    assert worse.decision.decision == "kept"
    assert "champion version 1 has" in worse.decision.reason
    assert "significantly worse" in worse.decision.reason
    assert [str(version.version) for version in versions("gate")] == ["1", "2"]
    assert str(champion("gate").version) == "1"


def test_a_better_winner_is_promoted(run_steps):
    run_steps("rise", **POOR).all()
    better = run_steps("rise", **GOOD).all()
    assert better.decision.decision == "promoted", better.decision
    assert str(champion("rise").version) == better.decision.version == "2"


def test_the_champion_itself_is_kept_without_a_new_version(run_steps):
    run_steps("again", **GOOD).all()
    again = run_steps("again", **GOOD).all()
    assert again.decision.decision == "kept"
    assert "is the champion already" in again.decision.reason
    assert str(again.decision.version) == "1"
    assert len(versions("again")) == 1


def equal(steps) -> Any:
    """Make the winner another model with the same classes: a little surer of each."""
    steps.until_trained().evaluated()
    file = steps.folder / "verdict" / "winner" / "test.npy"
    powers = np.load(file) ** 1.01
    np.save(file, powers / powers.sum(axis=1, keepdims=True))
    return steps.registered()


def test_an_equally_good_winner_is_undecided_and_becomes_the_challenger(run_steps):
    run_steps("equal", **GOOD).all()
    second = equal(run_steps("equal", **GOOD)).decision
    assert (second.decision, second.version, second.champion) == ("undecided", "2", "1")
    assert "can't tell whether it is better" in second.reason
    assert (alias("equal", CHAMPION), alias("equal", CHALLENGER)) == ("1", "2")
    third = equal(run_steps("equal", **GOOD)).decision
    assert (third.decision, third.version) == ("undecided", "2")
    assert len(versions("equal")) == 2


def test_a_margin_below_zero_promotes_the_newer_of_two_equals(run_steps):
    run_steps("margin", **GOOD).all()
    decision = equal(run_steps("margin", **{**GOOD, "gate": {"margin": -0.02, "slice_margin": 1.0}})).decision
    assert (decision.decision, decision.version) == ("promoted", "2")


def test_a_promotion_moves_all_three_aliases(run_steps):
    run_steps("three", **POOR).all()
    equal(run_steps("three", **POOR))
    assert [alias("three", name) for name in (CHAMPION, CHALLENGER, PREVIOUS)] == ["1", "2", None]
    run_steps("three", **GOOD).all()
    assert [alias("three", name) for name in (CHAMPION, CHALLENGER, PREVIOUS)] == ["3", None, "1"]


def test_a_study_without_a_champion_gets_one(run_steps):
    run_steps("lost", **GOOD).all()
    client.client().delete_registered_model_alias("lost", CHAMPION)
    decision = run_steps("lost", **POOR).all().decision
    assert (decision.decision, decision.version) == ("promoted", "2")
    assert "no version is the champion" in decision.reason


def test_each_decision_is_a_run_below_the_studys(run_steps):
    first = run_steps("noted", **POOR).all()
    second = run_steps("noted", **GOOD).all()
    newest, oldest = decisions(second)
    tags, metrics = newest.data.tags, newest.data.metrics
    assert tags["mlflow.parentRunId"] == second.runs.parent
    assert (tags["assay.decision"], tags["assay.version"], tags["assay.champion_before"]) == ("promoted", "2", "1")
    assert tags["assay.reason"] == second.decision.reason
    assert newest.info.status == oldest.info.status == "FINISHED"
    found = vars(second.decision.difference)
    assert metrics == pytest.approx({name: value for name, value in found.items() if name not in ("metric", "slice")})
    assert oldest.data.tags["mlflow.parentRunId"] == first.runs.parent
    assert oldest.data.tags["assay.reason"].startswith("the first version")
    classes = [f"class: {digit}" for digit in range(10)]
    assert [of.slice.name for of in second.decision.slices] == classes


# Other data


def test_with_the_same_data_the_champions_own_answers_are_compared(run_steps, monkeypatch):
    """And its model is not loaded, which takes ten seconds of imports in a process of its own."""
    first = run_steps("kept answers", **POOR).all()
    monkeypatch.setattr("components.registry.held_out._answers", None)
    found = run_steps("kept answers", **GOOD).all().decision.difference
    cell = FinishedCell(first.folder / "verdict" / "winner")
    rows = first.prepared.test_rows
    assert found.champion == pytest.approx(scores(cell.probabilities("test"), first.prepared.y[rows])["accuracy"])
    assert found.rows == len(rows)


def test_a_champion_of_other_data_is_scored_on_the_rows_that_it_has_not_seen(run_steps):
    """A third of the rows are for the test now: those of before, and some that the champion was trained on."""
    first = run_steps("moved", **GOOD).all()
    second = run_steps("moved", **POOR, data={"test": 0.3}).all()
    before, now = first.prepared.test_rows, second.prepared.test_rows
    assert np.isin(before, now).all()
    model = mlflow.pyfunc.load_model("models:/moved/1")
    found = model.predict(np.array(first.prepared.x[before])).to_numpy().argmax(axis=1)
    difference = second.decision.difference
    assert difference.rows == len(before) < len(now)
    assert difference.champion == pytest.approx(np.mean(found == first.prepared.y[before]))
    winner = FinishedCell(second.folder / "verdict" / "winner").probabilities("test")
    of_both = np.isin(now, before)
    expected = scores(winner[of_both], np.array(second.prepared.y[now[of_both]]))["accuracy"]
    assert difference.challenger == pytest.approx(expected)
    assert second.decision.decision == "kept"


def test_a_champion_that_has_seen_most_test_rows_leaves_it_undecided(run_steps):
    run_steps("seen", **POOR, data={"test": 0.05}).all()
    decision = run_steps("seen", **GOOD, data={"test": 0.3}).all().decision
    assert (decision.decision, decision.champion) == ("undecided", "1")
    assert "not trained on only 90 of the 539 test rows" in decision.reason


def test_data_that_grows_is_compared_on_rows_that_are_new_to_both(run_steps, monkeypatch, tmp_path):
    everything = read(DatasetSpec(source="sklearn:digits"), tmp_path)
    fewer = replace(everything, x=everything.x[:1500], y=everything.y[:1500])
    with monkeypatch.context() as patch:
        patch.setattr("components.data.preparation.read", lambda data, folder: fewer)
        first = run_steps("grown", **GOOD).all()
    second = run_steps("grown", **POOR).all()
    tested = second.prepared.test_rows
    fresh = np.isin(tested, first.prepared.test_rows) | (tested >= 1500)  # row numbers are the file's
    assert second.decision.difference.rows == fresh.sum()
    assert 0.8 * len(tested) < fresh.sum() < len(tested)
    assert second.decision.decision == "kept"


def test_a_champion_that_says_nothing_of_its_rows_is_not_compared_on_other_data(run_steps):
    run_steps("old", **POOR).all()
    client.client().delete_model_version_tag("old", "1", "assay.form")
    decision = run_steps("old", **GOOD, data={"test": 0.3}).all().decision
    assert decision.decision == "undecided"
    assert "not known which of the present rows it was trained on" in decision.reason
    assert run_steps("old", **GOOD).all().decision.decision == "promoted"  # the same data has the same test rows


def test_a_table_in_groups_is_compared_by_groups(run_steps, tmp_path):
    """Of a patient none of whose rows was used, and each with rows in one part only."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=1200), "b": rng.normal(size=1200), "who": np.arange(1200) // 6})
    frame["target"] = np.where(frame.a + rng.normal(size=1200) > 0, "x", "y")
    frame[:1000].to_csv(tmp_path / "x.csv", index=False)
    data = {"source": f"table:{tmp_path}/x.csv", "group": "who"}
    recipe = {"train": {"epochs": 2}, "model": {"units": [4]}}
    first = run_steps("patients", data=data, arms={}, seeds=1, recipe=recipe).all()
    seen = set(frame.who[first.prepared.used_rows()])
    frame.to_csv(tmp_path / "x.csv", index=False)
    second = run_steps("patients", data=data, arms={}, seeds=1, recipe=recipe, slices=["a"]).all()
    tested = second.prepared.test_rows
    rows = second.decision.difference.rows
    assert rows == sum(who not in seen for who in frame.who[tested]) < len(tested)
    slices = second.decision.slices
    assert [of.slice.column for of in slices] == ["class"] * 2 + ["a"] * 4
    assert [sum(of.rows for of in part) for part in (slices[:2], slices[2:])] == [rows, rows]


def test_a_champion_for_rows_of_another_shape_stays_and_says_why(run_steps):
    run_steps("reshaped", **GOOD).all()
    other = run_steps("reshaped", **TABLE).all()
    assert other.decision.decision == "kept"
    assert "version 1 stays: " in other.decision.reason
    assert "give the study another name" in other.decision.reason


TABLE: dict[str, Any] = {
    "data": {"source": "sklearn:iris"},
    "arms": {},
    "seeds": 1,
    "recipe": {"train": {"epochs": 1}},
}


def test_a_champion_for_other_classes_is_not_compared_by_class_numbers(run_steps, monkeypatch, tmp_path):
    """Class 0 of the one is not class 0 of the other; whoever renames or reorders classes has another problem."""
    run_steps("renamed", **TABLE).all()
    iris = read(DatasetSpec(source="sklearn:iris"), tmp_path)
    others = replace(iris, y=2 - iris.y, classes=("a", "b", "c"))
    monkeypatch.setattr("components.data.preparation.read", lambda data, folder: others)
    decision = run_steps("renamed", **TABLE).all().decision
    assert decision.decision == "kept"
    assert "version 1 stays" in decision.reason
    assert "classes" in decision.reason


def test_a_table_is_served_from_a_data_frame(run_steps):
    steps = run_steps("flowers", **TABLE).all()
    model = mlflow.pyfunc.load_model("models:/flowers@champion")
    frame = raw_rows(steps.prepared, steps.prepared.test_rows)
    found = model.predict(frame)
    assert list(found.columns) == ["setosa", "versicolor", "virginica"]
    evaluated = FinishedCell(steps.folder / "verdict" / "winner").probabilities("test")
    np.testing.assert_allclose(found, evaluated, atol=1e-5)
    with pytest.raises(mlflow.exceptions.MlflowException, match="sepal"):
        model.predict(frame.drop(columns="sepal length (cm)"))


def test_texts_are_served_from_a_list_or_the_first_column_of_a_data_frame(run_steps, tmp_path):
    """The column of the text is called there as the user calls it, and others may be behind it."""
    frame = pd.DataFrame(
        {"review": [f"{w} w{i}" for i in range(20) for w in ("good", "bad")], "id": [*map(str, range(40))]}
    )
    frame.assign(label=["yes", "no"] * 20).to_csv(tmp_path / "x.csv", index=False)
    data = {"source": f"text:{tmp_path}/x.csv", "text": "review"}
    steps = run_steps("reviews", data=data, recipe={"model": {"embedding": 4}}, arms={}, seeds=1).all()
    model = mlflow.pyfunc.load_model("models:/reviews@champion")
    tested = frame.iloc[steps.prepared.test_rows]
    evaluated = FinishedCell(steps.folder / "verdict" / "winner").probabilities("test")
    for given in (tested, tested["review"], tested["review"].tolist(), tested["review"].to_numpy(object)):
        np.testing.assert_allclose(model.predict(given), evaluated, atol=1e-5)
    with pytest.raises(mlflow.exceptions.MlflowException, match="the first column is 'id'; expected 'review'"):
        model.predict(tested[["id", "review"]])


# Nothing half-done


def dying(monkeypatch: pytest.MonkeyPatch, what: str, when=lambda *args, **kwargs: True) -> None:
    """Let a method of MLflow's client die as a killed process does, once."""
    original, died = getattr(MlflowClient, what), []

    def once(self, *args, **kwargs):
        if when(*args, **kwargs) and not died:
            died.append(True)
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, what, once)


WRITES = [
    ("log_artifacts", lambda run, folder, path=None: path == "gate"),
    ("create_model_version", lambda *args, **kwargs: True),
    ("create_run", lambda *args, **kwargs: True),
    ("log_text", lambda *args: True),
    ("log_batch", lambda *args, **kwargs: "assay.decision" in {tag.key for tag in kwargs.get("tags", ())}),
    ("set_registered_model_alias", lambda name, alias, version: alias == PREVIOUS),
    ("set_registered_model_alias", lambda name, alias, version: alias == CHAMPION),
    ("delete_registered_model_alias", lambda *args: True),
    ("set_terminated", lambda *args, **kwargs: len(args) == 1),  # logging a model ends a run, too, with a status
    ("set_tag", lambda *args: True),
]


@pytest.fixture(scope="module")
def two_runs(tiny, run_steps, workplace):
    """A poor run and a good one, up to their winners."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(workplace)
        return [run_steps("dies", **kind).until_trained().evaluated() for kind in (POOR, GOOD)]


@pytest.fixture
def good(two_runs):
    """The good run, with nothing registered but the poor one's model: the champion, and the challenger, too."""
    poor, good = two_runs
    for run in decisions(good):
        client.client().delete_run(run.info.run_id)
    if versions("dies"):
        client.client().delete_registered_model("dies")
    poor.registered()
    client.client().set_registered_model_alias("dies", CHALLENGER, "1")
    (good.folder / "decision" / "decision.json").unlink(missing_ok=True)
    return good


@pytest.mark.parametrize("death", range(len(WRITES)), ids=[f"{place}-{write[0]}" for place, write in enumerate(WRITES)])
def test_whoever_dies_anywhere_leaves_one_champion_and_a_second_try_ends_as_the_first(good, monkeypatch, death):
    with monkeypatch.context() as patch:
        dying(patch, *WRITES[death])
        with pytest.raises(KeyboardInterrupt):
            good.registered()
    assert alias("dies", CHAMPION) == ("1" if death < 7 else "2")
    assert not (good.folder / "decision" / "decision.json").exists()
    again = good.registered().decision
    assert (again.decision, again.version, again.before) == ("promoted", "2", "1")
    assert [alias("dies", which) for which in (CHAMPION, CHALLENGER, PREVIOUS)] == ["2", None, "1"]
    assert len(versions("dies")) == 2
    assert [run.info.status for run in decisions(good)] == ["FINISHED", "FINISHED"]
    assert client.client().get_run(good.runs.parent).data.tags["assay.decision"].startswith("promoted")
    assert good.registered().decision == again
    assert len(decisions(good)) == 2


def test_what_somebody_has_decided_since_is_not_undone_by_a_second_try(run_steps, monkeypatch):
    run_steps("since", **POOR).all()
    equal(run_steps("since", **POOR))
    steps = run_steps("since", **GOOD).until_trained().evaluated()
    with monkeypatch.context() as patch:
        dying(patch, "set_registered_model_alias")
        with pytest.raises(KeyboardInterrupt):
            steps.registered()
    client.client().set_registered_model_alias("since", CHAMPION, "2")
    again = steps.registered().decision
    assert (again.decision, again.before) == ("promoted", "2")
    newest, overtaken = decisions(steps)[:2]
    assert (newest.info.status, overtaken.info.status) == ("FINISHED", "FAILED")


def test_what_an_earlier_assay_has_decided_is_decided_again(run_steps, caplog):
    """Its decision.json has another form; it is neither misread nor lost."""
    steps = run_steps("earlier", **GOOD).all()
    (earlier,) = decisions(steps)
    client.client().log_dict(earlier.info.run_id, {"decision": "promoted", "version": "7"}, "decision.json")
    again = steps.registered().decision
    assert (again.decision, again.version, again.champion) == ("kept", "1", "1")
    assert "its form is of version 0" in caplog.text
    assert [run.info.status for run in decisions(steps)] == ["FINISHED", "FINISHED"]


def away(monkeypatch: pytest.MonkeyPatch, what: str, times: int, when=lambda *args: True) -> list[str]:
    """Let a method of MLflow's client fail as it does without a server; returns what grows with each try."""
    original, tries = getattr(MlflowClient, what), []

    def failing(self, *args, **kwargs):
        tries.append(what)
        if when(*args) and len(tries) <= times:
            raise MlflowException(f"API request to http://gone failed with exception no {what}")
        return original(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, what, failing)
    return tries


def test_a_registry_that_is_away_for_a_moment_is_asked_again(run_steps, monkeypatch):
    steps = run_steps("moment", **GOOD).until_trained().evaluated()
    tries = [away(monkeypatch, what, 1) for what in ("create_model_version", "set_registered_model_alias")]
    assert steps.registered(patience=30).decision.decision == "promoted"
    assert [len(of) for of in tries] == [2, 2]
    assert len(versions("moment")) == 1


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("get_model_version_by_alias", "nothing was promoted: the champion of 'dies' is the one it was"),
        ("create_model_version", "nothing was promoted: of 'dies' version 1 is still the champion"),
        ("create_run", "nothing was promoted: of 'dies' version 1 is still the champion"),
        ("log_text", "nothing was promoted: of 'dies' version 1 is still the champion"),
        ("set_registered_model_alias", "it is not known whether version 2 of 'dies' became the champion"),
        ("set_terminated", "version 2 of 'dies' is the champion; only the record of it is not complete"),
    ],
)
def test_a_registry_that_stays_away_is_said_with_what_is_the_champion(good, monkeypatch, what, said):
    with monkeypatch.context() as patch:
        away(patch, what, 1000, lambda *args: what != "set_terminated" or len(args) == 1)
        with pytest.raises(SystemExit, match=said) as error:
            good.registered(patience=0.1)
    assert "can't be reached, tried for 0 s" in str(error.value)
    assert "the same command again continues here" in str(error.value)
    assert alias("dies", CHAMPION) == ("2" if what == "set_terminated" else "1")
    assert (good.decision.decision, said in good.decision.reason) == ("failed", True)
    assert good.registered().decision.decision == "promoted"
    assert len(versions("dies")) == 2


class Server:
    """A real MLflow server on one port and one database, which can be killed and started again."""

    def __init__(self, folder: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        arguments = [
            *("--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--workers", "1"),
            *("--artifacts-destination", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)),
        ]
        quick = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "GIT_PYTHON_REFRESH": "quiet"}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")} | quick
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *arguments],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for _ in range(1200):
            with suppress(OSError), urllib.request.urlopen(f"{self.address}/health", timeout=5):
                return
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[Server]:
    running, before = Server(tmp_path), mlflow.get_tracking_uri()
    running.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", running.address)
    try:
        yield running
    finally:
        running.kill()
        mlflow.set_tracking_uri(before)


@pytest.mark.slow
def test_a_server_that_is_killed_in_the_middle_promotes_nothing_and_is_caught_up_with(server, run_steps, monkeypatch):
    run_steps("served", **POOR).all()
    good = run_steps("served", **GOOD).until_trained().evaluated()
    original = MlflowClient.create_model_version

    def killed_before(self, *args, **kwargs):
        server.kill()
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_model_version", killed_before)
        with pytest.raises(
            SystemExit, match="nothing was promoted: of 'served' version 1 is still the champion"
        ) as error:
            good.registered(patience=2)
    assert server.address in str(error.value)
    assert good.decision.decision == "failed"
    server.start()
    assert alias("served", CHAMPION) == "1"
    again = good.registered().decision
    assert (again.decision, again.version) == ("promoted", "2")
    assert [alias("served", which) for which in (CHAMPION, PREVIOUS)] == ["2", "1"]
    assert len(decisions(good)) == len(versions("served")) == 2


def test_a_version_that_was_rolled_back_by_hand_is_not_promoted_again(run_steps):
    """A retraining on the same data finds the same model again."""
    run_steps("taken back", **POOR).all()
    run_steps("taken back", **GOOD).all()
    registry = Registry("taken back")
    registry.api.set_registered_model_alias("taken back", CHAMPION, "1")
    registry.api.set_model_version_tag("taken back", "2", ROLLED_BACK_TAG, "2030-01-01 by hand: it was slow")
    decision = run_steps("taken back", **GOOD).all().decision
    assert (decision.decision, decision.champion) == ("kept", "1")
    assert "version 2 was rolled back: 2030-01-01 by hand: it was slow" in decision.reason


def test_an_error_of_our_own_is_not_tried_again(run_steps, monkeypatch):
    steps = run_steps("wrong", **GOOD).until_trained().evaluated()
    tries = []

    def refuse(self, *args, **kwargs):
        tries.append(args)
        raise MlflowException("no", error_code=INVALID_PARAMETER_VALUE)

    monkeypatch.setattr(MlflowClient, "create_model_version", refuse)
    with pytest.raises(MlflowException):
        steps.registered()
    assert len(tries) == 1


def test_the_decision_is_in_the_studys_run(tiny):
    run = client.client().get_run(tiny.runs.parent)
    assert run.data.tags["assay.decision"].startswith("promoted: the first version")
    assert run.info.status == "FINISHED"
