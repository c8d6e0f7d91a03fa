"""The UI is served on the right store, and goes with the command."""

import re
import signal
import socket
import urllib.request

import pytest
from command import processes_in, start

from components.errors import UsageError
from pipeline.commands.ui import HOST, _free_port


@pytest.mark.slow
def test_the_ui_answers_and_is_gone_with_the_command(finished):
    folder, _ = finished
    with start("ui", cwd=folder) as server:
        assert server.stdout is not None
        said = next(line for line in server.stdout if "Ctrl-C" in line)
        address = re.match(r"http://\S+", said)[0]  # type: ignore[index]
        assert f"{folder}/mlflow.db" in said
        with urllib.request.urlopen(f"{address}/health", timeout=10) as answer:
            assert answer.status == 200
        server.send_signal(signal.SIGINT)
        server.stdout.read()
    assert server.returncode == 0
    assert processes_in(folder) == []


def test_a_port_that_is_taken_is_refused_and_another_one_found():
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"--port: port {port} can't be used"):
            _free_port(port)
    assert _free_port(None) >= 5000
