"""Child processes that never outlive their parent, however it ends.

The child leads a process group of its own and holds the reading end of a pipe whose writing end only the parent has.
When the parent is gone, by SIGKILL too, the pipe ends, and the child kills its whole group. Run as
`python -m pipeline.runners.child_process PIPE MODULE ARGUMENTS...`, which runs that module after the watch has begun.
"""

import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import IO


class ChildProcess:
    """A running child and all that it starts."""

    def __init__(self, module: str, arguments: list[str], env: Mapping[str, str], log: IO, keep: tuple[int, ...] = ()):
        """Start `python -m module arguments...`; all that it prints goes to the log, and it holds `keep` open."""
        reading, writing = os.pipe()
        self._pipe = os.fdopen(writing, "wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.runners.child_process", str(reading), module, *arguments],
            env={**env, "PYTHONSAFEPATH": "1"},  # a folder `components` where the user works must not be imported
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(reading, *keep),
        )
        os.close(reading)

    def running(self) -> bool:
        """Tell whether the child has not ended yet."""
        return self.process.poll() is None

    def close(self) -> None:
        """Kill the child and all that it started, and wait for it; again, do nothing."""
        if not self._pipe.closed:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self._pipe.close()


def _die_with_parent(pipe: int) -> None:
    """Wait until the pipe ends, then kill this process group."""
    os.read(pipe, 1)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Begin the watch, then become the module."""
    pipe, module, *arguments = sys.argv[1:]
    threading.Thread(target=_die_with_parent, args=(int(pipe),), daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
