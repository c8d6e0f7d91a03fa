"""Step `train`: a shard of cells, each trained, scored on its validation rows and logged; finished ones are reused."""

from __future__ import annotations

from pathlib import Path

from components.data.prepared import Prepared
from components.records import from_json
from components.runtime.cells import Store, hand_over
from components.runtime.events import step
from components.study import shards
from components.training.trainer import Trainer


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
        if any(finished.find(cell.key) is None for cell in shard):
            with this.span("imports"):
                trainer = Trainer(study, prepared, scalers, finished, this)
        for cell in shard:
            with this.span("mlflow"):
                log = logger.start(cell)
            done = finished.find(cell.key)
            reused = done is not None
            if done is None:
                assert trainer is not None
                done = trainer.train(cell, log.epoch)
            with this.span("mlflow"):
                log.finish(done, reused)
            finished.clean(cell.key)
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
        Path(cells).mkdir(parents=True, exist_ok=True)
