"""The graph compiles without loading TensorFlow, and has no dangling reference."""

import subprocess
import sys

import yaml

from components.study.shards import arguments
from pipeline.graph import compile_pipeline
from pipeline.study_file import read_study

PROBE = """
import sys
from components.study.shards import arguments
from pipeline.graph import compile_pipeline
from pipeline.study_file import read_study
compile_pipeline(arguments(read_study("sklearn:digits", [], None), 2))
heavy = {"tensorflow", "keras", "mlflow", "jax", "torch", "sklearn", "matplotlib", "pandas"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""


def study(*overrides, source="sklearn:digits", seeds=5):
    return read_study(source, list(overrides), seeds)


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
    specs = [yaml.safe_load(compile_pipeline(arguments(s, 2))) for s in (few, many)]
    for spec in specs:
        for name in ("study", "batches"):
            assert spec["root"]["inputDefinitions"]["parameters"][name].pop("defaultValue")
    assert specs[0] == specs[1]
