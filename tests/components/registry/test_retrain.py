"""What a retraining trains, and what it says: on rows of scikit-learn's wine, through all steps and a real registry."""

import json
from dataclasses import replace

import pytest
from made_up import effect_of, verdict_of
from sklearn import datasets
from small import study_of

from components.data.retraining import Retraining, read
from components.registry.model_registry import Registry
from components.reporting.phrases import changes, retraining_lines, sentence
from components.study.study import Gate, Retrain, Study
from pipeline.study_file import read_study, ready_studies

pytestmark = pytest.mark.usefixtures("in_workplace")

ROWS = 110  # of 178 that are there at first; the others come later
RECIPE = {"model": {"name": "mlp", "units": [8]}, "train": {"epochs": 4, "early_stopping": False}}
SMALL = {"recipe": {"model": {"units": [5]}}, "arms": {"narrow": {"model.units": [3]}}, "seeds": 1}  # of digits
ARMS = {"no scaling": {"scale": "none"}, "dropout": {"model.dropout": 0.3}}


@pytest.fixture(scope="module")
def wine():
    frame = datasets.load_wine(as_frame=True).frame.sample(frac=1, random_state=0, ignore_index=True)
    return frame[["alcohol", "color_intensity", "proline", "hue", "target"]]


@pytest.fixture(scope="module")
def first(run_steps, workplace, wine, tmp_path_factory):
    """The whole study on the first rows, which made the champion."""
    file = tmp_path_factory.mktemp("wine") / "wine.csv"
    wine[:ROWS].to_csv(file, index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace)
        steps = run_steps(
            "wine nightly", data={"source": f"table:{file}", "target": "target"}, recipe=RECIPE, arms=ARMS
        )
        return steps.all()


@pytest.fixture
def again(first, run_steps, wine):
    """Returns a retraining on other rows."""

    def steps(rows, **settings):
        _, _, file = first.study.data.source.partition(":")
        rows.to_csv(file, index=False)
        made = run_steps(first.study.study)
        settings = {"enabled": True, "seeds": 2, **settings}
        return replace(made, study=Study.model_validate({**first.study.model_dump(), "retrain": settings}))

    yield steps
    _, _, file = first.study.data.source.partition(":")
    wine[:ROWS].to_csv(file, index=False)


def shifted(wine):
    """All rows; the new ones have twice the proline."""
    rows = wine.copy()
    rows.loc[ROWS:, "proline"] *= 2
    return rows


def test_the_champions_recipe_alone_is_trained_on_the_rows_of_today(first, again, wine):
    arm = first.verdict["winner"]["arm"]
    steps = again(wine).all()
    (reference,) = steps.prepared.study.expand()
    assert reference.recipe == next(one.recipe for one in first.study.expand() if one.name == arm)
    assert {(event["arm"], event["seed"]) for event in steps.finished} == {("reference", 0), ("reference", 1)}
    assert steps.prepared.schema.rows == len(wine)
    assert steps.prepared.study.retrain == Retrain()  # the study.yaml of its report trains the same again
    found = retraining_of(steps)
    assert found.drift is not None
    assert (found.trained, found.champion, found.arm) == ("recipe", first.decision.champion, arm)
    assert (found.drift.new, found.drift.drifted) == (len(wine) - ROWS, False)
    assert changes(steps.judgement) == []
    assert retraining_lines(found)[0].startswith(f"{len(wine) - ROWS} of {len(wine)} rows are new since version 1")
    assert sentence(steps.judgement).startswith("The champion's recipe has a validation accuracy of ")
    assert steps.decision.before == first.decision.champion
    assert steps.decision.decision in ("undecided", "kept", "promoted")
    assert said(steps) == retraining_lines(found)
    (told,) = [event["study"] for event in steps.events if event["event"] == "study"]
    assert Study.model_validate_json(told) == steps.prepared.study


def test_mlflow_has_what_was_retrained_and_how_far_the_data_moved(again, wine):
    from components.tracking.client import client

    steps = again(shifted(wine)).all()
    run = client().get_run(steps.runs.parent)
    assert run.data.tags["assay.retrain"] == "recipe"
    assert "column proline (median " in run.data.tags["assay.retrain_reason"]
    assert run.data.metrics["drift/new_rows"] == len(wine) - ROWS
    assert run.data.metrics["drift/psi"] > 0.2
    assert {file.path for file in client().list_artifacts(run.info.run_id, "data")} >= {"data/retrain.json"}
    assert "have drifted: column proline" in run.data.tags["mlflow.note.content"]
    page = (steps.folder / "verdict" / "report" / "report.html").read_text()
    assert "How the new rows differ" in page
    assert "have drifted: column proline" in page


def test_drift_brings_the_whole_study_back_and_what_changed_is_said(first, again, wine):
    steps = again(shifted(wine), study_if_drift=True).all()
    assert {event["arm"] for event in steps.finished} == {"reference", *ARMS}
    assert steps.prepared.study.seeds == first.study.seeds
    found = retraining_of(steps)
    assert found.drift is not None
    assert (found.trained, found.drift.drifted) == ("study", True)
    assert retraining_lines(found)[-1] == "So the whole study is run."
    assert found.techniques == {effect.technique: effect.verdict for effect in first.judgement.effects}
    assert found.since is not None
    assert steps.prepared.study == first.study


def retraining_of(steps):
    """What the verdict says of the retraining."""
    assert steps.judgement.retrain is not None
    return steps.judgement.retrain


def said(steps):
    return [event["message"] for event in steps.events if event["event"] == "said"]


def continued(steps, tmp_path):
    """The same command once more, after the run was killed."""
    return replace(steps, folder=tmp_path / "continued", events=[])


@pytest.fixture
def champion_stays(first):
    """What a test promotes is not the champion of the next one."""
    yield
    Registry(first.study.study).api.set_registered_model_alias(first.study.study, "champion", first.decision.champion)


@pytest.mark.usefixtures("champion_stays")
def test_killed_after_it_has_promoted_it_goes_on_as_what_it_was(first, again, wine, tmp_path):
    """The champion is then of this very run: for it nothing is new, and its recipe is not the champion's of before."""
    made = again(shifted(wine), study_if_drift=True)
    made = replace(made, study=made.study.model_copy(update={"gate": Gate(margin=-1.0, slice_margin=1.0)})).all()
    assert made.decision.decision == "promoted"
    versions = Registry(first.study.study).versions()
    later = continued(made, tmp_path).all()
    assert retraining_of(later) == retraining_of(made)
    assert later.decision == made.decision
    assert later.runs == made.runs
    assert Registry(first.study.study).versions() == versions
    assert all(event["reused"] for event in later.finished)
    assert said(later) == retraining_lines(retraining_of(later))


def test_what_another_assay_has_resolved_is_resolved_again(again, wine, tmp_path, caplog):
    from components.tracking.client import client

    made = again(wine[:140]).until_trained()
    client().log_dict(made.runs.parent, {"of_another_assay": 1}, "study.json")
    later = continued(made, tmp_path).until_trained()
    assert "what an earlier try has found is looked for again: of_another_assay: " in caplog.text
    assert said(later) == said(made)


@pytest.mark.parametrize("retrained", [True, False])
def test_an_unfinished_run_goes_on_with_the_rows_of_today(first, again, wine, tmp_path, retrained):
    """It failed last night, and rows have come since: params in MLflow never change, so it gets runs of its own."""
    made = again(wine[:150], enabled=retrained).until_trained()
    wine.to_csv(made.study.data.source.partition(":")[2], index=False)
    later = continued(made, tmp_path).all()
    assert later.prepared.schema.rows == len(wine)
    assert later.runs.parent != made.runs.parent
    assert later.verdict["mlflow"]["run_id"] == later.runs.parent
    from components.tracking.client import client

    left = client().get_run(made.runs.parent)
    assert left.info.status == "FAILED"
    if retrained:
        drift = retraining_of(later).drift
        assert drift is not None
        assert drift.rows == len(wine)


def test_a_whole_study_comes_back_once_though_the_champion_stays(first, again, wine):
    """Else every night would cost a whole study from then on."""
    rows = shifted(wine).assign(hue=wine["hue"] + 1)
    study = again(rows, study_if_drift=True).all()
    assert retraining_of(study).trained == "study"
    assert study.decision.champion == first.decision.champion, "promoted: this test would mean nothing"
    night = again(rows, study_if_drift=True).until_trained()
    assert {event["arm"] for event in night.finished} == {"reference"}
    found = read(night.prepared.folder / "report")
    assert found is not None
    assert found.drift is not None
    assert found.drift.drifted
    assert retraining_lines(found)[1].startswith("A whole study was run on such rows on 20")


def test_without_drift_the_whole_study_does_not_come_back(again, wine):
    steps = again(wine, study_if_drift=True)
    steps.until_trained()
    assert {event["arm"] for event in steps.finished} == {"reference"}


def test_the_same_rows_again_give_the_champion_again(first, again, wine):
    """Same recipe, rows and seeds: nothing new is registered."""
    steps = again(wine[:ROWS], seeds=first.study.seeds).all()
    assert retraining_lines(retraining_of(steps))[0] == "No row is new since version 1."
    assert steps.decision.reason.startswith("the winner is the champion already")
    assert all(event["reused"] for event in steps.finished)


def test_before_there_is_a_champion_the_whole_study_is_run(run_steps):
    steps = run_steps("nothing yet", retrain={"enabled": True}, **SMALL)
    steps.until_trained()
    assert {event["arm"] for event in steps.finished} == {"reference", "narrow"}
    found = read(steps.prepared.folder / "report")
    assert found is not None
    assert (found.trained, found.champion) == ("study", None)
    assert retraining_lines(found) == ["No version is the champion yet, so the whole study is run."]


def test_where_the_champions_run_is_gone_the_whole_study_is_run(run_steps):
    from components.tracking.client import client

    made = run_steps("run is gone", **SMALL).all()
    champion = client().get_model_version_by_alias("run is gone", "champion")
    client().delete_run(made.runs.parent)
    for artifact in ("study.json", "gate"):
        run = client().get_run(str(champion.run_id))
        path = str(run.info.artifact_uri).removeprefix("file://") + f"/{artifact}"
        _remove(path)
    steps = run_steps("run is gone", retrain={"enabled": True}, **SMALL)
    steps.until_trained()
    assert {event["arm"] for event in steps.finished} == {"reference", "narrow"}
    found = read(steps.prepared.folder / "report")
    assert found is not None
    assert (
        retraining_lines(found)[0]
        == "How far the data has drifted is not known: nothing was kept of that of version 1."
    )
    assert retraining_lines(found)[1].startswith("The run of version 1 (")


def _remove(path):
    import shutil
    from pathlib import Path

    shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()


def test_a_technique_that_no_longer_helps_and_one_that_does_now_are_told():
    before = {"dropout": "helped", "L2": "unknown", "scaling": "hurt", "gone": "helped", "rotate": "helped"}
    now = {"dropout": "unknown", "L2": "helped", "scaling": "unknown", "rotate": "helped", "new": "helped"}
    made = verdict_of(
        *(effect_of(technique, verdict=verdict) for technique, verdict in now.items()),
        retrain=Retraining("drift", "1", "reference", techniques=before, since="2026-01-01"),
    )
    assert changes(made) == [
        "dropout: helped in the last study, now unknown",
        "L2: unknown in the last study, now helped",
    ]


def test_a_study_without_arms_is_not_taken_for_the_champions_recipe():
    recipe = Retraining("recipe", "1", "reference")
    assert sentence(verdict_of(retrain=recipe)).startswith("The champion's recipe has ")
    for retrained in (replace(recipe, why="drift"), None):
        assert sentence(verdict_of(retrain=retrained)).startswith("The reference, compared with nothing, has ")


def test_the_recipe_alone_keeps_the_data_the_gate_and_the_name():
    study = study_of(seeds=7, pairs=True, gate={"margin": -0.01}, arms={"a": {"scale": "tanh"}})
    alone = study.of_recipe(study.expand()[1].recipe, 3)
    assert [arm.name for arm in alone.expand()] == ["reference"]
    assert (alone.recipe.scale, alone.seeds, alone.gate.margin) == ("tanh", 3, -0.01)
    assert (alone.study, alone.data) == (study.study, study.data)
    assert [cell.seed for cell in alone.cells()] == [0, 1, 2]
    assert json.loads(alone.model_dump_json())["pairs"] is False


def test_a_recipe_that_this_data_can_not_have_brings_the_whole_study(first, again, wine, tmp_path):
    """The champion is of images, the data is a table now, and the study has kept its name."""
    from components.tracking.client import client

    steps = again(wine)
    images = study_of(study=first.study.study, seeds=1, arms={arm: {} for arm in ARMS})
    champion = client().get_model_version_by_alias(first.study.study, "champion")
    kept = first.study.model_dump(mode="json")
    try:
        client().log_dict(str(champion.run_id), images.model_dump(mode="json"), "study.json")
        steps.until_trained()
        found = read(steps.prepared.folder / "report")
        assert found is not None
        assert found.trained == "study"
        assert retraining_lines(found)[-1].startswith(f"The recipe of version {champion.version} (")
        assert retraining_lines(found)[-1].endswith("), so the whole study is run.")
        assert "can't be trained here (recipe.model.name: cnn" in retraining_lines(found)[-1]
        client().log_dict(str(champion.run_id), {**kept, "of_another_assay": 1}, "study.json")
        other = replace(steps, folder=tmp_path / "other", run="other").until_trained()
        found = read(other.prepared.folder / "report")
        assert found is not None
        assert "can't be trained here (of_another_assay: " in retraining_lines(found)[-1]
    finally:
        client().log_dict(str(champion.run_id), kept, "study.json")


@pytest.mark.parametrize("name", sorted(ready_studies()))
def test_the_recipe_of_each_arm_of_the_ready_studies_is_kept_as_it_is(name):
    study = read_study(name, [], None)
    for arm in study.expand():
        assert study.of_recipe(arm.recipe, 3).recipe == arm.recipe
