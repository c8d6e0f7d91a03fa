import json
from pathlib import Path

import pytest

from components.errors import AssayError, StudyError, UsageError
from components.runtime.events import CATEGORIES, Step, step


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ASSAY_EVENTS", str(tmp_path / "events.jsonl"))
    return tmp_path / "events.jsonl"


def events(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_step_tells_its_start_its_end_and_where_time_went(file):
    with step("train", "batch 1") as running:
        with running.span("training"):
            pass
        running.emit("cell_finished", arm="no dropout")
    told = events(file)
    assert [event["event"] for event in told] == ["step_started", "cell_finished", "step_finished"]
    assert {(event["step"], event["label"]) for event in told} == {("train", "batch 1")}
    assert told[1]["arm"] == "no dropout"
    assert set(told[2]["spans"]) == {"training"}
    assert told[0]["time"] <= told[2]["time"]


@pytest.mark.parametrize(("error", "code"), [(AssayError("no rows"), 1), (UsageError("no rows"), 2)])
def test_an_error_for_people_becomes_an_event_and_one_line(file, error, code):
    with pytest.raises(SystemExit, match="load: no rows"), step("load"):
        raise error
    last = events(file)[-1]
    assert (last["event"], last["message"], last["exit_code"]) == ("failed", "no rows", code)
    assert "crash" not in last


def test_any_other_error_keeps_its_traceback_and_is_a_crash(file):
    with pytest.raises(ZeroDivisionError), step("load"):
        _ = 1 / 0
    last = events(file)[-1]
    assert (last["event"], last["message"]) == ("failed", "ZeroDivisionError: division by zero")
    assert last["crash"]


def test_a_span_counts_even_when_it_fails(file):
    running = Step("load")
    with pytest.raises(ValueError, match="bad"), running.span("data"):
        raise ValueError("bad")
    assert "data" in running.spans


def test_without_the_variable_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.delenv("ASSAY_EVENTS", raising=False)
    monkeypatch.chdir(tmp_path)
    with step("load"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_steps_name_known_categories_only(tiny):
    spans = [set(event["spans"]) for event in tiny.events if event["event"] == "step_finished"]
    assert len(spans) == 5
    assert set().union(*spans) <= set(CATEGORIES)


def test_an_error_says_its_place():
    assert str(StudyError(("recipe", "model", "units", 1), "expected more")) == "recipe.model.units.1: expected more"
    assert str(StudyError((), "expected more")) == "expected more"
    assert (AssayError.exit_code, StudyError.exit_code) == (1, 2)
