"""Asks a Kubeflow Pipelines server: with a login, time limits, tries, and errors that say what to do.

It uses `kfp_server_api`, on which `kfp.Client` is built, and not that: `kfp.Client` waits without a time limit, looks
a pipeline up without its namespace, prints, and keeps a file in the home folder.
"""

import importlib.metadata
import json
import os
import re
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import kfp_server_api as api
import urllib3

from components.errors import AssayError, UsageError
from pipeline.kubeflow.login import COOKIE, TOKEN, credentials
from pipeline.kubeflow.settings import Cluster

CERTIFICATES = "SSL_CERT_FILE"

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
TRIES = 4
BACKOFF_SECONDS = 1.0  # doubled with each try
MAX_PAUSE_SECONDS = 60.0  # whatever Retry-After says
PAGE = 100
MAX_MESSAGE = 300  # characters of what a server says
JSON = "application/json"
LOGIN = f"log in again, and give the token or the cookie by --token-file, --cookie-file, {TOKEN} or {COOKIE}"
BUSY = 429
UNSURE = (500, 502, 503, 504)

VERSION = re.compile(r"(\d+)\.(\d+)")
SDK = importlib.metadata.version("kfp")

Found = TypeVar("Found")
Answer = TypeVar("Answer")


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
        self.api = api.ApiClient(configuration)
        self.pipelines = api.PipelineServiceApi(self.api)
        self.uploads = api.PipelineUploadServiceApi(self.api)
        self.experiments = api.ExperimentServiceApi(self.api)
        self.runs = api.RunServiceApi(self.api)
        self.recurring = api.RecurringRunServiceApi(self.api)
        self._answered = False  # who never did is not asked again

    def version(self) -> str:
        """Return what the server says its version is, "" where it does not.

        Raises:
            ClusterError: when nobody answers, or it is no Kubeflow Pipelines 2.
        """
        try:
            self.ask("look at the server", api.HealthzServiceApi(self.api).healthz_service_get_healthz)
        except ClusterError as error:
            if error.status == 404:
                raise ClusterError(
                    f"{self.host} has no API of Kubeflow Pipelines 2; expected a server of version 2 or newer, and the "
                    "path if it has one, such as https://HOST/pipeline",
                    404,
                ) from None
            raise
        about = json.loads(self.api.last_response.data)  # the API's model drops the version
        if about.get("apiServerReady") is False:  # said by the server of Kubeflow's pages, which answers in any case
            raise ClusterError(f"{self.host} has no answer from its own pipeline API; look at the service ml-pipeline")
        return str(about.get("tag_name") or about.get("apiServerTagName") or "")  # the API, or the pages' server

    def check(self) -> str:
        """Make sure that a Kubeflow Pipelines server answers; return a warning for one that is old, else "".

        Raises:
            ClusterError: when nobody answers, or it is no Kubeflow Pipelines 2.
        """
        said = self.version()
        if not older_than_sdk(said):
            return ""
        return (
            f"{self.host} is Kubeflow Pipelines {said}, older than the {SDK} that this pipeline is made for; settings "
            "that it does not know are refused or ignored there"
        )

    def ask(
        self, what: str, call: Callable[..., Answer], once: bool = False, plain: bool = False, **arguments: object
    ) -> Answer:
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
                return self._call(call, plain, arguments)
            except api.ApiException as error:
                self._answered = True
                if error.status == 401 and credentials(self.cluster) != login and attempt < TRIES:
                    continue
                failed = self._refusal(what, error)
                again = error.status == BUSY or (error.status in UNSURE and not once)
                pause = _asked_pause(error, pause)
            except urllib3.exceptions.HTTPError as error:
                failed = self._silence(what, error, once)
                again = self._answered and not (once and failed.unsure)
            if not again or attempt == TRIES:
                raise failed from None
            time.sleep(min(pause, MAX_PAUSE_SECONDS))
        raise AssertionError("unreachable")

    def _call(self, call: Callable[..., Answer], plain: bool, arguments: Mapping[str, object]) -> Answer:
        """Call an operation once, and refuse a page instead of data, and a certificate that nobody trusts."""
        try:
            answer = call(**arguments, _request_timeout=self._timeout)
        except AttributeError as error:  # it stumbles over its own report of a failed TLS handshake
            if not isinstance(error.__context__, api.ApiException):
                raise
            raise ClusterError(
                f"no safe connection to {self.host}: it has no certificate that is trusted here; check "
                f"https://, or name the file with your own authority's in {CERTIFICATES}"
            ) from None
        self._answered = True
        if not plain and not self.api.last_response.getheader("content-type", "").startswith(JSON):
            raise ClusterError(f"{self.host} answers with a page, not with data; {LOGIN}, and check the path")
        return answer

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

    def named(self, field: str, name: str, call: Callable[..., Any], **arguments: object) -> str | None:
        """Return the number of the first that a list operation has under a display name, None where it has none."""
        predicate = {"operation": "EQUALS", "key": "display_name", "string_value": name}
        found = self.pages(field, call, filter=json.dumps({"predicates": [predicate]}), **arguments)
        return next((getattr(one, _number_of(field)) for one in found if one.display_name == name), None)

    def ensure_named(
        self, what: str, field: str, name: str, find: Callable[..., Any], create: Callable[..., Any], **where: object
    ) -> str:
        """Return the number of what a list operation has under a display name, or make it, see `ensure`."""

        def make() -> str:
            return getattr(self.ask(what, create, once=True), _number_of(field))

        return self.ensure(lambda: self.named(field, name, find, **where), make)

    def own_namespace(self) -> dict[str, str]:
        """Return the argument of list operations that names the user's namespace, where there are several."""
        return {"namespace": self.cluster.namespace} if self.cluster.namespace else {}

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

    def _log_in(self) -> tuple[str | None, str | None]:
        """Put the present token and cookie into the requests, and return them."""
        token, cookie = credentials(self.cluster)
        self.api.default_headers.pop("Authorization", None)
        if token:
            self.api.set_default_header("Authorization", f"Bearer {token}")
        self.api.cookie = cookie
        return token, cookie

    def _refusal(self, what: str, error: api.ApiException) -> ClusterError:
        """Return what the server's status means for the user."""
        status, where = error.status, f" in the namespace {self.cluster.namespace}" if self.cluster.namespace else ""
        said = self.hide(message(error.body))
        detail = f" ({said})" if said else ""
        texts = {
            403: f"does not let you {what}{where} (403); ask for the right, or give another --namespace{detail}",
            404: f"can't {what}: there is none{where} (404); check its number, --namespace and --host",
            409: f"can't {what}: it is there already (409){detail}; try again",
            BUSY: f"is too busy to {what} (429); try again in a few minutes",
        }
        if status == 401 or 300 <= status < 400:
            text = f"does not accept the login ({status}); {LOGIN}"
        elif status == 400 and "unknown field" in said:
            text = f"is older than this version of Assay and can't {what}{detail}; its server needs an update"
        elif status in UNSURE:
            text = f"failed to {what} ({status}){detail}; try again, and if it stays look at its logs"
        else:
            text = texts.get(status, f"refuses to {what} ({status}){detail}")
        return ClusterError(f"{self.host} {text}", status, unsure=status in (*UNSURE, 409))

    def _silence(self, what: str, error: urllib3.exceptions.HTTPError, once: bool) -> ClusterError:
        """Return what it means that there was no answer."""
        nothing_sent = isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)
        if nothing_sent or isinstance(error, urllib3.exceptions.ProxyError):
            text = f"nobody answers at {self.host}; check --host, and that the port is forwarded or the VPN is up"
            return ClusterError(text)
        if isinstance(error, urllib3.exceptions.TimeoutError):
            text = f"{self.host} did not {what} within {self._timeout[1]:g} s"
        else:
            text = f"{self.host} broke off while it was asked to {what}"
        text += "; look at `assay status` before trying again" if once else "; try again, and check --host"
        return ClusterError(text, unsure=True)

    def hide(self, text: str) -> str:
        """Return a text without the token and the cookie, which a server may echo."""
        for secret in credentials(self.cluster):
            text = text.replace(secret, "***") if secret else text
        return text


def _number_of(field: str) -> str:
    return f"{field.removesuffix('s')}_id"  # what `pipeline_versions` and all else that is listed have


def older_than_sdk(version: str) -> bool:
    """Tell whether a server's version is of an older minor release than the SDK's; one without numbers is not."""
    there, here = ([int(part) for found in VERSION.findall(text)[:1] for part in found] for text in (version, SDK))
    return bool(there) and there < here


def message(said: object) -> str:
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
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}..."


def _asked_pause(error: api.ApiException, otherwise: float) -> float:
    """Return the seconds that Retry-After asks for; it is a number, or a date."""
    asked = (error.headers or {}).get("Retry-After")
    try:
        return urllib3.Retry().parse_retry_after(asked) if asked else otherwise
    except urllib3.exceptions.InvalidHeader:
        return otherwise
