"""For all tests: a clean environment, and property tests that give the same verdict every time."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# The same examples every time, and no time limit for one: a busy machine is no failure.
settings.register_profile("assay", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("assay")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reads it when it is imported


# Where tests run side by side, a worker takes a file at a time: these take minutes, and none should be left to the end.
LONGEST = (
    *("test_kills.py", "test_runner.py", "test_resume.py", "test_local.py", "test_image.py", "test_register.py"),
    *("test_scripts.py", "test_notebook.py", "test_api.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_reaches_children():
    """Let the commands that tests start hear SIGINT: it is ignored by all that a shell started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="session")
def _clean_environment():
    """Forget what the developer's shell says of MLflow and of Assay; sub-processes of tests inherit this."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("MLFLOW_", "ASSAY_"))]:
            patch.delenv(name)
        yield


@pytest.fixture(autouse=True, scope="module")
def _no_tracking_address_of_others():
    """Forget the address that MLflow has from the tests of another file, in itself and in the environment."""
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def made_page(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return what writes a report on real data, whose cells were not trained: their predictions are drawn."""
    import numpy as np
    from made_up import write_result

    from components.data.preparation import prepare
    from components.evaluation.judge import judge
    from components.reporting import html_report
    from components.runtime.cells import Diagnosis
    from components.stats.metrics import recalls, scores
    from components.steps.evaluate import gather
    from components.study.study import Study

    def write(draw_preview: bool = False, **of_study: Any) -> Path:
        study = Study.model_validate({"study": "made", **of_study})
        folder = tmp_path_factory.mktemp("made")
        prepared = prepare(study, folder / "data")
        rng = np.random.default_rng(0)

        def drawn(rows: np.ndarray, skill: float) -> np.ndarray:
            logits = rng.normal(size=(len(rows), len(prepared.schema.classes)))
            logits[np.arange(len(rows)), prepared.y[rows]] += skill
            powers = np.exp(1.5 * logits)
            return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)

        for number, cell in enumerate(study.cells()):
            at = folder / "cells" / cell.id
            rows = prepared.split(cell.seed, cell.recipe.data)[1]
            validation = drawn(rows, 1.5 + number / 100)
            test = drawn(prepared.test_rows, 1.5)
            y = np.asarray(prepared.y[rows])
            losses = tuple((2.0 * np.exp(-np.arange(20) / 5) + 0.1).tolist())
            saturated = Diagnosis("units saturate", "<dense_1>", {"share": 0.9})
            write_result(
                at,
                recipe=cell.recipe,
                seed=cell.seed,
                validation=scores(validation, y),
                recall=tuple(recalls(validation, y)),
                curves={"loss": losses, "val_loss": tuple(1.1 * loss for loss in losses)},
                epochs=20,
                epoch=15,
                findings=(saturated,) if number == 0 else (),
                seconds=1.0 + number,
            )
            np.save(at / "validation.npy", validation)
            np.save(at / "test.npy", test)
        cells = gather(study, [str(folder / "cells")])
        verdict = judge(study, cells, prepared)
        if draw_preview:
            from PIL import Image

            Image.new("RGB", (900, 300), "white").save(folder / "augmentation.png")
        html_report.write(folder / "report.html", study, verdict, cells, prepared)
        return folder / "report.html"

    return write
