"""The graph compiles without loading TensorFlow, has no dangling reference, and spreads the cells well."""

import itertools
import json
import subprocess
import sys
from collections import Counter

import pytest
import yaml

from components.errors import UsageError
from components.recipe import APPLICATIONS, FITS
from pipeline.graph import COSTS, batches, compile_pipeline
from pipeline.study_file import read_study

PROBE = """
import sys
from pipeline.graph import batches, compile_pipeline
from pipeline.study_file import read_study
study = read_study("sklearn:digits", [], None)
compile_pipeline({"study": study.model_dump_json(), "batches": batches(study, 2)})
heavy = {"tensorflow", "keras", "mlflow", "jax", "torch", "sklearn", "matplotlib", "pandas"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""


def study(*overrides, source="sklearn:digits", seeds=5):
    return read_study(source, list(overrides), seeds)


def cells_of(study, fan_out):
    by_id = {cell.id: cell for cell in study.cells()}
    return [[by_id[cell] for cell in json.loads(batch)["cells"]] for batch in batches(study, fan_out)]


def test_compiling_loads_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def dangling(spec):
    """Every reference of the IR that leads nowhere, and every input that nobody gives."""
    components = {"root": spec["root"], **spec["components"]}
    for name, component in components.items():
        if "executorLabel" in component:
            if component["executorLabel"] not in spec["deploymentSpec"]["executors"]:
                yield f"{name}: executor"
            continue
        own = {kind: set(_defined(component, "inputDefinitions", kind)) for kind in ("parameters", "artifacts")}
        tasks = component["dag"]["tasks"]
        for task_name, task in tasks.items():
            called = components[task["componentRef"]["name"]]
            where = f"{name}/{task_name}"
            yield from (f"{where} after {before}" for before in task.get("dependentTasks", []) if before not in tasks)
            given = {kind: set(task.get("inputs", {}).get(kind, {})) for kind in own}
            given["parameters"] |= {task.get("parameterIterator", {}).get("itemInput")} - {None}
            for kind in own:
                wanted = set(_defined(called, "inputDefinitions", kind))
                yield from (f"{where}: {kind} {key}" for key in wanted ^ given[kind])
                for key, source in task.get("inputs", {}).get(kind, {}).items():
                    for how, reference in source.items():
                        if how.startswith("componentInput") and reference not in own[kind]:
                            yield f"{where}.{key}: {reference}"
                        if how.startswith("taskOutput") and reference["outputArtifactKey"] not in _defined(
                            components[tasks[reference["producerTask"]]["componentRef"]["name"]],
                            "outputDefinitions",
                            kind,
                        ):
                            yield f"{where}.{key}: {reference}"
        for output in component["dag"].get("outputs", {}).get("artifacts", {}).values():
            for selector in output["artifactSelectors"]:
                producer = components[tasks[selector["producerSubtask"]]["componentRef"]["name"]]
                if selector["outputArtifactKey"] not in _defined(producer, "outputDefinitions", "artifacts"):
                    yield f"{name}: output {selector}"


def _defined(component, side, kind):
    return component.get(side, {}).get(kind, {})


def test_no_reference_of_the_compiled_pipeline_dangles():
    spec = yaml.safe_load(compile_pipeline({}))
    assert list(dangling(spec)) == []
    del spec["components"]["comp-one-batch"]["inputDefinitions"]["parameters"]["store"]
    assert list(dangling(spec)) != []  # the check itself sees what kfp's compiler has let through before


def test_kubeflow_shows_the_report_as_html():
    spec = yaml.safe_load(compile_pipeline({}))
    page = spec["components"]["comp-evaluate"]["outputDefinitions"]["artifacts"]["page"]
    assert page["artifactType"]["schemaTitle"] == "system.HTML"


def test_nothing_is_cached_by_kubeflow_and_no_task_installs_packages():
    text = compile_pipeline({})
    assert "enableCache" not in text
    assert "pip install" not in text


def test_the_compiled_pipeline_does_not_grow_with_the_arms():
    few, many = study("arms={a: {scale: tanh}}"), study("arms={model.dropout: [0.1, 0.2, 0.4, 0.5, 0.6, 0.7]}")
    specs = [
        yaml.safe_load(compile_pipeline({"study": s.model_dump_json(), "batches": batches(s, 2)})) for s in (few, many)
    ]
    for spec in specs:
        for name in ("study", "batches"):
            assert spec["root"]["inputDefinitions"]["parameters"][name].pop("defaultValue")
    assert specs[0] == specs[1]


@pytest.mark.parametrize("fan_out", [1, 2, 3, 8, 500])
def test_every_cell_is_in_one_batch_and_no_batch_is_empty(fan_out):
    whole = study()
    parts = cells_of(whole, fan_out)
    assert all(parts)
    assert len(parts) <= fan_out
    assert sorted(cell.id for part in parts for cell in part) == sorted(cell.id for cell in whole.cells())
    labels = [json.loads(batch)["label"] for batch in batches(whole, fan_out)]
    assert labels == [f"{number}/{len(parts)}" for number in range(1, len(parts) + 1)]


@pytest.mark.parametrize("fan_out", [2, 3, 4])
def test_at_most_one_arm_a_cut_is_torn_and_networks_stay_together(fan_out):
    parts = cells_of(study(), fan_out)
    tasks_of_arm = Counter(arm for part in parts for arm in {cell.arm for cell in part})
    assert sum(count - 1 for count in tasks_of_arm.values()) <= fan_out - 1
    for part in parts:
        networks = [(cell.recipe.model, cell.recipe.augment) for cell in part]
        changes = sum(one != other for one, other in itertools.pairwise(networks))
        assert changes == len(set(networks)) - 1


def test_equal_cells_share_a_batch_so_that_none_is_trained_twice():
    twins = study("arms={same: {}, again: {}, other: {scale: tanh}}", seeds=4)
    for part in cells_of(twins, 3):
        arms_by_seed = {}
        for cell in part:
            arms_by_seed.setdefault(cell.seed, set()).add(cell.arm)
        for arms in arms_by_seed.values():
            assert not arms & {"reference", "same", "again"} or {"reference", "same", "again"} <= arms


def test_more_cells_than_a_task_can_be_told_are_refused():
    with pytest.raises(UsageError, match="too many"):
        batches(
            study("arms={model.dropout: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.05, 0.15, 0.25, 0.35]}", seeds=1000),
            1,
        )


def test_every_model_has_a_cost():
    assert set(COSTS) == {name.split("/")[0] for name in FITS}
    long = study(f"recipe.model.name={APPLICATIONS}MobileNet", "arms={trees: {model.name: random_forest}}", seeds=2)
    first, second = cells_of(long, 2)
    assert {cell.arm for cell in first} == {"reference"}
    assert {cell.arm for cell in second} == {"reference", "trees"}
