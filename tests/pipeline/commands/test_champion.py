"""The registry by hand: look, promote, roll back, and what is said where that can't be."""

import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from command import assay
from mlflow import MlflowClient
from rich.console import Console

from components.errors import AssayError, UsageError
from components.registry.model_registry import ROLLED_BACK_TAG, Registry
from pipeline.commands import champion
from pipeline.commands.champion import promote, rollback, show_champion


@pytest.fixture
def three(finished, tmp_path, monkeypatch) -> Registry:
    """The registry of a run's model, and two more versions: 1 is the champion, and 3 the challenger."""
    folder, done = finished
    assert done.returncode == 0, done.stderr
    shutil.copy(folder / "mlflow.db", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    of = Registry("iris")
    first = of.api.get_model_version_by_alias("iris", "champion")
    for _ in range(2):
        of.api.create_model_version("iris", str(first.source), first.run_id)
    of.api.set_registered_model_alias("iris", "challenger", "3")
    return of


def aliases(of: Registry) -> dict[str, str]:
    found = {alias: of.at(alias) for alias in ("champion", "challenger", "previous")}
    return {alias: str(version.version) for alias, version in found.items() if version}


def told(of: Registry) -> list[tuple[str, str, str]]:
    return [
        (run.info.status, run.data.tags["assay.decision"], run.data.tags["assay.reason"]) for run in of.decisions(10)
    ]


def printed(name: str) -> str:
    stream = StringIO()
    show_champion(Console(file=stream, width=80, highlight=False), name)
    return stream.getvalue()


def test_the_challenger_is_promoted_by_hand_with_the_reason(three):
    assert promote("iris", None, "it is faster") == "iris version 3 is the champion now; version 1 was it before"
    assert aliases(three) == {"champion": "3", "previous": "1"}
    newest, *_, first = told(three)  # another test may have repeated the run
    assert newest == ("FINISHED", "promoted", "by hand: it is faster")
    assert first[2].startswith("the first version")


def test_any_version_is_promoted_by_its_number_and_the_challenger_stays(three):
    promote("iris", "2", None)
    assert aliases(three) == {"champion": "2", "challenger": "3", "previous": "1"}


def test_a_rollback_swaps_the_champion_and_the_one_before_and_marks_what_was_taken_back(three):
    promote("iris", "3", None)
    said = rollback("iris", "it was wrong about roses")
    assert said == "iris version 1 is the champion again; version 3 is `previous` now"
    assert aliases(three) == {"champion": "1", "previous": "3"}
    assert told(three)[0] == ("FINISHED", "rolled back", "by hand: it was wrong about roses")
    assert three.version("3").tags[ROLLED_BACK_TAG].endswith("by hand: it was wrong about roses")
    rollback("iris", None)
    assert aliases(three) == {"champion": "3", "previous": "1"}
    assert ROLLED_BACK_TAG not in three.version("3").tags
    assert ROLLED_BACK_TAG in three.version("1").tags


def test_the_champion_is_shown_with_its_origin_scores_and_history(three):
    promote("iris", None, "it is faster")
    rollback("iris", "it was not")
    text = printed("iris")
    assert text.startswith("iris version 1 is the champion since 20")
    assert ", rolled back by " in text.splitlines()[0]
    champion = three.find_champion()
    for part in (
        f"trained    {champion.tags['assay.arm']}, seed {champion.tags['assay.seed']}; run {champion.run_id}",
        f"data       sklearn:iris, 150 rows, fingerprint {champion.tags['assay.data'][:12]}",
        f"its test   accuracy {float(champion.tags['assay.test_score.accuracy']):.4f}, brier 0.",
        "aliases    champion is version 1, previous is version 3",
        "models:/iris@champion",
        "rolled back  version 1: by hand: it was not",
        "promoted     version 3: by hand: it is faster",
        "promoted     version 1: the first version: accuracy",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("act", "error", "parts"),
    [
        (lambda: promote("irs", None, None), UsageError, ["no registered model 'irs'", "did you mean 'iris'?"]),
        (lambda: show_champion(Console(), "zebra"), UsageError, ["no registered model 'zebra'", "there are: iris"]),
        (lambda: promote("iris", "7", None), UsageError, ["no version '7'", "1, 2, 3", "assay promote iris VERSION"]),
        (lambda: promote("iris", "new", None), UsageError, ["no version 'new'"]),
        (lambda: promote("iris", "1", None), AssayError, ["version 1 of 'iris' is the champion already"]),
        (lambda: rollback("iris", None), AssayError, ["'iris' has no champion before the present one"]),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_changed(three, act: Callable[[], Any], error, parts):
    before = aliases(three), told(three)
    with pytest.raises(error) as refused:
        act()
    for part in parts:
        assert part in str(refused.value)
    assert (aliases(three), told(three)) == before


def test_without_a_challenger_or_a_champion_that_is_said(three):
    three.api.delete_registered_model_alias("iris", "challenger")
    with pytest.raises(UsageError, match="'iris' has no challenger"):
        promote("iris", None, None)
    three.api.delete_registered_model_alias("iris", "champion")
    with pytest.raises(AssayError, match="no version of 'iris' is the champion; its versions: 1, 2, 3"):
        printed("iris")
    with pytest.raises(AssayError, match="no champion before"):
        rollback("iris", None)


def test_a_registry_that_goes_away_is_said_with_what_is_the_champion(three, monkeypatch):
    from mlflow.exceptions import MlflowException

    def gone(*args, **kwargs):
        raise MlflowException("API request to http://gone failed with exception refused")

    monkeypatch.setattr(champion, "PATIENCE", 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", gone)
        with pytest.raises(
            AssayError, match="nothing was promoted: of 'iris' version 1 is still the champion; try again"
        ):
            promote("iris", None, None)
    assert aliases(three) == {"champion": "1", "challenger": "3"}


def test_the_commands_say_the_same(three, tmp_path: Path):
    done = assay("promote", "iris", "2", "--reason", "for the test", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "iris version 2 is the champion now; version 1 was it before\n"
    done = assay("rollback", "iris", cwd=tmp_path)
    assert (done.returncode, done.stdout[:37]) == (0, "iris version 1 is the champion again;")
    done = assay("champion", "iris", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, printed("iris"))
    wrong = assay("champion", "irs", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "did you mean 'iris'?" in wrong.stderr


@pytest.mark.parametrize("arguments", [["champion", "x"], ["promote", "x"], ["rollback", "x"]])
def test_where_nothing_has_run_nothing_is_made(arguments, tmp_path):
    done = assay(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no models here yet" in done.stderr
    assert list(tmp_path.iterdir()) == []
