"""A server that answers as the v2beta1 API of Kubeflow Pipelines does, on loopback.

All that it takes and gives goes through the models of `kfp_server_api`: a field that they do not have is refused.
Most users reach the API through the server of Kubeflow's pages, which answers for some addresses itself: `pages`.
"""

import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import kfp_server_api as api
import yaml

V2 = "/apis/v2beta1"
MODELS = api.ApiClient()
FINAL = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


class RefusalError(Exception):
    """An error of the API; `done`: what was asked is done all the same, `delay`: seconds until it is said."""

    def __init__(
        self,
        status: int,
        message: str = "",
        headers: dict[str, str] | None = None,
        delay: float = 0,
        done: bool = False,
    ):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}
        self.delay, self.done = delay, done


class Kfp(ThreadingHTTPServer):
    """The server.

    Attributes:
        failures: by "METHOD path" (a pattern) what the next such requests get; None stands for the usual answer.
        token: the only one that is accepted; None for all.
        renew: called when another one is refused.
        namespaces: the user's, in multi-user mode; None for a server of one user.
        states: through which runs go, one with every look.
        logs: by pod.
        seen: all requests, as (method, path, headers, body).
        fields: of the API that the server does not know yet.
        pages: whether the server of the pages is in between; "broken" where it does not reach the API.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.failures: dict[str, list[RefusalError | None]] = {}
        self.token: str | None = None
        self.renew: Callable[[], object] = lambda: None
        self.cookie: str | None = None
        self.namespaces: tuple[str, ...] | None = None
        self.states = ["PENDING", "RUNNING", "SUCCEEDED"]
        self.tag = "2.17.0"
        self.details = api.V2beta1RunDetails(task_details=[])
        self.logs: dict[str, str] = {}
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.fields: set[str] = set()
        self.pages: bool | Literal["broken"] = False
        self.pipelines: list[api.V2beta1Pipeline] = []
        self.versions: list[api.V2beta1PipelineVersion] = []
        self.experiments: list[api.V2beta1Experiment] = []
        self.runs: list[api.V2beta1Run] = []
        self.recurring: list[api.V2beta1RecurringRun] = []
        self.texts: dict[str, str] = {}
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def asked(self, pattern: str) -> int:
        """How many requests there were."""
        return sum(bool(re.fullmatch(pattern, f"{method} {urlsplit(path).path}")) for method, path, _, _ in self.seen)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Kfp  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server, path = self.server, urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(path.query).items()}
        with server.lock:
            server.seen.append((self.command, self.path, dict(self.headers), body))
            failure = self._failure(path.path)
            try:
                if failure and not failure.done:
                    raise failure
                self._authenticate()
                answer = self._route(path.path, query, body)
                if failure:
                    raise failure
                status, kind, headers = 200, "application/json", {}
            except RefusalError as refused:
                failure = refused
                told = {"error": refused.message, "code": 2, "message": refused.message, "details": []}
                if path.path.endswith("/upload_version"):
                    told = {"error_message": refused.message, "error_details": "a trace"}
                answer = json.dumps(told)
                status, kind, headers = refused.status, "application/json", refused.headers
        if failure:
            time.sleep(failure.delay)
        if path.path.endswith(("/log", "/logs")) and status == 200:
            kind = "text/plain"
        with suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(answer.encode())), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.encode())

    def _failure(self, path: str) -> RefusalError | None:
        for pattern, queue in self.server.failures.items():
            if queue and re.fullmatch(pattern, f"{self.command} {path}"):
                return queue.pop(0)
        return None

    def _authenticate(self) -> None:
        wanted = self.server.token
        if wanted is not None and self.headers.get("Authorization") != f"Bearer {wanted}":
            said = self.headers.get("Authorization", "nothing")
            self.server.renew()
            raise RefusalError(401, f"Unauthenticated: {said} is no valid login")
        if self.server.cookie is not None and self.headers.get("Cookie") != self.server.cookie:
            raise RefusalError(302, "", {"Location": "/dex/auth"})

    def _route(self, path: str, query: dict[str, str], body: bytes) -> str:
        server = self.server
        collections = {
            "pipelines": (server.pipelines, "V2beta1Pipeline", "pipeline_id"),
            "experiments": (server.experiments, "V2beta1Experiment", "experiment_id"),
            "runs": (server.runs, "V2beta1Run", "run_id"),
            "recurringruns": (server.recurring, "V2beta1RecurringRun", "recurring_run_id"),
        }
        if server.pages and path == "/k8s/pod/logs":
            if server.namespaces and not query.get("podnamespace"):
                raise RefusalError(422, "podnamespace argument is required")
            return self._log(query["podname"])
        if not server.pages and (match := re.fullmatch(r"/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", path)):
            return self._log(match[2])
        if path == f"{V2}/healthz":
            known = sent(api.V2beta1GetHealthzResponse(multi_user=server.namespaces is not None))
            if server.pages:
                return json.dumps({"apiServerTagName": server.tag, "apiServerReady": server.pages is True, **known})
            return json.dumps({"commit_sha": "abc", "tag_name": server.tag, **known})
        if path == f"{V2}/pipelines/upload_version":
            return self._upload(query, body)
        if match := re.fullmatch(f"{V2}/pipelines/([^/]+)/versions", path):
            mine = [one for one in server.versions if one.pipeline_id == match[1]]
            return listed(mine, "pipeline_versions", api.V2beta1ListPipelineVersionsResponse, query)
        match = re.fullmatch(rf"{V2}/(\w+)(?:/([^/:]+))?(?::(\w+))?", path)
        if not match or match[1] not in collections:
            raise RefusalError(404, "Not Found")
        kept, model, key = collections[match[1]]
        if self.command == "POST" and not match[2]:
            return self._create(kept, model, key, json.loads(body))
        if not match[2]:
            self._check_namespace(query.get("namespace"), "list")
            answers = {
                "pipelines": api.V2beta1ListPipelinesResponse,
                "experiments": api.V2beta1ListExperimentsResponse,
                "runs": api.V2beta1ListRunsResponse,
                "recurringruns": api.V2beta1ListRecurringRunsResponse,
            }
            field = "recurring_runs" if match[1] == "recurringruns" else match[1]
            return listed([one for one in kept if self._visible(one, query)], field, answers[match[1]], query)
        found = next((one for one in kept if getattr(one, key) == match[2]), None)
        if found is None:
            raise RefusalError(404, f"{model} {match[2]} not found")
        return self._act(found, kept, match[3])

    def _log(self, pod: str) -> str:
        if pod not in self.server.logs:
            raise RefusalError(500, f"pods {pod} not found")
        return self.server.logs[pod]

    def _act(self, found: Any, kept: list[Any], action: str | None) -> str:
        if action == "terminate":
            found.state = "CANCELING"
            self.server.states = ["CANCELING", "CANCELED"]
            return "{}"
        if action in ("enable", "disable"):
            found.status, found.mode = action.upper() + "D", action.upper()
            return "{}"
        if self.command == "DELETE":
            kept.remove(found)
            return "{}"
        if isinstance(found, api.V2beta1Run):
            found.run_details = self.server.details
            if found.state not in FINAL:
                found.state = self.server.states.pop(0) if len(self.server.states) > 1 else self.server.states[0]
        return json.dumps(sent(found))

    def _create(self, kept: list[Any], model: str, key: str, body: dict[str, Any]) -> str:
        unknown = set(body) & self.server.fields | set(body) - set(getattr(api, model).attribute_map.values())
        if unknown:
            raise RefusalError(400, f'proto: (line 1:2): unknown field "{min(unknown)}"')
        made = MODELS.deserialize(SimpleNamespace(data=json.dumps(body)), model)
        if hasattr(made, "experiment_id") and not isinstance(made, api.V2beta1Experiment):
            home = next((one for one in self.server.experiments if one.experiment_id == made.experiment_id), None)
            if home is None:
                raise RefusalError(404, f"experiment {made.experiment_id} not found")
            if hasattr(made, "namespace"):
                made.namespace = home.namespace
        else:
            self._check_namespace(made.namespace, "create")
            if any(one.display_name == made.display_name and one.namespace == made.namespace for one in kept):
                raise RefusalError(409, f"{made.display_name} already exists")
        if isinstance(made, api.V2beta1RecurringRun):
            fields = made.trigger.cron_schedule.cron.split()
            if not 5 <= len(fields) <= 6:
                raise RefusalError(400, "Schedule cron is not supported")
            made.status = made.mode + "D"
            made.service_account = made.service_account or "pipeline-runner"
        setattr(made, key, str(uuid.uuid4()))
        if isinstance(made, api.V2beta1Run):
            made.state = "PENDING"
        kept.append(made)
        return json.dumps(sent(made))

    def _upload(self, query: dict[str, str], body: bytes) -> str:
        message = BytesParser().parsebytes(
            b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + body
        )
        parts = [part.get_payload(decode=True) for part in message.walk() if not part.is_multipart()]
        assert isinstance(parts[0], bytes)
        text = parts[0].decode()
        if any(one.name == query["name"] and one.pipeline_id == query["pipelineid"] for one in self.server.versions):
            raise RefusalError(409, f"{query['name']} already exists")
        made = api.V2beta1PipelineVersion(
            pipeline_id=query["pipelineid"],
            pipeline_version_id=str(uuid.uuid4()),
            display_name=query["name"],
            name=query["name"],
            pipeline_spec=next(iter(yaml.safe_load_all(text))),
        )
        self.server.versions.append(made)
        self.server.texts[made.pipeline_version_id] = text
        return json.dumps(sent(made))

    def _check_namespace(self, namespace: str | None, verb: str) -> None:
        allowed = self.server.namespaces
        if allowed is None:
            return
        if not namespace:
            raise RefusalError(400, "Invalid input error: Namespace cannot be empty in multi-user mode")
        if namespace not in allowed:
            raise RefusalError(403, f"User is not authorized with reason: can't {verb} in {namespace}")

    def _visible(self, one: Any, query: dict[str, str]) -> bool:
        same = "namespace" not in query or getattr(one, "namespace", None) == query["namespace"]
        return same and ("experiment_id" not in query or one.experiment_id == query["experiment_id"])


def sent(model: Any) -> dict[str, Any]:
    """A model as JSON."""
    return MODELS.sanitize_for_serialization(model)


def listed(found: list[Any], field: str, answer: type, query: dict[str, str]) -> str:
    """One page of a list, as a filter and a page's number ask for it."""
    for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
        assert predicate["operation"] == "EQUALS"
        found = [one for one in found if getattr(one, predicate["key"]) == predicate["string_value"]]
    start, size = int(query.get("page_token") or 0), int(query.get("page_size") or 10)
    more = str(start + size) if start + size < len(found) else None
    return json.dumps(sent(answer(**{field: found[start : start + size], "next_page_token": more})))
