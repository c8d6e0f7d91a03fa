"""The checks of `assay doctor` on servers: MLflow and Kubeflow Pipelines."""

import importlib.metadata
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from components.errors import AssayError
from components.tracking.client import SQLITE, check_reachable, without_login
from pipeline.commands.doctor.check_result import ANSWER_SECONDS, CheckResult
from pipeline.kubeflow.settings import Cluster

if TYPE_CHECKING:
    import requests

FORWARD = "kubectl port-forward --namespace kubeflow service/ml-pipeline-ui 8080:80, then --host http://localhost:8080"


def check_mlflow(uri: str, deep: bool) -> CheckResult:
    """Ask the tracking server whether it is there, lets us in, and has a version that fits; `deep` writes a file."""
    if not uri.startswith(("http://", "https://")):
        try:
            check_reachable(uri)
        except AssayError as error:
            return CheckResult("missing", str(error))
        where = uri.removeprefix(SQLITE) if uri.startswith(SQLITE) else f"a {uri.partition(':')[0]} database"
        return CheckResult("ok", f"no server; runs are kept in {where}")
    shown, base = without_login(uri), uri.rstrip("/")
    health = _get(f"{base}/health", {})
    if isinstance(health, str):
        return CheckResult(
            "missing", f"nobody answers at {shown}: {health}", "start the server, or mend MLFLOW_TRACKING_URI"
        )
    if health.status_code != 200 or health.text.strip() != "OK":
        mend = "mend MLFLOW_TRACKING_URI; it is the address of MLflow's own page"
        return CheckResult("missing", f"what answers at {shown} is not MLflow ({health.status_code} for /health)", mend)
    headers = _mlflow_login()
    answer = _get(f"{base}/api/2.0/mlflow/experiments/search?max_results=1", headers)
    refusal = answer if isinstance(answer, str) else _refusal(answer, shown, bool(headers))
    if isinstance(refusal, CheckResult):
        return refusal
    if refusal:
        return CheckResult("missing", f"{shown} is healthy, but a question failed: {refusal}")
    version = _get(f"{base}/version", headers)
    fits = _fits(version if isinstance(version, str) else version.text.strip(), shown)
    if not deep or fits.state == "missing":
        return fits
    failed = _write_and_read(uri, headers)
    if failed:
        return CheckResult("missing", f"{shown}: {failed.told}", failed.mend)
    return CheckResult(fits.state, f"{fits.told}; files can be written and read", fits.mend)


def _refusal(answer: "requests.Response", shown: str, login: bool) -> CheckResult | str:
    """Return what is wrong with the answer to a question, and how to mend it; nothing where it is fine."""
    if answer.status_code == 401 and login:
        return CheckResult(
            "missing", f"{shown} refuses the login", "mend MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD"
        )
    if answer.status_code == 401:
        mend = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        return CheckResult("missing", f"{shown} wants a login", mend)
    if answer.status_code == 403 and "Invalid Host header" in answer.text:
        name = urlsplit(shown).hostname
        return CheckResult(
            "missing",
            f"the server is not to be called {name}: it answers only to the names in its --allowed-hosts",
            f"start it with --allowed-hosts={name},{name}:*,... or use one of its names in MLFLOW_TRACKING_URI",
        )
    return "" if answer.status_code == 200 else f"{answer.status_code} {answer.reason}"


def _fits(server: str, shown: str) -> CheckResult:
    """Compare the version of an MLflow server with that of the client."""
    from packaging.version import InvalidVersion, Version

    here = importlib.metadata.version("mlflow")
    try:
        there = Version(server)
    except InvalidVersion:
        return CheckResult("warning", f"{shown} does not say its version; the client is {here}")
    told = f"{shown} has {there}, the client {here}"
    if there.major != Version(here).major:
        return CheckResult("missing", told, f"install MLflow {here} there, or pip install 'mlflow=={there}' here")
    if there.release[:2] < Version(here).release[:2]:
        return CheckResult(
            "warning", told, f"install MLflow {here} there: an older server may not know all that is asked"
        )
    return CheckResult("ok", told)


def _mlflow_login() -> dict[str, str]:
    """Return the header with the login that MLflow's client would use."""
    import requests

    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    name, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if not (name and password) and (Path.home() / ".mlflow" / "credentials").exists():
        from mlflow.utils.credentials import read_mlflow_creds

        known = read_mlflow_creds()
        name, password = known.username, known.password
    if not (name and password):
        return {}
    prepared = requests.Request("GET", "http://x", auth=(name.encode(), password.encode())).prepare()
    return {"Authorization": prepared.headers["Authorization"]}


def _write_and_read(uri: str, headers: dict[str, str]) -> CheckResult | None:
    """Log a tiny file to a run of its own, fetch it, and delete all of it; return what failed."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # its own seven take minutes
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    api = MlflowClient(uri)
    try:
        experiment = api.create_experiment(f"assay doctor {os.urandom(4).hex()}")
        try:
            run = api.create_run(experiment)
            api.log_text(run.info.run_id, "written by `assay doctor`", "doctor.txt")
            folder = str(run.info.artifact_uri)
            failed = _fetch(uri.rstrip("/"), f"{urlsplit(folder).path.strip('/')}/doctor.txt", headers)
            get_artifact_repository(folder, tracking_uri=uri).delete_artifacts("doctor.txt")
        finally:
            api.delete_experiment(experiment)
    except Exception as error:  # of requests, of MLflow or of a bucket's own client
        reason = str(error).rpartition("Caused by ")[2].splitlines()[0][:300]
        return CheckResult("missing", f"no file can be written: {reason}", "look at the server's log")
    return failed


def _fetch(base: str, path: str, headers: dict[str, str]) -> CheckResult | None:
    """Fetch a file of a server that keeps files for its clients; return what failed.

    A server with a bucket has its clients fetch files there, at addresses that it signs.
    """
    signed: dict[str, Any] = {}
    if os.environ.get("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true").lower() in ("true", "1"):
        answer = _get(f"{base}/api/2.0/mlflow-artifacts/presigned/{path}", headers)
        with suppress(ValueError):
            signed = {} if isinstance(answer, str) or answer.status_code != 200 else answer.json()
    address = signed["url"] if signed else f"{base}/api/2.0/mlflow-artifacts/artifacts/{path}"
    fetched = _get(address, signed.get("headers", {}) if signed else headers)
    if not isinstance(fetched, str) and fetched.status_code == 200:
        return None
    reason = fetched if isinstance(fetched, str) else f"{fetched.status_code} {fetched.reason}"
    parts = urlsplit(address)
    told = f"a file was written, but can't be fetched at {parts.scheme}://{parts.netloc.rpartition('@')[2]}: {reason}"
    if not signed:
        return CheckResult("missing", told, "look at the server's log")
    mend = "set MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD=false here; or give the server, in MLFLOW_S3_ENDPOINT_URL, an "
    return CheckResult("missing", told, mend + "address of its store that its clients reach, too")


def check_pipelines(cluster: Cluster) -> CheckResult:
    """Ask a Kubeflow Pipelines API, with the login of `submit`, whether it is there, lets us in, and is new enough."""
    if not cluster.host:
        return CheckResult("ok", "no cluster was named (--host or KFP_HOST)")
    from pipeline.kubeflow.client import SDK, Client, ClusterError, older_than_sdk

    client = Client(cluster, ANSWER_SECONDS)
    try:
        version = client.version()
        call = client.pipelines.pipeline_service_list_pipelines
        client.ask("list pipelines", call, page_size=1, namespace=cluster.namespace or "")
    except ClusterError as error:
        return CheckResult("missing", str(error), "" if error.status else FORWARD)
    told = f"{client.host} has {version or 'a version that it does not tell'}, the SDK {SDK}"
    if older_than_sdk(version):
        return CheckResult("warning", told, "upgrade the cluster: an older server may not know all that the SDK writes")
    return CheckResult("ok", told)


def _get(address: str, headers: dict[str, str]) -> "requests.Response | str":
    """Ask once, as MLflow's client would; return the answer, or why there is none."""
    import requests

    try:
        return requests.get(address, headers=headers, timeout=ANSWER_SECONDS, allow_redirects=False)
    except (requests.RequestException, ValueError) as error:
        if isinstance(error, requests.exceptions.SSLError):
            return "its certificate is not trusted here; REQUESTS_CA_BUNDLE names a file of those that are"
        if isinstance(error, requests.Timeout):
            return f"no answer within {ANSWER_SECONDS:g} s"
        return _root_cause(error)


def _root_cause(error: BaseException) -> str:
    """Return what the system said, out of the errors that libraries wrapped around it."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return getattr(error, "strerror", None) or str(error)
