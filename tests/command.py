"""The command as users start it."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

ASSAY = str(Path(sys.executable).with_name("assay"))

HANGS_SECONDS = 3600  # a command that takes this long never ends; a busy machine is no failure

# Two arms with two seeds, a few seconds of training: real in all but size.
TINY = (
    "sklearn:iris",
    "--seeds",
    "2",
    "--set",
    "recipe.train.epochs=12",
    "--set",
    "arms={plain: {model.batch_norm: false}}",
)


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "ASSAY_", "COLUMNS", "FORCE_COLOR"))}
    return {**kept, **more}


def assay(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ASSAY, *arguments], cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=HANGS_SECONDS
    )


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [ASSAY, *arguments], cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def events(cwd: Path) -> list[dict]:
    lines = [line for file in sorted(cwd.glob(".assay/runs/*/events.jsonl")) for line in file.read_text().splitlines()]
    return [json.loads(line) for line in lines if line.endswith("}")]


def processes_in(cwd: Path) -> list[int]:
    """The living processes whose working folder is this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == cwd and "\nState:\tZ" not in (process / "status").read_text():
                found.append(int(process.name))
        except OSError:  # it has ended, or is another user's
            continue
    return found


def wait_for(condition, seconds=600.0, every=0.02):
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
        del effect["look"]["run"]
    return verdict["effects"], verdict["test"], verdict["winner"]
