"""Shards: a study's cells spread over train tasks.

A task is told only a label such as `2/8`, and cuts the study as all others do. So a pipeline's parameters are as small
for a thousand cells as for ten, and which cells there are need be known only when the data is there.
"""

from collections.abc import Sequence

from components.study.model_catalogue import MODELS
from components.study.recipe import Recipe, program_key, trajectory_key
from components.study.study import Cell, Study

FIRST_SEEDS = 1  # of all arms, that are trained before the others where that costs nothing: a first impression


def arguments(study: Study, fan_out: int) -> dict[str, object]:
    """Return the pipeline's parameters that say what is run: the study, and the train tasks that it is spread over."""
    return {"study": study.model_dump_json(), "batches": labels(study, fan_out), "fan_out": fan_out}


def labels(study: Study, fan_out: int) -> list[str]:
    """Return a label for each shard, such as `1/3`, `2/3` and `3/3`."""
    count = len(shards(study, fan_out))
    if study.retrain.enabled:  # which of both it is going to be is not known before the data is there
        count = max(count, min(study.retrain.seeds, fan_out))
    return [f"{number}/{count}" for number in range(1, count + 1)]


def shard(study: Study, fan_out: int, label: str) -> list[Cell]:
    """Return the cells of the shard with this label; none where the study has fewer shards."""
    index = int(label.partition("/")[0]) - 1
    parts = shards(study, fan_out)
    return parts[index] if index < len(parts) else []


def shards(study: Study, fan_out: int) -> list[list[Cell]]:
    """Return the study's cells in at most `fan_out` shards of about the same cost, none of them empty.

    Trainings with the same compiled program follow each other, since a step builds and traces it once, and are
    cut into runs of neighbors.
    """
    return [part for part in _cut(_in_order(trajectories(study.cells())), fan_out) if part]


def trajectories(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Return together the cells that are read off one training, see `components.study.recipe.trajectory_key`."""
    found: dict[tuple[str, int], list[list[Cell]]] = {}
    for cell in cells:
        alike, ema = found.setdefault((trajectory_key(cell.recipe), cell.seed), []), cell.recipe.train.ema
        # One training has one moving average at most.
        for group in alike:
            if not ema or leading(group).train.ema in (0, ema):
                group.append(cell)
                break
        else:
            alike.append([cell])
    return [group for alike in found.values() for group in alike]


def leading(group: Sequence[Cell]) -> Recipe:
    """Return the recipe whose program trains for all cells of a trajectory: the one that averages, if any does."""
    return max((cell.recipe for cell in group), key=lambda recipe: recipe.train.ema)


def _in_order(groups: list[list[Cell]]) -> list[list[Cell]]:
    """Return beside each other the trainings that share a compiled program."""
    same_program: dict[str, list[list[Cell]]] = {}
    for group in groups:
        same_program.setdefault(program_key(leading(group)), []).append(group)
    return [group for groups in same_program.values() for group in groups]


def _cut(groups: list[list[Cell]], parts: int) -> list[list[Cell]]:
    """Cut the trainings into neighbors; each goes where the middle of its cost falls."""
    costs = [max(_cost(cell.recipe) for cell in group) for group in groups]
    share = sum(costs) / parts
    cut: list[list[Cell]] = [[] for _ in range(parts)]
    before = 0.0
    for group, cost in zip(groups, costs, strict=True):
        cut[min(int((before + cost / 2) / share), parts - 1)] += group
        before += cost
    return cut


def _cost(recipe: Recipe) -> float:
    """Guess the time of a cell, from what matters most: the model and epochs, of which early stopping saves half."""
    model = MODELS[recipe.model.name]
    epochs = 1 if model.trees else recipe.train.epochs * (0.5 if recipe.train.early_stopping else 1.0)
    return epochs * model.cost
