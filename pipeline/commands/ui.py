"""Opens the MLflow UI on the store that the runs are in, at what answers which technique helped."""

import os
import socket
import sys
import tempfile
import time
import urllib.request
import webbrowser
from collections.abc import Callable
from typing import IO

from components.errors import AssayError, UsageError
from pipeline.runners.child_process import ChildProcess

HOST = "127.0.0.1"
PORTS = range(5000, 5100)
START_SECONDS = 120  # a loaded machine took 30


def open_ui(study: str | None, port: int | None, say: Callable[[str], None]) -> None:
    """Show the latest run of a study in the browser, and serve the runs until Ctrl-C where no server does yet.

    The study is that which ran last by default, and the port the first free one from 5000. `say` is told the addresses
    and how to stop.

    Raises:
        AssayError: when there is nothing to show, or the server does not start.
    """
    from components.tracking.client import check_store, tracking_uri
    from components.tracking.latest import latest_pages

    uri = tracking_uri()
    check_store()
    if uri.startswith(("http://", "https://")):
        _show(uri, latest_pages(study), say)
        return
    _serve(uri, study, _free_port(port), say)


def _show(address: str, pages: dict[str, str], say: Callable[[str], None]) -> None:
    """Say the addresses of the pages, and open the first in the browser."""
    shown = {what: f"{address.rstrip('/')}/{page}" for what, page in pages.items()}
    for what, where in shown.items():
        say(f"{what + ':':9}{where}")
    open_browser(next(iter(shown.values()), address))


def _serve(uri: str, study: str | None, port: int, say: Callable[[str], None]) -> None:
    from components.tracking.latest import latest_pages

    address = f"http://{HOST}:{port}"
    arguments = ["server", "--backend-store-uri", uri, "--host", HOST, "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "GIT_PYTHON_REFRESH": "quiet"}
    say("starting the MLflow UI (about 15 s)")
    with tempfile.TemporaryFile("w+") as log:  # it writes a line a request
        server = ChildProcess("mlflow", arguments, environment, log)
        try:
            pages = latest_pages(study)  # while the server starts: both import MLflow, for seconds
            _wait(server, address, log)
            _show(address, pages, say)
            say(f"{address} shows {uri}; Ctrl-C stops it")
            server.process.wait()
        except KeyboardInterrupt:
            say("stopped")
        finally:
            server.close()


def _wait(server: ChildProcess, address: str, log: IO[str]) -> None:
    """Wait until the server answers; fail when it has ended, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while server.running() and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    log.seek(0)
    last = "".join(f"  {line}" for line in log.readlines()[-10:])
    raise AssayError(f"the MLflow server did not start at {address}; its last lines:\n{last.rstrip()}")


def _free_port(port: int | None) -> int:
    reason: str | None = None
    for candidate in PORTS if port is None else (port,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, candidate))
                return candidate
            except OSError as error:
                reason = error.strerror
    where = f"port {port}" if port is not None else f"every port from {PORTS[0]} to {PORTS[-1]}"
    raise UsageError(f"--port: {where} can't be used ({reason}); expected a free one")


def open_browser(address: str) -> None:
    """Open a browser where there is a display; elsewhere `webbrowser` would start a text browser in the terminal."""
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)
