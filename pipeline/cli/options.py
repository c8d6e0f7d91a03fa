"""What the commands that ask a cluster have in common: their options, the study they read, and how they talk."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from components.study.study import Study
    from pipeline.kubeflow.client import Client
    from pipeline.kubeflow.settings import Cluster

Options = TypeVar("Options")

SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value; repeatable.")
]
SeedsOption = Annotated[int | None, typer.Option(help="Train each arm with this many seeds.")]
RetrainOption = Annotated[
    bool,
    typer.Option(
        "--retrain",
        help="Train the champion's recipe again, on the data of today, instead of the study; the gate then decides.",
    ),
]
StudyIfDriftOption = Annotated[
    bool,
    typer.Option(
        "--study-if-drift",
        help="With --retrain: run the whole study where the data that is new since the champion has drifted.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """The options that say which cluster, and who asks."""

    host: Annotated[
        str | None, typer.Option(envvar="KFP_HOST", metavar="URL", help="Address of Kubeflow Pipelines.")
    ] = None
    namespace: Annotated[
        str | None, typer.Option(envvar="KFP_NAMESPACE", help="Yours, where several users share Kubeflow.")
    ] = None
    profile: Annotated[Path | None, typer.Option(help="A YAML file with the keys of a study's section `cluster`.")] = (
        None
    )
    token_file: Annotated[str | None, typer.Option(help="Holds the token; else KFP_TOKEN.")] = None
    cookie_file: Annotated[str | None, typer.Option(help="Holds NAME=VALUE; else KFP_COOKIE.")] = None

    def cluster(self, study: str | None = None, **settings: object) -> "Cluster":
        """Return the cluster's settings: those of the study's file and of the profile, and what the options say.

        Options that are called like a setting are settings, where `settings` does not say otherwise.
        """
        from pipeline.kubeflow.settings import Cluster, read_cluster

        given = {name: value for name, value in vars(self).items() if name in Cluster.model_fields}
        return read_cluster(study, self.profile, {**given, **settings})

    def connect(self, study: str | None = None, **settings: object) -> "Client":
        """Return a client of the cluster; its module takes long to load."""
        cluster = self.cluster(study, **settings)

        from pipeline.kubeflow.client import Client

        return Client(cluster)


@dataclass(frozen=True, kw_only=True)
class StudyOptions(ClusterOptions):
    """The options that say which study, too."""

    study: Annotated[str, typer.Argument(help="As for `run`.")]
    overrides: SetOption = None
    seeds: SeedsOption = None
    retrain: RetrainOption = False
    study_if_drift: StudyIfDriftOption = False

    def read(self) -> "Study":
        """Return the study that is submitted or scheduled."""
        from pipeline.study_file import read_study

        return read_study(self.study, self.overrides or [], self.seeds, self.retrain, self.study_if_drift)

    def arguments(self) -> list[str]:
        """Return what tells `assay run` the same."""
        arguments = [part for override in self.overrides or () for part in ("--set", override)]
        arguments += ["--seeds", str(self.seeds)] if self.seeds is not None else []
        arguments += ["--retrain"] * self.retrain + ["--study-if-drift"] * self.study_if_drift
        return [self.study, *arguments]


def with_options(kind: Callable[..., Options]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return what gives a command the fields of a class as options, in place of its first parameter, which gets it."""
    fields = inspect.signature(kind).parameters

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_fields(**given: object) -> None:
            options = kind(**{name: given.pop(name) for name in fields})
            command(options, **given)

        own = list(inspect.signature(command).parameters.values())[1:]
        with_fields.__signature__ = inspect.Signature([*own, *fields.values()])  # pyright: ignore
        with_fields.__annotations__ = {}  # typer would look for the names in those of the command
        return with_fields

    return wrap


say = functools.partial(typer.echo, err=True)  # what is not the answer: a script reads that from the standard output


def where_mlflow_is(cluster: "Cluster", study: str) -> str:
    """Return a line that says where the runs of a study will be."""
    where = cluster.mlflow or "where the cluster's MLFLOW_TRACKING_URI says"
    return f"MLflow: {where}, experiment {study}"
