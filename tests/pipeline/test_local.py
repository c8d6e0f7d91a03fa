"""The whole line, with real steps: it runs, it stops, it resumes, it fails, and it never leaves a process behind."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from command import TINY, assay, events, processes_in, start

from components.errors import AssayError
from pipeline.local import Run, _environment, _sit, read_events


def wait_for(condition, seconds=120.0, every=0.02):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(every)
    return found


def cells(folder):
    return [event for event in events(folder) if event["event"] == "cell_finished"]


def statuses(folder):
    """The statuses of all runs in the folder's MLflow store."""
    with closing(sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=ro", uri=True, timeout=20)) as store:
        return {status for (status,) in store.execute("select status from runs where lifecycle_stage = 'active'")}


def table(run):
    """The verdict without what differs from run to run: times and names."""
    verdict = json.loads((run / "verdict.json").read_text())
    for effect in verdict["effects"]:
        for name in ("cost", "cost_low", "cost_high"):
            del effect[name]
    return verdict["effects"], verdict["test"], verdict["winner"]


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
def test_kills_at_random_moments_change_no_number(tmp_path):
    """Every second kill waits until a cell has begun; the others come whenever they come."""
    # Twenty take five to ten minutes, and all of CI has thirty.
    most, epochs = (6, 100) if os.environ.get("CI") else (20, 300)
    study = ("sklearn:digits", "--seeds", "2", "--fan-out", "1")
    study += (
        "--set",
        "checkpoint=0",
        "--set",
        f"recipe.train.epochs={epochs}",
        "--set",
        "recipe.train.early_stopping=false",
    )
    study += ("--set", "arms={small: {model.units: [16, 32]}}")
    folders = tmp_path / "whole", tmp_path / "killed"
    for folder in folders:
        folder.mkdir()
    moments, kills = random.Random(4), 0

    def written() -> set[int]:
        """When the checkpoint of the cell that is trained was written."""
        return {file.stat().st_mtime_ns for file in folders[1].glob(".assay/store/.*.checkpoint")}

    while kills < most:
        before = written()
        with start("run", *study, cwd=folders[1]) as running:
            if kills % 2:
                wait_for(lambda: running.poll() is not None or written() - before)  # noqa: B023
            with suppress(subprocess.TimeoutExpired):
                running.wait(moments.uniform(0.0, 1.0 if kills % 2 else 8.0))
            if running.poll() is not None:
                break
            running.send_signal(moments.choice((signal.SIGKILL, signal.SIGTERM)))
            kills += 1
        wait_for(lambda: not processes_in(folders[1]), seconds=10)
    runs = []
    for folder in folders:
        done = assay("run", *study, cwd=folder)
        assert done.returncode == 0, done.stderr
        runs.append(sorted(folder.glob(".assay/runs/*"))[0])
    resumed = [event["epochs"] for event in events(folders[1]) if event["event"] == "cell_resumed"]
    assert kills == most, "the study was finished too soon for this test to mean anything"
    assert len(resumed) > 0
    assert table(runs[1]) == table(runs[0])
    assert not list((folders[1] / ".assay" / "store").glob(".*.checkpoint"))


@pytest.mark.slow
def test_killed_in_the_middle_of_training_it_leaves_no_orphan_and_resumes(tmp_path, finished, run_of):
    with start("run", *TINY, "--fan-out", "1", cwd=tmp_path) as running:
        wait_for(lambda: cells(tmp_path))
        running.send_signal(signal.SIGKILL)
    wait_for(lambda: not processes_in(tmp_path), seconds=5)
    before = len(cells(tmp_path))
    assert 0 < before < 4, "killed too late for this test to mean anything"

    again = assay("run", *TINY, "--fan-out", "1", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    trained = [(cell["arm"], cell["seed"]) for cell in cells(tmp_path) if not cell["reused"]]
    assert sorted(trained) == [("plain", 0), ("plain", 1), ("reference", 0), ("reference", 1)]
    assert table(run_of(tmp_path)) == table(sorted(finished[0].glob(".assay/runs/*"))[0])


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_says_how_to_resume_and_leaves_no_process(tmp_path, sent):
    running = start("run", *TINY, cwd=tmp_path)
    wait_for(lambda: [event for event in events(tmp_path) if event["event"] == "step_finished"])
    assert statuses(tmp_path) == {"RUNNING"}

    second = assay("run", *TINY, cwd=tmp_path)
    assert second.returncode == 1
    assert f"study 'iris' is already running here (process {running.pid})" in second.stderr

    running.send_signal(sent)
    _, said = running.communicate(timeout=10)
    assert running.returncode == 130
    assert "stopped; `assay run sklearn:iris --seeds 2" in said
    assert "continues: 0 of 4 cells are kept" in said
    assert "Traceback" not in said
    assert processes_in(tmp_path) == []

    wait_for(lambda: statuses(tmp_path) == {"KILLED"}, seconds=60)  # soon after, MLflow knows
    again = assay("run", *TINY, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert statuses(tmp_path) == {"FINISHED"}


@pytest.mark.slow
def test_a_step_that_is_killed_is_a_failure_that_names_it_and_its_log(tmp_path, run_of):
    running = start("run", *TINY, cwd=tmp_path)
    wait_for(lambda: [event for event in events(tmp_path) if event["step"] == "load"])
    steps = [pid for pid in processes_in(tmp_path) if b"executor_main" in _command(pid)]
    os.kill(max(steps), signal.SIGKILL)  # what a machine without memory does
    _, said = running.communicate(timeout=60)
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
    told = _environment(tmp_path)
    assert "MLFLOW_RUN_ID" not in told
    assert told["MLFLOW_TRACKING_USERNAME"] == "ada"


def test_what_register_decided_is_kept_when_the_run_fails(tmp_path):
    """MLflow was away: the step's own output is thrown away with the next try."""
    run = Run(tmp_path)
    run.write(arguments={"batches": ["none"]})  # no study: the child fails at once
    written = tmp_path / "outputs" / "assay" / "register" / "decision"
    written.mkdir(parents=True)
    (written / "decision.json").write_text('{"decision": "failed"}')
    with (tmp_path / "lock").open("w") as lock, pytest.raises(AssayError):
        _sit(run, dict(os.environ), lock.fileno(), lambda events: None)
    assert (tmp_path / "decision.json").read_text() == '{"decision": "failed"}'
