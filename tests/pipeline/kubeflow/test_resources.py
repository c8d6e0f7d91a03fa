"""The compiled pipeline, and what each of its steps gets on a cluster."""

import json
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2
from test_graph import dangling

from components.study.study import Study
from pipeline import __version__
from pipeline.kubeflow.resources import compile_for
from pipeline.kubeflow.runs import STEPS
from pipeline.kubeflow.settings import Cluster
from pipeline.study_file import read_study

MLFLOW = "http://mlflow.team:5000"


RICH = Cluster(
    image="registry.example.com/assay:1",
    gpu=2,
    gpu_type="amd.com/gpu",
    cpu="6",
    memory="12Gi",
    shm="3Gi",
    pvc="assay",
    node_selector={"pool": "gpu"},
    tolerations=("nvidia.com/gpu:NoSchedule", "team=vision:NoExecute", "spot"),
    mlflow=MLFLOW,
    secrets={"mlflow-auth": {"password": "MLFLOW_TRACKING_PASSWORD"}},
    config_maps={"bucket": {"endpoint": "MLFLOW_S3_ENDPOINT_URL"}},
)


@pytest.fixture(scope="module")
def study() -> Study:
    return read_study("sklearn:iris", ["recipe.train.epochs=3"], 2)


@pytest.fixture(scope="module")
def compiled() -> tuple[dict, dict]:
    spec, platform = yaml.safe_load_all(compile_for(RICH))
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def test_the_compiled_pipeline_is_valid_and_nothing_in_it_dangles(compiled):
    spec, platform = compiled
    parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert parsed.schema_version == "2.1.0"
    deployment = json_format.ParseDict(spec["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
    assert set(deployment.executors) == {f"exec-{step}" for step in STEPS}
    for settings in platform.values():
        json_format.ParseDict(settings, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    assert list(dangling(spec)) == []
    assert "enableCache" not in yaml.safe_dump(spec)  # off for every task, uploaded or not


@pytest.mark.parametrize("step", STEPS)
def test_each_step_gets_what_it_needs_and_only_training_a_gpu(compiled, step):
    spec, platform = compiled
    container = spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]
    resources, settings = container["resources"], platform[f"exec-{step}"]
    trains = step == "train"
    assert container["image"] == "registry.example.com/assay:1"
    assert resources["resourceCpuLimit"] == resources["resourceCpuRequest"] == ("6" if trains else "1")
    assert resources["resourceMemoryLimit"] == resources["resourceMemoryRequest"] == "12Gi"
    accelerator = resources.get("accelerator", {})
    wanted = ("2", "amd.com/gpu") if trains else (None, None)
    assert (accelerator.get("resourceCount"), accelerator.get("resourceType")) == wanted
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert environment == {"MLFLOW_TRACKING_URI": MLFLOW, "TFDS_DATA_DIR": "/mnt/assay/tfds"}
    (mount,) = settings["pvcMount"]
    assert (mount["constant"], mount["mountPath"]) == ("assay", "/mnt/assay")
    (secret,), (config,) = settings["secretAsEnv"], settings["configMapAsEnv"]
    assert secret["secretName"] == "mlflow-auth"
    assert secret["keyToEnv"] == [{"secretKey": "password", "envVar": "MLFLOW_TRACKING_PASSWORD"}]
    assert config["configMapName"] == "bucket"
    assert ("fieldPathAsEnv" in settings) == (step == "load")
    assert {"emptyDirMounts", "tolerations", "nodeSelector"} & set(settings) == (
        {"emptyDirMounts", "tolerations", "nodeSelector"} if trains else set()
    )
    if trains:
        (shm,) = settings["emptyDirMounts"]
        assert (shm["mountPath"], shm["medium"], shm["sizeLimit"]) == ("/dev/shm", "Memory", "3Gi")
        assert settings["nodeSelector"]["labels"] == {"pool": "gpu"}
        assert settings["tolerations"] == [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "team", "operator": "Equal", "value": "vision", "effect": "NoExecute"},
            {"key": "spot", "operator": "Exists"},
        ]


def test_without_a_gpu_or_a_volume_none_is_asked_for():
    text = compile_for(Cluster(mlflow=MLFLOW))
    assert f"image: assay:{__version__}\n" in text  # what `assay run --on docker` builds
    assert f"image: assay:{__version__}-gpu\n" in compile_for(Cluster(gpu=1))
    assert "accelerator" not in text
    assert "pvcMount" not in text
    assert "tolerations" not in text


def test_a_run_without_a_name_is_called_by_its_number_in_mlflow(monkeypatch, tmp_path, study):
    from components.steps.load import load

    monkeypatch.chdir(tmp_path)
    paths = [str(tmp_path / name) for name in ("store", "data", "runs")]
    with pytest.raises(SystemExit, match="the run has no name"):
        load(study.model_dump_json(), "", *paths)
    monkeypatch.setenv("KFP_RUN_ID", "7c8d")
    load(study.model_dump_json(), "", *paths)
    assert json.loads((tmp_path / "runs").read_text())["run"] == "7c8d"


def test_a_ready_study_may_be_submitted_from_python_with_its_settings_as_json(tmp_path: Path):
    assert Cluster.model_validate_json(RICH.model_dump_json()) == RICH
    assert json.loads(RICH.model_dump_json())["tolerations"][2] == "spot"
