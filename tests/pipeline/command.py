"""The command as users start it."""

import json
import os
import subprocess
import sys
from pathlib import Path

ASSAY = str(Path(sys.executable).with_name("assay"))

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
        [ASSAY, *arguments], cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=300
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
