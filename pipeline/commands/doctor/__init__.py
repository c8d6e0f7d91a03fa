"""Looks whether this machine, and the servers that were named, are fit for Assay; says how to mend what is not.

The checks run side by side, each with a limit, so that the answer comes within seconds whatever hangs.
"""

import queue
import threading
import time
from collections.abc import Callable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.errors import AssayError
from components.tracking.client import tracking_uri
from pipeline.commands.doctor import machine as machine
from pipeline.commands.doctor.check_result import CheckResult, State
from pipeline.commands.doctor.servers import check_mlflow, check_pipelines
from pipeline.kubeflow.settings import Cluster

CHECK_SECONDS = 10.0  # for all of a check
STYLES: dict[State, str] = {"ok": "green", "warning": "yellow", "missing": "bold red"}

Check = Callable[[], CheckResult]


def checks(cluster: Cluster, deep: bool) -> dict[str, Check]:
    """Return the checks by name.

    Args:
        cluster: whose Kubeflow Pipelines is asked, as whom the settings say.
        deep: import TensorFlow and JAX, and write to MLflow.
    """
    return {
        "Python": machine.check_python,
        "packages": machine.check_packages,
        "disk": machine.check_disk,
        "memory": machine.check_memory,
        "GPU": lambda: machine.check_gpu(deep),
        "Docker": machine.check_docker,
        "Docker image": machine.check_image,
        "MLflow": lambda: check_mlflow(tracking_uri(), deep),
        "pipelines": lambda: check_pipelines(cluster),
    }


def examine(to_check: dict[str, Check], seconds: float) -> dict[str, CheckResult]:
    """Run checks side by side; one that fails or takes too long has a result, too.

    Args:
        to_check: by name.
        seconds: what has not answered by then counts as missing. Its thread is left behind.
    """
    answers: queue.Queue[tuple[str, CheckResult]] = queue.Queue()

    def ask(name: str, check: Check) -> None:
        try:
            result = check()
        except AssayError as error:
            result = CheckResult("missing", str(error))
        except Exception as error:  # whatever it is: one check must not hide what the others found
            result = CheckResult("missing", f"can't be checked: {type(error).__name__}: {error}")
        answers.put((name, result))

    for name, check in to_check.items():
        threading.Thread(target=ask, args=(name, check), daemon=True).start()
    results: dict[str, CheckResult] = {}
    deadline = time.monotonic() + seconds
    while len(results) < len(to_check):
        try:
            name, result = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        results[name] = result
    late = CheckResult("missing", f"no answer within {seconds:g} s", "look whether something in between drops packets")
    return {name: results.get(name, late) for name in to_check}


def show(console: Console, results: dict[str, CheckResult]) -> None:
    """Print what was found as a table, each mend below what it mends."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("check", "", "found"):
        table.add_column(heading, overflow="fold")
    for name, result in results.items():
        text = Text(result.told)
        if result.mend:
            text.append(f"\n-> {result.mend}", style="bold")
        table.add_row(name, Text(result.state, style=STYLES[result.state]), text)
    console.print(table)
