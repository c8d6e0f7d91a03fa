"""The Kubeflow pipeline: load -> scale -> train, in parallel -> evaluate -> register.

Each component only calls its step in `components`. Its source is cut out and shipped, so it imports inside its body,
and this module can't postpone its annotations (`from __future__ import annotations` breaks `@dsl.component`). The
loop's body is ONE sub-pipeline, and only artifacts and pipeline parameters cross into it: other shapes compile, and
then run wrongly.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from kfp import compiler, dsl

from components.errors import UsageError
from components.recipe import APPLICATIONS, TREES, Recipe, program_key
from components.study import Cell, Study
from pipeline import __version__

PIPELINE = "assay"

# "python" in the name keeps kfp.local from warning about every task.
IMAGE = f"assay-python:{__version__}"

# An epoch of each model beside one of `mlp`, roughly; trees are fitted as a whole. It need only balance batches.
COSTS = {
    "logistic": 0.5,
    "mlp": 1.0,
    "cnn": 3.0,
    "resnet": 20.0,
    "bilstm": 40.0,
    "textcnn": 5.0,
    "transformer": 20.0,
    "hist_gradient_boosting": 20.0,
    "random_forest": 15.0,
    "applications": 200.0,
}

# All inputs of a task travel as one argument of a command, which Linux limits to 128 KiB.
MAX_BATCH = 90_000


def _always(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Return the task with KFP's cache off.

    That cache sees neither the library's code nor what is in a folder, and a scheduled retraining must not become
    nothing. What need not be done twice is known by Assay's own store.
    """
    return task.set_caching_options(False)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def load(study: str, run: str, store: str, data: dsl.Output[dsl.Dataset], runs: dsl.Output[dsl.Artifact]) -> None:
    """Read, check and split the data, and open the study's run in MLflow."""
    from components.load import load

    load(study, run, store, data.path, runs.path)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def scale(study: str, data: dsl.Input[dsl.Dataset], scalers: dsl.Output[dsl.Artifact]) -> None:
    """Take the scalers' statistics from the train rows."""
    from components.scale import scale

    scale(study, data.path, scalers.path)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    study: str,
    batch: str,
    store: str,
    data: dsl.Input[dsl.Dataset],
    scalers: dsl.Input[dsl.Artifact],
    runs: dsl.Input[dsl.Artifact],
    cells: dsl.Output[dsl.Artifact],
) -> None:
    """Train the cells of one batch that the store does not have yet."""
    from components.train import train

    train(study, batch, store, data.path, scalers.path, runs.path, cells.path)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    study: str,
    data: dsl.Input[dsl.Dataset],
    runs: dsl.Input[dsl.Artifact],
    cells: dsl.Input[list[dsl.Artifact]],
    verdict: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
) -> None:
    """Compare the arms, choose the winner, and score it and the reference on the test rows."""
    import shutil

    from components.evaluate import evaluate

    evaluate(study, data.path, runs.path, [batch.path for batch in cells], verdict.path)
    shutil.copyfile(f"{verdict.path}/report/report.html", page.path)  # where Kubeflow's own pages show it


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    study: str,
    data: dsl.Input[dsl.Dataset],
    runs: dsl.Input[dsl.Artifact],
    verdict: dsl.Input[dsl.Artifact],
    decision: dsl.Output[dsl.Artifact],
) -> None:
    """Register the winner, and promote it if it is better than the present champion for sure."""
    from components.register import register

    register(study, data.path, runs.path, verdict.path, decision.path)


class Outcome(NamedTuple):
    """What a run leaves: a folder with report/verdict.json, and one with decision.json."""

    verdict: dsl.Artifact
    decision: dsl.Artifact


def build(settle: Callable[[str, dsl.PipelineTask], object]) -> Any:
    """Return the pipeline `assay`.

    Args:
        settle: called with the name and the task of every step, to give it what its place needs.
    """

    def placed(task: dsl.PipelineTask, step: str) -> dsl.PipelineTask:
        settle(step, task)
        return _always(task)

    @dsl.pipeline(name="one-batch")
    def one_batch(
        study: str,
        batch: str,
        store: str,
        data: dsl.Input[dsl.Dataset],
        scalers: dsl.Input[dsl.Artifact],
        runs: dsl.Input[dsl.Artifact],
    ) -> dsl.Artifact:
        """Train one batch: the body of the loop."""
        task = train(study=study, batch=batch, store=store, data=data, scalers=scalers, runs=runs)
        return placed(task, "train").outputs["cells"]

    @dsl.pipeline(
        name=PIPELINE, description="Says which technique improved the model, by how much, and how sure that is."
    )
    def assay(study: str, run: str, store: str, batches: list[str]) -> Outcome:
        """Run a study.

        Args:
            study: the whole study, as `Study.model_dump_json()` writes it.
            run: a name for this run; the same name again continues it. On a cluster "" means the run's own number.
            store: the folder that keeps finished cells, so that none is trained twice.
            batches: what `batches` returns.
        """
        loaded = placed(load(study=study, run=run, store=store), "load")
        data, runs = loaded.outputs["data"], loaded.outputs["runs"]
        scaled = placed(scale(study=study, data=data), "scale")
        scalers = scaled.outputs["scalers"]
        with dsl.ParallelFor(batches) as batch:
            trained = _always(one_batch(study=study, batch=batch, store=store, data=data, scalers=scalers, runs=runs))
        cells = dsl.Collected(trained.output)
        evaluated = placed(evaluate(study=study, data=data, runs=runs, cells=cells), "evaluate")
        verdict = evaluated.outputs["verdict"]
        registered = placed(register(study=study, data=data, runs=runs, verdict=verdict), "register")
        return Outcome(verdict=verdict, decision=registered.outputs["decision"])

    return assay


assay = build(lambda step, task: None)


def batches(study: Study, fan_out: int) -> list[str]:
    """Return the study's cells in at most `fan_out` batches of about the same cost, none of them empty.

    Cells with the same compiled program follow each other, since a step builds and traces it once, and are
    cut into runs of neighbours. Cells with the same key stay in one batch, where the second one reuses the first.

    Returns:
        For each batch the JSON `{"label": "1/2", "cells": ["<cell id>", ...]}`.

    Raises:
        UsageError: for more cells than a task can be told.
    """
    parts = [part for part in _cut(_in_order(study.cells()), fan_out) if part]
    texts = [
        json.dumps({"label": f"{number}/{len(parts)}", "cells": [cell.id for cell in part]})
        for number, part in enumerate(parts, 1)
    ]
    if any(len(text) > MAX_BATCH for text in texts):
        count = sum(len(part) for part in parts)
        raise UsageError(f"arms and seeds make {count} cells, too many for {len(parts)} tasks; expected fewer of them")
    return texts


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
    name = recipe.model.name
    epochs = 1 if name in TREES else recipe.train.epochs * (0.5 if recipe.train.early_stopping else 1.0)
    return epochs * (COSTS["applications"] if name.startswith(APPLICATIONS) else COSTS[name])


def compile_pipeline(arguments: dict[str, object], pipeline: Any = assay) -> str:
    """Return a pipeline that `build` made as the YAML that Kubeflow Pipelines takes, with the arguments as defaults."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "assay.yaml"
        compiler.Compiler().compile(pipeline, str(file), pipeline_parameters=arguments)
        return file.read_text("utf-8")
