import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import effect_of, verdict_of, write_result

from components.evaluation.judge import gather_findings, judge, median_seed
from components.evaluation.verdict import ArmEffect, Cheaper, Failures, Finding, Verdict
from components.records import to_json
from components.reporting.phrases import amount, chance, looks_as_text, sentence
from components.runtime.cells import RESULT, Diagnosis, FinishedCell
from components.stats.metrics import scores
from components.stats.paired_effects import Estimate
from components.steps.evaluate import as_csv, as_markdown, gather
from components.study.study import Study
from components.tracking import client

# A real run


def test_an_arm_that_is_the_reference_has_an_effect_of_exactly_nothing(tiny):
    null = next(effect for effect in tiny.verdict["effects"] if effect["arm"] == "same")
    assert null["differences"] == [0.0, 0.0]
    assert null["effect"] == 0.0
    assert null["low"] < 0 < null["high"]
    assert null["cost"] == 0.0


def test_effects_are_paired_differences_on_validation_rows(tiny):
    for number, effect in enumerate(tiny.verdict["effects"], 1):
        direction = -1 if effect["removes"] else 1
        of_seed = [
            direction
            * (
                tiny.cell(f"0-{seed}").result.validation["brier"]
                - tiny.cell(f"{number}-{seed}").result.validation["brier"]
            )
            for seed in (0, 1)
        ]
        assert effect["differences"] == pytest.approx(of_seed)
        assert effect["effect"] == pytest.approx(np.mean(of_seed))


def test_the_winner_is_the_arm_that_is_shown_to_be_better_and_has_a_median_seed(tiny):
    """The reference ends after two epochs, which two seeds are enough to find wrong."""
    verdicts = {effect["technique"]: effect["verdict"] for effect in tiny.verdict["effects"]}
    assert verdicts["early stopping"] == "hurt"
    values = [tiny.cell(f"3-{seed}").result.validation["accuracy"] for seed in (0, 1)]
    winner = tiny.verdict["winner"]
    assert winner["arm"] == "long"
    assert winner["mean"] == pytest.approx(np.mean(values))
    chosen = FinishedCell(tiny.folder / "verdict" / "winner").result
    assert chosen.seed == winner["seed"]
    assert chosen.validation["accuracy"] == min(values)


def test_test_scores_are_the_mean_over_the_seeds(tiny):
    y = np.array(tiny.prepared.y[tiny.prepared.test_rows])
    of_seed = [scores(tiny.cell(f"0-{seed}").probabilities("test"), y) for seed in (0, 1)]
    found = tiny.verdict["test"]
    assert found["rows"] == len(y) == 359
    assert found["per_seed"]["reference"] == [one["accuracy"] for one in of_seed]
    for name in ("accuracy", "loss", "macro_f1"):
        assert found["reference"][name] == pytest.approx(np.mean([one[name] for one in of_seed]))


@pytest.mark.parametrize(
    ("probability", "said"), [(0.0, "< 1 %"), (0.004, "< 1 %"), (0.5, "50 %"), (0.99, "99 %"), (0.9996, "> 99 %")]
)
def test_what_is_not_certain_is_not_said_to_be(probability, said):
    assert chance(probability) == said


def test_figures_are_written(tiny):
    report = tiny.folder / "verdict" / "report"
    for name in ("effects", "curves", "confusion"):
        assert (report / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_preview_of_the_references_augmentation_is_among_the_figures(tiny, run_steps, in_workplace):
    assert not (tiny.folder / "verdict" / "report" / "augmentation.png").exists()
    recipe = {"augment": {"rotate": 10, "mixup": 0.4}, "train": {"epochs": 1}}
    steps = run_steps("with preview", recipe=recipe, arms={"narrow": {"model.units": [3]}}, seeds=2).all()
    report = steps.folder / "verdict" / "report" / "augmentation.png"
    assert report.read_bytes().startswith(b"\x89PNG")
    assert [steps.cell(cell).preview.exists() for cell in ("0-0", "0-1", "1-0")] == [True, False, False]
    files = {file.path for file in client.client().list_artifacts(steps.runs.parent)}
    assert "augmentation.png" in files


def test_a_verdict_is_remembered_and_one_from_more_seeds_is_exploratory(run_steps, in_workplace):
    """It was to be judged with two seeds; MLflow alone remembers it, too."""
    arms = {"narrow": {"model.units": [3]}}
    first = run_steps("remembered", arms=arms, data={"test": 0.3}).all().judgement
    again = run_steps("remembered", arms=arms, data={"test": 0.3}).all().judgement
    assert again.effects == replace_looks(first.effects, again)
    assert (first.test.looks, again.test.looks) == (0, 1)
    more = run_steps("remembered", arms=arms, data={"test": 0.3}, seeds=3)
    (more.store / "looks.jsonl").unlink()
    judged = more.all().judgement
    assert [effect.look.exploratory for effect in judged.effects] == [True]
    assert "All verdicts are exploratory" in looks_as_text(judged)
    assert judged.test.looks == 2


def replace_looks(effects: tuple[ArmEffect, ...], verdict: Verdict) -> tuple[ArmEffect, ...]:
    """Return the effects with the run of another verdict."""
    return tuple(replace(effect, look=replace(effect.look, run=verdict.run)) for effect in effects)


def test_what_is_planned_to_be_judged_again_registers_nothing_yet(run_steps, in_workplace):
    arms = {"narrow": {"model.units": [3]}, "same": {}, "long": {"train.early_stopping": False}}
    asked = {"arms": arms, "recipe": {"model": {"units": [15]}}, "planned": 4}  # a question of its own
    steps = run_steps("planned", seeds=2, **asked).all()
    assert steps.judgement.goes_on
    assert steps.decision.reason == "more seeds are planned"
    assert [effect.look.alpha for effect in steps.judgement.effects] == [pytest.approx(0.05 * 0.5**1.5)] * 3
    more = run_steps("planned", seeds=4, stopped={"same": 2}, **asked).all()
    by_arm = {effect.arm: effect for effect in more.judgement.effects}
    assert len(by_arm["same"].differences) == 2
    assert len(by_arm["narrow"].differences) == 4
    assert by_arm["same"].look.alpha == pytest.approx(0.05 * 0.5**1.5)
    assert by_arm["narrow"].look.alpha == pytest.approx(0.05 * (1 - 0.5**1.5))
    assert not more.judgement.goes_on
    assert more.decision.decision != "not asked"


def test_all_that_mlflow_and_the_terminal_need_is_json_without_nan(tiny):
    text = (tiny.folder / "verdict" / "report" / "verdict.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == tiny.verdict


@pytest.fixture
def copied(tiny, tmp_path) -> Path:
    """The cells of the tiny study, free to be damaged."""
    return Path(shutil.copytree(tiny.folder / "cells", tmp_path / "cells"))


def test_the_test_predictions_of_other_arms_are_never_opened(tiny, copied):
    """They may as well not be there, even those of an arm that is no better than second."""
    names = [arm.name for arm in tiny.study.expand()]
    opened = {0, names.index(tiny.verdict["winner"]["arm"])}
    others = [copied / f"{arm}-{seed}" / "test.npy" for arm in set(range(4)) - opened for seed in (0, 1)]
    assert len(others) >= 4
    for file in others:
        file.unlink()
    judged = judge(tiny.study, gather(tiny.study, [str(copied)]), tiny.prepared, tiny.judgement.run)
    assert judged == replace(tiny.judgement, mlflow=None)


def test_cells_may_come_in_several_folders(tiny, copied, tmp_path):
    other = tmp_path / "second batch"
    other.mkdir()
    for name in ("1-0", "2-1"):
        shutil.move(copied / name, other / name)
    by_arm = gather(tiny.study, [str(other), str(copied)])
    assert list(by_arm) == ["reference", "same", "narrow", "long"]
    assert [[cell.result.seed for cell in of] for of in by_arm.values()] == [[0, 1]] * 4


def with_values(copied: Path, values: dict[str, list[float]], y: np.ndarray, metric: str = "accuracy") -> None:
    """Write made-up predictions into the cells, with these scores: by the arm's number, for both seeds.

    `y` is the classes of both seeds' validation rows, (seeds, rows).
    """
    for arm, of_seed in values.items():
        for seed, value in enumerate(of_seed):
            truth = y[seed]
            certain = np.exp(-value) if metric == "loss" else 0.9
            predicted = np.where(np.arange(len(truth)) < round(value * len(truth)), truth, (truth + 1) % 10)
            made = np.full((len(truth), 10), (1 - certain) / 9, np.float32)
            made[np.arange(len(truth)), truth if metric == "loss" else predicted] = certain
            folder = copied / f"{arm}-{seed}"
            result = FinishedCell(folder).result
            for name in (RESULT, "validation.npy"):  # they are hard links to the store
                (folder / name).unlink()
            (folder / RESULT).write_text(to_json(replace(result, validation=scores(made, truth))))
            np.save(folder / "validation.npy", made)


@pytest.fixture
def truth(tiny) -> np.ndarray:
    """The classes of both seeds' validation rows."""
    return np.array([tiny.prepared.y[tiny.prepared.split(seed)[1]] for seed in (0, 1)])


def changed(study: Study, **changes: Any) -> Study:
    return Study.model_validate({**study.model_dump(), **changes})


def test_an_arm_wins_that_is_shown_to_be_better_and_no_other(tiny, copied, truth):
    """Narrow is better by a quarter of the rows, and the others by a row, which is luck."""
    row = 1 / 288
    with_values(copied, {"0": [0.5, 0.5], "1": [0.5 + row] * 2, "2": [0.75, 0.75], "3": [0.5, 0.5 + row]}, truth)
    judged = judge(tiny.study, gather(tiny.study, [str(copied)]), tiny.prepared)
    assert judged.winner.arm == "narrow"
    assert judged.test.gain is not None
    with_values(copied, {"2": [0.5 + 2 * row, 0.5]}, truth)
    judged = judge(tiny.study, gather(tiny.study, [str(copied)]), tiny.prepared)
    assert judged.winner.arm == "reference"
    assert judged.test.gain is None


def test_of_the_loss_less_is_better(tiny, copied, truth):
    with_values(copied, {"0": [0.5, 0.4], "1": [0.5, 0.4], "2": [0.2, 0.1], "3": [0.9, 0.8]}, truth, "loss")
    study = changed(tiny.study, metric="loss")
    judged = judge(study, gather(study, [str(copied)]), tiny.prepared)
    assert (judged.metric, judged.decided_by) == ("loss", "loss")
    assert judged.winner.arm == "narrow"
    assert [effect.effect for effect in judged.effects] == pytest.approx([0, 0.3, 0.4], abs=1e-6)


def test_the_question_may_be_about_accuracy(tiny, copied, truth):
    """The arm is right in as many rows and much surer: only the proper score sees it."""
    with_values(copied, {"0": [0.5, 0.4], "1": [0.5, 0.4], "2": [0.5, 0.4], "3": [0.5, 0.4]}, truth)
    for decider, verdict in (("brier", "hurt"), ("accuracy", "no difference")):
        study = changed(tiny.study, decide_on=decider)
        cells = gather(study, [str(copied)])
        for cell, y in zip(cells["narrow"], truth, strict=True):
            sure = cell.probabilities("validation")
            np.save(cell.folder / "validation.npy", (sure > 0.5).astype(np.float32))
            assert scores(sure, y)["accuracy"] == pytest.approx(cell.result.validation["accuracy"])
        judged = judge(study, cells, tiny.prepared)
        found = {effect.arm: effect.verdict for effect in judged.effects}["narrow"]
        assert (decider, found) == (decider, verdict)


def test_what_an_arm_removes_has_the_opposite_sign(tiny, copied, truth):
    """Leave-one-out: the arm without dropout has 0.1 less, so dropout brings 0.1."""
    study = changed(
        tiny.study,
        arms="leave-one-out",
        recipe={"augment": "none", "scale": "none", "model": {"batch_norm": False}},
        decide_on="accuracy",
    )
    assert [arm.name for arm in study.expand()] == ["reference", "no dropout", "no early stopping", "bare"]
    with_values(copied, {"0": [0.8, 0.8], "1": [0.7, 0.7], "2": [0.9, 0.9], "3": [0.8, 0.8]}, truth)
    by_arm = gather(study, [str(copied)])
    for arm, seconds in (("reference", 3.0), ("no dropout", 2.0)):
        for cell in by_arm[arm]:
            cell.result = replace(cell.result, seconds=seconds)
    effects = judge(study, by_arm, tiny.prepared).effects
    assert [(effect.technique, effect.removes) for effect in effects][:2] == [
        ("dropout", True),
        ("early stopping", True),
    ]
    assert [effect.effect for effect in effects] == pytest.approx([0.1, -0.1, 0], abs=1 / 288)
    assert effects[0].cost == pytest.approx(0.5)  # 3 seconds with it, 2 without


def test_a_study_without_arms_has_a_verdict_all_the_same(tiny, copied):
    study = changed(tiny.study, arms={})
    judged = judge(study, gather(study, [str(copied)]), tiny.prepared)
    assert judged.effects == ()
    assert judged.winner.arm == "reference"
    assert as_markdown(judged)
    assert as_csv(judged).strip() == ""


@pytest.mark.parametrize(
    ("values", "seed"), [([0.9, 0.1, 0.5], 2), ([0.1, 0.2, 0.3, 0.4], 1), ([0.7], 0), ([0.5, 0.5, 0.5], 1)]
)
def test_the_median_seed_is_the_lower_of_two(values, seed):
    assert median_seed(values) == seed


# What is said


def effect(technique: str, mean: float, verdict: str, chance: float | None = None, **more: Any) -> ArmEffect:
    return effect_of(f"no {technique}", mean, verdict, chance=chance, **more)


def test_the_sentence_says_what_was_found_then_what_was_ruled_out_and_what_is_not_known():
    made = verdict_of(
        effect("dropout", -0.004, "no difference"),
        effect("scaling", 0.021, "helped"),
        effect("batch normalization", 0.052, "helped"),
        effect("early stopping", -0.03, "hurt"),
        effect("L2", 0.013, "leans", 0.4),
        effect("rotation", 0.0, "unknown"),
        effect("augmentation", 0.0, "no difference"),
        cheaper=Cheaper("no dropout", 0.2),
    )
    assert sentence(made) == (
        "Batch normalization (+5.2 points of accuracy) and scaling (+2.1) helped. Early stopping (-3.0 points of "
        "accuracy) hurt. Augmentation and dropout make no difference that matters (less than 1 point of Brier score). "
        "L2 leans to help: 5 more seeds have a chance of 40 % to decide. Not known: rotation (-1.0 to +1.0). "
        "No dropout takes 20 % less time to train and makes no difference that matters."
    )


def test_the_sentence_says_where_accuracy_says_the_opposite():
    other = {"accuracy": Estimate(0.003, -0.002, 0.008)}
    said = sentence(verdict_of(effect("label smoothing", -0.014, "hurt", others=other)))
    assert said == (
        "Label smoothing (+0.3 points of accuracy) hurt. Label smoothing hurt the probabilities (-1.4 points of Brier "
        "score), and accuracy says the opposite (-0.2 to +0.8)."
    )


def test_the_sentence_says_when_nothing_was_found():
    said = sentence(verdict_of(effect("dropout", 0.0, "unknown")))
    assert said == "Nothing is decided with 5 seeds. Not known: dropout (-1.0 to +1.0)."


def test_the_sentence_says_which_arms_fail():
    said = sentence(verdict_of(effect("clipping", 0.0, "unknown", failures=Failures(3, 10, 0.0667, 0.652))))
    assert said.endswith("No clipping fails in 3 of 10 runs (7 to 65 %).")


def test_l2_keeps_its_capital_and_three_are_listed_with_commas():
    said = sentence(verdict_of(*[effect(name, 0.01, "helped") for name in ("L2", "dropout", "scaling")]))
    assert said == "L2 (+1.0 points of accuracy), dropout (+1.0) and scaling (+1.0) helped."


def test_shares_are_told_in_points_and_the_loss_as_it_is():
    assert amount(0.0142, "accuracy") == "+1.4 points"
    assert amount(-0.0142, "macro_f1") == "-1.4 points"
    assert amount(0.0214, "loss") == "+0.021"


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_an_effect_that_rounds_to_nothing_has_no_sign(metric):
    assert amount(-1e-9, metric).lstrip("-+") == amount(1e-9, metric).lstrip("-+")
    assert not amount(-1e-9, metric).startswith("-")


def test_the_csv_has_a_line_an_arm():
    made = verdict_of(effect("dropout", 0.01, "helped"), effect("a, b", 0.0, "unknown", low=None, high=None))
    rows = list(csv.DictReader(io.StringIO(as_csv(made))))
    assert [row["technique"] for row in rows] == ["dropout", "a, b"]
    assert (rows[0]["effect"], rows[0]["verdict"], rows[1]["low"]) == ("0.01", "helped", "")
    assert "differences" not in rows[0]


def table_rows(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[part.strip() for part in line.strip("|").split("|")] for line in lines]


def test_the_table_is_ordered_by_effect_and_every_line_has_every_column():
    one_seed = {"low": None, "high": None}
    rows = table_rows(
        as_markdown(
            verdict_of(
                effect("dropout", -0.01, "hurt"),
                effect("scaling", 0.02, "leans", 0.3),
                effect("L2", 0.0, "unknown", **one_seed),
            )
        )
    )
    assert {len(row) for row in rows} == {6}
    assert rows[0][1:5] == ["Brier score (points)", "95 % interval", "accuracy (points)", "verdict"]
    assert [row[0] for row in rows[2:]] == ["scaling", "L2", "dropout"]
    assert rows[2][1:] == ["+2.0", "[+1.0, +3.0]", "+2.0 ± 1.0", "leans to help", "+40 %"]
    assert rows[3][2] == "-"


def test_a_name_with_a_bar_does_not_break_the_table():
    rows = table_rows(as_markdown(verdict_of(effect("dropout 0.1|0.2", 0.0, "unknown"))).replace(r"\|", "/"))
    assert {len(row) for row in rows} == {6}


def test_findings_are_gathered_by_arm_and_kind_with_what_has_none(tmp_path):
    """Layers and sizes differ from seed to seed. The gravest is said first."""
    a, b = (Diagnosis("gradients vanish", layer, {"share": 1e-5}) for layer in "ab")
    c = Diagnosis("training diverges", None, {"epoch": 2, "epochs": 3, "learning_rate": 1})
    d = Diagnosis("units saturate", "d", {"share": 0.9})
    cells = {}
    for arm, of_arm in {"reference": ((a,), (b, c)), "sound": ((), ()), "wide": ((), (d,))}.items():
        for seed, findings in enumerate(of_arm):
            folder = tmp_path / f"{arm}-{seed}"
            write_result(folder, seed=seed, findings=findings)
            cells.setdefault(arm, []).append(FinishedCell(folder))
    found = gather_findings(cells)
    assert found == (
        Finding("reference", c, 1, ("sound",)),
        Finding("reference", a, 2, ("sound",)),
        Finding("wide", d, 1, ()),
    )
    lines = as_markdown(verdict_of(effect("wide", 0.1, "helped"), findings=found)).splitlines()
    assert lines[-3:] == [
        "- reference: training diverges: the loss is not a finite number in epoch 2 of 3; lower train.learning_rate "
        "(now 1) or clip gradients (train.clip_norm) (1 of 5 seeds; not in sound)",
        "- reference: gradients vanish: layer a receives 1e-5 of the last layer's (2 of 5 seeds; not in sound)",
        "- wide: units saturate: 90 % of the outputs of layer d are at an end (1 of 5 seeds)",
    ]


# The learning curve


@pytest.fixture(scope="module")
def sizes(run_steps, workplace):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(workplace)
        return run_steps("sizes", arms=[{"narrow": {"model.units": [3]}}, {"data": [0.1, 0.3]}], seeds=3).all()


def test_fewer_rows_are_no_technique_but_a_curve(sizes):
    verdict = sizes.verdict
    assert [effect["arm"] for effect in verdict["effects"]] == ["narrow"]
    points = verdict["curve"]["points"]
    assert [(point["arm"], point["rows"]) for point in points] == [
        ("data=0.1", 115),
        ("data=0.3", 345),
        ("reference", 1150),
    ]
    assert points[0]["mean"] > points[2]["mean"]
    assert points[2]["mean"] == pytest.approx(1 - verdict["reference"]["mean"])
    assert verdict["winner"]["arm"] in ("reference", "narrow")
    assert "Twice the rows would bring accuracy from" in sentence(sizes.judgement)
    assert verdict["effects"][0]["worth_in_data"] is not None
    assert "worth in data" in as_markdown(sizes.judgement)
    assert (sizes.folder / "verdict" / "report" / "data_curve.png").stat().st_size > 10_000


def test_a_point_of_the_curve_has_its_rows_in_mlflow(sizes, in_workplace):
    run = client.client().get_run(sizes.runs.arms["data=0.3"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["train_rows"] == 345


def test_a_study_without_sizes_has_no_curve(tiny):
    assert tiny.verdict["curve"] is None
    assert tiny.verdict["effects"][0]["worth_in_data"] is None
    assert "worth in data" not in as_markdown(tiny.judgement)
