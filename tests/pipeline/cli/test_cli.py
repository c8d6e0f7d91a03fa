"""The command: it answers fast, and bad input is one message, an exit code, and nothing written."""

import os
import subprocess
import sys

import pytest
import yaml
from command import ASSAY, HANGS_SECONDS, assay

from components.study.study import Study
from pipeline import __version__
from pipeline.kubeflow.resources import compile_for, parameters
from pipeline.kubeflow.settings import Cluster, read_cluster
from pipeline.study_file import read_study

# Run in a process of its own; says which heavy modules the command has loaded.
PROBE = """
import sys
from pipeline.cli.main import main
sys.argv = ["assay", *sys.argv[1:]]
try:
    main()
except SystemExit:
    pass
heavy = {"tensorflow", "keras", "mlflow", "kfp", "sklearn", "scipy", "matplotlib", "pandas"}
print("LOADED", sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""

HEAD = "study: x\ndata: {source: sklearn:iris}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["schema"], ["run", "nonsense"]])
def test_what_needs_nothing_heavy_loads_nothing_heavy(arguments, tmp_path):
    command = [sys.executable, "-c", PROBE, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_the_command_says_its_version(tmp_path):
    assert assay("--version", cwd=tmp_path).stdout == f"assay {__version__}\n"


def test_without_a_study_the_ready_ones_are_listed(tmp_path):
    done = assay("run", cwd=tmp_path)
    assert done.returncode == 2
    assert "digits, iris" in done.stderr


@pytest.mark.parametrize(
    ("text", "arguments", "code", "parts"),
    [
        (HEAD + "sed: 3\n", ["run", "study.yaml"], 2, ["study.yaml:3: ", "expected seeds, or another"]),
        (HEAD + "seeds: three\n", ["run", "study.yaml"], 2, ["study.yaml:3: ", "a whole number", "'three'"]),
        (HEAD + "data: [\n", ["run", "study.yaml"], 2, ["study.yaml:", "not YAML"]),
        (
            HEAD + "recipe: {model: {name: cnn}}\n",
            ["run", "study.yaml"],
            2,
            ["study.yaml:3: ", "expected one of logistic, mlp"],
        ),
        (HEAD + "arms: {a: {model.dropot: 1}}\n", ["compile", "study.yaml"], 2, ["study.yaml:3: ", "model.dropout"]),
        (None, ["run", "study.yaml"], 2, ["study.yaml", "no such file"]),
        (None, ["run", "digit"], 2, ["did you mean digits?"]),
        (None, ["run", "sklearn:irs"], 2, ["did you mean sklearn:iris?"]),
        (None, ["run", "iris", "--set", "metric=acuracy"], 2, ["--set metric=acuracy: ", "did you mean accuracy?"]),
        (None, ["run", "iris", "--set", "recipe.train.epochs=0"], 2, ["--set recipe.train.epochs=0: ", "at least 1"]),
        (None, ["run", "iris", "--seeds", "0"], 2, ["--seeds 0: ", "at least 1"]),
        (None, ["run", "iris", "--seeds", "x"], 2, ["--seeds"]),
        (None, ["run", "iris", "--fan-out", "0"], 2, ["--fan-out"]),
        (None, ["runn", "iris"], 2, ["No such command"]),
        (None, ["init", "sklearn:irs"], 2, ["did you mean sklearn:iris?"]),
        (None, ["init", "sklearn:iris", "-o", "no/such/folder.yaml"], 2, ["no/such/folder.yaml", "No such file"]),
        (None, ["preview", "iris"], 2, ["error: iris: only augmented images and texts", "table"]),
        (None, ["preview", "digits", "--set", "recipe.augment=none"], 2, ["augments nothing"]),
        (None, ["preview", "digits", "-o", "no/such.png"], 2, ["there is no folder no"]),
        (None, ["preview", "digits", "-o", "picture.pdf"], 2, ["-o picture.pdf: ", ".png"]),
        (None, ["ui"], 1, ["no runs here yet"]),
        (None, ["compare", "study.yaml"], 2, ["study.yaml", "no such file"]),
    ],
)
def test_bad_input_is_one_message_an_exit_code_and_nothing_written(tmp_path, text, arguments, code, parts):
    if text is not None:
        (tmp_path / "study.yaml").write_text(text)
    before = list(tmp_path.rglob("*"))
    done = assay(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr
    assert list(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////no/such/folder/mlflow.db"])
def test_a_metric_store_that_cannot_be_reached_stops_the_run_before_it_begins(tmp_path, uri):
    done = assay("run", "sklearn:iris", cwd=tmp_path, MLFLOW_TRACKING_URI=uri)
    assert done.returncode == 1
    assert done.stderr.startswith("error: MLFLOW_TRACKING_URI: ")
    assert uri in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that even root can't write to")  # noqa: PTH112
def test_a_folder_that_cannot_be_written_stops_the_run_before_it_begins(tmp_path):
    done = subprocess.run(
        [ASSAY, "run", "sklearn:iris"], cwd="/proc", capture_output=True, text=True, timeout=HANGS_SECONDS
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: can't write to /proc")
    assert done.stderr.count("\n") == 1


def test_init_writes_a_study_that_reads_back_and_never_overwrites_unasked(tmp_path):
    file = tmp_path / "wine.yaml"
    assert assay("init", "sklearn:wine", "-o", "wine.yaml", cwd=tmp_path).returncode == 0
    assert read_study(str(file), [], None) == read_study("sklearn:wine", [], None)
    file.write_text("mine")
    refused = assay("init", "sklearn:wine", "-o", "wine.yaml", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert file.read_text() == "mine"
    assert assay("init", "sklearn:wine", "-o", "wine.yaml", "--force", cwd=tmp_path).returncode == 0
    assert file.read_text() == assay("init", "sklearn:wine", cwd=tmp_path).stdout


@pytest.mark.parametrize(("arguments", "file"), [([], "preview.png"), (["-o", "rows.png"], "rows.png")])
def test_preview_draws_what_the_recipe_augments(tmp_path, arguments, file):
    done = assay("preview", "digits", *arguments, "--set", "recipe.augment.cutmix=1", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"wrote {file}\n")
    assert (tmp_path / file).read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_compile_writes_a_pipeline_with_the_study_as_default(tmp_path):
    assert assay("compile", "sklearn:iris", "-o", "iris.ir.yaml", cwd=tmp_path).returncode == 0
    spec, _ = yaml.safe_load_all((tmp_path / "iris.ir.yaml").read_text())
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert Study.model_validate_json(parameters["study"]["defaultValue"]) == read_study("sklearn:iris", [], None)
    assert parameters["run"]["defaultValue"] == ""  # the number that Kubeflow gives it


def test_compile_writes_what_submit_uploads_for_the_section_cluster(tmp_path):
    section = (
        "cluster: {image: 'registry.example.com/assay:1', gpu: 2, pvc: assay, fan_out: 3, mlflow: 'http://m:5000'}\n"
    )
    (tmp_path / "study.yaml").write_text(HEAD + section)
    done = assay("compile", "study.yaml", cwd=tmp_path)
    spec, platform = yaml.safe_load_all(done.stdout)
    cluster = read_cluster(str(tmp_path / "study.yaml"), None, {})
    uploaded, settings = yaml.safe_load_all(compile_for(cluster))
    assert (platform, spec["deploymentSpec"]) == (settings, uploaded["deploymentSpec"])
    told = spec["root"]["inputDefinitions"]["parameters"]
    described = read_study(str(tmp_path / "study.yaml"), [], None)
    assert {name: told[name]["defaultValue"] for name in told} == parameters(described, cluster)
    assert len(told["batches"]["defaultValue"]) == 3


def test_the_schema_is_that_of_a_study_and_its_cluster(tmp_path):
    schema = yaml.safe_load(assay("schema", cwd=tmp_path).stdout)
    own = Study.model_json_schema()
    assert {name: schema["properties"][name] for name in own["properties"]} == own["properties"]
    assert set(schema["properties"]) - set(own["properties"]) == {"cluster"}
    assert set(schema["$defs"]["Cluster"]["properties"]) == set(Cluster.model_fields)
    assert schema["additionalProperties"] is False
