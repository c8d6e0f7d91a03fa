"""Looks at a study whose verdicts are made up, and one by the command whose trainings are real."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from command import assay, events
from made_up import effect_of, verdict_of

from components.errors import UsageError
from components.steps.probe import Probe
from components.study.study import Study
from pipeline.commands.plan import OVERHEAD_SECONDS, Plan
from pipeline.commands.until_decided import until_decided

ARMS = {"a": {"model.units": [4]}, "b": {"model.batch_norm": False}, "half": {"data": 0.5}}
STUDY = Study.model_validate({"study": "planned", "data": {"source": "sklearn:iris"}, "arms": ARMS, "seeds": 3})


class Runs:
    """Judges each look as it is told: by arm the seeds from which it is decided, or the chance that it ever is."""

    def __init__(self, decided: dict[str, int | float], seconds: float = 10.0):
        self.decided, self.seconds = decided, seconds
        self.looks: list[Study] = []
        self.said: list[str] = []

    def __call__(self, look: Study) -> Any:
        self.looks.append(look)
        effects = [self._effect(arm, at, look) for arm, at in self.decided.items()]
        seconds = dict.fromkeys(("reference", *ARMS), self.seconds)
        verdict = verdict_of(*effects, seeds=look.seeds, planned=look.planned, seconds=seconds)
        took = OVERHEAD_SECONDS + self.seconds * sum(look.seeds_of(arm) for arm in seconds)
        return SimpleNamespace(verdict=verdict, begun=0.0, ended=took)

    @staticmethod
    def _effect(arm: str, at: float, look: Study):
        if at >= 1 and look.seeds_of(arm) >= at:
            return effect_of(arm, 0.1, "helped")
        return effect_of(arm, 0.1, "unknown", chance=0.5 if at >= 1 else at)

    def until_decided(self, most: int = 40, budget: tuple[Plan, float] | None = None) -> Any:
        return until_decided(STUDY, most, 1, self, self.said.append, budget)


def test_it_ends_when_all_is_decided():
    runs = Runs({"a": 5, "b": 3})
    assert runs.until_decided().verdict.seeds == 5
    assert [look.seeds for look in runs.looks] == [5]
    assert runs.looks[0].planned == 40
    assert runs.said == ["5 seeds of all arms, and up to 40 where they decide nothing"]


def test_arms_that_are_decided_are_trained_no_further_nor_is_the_learning_curve():
    runs = Runs({"a": 5, "b": 20})
    runs.until_decided()
    assert [(look.seeds, look.stopped) for look in runs.looks] == [
        (5, {}),
        (10, {"a": 5, "half": 5}),
        (20, {"a": 5, "half": 5}),
    ]
    assert runs.said[1] == ("5 more seeds of b, about 2 min 00 s; with 40 seeds 0 of the 1 should be decided")


def test_arms_that_can_hardly_be_decided_are_given_up():
    runs = Runs({"a": 5, "b": 0.01})
    assert runs.until_decided().verdict.seeds == 5


def test_it_ends_with_the_most_seeds():
    runs = Runs({"a": 100, "b": 100})
    runs.until_decided(most=12)
    assert [look.seeds for look in runs.looks] == [5, 10, 12]


def test_two_seeds_are_the_least():
    with pytest.raises(UsageError, match="expected 2 or more"):
        Runs({}).until_decided(most=1)


def plan(a_cell: float = 10.0) -> Plan:
    return Plan(STUDY, Probe(dict.fromkeys(("reference", *ARMS), a_cell), {}, 0), 1)


def test_a_budget_for_a_few_seeds_is_one_look():
    runs = Runs({"a": 100, "b": 100})
    runs.until_decided(budget=(plan(), 200.0))
    assert [(look.seeds, look.planned) for look in runs.looks] == [(4, 4)]


def test_the_last_look_that_a_budget_pays_for_spends_what_is_left(monkeypatch):
    """Of 500 s, 220 are over after five seeds of four arms; the next five of three take 170."""
    clock = iter([0.0, 220.0, 390.0])
    monkeypatch.setattr("pipeline.commands.until_decided.time.monotonic", lambda: next(clock))
    runs = Runs({"a": 100, "b": 100})
    runs.until_decided(budget=(plan(), 500.0))
    assert [(look.seeds, look.planned) for look in runs.looks] == [(5, 20), (12, 12)]


def test_without_time_for_another_look_the_last_one_is_judged_for_good(monkeypatch):
    clock = iter([0.0, 480.0])
    monkeypatch.setattr("pipeline.commands.until_decided.time.monotonic", lambda: next(clock))
    runs = Runs({"a": 100, "b": 100})
    assert not runs.until_decided(budget=(plan(), 500.0)).verdict.goes_on
    assert [(look.seeds, look.planned) for look in runs.looks] == [(5, 20), (5, 5)]


@pytest.mark.slow
def test_the_real_thing_looks_again_and_registers_once_at_the_end(tmp_path):
    arms = "arms={dropout: {model.dropout: 0.2}, low rate: {train.learning_rate: 0.00001}}"
    told = ("--until-decided", "--most-seeds", "10", "--set", "recipe.train.epochs=8", "--set", arms)
    done = assay("run", "sklearn:iris", *told, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "5 seeds of all arms, and up to 10 where they decide nothing\n" in done.stderr
    assert "5 more seeds of dropout, about " in done.stderr
    said = " ".join(done.stdout.split())
    assert "Trained no further, with the number of their seeds: low rate (5)." in said
    assert "looked at after the choice, and once before by other runs" in said
    assert said.count("is the champion now") == 1
    lines = (tmp_path / ".assay" / "store" / "looks.jsonl").read_text().splitlines()
    looks = {(look["question"], look["seeds"]): look["alpha"] for look in map(json.loads, lines)}
    assert sorted(seeds for _, seeds in looks) == [5, 5, 10]
    assert sum(looks.values()) == pytest.approx(0.05 + 0.05 * 0.5**1.5)
    cells = {(event["arm"], event["seed"]) for event in events(tmp_path) if event["event"] == "cell_finished"}
    expected = {(arm, seed) for arm in ("reference", "dropout") for seed in range(10)}
    assert cells == expected | {("low rate", seed) for seed in range(5)}
