"""The commands of `assay` that run a study on a cluster: submit, status, wait, logs, cancel."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from components.errors import UsageError
from components.runtime.events import STEPS
from pipeline.cli.options import ClusterOptions, StudyOptions, say, where_mlflow_is, with_options

if TYPE_CHECKING:
    from pipeline.kubeflow.runner import ClusterRunner

app = typer.Typer()

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's number, as `submit` says it.")]


@dataclass(frozen=True, kw_only=True)
class SubmitOptions(StudyOptions):
    """The options of `submit`; most are settings of the cluster, by their keys."""

    experiment: Annotated[str | None, typer.Option(help="In Kubeflow; the study's name by default.")] = None
    image: Annotated[str | None, typer.Option(help="Image of all steps.")] = None
    gpu: Annotated[int | None, typer.Option(help="GPUs of each train task.")] = None
    gpu_type: Annotated[str | None, typer.Option(metavar="KEY", help="The resource, such as amd.com/gpu.")] = None
    cpu: Annotated[str | None, typer.Option(help="Cores of each train task.")] = None
    memory: Annotated[str | None, typer.Option(help="Of every step, such as 8Gi.")] = None
    fan_out: Annotated[int | None, typer.Option(help="Train tasks to spread the cells over.")] = None
    pvc: Annotated[str | None, typer.Option(metavar="NAME", help="Volume claim for cells and data sets.")] = None
    node_selector: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of the nodes that train; repeatable.")
    ] = None
    tolerations: Annotated[
        list[str] | None,
        typer.Option("--toleration", metavar="KEY[=VALUE][:EFFECT]", help="Taint of the nodes that train; repeatable."),
    ] = None
    service_account: Annotated[str | None, typer.Option(help="Of all steps.")] = None
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it has ended.")] = False


@app.command()
@with_options(SubmitOptions)
def submit(given: SubmitOptions) -> None:
    """Run a study on a Kubeflow cluster."""
    described = given.read()

    from pipeline.kubeflow.runner import ClusterRunner
    from pipeline.kubeflow.runs import page

    client = given.connect(given.study, node_selector=_labels(given.node_selector or []))
    if warning := client.check():
        say(warning)
    runner = ClusterRunner(client)
    runner.start(described)
    number = runner.number
    typer.echo(number)
    say(f"run:    {page(client, number)}")
    say(where_mlflow_is(client.cluster, described.study))
    if not client.cluster.image:
        say(f"without --image the cluster must have {client.cluster.image_name()} already: no registry has it")
    if not client.cluster.pvc:
        say("without --pvc a run that fails starts anew the next time: nothing keeps its finished cells")
    if given.wait:
        _follow(runner)
    else:
        say(f"`assay wait {number} --host {client.host}` waits for its end")


@app.command()
@with_options(ClusterOptions)
def status(given: ClusterOptions, run: RunArgument) -> None:
    """Say where a run on the cluster is, step by step."""
    client = given.connect()

    from components.formatting import duration
    from pipeline.kubeflow.runs import look, page

    now = look(client, run)
    typer.echo(f"{now.name}  {now.state}" + (f"  {now.error}" if now.error else ""))
    for step in now.steps:
        until = step.ended or datetime.now(UTC)
        took = duration((until - step.started).total_seconds()) if step.started else ""
        typer.echo(f"{step.name:9} {step.state:10} {took:8} {step.error}".rstrip())
    typer.echo(page(client, run))


@app.command("wait")
@with_options(ClusterOptions)
def wait_(
    given: ClusterOptions,
    run: RunArgument,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Give up after this many minutes; the run goes on.")
    ] = None,
) -> None:
    """Wait until a run has ended; the exit code is 0 only when it succeeded."""
    client = given.connect()

    from pipeline.kubeflow.runner import ClusterRunner

    _follow(ClusterRunner(client, run, None if timeout is None else 60 * timeout))


@app.command()
@with_options(ClusterOptions)
def logs(
    given: ClusterOptions,
    run: RunArgument,
    step: Annotated[str | None, typer.Option(help=f"Only of {', '.join(STEPS[:-1])} or {STEPS[-1]}.")] = None,
) -> None:
    """Print what the steps of a run have written."""
    from pipeline.kubeflow.runs import logs as read

    for task, text in read(given.connect(), run, step):
        typer.echo(f"== {task.name} ({task.state})")
        typer.echo(text, nl=not text.endswith("\n"))


@app.command()
@with_options(ClusterOptions)
def cancel(given: ClusterOptions, run: RunArgument) -> None:
    """Stop a run on the cluster."""
    client = given.connect()

    from pipeline.kubeflow.runner import ClusterRunner

    ClusterRunner(client, run).stop()


def _follow(runner: "ClusterRunner") -> None:
    """Say what happens until a run has ended, and fail where it did not succeed."""
    for events in runner.events():
        for event in events:
            say(f"{datetime.now():%H:%M:%S} {event['message']}")


def _labels(texts: list[str]) -> dict[str, str]:
    for text in texts:
        if not all(text.partition("=")):
            raise UsageError(f"--node-selector {text}: expected KEY=VALUE")
    return dict(text.split("=", 1) for text in texts)
