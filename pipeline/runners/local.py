"""Runs a study on this machine: the Kubeflow graph in a child process, watched, stoppable and resumable.

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
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from components.errors import AssayError
from components.records import from_json
from components.runtime.devices import cores, gpus
from components.runtime.events import EVENTS, THREADS, TRACKING
from components.study.shards import arguments
from components.study.study import Study
from pipeline.runners.child_process import Offspring

if TYPE_CHECKING:
    from components.evaluation.verdict import Verdict
    from pipeline.runners.docker import Containers

Event = dict[str, Any]

BEGUN = "run_begun"  # our own event: what stands behind the last one is of this sitting
POLL_SECONDS = 0.2
LAST_WORDS_SECONDS = 3.0  # how long a failing step may still write its traceback
LOCK_SECONDS = 2.0  # how long the children of a killed run may take to go
LOG_LINES = 10
MOST_TASKS = 8  # side by side unless the user says more: each holds TensorFlow and its rows in memory
TASKS_ON_GPU = 2  # one computes while the other reads; their networks share the GPU's memory

# What kfp prints around a task's own lines.
NOISE = re.compile(
    r"\d\d:\d\d:\d\d\.\d+ - |\[KFP Executor |-+$|[\"{}\[\]]|(\w+: )?\w+\( name='|(uri|metadata)=|.*Inner task failed"
)
COLOR = re.compile(r"\x1b\[[0-9;]*m")


class StoppedError(AssayError):
    """The user stopped the run."""

    exit_code = 130

    def __init__(self, kept: int):
        """Keep the number of finished cells, which the next run need not train."""
        super().__init__("stopped")
        self.kept = kept


@dataclass(frozen=True)
class Finished:
    """A run that ended well.

    Attributes:
        folder: the run's folder.
        verdict: of the study.
        decision: see `components.registry.challenger`.
        events: of this sitting; what an earlier one did, before it was killed, is not in it.
        begun: seconds since the epoch.
        ended: seconds since the epoch.
    """

    folder: Path
    verdict: "Verdict"
    decision: dict[str, Any]
    events: list[Event]
    begun: float
    ended: float


class Run:
    """The folder of one run."""

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

    def write(self, **changes: Any) -> None:
        """Change the state, whole or not at all."""
        state = {**self.read(), **changes}
        unfinished = self._state.with_suffix(".tmp")
        unfinished.write_text(json.dumps(state, indent=2), "utf-8")
        unfinished.replace(self._state)

    def clean(self) -> None:
        """Remove what only a running pipeline needs."""
        for name in ("outputs", "workspace", "tmp", "bin"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def kept(self) -> int:
        """Return how many cells are finished, in all sittings."""
        events, _ = read_events(self.events, 0)
        return len({(e["arm"], e["seed"]) for e in events if e["event"] == "cell_finished"})


def default_fan_out() -> int:
    """Return over how many training tasks to spread the cells on this machine."""
    return TASKS_ON_GPU if gpus() else min(cores(), MOST_TASKS)


def run_study(
    study: Study,
    fan_out: int,
    begin: Callable[[Run], Callable[[list[Event]], None]],
    containers: "Containers | None" = None,
) -> Finished:
    """Run a study in the working folder; an unfinished run of the same study is continued.

    Args:
        study: the study.
        fan_out: over how many train tasks its cells are spread at most.
        begin: called with the run when it starts; what it returns is called with the new events, again and again.
        containers: where each step runs in one; else each is a process.

    Raises:
        AssayError: when it can't start or a step fails.
        StoppedError: on Ctrl-C or SIGTERM; nothing is left running, and the next run continues.
    """
    home = Path.cwd()
    _check_writable(home)
    environment = _environment(home)
    base = home / ".assay"
    base.mkdir(exist_ok=True)
    (base / ".gitignore").write_text("*\n")
    with (
        _lock(base / f"{_slug(study)}.lock", study) as lock,
        _sigterm_is_ctrl_c(),
        containers.removed(home, study) if containers else nullcontext(),
    ):
        run = _open(base, study, fan_out)
        run.write(containers=containers.described() if containers else None)
        return _sit(run, environment, lock, begin(run))


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


def _check_writable(home: Path) -> None:
    """Refuse a folder that can't be written, before anything is.

    Raises:
        AssayError: with the reason.
    """
    for folder in (home, home / ".assay"):
        if folder == home or folder.exists():
            try:
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                raise AssayError(
                    f"can't write to {folder} ({error.strerror}); change to a folder of yours and try again"
                ) from None


def _environment(home: Path) -> dict[str, str]:
    """Return the environment of the child.

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


@contextmanager
def _lock(file: Path, study: Study) -> Iterator[int]:
    """Hold the study's lock; the system lets go of it when all who have it open are dead.

    Raises:
        AssayError: when another run of the study is alive.
    """
    with file.open("a+") as stream:
        patience = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > patience:
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


@contextmanager
def _sigterm_is_ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _slug(study: Study) -> str:
    return re.sub(r"[^a-z0-9]+", "-", study.study.lower()).strip("-")


def _open(base: Path, study: Study, fan_out: int) -> Run:
    """Return the study's last run if it is unfinished, else a new one."""
    last = max(
        (
            (state["started"], folder)
            for folder in base.glob("runs/*")
            if (state := Run(folder).read()).get("digest") == study.digest()
        ),
        default=None,
    )
    if last and Run(last[1]).read()["state"] != "finished":
        folder = last[1]
    else:
        folder = base / "runs" / f"{_slug(study)}-{time.strftime('%Y%m%d-%H%M%S')}"
        folder.mkdir(parents=True)
    run = Run(folder)
    run.clean()
    told = {**arguments(study, fan_out), "run": folder.name, "store": str(base / "store")}
    run.write(digest=study.digest(), started=time.time(), arguments=told)
    return run


def _sit(run: Run, environment: dict[str, str], lock: int, watch: Callable[[list[Event]], None]) -> Finished:
    """Run the graph once, from the start of the child to its end.

    Raises:
        AssayError: when a step fails.
        StoppedError: on Ctrl-C.
    """
    begun = time.time()
    run.write(state="running")
    with run.events.open("a") as stream:
        offset = stream.tell()
        stream.write(json.dumps({"event": BEGUN, "step": "", "label": "", "time": begun}) + "\n")
    (run.folder / "tmp").mkdir()
    tasks = min(len(run.read()["arguments"]["batches"]), cores())
    environment |= {EVENTS: str(run.events), THREADS: str(cores() // tasks), "TMPDIR": str(run.folder / "tmp")}
    with run.log.open("a") as log:
        words = log.tell()
        child = Offspring("pipeline.runners.graph_process", [str(run.folder)], environment, log, keep=(lock,))
    try:
        events = _follow(child, run.events, offset, watch)
    except KeyboardInterrupt:
        run.write(state="stopped")
        _close(run, environment)
        raise StoppedError(run.kept()) from None
    finally:
        child.close()
    missing = [name for name in ("verdict", "decision") if not (run.folder / f"{name}.json").exists()]
    if child.process.returncode != 0 or missing:
        run.write(state="failed")
        for file in (run.folder / "outputs").rglob("decision.json"):  # what was decided, when MLflow could not be told
            shutil.copyfile(file, run.folder / "decision.json")
        _close(run, environment)
        _fail(run, events, words)
    from components.evaluation.verdict import Verdict  # brings SciPy

    verdict = from_json(Verdict, (run.folder / "verdict.json").read_text(), str(run.folder / "verdict.json"))
    decision = json.loads((run.folder / "decision.json").read_text())
    run.write(state="finished")
    run.clean()
    return Finished(run.folder, verdict, decision, events, begun, time.time())


def _close(run: Run, environment: dict[str, str]) -> None:
    """Start a process that tells MLflow how the run ended, and do not wait for it.

    Importing MLflow takes seconds, and who pressed Ctrl-C does not wait for that; a server may be out of reach, too. It
    is in no folder of the user's, and ends by itself.
    """
    impatient = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    closer = subprocess.Popen(
        [sys.executable, "-m", "pipeline.runners.close_runs", str(run.folder)],
        env={**environment, **impatient, "TMPDIR": tempfile.gettempdir(), "PYTHONSAFEPATH": "1"},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    closer.returncode = 0  # else Python warns of a process that nobody waits for


def _follow(child: Offspring, file: Path, offset: int, watch: Callable[[list[Event]], None]) -> list[Event]:
    """Hand on events until the child has ended, or a step has failed: then nobody waits for its neighbours."""
    seen: list[Event] = []
    deadline = float("inf")
    while True:
        running = child.running() and time.monotonic() < deadline
        new, offset = read_events(file, offset)
        watch(new)
        seen += new
        if not running:
            return seen
        if deadline == float("inf") and any(event["event"] == "failed" for event in new):
            deadline = time.monotonic() + LAST_WORDS_SECONDS
        time.sleep(POLL_SECONDS)


def _fail(run: Run, events: list[Event], words: int) -> NoReturn:
    """Say why the run failed, in the words of the step that did.

    Raises:
        AssayError: always.
    """
    told = next((event for event in events if event["event"] == "failed"), None)
    if told and not told.get("crash"):
        error = AssayError(told["message"])
        error.exit_code = told["exit_code"]
        raise error
    if told:
        failed = told["step"]
    else:
        ended = {(e["step"], e["label"]) for e in events if e["event"] == "step_finished"}
        open_steps = [
            e["step"] for e in events if e["event"] == "step_started" and (e["step"], e["label"]) not in ended
        ]
        failed = open_steps[0] if open_steps else "pipeline"
    lines = "\n".join(f"  {line}" for line in _last_lines(run.log, words))
    raise AssayError(f"the step `{failed}` failed; its last lines:\n{lines}\nall of them: {run.log}")


def _last_lines(log: Path, offset: int) -> list[str]:
    """Return the last lines of the log that are not kfp's own."""
    with log.open(errors="replace") as stream:
        stream.seek(offset)
        lines = [COLOR.sub("", line).strip() for line in stream]
    return [line for line in lines if line and not NOISE.match(line)][-LOG_LINES:]
