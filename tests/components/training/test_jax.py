"""Training with JAX: in a process of its own, see `jax_checks`; and here what others make of its models."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components.runtime.cells import FinishedCell
from components.serving.saved_model import Served

CHECKS = Path(__file__).with_name("jax_checks.py")


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """What the checks printed, and the folder of the cell that they trained."""
    cell = tmp_path_factory.mktemp("jax") / "cell"
    settings = {
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_gpu_deterministic_ops=true",
        "JAX_CELL": str(cell),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CHECKS)]
    return subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True), cell


@pytest.mark.slow
def test_jax_in_a_process_of_its_own(checked):
    done, _ = checked
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_model_trained_by_jax_in_half_precision_gives_the_same_probabilities_in_tensorflow(checked, digits):
    import keras

    assert keras.config.backend() == "tensorflow"
    cell = FinishedCell(checked[1])
    model = Served(cell.model)
    assert {layer.compute_dtype for layer in model.network.layers if "relu" in layer.name} == {"bfloat16"}
    found = model(np.array(digits.x[digits.test_rows]))
    np.testing.assert_allclose(found, cell.probabilities("test"), atol=0.02)
