"""Brings a study to a Kubeflow cluster: uploads the pipeline, and starts a run of it."""

import hashlib
import secrets
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import kfp_server_api as api

from components.errors import UsageError
from components.study.study import Study
from pipeline.graph import PIPELINE
from pipeline.kubeflow.client import Client
from pipeline.kubeflow.resources import VOLUME, compile_for, parameters
from pipeline.kubeflow.settings import Cluster


def pipeline_id(client: Client) -> str | None:
    """Return the number of Assay's pipeline in the namespace, None where it was never uploaded."""
    call = client.pipelines.pipeline_service_list_pipelines
    return client.named("pipelines", PIPELINE, call, **client.own_namespace())


def upload(client: Client) -> tuple[str, str]:
    """Make sure that the server has the pipeline for these settings.

    A version is named by its content, so the same content is uploaded once and a change is a version.

    Returns:
        The numbers of the pipeline and of its version.
    """
    text, of = compile_for(client.cluster), client.pipelines
    name = f"{PIPELINE}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    body = api.V2beta1Pipeline(display_name=PIPELINE, namespace=client.cluster.namespace)
    make = partial(of.pipeline_service_create_pipeline, pipeline=body)
    find = of.pipeline_service_list_pipelines
    pipeline = client.ensure_named("make a pipeline", "pipelines", PIPELINE, find, make, **client.own_namespace())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.yaml"
        file.write_text(text, "utf-8")
        make = partial(client.uploads.upload_pipeline_version, uploadfile=str(file), name=name, pipelineid=pipeline)
        find = partial(of.pipeline_service_list_pipeline_versions, pipeline_id=pipeline)
        return pipeline, client.ensure_named("upload the pipeline", "pipeline_versions", name, find, make)


def experiment(client: Client, study: Study) -> str:
    """Return the number of the experiment, which is made where there is none."""
    name = client.cluster.experiment or study.study
    body = api.V2beta1Experiment(display_name=name, namespace=client.cluster.namespace)
    find = client.experiments.experiment_service_list_experiments
    make = partial(client.experiments.experiment_service_create_experiment, experiment=body)
    what = f"make the experiment {name}"
    return client.ensure_named(what, "experiments", name, find, make, **client.own_namespace())


def submit(client: Client, study: Study) -> str:
    """Start a run of a study and return its number; an unclear answer never starts it twice.

    Raises:
        UsageError: see `what_runs`.
        ClusterError: when the cluster refuses or does not answer.
    """
    fields = what_runs(client, study)
    name = f"{study.study}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    find = partial(client.runs.run_service_list_runs, experiment_id=fields["experiment_id"])
    make = partial(client.runs.run_service_create_run, run=api.V2beta1Run(display_name=name, **fields))
    return client.ensure_named("start a run", "runs", name, find, make, **client.own_namespace())


def what_runs(client: Client, study: Study) -> dict[str, Any]:
    """Return what a run and a recurring run say alike: pipeline, parameters, experiment, service account.

    Raises:
        UsageError: when the steps would not know where MLflow is, or would not see the data.
    """
    _refuse_data_of_this_machine(study, client.cluster)
    if not client.cluster.tracks():
        raise UsageError(
            "where is MLflow? Give an address that the steps reach, in MLFLOW_TRACKING_URI or in the section "
            "`cluster` as `mlflow: http://mlflow.NAMESPACE:5000`, or a config map's name in that section"
        )
    told = parameters(study, client.cluster)
    pipeline, version = upload(client)
    return {
        "pipeline_version_reference": api.V2beta1PipelineVersionReference(pipeline, version),
        "runtime_config": api.V2beta1RuntimeConfig(parameters=told),
        "experiment_id": experiment(client, study),
        "service_account": client.cluster.service_account,
    }


def _refuse_data_of_this_machine(study: Study, cluster: Cluster) -> None:
    path = study.data.address
    if not study.data.source_type.is_path or "://" in path:
        return
    on_the_volume = cluster.pvc and Path(path).is_relative_to(VOLUME)  # it may be mounted here, too
    if not on_the_volume and Path(path).expanduser().exists():
        raise UsageError(
            f"data.source: the cluster does not see {path} of this machine; put it in a bucket (s3://, gs://), or on "
            f"the volume of --pvc, which the steps see as {VOLUME}"
        )
