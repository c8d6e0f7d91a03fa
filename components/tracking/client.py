"""The client of MLflow: where runs are kept, what they are tagged with, and the calls that several of us make."""

import getpass
import http.client
import json
import logging
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from components.data.prepared import Schema
from components.errors import AssayError
from components.runtime.code_version import code_version
from components.runtime.events import TRACKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, Run, RunTag

SQLITE = "sqlite:///"
DEFAULT_STORE = "mlflow.db"
RUN_TAG = "assay.run"
ROLE_TAG = "assay.role"  # study, arm, seed or decision
DATA_TAG = "assay.data"  # the fingerprint of the data, or its first digits: equal for the same test rows
STUDY_TAG = "assay.study"  # of the study's run: its name, which that of the experiment need not be
PARENT_TAG = "mlflow.parentRunId"
MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")

T = TypeVar("T")


def tracking_uri() -> str:
    """Return where runs are kept."""
    return os.environ.get(TRACKING) or f"{SQLITE}{Path.cwd() / DEFAULT_STORE}"


def without_login(address: str) -> str:
    """Return an address as people and logs may see it: without the name and password that may be in it."""
    parts = urlsplit(address)
    if "@" not in parts.netloc:
        return address
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def check_reachable(uri: str) -> None:
    """Ask a tracking server for its health, once.

    MLflow's own client retries for minutes before it says that nobody answers.

    Raises:
        AssayError: when it does not answer, or not like MLflow; or when an sqlite file's folder can't be written.
    """
    if uri.startswith(SQLITE):
        folder = Path(uri.removeprefix(SQLITE)).parent
        if not os.access(folder, os.W_OK):
            raise AssayError(f"MLFLOW_TRACKING_URI: {folder} is not a folder that can be written; got {uri}")
    elif uri.startswith(("http://", "https://")):
        shown = without_login(uri)
        try:
            with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=5):
                pass
        except urllib.error.HTTPError as error:
            if error.code not in (401, 403, 404):  # a server, though one with a door or a prefix
                raise AssayError(f"MLFLOW_TRACKING_URI: {shown} answers {error.code} {error.reason}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise AssayError(
                f"MLFLOW_TRACKING_URI: no MLflow server answers at {shown} ({reason}); start it, or unset the variable "
                f"to keep runs in {DEFAULT_STORE} here"
            ) from None


def is_there(uri: str) -> bool:
    """Return whether a store is there, for all that can be told without a request."""
    return not uri.startswith(SQLITE) or Path(uri.removeprefix(SQLITE)).exists()


def check_store(kept: str = "runs") -> None:
    """Refuse a server that does not answer, and an sqlite file that is not there, which MLflow would make.

    Args:
        kept: what is looked for there.

    Raises:
        AssayError: with how to make the first of it.
    """
    uri = tracking_uri()
    check_reachable(uri)
    if not is_there(uri):
        raise AssayError(f"no {kept} here yet: {uri} does not exist; `assay run digits` makes the first")


def client() -> "MlflowClient":
    """Return an MlflowClient for `tracking_uri`."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for chatty in ("alembic", "mlflow.store.db.utils"):  # a line for every table of a new database
        logging.getLogger(chatty).setLevel(logging.WARNING)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri())


def found(call: Callable[[], T], *missing: str) -> T | None:
    """Return what the call returns; None where MLflow says that there is no such thing, or one of these error codes."""
    from mlflow.exceptions import MlflowException

    try:
        return call()
    except MlflowException as error:
        if error.error_code in MISSING + missing:
            return None
        raise


def search_runs(api: "MlflowClient", experiment: str, run: str, role: str, parent: str | None = None) -> list["Run"]:
    """Return the MLflow runs of a study run, given by its unique name, that have a role; of a parent those below it."""
    where = f"tags.`{RUN_TAG}` = '{run}' and tags.`{ROLE_TAG}` = '{role}'"
    where += f" and tags.`{PARENT_TAG}` = '{parent}'" if parent else ""
    return list(api.search_runs([experiment], where, max_results=5000))


def latest_runs(api: "MlflowClient", where: str, most: int, experiments: list[str] | None = None) -> list["Run"]:
    """Return the latest runs for which a filter holds, the newest first; of all experiments by default."""
    experiments = experiments or [experiment.experiment_id for experiment in api.search_experiments()]
    return list(api.search_runs(experiments, where, max_results=most, order_by=["attributes.start_time DESC"]))


def read_artifact(api: "MlflowClient", run_id: str, path: str) -> bytes:
    """Return the content of a run's file."""
    with tempfile.TemporaryDirectory() as folder:
        return Path(api.download_artifacts(run_id, path, folder)).read_bytes()


def create_run(
    api: "MlflowClient", experiment: str, name: str, tags: Mapping[str, str], parent: str | None = None
) -> "Run":
    """Make a run of ours, below its parent if it has one."""
    above = {PARENT_TAG: parent} if parent else {}
    source = {"mlflow.source.name": "assay", "mlflow.source.type": "LOCAL", "mlflow.user": user()}
    return api.create_run(experiment, run_name=name, tags={**tags, **above, **source})


def user() -> str:
    """Return who runs this."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number without a name
        return str(os.getuid())


def origin(schema: Schema) -> dict[str, str]:
    """Return what a run was made of, as tags."""
    return {DATA_TAG: schema.fingerprint[:12], "assay.code": code_version()[:12]}


def log_data_set(api: "MlflowClient", run_id: str, schema: Schema) -> None:
    """Log the data as the run's input, with our own digest: MLflow's would read all rows."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source, profile = json.dumps({"source": schema.source}), json.dumps({"rows": schema.rows})
    dataset = Dataset(schema.source, schema.fingerprint[:32], "assay", source, profile=profile)
    api.log_inputs(run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", "study")])])


def as_metrics(values: Mapping[str, float], epoch: int) -> list["Metric"]:
    """Return values as MLflow's metrics of an epoch."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(name, float(value), now, epoch) for name, value in values.items()]


def as_params(values: Mapping[str, Any], prefix: str = "") -> list["Param"]:
    """Return values as MLflow's parameters, which are text; nested ones by their paths: `train.epochs`."""
    from mlflow.entities import Param

    params: list[Param] = []
    for key, value in values.items():
        name = prefix + key
        params += as_params(value, f"{name}.") if isinstance(value, Mapping) else [Param(name, str(value))]
    return params


def as_tags(values: Mapping[str, str]) -> list["RunTag"]:
    """Return values as MLflow's tags."""
    from mlflow.entities import RunTag

    return [RunTag(name, value) for name, value in values.items()]
