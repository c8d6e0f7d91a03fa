"""The commands of `assay` that run a study on a cluster: submit, status, wait, logs, cancel."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from components.errors import AssayError, UsageError
from pipeline.cli.options import (
    Asked,
    CookieOption,
    HostOption,
    NamespaceOption,
    ProfileOption,
    RetrainOption,
    SeedsOption,
    SetOption,
    StudyArgument,
    StudyIfDriftOption,
    TokenOption,
    asides,
    connect,
    where_mlflow_is,
    with_cluster,
)

if TYPE_CHECKING:
    from pipeline.kubeflow.client import Client
    from pipeline.kubeflow.runs import RemoteRun
    from pipeline.kubeflow.settings import Cluster

app = typer.Typer()

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's number, as `submit` says it.")]
ExperimentOption = Annotated[
    str | None, typer.Option(help="In Kubeflow; the study's name by default.", show_default=False)
]
ImageOption = Annotated[str | None, typer.Option(help="Image of all steps.", show_default=False)]
GpuOption = Annotated[int | None, typer.Option(help="GPUs of each train task.", show_default=False)]
GpuTypeOption = Annotated[
    str | None, typer.Option(metavar="KEY", help="The resource, such as amd.com/gpu.", show_default=False)
]
CpuOption = Annotated[str | None, typer.Option(help="Cores of each train task.", show_default=False)]
MemoryOption = Annotated[str | None, typer.Option(help="Of every step, such as 8Gi.", show_default=False)]
FanOutOption = Annotated[int | None, typer.Option(help="Train tasks to spread the cells over.", show_default=False)]
PvcOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Volume claim for cells and data sets.", show_default=False)
]
SelectorOption = Annotated[
    list[str] | None, typer.Option("--node-selector", metavar="KEY=VALUE", help="Of the nodes that train; repeatable.")
]
TolerationOption = Annotated[
    list[str] | None,
    typer.Option("--toleration", metavar="KEY[=VALUE][:EFFECT]", help="Taint of the nodes that train; repeatable."),
]
ServiceAccountOption = Annotated[str | None, typer.Option(help="Of all steps.", show_default=False)]


@app.command()
def submit(
    study: StudyArgument,
    host: HostOption = None,
    namespace: NamespaceOption = None,
    profile: ProfileOption = None,
    overrides: SetOption = None,
    seeds: SeedsOption = None,
    experiment: ExperimentOption = None,
    image: ImageOption = None,
    gpu: GpuOption = None,
    gpu_type: GpuTypeOption = None,
    cpu: CpuOption = None,
    memory: MemoryOption = None,
    fan_out: FanOutOption = None,
    pvc: PvcOption = None,
    node_selector: SelectorOption = None,
    toleration: TolerationOption = None,
    service_account: ServiceAccountOption = None,
    token_file: TokenOption = None,
    cookie_file: CookieOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it has ended.")] = False,
    retrain: RetrainOption = False,
    study_if_drift: StudyIfDriftOption = False,
) -> None:
    """Run a study on a Kubeflow cluster."""
    options = {
        "host": host,
        "namespace": namespace,
        "experiment": experiment,
        "image": image,
        "gpu": gpu,
        "gpu_type": gpu_type,
        "cpu": cpu,
        "memory": memory,
        "fan_out": fan_out,
        "pvc": pvc,
        "node_selector": _labels(node_selector),
        "tolerations": tuple(toleration or ()),
        "service_account": service_account,
        "token_file": token_file,
        "cookie_file": cookie_file,
    }
    described = Asked(study, overrides, seeds, retrain, study_if_drift).read()

    from pipeline.kubeflow.runs import page
    from pipeline.kubeflow.settings import read_cluster
    from pipeline.kubeflow.submit import submit as start

    client, say = connect(read_cluster(study, profile, options)), asides()
    if warning := client.check():
        say(warning)
    number = start(client, described)
    typer.echo(number)
    say(f"run:    {page(client, number)}")
    say(where_mlflow_is(client.cluster, described.study))
    if not client.cluster.image:
        say(f"without --image the cluster must have {client.cluster.image_name()} already: no registry has it")
    if not client.cluster.pvc:
        say("without --pvc a run that fails starts anew the next time: nothing keeps its finished cells")
    if wait:
        _follow(client, number, None)
    else:
        say(f"`assay wait {number} --host {client.host}` waits for its end")


@app.command()
@with_cluster
def status(cluster: "Cluster", run: RunArgument) -> None:
    """Say where a run on the cluster is, step by step."""
    client = connect(cluster)

    from pipeline.kubeflow.runs import look, page
    from pipeline.terminal.progress import duration

    found = look(client, run)
    typer.echo(f"{found.name}  {found.state.value}" + (f"  {found.error}" if found.error else ""))
    for step in found.steps:
        until = step.ended or datetime.now(UTC)
        took = duration((until - step.started).total_seconds()) if step.started else ""
        typer.echo(f"{step.name:9} {step.state.value:10} {took:8} {step.error}".rstrip())
    typer.echo(page(client, run))


@app.command("wait")
@with_cluster
def wait_(
    cluster: "Cluster",
    run: RunArgument,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Give up after this many minutes; the run goes on.", show_default=False)
    ] = None,
) -> None:
    """Wait until a run has ended; the exit code is 0 only when it succeeded."""
    _follow(connect(cluster), run, timeout)


@app.command()
@with_cluster
def logs(
    cluster: "Cluster",
    run: RunArgument,
    step: Annotated[
        str | None, typer.Option(help="Only of load, scale, train, evaluate or register.", show_default=False)
    ] = None,
) -> None:
    """Print what the steps of a run have written."""
    from pipeline.kubeflow.runs import logs as read

    for task, text in read(connect(cluster), run, step):
        typer.echo(f"== {task.name} ({task.state.value})")
        typer.echo(text, nl=not text.endswith("\n"))


@app.command()
@with_cluster
def cancel(cluster: "Cluster", run: RunArgument) -> None:
    """Stop a run on the cluster."""
    from pipeline.kubeflow.runs import cancel as stop

    stop(connect(cluster), run)


def _follow(client: "Client", number: str, minutes: float | None) -> None:
    """Wait for the end of a run and say what happens.

    Raises:
        AssayError: when it did not succeed.
    """
    from pipeline.kubeflow.runs import State, wait

    say, told = asides(), ""

    def seen(run: "RemoteRun") -> None:
        nonlocal told
        now = _summary(run)
        if now != told:
            told = now
            say(f"{datetime.now():%H:%M:%S} {now}")

    run = wait(client, number, seen, None if minutes is None else 60 * minutes)
    if run.state is not State.SUCCEEDED:
        failed = next((step for step in run.steps if step.state is State.FAILED), None)
        reason = (failed.error if failed else "") or run.error
        step = f" --step {failed.name}" if failed else ""
        raise AssayError(
            f"run {number} ended as {run.state.value}"
            + (f" in the step {failed.name}" if failed else "")
            + (f" ({reason})" if reason else "")
            + f"; `assay logs {number}{step} --host {client.host}` shows what it wrote"
        )


def _summary(run: "RemoteRun") -> str:
    """Return a run's state in a line: `RUNNING: load, scale, train 1 of 3`."""
    from pipeline.kubeflow.runs import STEPS, State

    parts = []
    for name in STEPS:
        tasks = [step.state for step in run.steps if step.name == name]
        if tasks:
            done = tasks.count(State.SUCCEEDED)
            parts.append(name if done == len(tasks) else f"{name} {done} of {len(tasks)}")
    return run.state.value + (f": {', '.join(parts)}" if parts else "")


def _labels(texts: list[str] | None) -> dict[str, str]:
    """Return node labels.

    Raises:
        UsageError: for one without a value.
    """
    for text in texts or ():
        if not all(text.partition("=")):
            raise UsageError(f"--node-selector {text}: expected KEY=VALUE")
    return dict(text.split("=", 1) for text in texts or ())
