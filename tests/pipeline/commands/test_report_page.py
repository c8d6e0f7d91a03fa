"""`assay report` finds the page of a run, whatever names the run."""

from pathlib import Path

import mlflow
import pytest
from command import assay

from components.evaluation.verdict import Verdict
from components.records import from_json
from components.reporting.phrases import sentence


@pytest.fixture(scope="module")
def run(finished) -> tuple[Path, Verdict]:
    folder, done = finished
    assert done.returncode == 0, done.stderr
    file = max(folder.glob(".assay/runs/*/verdict.json"), key=lambda file: file.stat().st_mtime)  # tests repeat the run
    return folder, from_json(Verdict, file.read_text(), str(file))


@pytest.mark.slow
def test_the_latest_run_is_meant_where_none_is_named(run):
    folder, verdict = run
    done = assay("report", cwd=folder)
    assert done.returncode == 0, done.stderr
    file = folder / done.stdout.strip()
    assert file == folder / ".assay" / "reports" / f"{verdict.run}.html"
    text = file.read_text("utf-8")
    assert sentence(verdict) in text
    assert verdict.mlflow.run_id in text


@pytest.mark.slow
@pytest.mark.parametrize("named", ["name", "source", "run", "seed"])
def test_a_study_and_a_run_are_found(run, tmp_path, named):
    folder, verdict = run
    run_id = verdict.mlflow.run_id
    api = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (seed, *_) = api.search_runs([verdict.mlflow.experiment_id], "tags.`assay.role` = 'seed'")
    names = {"name": "iris", "source": "sklearn:iris", "run": run_id, "seed": seed.info.run_id}
    done = assay("report", names[named], "-o", str(tmp_path / "page.html"), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "page.html")
    assert run_id in (tmp_path / "page.html").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["report", "0" * 32], f"MLflow has no run {'0' * 32}"),
        (["report", "irish"], "did you mean 'iris'?"),
        (["report", "iris", "-o", "no/such/folder/x.html"], "can't write no/such/folder/x.html: No such file"),
    ],
)
def test_what_can_not_be_is_one_message(run, arguments, told):
    done = assay(*arguments, cwd=run[0])
    assert done.returncode != 0
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_without_a_page_is_told(tmp_path):
    api = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    run_id = api.create_run(api.create_experiment("other")).info.run_id
    done = assay("report", run_id, cwd=tmp_path)
    assert done.returncode == 1
    assert f"run {run_id} has no report.html" in done.stderr


def test_where_nothing_ran_nothing_is_made(tmp_path):
    done = assay("report", cwd=tmp_path)
    assert done.returncode == 1
    assert "no runs here yet" in done.stderr
    assert list(tmp_path.iterdir()) == []
