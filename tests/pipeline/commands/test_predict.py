"""`assay predict` on a table's model that one real run registered; other kinds are in serving/test_parity.py."""

import io
import re
import subprocess

import mlflow
import numpy as np
import pandas as pd
import pytest
from command import ASSAY, HANGS_SECONDS, assay, environment
from sklearn import datasets

from components.errors import AssayError
from pipeline.commands.predict import Model, write

COLUMNS = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
CLASSES = ["setosa", "versicolor", "virginica"]


@pytest.fixture(scope="module")
def workplace(finished):
    """The folder of the run, which registered the model iris."""
    folder, done = finished
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def flowers():
    return datasets.load_iris(as_frame=True).data


@pytest.fixture(scope="module")
def answers(workplace, flowers):
    """What the command prints for all flowers, from a file with a column that the model does not know."""
    flowers.assign(note="a, b").to_csv(workplace / "flowers.csv", index=False)
    done = assay("predict", "iris", "flowers.csv", cwd=workplace)
    assert (done.returncode, done.stderr) == (0, "iris version 1: 150 rows\n")
    return pd.read_csv(io.StringIO(done.stdout))


def test_it_prints_a_row_number_the_class_and_probabilities(answers):
    assert list(answers.columns) == ["row", "prediction", *CLASSES]
    assert answers["row"].tolist() == list(range(1, 151))
    np.testing.assert_allclose(answers[CLASSES].sum(axis=1), 1, atol=1e-5)
    assert (answers["prediction"] == answers[CLASSES].idxmax(axis=1)).all()
    assert (answers["prediction"] == np.repeat(CLASSES, 50)).mean() > 0.8


@pytest.mark.parametrize("name", ["iris@champion", "iris@1"])
def test_any_form_of_a_table_gives_the_same(workplace, flowers, answers, name, tmp_path):
    """The file in another form: semicolons, other order, Parquet, JSON Lines."""
    if name == "iris@1":
        file = tmp_path / "flowers.parquet"
        flowers[COLUMNS[::-1]].to_parquet(file)
    else:
        file = tmp_path / "flowers.csv"
        flowers.to_csv(file, index=False, sep=";")
    done = assay("predict", name, str(file), "-o", str(tmp_path / "out.csv"), cwd=workplace)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"iris version 1: 150 rows, wrote {tmp_path / 'out.csv'}\n"
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out.csv"), answers)


ROW = "5.1,3.5,1.4,0.2\n"
HEAD = ",".join(COLUMNS) + "\n"


@pytest.fixture
def in_workplace(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow itself sets it in this process


@pytest.mark.usefixtures("in_workplace")
@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("irs", "no model 'irs' is registered at sqlite.* did you mean 'iris'?"),
        ("tulips", "no model 'tulips' is registered at sqlite.* there are: iris"),
        ("iris@best", "has no alias 'best'; its aliases: champion"),
        ("iris@7", "has no version 7; its versions: 1"),
    ],
)
def test_a_model_that_is_not_there_is_said_with_those_that_are(wanted, said):
    with pytest.raises(AssayError, match=said):
        Model(wanted)


class Strange(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        return model_input


@pytest.mark.usefixtures("in_workplace")
def test_a_model_of_somebody_else_is_refused():
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.pyfunc.log_model(
        name="strange", python_model=Strange(), registered_model_name="strange", pip_requirements=["pandas"]
    )
    with pytest.raises(AssayError, match="strange version 1 was not made by Assay"):
        Model("strange@1")
    mlflow.MlflowClient().delete_registered_model("strange")


@pytest.fixture(scope="module")
def iris(workplace):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return Model("iris")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "sepal length (cm),x\n1,2\n",
            "lacks columns: 'sepal width (cm)', 'petal length (cm)', 'petal width (cm)'; it has",
        ),
        (HEAD, "rows.csv has no rows"),
        (
            HEAD + ROW * 300 + "5.1,tall,1,2\n",
            "rows.csv, row 301, column 'sepal width (cm)': expected a number, got 'tall'",
        ),
        (HEAD + ROW + "5.1,inf,1,2\n", "rows.csv, row 2, column 'sepal width (cm)': inf is too large a number"),
        (HEAD + ROW + "5.1,3\n", "rows.csv, line 3: expected 4 columns, as in the first line, got 2"),
    ],
)
def test_a_row_that_cannot_be_read_is_said_and_nothing_is_written(iris, tmp_path, monkeypatch, capsys, text, said):
    """Also where rows before it were read, asked about and written in earlier blocks."""
    monkeypatch.setattr("pipeline.commands.predict.VALUES", 40)
    (tmp_path / "rows.csv").write_text(text)
    for output in (tmp_path / "out.csv", None):
        with pytest.raises(AssayError, match=re.escape(said)):
            write(iris, str(tmp_path / "rows.csv"), output)
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv"]
    assert capsys.readouterr().out == ""


def test_a_failure_is_one_message_and_an_exit_code(workplace, tmp_path):
    (tmp_path / "rows.csv").write_text(HEAD + ROW + "5.1,tall,1,2\n")
    done = assay("predict", "iris", str(tmp_path / "rows.csv"), "-o", str(tmp_path / "out.csv"), cwd=workplace)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "found.csv"], "rows.csv is not there (seen from "),
        (["-o", "no/such.csv"], "there is no folder no"),
        (["-o", "found.parquet"], "expected the name of a .csv file"),
    ],
)
def test_what_cannot_be_read_or_written_is_said_before_anything_is_loaded(tmp_path, options, said):
    if options != ["-o", "found.csv"]:
        (tmp_path / "rows.csv").write_text(HEAD + ROW)
    done = assay("predict", "iris", "rows.csv", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr


def test_where_nothing_was_run_it_says_so(tmp_path):
    (tmp_path / "rows.csv").write_text(HEAD + ROW)
    done = assay("predict", "iris", "rows.csv", cwd=tmp_path)
    assert done.returncode == 1
    assert re.search(r"no models here yet: .*mlflow.db does not exist", done.stderr)
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv"]


def test_a_reader_that_leaves_early_is_no_error(workplace, tmp_path):
    (tmp_path / "long.csv").write_text(HEAD + ROW * 20_000)
    script = f"{ASSAY} predict iris {tmp_path}/long.csv | head -n 1"
    done = subprocess.run(
        ["bash", "-c", script], cwd=workplace, env=environment(), capture_output=True, text=True, timeout=HANGS_SECONDS
    )
    assert done.stderr == "iris version 1: 20000 rows\n"
    assert done.stdout == "row,prediction,setosa,versicolor,virginica\n"
