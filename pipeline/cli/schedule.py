"""The commands of `assay` that run a study again and again: schedule, and schedules list, pause, resume, delete."""

import shlex
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.errors import UsageError
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
    retrain: RetrainOption = False,
    study_if_drift: StudyIfDriftOption = False,
) -> None:
    """Run a study again and again; what the cluster gives it stands in its section `cluster` or a profile."""
    from pipeline.kubeflow.settings import read_cluster, zone
    from pipeline.schedules.cron import minutes_between, next_change, read_cron

    times = read_cron(cron)
    try:
        clock = zone(timezone) if timezone else None
    except ValueError as error:
        raise UsageError(f"--timezone: {error}") from None
    asked = Asked(study, overrides, seeds, retrain, study_if_drift)
    described = asked.read()
    called, now = name or described.study, datetime.now(UTC)
    if on is not Place.CLUSTER:
        _print_for_this_machine(asked, times, timezone, called, on)
        return
    options = {"host": host, "namespace": namespace, "token_file": token_file, "cookie_file": cookie_file}
    client, say = connect(read_cluster(study, profile, options)), asides()
    there = zone(client.cluster.timezone)
    ahead = minutes_between(clock, there, now) if clock else 0
    moved = times.moved(ahead)
    upcoming = times.next(now, clock or there, NEXT_TIMES)

    from pipeline.kubeflow.recurring_runs import put

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
    say(where_mlflow_is(client.cluster, described.study))


@schedules_app.command("list")
@with_cluster
def list_schedules(cluster: "Cluster") -> None:
    """List Assay's schedules on the cluster."""
    from pipeline.kubeflow.recurring_runs import schedules
    from pipeline.kubeflow.settings import zone

    clock = zone(cluster.timezone)
    for one in schedules(connect(cluster)):
        times = one.read()
        when = f"{times.words()}, {cluster.timezone}" if times else one.cron
        upcoming = f"next {_dates(times.next(datetime.now(UTC), clock, 1))}" if times and one.enabled else ""
        typer.echo(f"{one.name}  {'on' if one.enabled else 'paused'}  {when}  {upcoming}".rstrip())


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


def _print_for_this_machine(asked: Asked, times: "Cron", timezone: str | None, name: str, on: Place) -> None:
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
