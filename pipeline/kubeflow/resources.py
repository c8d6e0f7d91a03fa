"""What each step of the pipeline gets on a cluster: image, cores, memory, GPU, volumes, environment.

All is written into the compiled pipeline as constants. Pipeline parameters would have to pass through the loop, where
KFP loses some, and a number of GPUs that is no text is dropped without a word.
"""

import json
from collections.abc import Mapping

from kfp import dsl, kubernetes

from components.errors import UsageError
from components.runtime.events import RUN, TRACKING
from components.study.shards import arguments
from components.study.source_types import SOURCE_TYPES
from components.study.study import Study
from pipeline.graph import build, compile_pipeline
from pipeline.kubeflow.settings import Cluster

VOLUME = "/mnt/assay"
RUN_LABEL = "metadata.labels['pipeline/runid']"  # Kubeflow puts it on every pod
LIGHT_CPU = "1"
# Kubeflow hands all parameters to the run's first pod as one argument of a command, which Linux limits to 128 KiB.
MAX_PARAMETERS = 120_000
TRIES = 2  # more, of a train task whose pod was taken away: it continues. Some servers don't heed it in a loop.


def compile_for(cluster: Cluster, defaults: Mapping[str, object] | None = None) -> str:
    """Return the pipeline for a cluster as YAML; without defaults it holds no study, so that all studies share it."""
    return compile_pipeline(dict(defaults or {}), build(lambda step, task: settle(step, task, cluster)))


def parameters(study: Study, cluster: Cluster) -> dict[str, object]:
    """Return what a run of the pipeline is told.

    Raises:
        UsageError: when it is more than Kubeflow can hand over.
    """
    told: dict[str, object] = {
        **arguments(study, cluster.fan_out),
        "run": "",  # each run of a schedule needs a name of its own: see components.data.preparation
        "store": f"{VOLUME}/store" if cluster.pvc else "/tmp/assay/store",  # without a volume it goes with the pod
    }
    size = len(json.dumps({"parameters": told}).encode())
    if size > MAX_PARAMETERS:
        raise UsageError(
            f"the study is {size} bytes to tell Kubeflow, more than the {MAX_PARAMETERS} that fit; expected fewer arms"
        )
    return told


def settle(step: str, task: dsl.PipelineTask, cluster: Cluster) -> None:
    """Give a step's task what the cluster's settings say."""
    task.set_container_image(cluster.image_name())
    cpu = cluster.cpu if step == "train" else LIGHT_CPU
    task.set_cpu_request(cpu).set_cpu_limit(cpu)
    task.set_memory_request(cluster.memory).set_memory_limit(cluster.memory)
    if cluster.mlflow:
        task.set_env_variable(TRACKING, cluster.mlflow)
    for name, keys in cluster.secrets.items():
        kubernetes.use_secret_as_env(task, secret_name=name, secret_key_to_env=keys)
    for name, keys in cluster.config_maps.items():
        kubernetes.use_config_map_as_env(task, config_map_name=name, config_map_key_to_env=keys)
    if cluster.pvc:
        kubernetes.mount_pvc(task, pvc_name=cluster.pvc, mount_path=VOLUME)
        for scheme, row in SOURCE_TYPES.items():
            if row.cache:
                task.set_env_variable(row.cache[0], f"{VOLUME}/{scheme}")
    if step == "load":
        kubernetes.use_field_path_as_env(task, env_name=RUN, field_path=RUN_LABEL)
    if step == "train":
        _place_training(task, cluster)


def _place_training(task: dsl.PipelineTask, cluster: Cluster) -> None:
    task.set_retry(TRIES)
    if cluster.gpu:
        task.set_accelerator_type(cluster.gpu_type).set_accelerator_limit(str(cluster.gpu))
    # Docker's own /dev/shm has 64 MiB, in which data loaders and NCCL fail.
    kubernetes.empty_dir_mount(task, volume_name="shm", mount_path="/dev/shm", medium="Memory", size_limit=cluster.shm)
    for label, value in cluster.node_selector.items():
        kubernetes.add_node_selector(task, label_key=label, label_value=value)
    for taint in cluster.taints():
        kubernetes.add_toleration(task, **taint)
