"""Shared by the tests of `components`: studies, prepared data, and one small study that ran through every step."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import study_of

from components.data.preparation import prepare
from components.data.prepared import Prepared
from components.evaluation.verdict import Verdict
from components.records import from_json
from components.registry.decision import Decision
from components.runtime.cells import FinishedCell
from components.study.recipe import Train, merge
from components.study.study import Study
from components.tracking.runs import StudyRuns


@pytest.fixture(autouse=True, scope="session")
def _backend_as_in_a_train_step() -> None:
    """Set what the train step sets, before anything starts the backend; nothing where no test has imported it."""
    if "tensorflow" in sys.modules:
        from components.runtime import devices

        devices.set_up(Train.model_validate({"backend": os.environ.get("KERAS_BACKEND", "tensorflow")}), threads=1)


@pytest.fixture(scope="session")
def make_study() -> Callable[..., Study]:
    return study_of


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """All of scikit-learn's digits, prepared for three seeds."""
    return prepare(study_of(seeds=3, arms={}), tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Iris, prepared for three seeds."""
    return prepare(study_of("sklearn:iris", seeds=3, arms={}), tmp_path_factory.mktemp("iris"))


@dataclass
class Steps:
    """Runs a study's steps one after another, as the pipeline does, in this process.

    Attributes:
        study: what is run.
        folder: where the steps write.
        store: folder of the finished cells.
        run: the run's name.
        task: called with the name of each step; what it returns is entered around the step.
    """

    study: Study
    folder: Path
    store: Path
    run: str
    events: list[dict[str, Any]] = field(default_factory=list)
    task: Callable[[str], contextlib.AbstractContextManager] = contextlib.nullcontext

    @property
    def prepared(self) -> Prepared:
        return Prepared(self.folder / "data")

    @property
    def runs(self) -> StudyRuns:
        return from_json(StudyRuns, (self.folder / "runs.json").read_bytes(), "runs.json")

    @property
    def verdict(self) -> dict[str, Any]:
        return json.loads((self.folder / "verdict" / "report" / "verdict.json").read_text())

    @property
    def judgement(self) -> Verdict:
        file = self.folder / "verdict" / "report" / "verdict.json"
        return from_json(Verdict, file.read_text(), str(file))

    @property
    def decision(self) -> Decision:
        return from_json(Decision, (self.folder / "decision" / "decision.json").read_bytes(), "decision.json")

    @property
    def finished(self) -> list[dict[str, Any]]:
        """The events of the finished cells."""
        return [event for event in self.events if event["event"] == "cell_finished"]

    def cell(self, cell_id: str) -> FinishedCell:
        return FinishedCell(self.folder / "cells" / cell_id)

    def all(self) -> "Steps":
        """Run all steps."""
        self.until_trained()
        return self.judged()

    def until_trained(self) -> "Steps":
        """Run load, scale and train, all cells in one batch."""
        from components.steps.load import load
        from components.steps.scale import scale
        from components.steps.train import train

        self.folder.mkdir(parents=True, exist_ok=True)
        with self._watched("load"):
            load(self._json, self.run, str(self.store), self._path("data"), self._path("runs.json"))
        with self._watched("scale"):
            scale(self._path("data"), self._path("scalers.json"))
        with self._watched("train"):
            train(
                "1/1",
                1,
                str(self.store),
                self._path("data"),
                self._path("scalers.json"),
                self._path("runs.json"),
                self._path("cells"),
            )
        return self

    def judged(self) -> "Steps":
        """Run evaluate and register."""
        return self.evaluated().registered()

    def evaluated(self) -> "Steps":
        """Run evaluate."""
        from components.steps.evaluate import evaluate

        with self._watched("evaluate"):
            evaluate(
                str(self.store),
                self._path("data"),
                self._path("runs.json"),
                [self._path("cells")],
                self._path("verdict"),
            )
        return self

    def registered(self, **options: Any) -> "Steps":
        """Run register, again if it has run."""
        from components.steps.register import register

        data, runs, verdict = self._path("data"), self._path("runs.json"), self._path("verdict")
        with self._watched("register"):
            register(data, runs, verdict, self._path("decision"), **options)
        return self

    @property
    def _json(self) -> str:
        return self.study.model_dump_json()

    def _path(self, name: str) -> str:
        return str(self.folder / name)

    @contextlib.contextmanager
    def _watched(self, step: str) -> Iterator[None]:
        """Collect the events, as the command does."""
        file = self.folder / "events.jsonl"
        with self.task(step), pytest.MonkeyPatch.context() as patch:
            patch.setenv("ASSAY_EVENTS", str(file))
            yield
        self.events = [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with an MLflow store of its own, an empty database made once."""
    return tmp_path_factory.mktemp("workplace")


@pytest.fixture
def in_workplace(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in that folder: MLflow's default store is its mlflow.db."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow itself sets it in this process
    monkeypatch.chdir(workplace)
    return workplace


# Cells that train in about a second. `same` is the null: nothing in it differs from the reference, which stops early.
RECIPE = {
    "augment": "none",
    "model": {"name": "mlp", "units": [16], "dropout": 0.1},
    "train": {"epochs": 5, "early_stopping": {"patience": 1, "min_delta": 0.3}},
}
ARMS = {"same": {}, "narrow": {"model.units": [3]}, "long": {"train.early_stopping": False}}


@pytest.fixture(scope="session")
def steps_in_store(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Steps]:
    """Return steps of a small study on digits; all of them share one store of finished cells, empty at first."""
    store = tmp_path_factory.mktemp("store")

    def steps(name: str, run: str | None = None, **changes: Any) -> Steps:
        arms = changes.pop("arms", ARMS)
        study = study_of(**merge({"study": name, "recipe": RECIPE, "seeds": 2}, changes), arms=arms)
        return Steps(study, tmp_path_factory.mktemp("run"), store, run or f"{name}-{np.random.bytes(4).hex()}")

    return steps


@pytest.fixture(scope="session")
def tiny(workplace: Path, steps_in_store: Callable[..., Steps]) -> Steps:
    """A small study that ran through every step, the first in its store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(workplace)
        return steps_in_store("tiny 1.0").all()


@pytest.fixture(scope="session")
def run_steps(tiny: Steps, steps_in_store: Callable[..., Steps]) -> Callable[..., Steps]:
    """Return steps of a small study on digits; they find the cells of `tiny`, which runs first whatever test asks."""
    return steps_in_store


@pytest.fixture
def opened(make_study, digits, tiny, in_workplace, request) -> tuple[Study, StudyRuns]:
    """A study with one arm, just opened, and its runs."""
    from components.tracking.runs import open_runs

    study = make_study(study=request.node.name[:40], arms={"tanh": {"scale": "tanh"}}, seeds=1)
    return study, open_runs(study, request.node.name, digits.schema)
