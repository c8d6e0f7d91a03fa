"""The commands of `assay` that talk to a cluster: submit, status, wait, logs, cancel, schedule, schedules."""

import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from components.errors import AssayError, UsageError

if TYPE_CHECKING:
    from pipeline.cluster import Client, RemoteRun
    from pipeline.cluster_settings import Cluster

app = typer.Typer()
schedules_app = typer.Typer(help="List, pause, resume and delete a cluster's schedules.", no_args_is_help=True)
app.add_typer(schedules_app, name="schedules")

NEXT_TIMES = 3

StudyArgument = Annotated[str, typer.Argument(help="As for `run`.", show_default=False)]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's number, as `submit` says it.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value; repeatable.")
]
SeedsOption = Annotated[int | None, typer.Option(help="Train each arm with this many seeds.", show_default=False)]
HostOption = Annotated[
    str | None,
    typer.Option(envvar="KFP_HOST", metavar="URL", help="Address of Kubeflow Pipelines.", show_default=False),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option(envvar="KFP_NAMESPACE", help="Yours, where several users share Kubeflow.", show_default=False),
]
ProfileOption = Annotated[
    Path | None, typer.Option(help="A YAML file with the keys of a study's section `cluster`.", show_default=False)
]
TokenOption = Annotated[
    str | None, typer.Option("--token-file", help="Holds the token; else KFP_TOKEN.", show_default=False)
]
CookieOption = Annotated[
    str | None, typer.Option("--cookie-file", help="Holds NAME=VALUE; else KFP_COOKIE.", show_default=False)
]
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


class Place(StrEnum):
    """Where a schedule runs."""

    CLUSTER = "cluster"
    LOCAL = "local"
    DOCKER = "docker"


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
) -> None:
    """Run a study on a Kubeflow cluster."""
    from pipeline.cluster_settings import read_cluster
    from pipeline.study_file import read_study

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
    described = read_study(study, overrides or [], seeds)
    client, say = _client(read_cluster(study, profile, options)), _asides()

    from pipeline.platform import image as image_of

    if warning := client.check():
        say(warning)
    number = client.submit(described)
    typer.echo(number)
    say(f"run:    {client.page(number)}")
    say(_where_mlflow_is(client.cluster, described.study))
    if not client.cluster.image:
        say(f"without --image the cluster must have {image_of(client.cluster)} already: no registry has it")
    if not client.cluster.pvc:
        say("without --pvc a run that fails starts anew the next time: nothing keeps its finished cells")
    if wait:
        _follow(client, number, None)
    else:
        say(f"`assay wait {number} --host {client.host}` waits for its end")


@app.command()
def status(
    run: RunArgument,
    host: HostOption = None,
    profile: ProfileOption = None,
    token_file: TokenOption = None,
    cookie_file: CookieOption = None,
) -> None:
    """Say where a run on the cluster is, step by step."""
    from pipeline.progress import duration

    client = _connect(host, None, profile, token_file, cookie_file)
    found = client.run(run)
    typer.echo(f"{found.name}  {found.state.value}" + (f"  {found.error}" if found.error else ""))
    for step in found.steps:
        until = step.ended or datetime.now(UTC)
        took = duration((until - step.started).total_seconds()) if step.started else ""
        typer.echo(f"{step.name:9} {step.state.value:10} {took:8} {step.error}".rstrip())
    typer.echo(client.page(run))


@app.command("wait")
def wait_(
    run: RunArgument,
    host: HostOption = None,
    profile: ProfileOption = None,
    token_file: TokenOption = None,
    cookie_file: CookieOption = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Give up after this many minutes; the run goes on.", show_default=False)
    ] = None,
) -> None:
    """Wait until a run has ended; the exit code is 0 only when it succeeded."""
    _follow(_connect(host, None, profile, token_file, cookie_file), run, timeout)


@app.command()
def logs(
    run: RunArgument,
    step: Annotated[
        str | None, typer.Option(help="Only of load, scale, train, evaluate or register.", show_default=False)
    ] = None,
    host: HostOption = None,
    profile: ProfileOption = None,
    token_file: TokenOption = None,
    cookie_file: CookieOption = None,
) -> None:
    """Print what the steps of a run have written."""
    for task, text in _connect(host, None, profile, token_file, cookie_file).logs(run, step):
        typer.echo(f"== {task.name} ({task.state.value})")
        typer.echo(text, nl=not text.endswith("\n"))


@app.command()
def cancel(
    run: RunArgument,
    host: HostOption = None,
    profile: ProfileOption = None,
    token_file: TokenOption = None,
    cookie_file: CookieOption = None,
) -> None:
    """Stop a run on the cluster."""
    _connect(host, None, profile, token_file, cookie_file).cancel(run)


@app.command()
def schedule(
    study: StudyArgument,
    cron: Annotated[
        str, typer.Option(metavar="LINE", help='Five fields: "0 2 * * *" is every day at 02:00.', show_default=False)
    ],
    timezone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE",
            help="Of LINE, such as Europe/Berlin; the scheduler's own by default: the cluster's, which is UTC as a "
            "rule, or this machine's.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="The study's by default; the same name again replaces the schedule.", show_default=False),
    ] = None,
    on: Annotated[
        Place, typer.Option(help="local and docker print a line for crontab, or with --timezone a systemd timer.")
    ] = Place.CLUSTER,
    host: HostOption = None,
    namespace: NamespaceOption = None,
    profile: ProfileOption = None,
    overrides: SetOption = None,
    seeds: SeedsOption = None,
    token_file: TokenOption = None,
    cookie_file: CookieOption = None,
) -> None:
    """Run a study again and again; what the cluster gives it stands in its section `cluster` or a profile."""
    from pipeline.cluster_settings import read_cluster, zone
    from pipeline.cron import minutes_between, next_change, read_cron
    from pipeline.study_file import read_study

    times = read_cron(cron)
    try:
        clock = zone(timezone) if timezone else None
    except ValueError as error:
        raise UsageError(f"--timezone: {error}") from None
    described = read_study(study, overrides or [], seeds)
    called, now = name or described.study, datetime.now(UTC)
    if on is not Place.CLUSTER:
        _print_for_this_machine(study, times, timezone, called, on, overrides, seeds)
        return
    options = {"host": host, "namespace": namespace, "token_file": token_file, "cookie_file": cookie_file}
    client, say = _client(read_cluster(study, profile, options)), _asides()
    there = zone(client.cluster.timezone)
    ahead = minutes_between(clock, there, now) if clock else 0
    moved = times.moved(ahead)
    upcoming = times.next(now, clock or there, NEXT_TIMES)

    from pipeline.schedule import put

    if warning := client.check():
        say(warning)
    number, replaced = put(client, described, called, moved)
    typer.echo(number)
    say(f"{called}: {times.words()}, {timezone or client.cluster.timezone}; next {_dates(upcoming)}")
    if clock and (change := next_change(clock, there, now)):
        say(
            f"the cluster's clock is {client.cluster.timezone}: from {change:%Y-%m-%d} on it would be at another hour; "
            "give this command again then"
        )
    for old in replaced:
        say(f"replaced {old.id}" + ("" if old.enabled else ", which was paused: the new one is not"))
    say(_where_mlflow_is(client.cluster, described.study))


@schedules_app.command("list")
def list_schedules(
    host: HostOption = None,
    namespace: NamespaceOption = None,
    profile: ProfileOption = None,
    token_file: TokenOption = None,
    cookie_file: CookieOption = None,
) -> None:
    """List Assay's schedules on the cluster."""
    from pipeline.cluster_settings import zone
    from pipeline.schedule import schedules

    client = _connect(host, namespace, profile, token_file, cookie_file)
    clock = zone(client.cluster.timezone)
    for one in schedules(client):
        times = one.read()
        when = f"{times.words()}, {client.cluster.timezone}" if times else one.cron
        upcoming = f"next {_dates(times.next(datetime.now(UTC), clock, 1))}" if times and one.enabled else ""
        typer.echo(f"{one.name}  {'on' if one.enabled else 'paused'}  {when}  {upcoming}".rstrip())


@schedules_app.command("pause")
def pause_schedule(
    name: NameArgument,
    host: HostOption = None,
    namespace: NamespaceOption = None,
    profile: ProfileOption = None,
    token_file: TokenOption = None,
    cookie_file: CookieOption = None,
) -> None:
    """Let no more runs start."""
    from pipeline.schedule import pause

    pause(_connect(host, namespace, profile, token_file, cookie_file), name)


@schedules_app.command("resume")
def resume_schedule(
    name: NameArgument,
    host: HostOption = None,
    namespace: NamespaceOption = None,
    profile: ProfileOption = None,
    token_file: TokenOption = None,
    cookie_file: CookieOption = None,
) -> None:
    """Let runs start again, from the next time on."""
    from pipeline.schedule import resume

    resume(_connect(host, namespace, profile, token_file, cookie_file), name)


@schedules_app.command("delete")
def delete_schedule(
    name: NameArgument,
    host: HostOption = None,
    namespace: NamespaceOption = None,
    profile: ProfileOption = None,
    token_file: TokenOption = None,
    cookie_file: CookieOption = None,
) -> None:
    """Delete a schedule; its runs stay."""
    from pipeline.schedule import delete

    delete(_connect(host, namespace, profile, token_file, cookie_file), name)


def _connect(
    host: str | None, namespace: str | None, profile: Path | None, token_file: str | None, cookie_file: str | None
) -> "Client":
    """Return a client for commands that know no study."""
    from pipeline.cluster_settings import read_cluster

    options = {"host": host, "namespace": namespace, "token_file": token_file, "cookie_file": cookie_file}
    return _client(read_cluster(None, profile, options))


def _client(cluster: "Cluster") -> "Client":
    from pipeline.cluster import Client

    return Client(cluster)


def _asides() -> Callable[[str], None]:
    """Return what says things that are not the answer: a script reads that from the standard output."""
    console = Console(stderr=True, highlight=False)
    return lambda text: console.print(text, markup=False, soft_wrap=True)


def _follow(client: "Client", number: str, minutes: float | None) -> None:
    """Wait for the end of a run and say what happens.

    Raises:
        AssayError: when it did not succeed.
    """
    from pipeline.cluster import State

    say, told = _asides(), ""

    def seen(run: "RemoteRun") -> None:
        nonlocal told
        now = _summary(run)
        if now != told:
            told = now
            say(f"{datetime.now():%H:%M:%S} {now}")

    run = client.wait(number, seen, None if minutes is None else 60 * minutes)
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
    from pipeline.cluster import STEPS, State

    parts = []
    for name in STEPS:
        tasks = [step.state for step in run.steps if step.name == name]
        if tasks:
            done = tasks.count(State.SUCCEEDED)
            parts.append(name if done == len(tasks) else f"{name} {done} of {len(tasks)}")
    return run.state.value + (f": {', '.join(parts)}" if parts else "")


def _where_mlflow_is(cluster: "Cluster", study: str) -> str:
    where = cluster.mlflow or "where the cluster's MLFLOW_TRACKING_URI says"
    return f"MLflow: {where}, experiment {study}"


def _labels(texts: list[str] | None) -> dict[str, str]:
    """Return node labels.

    Raises:
        UsageError: for one without a value.
    """
    for text in texts or ():
        if not all(text.partition("=")):
            raise UsageError(f"--node-selector {text}: expected KEY=VALUE")
    return dict(text.split("=", 1) for text in texts or ())


def _print_for_this_machine(
    study: str,
    times: Any,
    timezone: str | None,
    name: str,
    on: Place,
    overrides: list[str] | None,
    seeds: int | None,
) -> None:
    from pipeline.cluster_settings import zone
    from pipeline.schedule import crontab, systemd

    command = ["run", study]
    command += [part for override in overrides or () for part in ("--set", override)]
    command += ["--seeds", str(seeds)] if seeds is not None else []
    command += ["--on", on.value] if on is Place.DOCKER else []
    here = Path.cwd()
    text = systemd(times, command, here, name, timezone) if timezone else crontab(times, command, here)
    typer.echo(text, nl=False)
    upcoming = times.next(datetime.now(UTC), zone(timezone) if timezone else None, NEXT_TIMES)
    how = "" if timezone else ", for `crontab -e`"
    _asides()(f"{shlex.join(['assay', *command])}: {times.words()}{how}; next {_dates(upcoming)}")


def _dates(times: list[datetime]) -> str:
    return ", ".join(f"{time:%a %Y-%m-%d %H:%M %Z}" for time in times)
