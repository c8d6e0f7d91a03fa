"""Looks whether this machine, and the servers that were named, are fit for Assay; says how to mend what is not.

The checks run side by side, each with a limit, so that the answer comes within seconds whatever hangs.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

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
    """Return the checks by name; `deep` ones import TensorFlow and JAX, and write to MLflow."""
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
    """Run checks side by side; what has not answered in time counts as missing, and its thread is left behind."""
    answers: dict[str, Future[CheckResult]] = {name: Future() for name in to_check}

    def ask(name: str) -> None:
        try:
            result = to_check[name]()
        except AssayError as error:
            result = CheckResult("missing", str(error))
        except Exception as error:  # whatever it is: one check must not hide what the others found
            result = CheckResult("missing", f"can't be checked: {type(error).__name__}: {error}")
        answers[name].set_result(result)

    for name in to_check:
        threading.Thread(target=ask, args=(name,), daemon=True).start()
    done, _ = wait(answers.values(), timeout=seconds)
    late = CheckResult("missing", f"no answer within {seconds:g} s", "look whether something in between drops packets")
    return {name: answer.result() if answer in done else late for name, answer in answers.items()}


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
