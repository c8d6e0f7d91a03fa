"""Where and with what a study runs on a cluster: the `cluster:` section of a study file, a profile, or options.

None of it changes what a study finds, so it is no part of `Study`: digest and cells are the same on every cluster.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, ValidationError, model_validator

from components.errors import UsageError
from components.runtime.events import TRACKING
from components.study.part import Part
from components.study.recipe import merge
from components.study.study import Study
from components.study.validation_errors import explain
from pipeline.study_file import CLUSTER, Document, read_document, read_yaml
from pipeline.version import __version__

IMAGE = f"assay:{__version__}"  # what `assay run --on docker` builds and takes
TOLERATION = re.compile(r"(?P<key>[^=:]+)(=(?P<value>[^=:]*))?(:(?P<effect>NoSchedule|PreferNoSchedule|NoExecute))?")

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def _matching(pattern: str | re.Pattern[str], expected: str, shown: bool = True) -> AfterValidator:
    """Let a text pass where all of it matches; what is wrong is said without it where it may be a secret."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"got {text!r}; expected {expected}" if shown else f"expected {expected}")
        return text

    return AfterValidator(check)


def _address(text: str) -> str:
    found = urlsplit(text)
    if found.scheme not in ("http", "https") or not found.hostname:
        raise ValueError("expected an address with http:// or https://")  # said without it: it may hold a password
    if found.username is not None or found.password is not None:
        raise ValueError("expected an address without a password; give that by a secret's or a file's name")
    return text.rstrip("/")


def zone(name: str) -> ZoneInfo:
    """Return a time zone by its name.

    Raises:
        ValueError: for a name that is none.
    """
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # KeyError: ZoneInfoNotFoundError
        raise ValueError(f"no time zone is called {name!r}; expected one such as UTC or Europe/Berlin") from None


NumberOrText = Annotated[str, Field(coerce_numbers_to_str=True)]  # YAML reads `cpu: 4` as a number
Cores = Annotated[NumberOrText, _matching(r"\d+(\.\d+)?m?", "cores, such as 4, 0.5 or 500m")]
Amount = Annotated[
    NumberOrText, _matching(r"[1-9]\d*(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)?", "an amount such as 8Gi or 500Mi")
]
Taint = Annotated[
    str,
    _matching(
        TOLERATION,
        "KEY[=VALUE][:EFFECT], the effect one of NoSchedule, PreferNoSchedule, NoExecute, such as "
        "nvidia.com/gpu:NoSchedule",
    ),
]
Variable = Annotated[  # somebody may have put the secret itself there
    str,
    _matching(
        r"[A-Za-z_][A-Za-z0-9_]*", "{NAME: {key: VARIABLE}}, the variable such as MLFLOW_TRACKING_PASSWORD", False
    ),
]
Address = Annotated[str, AfterValidator(_address)]


class Cluster(Part):
    """The cluster that runs a study, and what its steps get there; `train` alone gets the GPU and its node."""

    host: Address | None = Field(
        default=None, description="address of Kubeflow Pipelines, such as http://localhost:8080"
    )
    namespace: str | None = Field(default=None, description="yours, where several users share Kubeflow")
    experiment: str | None = Field(default=None, description="in Kubeflow; the study's name by default")
    image: str | None = Field(default=None, description="of all steps; by default the name that Assay builds it under")
    gpu: int = Field(default=0, ge=0, strict=True, description="GPUs of each train task")
    gpu_type: str = Field(default="nvidia.com/gpu", description="the resource that Kubernetes knows them as")
    cpu: Cores = Field(default="4", description="cores of each train task; other steps get one")
    memory: Amount = Field(default="8Gi", description="of every step")
    shm: Amount = Field(default="2Gi", description="/dev/shm of each train task; it is part of the memory")
    fan_out: int = Field(default=4, ge=1, strict=True, description="spread the cells over this many train tasks")
    pvc: str | None = Field(default=None, description="the volume claim that keeps finished cells and data sets")
    node_selector: dict[str, str] = Field(default={}, description="labels of the nodes that train")
    tolerations: tuple[Taint, ...] = Field(
        default=(), description="taints of the nodes that train, as KEY[=VALUE][:EFFECT]"
    )
    service_account: str | None = Field(default=None, description="of all steps; the cluster's default if not said")
    mlflow: Address | None = Field(
        default=None, description="address of MLflow, as the steps reach it; else what MLFLOW_TRACKING_URI says here"
    )
    secrets: dict[str, dict[str, Variable]] = Field(
        default={}, description="as environment of the steps: {NAME: {key: VARIABLE}}"
    )
    config_maps: dict[str, dict[str, Variable]] = Field(default={}, description="like `secrets`")
    token_file: str | None = Field(default=None, description="holds the token for `host`; read again when it expires")
    cookie_file: str | None = Field(default=None, description="holds the cookie for `host`, as NAME=VALUE")
    timezone: Annotated[str, AfterValidator(lambda name: zone(name).key)] = Field(
        default="UTC", description="of the cluster's scheduler (its CRON_SCHEDULE_TIMEZONE)"
    )

    @model_validator(mode="after")
    def _gives_a_variable_once(self) -> Self:
        names = [name for maps in (self.secrets, self.config_maps) for keys in maps.values() for name in keys.values()]
        names += [TRACKING] if self.mlflow else []
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the variable {name} is given more than once by mlflow, secrets and config_maps")
        return self

    def image_name(self) -> str:
        """Return the name of the steps' image."""
        return self.image or (f"{IMAGE}-gpu" if self.gpu else IMAGE)

    def taints(self) -> list[dict[str, Any]]:
        """Return the tolerations in Kubernetes' own terms: key, operator, value and effect."""
        found = map(TOLERATION.fullmatch, self.tolerations)
        return [
            {**m.groupdict(), "operator": "Exists" if m["value"] is None else "Equal", "value": m["value"] or None}
            for m in found
            if m
        ]

    def tracks(self) -> bool:
        """Tell whether the steps know where MLflow is."""
        maps = (*self.secrets.values(), *self.config_maps.values())
        return self.mlflow is not None or any(TRACKING in keys.values() for keys in maps)


class StudyFile(Study):
    """A whole study file: the study, and the cluster it may run on."""

    cluster: Cluster = Cluster()


def read_cluster(study: str | None, profile: Path | None, options: Mapping[str, object]) -> Cluster:
    """Return the settings: the study's section, over it the profile, over it the options that were given.

    Where none says where MLflow is, this machine's own MLFLOW_TRACKING_URI does, if it is a server for others.

    Args:
        study: as for `read_study`; None where only a cluster is asked.
        profile: a YAML file with the keys of a `cluster:` section.
        options: by key; None and empty ones were not given.

    Raises:
        UsageError: for anything wrong; the message names the file and line, or the option.
    """
    settings: dict[str, object] = {}
    if study is not None:
        document = read_document(study)
        section = document.values.get(CLUSTER)
        settings = {} if section is None else _checked(section, document, CLUSTER)
    if profile is not None:
        document = read_yaml(profile)
        settings = merge(settings, _checked(document.values, document))
    given = {key: value for key, value in options.items() if value not in (None, (), [], {})}
    try:
        cluster = Cluster.model_validate(merge(settings, given))
    except ValidationError as error:
        problem = explain(error, Cluster)
        option = f"--{str(problem.path[0]).replace('_', '-').removesuffix('s')}: " if problem.path else ""
        raise UsageError(f"{option}{problem.args[0]}") from None
    return cluster if cluster.tracks() else _with_own_mlflow(cluster)


def _with_own_mlflow(cluster: Cluster) -> Cluster:
    """Return the settings with the MLflow server that this machine uses, where the steps can reach it, too."""
    own = os.environ.get(TRACKING, "")
    if not own.startswith(("http://", "https://")) or urlsplit(own).hostname in LOOPBACK:
        return cluster
    try:
        return Cluster.model_validate({**cluster.model_dump(), "mlflow": own})
    except ValidationError as error:
        raise UsageError(f"{TRACKING}: {explain(error, Cluster).args[0]}") from None


def _checked(values: object, document: Document, *place: str) -> dict[str, object]:
    """Return the values when they alone are right; else name the file and line."""
    try:
        Cluster.model_validate(values)
    except ValidationError as error:
        raise UsageError(document.locate(explain(error, Cluster, place))) from None
    return dict(values) if isinstance(values, dict) else {}  # nothing else is valid
