"""The commands that these tests start find MLflow where their own folder has it."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _no_tracking_address_of_others() -> Iterator[None]:
    """Forget the address that MLflow has put into the environment for tests that ran before in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield
