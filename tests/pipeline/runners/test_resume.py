"""A run that was stopped or killed leaves no process behind, and is continued."""

import signal

import pytest
from command import HANGS_SECONDS, TINY, assay, cells, events, processes_in, start, statuses, table, wait_for


@pytest.mark.slow
def test_killed_in_the_middle_of_training_it_leaves_no_orphan_and_resumes(tmp_path, finished, run_of):
    with start("run", *TINY, "--fan-out", "1", cwd=tmp_path) as running:
        wait_for(lambda: cells(tmp_path))
        running.send_signal(signal.SIGKILL)
    wait_for(lambda: not processes_in(tmp_path))
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
    _, said = running.communicate(timeout=HANGS_SECONDS)
    assert running.returncode == 130
    assert "stopped; `assay run sklearn:iris --seeds 2" in said
    assert "continues: 0 of 4 cells are kept" in said
    assert "Traceback" not in said
    assert processes_in(tmp_path) == []

    wait_for(lambda: statuses(tmp_path) == {"KILLED"})  # soon after, MLflow knows
    again = assay("run", *TINY, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert statuses(tmp_path) == {"FINISHED"}
