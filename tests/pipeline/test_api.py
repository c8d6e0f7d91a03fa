"""The functions for notebooks and scripts: what they take, what they say, and what importing them costs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import TINY

import pipeline
from pipeline import AssayError, compare, load_study, predict
from pipeline.api import Result
from pipeline.study_file import read_study

FRAME = pd.DataFrame({"length": [1.5, 2.5, 3.5, 4.5] * 10, "kind": pd.Categorical(["a", "a", "b", "b"] * 10)})


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_importing_the_package_loads_only_its_version():
    code = (
        "import pipeline, sys; print([name for name in sys.modules if name.startswith(('pipeline.', 'rich', 'yaml'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['pipeline.version']"


def test_all_that_is_listed_is_there():
    for name in pipeline.__all__:
        assert getattr(pipeline, name)
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        _ = pipeline.rum


def test_a_study_is_a_name_a_file_a_source_a_mapping_or_a_study():
    described = {"study": "iris", "data": {"source": "sklearn:iris"}, "seeds": 3}
    expected = read_study("sklearn:iris", ["recipe.train.epochs=5"], 3)
    Path("iris.yaml").write_text("study: iris\ndata: {source: 'sklearn:iris'}\nseeds: 3\n")
    overrides = {"recipe.train.epochs": 5}
    for study in ("sklearn:iris", described, "iris.yaml", Path("iris.yaml")):
        assert load_study(study, overrides, 3) == expected
    assert load_study(expected) == expected
    assert load_study(expected).digest() == expected.digest()


def test_values_stay_what_they_are_in_python():
    arms = {"train.learning_rate": [1e-5, 1e-4]}
    rates = [arm.recipe.train.learning_rate for arm in load_study("iris", {"arms": arms}).expand()[1:]]
    assert rates == [1e-5, 1e-4]
    assert load_study("iris", {"seeds": np.int64(3), "study": "on"}).study == "on"
    study = load_study(FRAME.rename(columns={"kind": "kind \N{GRINNING FACE}?"}), target="kind \N{GRINNING FACE}?")
    assert (study.study, study.data.target) == ("kind -", "kind \N{GRINNING FACE}?")


def test_a_frame_is_a_table_that_is_named_by_its_content():
    study = load_study(FRAME, target="kind")
    assert (study.study, study.data.kind, study.data.target) == ("kind", "table", "kind")
    assert load_study(FRAME.copy(), target="kind").digest() == study.digest()
    changed = FRAME.assign(length=FRAME["length"] + 1)
    assert load_study(changed, target="kind").digest() != study.digest()
    assert len(list(Path(".assay/data").iterdir())) == 2
    kept = pd.read_parquet(study.data.source.removeprefix("table:"))
    assert kept["kind"].tolist() == FRAME["kind"].tolist()


@pytest.mark.parametrize(
    ("study", "overrides", "sentence"),
    [
        ("digit", {}, "did you mean digits?"),
        ("iris", {"recipe.train.epoch": 5}, "no study has 'recipe.train.epoch'"),
        ("iris", {"recipe.train.epochs": 0}, "--set recipe.train.epochs=0: expected a value at least 1"),
        ({"study": "x", "data": {"source": "sklearn:irs"}}, {}, "study: data.source: "),
        (7, {}, "or a data frame; got int"),
    ],
)
def test_what_is_wrong_is_said_as_the_command_says_it(study, overrides, sentence):
    with pytest.raises(AssayError, match=sentence.replace("?", r"\?")):
        load_study(study, overrides)


@pytest.mark.slow
def test_a_result_of_mlflow_tells_and_answers(finished, monkeypatch):
    folder, done = finished
    assert done.returncode == 0, f"{TINY}: {done.stderr}"
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DISPLAY", "")
    result = compare("iris")
    assert isinstance(result, Result)
    assert result.sentence in result._repr_html_()
    assert "technique" in result._repr_html_()
    # The first run made it the champion; other tests may have run the study again in this folder, where it stayed so.
    registry = repr(result).replace("\n", " ").partition("Registry: ")[2]
    assert registry.startswith(("iris version 1 is the champion now; ", "the champion stays iris version 1; "))
    assert result.report.read_text().startswith("<!")
    assert result.folder is None
    names = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
    rows = pd.DataFrame([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]], columns=names, index=["first", "second"])
    answers = result.winner.predict(rows)
    assert list(answers.columns) == ["setosa", "versicolor", "virginica"]
    assert list(answers.index) == ["first", "second"]
    pd.testing.assert_frame_equal(answers, predict("iris", rows))
    rows.to_csv("two.csv", index=False)
    assert predict("iris", "two.csv").to_numpy().tolist() == answers.to_numpy().tolist()
    with pytest.raises(AssayError, match="columns are missing: petal width"):
        result.winner.predict(rows.drop(columns="petal width (cm)"))
