"""Trains cells: each is scored on its validation and test rows, logged epoch by epoch, and put into the store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.data.encoding import Encoder
from components.data.prepared import Prepared, Schema
from components.data.scaling import read_encoder
from components.errors import AssayError
from components.records import to_json
from components.runtime import devices
from components.runtime.cells import PREVIEW, RESULT, CellResult, FinishedCell, Store
from components.runtime.checkpoint import Checkpoint
from components.runtime.events import THREADS, Step
from components.stats.metrics import recalls, scores
from components.study.model_catalogue import MODELS
from components.study.recipe import Recipe, program_key
from components.study.shards import leading
from components.study.study import REFERENCE, Cell, Study
from components.training.diagnosis import by_layer, diagnose
from components.training.engine import Fit, OnEpoch, Reading, Split, ignore
from components.training.trees import Forest

if TYPE_CHECKING:
    from components.training import engine
    from components.training.feed import Streamed

SMALL = 2**20  # values in the train rows up to which one thread is faster than two (measured on 8x8 images)


class Trainer:
    """Trains one trajectory after another; those with the same shape of model share one compiled program."""

    def __init__(self, study: Study, prepared: Prepared, scalers: str, store: Store, running: Step):
        self.prepared = prepared
        self.scalers = scalers
        self.store = store
        self.running = running
        self.budget = int(study.memory * 2**30)  # bytes of encoded rows that may be in memory
        self.minutes = study.checkpoint
        self._programs: dict[str, engine.Program | Forest] = {}  # of small data all, else the last
        self._warned: set[str | None] = {None}
        self.threads = threads_for(prepared.schema)
        devices.set_up(study.recipe.train, self.threads)

    def train(self, cells: Sequence[Cell], on_epochs: Sequence[OnEpoch] = ()) -> list[FinishedCell]:
        """Train once what the cells of a trajectory are read off, and put those that are not there into the store.

        Args:
            cells: of one trajectory, see `components.study.shards.trajectories`.
            on_epochs: of each cell what is told of each epoch, see `engine.Reading`.

        Raises:
            AssayError: when the loss is no number from the first epoch on.
        """
        seed, recipe = cells[0].seed, leading(cells)
        with self.running.span("data"):
            train_rows, val_rows = self.prepared.split(seed, recipe.data)
            encoder = read_encoder(self.scalers, seed, recipe, self.prepared)
            y = self.prepared.y
            split = Split(self._rows(train_rows, encoder), y[train_rows], self._rows(val_rows, encoder), y[val_rows])
        with self.running.span("training"):
            program = self._program_for(recipe, len(train_rows))
            checkpoint = Checkpoint(self.store.checkpoint(*(cell.key for cell in cells)), self.minutes)
            told = on_epochs or [ignore] * len(cells)
            readings = [Reading(cell.recipe.train, on_epoch) for cell, on_epoch in zip(cells, told, strict=True)]
            fits = program.fit_together(split, readings, seed, encoder.spread, checkpoint)
        for place, (cell, fit) in enumerate(zip(cells, fits, strict=True)):
            if fit.resumed:
                self.running.emit("cell_resumed", arm=cell.arm, seed=cell.seed, epochs=fit.resumed)
            if fit.diverged == 0:
                raise AssayError(
                    f"arm {cell.arm!r}, seed {cell.seed}: the loss is not a finite number in the first epoch; "
                    f"lower train.learning_rate (now {cell.recipe.train.learning_rate}) or scale the data "
                    f"(now scale: {cell.recipe.scale})"
                )
            if self.store.find(cell.key) is None:
                with self.running.span("training"):
                    program.restore(place)
                    validation = program.probabilities(split.val_x)
                    test = program.probabilities(self._rows(self.prepared.test_rows, encoder))
                classes = len(self.prepared.schema.classes)
                result = _result(cell, fit, validation, split.val_y, classes, program.computed)
                self._keep(cell, result, {"validation": validation, "test": test}, program.network, encoder)
        return [FinishedCell(self.store.path(cell.key)) for cell in cells]

    def _keep(
        self, cell: Cell, result: CellResult, probabilities: dict[str, np.ndarray], network: Any, encoder: Encoder
    ) -> None:
        """Write the cell's folder into the store; `probabilities` by part (rows, classes)."""
        from components.serving import saved_model

        draws = self.prepared.schema.kind != "table" and cell.recipe.augment.on()
        with self.store.write(cell.key) as folder:
            with self.running.span("data"):
                for part, of_rows in probabilities.items():
                    np.save(folder / f"{part}.npy", of_rows)
                saved_model.save(folder, network, encoder, self.prepared)
                (folder / RESULT).write_text(to_json(result), "utf-8")
            if draws and (cell.arm, cell.seed) == (REFERENCE, 0):
                with self.running.span("report"):  # here, since `evaluate` has no TensorFlow
                    from components.training import augmentation_preview

                    augmentation_preview.draw(self.prepared, encoder, cell.recipe.augment, folder / PREVIEW)

    def _rows(self, numbers: np.ndarray, encoder: Encoder) -> np.ndarray | Streamed:
        """Return encoded rows as an array if all rows fit into the budget, else to be streamed in blocks.

        A quarter of the budget is a block: one is trained on, one is read ahead, and both are copied on their way.
        """
        row_bytes = 4 * int(np.prod(self.prepared.schema.inputs.shape))
        if len(self.prepared.y) * row_bytes <= self.budget:
            return encoder(self.prepared.x[numbers])
        from components.training.feed import Streamed

        block = max(self.budget // 4 // row_bytes, 1)
        return Streamed(lambda rows: encoder(self.prepared.rows[rows]), numbers, block)

    def _program_for(self, recipe: Recipe, rows: int) -> engine.Program | Forest:
        key = f"{program_key(recipe)} {rows}"  # of the rows follow an epoch's steps
        if key not in self._programs:
            warning = None if MODELS[recipe.model.name].trees else devices.unused(recipe.train)
            if warning not in self._warned:
                self.running.emit("warning", message=warning)
                self._warned.add(warning)
            if not is_small(self.prepared.schema):
                self._programs.clear()
            self._programs[key] = build(recipe, self.prepared.schema, rows, self.threads)
        return self._programs[key]


def _result(
    cell: Cell, fit: Fit, validation: np.ndarray, y: np.ndarray, classes: int, computed: devices.Computed
) -> CellResult:
    """Return what a training came to; `validation` float32 (rows, classes), and `y` their class numbers (rows,)."""
    epochs = len(fit.curves["loss"])
    return CellResult(
        recipe=cell.recipe,
        seed=cell.seed,
        validation=scores(validation, y),
        recall=tuple(recalls(validation, y)),
        curves={name: tuple(curve) for name, curve in fit.curves.items()},
        epochs=epochs,
        epoch=fit.epoch,
        diverged=fit.diverged,
        diagnostics=by_layer(fit),
        findings=diagnose(fit, classes, cell.recipe.train),
        seconds=epochs * fit.epoch_seconds,
        computed=computed,
    )


def threads_for(schema: Schema) -> int:
    """Return with how many threads to train; 0 is as many as there are cores."""
    return 1 if is_small(schema) else int(os.environ.get(THREADS, "0"))


def is_small(schema: Schema) -> bool:
    """Tell whether the train rows are so few values that one thread is the fastest, and networks take no room."""
    return schema.splits["train"] * int(np.prod(schema.inputs.shape)) <= SMALL


def build(recipe: Recipe, schema: Schema, rows: int, threads: int) -> engine.Program | Forest:
    """Return what trains the recipe's model on so many rows."""
    if MODELS[recipe.model.name].trees:
        # With more, threads that wait for each other take most of the time.
        return Forest(recipe, schema.inputs, len(schema.classes), threads or None)
    if recipe.train.backend == "jax":
        from components.training.backends.jax_program import Program
    else:
        from components.training.backends.tensorflow_program import Program
    return Program(recipe, schema.inputs, len(schema.classes), rows)
