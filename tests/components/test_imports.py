"""What a step loads is what its process costs: TensorFlow alone takes ten seconds."""

import subprocess
import sys

import pytest

LIGHT = (
    *("study.study", "errors", "runtime.events", "runtime.cells", "stats.paired_effects", "stats.metrics"),
    *("data.splitting", "data.report", "data.sources.images"),
    *("steps.load", "steps.scale", "steps.train", "steps.evaluate", "steps.register"),
)


def loaded(code: str, *packages: str) -> str:
    """Return which of the packages a fresh interpreter has loaded after the code."""
    script = f"{code}\nimport sys\nprint(*[name for name in {packages} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("module", LIGHT)
def test_only_training_loads_tensorflow(module):
    assert loaded(f"import components.{module}", "tensorflow", "keras", "kfp", "pipeline") == ""


def test_talking_to_mlflow_loads_no_tensorflow():
    assert loaded("from components import tracking; import mlflow; mlflow.MlflowClient", "tensorflow", "keras") == ""
