"""Each kind of the user's own data through all steps, up to a registered model that takes it raw."""

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import datasets

from components.reporting.phrases import diagnosis_as_text
from components.runtime.cells import FinishedCell

pytestmark = pytest.mark.usefixtures("in_workplace")

FORTUNES = Path("/usr/share/games/fortunes")


def evaluated(steps) -> np.ndarray:
    """The winner's probabilities of the test rows, as they were scored."""
    return FinishedCell(steps.folder / "verdict" / "winner").probabilities("test")


def names(steps) -> np.ndarray:
    """The classes' names of the test rows."""
    return np.array(steps.prepared.schema.classes)[steps.prepared.y[steps.prepared.test_rows]]


@pytest.fixture(scope="module")
def penguins(run_steps, workplace):
    file = files("palmerpenguins") / "data" / "penguins.csv"
    recipe = {
        "augment": {"noise": 0.1, "mixup": 0.2},
        "scale": "robust",
        "train": {"epochs": 40, "early_stopping": False},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return run_steps(
            "penguins",
            data={"source": f"table:{file}", "target": "species"},
            recipe={**recipe, "model": {"name": "mlp", "units": [32], "batch_norm": True}},
            arms={"embedded": {"model.categories": "embedding"}, "unscaled": {"scale": "none"}},
            seeds=2,
        ).all()


def test_a_table_with_categories_and_missing_values(penguins):
    frame = pd.read_csv(str(files("palmerpenguins") / "data" / "penguins.csv"))
    rows = penguins.prepared.test_rows
    found = mlflow.pyfunc.load_model("models:/penguins@champion").predict(frame.drop(columns="species").iloc[rows])
    np.testing.assert_allclose(found, evaluated(penguins), atol=1e-5)
    assert (frame["species"].to_numpy()[rows] == names(penguins)).all()
    assert penguins.verdict["test"]["reference"]["accuracy"] > 0.95


def test_a_model_brings_the_code_that_it_needs(penguins, tmp_path):
    """Loaded where there is no Assay: what `components` is then comes out of the model's own folder."""
    version = mlflow.MlflowClient().get_model_version_by_alias("penguins", "champion")
    folder = mlflow.artifacts.download_artifacts(version.source, dst_path=str(tmp_path))
    row = {"island": "Torgersen", "bill_length_mm": 39.1, "bill_depth_mm": 18.7, "flipper_length_mm": None}
    row |= {"body_mass_g": 3750, "sex": "?", "year": 2007}
    script = f"""
import sys
sys.path = [path for path in sys.path if path != {str(Path(__file__).parents[3])!r}]
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model({folder!r})
found = model.predict(pd.DataFrame([{row!r}]))
import components
print(components.__file__, found.idxmax(axis=1)[0])
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    where, species = done.stdout.split()[-2:]
    assert where.startswith(folder)
    assert species == "Adelie"


@pytest.mark.skipif(not FORTUNES.is_dir(), reason="needs Debian's package fortunes")
def test_texts(run_steps, tmp_path):
    texts = [
        (topic, text)
        for topic in ("science", "songs-poems")
        for text in (FORTUNES / topic).read_text("utf-8").split("\n%\n")
        if text.strip()
    ]
    lines = [json.dumps({"topic": topic, "text": text}) for topic, text in texts]
    (tmp_path / "fortunes.jsonl").write_text("\n".join(lines))
    steps = run_steps(
        "fortunes",
        data={"source": f"text:{tmp_path}/fortunes.jsonl", "target": "topic", "words": 100},
        recipe={
            "augment": {"drop_words": 0.1, "swap_words": 0.1, "mask_words": 0.1},
            "model": {"units": [16], "embedding": 16},
            "train": {"epochs": 15, "early_stopping": False},
        },
        arms={},
        seeds=1,
    ).all()
    rows = steps.prepared.test_rows
    model = mlflow.pyfunc.load_model("models:/fortunes@champion")
    found = model.predict(pd.DataFrame({"text": [texts[row][1] for row in rows]}))
    np.testing.assert_allclose(found, evaluated(steps), atol=1e-5)
    assert [texts[row][0] for row in rows] == names(steps).tolist()
    assert steps.verdict["test"]["reference"]["accuracy"] > 0.8


def test_files_of_images(run_steps, tmp_path):
    bunch = datasets.load_digits()
    paths = []
    for row, (image, label) in enumerate(zip(bunch.images[:600], bunch.target, strict=False)):
        folder = tmp_path / "digits" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        paths.append(folder / f"{row:03}.png")
        Image.fromarray((image * 15).astype(np.uint8)).save(paths[-1])
    paths.sort()
    steps = run_steps(
        "scans",
        data={"source": f"images:{tmp_path}/digits"},
        recipe={"model": {"units": [32]}, "train": {"epochs": 40, "early_stopping": False}},
        arms={},
        seeds=1,
    ).all()
    tested = [paths[row] for row in steps.prepared.test_rows]
    model = mlflow.pyfunc.load_model("models:/scans@champion")
    found = model.predict(pd.DataFrame({"image": [path.read_bytes() for path in tested]}))
    np.testing.assert_allclose(found, evaluated(steps), atol=1e-5)
    with pytest.raises(mlflow.exceptions.MlflowException, match="row 1: expected the bytes of an image file in base64"):
        model.predict([tested[0].read_bytes(), "a file"])
    assert [path.parent.name for path in tested] == names(steps).tolist()
    assert steps.verdict["test"]["reference"]["accuracy"] > 0.8


def test_rows_by_group_and_by_time(run_steps, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "label": np.where(x.sum(axis=1) > 0, "up", "down")})
    frame["patient"] = rng.integers(0, 60, 300)
    frame["day"] = pd.date_range("2026-01-01", periods=300).strftime("%Y-%m-%d")
    frame.to_csv(tmp_path / "visits.csv", index=False)
    for rule, other in (("group", "patient"), ("time", "day")):
        ignored = {"patient", "day"} - {other}
        steps = run_steps(
            f"by {rule}",
            data={"source": f"table:{tmp_path}/visits.csv", rule: other, "ignore": [*ignored]},
            recipe={"train": {"epochs": 20, "early_stopping": False}},
            arms={},
            seeds=3,
        ).all()
        prepared = steps.prepared
        for seed in range(3):
            train, validation = prepared.split(seed)
            kept = frame[other].to_numpy()
            if rule == "group":
                assert set(kept[train]).isdisjoint(kept[validation])
                assert set(kept[prepared.test_rows]).isdisjoint({*kept[train], *kept[validation]})
            else:
                assert kept[train].max() < kept[validation].min()
                assert kept[validation].max() < kept[prepared.test_rows].min()
        assert steps.verdict["test"]["reference"]["accuracy"] > 0.8


def test_trees_are_compared_logged_and_registered_as_networks_are(run_steps):
    steps = run_steps(
        "forest",
        data={"source": "sklearn:wine"},
        recipe={"model": {"name": "random_forest"}},
        arms={"boosted": {"model.name": "hist_gradient_boosting"}, "unscaled": {"scale": "none"}},
        seeds=2,
    ).all()
    rows = steps.prepared.test_rows
    bunch = datasets.load_wine(as_frame=True)
    model = mlflow.pyfunc.load_model("models:/forest@champion")
    np.testing.assert_allclose(model.predict(bunch.data.iloc[rows]), evaluated(steps), atol=1e-6)
    assert (bunch.target_names[bunch.target[rows]] == names(steps)).all()
    assert steps.verdict["test"]["reference"]["accuracy"] > 0.9
    needed = Path(mlflow.artifacts.download_artifacts("models:/forest@champion/requirements.txt")).read_text()
    assert "skops==" in needed
    assert "tensorflow" not in needed


def test_vanishing_gradients_are_named_and_the_arm_that_cures_them(run_steps):
    """Twenty sigmoid layers on iris: nothing reaches the first ones, until batch normalization is on."""
    steps = run_steps(
        "deep",
        data={"source": "sklearn:iris"},
        recipe={
            "model": {"units": [16] * 20, "activation": "sigmoid", "batch_norm": False, "dropout": 0.0},
            "train": {"epochs": 25, "early_stopping": False},
        },
        arms={"batch norm": {"model.batch_norm": True}},
        seeds=2,
    ).all()
    found = steps.cell("0-0").result
    assert found.diagnostics["dense_1"]["gradient_norm"][-1] < 1e-6
    assert list(found.diagnostics)[-1] == "logits"
    assert found.findings[0].kind == "gradients vanish"
    cured = steps.cell("1-0").result
    assert cured.findings == ()
    assert cured.validation["accuracy"] > found.validation["accuracy"] + 0.2

    (finding,) = steps.verdict["findings"]
    assert (finding["arm"], finding["seeds"], finding["cures"]) == ("reference", 2, ["batch norm"])
    assert (steps.folder / "verdict" / "report" / "layers.png").exists()
    assert (
        "of the last layer's (2 of 2 seeds; not in batch norm)"
        in (steps.folder / "verdict" / "report" / "verdict.md").read_text()
    )
    runs = mlflow.MlflowClient().search_runs([steps.runs["experiment"]])
    by_name = {run.info.run_name: run for run in runs}
    bad, good, later = (by_name[name] for name in ("reference, seed 1", "batch norm, seed 0", "batch norm, seed 1"))
    assert bad.data.tags["assay.findings"] == "; ".join(map(diagnosis_as_text, steps.cell("0-1").result.findings))
    assert bad.data.tags["mlflow.note.content"].startswith("- gradients vanish")
    assert "assay.findings" not in good.data.tags
    for run, cell, points in ((bad, "0-1", 25), (good, "1-0", 25), (later, "1-1", 1)):
        history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "layers/dense_7/update_ratio")
        values = steps.cell(cell).result.diagnostics["dense_7"]["update_ratio"]
        assert [point.value for point in history] == pytest.approx(values[-points:])
        assert history[-1].step == 24
