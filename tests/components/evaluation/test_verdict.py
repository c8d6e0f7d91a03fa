"""What the verdict says beside the main effect: other metrics, slices with harms, interactions; and on real data."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from components.data.preparation import prepare
from components.evaluation.judge import Comparison, judge
from components.reporting.phrases import interaction_as_text, sentence
from components.stats.metrics import scores
from components.steps.evaluate import as_markdown, gather

CLASSES = 10


def predictions(truth: np.ndarray, wrong: np.ndarray, certain: float = 0.9) -> np.ndarray:
    """Return probabilities (rows, classes) that are right but for the rows in `wrong`."""
    made = np.full((len(truth), CLASSES), (1 - certain) / (CLASSES - 1), np.float32)
    made[np.arange(len(truth)), np.where(wrong, (truth + 1) % CLASSES, truth)] = certain
    return made


class Made:
    """A cell with made-up validation predictions."""

    def __init__(self, real, validation: np.ndarray, truth: np.ndarray):
        self.result = replace(real.result, validation=scores(validation, truth), findings=())
        self.preview = real.preview
        self._validation, self._real = validation, real

    def probabilities(self, part: str) -> np.ndarray:
        return self._validation if part == "validation" else self._real.probabilities(part)


def made_cells(study, prepared, real, wrong) -> dict:
    """Return cells whose predictions are wrong where `wrong(arm, seed, rows, truth)` says so."""
    cells = {}
    for arm in study.expand():
        for seed in range(study.seeds):
            rows = prepared.split(seed)[1]
            truth = np.asarray(prepared.y[rows])
            validation = predictions(truth, wrong(arm.name, seed, rows, truth))
            cells.setdefault(arm.name, []).append(Made(real, validation, truth))
    return cells


@pytest.fixture
def real(tiny):
    return tiny.cell("0-0")


def test_other_metrics_are_positive_where_the_technique_improves_them(tiny):
    for number, effect in enumerate(tiny.verdict["effects"], 1):
        assert set(effect["others"]) == {"accuracy", "loss", "macro_f1", "ece"}
        for metric, better in (("loss", -1), ("macro_f1", 1), ("ece", -1)):
            sign = -better if effect["removes"] else better
            expected = np.mean(
                [
                    sign
                    * (
                        tiny.cell(f"{number}-{seed}").result.validation[metric]
                        - tiny.cell(f"0-{seed}").result.validation[metric]
                    )
                    for seed in (0, 1)
                ]
            )
            assert effect["others"][metric]["effect"] == pytest.approx(expected, abs=1e-9)


def test_slices_are_the_classes_with_their_rows(tiny):
    slices = tiny.verdict["slices"]
    assert [(entry["column"], entry["value"]) for entry in slices] == [("class", str(digit)) for digit in range(10)]
    assert sum(entry["rows"] for entry in slices) == pytest.approx(288)
    narrow = tiny.verdict["effects"][1]
    recall = [
        np.mean([tiny.cell(f"2-{s}").result.recall[d] - tiny.cell(f"0-{s}").result.recall[d] for s in (0, 1)])
        for d in range(10)
    ]
    assert narrow["by_slice"] == pytest.approx(recall)


def test_a_technique_that_helps_overall_but_costs_one_class_is_an_alert(make_study, real, tmp_path):
    """It mends an eighth of the rows of all classes but 6, of which it spoils nearly half."""
    study = make_study(arms={"shifted": {"augment.shift": 0.1}}, seeds=8)
    digits = prepare(study, tmp_path / "data")

    def wrong(arm, seed, rows, truth):
        luck = np.random.default_rng((seed, arm == "shifted")).random(len(rows))
        if arm == "reference":
            return luck < 0.15
        return luck < np.where(truth == 6, 0.6, 0.02)

    verdict = judge(study, made_cells(study, digits, real, wrong), digits)
    assert verdict.effects[0].effect > 0
    assert [(harm.technique, harm.slice.name) for harm in verdict.harms] == [("shifted", "class: 6")]
    harm = verdict.harms[0]
    assert harm.high is not None
    assert harm.high < 0
    assert f"It hurts some classes: shifted costs class 6 {-100 * harm.effect:.1f} points." in sentence(verdict)
    assert "- shifted costs class 6" in as_markdown(verdict)


def test_what_hurts_as_a_whole_is_no_alert_by_slice(make_study, digits, real):
    study = make_study(arms={"shifted": {"augment.shift": 0.1}}, seeds=3)
    luck = np.random.default_rng(0)
    cells = made_cells(study, digits, real, lambda arm, *of: luck.random(len(of[1])) < (0.5 if arm == "shifted" else 0))
    verdict = judge(study, cells, digits)
    assert verdict.effects[0].verdict == "hurt"
    assert verdict.harms == ()


def test_an_interaction_is_what_one_brings_beside_the_other(make_study, digits, real):
    """Each removed alone makes a tenth of the rows wrong; both removed, no more than one: so they work together."""
    study = make_study(
        recipe={"augment": "none", "scale": "none", "model": {"name": "mlp", "batch_norm": False, "dropout": 0.2}},
        arms="leave-one-out",
        pairs=True,
        seeds=3,
        decide_on="accuracy",
    )
    names = [arm.name for arm in study.expand()]
    assert names == ["reference", "no dropout", "no early stopping", "bare", "no dropout, no early stopping"]

    def wrong(arm, seed, rows, truth):
        return np.zeros(len(rows), bool) if arm == "reference" else rows % 10 == 0

    cells = made_cells(study, digits, real, wrong)
    (found,) = judge(study, cells, digits).interactions
    lost = [np.mean(digits.split(seed)[1] % 10 == 0) for seed in range(3)]
    assert found.techniques == ("dropout", "early stopping")
    assert found.differences == pytest.approx(lost)
    said = interaction_as_text(found, "accuracy")
    assert said.startswith(
        f"dropout brings {100 * np.mean(lost):.1f} points more beside early stopping than without it"
    )
    less = interaction_as_text(replace(found, effect=-0.05, verdict="unknown"), "accuracy")
    assert less.startswith("dropout brings 5.0 points less beside early stopping")
    assert less.endswith(": unknown")
    assert "no dropout, no early stopping" not in [e.arm for e in judge(study, cells, digits).effects]


def test_the_reference_has_an_interval_on_the_side_of_the_metric(tiny, make_study):
    reference = tiny.verdict["reference"]
    assert reference["low"] < reference["mean"] < reference["high"]
    study = make_study(**{**tiny.study.model_dump(), "metric": "loss"})
    of_loss = judge(study, gather(study, [str(tiny.folder / "cells")]), tiny.prepared).reference
    assert of_loss.low is not None
    assert of_loss.high is not None
    assert 0 < of_loss.low < of_loss.mean < of_loss.high


def test_trainings_that_diverge_are_counted_and_left_out_of_the_effect(make_study, real, tmp_path):
    """A tenth of the runs comes to nothing: their scores say nothing of what the technique does when it works."""
    study = make_study(arms={"fast": {"train.learning_rate": 1.0}}, seeds=10)
    prepared = prepare(study, tmp_path)

    def wrong(arm, seed, rows, truth):
        bad = 0.9 if (arm, seed) == ("fast", 3) else 0.02 if arm == "fast" else 0.1
        return np.random.default_rng((seed, arm == "fast")).random(len(rows)) < bad

    cells = made_cells(study, prepared, real, wrong)
    cell = cells["fast"][3]
    cell.result = replace(cell.result, diverged=2)
    verdict = judge(study, cells, prepared)
    (effect,) = verdict.effects
    assert effect.verdict == "helped"
    assert len(effect.differences) == 9
    assert effect.failures is not None
    assert (effect.failures.failed, effect.failures.runs) == (1, 10)
    assert (effect.failures.low, effect.failures.high) == pytest.approx((0.0025, 0.445), abs=0.001)  # of tables
    assert verdict.winner.arm == "reference"  # what may come to nothing is not registered
    assert "Fast fails in 1 of 10 runs (0 to 45 %)." in sentence(verdict)


def test_the_reference_is_not_given_up_for_luck_and_a_cheaper_arm_is_named(make_study, real, tmp_path):
    study = make_study(arms={"no dropout": {"model.dropout": 0.0}}, recipe={"model": {"dropout": 0.2}}, seeds=8)
    prepared = prepare(study, tmp_path)

    def wrong(arm, seed, rows, truth):
        return np.random.default_rng(seed).random(len(rows)) < (0.1 if arm == "reference" else 0.0985)

    cells = made_cells(study, prepared, real, wrong)
    for cell in cells["no dropout"]:
        cell.result = replace(cell.result, seconds=0.5 * real.result.seconds)
    verdict = judge(study, cells, prepared)
    assert verdict.effects[0].effect <= 0
    assert verdict.winner.arm == "reference"
    assert verdict.cheaper is not None
    assert (verdict.cheaper.arm, verdict.cheaper.saves) == ("no dropout", pytest.approx(0.5))
    assert "No dropout takes 50 % less time to train and makes no difference that matters." in sentence(verdict)


def test_scores_by_row_are_the_cells_own(tiny):
    comparison = Comparison(tiny.study, gather(tiny.study, [str(tiny.folder / "cells")]), tiny.prepared)
    for metric, sign in (("accuracy", 1), ("loss", -1), ("macro_f1", 1), ("ece", -1)):
        ours = [sign * of_seed.mean() for of_seed in comparison.reference[metric]]
        told = [tiny.cell(f"0-{seed}").result.validation[metric] for seed in (0, 1)]
        assert ours == pytest.approx(told)


# Real studies


def test_arms_that_are_as_good_as_the_reference_make_no_difference_over_twenty_seeds(run_steps, in_workplace):
    """One is the reference itself. The other has 65 units for 64: all its random numbers differ, and nothing else."""
    arms = {"same": {}, "one unit more": {"model.units": [65]}}
    recipe = {"model": {"units": [64]}, "train": {"epochs": 3}}  # far from the end, so seeds differ much
    steps = run_steps("null", arms=arms, recipe=recipe, seeds=20, matters=0.02).all()
    same, other = steps.verdict["effects"]
    assert (same["verdict"], same["effect"]) == ("no difference", 0.0)
    assert len(same["differences"]) == 20
    assert other["verdict"] == "no difference"
    assert np.std(other["differences"]) > 0
    assert other["low"] < 0 < other["high"]
    assert steps.verdict["harms"] == []


def test_a_regulariser_is_found_to_help_where_labels_are_wrong(run_steps, in_workplace, tmp_path):
    """Digits with 30 % of the labels wrong, in all splits: a network that is too large learns them by heart."""
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(len(y)) < 0.3, (y + rng.integers(1, 10, len(y))) % 10, y)
    lines = [
        json.dumps({**{f"p{i}": v for i, v in enumerate(row)}, "y": f"d{label}"})
        for row, label in zip(x, noisy, strict=True)
    ]
    (tmp_path / "noisy.jsonl").write_text("\n".join(lines))
    steps = run_steps(
        "noise",
        data={"source": f"table:{tmp_path / 'noisy.jsonl'}"},
        recipe={
            "augment": "none",
            "scale": "standardize",
            "model": {"name": "mlp", "units": [256], "dropout": 0.5, "batch_norm": False},
            "train": {"epochs": 30, "early_stopping": False},
        },
        arms={"no dropout": {"model.dropout": 0}, "no scaling": {"scale": "none"}},
        seeds=6,
    ).all()
    found = {effect["technique"]: effect for effect in steps.verdict["effects"]}
    assert found["dropout"]["verdict"] == "helped", found["dropout"]
    assert found["dropout"]["others"]["accuracy"]["effect"] > 0.02
