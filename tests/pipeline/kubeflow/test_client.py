"""The client against a real HTTP server that answers as Kubeflow Pipelines does, or fails as it may."""

import kfp_server_api as api
import pytest
from kfp_server import RefusalError

from components.errors import UsageError
from components.study.study import Study
from pipeline.kubeflow import client
from pipeline.kubeflow.client import Client, ClusterError
from pipeline.kubeflow.runs import look
from pipeline.kubeflow.settings import Cluster
from pipeline.kubeflow.submit import submit
from pipeline.study_file import read_study

PLANTED = "planted-4f1d"  # a secret that must come out nowhere


@pytest.fixture(scope="module")
def study() -> Study:
    return read_study("sklearn:iris", ["recipe.train.epochs=3"], 2)


def test_a_token_that_expires_is_read_again_and_tried_at_once(server, connect, tmp_path, study):
    file = tmp_path / "token"
    file.write_text("old\n")
    server.token = "new"
    client = connect(token_file=str(file))
    with pytest.raises(ClusterError, match=r"does not accept the login \(401\).*--token-file") as refused:
        client.check()
    assert "old" not in str(refused.value)  # the server echoes it
    assert server.asked("GET .*/healthz") == 1

    server.renew = lambda: file.write_text("new\n")
    client.check()
    assert server.asked("GET .*/healthz") == 3


def test_logins_come_from_a_file_the_environment_or_the_pod(server, connect, tmp_path, monkeypatch):
    pod, file, biscuit = tmp_path / "pod", tmp_path / "token", tmp_path / "cookie"
    pod.write_text("of-pod")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(pod))
    server.token = "of-pod"
    connect().check()
    monkeypatch.setenv("KFP_TOKEN", "of-environment")
    server.token = "of-environment"
    connect().check()
    file.write_text("of-file")
    server.token = "of-file"
    connect(token_file=str(file)).check()
    server.token, server.cookie = None, "authservice_session=abc"
    with pytest.raises(ClusterError, match=r"does not accept the login \(302\)"):
        connect().check()
    biscuit.write_text("authservice_session=abc\n")
    connect(cookie_file=str(biscuit)).check()
    file.write_text("")
    with pytest.raises(UsageError, match=r"token_file: .*token holds nothing"):
        connect(token_file=str(file)).check()
    with pytest.raises(UsageError, match="token_file: no-such-file can't be read"):
        connect(token_file="no-such-file").check()


@pytest.mark.parametrize("name", ["KFP_TOKEN", "KFP_COOKIE"])
@pytest.mark.parametrize("ending", ["\nmore", "\N{EURO SIGN}", "\x07"])
def test_a_login_that_no_header_can_hold_is_refused_and_not_repeated(connect, monkeypatch, name, ending):
    monkeypatch.setenv(name, PLANTED + ending)
    with pytest.raises(UsageError, match=f"{name} holds .*; expected one line") as refused:
        connect().check()
    assert PLANTED not in str(refused.value)


def test_a_busy_server_is_asked_again_when_it_says_even_to_start_a_run(server, connect, study):
    server.failures = {"POST .*/runs": [RefusalError(429, headers={"Retry-After": "0"}) for _ in range(3)]}
    submit(connect(), study)
    assert len(server.runs) == 1
    assert server.asked("POST .*/runs") == 4


def test_the_pause_is_what_retry_after_asks_for(monkeypatch):
    def pause(value: str) -> float:
        error = api.ApiException(status=429)
        error.headers = {"Retry-After": value}
        return client._asked_pause(error, 7.0)

    assert pause("3") == 3.0
    assert pause("soon") == 7.0
    assert pause("Wed, 01 Jan 2020 00:00:00 GMT") == 0.0


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_that_fails_is_asked_again(server, connect, status):
    server.failures = {"GET .*/healthz": [RefusalError(status), RefusalError(status)]}
    connect().check()
    assert server.asked("GET .*/healthz") == 3


@pytest.mark.parametrize("what", ["pipelines", "pipelines/upload_version", "experiments", "runs"])
@pytest.mark.parametrize("done", [True, False])
def test_nothing_is_made_twice_when_the_answer_to_making_it_is_a_failure(server, connect, study, what, done):
    server.failures = {f"POST .*/{what}": [RefusalError(500, "lost connection", done=done)]}
    submit(connect(), study)
    kept = (server.pipelines, server.versions, server.experiments, server.runs)
    assert [len(one) for one in kept] == [1, 1, 1, 1]
    assert server.asked(f"POST .*/{what}") == (1 if done else 2)


def test_a_server_that_never_makes_it_is_given_up(server, connect, study):
    server.failures = {"POST .*/runs": [RefusalError(500, "database is locked") for _ in range(9)]}
    with pytest.raises(ClusterError, match=r"failed to start a run \(500\) \(database is locked\)"):
        submit(connect(), study)
    assert server.asked("POST .*/runs") == client.TRIES
    assert server.runs == []


def test_a_refused_upload_says_why(server, connect, study):
    server.failures = {"POST .*/upload_version": [RefusalError(400, "unknown executor")]}
    with pytest.raises(ClusterError, match=r"refuses to upload the pipeline \(400\) \(unknown executor\)"):
        submit(connect(), study)


def test_two_that_make_the_same_thing_at_once_share_it(server, connect, study):
    server.failures = {"POST .*/pipelines": [RefusalError(409, "assay already exists", done=True)]}
    submit(connect(), study)
    assert len(server.pipelines) == 1


def test_a_slow_answer_is_waited_for_only_so_long_and_starts_no_second_run(server, connect, study):
    server.failures = {"POST .*/runs": [RefusalError(500, delay=0.6, done=True)]}
    submit(connect(answer_seconds=0.3), study)
    assert len(server.runs) == 1
    server.failures = {"GET .*/healthz": [RefusalError(500, delay=0.4) for _ in range(4)]}
    with pytest.raises(ClusterError, match=r"did not look at the server within 0.2 s; try again, and check --host"):
        connect(answer_seconds=0.2).check()


@pytest.mark.parametrize(
    ("status", "message", "parts"),
    [
        (403, "no role", ["does not let you find the run r1 (403)", "no role", "--namespace"]),
        (404, "gone", ["can't find the run r1: there is none (404)", "--host"]),
        (409, "", ["is there already (409)"]),
        (429, "", ["too busy to find the run r1 (429)", "a few minutes"]),
        (400, "bad filter", ["refuses to find the run r1 (400) (bad filter)"]),
        (500, "database is locked", ["failed to find the run r1 (500) (database is locked)"]),
    ],
)
def test_every_refusal_is_one_sentence_that_says_what_to_do(server, connect, status, message, parts):
    server.failures = {"GET .*/runs/r1": [RefusalError(status, message) for _ in range(4)]}
    with pytest.raises(ClusterError) as refused:
        look(connect(), "r1")
    assert refused.value.status == status
    for part in (server.url, *parts):
        assert part in str(refused.value)
    assert "\n" not in str(refused.value)


def test_where_nobody_listens_or_it_is_not_kubeflow_is_said_at_once(server, connect):
    with pytest.raises(ClusterError, match=r"nobody answers at http://127.0.0.1:9; check --host"):
        Client(Cluster(host="http://127.0.0.1:9")).check()
    with pytest.raises(UsageError, match="which cluster"):
        Client(Cluster())
    page = {"GET .*/healthz": [RefusalError(302, headers={"Location": "/login", "Content-Type": "text/html"})]}
    server.failures = page
    with pytest.raises(ClusterError, match="does not accept the login"):
        connect().check()
    server.failures = {"GET .*/healthz": [RefusalError(200, headers={"Content-Type": "text/html"})]}
    with pytest.raises(ClusterError, match="answers with a page, not with data"):
        connect().check()
    tls = server.url.replace("http://", "https://")
    with pytest.raises(ClusterError, match=r"no safe connection.*SSL_CERT_FILE"):
        Client(Cluster(host=tls)).check()


def test_a_server_older_than_the_sdk_is_named_and_what_it_does_not_know_too(server, connect, study):
    assert connect().check() == ""
    server.tag = "2.4.1"
    assert "Kubeflow Pipelines 2.4.1, older than the 2.17" in connect().check()
    server.pages = True
    assert "Kubeflow Pipelines 2.4.1, older than the 2.17" in connect().check()
    server.pages = "broken"
    with pytest.raises(ClusterError, match="no answer from its own pipeline API; look at the service ml-pipeline"):
        connect().check()
    server.pages, server.tag = False, "unknown"
    assert connect().check() == ""
    server.fields = {"runtime_config"}
    with pytest.raises(ClusterError, match=r"is older than this version of Assay.*runtime_config.*needs an update"):
        submit(connect(), study)
    server.failures = {"GET .*/healthz": [RefusalError(404, "Not Found")]}
    with pytest.raises(ClusterError, match="no API of Kubeflow Pipelines 2; expected a server of version 2 or newer"):
        connect().check()
