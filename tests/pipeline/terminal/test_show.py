"""What is printed: rounding, order, words, and where the time went."""

import io
from dataclasses import replace

import pytest
from made_up import effect_of, verdict_of
from rich.console import Console

from components.evaluation.verdict import Finding, Winner
from components.registry.decision import Decision, Outcome
from components.runtime.cells import Diagnosis
from pipeline.terminal.show import show_verdict, time_shares

EFFECT = effect_of("no dropout", 0.0144, "helped", low=0.005, high=0.0231, cost=0.401)
UNKNOWN = {"low": None, "high": None}
VERDICT = verdict_of(
    replace(EFFECT, arm="no scaling", technique="scaling", effect=-0.00001, verdict="no difference",
            cost=-0.001),
    EFFECT,
    effect_of("bare", 0.1, "leans", chance=0.3, technique="all of these together", cost=-0.2, **UNKNOWN),
    replace(EFFECT, arm="mlp", technique="mlp", effect=-0.2, verdict="hurt"),
    winner=Winner("no scaling", 0.98, 1),
)  # fmt: skip
DECISION = Decision(
    decision=Outcome.KEPT, model="digits", by="ada", version="3", champion="2", before="2", reason="it has 0.9900"
)


def printed(verdict, decision: Decision | None = DECISION):
    stream = io.StringIO()
    show_verdict(Console(file=stream, width=80), verdict, decision)
    return stream.getvalue()


def test_effects_are_points_the_biggest_first_and_fit_in_80_columns():
    text = printed(VERDICT)
    assert max(map(len, text.splitlines())) <= 80
    rows = [line for line in text.splitlines() if line.endswith("%") and "±" in line]
    assert [" ".join(row.split()) for row in rows] == [
        "all of these +10.0 - +10.0 ± 1.0 leans to help -20 %",
        "dropout +1.4 [+0.5, +2.3] +1.4 ± 1.0 helped +40 %",
        "scaling +0.0 [+0.5, +2.3] +1.4 ± 1.0 no difference +0 %",
        "mlp -20.0 [+0.5, +2.3] +1.4 ± 1.0 hurt +40 %",
    ]
    assert "(bare)" in text
    assert "winner: no scaling" in text
    assert "Registry: the champion stays digits version 2; it has 0.9900." in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"decision": Outcome.PROMOTED, "champion": "3"},
            "Registry: digits version 3 is the champion now; it has 0.9900.",
        ),
        (
            {"decision": Outcome.UNDECIDED},
            "Registry: undecided, so the champion stays digits version 2, and version 3 is the challenger; it has "
            "0.9900. `assay promote digits` makes it the champion.",
        ),
        ({"champion": None}, "Registry: digits has no champion; it has 0.9900."),
    ],
)
def test_the_registrys_decision_is_said(changes, said):
    assert said in " ".join(printed(VERDICT, replace(DECISION, **changes)).split())


def test_a_loss_is_a_plain_number_and_a_winning_reference_has_one_line():
    text = printed(replace(VERDICT, metric="loss", decided_by="loss", winner=Winner("reference", 0.1, 0)), None)
    assert "+0.0144" in text
    assert "points" not in text
    assert "winner:" not in text
    assert "Registry" not in text


def test_what_was_wrong_while_training_is_said_with_the_seeds_and_the_arms_that_cure_it():
    text = "gradients vanish: layer dense_1 receives 1e-7 of the last layer's"
    finding = Finding("reference", Diagnosis("gradients vanish", "dense_1", {"share": 1e-7}), 5, ("batch norm", "relu"))
    shown = " ".join(printed(replace(VERDICT, findings=(finding,))).split())
    assert f"What was wrong while training: - reference: {text} (5 of 5 seeds; not in batch norm or relu)" in shown
    assert "wrong" not in printed(VERDICT)


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
