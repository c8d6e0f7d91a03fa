"""The run of one cell: its epochs as they come, its scores, scaler and findings."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from components.data.prepared import Schema
from components.reporting.phrases import diagnosis_as_text
from components.runtime.cells import CellResult, FinishedCell
from components.study.study import Cell
from components.tracking import client
from components.tracking.client import as_metrics
from components.tracking.runs import StudyRuns

FLUSH_SECONDS = 2.0  # epochs are sent at most this often: a call costs 15 ms, an epoch of a small cell less
SCALER_BYTES = 2**16  # of a scaler that each seed's run gets; a large vocabulary is with the arm's model alone
LONGEST = 200  # characters of a class's name in a metric's, which may have 250


class CellLogger:
    """Logs the cells of one study run."""

    def __init__(self, runs: StudyRuns, schema: Schema):
        """Find the cells' runs that an earlier try has left."""
        self.api, self.runs, self.schema = client.client(), runs, schema
        seeds = client.search_runs(self.api, runs.experiment, runs.run, "seed")
        self.known = {
            (run.data.tags["assay.arm"], run.data.tags["assay.seed"]): run
            for run in seeds
            if run.data.tags[client.PARENT_TAG] in runs.arms.values()
        }

    def start(self, cell: Cell) -> "CellLog":
        """Open the cell's run; one that died unfinished is deleted and made anew."""
        old = self.known.get((cell.arm, str(cell.seed)))
        if old and old.info.status == "FINISHED":
            return CellLog(self, cell, None)
        if old:
            self.api.delete_run(old.info.run_id)
        tags = {
            client.RUN_TAG: self.runs.run,
            client.ROLE_TAG: "seed",
            "assay.arm": cell.arm,
            "assay.seed": str(cell.seed),
            "assay.cell": cell.key,
            **client.origin(self.schema),
        }
        name = f"{cell.arm}, seed {cell.seed}"
        run = client.create_run(self.api, self.runs.experiment, name, tags, self.runs.arms[cell.arm])
        client.log_data_set(self.api, run.info.run_id, self.schema)
        return CellLog(self, cell, run.info.run_id)


@dataclass
class CellLog:
    """The run of one cell; without a run number it is complete already, and nothing is logged twice."""

    logger: CellLogger
    cell: Cell
    run_id: str | None
    _waiting: list[Any] = field(default_factory=list, init=False)  # metrics that were not sent yet
    _sent: float = field(default_factory=time.monotonic, init=False)

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Log an epoch's metrics as one batch; batches of fast epochs share a call."""
        self._waiting += as_metrics(values, epoch)
        if time.monotonic() - self._sent > FLUSH_SECONDS:
            self._send()

    def finish(self, cell: FinishedCell, reused: bool) -> None:
        """Log the parameters, the scores of the epoch that counts and the scaler, and end the run.

        The model is not here but with the arm, see `log_verdict`: of ninety seeds' models one an arm is enough.
        """
        if self.run_id is None:
            return
        result = cell.result
        if reused:
            for epoch in range(result.epochs):
                self._waiting += as_metrics({name: curve[epoch] for name, curve in result.curves.items()}, epoch)
        numbers = {"restored_epoch": result.epoch, "epochs": result.epochs, "training_seconds": result.seconds}
        numbers |= {f"validation/{name}": value for name, value in result.validation.items()}
        recalls = zip(_safe(self.logger.schema.classes), result.recall, strict=True)
        numbers |= {f"recall/{name}": value for name, value in recalls}
        self._waiting += as_metrics(numbers, 0)
        self._add_layers(result)
        params = {"arm": self.cell.arm, "seed": self.cell.seed, **result.recipe.model_dump(mode="json")}
        params["computed"] = asdict(result.computed)
        tags = {"assay.reused": str(reused).lower()}
        if result.findings:
            told = [diagnosis_as_text(diagnosis) for diagnosis in result.findings]
            note = "\n".join(f"- {line}" for line in told)
            tags |= {"assay.findings": "; ".join(told), "mlflow.note.content": note}
        self._send(params=client.as_params(params), tags=client.as_tags(tags))
        scaler = cell.model / "encoder.json"
        if scaler.stat().st_size <= SCALER_BYTES:
            self.logger.api.log_artifact(self.run_id, str(scaler))
        self.logger.api.set_terminated(self.run_id)

    def _add_layers(self, result: CellResult) -> None:
        """Add what the layers showed as metrics: `layers/conv_1/gradient_norm`.

        Every epoch of the first seed, and of a cell in which something is wrong; of others the epoch that counts. A
        thousand numbers cost as much as the training of a small cell.
        """
        every = self.cell.seed == 0 or result.findings
        for layer, quantities in result.diagnostics.items():
            for quantity, values in quantities.items():
                for epoch, value in enumerate(values):
                    if value is not None and (every or epoch == result.epoch):
                        self._waiting += as_metrics({f"layers/{layer}/{quantity}": value}, epoch)

    def _send(self, **more: Any) -> None:
        if self.run_id is None:
            return
        self.logger.api.log_batch(self.run_id, metrics=self._waiting, **more)
        self._waiting, self._sent = [], time.monotonic()


def _safe(names: Sequence[str]) -> list[str]:
    """Return the names with the characters that MLflow allows in a metric, not too many of them.

    Where two become one, they are numbered.
    """
    cleaned = ["".join(c if c.isalnum() or c in "_-. " else "_" for c in name)[:LONGEST].strip(". ") for name in names]
    times = Counter(cleaned)
    return [name if name and times[name] == 1 else f"{name}_{i}" for i, name in enumerate(cleaned)]
