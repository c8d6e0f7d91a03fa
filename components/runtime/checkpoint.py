"""Checkpoints: what a cell's training continues from when its process was killed in the middle.

A checkpoint is one file beside the finished cells, replaced as a whole, and removed when its cell is finished. Like a
cell it is named by all that decides the numbers: one of other code, data or settings is never found.
"""

import json
import os
import signal
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from components.errors import AssayError


class TerminatedError(AssayError):
    """The process was told to end by SIGTERM, as a cluster does before it takes a machine away."""

    exit_code = 128 + signal.SIGTERM  # as shells have it

    def __init__(self):
        super().__init__("told to end by SIGTERM; the next start continues from the checkpoint")


class Checkpoint:
    """The checkpoint of one cell."""

    def __init__(self, file: Path, minutes: float):
        """Name the file; it is to be written after the first epoch that ends `minutes` after the last time."""
        self.file = file
        self.minutes = minutes
        self._written = time.monotonic()
        self._told_to_end = False

    def read(self) -> tuple[Any, list[np.ndarray]] | None:
        """Return the history and arrays that were saved; None where there is nothing, or nothing that can be read."""
        try:
            with self.file.open("rb") as stream, np.load(stream) as file:
                history = json.loads(str(file["history"]))
                return history, [file[f"arr_{number}"] for number in range(len(file.files) - 1)]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def due(self) -> bool:
        """Tell whether it is time to write, or the last chance."""
        return self._told_to_end or time.monotonic() - self._written >= 60 * self.minutes

    def write(self, history: Any, arrays: Sequence[np.ndarray]) -> None:
        """Write the checkpoint, whole or not at all.

        Args:
            history: what is known of the finished epochs, as JSON.
            arrays: what the program goes on from.

        Raises:
            TerminatedError: when the process was told to end.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.file.with_suffix(f".{os.getpid()}")
        try:
            with unfinished.open("wb") as stream:
                np.savez(stream, *arrays, history=np.array(json.dumps(history)))
                stream.flush()
                os.fsync(stream.fileno())  # else a machine that loses power may keep the name and not the content
            unfinished.replace(self.file)
        finally:
            unfinished.unlink(missing_ok=True)
        self._written = time.monotonic()
        if self._told_to_end:
            raise TerminatedError

    @contextmanager
    def on_sigterm(self) -> Iterator[None]:
        """Within the block SIGTERM lets the epoch end, writes the checkpoint and ends the process.

        Outside of the main thread nobody hears signals.

        Raises:
            TerminatedError: when the process was told to end.
        """

        def told(*_: Any) -> None:
            self._told_to_end = True

        try:
            before = signal.signal(signal.SIGTERM, told)
        except ValueError:
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
        if self._told_to_end:
            raise TerminatedError
