"""Schedules of this machine: a line for crontab, or a systemd timer."""

import os
import re
import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit

from components.errors import UsageError
from components.runtime.events import TRACKING
from pipeline.schedules.cron import Cron


def crontab(cron: Cron, command: list[str], folder: Path) -> str:
    """Return a line for `crontab -e`; it means this machine's time."""
    run = f"mkdir -p .assay && {shlex.join(_words(command))} >> .assay/schedule.log 2>&1"
    line = f"cd {shlex.quote(str(folder))} && {run}".replace("%", "\\%")  # to cron a bare % ends the line
    return f"{cron} {line}\n"


def systemd(cron: Cron, command: list[str], folder: Path, name: str, zone: str) -> str:
    """Return a user's service and timer; systemd never starts a service that still runs."""
    unit = "assay-" + re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    quoted = " ".join(f'"{_escaped(part)}"' for part in _words(command))
    where, told = str(folder).replace("%", "%%"), " ".join(command).replace("%", "%%")
    times = "".join(f"OnCalendar={time}\n" for time in cron.systemd(zone))
    home = "~/.config/systemd/user"
    return (
        f"# {home}/{unit}.service\n[Unit]\nDescription=assay {told}\n\n[Service]\nType=oneshot\n"
        f"WorkingDirectory={where}\nExecStart={quoted}\n\n"
        f"# {home}/{unit}.timer; then: systemctl --user enable --now {unit}.timer\n"
        f"[Unit]\nDescription=when to run assay {told}\n\n[Timer]\n{times}Persistent=false\n\n"
        "[Install]\nWantedBy=timers.target\n"
    )


def _words(command: list[str]) -> list[str]:
    """Return the command as cron and systemd need it: they know neither the virtual environment nor this shell's."""
    words = [str(Path(sys.executable).with_name("assay")), *command]
    own = os.environ.get(TRACKING)
    if not own:
        return words
    if urlsplit(own).password:
        raise UsageError(
            f"{TRACKING}: a schedule would show its password; expected an address without one, and the login in "
            "~/.mlflow/credentials"
        )
    return ["/usr/bin/env", f"{TRACKING}={own}", *words]


def _escaped(text: str) -> str:
    """Return text as systemd takes it between double quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
