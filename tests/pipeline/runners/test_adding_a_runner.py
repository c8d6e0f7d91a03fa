"""A runner is three methods and a row of the table: one that is added here runs a study through the door."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from components.errors import UsageError
from components.runtime.events import STEPS, Event
from components.steps.evaluate import evaluate
from components.steps.load import load
from components.steps.register import register
from components.steps.scale import scale
from components.steps.train import train
from components.study.study import Study
from pipeline import run
from pipeline.runners.graph_process import keep_results
from pipeline.runners.run_folder import OpenRun
from pipeline.runners.runner import RUNNERS, Runner

TINY = {"recipe.train.epochs": 3, "arms": {"plain": {"model.batch_norm": False}}}


class InThisProcess:
    """Calls the steps one after the other."""

    def __init__(self, open_run: OpenRun):
        self.run = open_run
        self.stopped = False
        self._steps: list[Callable[[], None]] = []

    def start(self, study: Study) -> None:
        told = self.run.read()["arguments"]
        at = {name: str(self.run.folder / "outputs" / name) for name in ("data", "runs", "scalers", *STEPS)}
        (self.run.folder / "outputs").mkdir()
        batches = [f"{at['train']}-{number}" for number in range(len(told["batches"]))]
        between = told["fan_out"], told["store"], at["data"], at["scalers"], at["runs"]
        self._steps = [
            lambda: load(told["study"], told["run"], told["store"], at["data"], at["runs"]),
            lambda: scale(at["data"], at["scalers"]),
            *(partial(train, label, *between, cells) for label, cells in zip(told["batches"], batches, strict=True)),
            lambda: evaluate(told["store"], at["data"], at["runs"], batches, at["evaluate"]),
            lambda: register(at["data"], at["runs"], at["evaluate"], at["register"]),
            lambda: keep_results(self.run, at["evaluate"], at["register"]),
        ]

    def events(self) -> Iterator[list[Event]]:
        for step in self._steps:
            step()
            yield self.run.new_events()

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[InThisProcess]:
    """The runners that were made, in a working folder of their own."""
    made: list[InThisProcess] = []

    def make(open_run: OpenRun) -> Runner:
        for name in ("ASSAY_EVENTS", "MLFLOW_TRACKING_URI"):
            monkeypatch.setitem(os.environ, name, open_run.environment[name])
        made.append(InThisProcess(open_run))
        return made[-1]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(RUNNERS, "here", lambda options: make)
    return made


@pytest.mark.slow
def test_a_runner_that_is_added_runs_a_study_through_the_door(here, tmp_path, capsys):
    result = run("sklearn:iris", TINY, seeds=2, fan_out=1, on="here")
    assert [runner.stopped for runner in here] == [True]
    assert list(result.table["technique"]) == ["batch normalization"]
    assert result.decision is not None
    assert result.decision.decision == "promoted"
    assert result.folder is not None
    assert result.folder.parent == tmp_path / ".assay" / "runs"
    assert result.finished is not None
    assert [e["step"] for e in result.finished.events if e["event"] == "step_finished"] == list(STEPS)
    assert "4/4 cells" in capsys.readouterr().err


def test_a_runner_that_nobody_has_added_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no runner is called 'moon'; expected one of local, docker"):
        run("sklearn:iris", on="moon")
    assert list(tmp_path.iterdir()) == []
