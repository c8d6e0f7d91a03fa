"""The Kubeflow pipeline: load -> scale -> train, in parallel -> evaluate -> register.

Each component only calls its step in `components`. Its source is cut out and shipped, so it imports inside its body,
and this module can't postpone its annotations (`from __future__ import annotations` breaks `@dsl.component`). The
loop's body is ONE sub-pipeline, and only artifacts and pipeline parameters cross into it: other shapes compile, and
then run wrongly.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from kfp import compiler, dsl

from pipeline.version import __version__

PIPELINE = "assay"

# "python" in the name keeps kfp.local from warning about every task.
IMAGE = f"assay-python:{__version__}"

Placed = Callable[[dsl.PipelineTask, str], dsl.PipelineTask]


def _always(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Return the task with KFP's cache off.

    That cache sees neither the library's code nor what is in a folder, and a scheduled retraining must not become
    nothing. What need not be done twice is known by Assay's own store.
    """
    return task.set_caching_options(False)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def load(study: str, run: str, store: str, data: dsl.Output[dsl.Dataset], runs: dsl.Output[dsl.Artifact]) -> None:
    """Read, check and split the data, and open the study's run in MLflow."""
    from components.steps.load import load

    load(study, run, store, data.path, runs.path)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def scale(data: dsl.Input[dsl.Dataset], scalers: dsl.Output[dsl.Artifact]) -> None:
    """Take the scalers' statistics from the train rows."""
    from components.steps.scale import scale

    scale(data.path, scalers.path)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    batch: str,
    fan_out: int,
    store: str,
    data: dsl.Input[dsl.Dataset],
    scalers: dsl.Input[dsl.Artifact],
    runs: dsl.Input[dsl.Artifact],
    cells: dsl.Output[dsl.Artifact],
) -> None:
    """Train the cells of one batch that the store does not have yet."""
    from components.steps.train import train

    train(batch, fan_out, store, data.path, scalers.path, runs.path, cells.path)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    store: str,
    data: dsl.Input[dsl.Dataset],
    runs: dsl.Input[dsl.Artifact],
    cells: dsl.Input[list[dsl.Artifact]],
    verdict: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
) -> None:
    """Compare the arms, choose the winner, and score it and the reference on the test rows."""
    import shutil

    from components.steps.evaluate import evaluate

    evaluate(store, data.path, runs.path, [batch.path for batch in cells], verdict.path)
    shutil.copyfile(f"{verdict.path}/report/report.html", page.path)  # where Kubeflow's own pages show it


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    data: dsl.Input[dsl.Dataset],
    runs: dsl.Input[dsl.Artifact],
    verdict: dsl.Input[dsl.Artifact],
    decision: dsl.Output[dsl.Artifact],
) -> None:
    """Register the winner, and promote it if it is significantly better than the present champion."""
    from components.steps.register import register

    register(data.path, runs.path, verdict.path, decision.path)


class Outcome(NamedTuple):
    """What a run leaves: a folder with report/verdict.json, and one with decision.json."""

    verdict: dsl.Artifact
    decision: dsl.Artifact


def _batch_pipeline(placed: Placed) -> dsl.base_component.BaseComponent:
    """Return the body of the loop; `placed` gives its step what it needs."""

    @dsl.pipeline(name="one-batch")
    def one_batch(
        batch: str,
        fan_out: int,
        store: str,
        data: dsl.Input[dsl.Dataset],
        scalers: dsl.Input[dsl.Artifact],
        runs: dsl.Input[dsl.Artifact],
    ) -> dsl.Artifact:
        """Train one batch."""
        task = train(batch=batch, fan_out=fan_out, store=store, data=data, scalers=scalers, runs=runs)
        return placed(task, "train").outputs["cells"]

    return one_batch


def build(settle: Callable[[str, dsl.PipelineTask], object]) -> dsl.base_component.BaseComponent:
    """Return the pipeline `assay`.

    Args:
        settle: called with the name and the task of every step, to give it what its place needs.
    """

    def placed(task: dsl.PipelineTask, step: str) -> dsl.PipelineTask:
        settle(step, task)
        return _always(task)

    one_batch = _batch_pipeline(placed)

    @dsl.pipeline(
        name=PIPELINE, description="Says which technique improved the model, by how much, and how sure that is."
    )
    def assay(study: str, run: str, store: str, batches: list[str], fan_out: int) -> Outcome:
        """Run a study.

        Args:
            study: the whole study, as `Study.model_dump_json()` writes it.
            run: a name for this run; the same name again continues it. On a cluster "" means the run's own number.
            store: the folder that keeps finished cells, so that none is trained twice.
            batches: a label for each train task, see `components.study.shards`.
            fan_out: over how many train tasks the cells are spread at most.
        """
        loaded = placed(load(study=study, run=run, store=store), "load")
        data, runs = loaded.outputs["data"], loaded.outputs["runs"]
        scaled = placed(scale(data=data), "scale")
        scalers = scaled.outputs["scalers"]
        with dsl.ParallelFor(batches) as batch:
            given = {"store": store, "data": data, "scalers": scalers, "runs": runs}
            trained = _always(one_batch(batch=batch, fan_out=fan_out, **given))
        cells = dsl.Collected(trained.output)
        evaluated = placed(evaluate(store=store, data=data, runs=runs, cells=cells), "evaluate")
        verdict = evaluated.outputs["verdict"]
        registered = placed(register(data=data, runs=runs, verdict=verdict), "register")
        return Outcome(verdict=verdict, decision=registered.outputs["decision"])

    return assay


assay = build(lambda step, task: None)


def compile_pipeline(arguments: Mapping[str, object], pipeline: dsl.base_component.BaseComponent = assay) -> str:
    """Return a pipeline that `build` made as the YAML that Kubeflow Pipelines takes, with the arguments as defaults."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "assay.yaml"
        compiler.Compiler().compile(pipeline, str(file), pipeline_parameters=dict(arguments))
        return file.read_text("utf-8")
