"""What the scripts share: options, data that may be missing, processes of their own, and how a result is written.

Only the standard library is imported here, so that `--help` answers at once and any interpreter can run a side.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reads it when it is imported


@dataclass(frozen=True)
class Files:
    """Data that comes with no Python package: where it is, and how to get it there."""

    at: Path
    get: str

    @property
    def missing(self) -> str | None:
        """What to do where the data is not there."""
        return None if self.at.exists() else f"needs {self.at}, which is not there: {self.get}"


FASHION = Files(Path("/usr/share/datasets/fashion-mnist"), "apt install dataset-fashion-mnist")
FORTUNES = Files(Path("/usr/share/games/fortunes/people"), "apt install fortunes")


def parser(doc: str | None, rounds: int, cases: Iterable[str] = ()) -> argparse.ArgumentParser:
    """Return a parser of the options that all scripts have; the help begins with the script's first paragraph."""
    made = argparse.ArgumentParser(description=str(doc).partition("\n\n")[0])
    made.add_argument("--rounds", type=count, default=rounds, help=f"measure so many times ({rounds} by default)")
    made.add_argument("--small", action="store_true", help="try the script in seconds; the numbers mean nothing")
    if cases := list(cases):
        made.add_argument("--case", choices=cases, nargs="+", help="only these; all whose data is there by default")
    return made


def count(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def start(options: argparse.Namespace, *more: str) -> None:
    """Print what the numbers depend on."""
    rounds = f"{options.rounds} round{'s' if options.rounds > 1 else ''}"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(", ".join((machine, rounds, *more)))
    if options.small:
        print("--small: the numbers below show that the script works, and mean nothing else")


def chosen(options: argparse.Namespace, cases: Mapping[str, Files | None]) -> list[str]:
    """Return the cases to measure, and say which are left out; one that is asked for and has no data ends the script.

    With --small it is the first case, unless others are asked for.
    """
    missing = {case: files.missing for case, files in cases.items() if files and files.missing}
    for case in options.case or []:
        if case in missing:
            raise SystemExit(f"{case} {missing[case]}")
    if options.case or options.small:
        return options.case or [next(case for case in cases if case not in missing)]
    for case, what in missing.items():
        print(f"{case} is left out: it {what}")
    return [case for case in cases if case not in missing]


def launch(script: str, *arguments: object, stderr: int | None = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start a script in a process of its own; what it says on standard error is kept for the case that it fails."""
    command = [sys.executable, script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)


def answer(process: subprocess.Popen[str]) -> Any:
    """Wait for a process; returns its last line, which is JSON."""
    out, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{errors or ''}{process.args} failed with {process.returncode}")
    return json.loads(out.splitlines()[-1])


def spread(values: Sequence[float], form: str = ".1f") -> str:
    """Return "median (least to greatest)"."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def average(values: Sequence[float]) -> str:
    """Return "mean (standard deviation)", the latter where there is one."""
    return f"{mean(values):.4f}" + (f" (sd {stdev(values):.4f})" if len(values) > 1 else "")


def report_speeds(rounds: Sequence[Mapping[str, float]]) -> None:
    """Print the images a second of each side, and how many times as fast the first one is; a ratio is of one round."""
    first, width = next(iter(rounds[0])), max(map(len, rounds[0]))
    for name in rounds[0]:
        line = f"  {name:{width}}  {spread([one[name] for one in rounds], ',.0f')} images/s"
        ratios = [one[first] / one[name] for one in rounds]
        print(line if name == first else f"{line}; {first} / {name} {spread(ratios, '.2f')}")


def report_promises(promises: Sequence[tuple[float, bool]], bins: int = 5) -> None:
    """Print how often what was promised with these chances came true, in bins of the chance."""
    told: list[str] = []
    for place in range(bins):
        mine = [one for one in promises if min(int(bins * one[0]), bins - 1) == place]
        if mine:
            told.append(f"{mean(of for of, _ in mine):.0%} {mean(kept for _, kept in mine):.0%} (of {len(mine):,})")
    print("  promised and found:", ", ".join(told))
