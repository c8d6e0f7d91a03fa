"""What the commands that ask a cluster have in common: their options, the study they read, and how they talk."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import typer
from rich.console import Console

if TYPE_CHECKING:
    from components.study.study import Study
    from pipeline.kubeflow.client import Client
    from pipeline.kubeflow.settings import Cluster

Options = TypeVar("Options")

StudyArgument = Annotated[str, typer.Argument(help="As for `run`.", show_default=False)]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value; repeatable.")
]
SeedsOption = Annotated[int | None, typer.Option(help="Train each arm with this many seeds.", show_default=False)]
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
HostOption = Annotated[
    str | None,
    typer.Option(envvar="KFP_HOST", metavar="URL", help="Address of Kubeflow Pipelines.", show_default=False),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option(envvar="KFP_NAMESPACE", help="Yours, where several users share Kubeflow.", show_default=False),
]
ProfileOption = Annotated[
    Path | None, typer.Option(help="A YAML file with the keys of a study's section `cluster`.", show_default=False)
]
TokenOption = Annotated[
    str | None, typer.Option("--token-file", help="Holds the token; else KFP_TOKEN.", show_default=False)
]
CookieOption = Annotated[
    str | None, typer.Option("--cookie-file", help="Holds NAME=VALUE; else KFP_COOKIE.", show_default=False)
]


class StudyOptions(NamedTuple):
    """A study as the command line names it.

    Attributes:
        study: as for `read_study`.
        overrides: of --set.
        seeds: of --seeds.
        retrain: of --retrain.
        study_if_drift: of --study-if-drift.
    """

    study: str
    overrides: list[str] | None
    seeds: int | None
    retrain: bool
    study_if_drift: bool

    def read(self) -> "Study":
        """Return the study that is submitted or scheduled.

        Raises:
            UsageError: for anything wrong with it.
        """
        from pipeline.study_file import read_study

        return read_study(self.study, self.overrides or [], self.seeds, self.retrain, self.study_if_drift)

    def arguments(self) -> list[str]:
        """Return what tells `assay run` the same."""
        arguments = [part for override in self.overrides or () for part in ("--set", override)]
        arguments += ["--seeds", str(self.seeds)] if self.seeds is not None else []
        arguments += ["--retrain"] * self.retrain + ["--study-if-drift"] * self.study_if_drift
        return [self.study, *arguments]


def _settings(
    host: HostOption = None,
    namespace: NamespaceOption = None,
    profile: ProfileOption = None,
    token_file: TokenOption = None,
    cookie_file: CookieOption = None,
) -> "Cluster":
    """Return the settings of a command that knows no study."""
    from pipeline.kubeflow.settings import read_cluster

    options = {"host": host, "namespace": namespace, "token_file": token_file, "cookie_file": cookie_file}
    return read_cluster(None, profile, options)


def with_cluster(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the options that say which cluster, in place of its first parameter, which gets that."""
    options = inspect.signature(_settings).parameters

    @functools.wraps(command)
    def with_options(**given: object) -> None:
        cluster = _settings(**{name: given.pop(name) for name in options})  # pyright: ignore[reportArgumentType]
        command(cluster, **given)

    own = list(inspect.signature(command).parameters.values())[1:]
    with_options.__signature__ = inspect.Signature([*own, *options.values()])  # pyright: ignore
    with_options.__annotations__ = {}  # typer would look for the names in those of the command
    return with_options


def with_options(kind: Callable[..., Options]) -> Callable[[Callable[[Options], None]], Callable[..., None]]:
    """Return what gives a command the fields of a named tuple as its options; the command gets the tuple."""

    def wrap(command: Callable[[Options], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_fields(**given: object) -> None:
            command(kind(**given))

        with_fields.__signature__ = inspect.signature(kind)  # pyright: ignore
        with_fields.__annotations__ = {}  # as above
        return with_fields

    return wrap


def connect(cluster: "Cluster") -> "Client":
    """Return a client; its module takes long to load.

    Raises:
        UsageError: without a host.
    """
    from pipeline.kubeflow.client import Client

    return Client(cluster)


def asides() -> Callable[[str], None]:
    """Return what says things that are not the answer: a script reads that from the standard output."""
    console = Console(stderr=True, highlight=False)
    return lambda text: console.print(text, markup=False, soft_wrap=True)


def where_mlflow_is(cluster: "Cluster", study: str) -> str:
    """Return a line that says where the runs of a study will be."""
    where = cluster.mlflow or "where the cluster's MLFLOW_TRACKING_URI says"
    return f"MLflow: {where}, experiment {study}"
