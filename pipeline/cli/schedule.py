"""The commands of `assay` that run a study again and again: schedule, and schedules list, pause, resume, delete."""

import shlex
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from components.errors import UsageError
from pipeline.cli.options import (
    CookieOption,
    HostOption,
    NamespaceOption,
    ProfileOption,
    RetrainOption,
    SeedsOption,
    SetOption,
    StudyArgument,
    StudyIfDriftOption,
    StudyOptions,
    TokenOption,
    asides,
    connect,
    where_mlflow_is,
    with_cluster,
    with_options,
)

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from components.study.study import Study
    from pipeline.kubeflow.settings import Cluster
    from pipeline.schedules.cron import Cron

app = typer.Typer()
schedules_app = typer.Typer(help="List, pause, resume and delete a cluster's schedules.", no_args_is_help=True)
app.add_typer(schedules_app, name="schedules")

NEXT_TIMES = 3

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]


class Place(StrEnum):
    """Where a schedule runs."""

    CLUSTER = "cluster"
    LOCAL = "local"
    DOCKER = "docker"


class ScheduleOptions(NamedTuple):
    """The options of `schedule`."""

    study: StudyArgument
    cron: Annotated[
        str, typer.Option(metavar="LINE", help='Five fields: "0 2 * * *" is every day at 02:00.', show_default=False)
    ]
    timezone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE",
            help="Of LINE, such as Europe/Berlin; the scheduler's own by default: the cluster's, which is UTC as a "
            "rule, or this machine's.",
            show_default=False,
        ),
    ] = None
    name: Annotated[
        str | None,
        typer.Option(help="The study's by default; the same name again replaces the schedule.", show_default=False),
    ] = None
    on: Annotated[
        Place, typer.Option(help="local and docker print a line for crontab, or with --timezone a systemd timer.")
    ] = Place.CLUSTER
    host: HostOption = None
    namespace: NamespaceOption = None
    profile: ProfileOption = None
    overrides: SetOption = None
    seeds: SeedsOption = None
    token_file: TokenOption = None
    cookie_file: CookieOption = None
    retrain: RetrainOption = False
    study_if_drift: StudyIfDriftOption = False


@app.command()
@with_options(ScheduleOptions)
def schedule(given: ScheduleOptions) -> None:
    """Run a study again and again; what the cluster gives it stands in its section `cluster` or a profile."""
    from pipeline.kubeflow.settings import zone
    from pipeline.schedules.cron import read_cron

    times = read_cron(given.cron)
    try:
        clock = zone(given.timezone) if given.timezone else None
    except ValueError as error:
        raise UsageError(f"--timezone: {error}") from None
    asked = StudyOptions(given.study, given.overrides, given.seeds, given.retrain, given.study_if_drift)
    study = asked.read()
    name = given.name or study.study
    if given.on is Place.CLUSTER:
        _put_on_cluster(given, study, name, times, clock)
    else:
        _print_for_this_machine(asked, times, given.timezone, name, given.on)


def _put_on_cluster(given: ScheduleOptions, study: "Study", name: str, times: "Cron", clock: "ZoneInfo | None") -> None:
    from pipeline.kubeflow.settings import read_cluster, zone
    from pipeline.schedules.cron import minutes_between, next_change

    login = {"host": given.host, "namespace": given.namespace}
    login |= {"token_file": given.token_file, "cookie_file": given.cookie_file}
    client, say = connect(read_cluster(given.study, given.profile, login)), asides()
    there, now = zone(client.cluster.timezone), datetime.now(UTC)
    moved = times.moved(minutes_between(clock, there, now) if clock else 0)
    upcoming = times.next(now, clock or there, NEXT_TIMES)

    from pipeline.kubeflow.recurring_runs import put

    if warning := client.check():
        say(warning)
    number, replaced = put(client, study, name, moved)
    typer.echo(number)
    say(f"{name}: {times.words()}, {given.timezone or client.cluster.timezone}; next {_dates(upcoming)}")
    if clock and (change := next_change(clock, there, now)):
        say(
            f"the cluster's clock is {client.cluster.timezone}: from {change:%Y-%m-%d} on it would be at another hour; "
            "give this command again then"
        )
    for old in replaced:
        say(f"replaced {old.id}" + ("" if old.enabled else ", which was paused: the new one is not"))
    say(where_mlflow_is(client.cluster, study.study))


@schedules_app.command("list")
@with_cluster
def list_schedules(cluster: "Cluster") -> None:
    """List Assay's schedules on the cluster."""
    from pipeline.kubeflow.recurring_runs import schedules
    from pipeline.kubeflow.settings import zone

    clock = zone(cluster.timezone)
    for found in schedules(connect(cluster)):
        times = found.read()
        when = f"{times.words()}, {cluster.timezone}" if times else found.cron
        upcoming = f"next {_dates(times.next(datetime.now(UTC), clock, 1))}" if times and found.enabled else ""
        typer.echo(f"{found.name}  {'on' if found.enabled else 'paused'}  {when}  {upcoming}".rstrip())


@schedules_app.command("pause")
@with_cluster
def pause_schedule(cluster: "Cluster", name: NameArgument) -> None:
    """Let no more runs start."""
    from pipeline.kubeflow.recurring_runs import pause

    pause(connect(cluster), name)


@schedules_app.command("resume")
@with_cluster
def resume_schedule(cluster: "Cluster", name: NameArgument) -> None:
    """Let runs start again, from the next time on."""
    from pipeline.kubeflow.recurring_runs import resume

    resume(connect(cluster), name)


@schedules_app.command("delete")
@with_cluster
def delete_schedule(cluster: "Cluster", name: NameArgument) -> None:
    """Delete a schedule; its runs stay."""
    from pipeline.kubeflow.recurring_runs import delete

    delete(connect(cluster), name)


def _print_for_this_machine(asked: StudyOptions, times: "Cron", timezone: str | None, name: str, on: Place) -> None:
    from pipeline.kubeflow.settings import zone
    from pipeline.schedules.timers import crontab, systemd

    command = ["run", *asked.arguments(), *(["--on", on.value] if on is Place.DOCKER else [])]
    here = Path.cwd()
    text = systemd(times, command, here, name, timezone) if timezone else crontab(times, command, here)
    typer.echo(text, nl=False)
    upcoming = times.next(datetime.now(UTC), zone(timezone) if timezone else None, NEXT_TIMES)
    how = "" if timezone else ", for `crontab -e`"
    asides()(f"{shlex.join(['assay', *command])}: {times.words()}{how}; next {_dates(upcoming)}")


def _dates(times: list[datetime]) -> str:
    return ", ".join(f"{time:%a %Y-%m-%d %H:%M %Z}" for time in times)
