"""Assay from Python: the functions that a notebook, a script, and the command `assay` itself call.

    from pipeline import run

    result = run(frame, target="species", seeds=5)
    result.table, result.sentence, result.winner.predict(new_rows)

What is heavy is imported inside the functions.
"""

import hashlib
import io
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from rich.console import Console

from components.errors import AssayError, UsageError
from components.study.study import Study
from pipeline.runners.run import Finished, StoppedError, default_fan_out, run_study
from pipeline.study_file import named, read_study, scalar, study_name

if TYPE_CHECKING:
    import pandas as pd

    from components.evaluation.verdict import Verdict
    from components.registry.decision import Decision
    from components.serving.saved_model import Served
    from pipeline.commands.plan import Plan
    from pipeline.commands.predict import Model
    from pipeline.runners.run_folder import RunFolder
    from pipeline.runners.runner import RunnerMaker

StudySource = Union[str, Path, Mapping[str, object], Study, "pd.DataFrame"]
Overrides = Mapping[str, object] | Sequence[str]

__all__ = ["AssayError", "Result", "StoppedError", "Winner"]
__all__ += ["champion", "compare", "load_study", "plan", "predict", "run"]

# Of tqdm, with which MLflow draws downloads: it would like ipywidgets.
warnings.filterwarnings("ignore", message="IProgress not found")

DATA = Path(".assay/data")  # of data frames, below the working folder
TABLE = ("technique", "arm", "effect", "low", "high", "metric_effect", "metric_low", "metric_high")
TABLE += ("verdict", "chance", "cost")


@dataclass(frozen=True, repr=False)
class Result:
    """What a study has found, and what the registry has decided.

    Attributes:
        verdict: all of it.
        decision: the registry's.
        finished: the run that has just ended; None where the result comes from MLflow.
    """

    verdict: "Verdict"
    decision: "Decision"
    finished: Finished | None = None

    @property
    def sentence(self) -> str:
        """The answer, in words."""
        from components.reporting.phrases import sentence

        return sentence(self.verdict)

    @property
    def table(self) -> "pd.DataFrame":
        """What each technique does, the best first: its `effect` with the 95 % interval from `low` to `high`.

        An effect is above 0 where the technique helps; 0.01 is a point. It is on the metric that decides; that on
        `verdict.metric` stands beside it. `chance` is that as many seeds again would decide, of one that leans; `cost`
        is 0.4 where training takes 40 % longer. `verdict.effects` has other metrics and slices.
        """
        import pandas as pd

        from components.reporting.tables import records

        ranked = pd.DataFrame(records(self.verdict), columns=None if self.verdict.effects else list(TABLE))
        metric, names = self.verdict.metric, [*TABLE, "worth_in_data"] if self.verdict.curve else list(TABLE)
        ranked = ranked.sort_values("effect", ascending=False, kind="stable", ignore_index=True)[names]
        return ranked.rename(columns={f"metric_{end}": f"{metric}_{end}" for end in ("effect", "low", "high")})

    @property
    def folder(self) -> Path | None:
        """The run's folder, with its log; None where the result comes from MLflow."""
        return self.finished.folder if self.finished else None

    @cached_property
    def report(self) -> Path:
        """The page report.html, out of MLflow."""
        from pipeline.commands.report import save_report

        return save_report(self.verdict.mlflow.run_id if self.verdict.mlflow else self.verdict.study, None)

    @cached_property
    def winner(self) -> "Winner":
        """The arm that was chosen, and its model."""
        return Winner(self.verdict)

    def __repr__(self) -> str:
        """Return what `assay compare` prints."""
        from pipeline.terminal.show import show_verdict

        page = Console(file=io.StringIO(), width=80, force_jupyter=False, force_terminal=False)
        with page.capture() as shown:
            show_verdict(page, self.verdict, self.decision)
        return shown.get().strip()

    def _repr_html_(self) -> str:
        """Return the table and the answer, for notebooks."""
        from html import escape

        return f"{self.table.to_html(index=False, na_rep='')}\n<p><b>{escape(self.sentence)}</b></p>"


class Winner:
    """The arm that a study has chosen.

    Attributes:
        arm: its name.
        seed: that of its model, the one with the median score.
        mean: of its scores on the validation rows.
    """

    def __init__(self, verdict: "Verdict"):
        """Take the winner out of a verdict; its model is fetched when it is asked."""
        self._verdict = verdict
        self.arm, self.seed, self.mean = verdict.winner.arm, verdict.winner.seed, verdict.winner.mean

    def predict(self, rows: object) -> "pd.DataFrame":
        """Return the probability of each class, a row for each of the raw rows: see `predict`, but no file.

        Raises:
            AssayError: for a row that can't be read.
        """
        from pipeline.commands.predict import probabilities

        return probabilities(self._model, rows)

    def __repr__(self) -> str:
        return f"Winner(arm={self.arm!r}, seed={self.seed}, mean={self.mean:.4f})"

    @cached_property
    def _model(self) -> "Served":
        from components.tracking.latest import winners_model
        from pipeline.commands.quiet import native_libraries_silent

        with native_libraries_silent():
            return winners_model(self._verdict)


def load_study(
    study: StudySource,
    overrides: Overrides = (),
    seeds: int | None = None,
    *,
    target: str | None = None,
    retrain: bool = False,
    study_if_drift: bool = False,
) -> Study:
    """Return a study.

    Args:
        study: a ready study's name, a YAML file, a source such as `sklearn:wine`, a mapping like a YAML file's, or a
            data frame of columns like those of `table:FILE`. A frame is written to a Parquet file under `.assay/data`
            of the working folder, named by its content: the same frame continues the same study. Its study is called
            like the target.
        overrides: values by their paths, such as `{"recipe.train.epochs": 5}`; or texts as for `--set`.
        seeds: replaces the study's number of seeds; of a retraining, that one's.
        target: the column of the class, of a data frame or a table.
        retrain: whether to train the champion's recipe again instead.
        study_if_drift: whether a retraining becomes the whole study where the data has drifted.

    Raises:
        AssayError: for anything wrong with it.
    """
    if isinstance(study, Study):
        study = study.model_dump(mode="json")
    elif isinstance(study, Path):
        study = str(study)
    elif not isinstance(study, str | Mapping):
        study = named(target or "data", f"table:{_written(study)}")
    texts = list(overrides)
    if isinstance(overrides, Mapping):
        values = json.loads(json.dumps(dict(overrides), default=_plain))
        texts = [f"{path}={scalar(value)}" for path, value in values.items()]
    if target is not None:
        texts.insert(0, f"data.target={scalar(target)}")
    return read_study(study, texts, seeds, retrain, study_if_drift)


def plan(
    study: StudySource,
    overrides: Overrides = (),
    seeds: int | None = None,
    *,
    target: str | None = None,
    fan_out: int | None = None,
) -> "Plan":
    """Return how long a study will take, and which effects its seeds can show; takes a minute or less.

    The arguments are those of `load_study`, and `fan_out` is that of `run`.

    Raises:
        AssayError: for anything wrong with the study or its data.
    """
    described = load_study(study, overrides, seeds, target=target)

    from pipeline.commands.plan import make_plan

    return make_plan(described, fan_out or default_fan_out(), Path.cwd())


def run(
    study: StudySource,
    overrides: Overrides = (),
    seeds: int | None = None,
    *,
    target: str | None = None,
    until_decided: bool = False,
    most_seeds: int | None = None,
    budget: str | None = None,
    fan_out: int | None = None,
    on: str = "local",
    image: str | None = None,
    gpu: bool = False,
    retrain: bool = False,
    study_if_drift: bool = False,
) -> Result:
    """Run a study in the working folder, show how far it is, and return what helped.

    A run that was stopped, by Ctrl-C or a notebook's stop button too, is continued by the same call.

    Args:
        study: as for `load_study`, like `overrides`, `seeds`, `target`, `retrain` and `study_if_drift`.
        overrides: values by their paths.
        seeds: of each arm.
        target: the column of the class.
        until_decided: judge after 5 seeds, and train more of the arms that are not decided, as long as that may help.
        most_seeds: of an arm, at most, when it goes on until all is decided; 40 by default.
        budget: time to spend until all is decided, such as `20m`.
        fan_out: over how many training tasks the cells are spread; by default what fits the machine.
        on: `local`, each step a process, or `docker`, each step a container.
        image: of the containers; by default this version's, built when needed.
        gpu: whether the containers get the NVIDIA GPUs.
        retrain: train the champion's recipe again instead.
        study_if_drift: with `retrain`: run the whole study where the new rows have drifted.

    Raises:
        AssayError: when the study is wrong or a step fails.
        StoppedError: when it was stopped; what is trained is kept.
    """
    from pipeline.runners.runner import RUNNERS, RunnerOptions

    if on not in RUNNERS:
        raise UsageError(f"no runner is called {on!r}; expected one of {', '.join(RUNNERS)}")
    if on == "local" and (image or gpu):
        raise UsageError("--image and --gpu are for `--on docker`; here the steps use what is installed, and every GPU")
    decides = {"--until-decided": until_decided, "--most-seeds": most_seeds, "--budget": budget}
    for option in [name for name, value in decides.items() if value]:
        if retrain or study_if_drift:
            raise UsageError(f"--retrain and {option} exclude each other: there are no arms to decide on")
        if seeds is not None:
            raise UsageError(f"--seeds and {option} exclude each other: what is decided says how many seeds it takes")
    described = load_study(study, overrides, seeds, target=target, retrain=retrain, study_if_drift=study_if_drift)
    tasks, asides = fan_out or default_fan_out(), _asides()
    maker = RUNNERS[on](RunnerOptions(image, gpu, lambda text: asides.print(text, markup=False, soft_wrap=True)))
    if any(decides.values()):
        finished = _until_decided(described, most_seeds, budget, tasks, maker, asides)
    else:
        finished = _watched(described, tasks, maker, asides)
    return Result(finished.verdict, finished.decision, finished)


def compare(study: str) -> Result:
    """Return the result of a study's latest finished run, from MLflow alone.

    Args:
        study: its name in MLflow; or its file or source.

    Raises:
        AssayError: when MLflow has no such study, or none of its runs is finished.
    """
    from components.registry.model_registry import latest

    return Result(*latest(study_name(study)))


def predict(model: str, rows: object) -> "pd.DataFrame":
    """Return the probability of each class, a row for each of the rows.

    Args:
        model: a registered one: NAME (its champion), NAME@ALIAS or NAME@1.
        rows: raw: a data frame with the columns; a list of texts; paths or bytes of image files, or an array (rows,
            height, width, channels).

    Raises:
        AssayError: where there is no such model, or a row can't be read.
    """
    return champion(model).predict(rows)


def champion(study: str) -> "Model":
    """Return the champion of a study, whose `predict` answers as often as it is asked.

    Raises:
        AssayError: where it has none.
    """
    from pipeline.commands.predict import Model

    return Model(study)


def _watched(study: Study, tasks: int, maker: "RunnerMaker", asides: Console) -> Finished:
    """Run a study and show how far it is."""
    from pipeline.terminal.progress import Report

    report = Report(study, tasks, asides)

    def begin(run: "RunFolder") -> Callable[..., None]:
        asides.print(f"run {run.folder.name}, log: {seen_from_here(run.log)}", markup=False, soft_wrap=True)
        return report.show

    try:
        with report:
            return run_study(study, tasks, maker, begin)
    except StoppedError as error:
        raise StoppedError(error.kept, report.standing.total) from None


def _until_decided(
    study: Study, most: int | None, budget: str | None, tasks: int, maker: "RunnerMaker", asides: Console
) -> Finished:
    """Run a study until it is decided, or the time or the seeds are over."""
    from pipeline.commands.plan import make_plan, read_duration
    from pipeline.commands.until_decided import MOST_SEEDS, until_decided

    seconds = read_duration(budget) if budget else 0.0
    return until_decided(
        study,
        most or MOST_SEEDS,
        tasks,
        lambda look: _watched(look, tasks, maker, asides),
        lambda text: asides.print(text, markup=False, soft_wrap=True),
        (make_plan(study, tasks, Path.cwd()), seconds) if budget else None,
    )


def _asides() -> Console:
    """Return where progress goes: the error stream, and in a notebook, where that is red, plain lines below the cell.

    Rich's bar would need the package ipywidgets there.
    """
    if Console().is_jupyter:
        return Console(file=sys.stdout, highlight=False, force_jupyter=False, force_terminal=False)
    return Console(stderr=True, highlight=False)


def seen_from_here(path: Path) -> Path:
    """Return a path as seen from the working folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _written(frame: "pd.DataFrame") -> Path:
    """Return a Parquet file with the frame's columns, named by their content."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise UsageError(
            f"expected a study's name, file, source or mapping, or a data frame; got {type(frame).__name__}"
        )
    try:
        content = hashlib.sha256(repr(list(frame.dtypes.items())).encode())
        content.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
        file = DATA / f"{content.hexdigest()[:16]}.parquet"
        if not file.exists():
            DATA.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_suffix(".tmp")
            frame.to_parquet(unfinished, index=False)
            unfinished.replace(file)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the data frame can't be kept as Parquet: {str(error).splitlines()[0]}") from None
    return file


def _plain(value: Any) -> object:
    """Return a number of NumPy, or a path, as JSON can hold it."""
    return value.item() if hasattr(value, "item") else str(value)
