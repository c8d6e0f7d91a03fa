"""For all tests: a clean environment, and property tests that give the same verdict every time."""

import os
import signal

import pytest
from hypothesis import settings

# The same examples every time, and no time limit for one: a busy machine is no failure.
settings.register_profile("assay", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("assay")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reads it when it is imported


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
