"""Talks to a Kubeflow Pipelines server: uploads the pipeline, starts runs, watches, stops them, reads their logs.

It uses `kfp_server_api`, on which `kfp.Client` is built, and not that: `kfp.Client` waits without a time limit, never
ends on a canceled run, looks a pipeline up without its namespace, prints, and keeps a file in the home folder.
"""

import hashlib
import json
import os
import re
import secrets
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import kfp
import kfp_server_api as api
import urllib3

from components.errors import AssayError, UsageError
from components.study import Study
from pipeline.cluster_settings import Cluster
from pipeline.graph import PIPELINE, batches
from pipeline.platform import VOLUME, compile_for, store

TOKEN = "KFP_TOKEN"
COOKIE = "KFP_COOKIE"
# Where Kubernetes puts a pod's own token for Kubeflow, and what says that it is elsewhere.
POD_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"
POD_TOKEN_AT = "KF_PIPELINES_SA_TOKEN_PATH"
CERTIFICATES = "SSL_CERT_FILE"

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
TRIES = 4
BACKOFF_SECONDS = 1.0  # doubled with each try
LONGEST_PAUSE = 60.0  # whatever Retry-After says
POLL_SECONDS = 10.0
OUTAGE_SECONDS = 300.0  # of the server, which a run outlives
PAGE = 100
LONGEST_MESSAGE = 300  # characters of what a server says
JSON = "application/json"
# Kubeflow hands all parameters to the run's first pod as one argument of a command, which Linux limits to 128 KiB.
MAX_PARAMETERS = 120_000
LOGIN = f"log in again, and give the token or the cookie by --token-file, --cookie-file, {TOKEN} or {COOKIE}"
BUSY = 429
UNSURE = (500, 502, 503, 504)

VERSION = re.compile(r"(\d+)\.(\d+)")

STEPS = ("load", "scale", "train", "evaluate", "register")
EXECUTOR = "executor"  # Kubeflow's name for what runs the container of any step; executor(0) and so on are its tries

Found = TypeVar("Found")


class State(StrEnum):
    """Where a run or a step of it is, in Kubeflow's words."""

    UNKNOWN = "RUNTIME_STATE_UNSPECIFIED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELING = "CANCELING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    SKIPPED = "SKIPPED"

    @classmethod
    def _missing_(cls, value: object) -> "State":
        return cls.UNKNOWN  # a newer server may have more; none of ours ends a run by mistake

    @property
    def ended(self) -> bool:
        """Whether it is final."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELED, State.SKIPPED)


@dataclass(frozen=True)
class Step:
    """One task of a run: `name` is one of STEPS, `pods` are those that may have its log."""

    name: str
    state: State
    started: datetime | None
    ended: datetime | None
    error: str
    pods: tuple[str, ...]


@dataclass(frozen=True)
class RemoteRun:
    """A run on the cluster."""

    id: str
    name: str
    state: State
    error: str
    started: datetime | None
    ended: datetime | None
    steps: tuple[Step, ...]


class ClusterError(AssayError):
    """The cluster refused, or did not answer.

    Attributes:
        status: of HTTP; 0 when nothing was answered.
        unsure: it may have been done all the same.
    """

    def __init__(self, message: str, status: int = 0, unsure: bool = False):
        """Keep the status."""
        super().__init__(message)
        self.status = status
        self.unsure = unsure


class Client:
    """A Kubeflow Pipelines server, asked with time limits and, where that can't do anything twice, again."""

    def __init__(self, cluster: Cluster, answer_seconds: float = ANSWER_SECONDS):
        """Connect to nothing yet.

        Raises:
            UsageError: without a host.
        """
        if not cluster.host:
            raise UsageError(
                "which cluster? Give --host URL, KFP_HOST, or `host` in the section `cluster` or a profile"
            )
        self.cluster = cluster
        self.host: str = cluster.host
        self._timeout = (CONNECT_SECONDS, answer_seconds)
        configuration = api.Configuration()
        configuration.host = self.host
        configuration.retries = False  # urllib3's own know neither a time limit nor what must not be done twice
        configuration.ssl_ca_cert = os.environ.get(CERTIFICATES)
        parts = urlsplit(self.host)
        if not urllib.request.proxy_bypass(parts.netloc):
            configuration.proxy = urllib.request.getproxies().get(parts.scheme)
        self._api = api.ApiClient(configuration)
        self._pipelines = api.PipelineServiceApi(self._api)
        self._uploads = api.PipelineUploadServiceApi(self._api)
        self._experiments = api.ExperimentServiceApi(self._api)
        self.runs_api = api.RunServiceApi(self._api)
        self._answered = False  # who never did is not asked again
        self.recurring_api = api.RecurringRunServiceApi(self._api)

    def check(self) -> str:
        """Make sure that a Kubeflow Pipelines server answers; return a warning for one that is old, else "".

        Raises:
            ClusterError: when nobody answers, or it is no Kubeflow Pipelines 2.
        """
        try:
            self.ask("look at the server", api.HealthzServiceApi(self._api).healthz_service_get_healthz)
        except ClusterError as error:
            if error.status == 404:
                raise ClusterError(
                    f"{self.host} has no API of Kubeflow Pipelines 2; expected a server of version 2 or newer, and the "
                    "path if it has one, such as https://HOST/pipeline",
                    404,
                ) from None
            raise
        about = json.loads(self._api.last_response.data)  # the API's model drops the version
        if about.get("apiServerReady") is False:  # said by the server of Kubeflow's pages, which answers in any case
            raise ClusterError(f"{self.host} has no answer from its own pipeline API; look at the service ml-pipeline")
        said = str(about.get("tag_name") or about.get("apiServerTagName") or "")  # the API, or the pages' server
        of_server, of_sdk = VERSION.search(said), VERSION.search(kfp.__version__)
        if not of_server or not of_sdk or tuple(map(int, of_server.groups())) >= tuple(map(int, of_sdk.groups())):
            return ""
        return (
            f"{self.host} is Kubeflow Pipelines {said}, older than the {kfp.__version__} that this pipeline is made "
            "for; settings that it does not know are refused or ignored there"
        )

    def pipeline_id(self) -> str | None:
        """Return the number of Assay's pipeline in the namespace, None where it was never uploaded."""
        found = self._named("pipelines", PIPELINE, self._pipelines.pipeline_service_list_pipelines)
        return found[0].pipeline_id if found else None

    def upload(self) -> tuple[str, str]:
        """Make sure that the server has the pipeline for these settings.

        A version is named by its content, so the same content is uploaded once and a change is a version.

        Returns:
            The numbers of the pipeline and of its version.
        """
        text = compile_for(self.cluster)
        version = f"{PIPELINE}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        namespace = self.cluster.namespace
        body = api.V2beta1Pipeline(display_name=PIPELINE, namespace=namespace)
        pipeline = self.ensure(
            self.pipeline_id,
            lambda: (
                self.ask(
                    "make a pipeline", self._pipelines.pipeline_service_create_pipeline, once=True, pipeline=body
                ).pipeline_id
            ),
        )

        def find() -> str | None:
            found = self._named(
                "pipeline_versions",
                version,
                self._pipelines.pipeline_service_list_pipeline_versions,
                namespaced=False,
                pipeline_id=pipeline,
            )
            return found[0].pipeline_version_id if found else None

        def create() -> str:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / f"{version}.yaml"
                file.write_text(text, "utf-8")
                made = self.ask(
                    "upload the pipeline",
                    self._uploads.upload_pipeline_version,
                    once=True,
                    uploadfile=str(file),
                    name=version,
                    pipelineid=pipeline,
                )
            return made.pipeline_version_id

        return pipeline, self.ensure(find, create)

    def experiment(self, study: Study) -> str:
        """Return the number of the experiment, which is made where there is none."""
        name = self.cluster.experiment or study.study
        body = api.V2beta1Experiment(display_name=name, namespace=self.cluster.namespace)

        def find() -> str | None:
            found = self._named("experiments", name, self._experiments.experiment_service_list_experiments)
            return found[0].experiment_id if found else None

        def create() -> str:
            call = self._experiments.experiment_service_create_experiment
            return self.ask(f"make the experiment {name}", call, once=True, experiment=body).experiment_id

        return self.ensure(find, create)

    def submit(self, study: Study) -> str:
        """Start a run of a study and return its number; an unclear answer never starts it twice.

        Raises:
            UsageError: see `what_runs`.
            ClusterError: when the cluster refuses or does not answer.
        """
        fields = self.what_runs(study)
        name = f"{study.study}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        body = api.V2beta1Run(display_name=name, **fields)
        experiment = fields["experiment_id"]

        def find() -> str | None:
            call = self.runs_api.run_service_list_runs
            found = self._named("runs", name, call, experiment_id=experiment)
            return found[0].run_id if found else None

        def create() -> str:
            call = self.runs_api.run_service_create_run
            return self.ask("start a run", call, once=True, run=body).run_id

        return self.ensure(find, create)

    def what_runs(self, study: Study) -> dict[str, Any]:
        """Return what a run and a recurring run say alike: pipeline, parameters, experiment, service account.

        Raises:
            UsageError: when the steps would not know where MLflow is, or would not see the data.
        """
        _refuse_data_of_this_machine(study, self.cluster)
        if not self.cluster.tracks():
            raise UsageError(
                "where is MLflow? Give an address that the steps reach, in MLFLOW_TRACKING_URI or in the section "
                "`cluster` as `mlflow: http://mlflow.NAMESPACE:5000`, or a config map's name in that section"
            )
        parameters = {
            "study": study.model_dump_json(),
            "run": "",  # each run of a schedule needs a name of its own: see components.load
            "store": store(self.cluster),
            "batches": batches(study, self.cluster.fan_out),
        }
        size = len(json.dumps({"parameters": parameters}).encode())
        if size > MAX_PARAMETERS:
            raise UsageError(
                f"the study and its {len(study.cells())} cells are {size} bytes to tell Kubeflow, more than the "
                f"{MAX_PARAMETERS} that fit; expected fewer arms or seeds"
            )
        pipeline, version = self.upload()
        return {
            "pipeline_version_reference": api.V2beta1PipelineVersionReference(pipeline, version),
            "runtime_config": api.V2beta1RuntimeConfig(parameters=parameters),
            "experiment_id": self.experiment(study),
            "service_account": self.cluster.service_account,
        }

    def run(self, number: str) -> RemoteRun:
        """Return a run as it is now."""
        found = self.ask(f"find the run {number}", self.runs_api.run_service_get_run, run_id=number)
        return RemoteRun(
            id=found.run_id,
            name=found.display_name or number,
            state=State(found.state),
            error=self._hide(_message(found.error)),
            started=_time(found.created_at),
            ended=_time(found.finished_at),
            steps=tuple(self._steps(found)),
        )

    def wait(
        self,
        number: str,
        seen: Callable[[RemoteRun], None],
        limit: float | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> RemoteRun:
        """Wait until a run has ended, in whatever way.

        Args:
            number: of the run.
            seen: called with the run as it is, again and again.
            limit: seconds; None for ever.
            poll_seconds: between two looks.

        Raises:
            ClusterError: when the limit is over, or the server stays away; the run goes on.
        """
        started = answered = time.monotonic()
        run = self.run(number)
        while True:
            seen(run)
            if run.state.ended:
                return run
            if limit is not None and time.monotonic() + poll_seconds > started + limit:
                raise ClusterError(f"run {number} is still {run.state.value} after {limit:g} s; it goes on")
            time.sleep(poll_seconds)
            try:
                run, answered = self.run(number), time.monotonic()
            except ClusterError as error:
                if error.status not in (0, BUSY, *UNSURE) or time.monotonic() > answered + OUTAGE_SECONDS:
                    raise

    def cancel(self, number: str) -> None:
        """Stop a run; one that has ended stays as it is."""
        if not self.run(number).state.ended:
            self.ask(f"stop the run {number}", self.runs_api.run_service_terminate_run, run_id=number)

    def logs(self, number: str, step: str | None = None) -> Iterator[tuple[Step, str]]:
        """Yield the tasks of a run with their logs, in the order in which they began.

        Args:
            number: of the run.
            step: only of this one.

        Raises:
            UsageError: for a step that no run has.
            ClusterError: when there is no log at all.
        """
        if step is not None and step not in STEPS:
            raise UsageError(f"--step {step}: expected one of {', '.join(STEPS)}")
        any_found = False
        for task in self.run(number).steps:
            if step in (None, task.name):
                text = "".join(filter(None, (self._log(number, pod) for pod in task.pods)))
                if text:
                    any_found = True
                    yield task, self._hide(text)
        if not any_found:
            of = f"the step {step}" if step else "any step"
            raise ClusterError(
                f"run {number} has no log of {of} (yet, or its pods are gone and the cluster archives no logs)"
            )

    def page(self, number: str) -> str:
        """Return the address of a run's page."""
        return f"{self.host}/#/runs/details/{number}"

    def ask(
        self, what: str, call: Callable[..., Any], once: bool = False, plain: bool = False, **arguments: Any
    ) -> Any:
        """Call an operation of the API.

        A login that was renewed meanwhile (a token's file is read before every try) is tried at once, a server that
        is busy after the time it asks for, and one that fails or is silent after a pause.

        Args:
            what: is asked, in words, for errors.
            call: an operation of `kfp_server_api`.
            once: it must not be done twice: what may have been done is raised as `unsure`.
            plain: the answer is text, not JSON.
            arguments: the operation's own.

        Raises:
            ClusterError: in one sentence that says what to do.
        """
        for attempt in range(1, TRIES + 1):
            login = self._log_in()
            pause = BACKOFF_SECONDS * 2 ** (attempt - 1)
            try:
                answer = call(**arguments, _request_timeout=self._timeout)
                self._answered = True
                if not plain and not self._api.last_response.getheader("content-type", "").startswith(JSON):
                    raise ClusterError(f"{self.host} answers with a page, not with data; {LOGIN}, and check the path")
                return answer
            except api.ApiException as error:
                self._answered = True
                if error.status == 401 and _credentials(self.cluster) != login and attempt < TRIES:
                    continue
                failed = self._refusal(what, error)
                again = error.status == BUSY or (error.status in UNSURE and not once)
                pause = _asked_pause(error, pause)
            except AttributeError as error:  # it stumbles over its own report of a failed TLS handshake
                if not isinstance(error.__context__, api.ApiException):
                    raise
                raise ClusterError(
                    f"no safe connection to {self.host}: it has no certificate that is trusted here; check "
                    f"https://, or name the file with your own authority's in {CERTIFICATES}"
                ) from None
            except urllib3.exceptions.HTTPError as error:
                failed = self._silence(what, error)
                again = self._answered and not (once and failed.unsure)
            if not again or attempt == TRIES:
                raise failed from None
            time.sleep(min(pause, LONGEST_PAUSE))
        raise AssertionError("unreachable")

    def ensure(self, find: Callable[[], Found | None], create: Callable[[], Found]) -> Found:
        """Return what is there, or make it.

        When the answer to making it does not come or says that it exists already, it is looked for again before it
        is made again.

        Raises:
            ClusterError: when it is not there after all tries.
        """
        attempt = 0
        while (found := find()) is None:
            attempt += 1
            try:
                return create()
            except ClusterError as error:
                if not error.unsure:
                    raise
                time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
                if attempt == TRIES and find() is None:
                    raise
        return found

    def _named(
        self, field: str, name: str, call: Callable[..., Any], namespaced: bool = True, **arguments: Any
    ) -> list[Any]:
        """Return what a list operation has under a display name."""
        predicate = {"operation": "EQUALS", "key": "display_name", "string_value": name}
        where = {"namespace": self.cluster.namespace} if namespaced and self.cluster.namespace else {}
        found = self.pages(field, call, filter=json.dumps({"predicates": [predicate]}), **where, **arguments)
        return [one for one in found if one.display_name == name]

    def pages(self, field: str, call: Callable[..., Any], **arguments: Any) -> list[Any]:
        """Return all that a list operation has, page by page."""
        found: list[Any] = []
        token = ""
        while True:
            page = self.ask(f"list {field.replace('_', ' ')}", call, page_token=token, page_size=PAGE, **arguments)
            found += getattr(page, field) or []
            token = page.next_page_token
            if not token:
                return found

    def _steps(self, run: Any) -> Iterator[Step]:
        """Yield the tasks that are steps; Kubeflow's own (drivers, loops, the pods below a step) are not."""
        tasks = (run.run_details and run.run_details.task_details) or []
        by_hash = {_hash(task.pod_name): task for task in tasks if task.pod_name}
        ours = [task for task in tasks if task.display_name in STEPS]
        for task in sorted(ours, key=lambda task: str(_time(task.start_time) or "9")):
            yield Step(
                name=task.display_name,
                state=State(task.state),
                started=_time(task.start_time),
                ended=_time(task.end_time),
                error=self._hide(_message(task.error)),
                pods=tuple(_pods(task, by_hash)),
            )

    def _log(self, number: str, pod: str) -> str | None:
        """Return a pod's log, None where it has none.

        The API has logs at an address that the server of Kubeflow's pages does not pass on; that one has its own.

        Raises:
            UsageError: when it must be told the namespace.
            ClusterError: when it refuses.
        """
        of_api = f"/apis/v1alpha1/runs/{quote(number, safe='')}/nodes/{quote(pod, safe='')}/log"
        query = {"podname": pod, "runid": number, "podnamespace": self.cluster.namespace or ""}
        for path, arguments in ((of_api, {}), ("/k8s/pod/logs", query)):

            def read(path: str = path, arguments: dict[str, str] = arguments, **more: Any) -> str | None:
                self._api.call_api(path, "GET", query_params=list(arguments.items()), **more)
                answer = self._api.last_response
                return None if answer.getheader("content-type", "").startswith("text/html") else answer.data

            try:
                if (text := self.ask(f"read the log of {pod}", read, once=True, plain=True)) is not None:
                    return text
            except ClusterError as error:
                if error.status == 422:
                    raise UsageError(f"{self.host} has several users; give yours by --namespace") from None
                if error.status not in (400, 404, 500):  # no such address; or no pod there, or not any more
                    raise
        return None

    def _log_in(self) -> tuple[str | None, str | None]:
        """Put the present token and cookie into the requests, and return them."""
        token, cookie = _credentials(self.cluster)
        self._api.default_headers.pop("Authorization", None)
        if token:
            self._api.set_default_header("Authorization", f"Bearer {token}")
        self._api.cookie = cookie
        return token, cookie

    def _refusal(self, what: str, error: api.ApiException) -> ClusterError:
        """Return what the server's status means for the user."""
        status, where = error.status, f" in the namespace {self.cluster.namespace}" if self.cluster.namespace else ""
        said = self._hide(_message(error.body))
        detail = f" ({said})" if said else ""
        if status == 401 or 300 <= status < 400:
            text = f"{self.host} does not accept the login ({status}); {LOGIN}"
        elif status == 403:
            text = f"{self.host} does not let you {what}{where} (403); ask for the right, or give another --namespace"
            text += detail
        elif status == 404:
            text = f"{self.host} can't {what}: there is none{where} (404); check its number, --namespace and --host"
        elif status == 409:
            text = f"{self.host} can't {what}: it is there already (409){detail}; try again"
        elif status == 400 and "unknown field" in said:
            text = (
                f"{self.host} is older than this version of Assay and can't {what}{detail}; its server needs an update"
            )
        elif status == BUSY:
            text = f"{self.host} is too busy to {what} (429); try again in a few minutes"
        elif status in UNSURE:
            text = f"{self.host} failed to {what} ({status}){detail}; try again, and if it stays look at its logs"
        else:
            text = f"{self.host} refuses to {what} ({status}){detail}"
        return ClusterError(text, status, unsure=status in (*UNSURE, 409))

    def _silence(self, what: str, error: urllib3.exceptions.HTTPError) -> ClusterError:
        """Return what it means that there was no answer."""
        nothing_sent = isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)
        if nothing_sent or isinstance(error, urllib3.exceptions.ProxyError):
            text = f"nobody answers at {self.host}; check --host, and that the port is forwarded or the VPN is up"
            return ClusterError(text)
        if isinstance(error, urllib3.exceptions.TimeoutError):
            text = (
                f"{self.host} did not {what} within {self._timeout[1]:g} s; look at `assay status` before trying again"
            )
        else:
            text = f"{self.host} broke off while it was asked to {what}; look at `assay status` before trying again"
        return ClusterError(text, unsure=True)

    def _hide(self, text: str) -> str:
        """Return a text without the token and the cookie, which a server may echo."""
        for secret in _credentials(self.cluster):
            text = text.replace(secret, "***") if secret else text
        return text


def _refuse_data_of_this_machine(study: Study, cluster: Cluster) -> None:
    scheme, _, path = study.data.source.partition(":")
    if scheme not in ("images", "table", "text") or "://" in path:
        return
    on_the_volume = cluster.pvc and Path(path).is_relative_to(VOLUME)  # it may be mounted here, too
    if not on_the_volume and Path(path).expanduser().exists():
        raise UsageError(
            f"data.source: the cluster does not see {path} of this machine; put it in a bucket (s3://, gs://), or on "
            f"the volume of --pvc, which the steps see as {VOLUME}"
        )


def _credentials(cluster: Cluster) -> tuple[str | None, str | None]:
    """Return the token and the cookie as they are now: a file's before the environment's before the pod's own.

    Raises:
        UsageError: for a file that can't be read.
    """
    pod = os.environ.get(POD_TOKEN_AT, POD_TOKEN)
    token = _of_file("token_file", cluster.token_file) or _of_environment(TOKEN)
    if not token and Path(pod).is_file():
        token = _of_file(POD_TOKEN_AT, pod)
    return token, _of_file("cookie_file", cluster.cookie_file) or _of_environment(COOKIE)


def _of_file(name: str, file: str | None) -> str | None:
    if file is None:
        return None
    try:
        text = Path(file).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: {file} can't be read ({getattr(error, 'strerror', 'it is not text')})") from None
    if not text.strip():
        raise UsageError(f"{name}: {file} holds nothing; expected one line")
    return _checked(f"{name}: {file}", text)


def _of_environment(name: str) -> str | None:
    return _checked(name, os.environ.get(name, "")) or None


def _checked(where: str, text: str) -> str:
    """Return what can stand in a header; an error of the HTTP library would repeat it."""
    text = text.strip()
    if not text.isascii() or not text.isprintable():
        what = "several lines" if "\n" in text else "characters that no login has"
        raise UsageError(f"{where} holds {what}; expected one line")
    return text


def _message(said: Any) -> str:
    """Return what a server says of an error in one line: its body, or the error of a run or task."""
    if not isinstance(said, str):
        text = getattr(said, "message", None) or ""
    else:
        try:
            body = json.loads(said)
        except ValueError:
            body = {}  # a proxy's page
        keys = ("message", "error_message", "error")  # the second one where a file is uploaded or a log is read
        text = next(filter(None, map(body.get, keys)), "") if isinstance(body, dict) else ""
    text = " ".join(str(text).split())
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}..."


def _asked_pause(error: api.ApiException, otherwise: float) -> float:
    """Return the seconds that Retry-After asks for; it is a number, or a date."""
    asked = (error.headers or {}).get("Retry-After")
    if not asked:
        return otherwise
    try:
        return (
            max(float(asked), 0.0)
            if asked.isdecimal()
            else max(parsedate_to_datetime(asked).timestamp() - time.time(), 0.0)
        )
    except ValueError:
        return otherwise


def _time(said: datetime | None) -> datetime | None:
    """Return when something happened; for what has not yet the server says 1970, or the year 1."""
    return said if said and said.year > 1970 else None


def _hash(name: str) -> str:
    """Return what the names of a node of the workflow and of its pod share: they are otherwise made differently."""
    return name.rpartition("-")[2]


def _pods(task: Any, by_hash: dict[str, Any]) -> Iterator[str]:
    """Yield the pods that run a step: the executor below it, or where it may be tried again the tries below that."""
    below = [by_hash.get(_hash(child.pod_name or "")) for child in task.child_tasks or []]
    inner = [one for one in below if one is not None and one.display_name.startswith(EXECUTOR)]
    for one in inner:
        yield from _pods(one, by_hash)
    if not inner and task.pod_name:
        yield task.pod_name
