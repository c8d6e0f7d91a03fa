"""MLflow: the study is a run, each arm a run below it, each seed a run below its arm.

Runs are made and filled with `MlflowClient` alone: the fluent interface reads and sets the environment, and two steps
of a study may run in two processes or pods at once. Where the runs go is MLFLOW_TRACKING_URI; without it `mlflow.db`
in the working folder, which a plain `mlflow ui` there shows. `components.opening` makes the runs of the study and its
arms; here they are filled, and read again.
"""

import getpass
import http.client
import json
import logging
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import urlsplit

from components import review
from components.code_version import code_version
from components.errors import AssayError
from components.explain import nearest
from components.prepared import Schema
from components.store import CellResult
from components.study import Cell

SQLITE = "sqlite:///"
DEFAULT_STORE = "mlflow.db"
FLUSH_SECONDS = 2.0  # epochs are sent at most this often: a call costs 15 ms, an epoch of a small cell less
SCALER_BYTES = 2**16  # of a scaler that each seed's run gets; a large vocabulary is with the arm's model alone
ARM_NUMBERS = ("effect", "low", "high", "p_holm", "probability", "detectable", "cost", "cost_low", "cost_high")
LONGEST = 200  # characters of a class's name in a metric's, which may have 250
RUN_TAG = "assay.run"
ROLE_TAG = "assay.role"  # study, arm or seed
DATA_TAG = "assay.data"  # the fingerprint of the data, or its first digits: equal for the same test rows
STUDY_TAG = "assay.study"  # of the study's run: its name, which that of the experiment need not be
PARENT_TAG = "mlflow.parentRunId"
FINISHED = "attributes.status = 'FINISHED'"


def tracking_uri() -> str:
    """Return where runs are kept."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{Path.cwd() / DEFAULT_STORE}"


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


def client():
    """Return an MlflowClient for `tracking_uri`."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for chatty in ("alembic", "mlflow.store.db.utils"):  # a line for every table of a new database
        logging.getLogger(chatty).setLevel(logging.WARNING)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri())


class CellLogger:
    """Logs the cells of one study run."""

    def __init__(self, runs: Mapping[str, Any], schema: Schema):
        """Take what `opening.open_runs` returned."""
        self.api = client()
        self.runs = runs
        self.schema = schema
        seeds = search_runs(self.api, runs["experiment"], runs["run"], "seed")
        self.known = {
            (run.data.tags["assay.arm"], run.data.tags["assay.seed"]): run
            for run in seeds
            if run.data.tags[PARENT_TAG] in runs["arms"].values()
        }

    def start(self, cell: Cell) -> "CellLog":
        """Open the cell's run; one that died unfinished is deleted and made anew."""
        old = self.known.get((cell.arm, str(cell.seed)))
        if old and old.info.status == "FINISHED":
            return CellLog(self, cell, None)
        if old:
            self.api.delete_run(old.info.run_id)
        tags = {
            RUN_TAG: self.runs["run"],
            ROLE_TAG: "seed",
            "assay.arm": cell.arm,
            "assay.seed": str(cell.seed),
            "assay.cell": cell.key,
            **origin(self.schema),
        }
        name = f"{cell.arm}, seed {cell.seed}"
        run = create_run(self.api, self.runs["experiment"], name, tags, self.runs["arms"][cell.arm])
        log_data_set(self.api, run.info.run_id, self.schema)
        return CellLog(self, cell, run.info.run_id)


class CellLog:
    """The run of one cell; without a run number it is complete already, and nothing is logged twice."""

    def __init__(self, logger: CellLogger, cell: Cell, run_id: str | None):
        """Start with no epochs sent."""
        self.logger = logger
        self.cell = cell
        self.run_id = run_id
        self._waiting: list[Any] = []
        self._sent = time.monotonic()
        self._epochs = 0

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Log an epoch's metrics as one batch; batches of fast epochs share a call."""
        self._waiting += _metrics(values, epoch)
        self._epochs = epoch + 1
        if time.monotonic() - self._sent > FLUSH_SECONDS:
            self._send()

    def finish(self, cell: CellResult, reused: bool) -> None:
        """Log the parameters, the scores of the epoch that counts and the scaler, and end the run.

        The model is not here but with the arm, see `log_verdict`: of ninety seeds' models one an arm is enough.
        """
        if self.run_id is None:
            return
        result = cell.result
        if reused:
            for epoch in range(result["epochs"]):
                self._waiting += _metrics({name: curve[epoch] for name, curve in result["curves"].items()}, epoch)
        self._waiting += _metrics(
            {
                **{f"validation/{name}": value for name, value in result["validation"].items()},
                **{
                    f"recall/{name}": value
                    for name, value in zip(_safe(self.logger.schema.classes), result["recall"], strict=True)
                },
                "restored_epoch": result["epoch"],
                "epochs": result["epochs"],
                "training_seconds": result["seconds"],
            },
            0,
        )
        self._waiting += self._layers(result)
        told = {**result["recipe"], "computed": result["computed"]}
        params = {"arm": self.cell.arm, "seed": self.cell.seed, **flat(told)}
        tags = {"assay.reused": str(reused).lower()}
        if result["findings"]:
            note = "\n".join(f"- {finding}" for finding in result["findings"])
            tags |= {"assay.findings": "; ".join(result["findings"]), "mlflow.note.content": note}
        self._send(params=as_params(params), tags=as_tags(tags))
        scaler = cell.model / "encoder.json"
        if scaler.stat().st_size <= SCALER_BYTES:
            self.logger.api.log_artifact(self.run_id, str(scaler))
        self.logger.api.set_terminated(self.run_id)

    def _layers(self, result: Mapping[str, Any]) -> list[Any]:
        """Return what the layers showed as metrics: `layers/conv_1/gradient_norm`.

        Every epoch of the first seed, and of a cell in which something is wrong; of others the epoch that counts. A
        thousand numbers cost as much as the training of a small cell.
        """
        every = self.cell.seed == self.logger.runs["first_seed"] or result["findings"]
        return [
            metric
            for epoch in (range(result["epochs"]) if every else [result["epoch"]])
            for metric in _metrics(
                {
                    f"layers/{layer}/{quantity}": values[epoch]
                    for layer, quantities in result["diagnostics"].items()
                    for quantity, values in quantities.items()
                    if values[epoch] is not None
                },
                epoch,
            )
        ]

    def _send(self, **more: Any) -> None:
        if self.run_id is None:
            return
        self.logger.api.log_batch(self.run_id, metrics=self._waiting, **more)
        self._waiting, self._sent = [], time.monotonic()


def log_verdict(
    runs: Mapping[str, Any],
    verdict: Mapping[str, Any],
    description: str,
    folder: Path,
    cells: Mapping[str, Sequence[CellResult]],
    typical: Mapping[str, CellResult],
) -> None:
    """Log the verdict to the study's run, each arm's numbers to the arm's own, and what the UI opens at.

    Args:
        runs: what `opening.open_runs` returned.
        verdict: see `components.evaluate`.
        description: Markdown.
        folder: its files become artifacts.
        cells: by arm, in the order of the seeds.
        typical: of each arm the cell whose model its run gets.
    """
    api = client()
    metric, winner, test = verdict["metric"], verdict["winner"], verdict["test"]
    numbers, tags = _of_arms(verdict)
    for arm, of_arm in cells.items():
        run_id = runs["arms"][arm]
        means = _means(of_arm)
        first = f"validation/{metric}"  # the compare view draws the metric that was logged first
        told = _metrics({first: means.pop(first), **means, **numbers.get(arm, {})}, 0)
        api.log_batch(run_id, metrics=told, tags=as_tags(tags.get(arm, {})))
        api.log_batch(run_id, metrics=_mean_curves(of_arm))
        api.log_artifacts(run_id, str(typical[arm].model), "model")
        api.set_terminated(run_id)
    parent_metrics = {f"validation/{metric}": winner["mean"]}
    for who in ("reference", "winner"):
        names = [name for name in test[who] if name != "per_seed"]
        parent_metrics |= {f"test/{who}/{name}": test[who][name] for name in names}
    told = {"mlflow.note.content": description, "assay.winner": winner["arm"], "assay.answer": verdict["sentence"]}
    api.log_batch(runs["parent"], metrics=_metrics(parent_metrics, 0), tags=as_tags(told))
    api.log_artifacts(runs["parent"], str(folder))
    study, experiment = verdict["study"], runs["experiment"]
    api.set_experiment_tag(experiment, review.view_tag(study), review.view(study, runs["run"], metric))
    if not runs["joined"]:  # else it is an experiment of many pipelines
        links = review.pages(study, experiment, runs["parent"], list(runs["arms"].values()))
        api.set_experiment_tag(experiment, "mlflow.note.content", review.description(verdict, links))


def _of_arms(verdict: Mapping[str, Any]) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, str]]]:
    """Return the verdict's metrics and tags by arm; what is None or not in this verdict is left out."""
    numbers: dict[str, dict[str, float]] = {}
    tags: dict[str, dict[str, str]] = {}
    for effect in verdict["effects"]:
        told = {name: effect.get(name) for name in ARM_NUMBERS}
        for metric, other in effect.get("others", {}).items():
            told |= {f"{name}/{metric}": other[name] for name in ("effect", "low", "high", "probability")}
        numbers[effect["arm"]] = {name: value for name, value in told.items() if value is not None}
        tags[effect["arm"]] = {"assay.verdict": effect["verdict"]}
    for pair in verdict.get("interactions", ()):
        told = {f"interaction/{name}": pair[name] for name in ("effect", "low", "high", "probability")}
        numbers[pair["arm"]] = {name: value for name, value in told.items() if value is not None}
    for point in verdict["curve"]["points"] if verdict["curve"] else ():
        numbers.setdefault(point["arm"], {})["train_rows"] = point["rows"]
    for arm in tags:
        harmed = [harm["slice"] for harm in verdict.get("harms", ()) if harm["arm"] == arm]
        if harmed:
            tags[arm]["assay.harms"] = ", ".join(harmed)
    return numbers, tags


def _means(cells: Sequence[CellResult]) -> dict[str, float]:
    """Return the means over the seeds of what each of them has once."""
    results = [cell.result for cell in cells]
    means = {name: fmean(r["validation"][name] for r in results) for name in results[0]["validation"]}
    return {
        **{f"validation/{name}": value for name, value in means.items()},
        "restored_epoch": fmean(r["epoch"] for r in results),
        "epochs": fmean(r["epochs"] for r in results),
        "training_seconds": fmean(r["seconds"] for r in results),
    }


def _mean_curves(cells: Sequence[CellResult]) -> list[Any]:
    """Return for each epoch the means over the seeds that still train, as the figure of the curves has them."""
    return [
        metric
        for name in cells[0].result["curves"]
        for epoch, values in enumerate(zip_longest(*(cell.result["curves"][name] for cell in cells)))
        for metric in _metrics({name: fmean(value for value in values if value is not None)}, epoch)
    ]


def finish(runs: Mapping[str, Any], decision: Mapping[str, Any]) -> None:
    """Log the registry's decision to the study's run and end it, unless whoever made it does."""
    api = client()
    api.log_dict(runs["parent"], dict(decision), "decision.json")
    api.set_tag(runs["parent"], "assay.decision", f"{decision['decision']}: {decision['reason']}")
    if not runs["joined"]:
        api.set_terminated(runs["parent"])


def latest(study: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the verdict and the decision of the study's latest finished run, out of MLflow alone.

    Raises:
        AssayError: when MLflow has no such study, or none of its runs is finished.
    """
    api, run_id = client(), latest_run(study).info.run_id
    with tempfile.TemporaryDirectory() as folder:
        read = {}
        for name in ("verdict.json", "decision.json"):
            read[name] = json.loads(Path(api.download_artifacts(run_id, name, folder)).read_text())
    return read["verdict.json"], read["decision.json"]


def latest_pages(study: str | None) -> dict[str, str]:
    """Return the addresses of the latest finished run's pages, see `components.review.pages`; none where none is.

    Args:
        study: its name; any by default.

    Raises:
        AssayError: when MLflow has no such study, or none of its runs is finished.
    """
    api = client()
    if study is None and not _latest_of(api, FINISHED):
        return {}
    run = latest_run(study)
    arms = search_runs(api, run.info.experiment_id, run.data.tags[RUN_TAG], "arm", run.info.run_id)
    in_order = sorted(arms, key=lambda arm: arm.data.metrics.get("effect", 0.0), reverse=True)
    numbers = [arm.info.run_id for arm in in_order]
    return review.pages(run.data.tags[STUDY_TAG], run.info.experiment_id, run.info.run_id, numbers)


def latest_run(study: str | None) -> Any:
    """Return MLflow's run of a study's latest finished run; of all studies' where none is named.

    Raises:
        AssayError: when MLflow has no such study, or no run is finished.
    """
    check_store()
    api = client()
    mine = () if study is None else (f"tags.`{STUDY_TAG}` = {study!r}",)
    if found := _latest_of(api, FINISHED, *mine):
        return found[0]
    if study is None:
        raise AssayError("no run is finished yet; `assay run digits` makes the first")
    if _latest_of(api, *mine):
        raise AssayError(f"no run of study {study!r} is finished yet; `assay run` starts or continues it")
    names = {run.data.tags[STUDY_TAG] for run in _latest_of(api, most=1000)}
    at = without_login(tracking_uri())
    raise AssayError(f"MLflow at {at} has no study {study!r}; {nearest(study, sorted(names))}")


def _latest_of(api, *conditions: str, most: int = 1) -> list[Any]:
    """Return the latest runs of studies, the newest first; a study's may be in any experiment, see `opening`."""
    where = " and ".join((f"tags.`{ROLE_TAG}` = 'study'", *conditions))
    experiments = [experiment.experiment_id for experiment in api.search_experiments()]
    return list(api.search_runs(experiments, where, max_results=most, order_by=["attributes.start_time DESC"]))


def search_runs(api, experiment: str, run: str, role: str, parent: str | None = None) -> list[Any]:
    """Return the MLflow runs of a study run that have this role.

    Args:
        api: an MlflowClient.
        experiment: where they are.
        run: the run's unique name.
        role: study, arm or seed.
        parent: only those right below this one.
    """
    where = f"tags.`{RUN_TAG}` = '{run}' and tags.`{ROLE_TAG}` = '{role}'"
    where += f" and tags.`{PARENT_TAG}` = '{parent}'" if parent else ""
    return list(api.search_runs([experiment], where, max_results=5000))


def create_run(api, experiment: str, name: str, tags: Mapping[str, str], parent: str | None = None):
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


def log_data_set(api, run_id: str, schema: Schema) -> None:
    """Log the data as the run's input, with our own digest: MLflow's would read all rows."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"source": schema.source})
    dataset = Dataset(
        schema.source, schema.fingerprint[:32], "assay", source, profile=json.dumps({"rows": schema.rows})
    )
    api.log_inputs(run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", "study")])])


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by their paths: `train.epochs`."""
    found = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return found


def _safe(names: Sequence[str]) -> list[str]:
    """Return the names with the characters that MLflow allows in a metric, not too many of them.

    Where two become one, they are numbered.
    """
    cleaned = ["".join(c if c.isalnum() or c in "_-. " else "_" for c in name)[:LONGEST].strip(". ") for name in names]
    times = Counter(cleaned)
    return [name if name and times[name] == 1 else f"{name}_{i}" for i, name in enumerate(cleaned)]


def _metrics(values: Mapping[str, float], epoch: int) -> list[Any]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(name, float(value), now, epoch) for name, value in values.items()]


def as_params(values: Mapping[str, Any]) -> list[Any]:
    """Return values as MLflow's parameters, which are text."""
    from mlflow.entities import Param

    return [Param(name, str(value)) for name, value in values.items()]


def as_tags(values: Mapping[str, str]) -> list[Any]:
    """Return values as MLflow's tags."""
    from mlflow.entities import RunTag

    return [RunTag(name, value) for name, value in values.items()]
