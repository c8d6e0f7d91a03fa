"""`--retrain` on the command line, and through the whole graph."""

import pytest
from command import TINY, assay, cells, events

from components.errors import UsageError
from pipeline.cli.options import StudyOptions
from pipeline.study_file import read_study


@pytest.mark.slow
def test_the_first_night_is_the_study_and_the_second_its_winners_recipe(tmp_path):
    first = assay("run", *TINY, "--retrain", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "No version is the champion yet, so the whole study is run." in first.stderr
    assert "iris version 1 is the champion now" in first.stdout
    assert len(cells(tmp_path)) == 10  # two arms with the five seeds of the study: --seeds is the retraining's

    second = assay("run", *TINY, "--retrain", "--study-if-drift", "--fan-out", "3", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    said = second.stderr.splitlines()
    assert "No row is new since version 1." in said
    assert any(line.startswith("The recipe of version 1 (") for line in said)
    assert any(line.startswith("2/2 cells: reference ") for line in said)
    assert second.stdout.lstrip().startswith("Retraining:\n- No row is new since version 1.\n")
    assert "What each technique does" not in second.stdout
    assert "The champion's recipe has a validation accuracy of 0." in second.stdout
    trained = [(cell["arm"], cell["seed"]) for cell in cells(tmp_path)[10:]]
    assert sorted(trained) == [("reference", 0), ("reference", 1)]
    labels = {event["label"] for event in events(tmp_path) if event["step"] == "train"}
    assert labels == {"1/2", "2/2", "1/3", "2/3", "3/3"}  # the third task of the second night had nothing to do


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--study-if-drift"], "--study-if-drift is for a retraining; add --retrain"),
        (["--retrain", "--budget", "1m"], "--retrain and --budget exclude each other"),
        (["--seeds", "3", "--until-decided"], "--seeds and --until-decided exclude each other"),
    ],
)
def test_options_that_contradict_are_refused(tmp_path, options, said):
    done = assay("run", "iris", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_seeds_are_the_retrainings_and_the_studys_stay():
    study = read_study("iris", [], 2, retrain=True, study_if_drift=True)
    assert (study.retrain.enabled, study.retrain.seeds, study.retrain.study_if_drift) == (True, 2, True)
    assert study.seeds == read_study("iris", [], None).seeds
    with pytest.raises(UsageError, match="--seeds 0"):
        read_study("iris", [], 0, retrain=True)


def test_what_a_crontab_runs_says_the_same():
    asked = StudyOptions(study="iris", overrides=["metric=loss"], seeds=2, retrain=True, study_if_drift=True)
    assert asked.arguments() == ["iris", "--set", "metric=loss", "--seeds", "2", "--retrain", "--study-if-drift"]
    assert asked.read().retrain.study_if_drift
