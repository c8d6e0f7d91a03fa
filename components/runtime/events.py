"""What a step tells whoever watches it: one JSON line an event, appended to the file that ASSAY_EVENTS names.

Without that variable (on a cluster, in a notebook) nothing is written. Lines are shorter than a pipe buffer and are
appended by one write, so several steps may share the file.

Events (all have `event`, `step`, `label` and `time`, seconds since the epoch):
    step_started, step_finished (`spans`: seconds by category), cell_started (`arm`, `seed`), cell_resumed (`arm`,
    `seed`, `epochs`: those of a checkpoint), cell_finished (`arm`, `seed`, `value`, `epochs`, `seconds`, `reused`),
    warning and said (`message`), study (`study`: what a retraining resolved to, as JSON), failed (`message`,
    `exit_code`; `crash` where it is no AssayError).
"""

import json
import os
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from components.errors import AssayError

STEPS = ("load", "scale", "train", "evaluate", "register")  # of the pipeline, in their order
EVENTS = "ASSAY_EVENTS"
TRACKING = "MLFLOW_TRACKING_URI"  # where runs are kept
RUN = "KFP_RUN_ID"  # on a cluster the run's number: all runs of a schedule have the same parameters
THREADS = "ASSAY_THREADS"  # a train step's share of the cores where several run on one machine; all without it
# Where a step's time may go. What is in none of them is starting the process.
CATEGORIES = ("imports", "data", "training", "mlflow", "report")


class Event(TypedDict):
    """One event; behind the first four keys it has those of its kind alone."""

    event: str
    step: str
    label: str
    time: float
    arm: str
    seed: int
    value: float
    epochs: int
    seconds: float
    reused: bool
    spans: dict[str, float]
    message: str
    exit_code: int
    crash: bool
    study: str


class Step:
    """One running step: emits its events and adds up where its time goes."""

    def __init__(self, name: str, label: str = ""):
        """Name the step (`train`) and, where several run side by side, which one (`batch 1`)."""
        self.name = name
        self.label = label
        self.spans: dict[str, float] = defaultdict(float)
        self._file = os.environ.get(EVENTS)

    def emit(self, event: str, **fields: Any) -> None:
        """Append one event."""
        if self._file:
            line = {"event": event, "step": self.name, "label": self.label, "time": time.time(), **fields}
            with Path(self._file).open("a") as stream:
                stream.write(json.dumps(line) + "\n")

    @contextmanager
    def span(self, category: str) -> Iterator[None]:
        """Add the time of the block to a category."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spans[category] += time.perf_counter() - start


@contextmanager
def step(name: str, label: str = "") -> Iterator[Step]:
    """Run the block as a step: its start, its end and its failure become events.

    Raises:
        SystemExit: with the error's exit code, for an AssayError; its message is the event's, and no traceback is made.
    """
    running = Step(name, label)
    running.emit("step_started")
    try:
        yield running
    except AssayError as error:
        running.emit("failed", message=str(error), exit_code=error.exit_code)
        raise SystemExit(f"{name}: {error}") from None
    except Exception as error:
        last = "".join(traceback.format_exception_only(error)).strip()
        running.emit("failed", message=last[:2000], exit_code=1, crash=True)
        raise
    running.emit("step_finished", spans=dict(running.spans))
