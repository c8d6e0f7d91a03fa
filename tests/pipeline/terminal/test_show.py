"""What is printed: rounding, order, words, and where the time went."""

import io

import pytest
from rich.console import Console

from pipeline.terminal.show import show_verdict, time_shares

EFFECT = {
    "arm": "no dropout", "technique": "dropout", "removes": True, "arm_mean": 0.95, "effect": 0.0144, "low": 0.005,
    "high": 0.0231, "p": 0.01, "p_holm": 0.02, "probability": 0.996, "verdict": "helped", "seeds_needed": None,
    "cost": 0.401, "differences": [0.01, 0.02],
}  # fmt: skip
SCORE = {"accuracy": 0.9812, "macro_f1": 0.98, "loss": 0.0711, "per_seed": [0.98]}
VERDICT = {
    "study": "digits", "metric": "accuracy", "seeds": 5, "validation_rows": 288,
    "effects": [
        {**EFFECT, "arm": "no scaling", "technique": "scaling", "effect": -0.00001, "probability": 0.5,
         "verdict": "no evidence", "cost": -0.001},
        EFFECT,
        {**EFFECT, "arm": "bare", "technique": "all of these together", "effect": 0.1, "low": None, "high": None,
         "p_holm": None, "probability": None, "cost": None, "verdict": "too few seeds"},
        {**EFFECT, "arm": "mlp", "technique": "mlp", "effect": -0.2, "probability": 0.001, "verdict": "hurt"},
    ],
    "winner": {"arm": "no scaling", "mean": 0.98, "seed": 1},
    "test": {"rows": 360, "reference": SCORE, "winner": SCORE},
    "sentence": "Dropout helped.",
}  # fmt: skip
DECISION = {"decision": "kept", "model": "digits", "version": "3", "champion": "2", "reason": "it has 0.9900"}


def printed(verdict, decision=DECISION):
    stream = io.StringIO()
    show_verdict(Console(file=stream, width=80), verdict, decision)
    return stream.getvalue()


def test_effects_are_points_the_biggest_first_and_fit_in_80_columns():
    text = printed(VERDICT)
    assert max(map(len, text.splitlines())) <= 80
    rows = [
        line for line in text.splitlines() if any(word in line for word in ("helped ", "hurt ", "no evid", "too few"))
    ]
    assert [" ".join(row.split()) for row in rows] == [
        "all of these together +10.0 - - too few seeds -",
        "dropout +1.4 [+0.5, +2.3] > 99 % helped +40 %",
        "scaling +0.0 [+0.5, +2.3] 50 % no evidence +0 %",
        "mlp -20.0 [+0.5, +2.3] < 1 % hurt +40 %",
    ]
    assert "(bare)" in text
    assert "winner: no scaling" in text
    assert "Registry: the champion stays digits version 2; it has 0.9900." in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"decision": "promoted", "champion": "3"}, "Registry: digits version 3 is the champion now; it has 0.9900."),
        (
            {"decision": "undecided"},
            "Registry: undecided, so the champion stays digits version 2, and version 3 is the challenger; it has "
            "0.9900. `assay promote digits` makes it the champion.",
        ),
        ({"champion": None}, "Registry: digits has no champion; it has 0.9900."),
    ],
)
def test_the_registrys_decision_is_said(changes, said):
    assert said in " ".join(printed(VERDICT, {**DECISION, **changes}).split())


def test_a_loss_is_a_plain_number_and_a_winning_reference_has_one_line():
    text = printed({**VERDICT, "metric": "loss", "winner": {"arm": "reference", "mean": 0.1, "seed": 0}}, None)
    assert "+0.0144" in text
    assert "points" not in text
    assert "winner:" not in text
    assert "Registry" not in text


def test_what_was_wrong_while_training_is_said_with_the_seeds_and_the_arms_that_cure_it():
    text = "gradients vanish: layer dense_1 receives 1e-7 of the last layer's"
    diagnosis = {"kind": "gradients vanish", "layer": "dense_1", "numbers": {"share": 1e-7}}
    finding = {"arm": "reference", "diagnosis": diagnosis, "seeds": 5, "cures": ["batch norm", "relu"]}
    shown = " ".join(printed({**VERDICT, "findings": [finding]}).split())
    assert f"What was wrong while training: - reference: {text} (5 of 5 seeds; not in batch norm or relu)" in shown
    assert "wrong" not in printed(VERDICT)  # one of a version that knew no findings
    assert "wrong" not in printed({**VERDICT, "findings": []})


def task(step, start, end, label="", **spans):
    yield {"event": "step_started", "step": step, "label": label, "time": start}
    yield {"event": "step_finished", "step": step, "label": label, "time": end, "spans": spans}


def test_time_shares_add_up_to_the_whole_run():
    events = [
        *task("load", 2, 6, imports=1, data=2, mlflow=1),
        *task("train", 8, 28, "1/2", imports=4, training=14, mlflow=2),
        *task("train", 8, 18, "2/2", imports=4, training=6),
        *task("evaluate", 30, 36, report=5, mlflow=1),
    ]
    shares = time_shares(sorted(events, key=lambda event: event["time"]), 0, 40)
    assert sum(shares.values()) == pytest.approx(40)
    assert shares == pytest.approx(
        {
            "data": 2,
            # Two lanes of 22 s: 20 trained, 10 idle since the other batch was longer, 8 imported, 4 started, 2 logged.
            "training": 15,
            "MLflow": 1 + 1 + 1,
            "figures and statistics": 5,
            "starting and imports": (2 + 1) + 6 + 2 + 4,
        }
    )


def test_more_tasks_than_lanes_wait_for_a_lane_and_not_for_their_start():
    events = [
        *task("train", 1, 11, "1/3", training=10),
        *task("train", 1, 11, "2/3", training=10),
        *task("train", 12, 22, "3/3", training=10),
    ]
    shares = time_shares(sorted(events, key=lambda event: event["time"]), 0, 22)
    assert shares["starting and imports"] == pytest.approx(1.5)
    assert shares["training"] == pytest.approx(20.5)


def test_a_run_without_events_went_into_starting():
    assert time_shares([], 10, 12)["starting and imports"] == 2
