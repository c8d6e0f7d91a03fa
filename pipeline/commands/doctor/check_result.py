"""What a check of `assay doctor` found."""

from dataclasses import dataclass
from typing import Literal

ANSWER_SECONDS = 3.0  # for one request or command
DEEP_SECONDS = 180.0  # for all of a check with --deep: TensorFlow's import alone took 30 on a busy machine

State = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Attributes:
        state: missing where what Assay needs, or what was asked for by name, is not as it must be.
        told: what was found.
        mend: what to do about it.
    """

    state: State
    told: str
    mend: str = ""
