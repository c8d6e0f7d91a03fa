"""verdict.json has the form that people and later versions read: whoever changes it sees it here, and raises SCHEMA."""

import json
from pathlib import Path

from made_up import effect_of, verdict_of

from components.evaluation.verdict import (
    Cheaper,
    Failures,
    Finding,
    Harm,
    Interaction,
    MlflowRun,
    Retraining,
    ValidationSlice,
    Verdict,
)
from components.records import from_json, to_json
from components.runtime.cells import Diagnosis
from components.stats.learning_curve import CurvePoint, LearningCurve, PowerLaw
from components.stats.paired_effects import Estimate

GOLDEN = Path(__file__).parent / "golden" / "verdict.json"


def made() -> Verdict:
    """Return a verdict that has something of everything."""
    small, worse = ValidationSlice("size", "small", 9.0, 0.05), Estimate(-0.1, -0.2, -0.01)
    return verdict_of(
        effect_of(
            *("no dropout", 0.02, "helped"),
            others={"accuracy": worse},
            by_slice=(-0.1, None),
            worth_in_data=1.5,
            failures=Failures(1, 5, 0.005, 0.72),
        ),
        slices=(small, ValidationSlice("class", "6", 3.0, None)),
        harms=(Harm(**vars(worse), arm="no dropout", technique="dropout", slice=small),),
        interactions=(
            Interaction(
                **vars(worse),
                differences=(-0.1,),
                shared=0.0,
                error=0.02,
                verdict="hurt",
                detectable=0.06,
                chance=None,
                arm="a, b",
                techniques=("a", "b"),
            ),
        ),
        cheaper=Cheaper("wide", 0.3),
        planned=40,
        retrain=Retraining("drift", "1", "reference", techniques={"dropout": "hurt"}, since="2026-01-01"),
        curve=LearningCurve(
            (CurvePoint("data=0.5", 575, 0.1, 0.09, 0.11),), PowerLaw(0.0, 1.0, 0.3), 1150, 0.08, 0.06, 0.05, 0.07
        ),
        findings=(Finding("reference", Diagnosis("units are dead", "dense_1", {"share": 0.7}), 2, ("wide",)),),
        run="digits-1",
        mlflow=MlflowRun("sqlite:///mlflow.db", "1", "2"),
    )


def test_the_golden_verdict_is_read_and_written_as_it_is():
    text = GOLDEN.read_text()
    assert to_json(from_json(Verdict, text, GOLDEN.name)) == text.rstrip("\n")


def test_a_fresh_verdict_has_the_golden_ones_form():
    assert from_json(Verdict, GOLDEN.read_text(), GOLDEN.name) == made()


def test_a_real_verdict_has_the_same_keys(tiny):
    golden = json.loads(GOLDEN.read_text())
    assert list(tiny.verdict) == list(golden)
    assert list(tiny.verdict["effects"][0]) == list(golden["effects"][0])
