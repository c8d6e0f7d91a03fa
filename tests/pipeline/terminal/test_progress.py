"""What is seen while a study runs."""

import io
from typing import cast

import pytest
from rich.console import Console

from components.formatting import duration
from components.runtime.events import Event
from pipeline.study_file import read_study
from pipeline.terminal.progress import Report, Standing

STUDY = read_study("sklearn:iris", ["arms={a: {model.batch_norm: false}, b: {model.dropout: 0.5}}"], 2)


def event(kind: str, **fields: object) -> Event:
    return cast(Event, {"event": kind, **fields})


def cell(arm: str, seed: int, value: float, seconds: float = 2.0) -> Event:
    return event("cell_finished", step="train", arm=arm, seed=seed, value=value, seconds=seconds)


def started(step: str) -> Event:
    return event("step_started", step=step)


def test_the_best_arm_is_one_that_has_all_its_seeds():
    standing = Standing(STUDY, 2)
    for finished in (cell("reference", 0, 0.8), cell("a", 0, 1.0), cell("reference", 1, 0.9)):
        standing.take(finished)
    assert (standing.done, standing.total) == (3, 6)
    assert standing.best() == "reference"
    assert standing.mean("reference") == pytest.approx(0.85)
    standing.take(cell("a", 1, 0.9))
    assert standing.best() == "a"


def test_a_provisional_table_is_shown_once_when_all_arms_have_a_seed():
    out = io.StringIO()
    with Report(STUDY, 2, Console(file=out)) as report:
        for arm, value in (("reference", 0.9), ("b", 0.92), ("a", 0.8)):
            assert "Provisional" not in out.getvalue()
            report.show([cell(arm, 0, value)])
        _, title, _, _, *rows = out.getvalue().splitlines()
        assert title == "Provisional, after 1 of 2 seeds; nothing is judged yet"
        assert [row.split(maxsplit=1) for row in rows] == [
            ["reference", "0.9000"],
            ["a", "-10.0 points"],
            ["b", "+2.0 points"],
        ]
        report.show([cell(arm, 1, 0.9) for arm in ("reference", "a")])
    assert out.getvalue().count("Provisional") == 1


def test_with_one_seed_in_all_nothing_is_provisional():
    standing = Standing(STUDY.of_seeds(1), 2)
    for arm in ("reference", "a", "b"):
        assert standing.first_impression() is None
        standing.take(cell(arm, 0, 0.9))
    assert standing.first_impression() is None


def test_with_a_loss_the_lowest_is_the_best():
    standing = Standing(read_study("sklearn:iris", ["metric=loss"], 1), 2)
    standing.take(cell("reference", 0, 0.8))
    standing.take(cell("no scaling", 0, 0.9))
    assert standing.best() == "reference"


def test_current_arms_and_the_time_left_are_those_of_each_task():
    standing = Standing(STUDY, 2)
    assert standing.seconds_left() is None
    assert standing.current() == []
    standing.take(event("cell_started", step="train", label="1/2", arm="reference", seed=0))
    standing.take(event("cell_started", step="train", label="2/2", arm="a", seed=0))
    assert standing.current() == ["reference", "a"]
    standing.take(cell("reference", 0, 0.8, seconds=4.0))
    assert standing.seconds_left() == pytest.approx(12.0)  # the second task has three cells, as long as the first one's
    for seed in (0, 1):
        standing.take(cell("a", seed, 0.8, seconds=1.0))
    standing.take(event("cell_started", step="train", label="2/2", arm="b", seed=0))
    assert standing.current() == ["reference", "b"]
    standing.take(event("step_finished", step="train", label="1/2"))
    assert standing.current() == ["b"]


def test_without_a_terminal_it_is_plain_lines_one_an_arm():
    stream = io.StringIO()
    with Report(STUDY, 2, Console(file=stream, width=80)) as report:
        report.show([started("load")])
        report.show([])
        report.show([started("train"), cell("a", 0, 0.9), cell("reference", 0, 0.8)])
        report.show([cell("a", 1, 0.9), cell("reference", 1, 0.8)])
        report.show([started("evaluate")])
    assert stream.getvalue().splitlines() == [
        "loading data",
        "training",
        "3/6 cells: a 0.9000, best so far a 0.9000",
        "4/6 cells: reference 0.8000, best so far a 0.9000",
        "comparing arms",
    ]


def test_a_retraining_counts_anew_when_it_is_known_what_is_trained():
    stream = io.StringIO()
    alone = STUDY.of_recipe(STUDY.recipe, 3).model_dump_json()
    with Report(STUDY, 2, Console(file=stream, width=80)) as report:
        report.show([started("load"), event("said", message="No row is new.")])
        report.show([event("study", study=alone), started("train")])
        report.show([cell("reference", seed, 0.8) for seed in range(3)])
    assert stream.getvalue().splitlines() == [
        "No row is new.",
        "loading data",
        "training",
        "3/3 cells: reference 0.8000, best so far reference 0.8000",
    ]


def test_on_a_terminal_it_is_a_bar_that_is_put_away():
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True)
    with Report(STUDY, 2, console) as report:
        begun = event("cell_started", step="train", label="1/2", arm="reference", seed=0)
        report.show([started("train"), cell("a", 0, 0.9), cell("a", 1, 0.9), begun])
    text = stream.getvalue()
    assert "2/6" in text
    assert "reference; best so far a 0.9000" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (9.97, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3725, "1 h 02 min")],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text
