"""Step `train`: a shard of cells, each trained, scored on its validation rows and logged; finished ones are reused."""

from __future__ import annotations

from pathlib import Path

from components.data.prepared import Prepared
from components.records import from_json
from components.runtime.cells import FinishedCell, Store, hand_over
from components.runtime.events import step
from components.study import shards
from components.study.study import Cell
from components.training.engine import ignore
from components.training.trainer import Trainer, is_small


def train(batch: str, fan_out: int, store: str, data: str, scalers: str, runs: str, cells: str) -> None:
    """Train the shard's cells and write each one's folder below `cells`.

    Args:
        batch: the shard's label, see `components.study.shards`.
        fan_out: over how many shards the cells are spread at most.
        store: folder of the finished cells.
        data: the prepared data.
        scalers: the file that `scale` wrote.
        runs: the file of MLflow run numbers that `load` wrote.
        cells: folder to write to, one folder a cell, named by its id.
    """
    with step("train", batch) as this:
        prepared = Prepared(data)
        study = prepared.study
        finished = Store(store, prepared.schema.fingerprint)
        shard = shards.shard(study, fan_out, batch)
        with this.span("imports"):
            from components.tracking.cell_log import CellLogger
            from components.tracking.runs import StudyRuns
        logger = CellLogger(from_json(StudyRuns, Path(runs).read_bytes(), runs), prepared.schema)
        trainer: Trainer | None = None
        groups = shards.trajectories(shard)
        if is_small(prepared.schema):  # programs are kept: a first impression of all arms comes early
            groups.sort(key=lambda group: group[0].seed >= shards.FIRST_SEEDS)
        for group in groups:
            by_key: dict[str, Cell] = {}
            for cell in group:
                by_key.setdefault(cell.key, cell)  # equal cells are trained once
            distinct = list(by_key.values())
            new = {cell.id for cell in distinct if finished.find(cell.key) is None}
            with this.span("mlflow"):
                logs = {cell.id: logger.start(cell) for cell in group}
            if new:
                if trainer is None:
                    with this.span("imports"):
                        trainer = Trainer(study, prepared, scalers, finished, this)
                this.emit("cell_started", arm=group[0].arm, seed=group[0].seed)
                trainer.train(distinct, [logs[cell.id].epoch if cell.id in new else ignore for cell in distinct])
            for cell in group:
                done, reused = FinishedCell(finished.path(cell.key)), cell.id not in new
                with this.span("mlflow"):
                    logs[cell.id].finish(done, reused)
                hand_over(done, Path(cells) / cell.id)
                this.emit(
                    "cell_finished",
                    arm=cell.arm,
                    seed=cell.seed,
                    value=done.result.validation[study.metric],
                    epochs=done.result.epochs,
                    seconds=done.result.seconds,
                    reused=reused,
                )
            finished.clean(*by_key)
        Path(cells).mkdir(parents=True, exist_ok=True)
