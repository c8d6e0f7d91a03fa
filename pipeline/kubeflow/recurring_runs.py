"""Schedules of runs on a cluster, as Kubeflow's recurring runs."""

from dataclasses import dataclass

import kfp_server_api as api

from components.errors import UsageError
from components.formatting import did_you_mean
from components.study.study import Study
from pipeline.kubeflow.client import Client, ClusterError
from pipeline.kubeflow.submit import pipeline_id, what_runs
from pipeline.schedules.cron import Cron, read_cron

ENABLED = "ENABLED"


@dataclass(frozen=True)
class Schedule:
    """A recurring run of Assay's pipeline.

    Attributes:
        id: Kubeflow's.
        name: what people call it.
        enabled: whether it is not paused.
        cron: as Kubeflow has it, with six fields; "" for an interval that somebody else made.
    """

    id: str
    name: str
    enabled: bool
    cron: str

    def read(self) -> Cron | None:
        """Return the times, None where they are not of our making."""
        seconds, _, rest = self.cron.partition(" ")
        try:
            return read_cron(rest) if seconds == "0" else None
        except UsageError:
            return None


def put(client: Client, study: Study, name: str, cron: Cron) -> tuple[str, list[Schedule]]:
    """Make the schedule of this name be this one: one run at a time, missed ones are not made up for.

    The same schedule is left as it is. Another one of the name is replaced: the new one is made before the old one is
    deleted, so that a failure in between loses none. The times are in the time zone of the cluster's scheduler.

    Returns:
        Its number, and those that it has replaced.
    """
    body = _wanted(client, study, name, cron)
    present = [run for run in _ours(client) if run.display_name == name]
    same = [run for run in present if _same(run, body)]
    known = {run.recurring_run_id for run in present}

    def find() -> str | None:
        new = [run for run in _ours(client) if run.display_name == name and run.recurring_run_id not in known]
        return next((run.recurring_run_id for run in same or new), None)

    def create() -> str:
        call = client.recurring.recurring_run_service_create_recurring_run
        return client.ask(f"make the schedule {name}", call, once=True, recurring_run=body).recurring_run_id

    number = client.ensure(find, create)
    replaced = [_schedule(run) for run in present if run.recurring_run_id != number]
    for old in replaced:
        _change(client, old, "delete")
    return number, replaced


def _wanted(client: Client, study: Study, name: str, cron: Cron) -> api.V2beta1RecurringRun:
    return api.V2beta1RecurringRun(
        display_name=name,
        description=f"assay schedule {study.study}: {cron.words()}",
        trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=cron.kubeflow())),
        mode=api.RecurringRunMode.ENABLE,
        max_concurrency="1",
        no_catchup=True,
        **what_runs(client, study),
    )


def schedules(client: Client) -> list[Schedule]:
    """Return Assay's schedules in the namespace, by name; other pipelines' are none of ours."""
    return sorted((_schedule(run) for run in _ours(client)), key=lambda schedule: schedule.name)


def change(client: Client, name: str, action: str) -> None:
    """Pause, resume or delete a schedule; what runs goes on, and finished runs stay.

    Raises:
        UsageError: when there is none of this name.
        ClusterError: when the cluster refuses or does not answer.
    """
    for schedule in _find(client, name):
        _change(client, schedule, action)


def _change(client: Client, schedule: Schedule, action: str) -> None:
    calls = {
        "pause": client.recurring.recurring_run_service_disable_recurring_run,
        "resume": client.recurring.recurring_run_service_enable_recurring_run,
        "delete": client.recurring.recurring_run_service_delete_recurring_run,
    }
    try:
        client.ask(f"{action} the schedule {schedule.name}", calls[action], recurring_run_id=schedule.id)
    except ClusterError as error:
        if action != "delete" or error.status != 404:  # somebody else was faster
            raise


def _ours(client: Client) -> list[api.V2beta1RecurringRun]:
    pipeline = pipeline_id(client)
    if pipeline is None:
        return []
    call = client.recurring.recurring_run_service_list_recurring_runs
    runs = client.pages("recurring_runs", call, **client.own_namespace())
    return [
        run for run in runs if run.pipeline_version_reference and run.pipeline_version_reference.pipeline_id == pipeline
    ]


def _schedule(run: api.V2beta1RecurringRun) -> Schedule:
    timed = run.trigger and run.trigger.cron_schedule
    return Schedule(run.recurring_run_id, run.display_name, run.status == ENABLED, timed.cron if timed else "")


def _same(run: api.V2beta1RecurringRun, wanted: api.V2beta1RecurringRun) -> bool:
    """Tell whether a recurring run is on and is what is wanted."""
    present = _schedule(run)
    return (
        present.enabled
        and present.cron == wanted.trigger.cron_schedule.cron
        and run.pipeline_version_reference == wanted.pipeline_version_reference
        and bool(run.runtime_config)
        and run.runtime_config.parameters == wanted.runtime_config.parameters
        and run.experiment_id == wanted.experiment_id
        and wanted.service_account in (None, run.service_account)  # the server fills in its default
        and bool(run.no_catchup)
        and str(run.max_concurrency) == wanted.max_concurrency
    )


def _find(client: Client, name: str) -> list[Schedule]:
    """Return the schedules of a name: more than one where somebody made them by hand; fail where there is none."""
    known = schedules(client)
    found = [schedule for schedule in known if schedule.name == name]
    if not found:
        where = f" in the namespace {client.cluster.namespace}" if client.cluster.namespace else ""
        names = sorted({schedule.name for schedule in known})
        hint = f"expected {did_you_mean(name, names)}" if names else "`assay schedule STUDY --cron ...` makes one"
        raise UsageError(f"no schedule is called {name!r}{where}; {hint}")
    return found
