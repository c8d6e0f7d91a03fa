from dataclasses import replace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from components import tracking
from components.data import Data
from components.evaluate import median_seed
from components.metrics import scores
from components.register import CHAMPION
from components.serve import raw_rows
from components.sources import read
from components.store import CellResult


def versions(name: str) -> list[Any]:
    found = tracking.client().search_model_versions(f"name = '{name}'")
    return sorted(found, key=lambda version: int(version.version))


def champion(name: str) -> Any:
    return tracking.client().get_model_version_by_alias(name, CHAMPION)


# Arms and recipes that the shared store has already, so that nothing is trained: only names differ.
GOOD: dict[str, Any] = {"arms": {}, "recipe": {"train": {"early_stopping": False}}}
POOR: dict[str, Any] = {"arms": {}, "recipe": {"model": {"units": [3]}}}

pytestmark = pytest.mark.usefixtures("tiny", "in_workplace")


def test_the_first_winner_is_promoted(tiny):
    assert tiny.decision["decision"] == "promoted"
    assert tiny.decision["model"] == "tiny 1.0"
    assert str(champion("tiny 1.0").version) == str(tiny.decision["version"]) == "1"
    assert "first version" in tiny.decision["reason"]


def test_the_version_says_where_it_comes_from(tiny):
    version = champion("tiny 1.0")
    assert version.run_id == tiny.runs["parent"]
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
    assert worse.decision["decision"] == "kept"
    assert "champion version 1 has" in worse.decision["reason"]
    assert [str(version.version) for version in versions("gate")] == ["1", "2"]
    assert str(champion("gate").version) == "1"


def test_a_better_winner_is_promoted(run_steps):
    run_steps("rise", **POOR).all()
    better = run_steps("rise", **GOOD).all()
    assert better.decision["decision"] == "promoted"
    assert str(champion("rise").version) == better.decision["version"] == "2"


def test_the_champion_itself_is_kept_without_a_new_version(run_steps):
    run_steps("again", **GOOD).all()
    again = run_steps("again", **GOOD).all()
    assert again.decision["decision"] == "kept"
    assert "is the champion already" in again.decision["reason"]
    assert str(again.decision["version"]) == "1"
    assert len(versions("again")) == 1


def test_an_equally_good_winner_is_promoted(run_steps):
    """The champion's recorded score is set to the newcomer's own."""
    run_steps("equal", **POOR).all()
    second = run_steps("equal", **GOOD).until_trained()
    seed = median_seed([second.cell(f"0-{seed}").result["validation"]["accuracy"] for seed in (0, 1)])
    y = np.array(second.prepared.y[second.prepared.test_rows])
    score = scores(second.cell(f"0-{seed}").probabilities("test"), y)["accuracy"]
    tracking.client().set_model_version_tag("equal", "1", "assay.test_score.accuracy", repr(score))
    decision = second.judged().decision
    assert decision["decision"] == "promoted"
    assert f"accuracy {score:.4f} on 359 test rows, champion version 1 has {score:.4f}" in decision["reason"]


def test_a_champion_of_other_data_is_scored_anew_on_the_present_rows(run_steps):
    first = run_steps("moved", **GOOD).all()
    second = run_steps("moved", **POOR, data={"test": 0.3}).all()
    rows = second.prepared.test_rows
    model = mlflow.pyfunc.load_model("models:/moved/1")
    found = model.predict(np.array(second.prepared.x[rows])).to_numpy().argmax(axis=1)
    anew = np.mean(found == second.prepared.y[rows])
    recorded = float(champion("moved").tags["assay.test_score.accuracy"])
    assert second.decision["decision"] == "kept"
    assert f"champion version 1 has {anew:.4f} on the same rows" in second.decision["reason"]
    assert f"on {len(rows)} test rows" in second.decision["reason"]
    assert anew != recorded
    assert first.decision["decision"] == "promoted"


def test_a_champion_for_rows_of_another_shape_stays_and_says_why(run_steps):
    run_steps("reshaped", **GOOD).all()
    other = run_steps("reshaped", **TABLE).all()
    assert other.decision["decision"] == "kept"
    assert "version 1 stays: " in other.decision["reason"]
    assert "give the study another name" in other.decision["reason"]


TABLE: dict[str, Any] = {
    "data": {"source": "sklearn:iris"},
    "arms": {},
    "seeds": 1,
    "recipe": {"train": {"epochs": 1}},
}


def test_a_champion_for_other_classes_is_not_compared_by_class_numbers(run_steps, monkeypatch, tmp_path):
    """Class 0 of the one is not class 0 of the other; whoever renames or reorders classes has another problem."""
    run_steps("renamed", **TABLE).all()
    iris = read(Data(source="sklearn:iris"), tmp_path)
    others = replace(iris, y=2 - iris.y, classes=("a", "b", "c"))
    monkeypatch.setattr("components.load.read", lambda data, folder: others)
    decision = run_steps("renamed", **TABLE).all().decision
    assert decision["decision"] == "kept"
    assert "version 1 stays" in decision["reason"]
    assert "classes" in decision["reason"]


def test_a_table_is_served_from_a_data_frame(run_steps):
    steps = run_steps("flowers", **TABLE).all()
    model = mlflow.pyfunc.load_model("models:/flowers@champion")
    frame = raw_rows(steps.prepared, steps.prepared.test_rows)
    found = model.predict(frame)
    assert list(found.columns) == ["setosa", "versicolor", "virginica"]
    evaluated = CellResult(steps.folder / "verdict" / "winner").probabilities("test")
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
    evaluated = CellResult(steps.folder / "verdict" / "winner").probabilities("test")
    for given in (tested, tested["review"], tested["review"].tolist(), tested["review"].to_numpy(object)):
        np.testing.assert_allclose(model.predict(given), evaluated, atol=1e-5)
    with pytest.raises(mlflow.exceptions.MlflowException, match="the first column is 'id'; expected 'review'"):
        model.predict(tested[["id", "review"]])


def test_the_decision_is_in_the_studys_run(tiny):
    run = tracking.client().get_run(tiny.runs["parent"])
    assert run.data.tags["assay.decision"].startswith("promoted: the first version")
    assert run.info.status == "FINISHED"
