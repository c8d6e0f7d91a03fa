"""The command `assay`. What is heavy is imported inside the commands, so that `assay --help` answers at once."""

import json
import shlex
import sys
import tempfile
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple, NoReturn

import typer
from rich.console import Console

from components.errors import AssayError, UsageError
from pipeline.cli import options
from pipeline.cli.cluster import app as cluster_commands
from pipeline.cli.schedule import app as schedule_commands
from pipeline.runners.runner import RUNNERS
from pipeline.version import __version__

app = typer.Typer(
    help="Say which technique improved a model on your data, by how much, and how sure that is.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

STUDY = "A ready study (digits, iris), a .yaml file, or a source such as sklearn:wine or images:DIR."
StudyArgument = Annotated[str, typer.Argument(help=STUDY)]
OutputOption = Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file.")]

BUDGET = "Time to spend until all is decided, such as 20m; see --until-decided."

On = StrEnum("On", list(RUNNERS))


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
    options.say(message)
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


class RunOptions(NamedTuple):
    """The options of `run`; they are called as those of `pipeline.api.run` are."""

    study: Annotated[str | None, typer.Argument(help=STUDY)] = None
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Override a value, as in recipe.train.epochs=5; repeatable."),
    ] = None
    seeds: options.SeedsOption = None
    until_decided: Annotated[
        bool,
        typer.Option(
            "--until-decided",
            help="Judge after 5 seeds, and train more of the arms that are not decided, as long as that may help.",
        ),
    ] = False
    most_seeds: Annotated[
        int | None, typer.Option(min=2, max=1000, help="With --until-decided: seeds of an arm at most.  [default: 40]")
    ] = None
    budget: Annotated[str | None, typer.Option(help=BUDGET)] = None
    fan_out: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Spread the cells over this many training tasks; as many run side by side as there are cores. "
            "Default: one a core, at most 8; 2 where there is a GPU.",
        ),
    ] = None
    on: Annotated[On, typer.Option(help="Run each step as a process here, or in a Docker container.")] = On("local")
    image: Annotated[
        str | None, typer.Option(help="With --on docker: this image. Default: this version's, built when needed.")
    ] = None
    gpu: Annotated[bool, typer.Option("--gpu", help="With --on docker: give the containers the NVIDIA GPUs.")] = False
    retrain: options.RetrainOption = False
    study_if_drift: options.StudyIfDriftOption = False


@app.command()
@options.with_options(RunOptions)
def run(given: RunOptions) -> None:
    """Run a study and print what helped; a run that was stopped is continued."""
    from pipeline import api
    from pipeline.study_file import ready_studies

    if given.study is None:
        raise UsageError(f"which study? The ready ones are {', '.join(ready_studies())}: try `assay run digits`")
    try:
        result = api.run(**{**given._asdict(), "overrides": given.overrides or ()})
    except api.StoppedError as error:
        again = shlex.join(["assay", *sys.argv[1:]])
        _stop(f"stopped; `{again}` continues: {error.kept} of {error.total} cells are kept", error.exit_code)

    from pipeline.terminal.show import show_time, show_verdict

    screen, finished = Console(highlight=False), result.finished
    assert finished, "it was run here"
    show_verdict(screen, result.verdict, result.decision)
    show_time(screen, finished.events, finished.begun, finished.ended)
    log = api.seen_from_here(finished.folder / "run.log")
    screen.print(f"All runs: `assay ui`. This table again: `assay compare {given.study}`. Log: {log}", markup=False)


@app.command()
def plan(
    study: StudyArgument,
    overrides: options.SetOption = None,
    seeds: options.SeedsOption = None,
    budget: Annotated[str | None, typer.Option(help=BUDGET)] = None,
    fan_out: Annotated[int | None, typer.Option(min=1, help="As of `run`.")] = None,
) -> None:
    """Say how long a study will take, and which effects its seeds can show, before it runs."""
    from pipeline import api
    from pipeline.commands.plan import read_duration, within_budget
    from pipeline.study_file import read_study

    described, seconds = read_study(study, overrides or [], seeds), read_duration(budget) if budget else None
    planned = api.plan(described, fan_out=fan_out)
    Console(highlight=False).print(planned)
    if seconds is not None:
        seeds = within_budget(planned, seconds)
        typer.echo(
            f"`run --budget {budget}` pays for {seeds} seeds of all arms, or more of those that are not decided."
        )


@app.command()
def compare(study: Annotated[str, typer.Argument(help="As for `run`, or a study's name in MLflow.")]) -> None:
    """Print the table of a study's latest run again, from MLflow alone."""
    from pipeline import api
    from pipeline.terminal.show import show_verdict

    result = api.compare(study)
    show_verdict(Console(highlight=False), result.verdict, result.decision)


@app.command()
def data(
    study: StudyArgument,
    overrides: options.SetOption = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write data.md, data.json, data.png to this folder.")
    ] = None,
) -> None:
    """Report on the data of a study or source, without training."""
    from pipeline.commands.data import report_on
    from pipeline.study_file import read_study

    described = read_study(study, overrides or [], None)
    report_on(described, Console(highlight=False), output, options.say)


@app.command()
def preview(
    study: StudyArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Write to this file.")] = Path("preview.png"),
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Override a value, as in recipe.augment.rotate=20."),
    ] = None,
) -> None:
    """Draw what the recipe's augmentation does to some images or texts."""
    from pipeline.commands.data import draw_preview
    from pipeline.study_file import read_study

    draw_preview(study, read_study(study, overrides or [], None), output)
    options.say(f"wrote {output}")


@app.command("compile")
def compile_(
    study: Annotated[str | None, typer.Argument(help=f"{STUDY} Its cells become defaults.")] = None,
    output: OutputOption = None,
) -> None:
    """Write the pipeline as YAML for Kubeflow Pipelines; `submit` would upload the same for a study's `cluster`."""
    from pipeline.kubeflow.settings import read_cluster
    from pipeline.study_file import read_study

    described, cluster = read_study(study, [], None) if study else None, read_cluster(study, None, {})

    from pipeline.kubeflow.resources import compile_for, parameters

    _write(compile_for(cluster, parameters(described, cluster) if described else {}), output, overwrite=True)


@app.command()
def init(
    source: Annotated[str, typer.Argument(help="Where the data is, such as sklearn:wine.")],
    output: OutputOption = None,
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
        str | None, typer.Argument(help="As for `run`, or a study's name in MLflow; the one that ran last by default.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve here; the first free one from 5000 by default.")
    ] = None,
) -> None:
    """Open the MLflow UI at the latest run of a study."""
    from pipeline.commands.ui import open_ui
    from pipeline.study_file import study_name

    open_ui(study_name(study) if study else None, port, typer.echo)


NameArgument = Annotated[str, typer.Argument(help="The study's name, as in MLflow.")]
ReasonOption = Annotated[str | None, typer.Option(help="Why; it is kept with the decision.")]


@app.command()
def champion(name: NameArgument) -> None:
    """Print a study's champion: what it is, how good, since when, and the last decisions."""
    from pipeline.commands.champion import show_champion

    show_champion(Console(highlight=False), name)


@app.command()
def promote(
    name: NameArgument,
    version: Annotated[str | None, typer.Argument(help="The version's number; the challenger by default.")] = None,
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
    model: Annotated[str, typer.Argument(help="A registered model: NAME (its champion), NAME@ALIAS or NAME@1.")],
    source: Annotated[
        str,
        typer.Argument(
            help="CSV, TSV, JSON Lines or Parquet; of texts also .txt files or a folder of them; of images files, a "
            "folder of them, or an array in .npy."
        ),
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this .csv file.")] = None,
) -> None:
    """Print the probability of each class for rows, texts or images, as CSV."""
    from pipeline.commands.predict import Model, check, write

    check(source, output)
    opened = Model(model)
    rows = write(opened, source, output)
    options.say(f"{opened.name}: {rows} rows" + (f", wrote {output}" if output else ""))


@app.command()
def report(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY|RUN]", help="As for `compare`, or the number of a run in MLflow.", show_default="latest run"
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the page to this file.")] = None,
) -> None:
    """Open the report of a finished run: one page that can be sent to anybody."""
    from pipeline.commands.report import save_report
    from pipeline.commands.ui import open_browser

    file = save_report(study, output)
    open_browser(file.resolve().as_uri())
    typer.echo(file)


@app.command()
@options.with_options(options.ClusterOptions)
def doctor(
    given: options.ClusterOptions,
    deep: Annotated[
        bool, typer.Option("--deep", help="Let TensorFlow look for GPUs, and write to MLflow; takes a minute.")
    ] = False,
) -> None:
    """Say what is missing, unreachable or of a wrong version, and how to mend it."""
    from pipeline.commands.doctor import CHECK_SECONDS, checks, examine, show
    from pipeline.commands.doctor.check_result import DEEP_SECONDS

    results = examine(checks(given.cluster(), deep), DEEP_SECONDS if deep else CHECK_SECONDS)
    show(Console(highlight=False), results)
    raise typer.Exit(any(result.state == "missing" for result in results.values()))


app.add_typer(cluster_commands)
app.add_typer(schedule_commands)


def _write(text: str, file: Path | None, overwrite: bool) -> None:
    """Write to a file, or print where none is given."""
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
    options.say(f"wrote {file}")
