"""The commands of `assay` that run a study again and again: schedule, and schedules list, pause, resume, delete."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.errors import UsageError
from pipeline.cli.options import ClusterOptions, StudyOptions, say, where_mlflow_is, with_options

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from components.study.study import Study
    from pipeline.schedules.cron import Cron

app = typer.Typer()
schedules_app = typer.Typer(help="List, pause, resume and delete a cluster's schedules.", no_args_is_help=True)
app.add_typer(schedules_app, name="schedules")

NEXT_TIMES = 3
CHANGES = {
    "pause": "Let no more runs start.",
    "resume": "Let runs start again, from the next time on.",
    "delete": "Delete a schedule; its runs stay.",
}

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]


class Place(StrEnum):
    """Where a schedule runs."""

    CLUSTER = "cluster"
    LOCAL = "local"
    DOCKER = "docker"


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions(StudyOptions):
    """The options of `schedule`."""

    cron: Annotated[str, typer.Option(metavar="LINE", help='Five fields: "0 2 * * *" is every day at 02:00.')]
    timezone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE",
            help="Of LINE, such as Europe/Berlin; the scheduler's own by default: the cluster's, which is UTC as a "
            "rule, or this machine's.",
        ),
    ] = None
    name: Annotated[
        str | None, typer.Option(help="The study's by default; the same name again replaces the schedule.")
    ] = None
    on: Annotated[
        Place, typer.Option(help="local and docker print a line for crontab, or with --timezone a systemd timer.")
    ] = Place.CLUSTER


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
    study = given.read()
    name = given.name or study.study
    if given.on is Place.CLUSTER:
        _put_on_cluster(given, study, name, times, clock)
    else:
        _print_for_this_machine(given, name, times)


def _put_on_cluster(given: ScheduleOptions, study: "Study", name: str, times: "Cron", clock: "ZoneInfo | None") -> None:
    from pipeline.kubeflow.settings import zone
    from pipeline.schedules.cron import minutes_between, next_change

    client = given.connect(given.study, timezone=None)  # that option is of the line, not of the scheduler
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
@with_options(ClusterOptions)
def list_schedules(given: ClusterOptions) -> None:
    """List Assay's schedules on the cluster."""
    from pipeline.kubeflow.recurring_runs import schedules
    from pipeline.kubeflow.settings import zone

    client = given.connect()
    clock, timezone = zone(client.cluster.timezone), client.cluster.timezone
    for found in schedules(client):
        times = found.read()
        when = f"{times.words()}, {timezone}" if times else found.cron
        upcoming = f"next {_dates(times.next(datetime.now(UTC), clock, 1))}" if times and found.enabled else ""
        typer.echo(f"{found.name}  {'on' if found.enabled else 'paused'}  {when}  {upcoming}".rstrip())


def _changing(action: str) -> Callable[..., None]:
    @with_options(ClusterOptions)
    def change_schedule(given: ClusterOptions, name: NameArgument) -> None:
        from pipeline.kubeflow.recurring_runs import change

        change(given.connect(), name, action)

    return change_schedule


for action, about in CHANGES.items():
    schedules_app.command(action, help=about)(_changing(action))


def _print_for_this_machine(given: ScheduleOptions, name: str, times: "Cron") -> None:
    from pipeline.kubeflow.settings import zone
    from pipeline.schedules.timers import crontab, systemd

    command = ["run", *given.arguments(), *(["--on", given.on.value] if given.on is Place.DOCKER else [])]
    here, timezone = Path.cwd(), given.timezone
    text = systemd(times, command, here, name, timezone) if timezone else crontab(times, command, here)
    typer.echo(text, nl=False)
    upcoming = times.next(datetime.now(UTC), zone(timezone) if timezone else None, NEXT_TIMES)
    how = "" if timezone else ", for `crontab -e`"
    say(f"{shlex.join(['assay', *command])}: {times.words()}{how}; next {_dates(upcoming)}")


def _dates(times: list[datetime]) -> str:
    return ", ".join(f"{time:%a %Y-%m-%d %H:%M %Z}" for time in times)
