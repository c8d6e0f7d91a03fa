"""A run that is killed again and again ends with the numbers of one that was left alone."""

import os
import random
import signal
import subprocess
from contextlib import suppress

import pytest
from command import assay, events, processes_in, start, table, wait_for


@pytest.mark.slow
def test_kills_at_random_moments_change_no_number(tmp_path):
    """Every second kill waits until a cell has begun; the others come whenever they come."""
    # Twenty take five to ten minutes, and all of CI has thirty-five.
    most, epochs = (3, 60) if os.environ.get("CI") else (20, 300)
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
        wait_for(lambda: not processes_in(folders[1]))
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
