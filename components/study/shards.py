"""Batches: a study's cells spread over train tasks.

A task is told only a label such as `2/8`, and cuts the study as all others do. So a pipeline's parameters are as small
for a thousand cells as for ten, and which cells there are need be known only when the data is there.
"""

from typing import Any

from components.study.model_catalogue import MODELS
from components.study.recipe import Recipe, program_key
from components.study.study import Cell, Study


def arguments(study: Study, fan_out: int) -> dict[str, Any]:
    """Return the pipeline's parameters that say what is run: the study, and the train tasks that it is spread over."""
    return {"study": study.model_dump_json(), "batches": labels(study, fan_out), "fan_out": fan_out}


def labels(study: Study, fan_out: int) -> list[str]:
    """Return a label for each batch, such as `1/3`, `2/3` and `3/3`."""
    count = len(batches(study, fan_out))
    if study.retrain.enabled:  # which of both it is going to be is not known before the data is there
        count = max(count, min(study.retrain.seeds, fan_out))
    return [f"{number}/{count}" for number in range(1, count + 1)]


def batch(study: Study, fan_out: int, label: str) -> list[Cell]:
    """Return the cells of the batch with this label; none where the study has fewer batches."""
    number = int(label.partition("/")[0])
    return next(iter(batches(study, fan_out)[number - 1 :]), [])


def batches(study: Study, fan_out: int) -> list[list[Cell]]:
    """Return the study's cells in at most `fan_out` batches of about the same cost, none of them empty.

    Cells with the same compiled program follow each other, since a step builds and traces it once, and are
    cut into runs of neighbours. Cells with the same key stay in one batch, where the second one reuses the first.
    """
    return [part for part in _cut(_in_order(study.cells()), fan_out) if part]


def _in_order(cells: list[Cell]) -> list[list[Cell]]:
    """Return the cells that share a key as one, and beside each other those that share a compiled program."""
    same_program: dict[str, dict[str, list[Cell]]] = {}
    for cell in cells:
        same_key = same_program.setdefault(program_key(cell.recipe), {})
        same_key.setdefault(cell.key, []).append(cell)
    return [same for keys in same_program.values() for same in keys.values()]


def _cut(cells: list[list[Cell]], parts: int) -> list[list[Cell]]:
    """Cut the cells into neighbours; each goes where the middle of its cost falls."""
    share = sum(_cost(same[0].recipe) for same in cells) / parts
    cut: list[list[Cell]] = [[] for _ in range(parts)]
    before = 0.0
    for same in cells:
        cost = _cost(same[0].recipe)
        cut[min(int((before + cost / 2) / share), parts - 1)] += same
        before += cost
    return cut


def _cost(recipe: Recipe) -> float:
    """Guess the time of a cell, from what matters most: the model and epochs, of which early stopping saves half."""
    model = MODELS[recipe.model.name]
    epochs = 1 if model.trees else recipe.train.epochs * (0.5 if recipe.train.early_stopping else 1.0)
    return epochs * model.cost
