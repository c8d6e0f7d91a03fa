"""Results that no training made, for tests of what reads them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from components.records import to_json
from components.runtime.cells import RESULT, CellResult
from components.runtime.devices import Computed
from components.study.recipe import Recipe

RESULT_OF_A_CELL = CellResult(
    recipe=Recipe(),
    seed=0,
    validation={"accuracy": 0.9, "loss": 0.3, "macro_f1": 0.9, "ece": 0.02},
    recall=(0.9, 0.9),
    curves={"loss": (1.0, 0.5), "accuracy": (0.5, 0.8), "val_loss": (1.1, 0.6), "val_accuracy": (0.5, 0.7)},
    epochs=2,
    epoch=1,
    diverged=None,
    diagnostics={},
    findings=(),
    seconds=1.0,
    computed=Computed("tensorflow", "cpu", 1, "float32", jit=False),
)


def write_result(folder: Path, **changes: Any) -> CellResult:
    """Write the result of a cell into its folder, which is made where it is missing, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    result = replace(RESULT_OF_A_CELL, **changes)
    (folder / RESULT).write_text(to_json(result))
    return result
