"""The folder of a run: its state, log and events; opened by one process at a time, and continued by the next.

All is kept under `.assay` in the working folder:
    store/          finished cells, by content
    runs/NAME/      run.json (state), run.log (all output), events.jsonl, and at the end verdict.json and decision.json
    STUDY.lock      held while a run of the study is alive
"""

import fcntl
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import AssayError
from components.runtime.devices import cores
from components.runtime.events import EVENTS, THREADS, TRACKING, Event
from components.study.shards import arguments
from components.study.study import Study

if TYPE_CHECKING:
    from components.evaluation.verdict import Verdict
    from components.registry.decision import Decision

LOCK_SECONDS = 2.0  # how long the children of a killed run may take to go
LOG_LINES = 10

# What kfp prints around a task's own lines.
NOISE = re.compile(
    r"\d\d:\d\d:\d\d\.\d+ - |\[KFP Executor |-+$|[\"{}\[\]]|(\w+: )?\w+\( name='|(uri|metadata)=|.*Inner task failed"
)
COLOR = re.compile(r"\x1b\[[0-9;]*m")


class RunFolder:
    """The files of one run.

    Attributes:
        folder: where they are.
        log: all that its steps print.
        events: see `components.runtime.events`.
    """

    def __init__(self, folder: Path):
        """Name the files."""
        self.folder = folder
        self.log = folder / "run.log"
        self.events = folder / "events.jsonl"
        self._state = folder / "run.json"

    def read(self) -> dict[str, Any]:
        """Return the state; an empty one where it can't be read."""
        try:
            return json.loads(self._state.read_text("utf-8"))
        except (OSError, ValueError):
            return {}

    def write(self, **changes: object) -> None:
        """Change the state, whole or not at all."""
        state = {**self.read(), **changes}
        unfinished = self._state.with_suffix(".tmp")
        unfinished.write_text(json.dumps(state, indent=2), "utf-8")
        unfinished.replace(self._state)

    def clean(self) -> None:
        """Remove what only a running pipeline needs."""
        for name in ("outputs", "workspace", "tmp", "bin"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def finished_cells(self) -> int:
        """Return how many cells are finished, in all sittings."""
        events, _ = read_events(self.events, 0)
        return len({(e["arm"], e["seed"]) for e in events if e["event"] == "cell_finished"})


class OpenRun(RunFolder):
    """A run's folder for one sitting, while its study's lock is held.

    Attributes:
        environment: of all processes of the run.
        lock: a file descriptor; who has it open holds the lock.
    """

    def __init__(self, folder: Path, environment: dict[str, str], lock: int):
        """Begin a sitting; the state has the pipeline's arguments."""
        super().__init__(folder)
        self.lock = lock
        self.clean()
        (folder / "tmp").mkdir()
        tasks = min(len(self.read()["arguments"]["batches"]), cores())
        own = {EVENTS: str(self.events), THREADS: str(cores() // tasks), "TMPDIR": str(folder / "tmp")}
        self.environment = {**environment, **own}
        self.write(state="running")
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        self._events_from = self._read_to = self.events.stat().st_size if self.events.exists() else 0

    def new_events(self) -> list[Event]:
        """Return the sitting's events that were not returned before."""
        events, self._read_to = read_events(self.events, self._read_to)
        return events

    def results(self) -> tuple["Verdict", "Decision"]:
        """Return the verdict and the decision.

        Raises:
            AssayError: where the graph has left none.
        """
        try:
            verdict, decision = ((self.folder / f"{name}.json").read_bytes() for name in ("verdict", "decision"))
        except FileNotFoundError:
            raise self.failure() from None
        from components.evaluation.verdict import Verdict  # these bring SciPy, which no other command needs
        from components.records import from_json
        from components.registry.decision import Decision

        return from_json(Verdict, verdict, "verdict.json"), from_json(Decision, decision, "decision.json")

    def keep_decision(self) -> None:
        """Keep what a step that failed has decided, when MLflow could not be told."""
        for file in (self.folder / "outputs").rglob("decision.json"):
            shutil.copyfile(file, self.folder / "decision.json")

    def failure(self) -> AssayError:
        """Return why the run failed, in the words of the step that did."""
        events, _ = read_events(self.events, self._events_from)
        failed = next((event for event in events if event["event"] == "failed"), None)
        if failed and not failed.get("crash"):
            error = AssayError(failed["message"])
            error.exit_code = failed["exit_code"]
            return error
        step = failed["step"] if failed else _first_open_step(events)
        lines = "\n".join(f"  {line}" for line in _last_lines(self.log, self._log_from))
        return AssayError(f"the step `{step}` failed; its last lines:\n{lines}\nall of them: {self.log}")


@contextmanager
def open_run(study: Study, fan_out: int, home: Path) -> Iterator[OpenRun]:
    """Open the study's last run in the working folder `home` where it is unfinished, else a new one.

    Raises:
        AssayError: where the folder can't be written, MLflow can't be reached, or another run of the study is alive.
    """
    _check_writable(home)
    environment = environment_of(home)
    base = home / ".assay"
    base.mkdir(exist_ok=True)
    (base / ".gitignore").write_text("*\n")
    with _lock(base / f"{_slug(study)}.lock", study) as lock:
        folder = _find_unfinished(base, study)
        if folder is None:
            folder = base / "runs" / f"{_slug(study)}-{time.strftime('%Y%m%d-%H%M%S')}"
            folder.mkdir(parents=True)
        given = {**arguments(study, fan_out), "run": folder.name, "store": str(base / "store")}
        RunFolder(folder).write(digest=study.digest(), started=time.time(), arguments=given)
        yield OpenRun(folder, environment, lock)


def read_events(file: Path, offset: int) -> tuple[list[Event], int]:
    """Return the whole lines behind an offset as events, and where they end."""
    if not file.exists():
        return [], offset
    with file.open("rb") as stream:
        stream.seek(offset)
        whole, newline, _ = stream.read().rpartition(b"\n")
    events = []
    for line in whole.splitlines():
        with suppress(ValueError):  # a step was killed while it wrote
            events.append(json.loads(line))
    return events, offset + len(whole) + len(newline)


def environment_of(home: Path) -> dict[str, str]:
    """Return the environment of a run's processes.

    Raises:
        AssayError: when the tracking server can't be reached.
    """
    from components.tracking.client import check_reachable

    uri = os.environ.get(TRACKING) or f"sqlite:///{home / 'mlflow.db'}"
    check_reachable(uri)
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "GIT_PYTHON_REFRESH": "quiet", "PYTHONUNBUFFERED": "1"}
    # A run that the shell has open is another's: what is started here is no task of a pipeline run, see `opening`.
    shell = {name: value for name, value in os.environ.items() if name != "MLFLOW_RUN_ID"}
    return {**quiet, **shell, TRACKING: uri}


def _check_writable(home: Path) -> None:
    """Refuse a folder that can't be written, before anything is."""
    for folder in (home, home / ".assay"):
        if folder == home or folder.exists():
            try:
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                raise AssayError(
                    f"can't write to {folder} ({error.strerror}); change to a folder of yours and try again"
                ) from None


@contextmanager
def _lock(file: Path, study: Study) -> Iterator[int]:
    """Hold the study's lock; the system lets go of it when all who have it open are dead."""
    with file.open("a+") as stream:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    stream.seek(0)
                    raise AssayError(
                        f"study {study.study!r} is already running here (process {stream.read().strip()}); "
                        "wait for it, or stop it with Ctrl-C there"
                    ) from None
                time.sleep(0.05)
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield stream.fileno()


def _slug(study: Study) -> str:
    return re.sub(r"[^a-z0-9]+", "-", study.study.lower()).strip("-")


def _find_unfinished(base: Path, study: Study) -> Path | None:
    """Return the folder of the study's last run where it is unfinished."""
    states = ((RunFolder(folder).read(), folder) for folder in base.glob("runs/*"))
    of_study = [(state["started"], folder, state) for state, folder in states if state.get("digest") == study.digest()]
    _, folder, state = max(of_study, default=(0.0, None, {}))
    return None if state.get("state") == "finished" else folder


def _first_open_step(events: list[Event]) -> str:
    """Return the first step that has begun and not ended."""
    ended = {(e["step"], e["label"]) for e in events if e["event"] == "step_finished"}
    began = (e for e in events if e["event"] == "step_started")
    return next((e["step"] for e in began if (e["step"], e["label"]) not in ended), "pipeline")


def _last_lines(log: Path, offset: int) -> list[str]:
    """Return the last lines of the log that are not kfp's own."""
    if not log.exists():
        return []
    with log.open(errors="replace") as stream:
        stream.seek(offset)
        lines = [COLOR.sub("", line).strip() for line in stream]
    return [line for line in lines if line and not NOISE.match(line)][-LOG_LINES:]
