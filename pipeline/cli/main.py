"""The command `assay`. What is heavy is imported inside the commands, so that `assay --help` answers at once."""

import json
import os
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from components.errors import AssayError, UsageError
from pipeline import __version__
from pipeline.cli.cluster import app as cluster_commands
from pipeline.cli.options import RetrainOption, StudyIfDriftOption, with_cluster
from pipeline.cli.schedule import app as schedule_commands

if TYPE_CHECKING:
    from components.study.study import Study
    from pipeline.kubeflow.settings import Cluster
    from pipeline.runners.docker import Containers
    from pipeline.runners.local import Finished

app = typer.Typer(
    help="Say which technique improved a model on your data, by how much, and how sure that is.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

STUDY = "A ready study (digits, iris), a .yaml file, or a source such as sklearn:wine or images:DIR."
StudyArgument = Annotated[str, typer.Argument(help=STUDY, show_default=False)]

BUDGET = "Time to spend, such as 20m: it chooses the seeds, and drops arms early that so many would not decide."

Runner = Literal["local", "docker"]


def main() -> None:
    """Run the command; every failure is one message, and no traceback."""
    try:
        app()
    except AssayError as error:
        _stop(f"error: {error}", error.exit_code)
    except KeyboardInterrupt:
        _stop("stopped", 130)
    except Exception as error:
        with tempfile.NamedTemporaryFile("w", prefix="assay-", suffix=".log", delete=False) as details:
            traceback.print_exc(file=details)
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        _stop(f"error: something went wrong in Assay itself ({what}); details: {details.name}", 1)


def _stop(message: str, code: int) -> NoReturn:
    Console(stderr=True).print(Text(message), soft_wrap=True)
    sys.exit(code)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"assay {__version__}")
        raise typer.Exit


@app.callback()
def _assay(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    study: Annotated[str | None, typer.Argument(help=STUDY, show_default=False)] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Override a value, as in recipe.train.epochs=5; repeatable."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Train each arm with this many seeds.", show_default=False)] = None,
    budget: Annotated[str | None, typer.Option(help=BUDGET, show_default=False)] = None,
    fan_out: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Spread the cells over this many training tasks; as many run side by side as there are cores. "
            "Default: one a core, at most 8; 2 where there is a GPU.",
            show_default=False,
        ),
    ] = None,
    on: Annotated[Runner, typer.Option(help="Run each step as a process here, or in a Docker container.")] = "local",
    image: Annotated[
        str | None,
        typer.Option(
            help="With --on docker: this image. Default: this version's, built when needed.", show_default=False
        ),
    ] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="With --on docker: give the containers the NVIDIA GPUs.")] = False,
    retrain: RetrainOption = False,
    study_if_drift: StudyIfDriftOption = False,
) -> None:
    """Run a study and print what helped; a run that was stopped is continued."""
    from pipeline.runners.local import default_fan_out
    from pipeline.study_file import read_study, ready_studies

    if study is None:
        raise UsageError(f"which study? The ready ones are {', '.join(ready_studies())}: try `assay run digits`")
    if on == "local" and (image or gpu):
        raise UsageError("--image and --gpu are for `--on docker`; here the steps use what is installed, and every GPU")
    tasks = fan_out or default_fan_out()
    if budget is None:
        described = read_study(study, overrides or [], seeds, retrain, study_if_drift)
        finished = _run(described, tasks, _containers(on, image, gpu))
    elif retrain or study_if_drift:
        raise UsageError("--retrain and --budget exclude each other: there are no arms to choose from")
    elif seeds is not None:
        raise UsageError("--seeds and --budget exclude each other: the budget chooses the seeds")
    else:
        described = read_study(study, overrides or [], None)
        finished = _run_within(budget, described, tasks, _containers(on, image, gpu))

    from pipeline.terminal.show import show_time, show_verdict

    screen = Console(highlight=False)
    show_verdict(screen, finished.verdict, finished.decision)
    show_time(screen, finished.events, finished.begun, finished.ended)
    log = _near(finished.folder / "run.log")
    screen.print(f"All runs: `assay ui`. This table again: `assay compare {study}`. Log: {log}", markup=False)


def _containers(on: Runner, image: str | None, gpu: bool) -> "Containers | None":
    """Return what runs the steps; None where they are processes."""
    if on == "local":
        return None
    from pipeline.runners.docker import Containers

    return Containers(image, gpu, lambda text: typer.echo(text, err=True))


def _run(study: "Study", tasks: int, containers: "Containers | None") -> "Finished":
    """Run a study and show how far it is."""
    from pipeline.runners.local import Run, StoppedError, run_study
    from pipeline.terminal.progress import Report

    asides = Console(stderr=True, highlight=False)
    report = Report(study, tasks, asides)
    try:
        with report:

            def begin(run: Run):
                asides.print(f"run {run.folder.name}, log: {_near(run.log)}", markup=False, soft_wrap=True)
                return report.show

            return run_study(study, tasks, begin, containers)
    except StoppedError as error:
        again = shlex.join(["assay", *sys.argv[1:]])
        _stop(f"stopped; `{again}` continues: {error.kept} of {report.standing.total} cells are kept", error.exit_code)


def _run_within(budget: str, study: "Study", tasks: int, containers: "Containers | None") -> "Finished":
    """Run a study with as many seeds as a budget pays for, of the arms that so many seeds may decide."""
    from pipeline.commands.plan import first_stage, make_plan, read_duration, second_stage

    begun, seconds, asides = time.monotonic(), read_duration(budget), Console(stderr=True, highlight=False)
    with _native_libraries_silent():
        plan = make_plan(study, tasks, Path.cwd())
    first, screens = first_stage(plan, seconds)
    asides.print(f"{first.seeds} seeds of all arms" + (", to choose arms" if screens else ""), markup=False)
    finished = _run(first, tasks, containers)
    if not screens:
        return finished
    left = seconds - (time.monotonic() - begun)
    second = second_stage(plan, finished.verdict, finished.ended - finished.begun, left)
    dropped = ", ".join(second.screening.dropped)
    asides.print(f"{second.seeds} more seeds" + (f"; not of: {dropped}" if dropped else " of all arms"), markup=False)
    return _run(second, tasks, containers)


@app.command()
def plan(
    study: StudyArgument,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value; repeatable.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Train each arm with this many seeds.", show_default=False)] = None,
    budget: Annotated[str | None, typer.Option(help=BUDGET, show_default=False)] = None,
    fan_out: Annotated[int | None, typer.Option(min=1, help="As of `run`.", show_default=False)] = None,
) -> None:
    """Say how long a study will take, and which effects its seeds can show, before it runs."""
    from pipeline.commands.plan import first_stage, make_plan, read_duration
    from pipeline.runners.local import default_fan_out
    from pipeline.study_file import read_study
    from pipeline.terminal.show import show_plan

    described, seconds = read_study(study, overrides or [], seeds), read_duration(budget) if budget else None
    with _native_libraries_silent():
        made = make_plan(described, fan_out or default_fan_out(), Path.cwd())
    show_plan(Console(highlight=False), made)
    if seconds is not None:
        first, screens = first_stage(made, seconds)
        then = "to choose arms, then seeds of their own for those that may be decided" if screens else ""
        typer.echo(
            f"`run --budget {budget}` would train {first.seeds} seeds of all arms" + (f" {then}" if then else "") + "."
        )


@app.command()
def compare(
    study: Annotated[str, typer.Argument(help="As for `run`, or a study's name in MLflow.", show_default=False)],
) -> None:
    """Print the table of a study's latest run again, from MLflow alone."""
    from components.registry.latest import latest
    from pipeline.study_file import study_name
    from pipeline.terminal.show import show_verdict

    verdict, decision = latest(study_name(study))
    show_verdict(Console(highlight=False), verdict, decision)


@app.command()
def data(
    study: Annotated[str, typer.Argument(help=STUDY, show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value; repeatable.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write data.md, data.json, data.png to this folder.", show_default=False),
    ] = None,
) -> None:
    """Report on the data of a study or source, without training."""
    from pipeline.study_file import read_study

    described = read_study(study, overrides or [], None)

    from rich.markdown import Markdown

    from components.data import report
    from components.data.preparation import read_checked
    from components.data.report.markdown import markdown

    with tempfile.TemporaryDirectory(prefix="assay-") as scratch:
        found = report.inspect(described.data, *read_checked(described, Path(scratch)))
    Console(highlight=False).print(Markdown(markdown(found)))
    if output:
        try:
            report.write(found, output)
        except OSError as error:
            raise UsageError(f"can't write {error.filename}: {error.strerror}") from None
        typer.echo(f"wrote data.md, data.json and data.png to {output}", err=True)
    report.refuse(found)


@app.command()
def preview(
    study: Annotated[str, typer.Argument(help=STUDY, show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Write to this file.")] = Path("preview.png"),
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Override a value, as in recipe.augment.rotate=20."),
    ] = None,
) -> None:
    """Draw what the recipe's augmentation does to some images or texts."""
    from pipeline.study_file import read_study

    described = read_study(study, overrides or [], None)
    if described.data.kind == "table":
        raise UsageError(f"{study}: only augmented images and texts can be drawn, and the data is a table")
    if not described.recipe.augment.on():
        hint = "rotate=20" if described.data.kind == "image" else "swap_words=0.2"
        raise UsageError(f"{study}: the recipe augments nothing; try --set recipe.augment.{hint}")
    if output.suffix.lower() != ".png":
        raise UsageError(f"-o {output}: expected the name of a .png file")
    if not output.parent.is_dir():
        raise UsageError(f"can't write {output}: there is no folder {output.parent}")

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _native_libraries_silent():
        from components.training import augmentation_preview as drawing
    from components.data.preparation import prepare
    from components.data.scaling import fit

    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(described.model_copy(update={"seeds": 1}), folder)
        encoder = fit(prepared, 0, {"recipe": described.recipe})["recipe"]
        try:
            drawing.draw(prepared, encoder, described.recipe.augment, output)
        except OSError as error:
            raise UsageError(f"can't write {output}: {error.strerror}") from None
    typer.echo(f"wrote {output}", err=True)


@app.command("compile")
def compile_(
    study: Annotated[str | None, typer.Argument(help=f"{STUDY} Its cells become defaults.", show_default=False)] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to this file.", show_default=False)
    ] = None,
) -> None:
    """Write the pipeline as YAML for Kubeflow Pipelines; `submit` would upload the same for a study's `cluster`."""
    from pipeline.kubeflow.settings import read_cluster
    from pipeline.study_file import read_study

    described, cluster = read_study(study, [], None) if study else None, read_cluster(study, None, {})

    from pipeline.kubeflow.resources import compile_for, parameters

    _write(compile_for(cluster, parameters(described, cluster) if described else {}), output, overwrite=True)


@app.command()
def init(
    source: Annotated[str, typer.Argument(help="Where the data is, such as sklearn:wine.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to this file.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented study file for a source."""
    from pipeline.study_file import write_study

    _write(write_study(source), output, overwrite=force)


@app.command()
def schema() -> None:
    """Print the JSON schema of a study file, for editors."""
    from pipeline.kubeflow.settings import StudyFile

    typer.echo(json.dumps(StudyFile.model_json_schema(), indent=2))


@app.command()
def ui(
    study: Annotated[
        str | None,
        typer.Argument(
            help="As for `run`, or a study's name in MLflow; the one that ran last by default.", show_default=False
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve here; the first free one from 5000 by default.")
    ] = None,
) -> None:
    """Open the MLflow UI at the latest run of a study."""
    from pipeline.commands.ui import open_ui
    from pipeline.study_file import study_name

    open_ui(study_name(study) if study else None, port, typer.echo)


NameArgument = Annotated[str, typer.Argument(help="The study's name, as in MLflow.", show_default=False)]
ReasonOption = Annotated[str | None, typer.Option(help="Why; it is kept with the decision.", show_default=False)]


@app.command()
def champion(name: NameArgument) -> None:
    """Print a study's champion: what it is, how good, since when, and the last decisions."""
    from pipeline.commands.champion import show_champion

    show_champion(Console(highlight=False), name)


@app.command()
def promote(
    name: NameArgument,
    version: Annotated[
        str | None, typer.Argument(help="The version's number; the challenger by default.", show_default=False)
    ] = None,
    reason: ReasonOption = None,
) -> None:
    """Make a version of a study's model the champion, without a test."""
    from pipeline.commands.champion import promote as promote_by_hand

    typer.echo(promote_by_hand(name, version, reason))


@app.command()
def rollback(name: NameArgument, reason: ReasonOption = None) -> None:
    """Make the champion before the champion again."""
    from pipeline.commands.champion import rollback as roll_back

    typer.echo(roll_back(name, reason))


@app.command()
def predict(
    model: Annotated[
        str, typer.Argument(help="A registered model: NAME (its champion), NAME@ALIAS or NAME@1.", show_default=False)
    ],
    source: Annotated[
        str,
        typer.Argument(
            help="CSV, TSV, JSON Lines or Parquet; of texts also .txt files or a folder of them; of images files, a "
            "folder of them, or an array in .npy.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to this .csv file.", show_default=False)
    ] = None,
) -> None:
    """Print the probability of each class for rows, texts or images, as CSV."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from pipeline.commands.predict import Model, check, write

    check(source, output)
    asked = Model(model)
    with _native_libraries_silent():
        asked.open()
    rows = write(asked, source, output)
    typer.echo(f"{asked.name}: {rows} rows" + (f", wrote {output}" if output else ""), err=True)


@app.command()
def report(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY|RUN]", help="As for `compare`, or the number of a run in MLflow.", show_default="latest run"
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the page to this file.", show_default=False)
    ] = None,
) -> None:
    """Open the report of a finished run: one page that can be sent to anybody."""
    from pipeline.commands.report import open_report

    typer.echo(open_report(study, output))


@app.command()
@with_cluster
def doctor(
    cluster: "Cluster",
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Let TensorFlow look for GPUs, and write to MLflow; takes a minute."),
    ] = False,
) -> None:
    """Say what is missing, unreachable or of a wrong version, and how to mend it."""
    from pipeline.commands.doctor import CHECK_SECONDS, checks, examine, show
    from pipeline.commands.doctor.finding import DEEP_SECONDS

    found = examine(checks(cluster, deep), DEEP_SECONDS if deep else CHECK_SECONDS)
    show(Console(highlight=False), found)
    raise typer.Exit(any(finding.state == "missing" for finding in found.values()))


app.add_typer(cluster_commands)
app.add_typer(schedule_commands)


@contextmanager
def _native_libraries_silent() -> Iterator[None]:
    """Drop what is written past Python to the error stream: TensorFlow greets there, whatever its log level is."""
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _write(text: str, file: Path | None, overwrite: bool) -> None:
    """Write to a file, or print where there is none.

    Raises:
        UsageError: when the file is there and must not be overwritten, or can't be written.
    """
    if file is None:
        typer.echo(text, nl=False)
        return
    try:
        with file.open("w" if overwrite else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UsageError(f"{file} is there already; --force overwrites it") from None
    except OSError as error:
        raise UsageError(f"can't write {file}: {error.strerror}") from None
    typer.echo(f"wrote {file}", err=True)


def _near(path: Path) -> str:
    """Return a path as seen from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
