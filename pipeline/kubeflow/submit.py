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
    found = client.named("pipelines", PIPELINE, client.pipelines.pipeline_service_list_pipelines)
    return found[0].pipeline_id if found else None


def upload(client: Client) -> tuple[str, str]:
    """Make sure that the server has the pipeline for these settings.

    A version is named by its content, so the same content is uploaded once and a change is a version.

    Returns:
        The numbers of the pipeline and of its version.
    """
    text = compile_for(client.cluster)
    version = f"{PIPELINE}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    body = api.V2beta1Pipeline(display_name=PIPELINE, namespace=client.cluster.namespace)

    def create_pipeline() -> str:
        call = client.pipelines.pipeline_service_create_pipeline
        return client.ask("make a pipeline", call, once=True, pipeline=body).pipeline_id

    pipeline = client.ensure(lambda: pipeline_id(client), create_pipeline)

    def find_version() -> str | None:
        call = client.pipelines.pipeline_service_list_pipeline_versions
        found = client.named("pipeline_versions", version, call, namespaced=False, pipeline_id=pipeline)
        return found[0].pipeline_version_id if found else None

    return pipeline, client.ensure(find_version, lambda: _upload_version(client, pipeline, version, text))


def _upload_version(client: Client, pipeline: str, version: str, text: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{version}.yaml"
        file.write_text(text, "utf-8")
        call = partial(client.uploads.upload_pipeline_version, uploadfile=str(file), name=version, pipelineid=pipeline)
        return client.ask("upload the pipeline", call, once=True).pipeline_version_id


def experiment(client: Client, study: Study) -> str:
    """Return the number of the experiment, which is made where there is none."""
    name = client.cluster.experiment or study.study
    body = api.V2beta1Experiment(display_name=name, namespace=client.cluster.namespace)

    def find() -> str | None:
        found = client.named("experiments", name, client.experiments.experiment_service_list_experiments)
        return found[0].experiment_id if found else None

    def create() -> str:
        call = client.experiments.experiment_service_create_experiment
        return client.ask(f"make the experiment {name}", call, once=True, experiment=body).experiment_id

    return client.ensure(find, create)


def submit(client: Client, study: Study) -> str:
    """Start a run of a study and return its number; an unclear answer never starts it twice.

    Raises:
        UsageError: see `what_runs`.
        ClusterError: when the cluster refuses or does not answer.
    """
    fields = what_runs(client, study)
    name = f"{study.study}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    body = api.V2beta1Run(display_name=name, **fields)

    def find() -> str | None:
        call = client.runs.run_service_list_runs
        found = client.named("runs", name, call, experiment_id=fields["experiment_id"])
        return found[0].run_id if found else None

    def create() -> str:
        call = client.runs.run_service_create_run
        return client.ask("start a run", call, once=True, run=body).run_id

    return client.ensure(find, create)


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
