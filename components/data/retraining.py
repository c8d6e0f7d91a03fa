"""A retraining: what `load` found of the champion and the data, and so what is trained."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from components.data.drift import Drift
from components.records import from_json

FILE = "retrain.json"  # in the folder of the data report


@dataclass(frozen=True)
class Retraining:
    """What is trained, and why."""

    SCHEMA: ClassVar[int] = 1

    # the champion's recipe is trained; or the whole study, since there is no champion, the data has drifted, the
    # champion's run is gone, or its recipe can't be trained here
    why: Literal["recipe", "no champion", "drift", "run is gone", "unfit recipe"]
    champion: str | None  # its version
    arm: str | None = None  # whose recipe it has
    drift: Drift | None = None  # since its data; None where there is nothing to measure it by
    is_studied: bool = False  # whether a whole study was run since on rows like those that have drifted
    error: str | None = None  # why its recipe can't be trained
    techniques: dict[str, str] = field(default_factory=dict[str, str])  # the verdict of the last study on each
    since: str | None = None  # that study's date

    @property
    def trained(self) -> Literal["recipe", "study"]:
        """The champion's recipe alone, or the whole study."""
        return "recipe" if self.why == "recipe" else "study"


def read(report: Path) -> Retraining | None:
    """Return what `load` wrote to the folder of the data report; None where nothing is retrained."""
    file = report / FILE
    return from_json(Retraining, file.read_bytes(), FILE) if file.exists() else None
