"""The whole line, with real steps: it runs, it fails, and it never leaves a process behind."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from command import HANGS_SECONDS, TINY, assay, cells, events, processes_in, start, wait_for

from components.errors import AssayError
from pipeline.runners.process import ProcessRunner
from pipeline.runners.run import sit
from pipeline.runners.run_folder import OpenRun, RunFolder, environment_of, read_events
from pipeline.study_file import read_study


@pytest.mark.slow
def test_a_whole_run_says_what_helped_and_leaves_only_what_is_worth_keeping(finished, run_of):
    folder, done = finished
    assert done.returncode == 0, done.stderr
    assert "plain" in done.stdout
    assert "Registry: iris version 1 is the champion now" in done.stdout
    assert "training " in done.stdout.partition("\nTime ")[2]
    assert "\x1b" not in done.stdout + done.stderr  # no terminal, no control characters
    run = run_of(folder)
    assert {file.name for file in run.iterdir()} == {
        "run.json", "run.log", "events.jsonl", "verdict.json", "decision.json",
    }  # fmt: skip
    assert json.loads((run / "run.json").read_text())["state"] == "finished"
    assert len(cells(folder)) == 4
    assert processes_in(folder) == []


@pytest.mark.slow
def test_a_second_run_trains_nothing_and_compare_prints_the_same_table(tmp_path, finished):
    folder, first = finished
    time.sleep(1.1)  # a run is named by the second
    again = assay("run", *TINY, cwd=folder)
    assert again.returncode == 0, again.stderr
    reused = [event["reused"] for event in cells(folder)]
    assert reused == [False] * 4 + [True] * 4
    compared = assay("compare", "iris", cwd=folder)
    assert compared.returncode == 0, compared.stderr
    assert compared.stdout.strip() in again.stdout
    assert first.stdout.partition("On 30 test rows")[0] == again.stdout.partition("On 30 test rows")[0]


@pytest.mark.slow
def test_a_step_that_is_killed_is_a_failure_that_names_it_and_its_log(tmp_path, run_of):
    running = start("run", *TINY, cwd=tmp_path)
    wait_for(lambda: [event for event in events(tmp_path) if event["step"] == "load"])
    steps = [pid for pid in processes_in(tmp_path) if b"executor_main" in _command(pid)]
    os.kill(max(steps), signal.SIGKILL)  # what a machine without memory does
    _, said = running.communicate(timeout=HANGS_SECONDS)
    assert running.returncode == 1
    assert "error: the step `load` failed" in said
    assert str(run_of(tmp_path) / "run.log") in said
    assert json.loads((run_of(tmp_path) / "run.json").read_text())["state"] == "failed"


@pytest.mark.slow
def test_what_a_step_says_is_all_that_is_shown(tmp_path):
    done = assay("run", "tfds:nosuchset", cwd=tmp_path)
    assert done.returncode != 0
    assert "nosuchset" in done.stderr
    assert "Traceback" not in done.stderr
    assert "last lines" not in done.stderr


@pytest.mark.slow
def test_a_step_that_crashes_shows_its_last_lines_and_the_log(tmp_path, run_of):
    (tmp_path / ".assay").mkdir()
    (tmp_path / ".assay" / "store").write_text("where a folder should be")
    done = assay("run", *TINY, cwd=tmp_path)
    assert done.returncode == 1
    assert "error: the step `load` failed; its last lines:" in done.stderr
    assert "FileExistsError" in done.stderr
    assert "KFP Executor" not in done.stderr
    assert done.stderr.rstrip().endswith(str(run_of(tmp_path) / "run.log"))


def test_half_a_line_of_a_killed_step_is_no_event(tmp_path):
    file = tmp_path / "events.jsonl"
    file.write_text('{"event": "a"}\n{"event": "b", "va{"event": "c"}\n{"event": "d"}\n{"event"')
    found, offset = read_events(file, 0)
    assert [event["event"] for event in found] == ["a", "d"]
    with file.open("a") as stream:
        stream.write(': "e"}\n')
    assert [event["event"] for event in read_events(file, offset)[0]] == ["e"]


def _command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def test_a_run_that_the_shell_has_open_is_not_told_to_the_steps(tmp_path, monkeypatch):
    """It may be that of a task of Kubeflow's in which somebody calls `assay run`: two such tasks are two studies."""
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    told = environment_of(tmp_path)
    assert "MLFLOW_RUN_ID" not in told
    assert told["MLFLOW_TRACKING_USERNAME"] == "ada"


def test_what_register_decided_is_kept_when_the_run_fails(tmp_path):
    """MLflow was away: the step's own output is thrown away with the next try."""
    RunFolder(tmp_path).write(arguments={"batches": ["none"], "study": "{}"})  # no study: the child fails at once
    written = tmp_path / "outputs" / "assay" / "register" / "decision"
    with (tmp_path / "lock").open("w") as lock:
        run = OpenRun(tmp_path, dict(os.environ), lock.fileno())
        written.mkdir(parents=True)
        (written / "decision.json").write_text('{"decision": "failed"}')
        with pytest.raises(AssayError):
            sit(read_study("iris", [], None), run, ProcessRunner(run), lambda events: None)
    assert (tmp_path / "decision.json").read_text() == '{"decision": "failed"}'
