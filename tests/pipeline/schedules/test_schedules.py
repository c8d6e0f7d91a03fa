"""Schedules: cron lines and their times, Kubeflow's recurring runs, crontab and systemd."""

import re
import shutil
import subprocess
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import kfp_server_api as api
import pytest
from command import assay
from hypothesis import given, reject
from hypothesis import strategies as some
from kfp_server import RefusalError

from components.errors import UsageError
from components.study.study import Study
from pipeline.kubeflow.recurring_runs import change, put, schedules
from pipeline.schedules.cron import minutes_between, next_change, read_cron
from pipeline.schedules.timers import crontab, systemd
from pipeline.study_file import read_study

NIGHTLY = read_cron("0 2 * * *")
BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)  # a Thursday


@pytest.fixture(scope="module")
def study() -> Study:
    return read_study("iris", [], 2)


# Cron lines


@pytest.mark.parametrize(
    ("line", "six", "words", "first"),
    [
        ("0 2 * * *", "0 0 2 * * *", "every day at 02:00", "Fri 2026-01-02 02:00"),
        ("*/15 * * * *", "0 0,15,30,45 * * * *", "every day every 15 minutes", "Thu 2026-01-01 12:15"),
        ("5 * * * *", "0 5 * * * *", "every day at minute 5 of every hour", "Thu 2026-01-01 12:05"),
        ("30 6,18 * * mon-fri", "0 30 6,18 * * 1,2,3,4,5", None, "Thu 2026-01-01 18:30"),
        ("0 3 * * 7", "0 0 3 * * 0", "every Sunday at 03:00", "Sun 2026-01-04 03:00"),
        ("0 3 * * sun", "0 0 3 * * 0", "every Sunday at 03:00", "Sun 2026-01-04 03:00"),
        ("0 0 1 */6 ?", "0 0 0 1 1,7 *", "on day 1 of the month at 00:00 in January and July", "Wed 2026-07-01 00:00"),
        ("0 0 13 * fri", "0 0 0 13 * 5", "on day 13 of the month and every Friday at 00:00", "Fri 2026-01-02 00:00"),
        ("0 0 29 feb *", "0 0 0 29 2 *", "on day 29 of the month at 00:00 in February", "Tue 2028-02-29 00:00"),
        ("10-30/10 8 1-31 * 1", "0 10,20,30 8 * * *", "every day at 08:10, 08:20 and 08:30", "Fri 2026-01-02 08:10"),
        ("* 1 * * *", "0 * 1 * * *", "every day every minute in the hours 1", "Fri 2026-01-02 01:00"),
    ],
)
def test_five_fields_are_read_translated_said_and_dated(line, six, words, first):
    cron = read_cron(line)
    assert cron.kubeflow() == six
    assert words in (None, cron.words())
    assert f"{cron.next(NOON, UTC, 1)[0]:%a %Y-%m-%d %H:%M}" == first


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("0 0 2 * * *", "leave the seconds out"),
        ("0 2 * *", "got 4"),
        ("@daily", "expected five fields"),
        ("60 2 * * *", "'60' is no minute; expected 0 to 59"),
        ("0 24 * * *", "'24' is no hour"),
        ("0 2 0 * *", "'0' is no day of the month"),
        ("0 2 * foo *", "'foo' is no month"),
        ("0 2 * * 8", "'8' is no day of the week"),
        ("0 5-2 * * *", "the smaller hour first"),
        ("*/0 2 * * *", "is empty"),
        ("0 2 L * *", "'l' is no day of the month"),
        ("0 2 */2 * 1", "limits both kinds of days"),
    ],
)
def test_a_line_that_is_no_cron_line_is_refused(line, part):
    with pytest.raises(UsageError) as refused:
        read_cron(line)
    assert part in str(refused.value)


def test_a_time_that_never_comes_is_refused():
    with pytest.raises(UsageError, match="never comes"):
        read_cron("0 0 31 2 *").next(NOON, UTC, 1)


def test_a_clock_that_jumps_ahead_skips_what_it_never_shows():
    before = datetime(2026, 3, 28, 12, tzinfo=UTC)
    found = read_cron("30 2 * * *").next(before, BERLIN, 2)
    assert [f"{time:%m-%d %H:%M %Z}" for time in found] == ["03-30 02:30 CEST", "03-31 02:30 CEST"]


@given(
    minute=some.integers(0, 59),
    hours=some.sets(some.integers(0, 23), min_size=1, max_size=3),
    weekdays=some.sets(some.integers(0, 6), min_size=1),
    offset=some.sampled_from([-720, -210, -60, 0, 60, 345, 840]),
)
def test_a_moved_line_names_the_same_moments(minute, hours, weekdays, offset):
    cron = read_cron(f"{minute} {','.join(map(str, hours))} * * {','.join(map(str, weekdays))}")
    there = ZoneInfo("Etc/UTC")
    try:
        moved = cron.moved(offset)
    except UsageError:  # midnight falls between
        reject()
    clock = datetime.fromisoformat("2026-01-01T12:00+00:00")
    here = cron.next(clock, there, 5)
    ahead = moved.next(datetime.fromtimestamp(clock.timestamp() + 60 * offset, UTC), there, 5)
    assert [time.timestamp() + 60 * offset for time in here] == [time.timestamp() for time in ahead]
    assert all(one < other for one, other in pairwise(here))


def test_a_move_across_midnight_takes_the_weekday_along_or_is_refused():
    assert str(read_cron("30 0 * * mon").moved(-60)) == "30 23 * * 0"
    assert str(read_cron("0 * * * *").moved(345)) == "45 * * * *"
    with pytest.raises(UsageError, match="midnight"):
        read_cron("30 0 1 * *").moved(-60)


def test_clocks_that_change_apart_are_known_beforehand():
    assert minutes_between(BERLIN, ZoneInfo("UTC"), NOON) == -60
    assert f"{next_change(BERLIN, ZoneInfo('UTC'), NOON):%Y-%m-%d}" == "2026-03-29"
    assert next_change(BERLIN, ZoneInfo("Europe/Paris"), NOON) is None


# On a cluster


def test_a_schedule_is_one_at_a_time_without_catching_up_and_each_run_gets_its_own_name(server, connect, study):
    number, replaced = put(connect(pvc="assay"), study, "nightly", NIGHTLY)
    (made,) = server.recurring
    assert (made.recurring_run_id, replaced) == (number, [])
    assert made.trigger.cron_schedule.cron == "0 0 2 * * *"
    assert (made.max_concurrency, made.no_catchup, made.status) == ("1", True, "ENABLED")
    assert made.runtime_config.parameters["run"] == ""
    assert made.runtime_config.parameters["store"] == "/mnt/assay/store"
    version = server.texts[made.pipeline_version_reference.pipeline_version_id]
    assert "enableCache" not in version
    assert "metadata.labels['pipeline/runid']" in version


def test_the_same_schedule_stays_and_a_changed_one_is_replaced(server, connect, study):
    first, _ = put(connect(), study, "nightly", NIGHTLY)
    assert put(connect(), study, "nightly", NIGHTLY) == (first, [])
    assert server.asked("POST .*/recurringruns") == 1
    for settings, of, cron in [
        ({}, study, read_cron("0 3 * * *")),
        ({}, read_study("iris", [], 3), NIGHTLY),
        ({"gpu": 1}, study, NIGHTLY),
        ({"service_account": "trainer"}, study, NIGHTLY),
    ]:
        present = server.recurring[0].recurring_run_id
        number, replaced = put(connect(**settings), of, "nightly", cron)
        assert [one.recurring_run_id for one in server.recurring] == [number]
        assert [one.id for one in replaced] == [present]
        assert number != present


def test_a_paused_schedule_is_on_again_when_it_is_given_again(server, connect, study):
    put(connect(), study, "nightly", NIGHTLY)
    change(connect(), "nightly", "pause")
    assert server.recurring[0].status == "DISABLED"
    _, replaced = put(connect(), study, "nightly", NIGHTLY)
    assert [one.enabled for one in replaced] == [False]
    assert [one.status for one in server.recurring] == ["ENABLED"]


@pytest.mark.parametrize("done", [True, False])
def test_a_failure_while_it_is_made_leaves_exactly_one(server, connect, study, done):
    put(connect(), study, "nightly", NIGHTLY)
    server.failures = {"POST .*/recurringruns": [RefusalError(500, done=done), RefusalError(429)]}
    put(connect(), study, "nightly", read_cron("0 4 * * *"))
    assert [one.trigger.cron_schedule.cron for one in server.recurring] == ["0 0 4 * * *"]


def test_schedules_are_listed_paused_resumed_and_deleted_by_name(server, connect, study):
    client = connect()
    for name in ("nightly", "hourly"):
        put(client, study, name, NIGHTLY)
    stranger = api.V2beta1RecurringRun(
        recurring_run_id="s",
        display_name="nightly",
        status="ENABLED",
        pipeline_version_reference=api.V2beta1PipelineVersionReference("another", "v"),
    )
    server.recurring.append(stranger)
    change(client, "nightly", "pause")
    assert [(one.name, one.enabled) for one in schedules(client)] == [("hourly", True), ("nightly", False)]
    change(client, "nightly", "resume")
    assert all(one.enabled for one in schedules(client))
    change(client, "nightly", "delete")
    assert [one.display_name for one in server.recurring] == ["hourly", "nightly"]
    assert server.recurring[1] is stranger
    with pytest.raises(UsageError, match=r"no schedule is called 'hurly'.*did you mean hourly\?"):
        change(client, "hurly", "delete")
    change(client, "hourly", "delete")
    with pytest.raises(UsageError, match=r"`assay schedule STUDY --cron ...` makes one"):
        change(client, "hourly", "delete")


def test_a_list_longer_than_a_page_is_read_to_its_end(server, connect, study, monkeypatch):
    monkeypatch.setattr("pipeline.kubeflow.client.PAGE", 2)
    for number in range(5):
        put(connect(), study, f"s{number}", NIGHTLY)
    assert [one.name for one in schedules(connect())] == [f"s{number}" for number in range(5)]


def test_namespaces_have_schedules_of_their_own(server, connect, study):
    server.namespaces = ("alice", "bob")
    for user in server.namespaces:
        put(connect(namespace=user), study, "nightly", NIGHTLY)
    change(connect(namespace="alice"), "nightly", "delete")
    assert [one.namespace for one in server.recurring] == ["bob"]


def test_the_command_says_when_in_words_and_dates(server, tmp_path):
    (tmp_path / "profile.yaml").write_text("mlflow: http://mlflow:5000\n")
    at = ("--host", server.url)
    arguments = ("schedule", "iris", "--cron", "30 9 * * *", "--timezone", "Asia/Kolkata", "--profile", "profile.yaml")
    done = assay(*arguments, *at, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == server.recurring[0].recurring_run_id
    assert server.recurring[0].trigger.cron_schedule.cron == "0 0 4 * * *"
    assert "iris: every day at 09:30, Asia/Kolkata; next " in done.stderr
    assert done.stderr.count("09:30 IST") == 3
    assert "another hour" not in done.stderr
    listed = assay("schedules", "list", *at, cwd=tmp_path)
    assert listed.stdout.startswith("iris  on  every day at 04:00, UTC  next ")
    assert assay("schedules", "pause", "iris", *at, cwd=tmp_path).returncode == 0
    assert assay("schedules", "list", *at, cwd=tmp_path).stdout == "iris  paused  every day at 04:00, UTC\n"
    summer = assay(*("schedule", "iris", "--cron", "0 2 * * *", "--timezone", "Europe/Berlin"), "--profile",
                   "profile.yaml", *at, cwd=tmp_path)  # fmt: skip
    assert "give this command again then" in summer.stderr
    assert "replaced" in summer.stderr
    assert assay("schedules", "delete", "iris", *at, cwd=tmp_path).returncode == 0
    assert server.recurring == []


# On this machine


def test_a_line_for_crontab_survives_spaces_and_percent_signs(tmp_path, monkeypatch):
    folder, commands = tmp_path / "a b", tmp_path / "bin"
    for made in (folder, commands):
        made.mkdir()
    monkeypatch.setattr("sys.executable", str(commands / "python"))
    (commands / "assay").write_text('#!/bin/sh\nprintf "%s;" "$@"\n')
    (commands / "assay").chmod(0o755)
    line = crontab(NIGHTLY, ["run", "my study.yaml", "--set", "x='50%'"], folder)
    assert line.startswith("0 2 * * * cd ")
    assert line.count("%") == line.count(r"\%") == 1
    subprocess.run(["sh", "-c", line[len("0 2 * * * ") :].replace(r"\%", "%")], check=True)  # cron takes the backslash
    assert (folder / ".assay" / "schedule.log").read_text() == "run;my study.yaml;--set;x='50%';"


def test_a_schedule_here_keeps_its_runs_where_this_shell_does(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000/a b")
    words = ("/usr/bin/env", "MLFLOW_TRACKING_URI=http://mlflow:5000/a b")
    assert "/usr/bin/env 'MLFLOW_TRACKING_URI=http://mlflow:5000/a b' " in crontab(NIGHTLY, ["run", "iris"], Path("/w"))
    assert f'ExecStart="{words[0]}" "{words[1]}" ' in systemd(NIGHTLY, ["run", "iris"], Path("/w"), "iris", "UTC")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:planted-4f1d@mlflow:5000")
    with pytest.raises(UsageError, match="MLFLOW_TRACKING_URI: a schedule would show its password") as refused:
        crontab(NIGHTLY, ["run", "iris"], Path("/w"))
    assert "planted-4f1d" not in str(refused.value)


def test_systemd_reads_no_percent_sign_of_the_command():
    text = systemd(NIGHTLY, ["run", "iris", "--set", "study=50%"], Path("/w"), "iris", "UTC")
    assert text.count("study=50%%") == text.count("%%") == 3


def test_a_systemd_timer_has_the_zone_and_both_kinds_of_days():
    text = systemd(read_cron("0,30 2 13 */6 fri"), ["run", "a b.yaml"], Path("/home/a b"), "my study", "Europe/Berlin")
    assert "OnCalendar=*-01,07-13 02:00,30:00 Europe/Berlin\n" in text
    assert "OnCalendar=Fri *-01,07-* 02:00,30:00 Europe/Berlin\n" in text
    assert "WorkingDirectory=/home/a b\n" in text
    assert text.count("assay-my-study") == 3
    assert '" "run" "a b.yaml"\n' in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("line", ["0 2 * * *", "*/15 6,18 * 3-9/2 mon-fri", "30 0 13 * fri", "0 0 29 2 *"])
def test_systemd_reads_the_same_times(line):
    cron = read_cron(line)
    command = ["systemd-analyze", "calendar", "--base-time=2026-01-01 12:00:00 UTC", *cron.systemd("UTC")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"Next elapse: \w+ (\S+ \S+) UTC", told)
    assert min(found) == f"{cron.next(NOON, UTC, 1)[0]:%Y-%m-%d %H:%M:%S}"


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (("--on", "local"), ["0 2 * * * cd ", "assay run iris --seeds 2 >> "]),
        (("--on", "docker"), ["assay run iris --seeds 2 --on docker >> "]),
        (("--on", "local", "--timezone", "Europe/Berlin"), ["OnCalendar=*-*-* 02:00:00 Europe/Berlin"]),
    ],
)
def test_without_a_cluster_a_line_is_printed(tmp_path, more, parts):
    done = assay("schedule", "iris", "--cron", "0 2 * * *", "--seeds", "2", *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for part in parts:
        assert part in done.stdout
    assert "every day at 02:00" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--cron", "0 0 2 * * *"], "leave the seconds out"),
        (["--cron", "0 2 * * *", "--timezone", "Berlin"], "--timezone: no time zone is called 'Berlin'"),
        (["--cron", "0 2 * * *"], "which cluster?"),
    ],
)
def test_bad_options_are_one_message(tmp_path, arguments, part):
    done = assay("schedule", "iris", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert part in done.stderr
    assert done.stderr.startswith("error: ")
