"""Results that no training made, for tests of what reads them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from components.evaluation.looks import Look
from components.evaluation.verdict import ArmEffect, Reference, Verdict, Winner
from components.evaluation.verdict import TestScores as ScoresOfTest  # pytest takes what is called Test for tests
from components.records import to_json
from components.runtime.cells import RESULT, CellResult
from components.runtime.devices import Computed
from components.stats.paired_effects import Estimate
from components.study.recipe import Recipe

RESULT_OF_A_CELL = CellResult(
    recipe=Recipe(),
    seed=0,
    validation={"accuracy": 0.9, "loss": 0.3, "brier": 0.1, "macro_f1": 0.9, "ece": 0.02},
    recall=(0.9, 0.9),
    curves={"loss": (1.0, 0.5), "accuracy": (0.5, 0.8), "val_loss": (1.1, 0.6), "val_accuracy": (0.5, 0.7)},
    epochs=2,
    epoch=1,
    diverged=None,
    diagnostics={},
    findings=(),
    seconds=1.0,
    computed=Computed("tensorflow", "cpu", 1, "float32", jit=False),
)


def write_result(folder: Path, **changes: Any) -> CellResult:
    """Write the result of a cell into its folder, which is made where it is missing, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    result = replace(RESULT_OF_A_CELL, **changes)
    (folder / RESULT).write_text(to_json(result))
    return result


def effect_of(arm: str, effect: float = 0.01, verdict: Any = "unknown", **changes: Any) -> ArmEffect:
    """Return the effect of an arm, which lacks a technique where it is called `no ...`."""
    made = ArmEffect(
        effect=effect,
        low=effect - 0.01,
        high=effect + 0.01,
        differences=(effect,),
        shared=0.0,
        error=0.005,
        detectable=None,
        chance=None,
        verdict=verdict,
        arm=arm,
        technique=arm.removeprefix("no "),
        removes=arm.startswith("no "),
        arm_mean=0.9,
        cost=0.4,
        cost_low=None,
        cost_high=None,
        worth_in_data=None,
        failures=None,
        look=Look("7d3e", "3f1a", "digits-1", 5, 5, 0.05),
        others={"accuracy": Estimate(effect, effect - 0.01, effect + 0.01)},
        by_slice=(),
    )
    return replace(made, **changes)


def verdict_of(*effects: ArmEffect, **changes: Any) -> Verdict:
    """Return the verdict of a study with these effects, in which nothing else was found."""
    score = {"accuracy": 0.97, "macro_f1": 0.96, "loss": 0.07, "brier": 0.02}
    made = Verdict(
        study="digits",
        metric="accuracy",
        decided_by="brier",
        matters=0.01,
        seeds=5,
        train_rows=1150,
        validation_rows=288,
        reference=Reference(0.98, None, None, 1.0),
        seconds={"reference": 1.0, **{effect.arm: 1.0 for effect in effects}},
        effects=effects,
        slices=(),
        harms=(),
        interactions=(),
        planned=None,
        retrain=None,
        curve=None,
        winner=Winner("reference", 0.98, 0),
        cheaper=None,
        failures=None,
        test=ScoresOfTest(360, 0, score, score, {"reference": (0.97,), "winner": (0.97,)}, None),
        findings=(),
        run=None,
        mlflow=None,
    )
    return replace(made, **changes)
