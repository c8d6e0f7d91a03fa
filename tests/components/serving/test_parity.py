"""One model, asked in every way there is, gives the probabilities that it was evaluated with."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from command import HANGS_SECONDS
from PIL import Image
from sklearn import datasets

from components.errors import AssayError
from components.runtime.cells import FinishedCell
from pipeline.commands.predict import Model, write

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_workplace")]

ASSAY = str(Path(sys.executable).with_name("assay"))
FORTUNES = Path("/usr/share/games/fortunes")
START_SECONDS = 180


@dataclass
class Asked:
    """A trained and registered model, and its raw test rows.

    Attributes:
        steps: the study.
        file: the test rows, as `assay predict` takes them.
        raw: the same, as `mlflow.pyfunc` takes them.
        body: the same, as the server takes them.
    """

    steps: Any
    file: Path
    raw: Any
    body: dict[str, Any]

    @property
    def evaluated(self) -> np.ndarray:
        """The probabilities of the test rows, as they were scored."""
        return FinishedCell(self.steps.folder / "verdict" / "winner").probabilities("test")


def digits(run_steps, folder: Path) -> Asked:
    steps = run_steps("parity-digits", arms={}, seeds=1, recipe={"model": {"name": "cnn", "units": [4]}}).all()
    x = datasets.load_digits().images[..., None].astype(np.float32)[steps.prepared.test_rows]
    np.save(folder / "digits.npy", x)
    return Asked(steps, folder / "digits.npy", x, {"inputs": x.tolist()})


def scans(run_steps, folder: Path) -> Asked:
    """Files of images, in folders by their class."""
    bunch = datasets.load_digits()
    paths = []
    for row, (image, label) in enumerate(zip(bunch.images[:600], bunch.target, strict=False)):
        paths.append(folder / "scans" / str(label) / f"{row:03}.png")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 15).astype(np.uint8)).save(paths[-1])
    paths.sort()
    steps = run_steps("parity-scans", data={"source": f"images:{folder}/scans"}, arms={}, seeds=1).all()
    tested = [paths[row] for row in steps.prepared.test_rows]
    for place, path in enumerate(tested):  # by their names in the order of the test rows, and not in one folder
        copy = folder / "tested" / f"part {place // 50}" / f"{place:03}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    contents = [path.read_bytes() for path in tested]
    columns = {"columns": ["image"], "data": [[base64.b64encode(content).decode()] for content in contents]}
    return Asked(steps, folder / "tested", contents, {"dataframe_split": columns})


def fortunes(run_steps, folder: Path) -> Asked:
    if not FORTUNES.is_dir():
        pytest.skip("needs Debian's package fortunes")
    rows = [
        {"topic": topic, "saying": text}
        for topic in ("science", "songs-poems")
        for text in (FORTUNES / topic).read_text("utf-8").split("\n%\n")
        if text.strip()
    ]
    (folder / "fortunes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    steps = run_steps(
        "parity-fortunes",
        data={"source": f"text:{folder}/fortunes.jsonl", "target": "topic", "text": "saying", "words": 100},
        recipe={"model": {"name": "bilstm", "units": [4], "embedding": 8}},
        arms={},
        seeds=1,
    ).all()
    texts = [rows[row]["saying"] for row in steps.prepared.test_rows]
    pd.DataFrame({"id": range(len(texts)), "saying": texts}).to_csv(folder / "texts.csv", index=False)
    return Asked(steps, folder / "texts.csv", texts, {"inputs": texts})


def penguins(run_steps, folder: Path) -> Asked:
    """A table with categories and missing values."""
    file = files("palmerpenguins") / "data" / "penguins.csv"
    steps = run_steps(
        "parity-penguins",
        data={"source": f"table:{file}", "target": "species"},
        recipe={"scale": "standardize", "model": {"units": [16], "categories": "embedding"}},
        arms={},
        seeds=1,
    ).all()
    frame = pd.read_csv(str(file)).iloc[steps.prepared.test_rows]
    frame.to_csv(folder / "penguins.csv", index=False)
    frame = frame.drop(columns="species")
    split = json.loads(frame.to_json(orient="split", index=False))
    return Asked(steps, folder / "penguins.csv", frame, {"dataframe_split": split})


KINDS = (digits, scans, fortunes, penguins)


@pytest.fixture(scope="module", params=KINDS, ids=[kind.__name__ for kind in KINDS])
def asked(request, run_steps, workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(workplace)
        return request.param(run_steps, tmp_path_factory.mktemp(request.param.__name__))


@pytest.fixture(scope="module")
def server(asked: Asked, workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `mlflow models serve`, run by itself on a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    model = f"models:/{asked.steps.study.study}@champion"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # MLflow starts `uvicorn` by its name
    with (tmp_path_factory.mktemp("server") / "log").open("w+") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=workplace,
            env={**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{workplace / 'mlflow.db'}"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait(f"http://127.0.0.1:{port}", process, Path(log.name))
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 15)  # uvicorn is a child of it, in its group
            process.wait()


def wait(address: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/ping", timeout=5)
            return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"the server does not answer:\n{log.read_text()[-3000:]}")


def post(address: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/invocations", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=HANGS_SECONDS) as answer:
        return json.load(answer)


def predict(model: str, source: Path, *options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [ASSAY, "predict", model, str(source), *options]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=HANGS_SECONDS)


def test_the_command_answers_as_was_evaluated(asked, in_workplace, tmp_path):
    done = predict(asked.steps.study.study, asked.file, "-o", str(tmp_path / "out.csv"), cwd=in_workplace)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    found = pd.read_csv(tmp_path / "out.csv", index_col=0)
    classes = list(asked.steps.prepared.schema.classes)
    assert list(found.columns) == ["prediction", *classes]
    np.testing.assert_allclose(found[classes], asked.evaluated, atol=1e-5)
    assert np.ptp(asked.evaluated, axis=0).max() > 0.01, "rows differ, so that their order counts"
    assert found["prediction"].astype(str).tolist() == [classes[i] for i in asked.evaluated.argmax(axis=1)]


def test_mlflow_answers_as_was_evaluated(asked):
    model = mlflow.pyfunc.load_model(f"models:/{asked.steps.study.study}@champion")
    found = model.predict(asked.raw)
    assert list(found.columns) == list(asked.steps.prepared.schema.classes)
    np.testing.assert_allclose(found, asked.evaluated, atol=1e-5)


def test_a_server_answers_as_was_evaluated(asked, server):
    found = pd.DataFrame(post(server, asked.body)["predictions"])
    assert list(found.columns) == list(asked.steps.prepared.schema.classes)
    np.testing.assert_allclose(found, asked.evaluated, atol=1e-5)


WRONG = {
    "digits": ({"inputs": [[[1.0]]]}, "shape"),
    "scans": ({"dataframe_split": {"columns": ["image"], "data": [["bm90aGluZw=="]]}}, "row 0 is no PNG, JPEG"),
    "fortunes": ({"dataframe_split": {"columns": ["id"], "data": [["a"]]}}, "the first column is 'id'; expected 'say"),
    "penguins": ({"dataframe_split": {"columns": ["sex"], "data": [["male"]]}}, "missing inputs ['island'"),
}


def test_a_server_says_what_is_wrong_with_a_row(asked, server, request):
    body, said = WRONG[asked.steps.study.study.removeprefix("parity-")]
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(server, body)
    assert refused.value.code == 400
    assert said in json.load(refused.value)["message"]


# What `assay predict` makes of files that are not the test rows


def ask(asked: Asked, source: Path, folder: Path) -> pd.DataFrame:
    write(Model(asked.steps.study.study), str(source), folder / "out.csv")
    return pd.read_csv(folder / "out.csv")


def only(kind: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("asked", [kind], indirect=True, ids=[kind.__name__])


@only(scans)
def test_files_and_folders_of_images(asked, tmp_path):
    whole = ask(asked, asked.file, tmp_path)
    assert whole["file"].tolist()[:2] == ["part 0/000.png", "part 0/001.png"]
    one = ask(asked, asked.file / "part 1" / "057.png", tmp_path)
    assert one["file"].tolist() == ["057.png"]
    np.testing.assert_allclose(one.iloc[0, 2:].astype(float), asked.evaluated[57], atol=1e-5)
    (tmp_path / "mixed").mkdir()
    with pytest.raises(AssayError, match="mixed has no PNG, JPEG, BMP or GIF image in it"):
        ask(asked, tmp_path / "mixed", tmp_path)
    (tmp_path / "mixed" / "a.png").write_bytes(asked.raw[0])
    (tmp_path / "mixed" / "b.png").write_bytes(asked.raw[0][:60])
    (tmp_path / "out.csv").unlink()
    with pytest.raises(AssayError, match=r"mixed/b.png .*truncated"):
        ask(asked, tmp_path / "mixed", tmp_path)
    assert not (tmp_path / "out.csv").exists()


@only(digits)
def test_a_model_of_arrays_takes_no_files(asked, tmp_path):
    with pytest.raises(AssayError, match=r"trained on arrays; expected a .npy file \(rows, 8, 8, 1\)"):
        ask(asked, tmp_path, tmp_path)
    np.save(tmp_path / "x.npy", asked.raw[:, :7])
    with pytest.raises(AssayError, match=r"x.npy: expected images of shape \(8, 8, 1\), got \(7, 8, 1\)"):
        ask(asked, tmp_path / "x.npy", tmp_path)


@only(fortunes)
def test_files_and_folders_of_texts(asked, tmp_path):
    (tmp_path / "texts" / "more").mkdir(parents=True)
    for place, name in enumerate(("a.txt", "b.txt", "more/c.txt")):
        (tmp_path / "texts" / name).write_text(asked.raw[place], "utf-8")
    found = ask(asked, tmp_path / "texts", tmp_path)
    assert found["file"].tolist() == ["a.txt", "b.txt", "more/c.txt"]
    np.testing.assert_allclose(found.iloc[:, 2:], asked.evaluated[:3], atol=1e-5)
    found = ask(asked, tmp_path / "texts" / "b.txt", tmp_path)
    np.testing.assert_allclose(found.iloc[:, 2:], asked.evaluated[1:2], atol=1e-5)
    (tmp_path / "texts" / "b.txt").write_bytes(b"caf\xe9")
    with pytest.raises(AssayError, match=r"texts/b.txt has byte 0xe9 in line 1, which is not UTF-8"):
        ask(asked, tmp_path / "texts", tmp_path)
    (tmp_path / "alone.csv").write_text("saying\nWell; a text, as it is\n")
    with pytest.raises(AssayError, match=r"alone.csv, line 2: expected 1 columns"):
        ask(asked, tmp_path / "alone.csv", tmp_path)
    (tmp_path / "alone.csv").write_text('saying\n"Well; a text, as it is"\n')
    assert len(ask(asked, tmp_path / "alone.csv", tmp_path)) == 1


@only(penguins)
def test_blocks_give_the_same_rows_and_classes_may_have_any_name(asked, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.commands.predict.VALUES", 50)
    model = Model(asked.steps.study.study)
    model.served.classes = ("prediction", "row", "row_")
    write(model, str(asked.file), tmp_path / "out.csv")
    found = pd.read_csv(tmp_path / "out.csv")
    assert list(found.columns) == ["row__", "prediction_", "prediction", "row", "row_"]
    assert found["row__"].tolist() == list(range(1, len(asked.raw) + 1))
    np.testing.assert_allclose(found.iloc[:, 2:], asked.evaluated, atol=1e-5)
