"""Each script behind a number in the docs runs to its end and measures something; a new script is found by itself."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import HANGS_SECONDS, environment

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(FOLDER.glob("[a-z]*.py"))  # as `make bench`; what they share begins with _

every_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, *command)
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=HANGS_SECONDS)


@every_script
def test_the_help_answers_at_once_and_says_what_is_measured_against_what_and_how_long_it_takes(script, tmp_path):
    done = run("-X", "importtime", script, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"against .* round takes .* on 2 cores", " ".join(done.stdout.split()))
    imported = re.findall(r"\| +(\w+)$", done.stderr, re.MULTILINE)
    assert "argparse" in imported
    assert not {"tensorflow", "tensorflow_datasets", "keras", "torch", "mlflow"} & set(imported)


@every_script
@pytest.mark.parametrize("wrong", [["--no-such-option"], ["--rounds", "0"]], ids=" ".join)
def test_a_wrong_option_is_a_usage_error(script, wrong, tmp_path):
    done = run(script, *wrong, cwd=tmp_path)
    assert done.returncode == 2
    assert wrong[0] in done.stderr.splitlines()[-1]


@pytest.mark.slow
@every_script
def test_the_shortest_round_measures_something(script, tmp_path):
    done = run(script, "--small", "--rounds", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    head, warning, *results = done.stdout.splitlines()
    assert "1 round" in head
    assert "mean nothing" in warning
    numbers = [float(number) for number in re.findall(r"[-+]?\d+\.\d+", "\n".join(results).replace(",", ""))]
    assert any(number > 0 for number in numbers)
    assert not re.search(r"\b(nan|inf)\b", done.stdout)
    assert not list(tmp_path.iterdir())


def test_a_case_whose_data_is_missing_says_in_one_line_how_to_get_it(tmp_path):
    if any(Path("/usr/share").glob("*/fortunes")):
        pytest.skip("Debian's package fortunes is installed")
    done = run(FOLDER / "cells.py", "--case", "fortunes", cwd=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"fortunes needs \S+, which is not there: apt install fortunes\n", done.stderr)


def test_fashion_mnist_that_is_not_prepared_is_said_likewise(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    done = run(FOLDER / "quality.py", "--case", "fashion cnn", cwd=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"fashion cnn needs \S+, which is not there: .* docs/fashion-mnist\.md .*\n", done.stderr)
