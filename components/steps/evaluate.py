"""Step `evaluate`: all cells -> paired effects, verdict, figures; the winner and the reference on the test rows.

verdict.json holds all that is shown: the terminal's table, MLflow's description and the figures are made of it.
"""

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.data.prepared import REPORT, Prepared
from components.evaluation.verdict import MlflowRun, Verdict
from components.records import from_json, to_json
from components.reporting.phrases import (
    between,
    changes,
    finding_as_text,
    harm_as_text,
    interaction_as_text,
    looks_as_text,
    retraining_lines,
    sentence,
)
from components.reporting.tables import columns, records
from components.runtime.cells import FinishedCell
from components.runtime.events import step
from components.stats.metrics import METRICS
from components.study.study import REFERENCE, Study

if TYPE_CHECKING:
    from components.evaluation.judge import Cells


def evaluate(store: str, data: str, runs: str, cells: Sequence[str], verdict: str) -> None:
    """Write the verdict, and log it.

    Args:
        store: folder of the finished cells, which also remembers the verdicts that were given.
        data: the prepared data.
        runs: the file of MLflow run numbers that `load` wrote.
        cells: the folders that the train tasks wrote, each with a folder a cell.
        verdict: folder to write: `report/` (verdict.json, verdict.csv, verdict.md, report.html and the figures, which
            become MLflow artifacts), and `winner/` with the files of the winner's cell, for `register`.
    """
    with step("evaluate") as this:
        with this.span("imports"):
            from components.data import retraining
            from components.evaluation import looks
            from components.evaluation.judge import judge, typical
            from components.tracking import study_log
            from components.tracking.runs import StudyRuns
        mlflow_runs = from_json(StudyRuns, Path(runs).read_bytes(), runs)
        with this.span("report"):
            prepared = Prepared(data)
            study = prepared.study
            by_arm = gather(study, cells)
            at = MlflowRun(mlflow_runs.tracking_uri, mlflow_runs.experiment, mlflow_runs.parent)
            retrained = retraining.read(prepared.folder / REPORT)
            earlier = [*looks.read(Path(store)), *study_log.looks(mlflow_runs, prepared.schema)]
            judged = judge(study, by_arm, prepared, mlflow_runs.run, at, retrained, earlier)
            looks.remember(Path(store), [effect.look for effect in judged.effects])
            report = Path(verdict) / "report"
            write_report(report, study, judged, by_arm, prepared)
            typical_cells = typical(by_arm, study.metric)
            shutil.copytree(typical_cells[judged.winner.arm].folder, Path(verdict) / "winner")
        with this.span("mlflow"):
            study_log.log_verdict(mlflow_runs, judged, as_markdown(judged), report, by_arm, typical_cells)


def write_report(folder: Path, study: Study, verdict: Verdict, cells: "Cells", prepared: Prepared) -> None:
    """Write all that becomes an artifact of the study's run into the folder, which is made."""
    from components.reporting import figures, html_report

    folder.mkdir(parents=True)
    (folder / "verdict.json").write_text(to_json(verdict), "utf-8")
    (folder / "verdict.csv").write_text(as_csv(verdict), "utf-8")
    (folder / "verdict.md").write_text(as_markdown(verdict), "utf-8")
    figures.draw(folder, verdict, cells, prepared)
    if cells[REFERENCE][0].preview.exists():
        shutil.copy(cells[REFERENCE][0].preview, folder)
    html_report.write(folder / "report.html", study, verdict, cells, prepared)


def gather(study: Study, folders: Sequence[str]) -> "Cells":
    """Return every cell of the study out of the train tasks' folders."""
    found = {path.name: path for folder in folders for path in Path(folder).iterdir()}
    by_arm: Cells = {}
    for cell in study.cells():
        by_arm.setdefault(cell.arm, []).append(FinishedCell(found[cell.id]))
    return by_arm


def as_csv(verdict: Verdict) -> str:
    """Return the effects as CSV, a line an arm."""
    rows = records(verdict)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_markdown(verdict: Verdict) -> str:
    """Return the verdict as Markdown, for the description of the study's run."""
    metric, test, winner = verdict.metric, verdict.test, verdict.winner
    lines = [f"**{sentence(verdict)}**", ""]
    if verdict.retrain:
        lines += [*(f"- {line}" for line in (*retraining_lines(verdict.retrain), *changes(verdict))), ""]
    if verdict.effects:
        lines += _table(verdict)
    if said := looks_as_text(verdict):
        lines += ["", said]
    lines += [
        "",
        f"Winner on validation rows: **{winner.arm}** ({winner.mean:.4f}). On the {test.rows} test rows: "
        f"winner {test.winner[metric]:.4f}, reference {test.reference[metric]:.4f} (mean of {verdict.seeds} seeds).",
    ]
    lists = {
        "Worse for some, though not as a whole (accuracy, corrected for all techniques and slices):": [
            f"{harm_as_text(harm)}{between(harm, 'accuracy')}" for harm in verdict.harms
        ],
        "How techniques work with each other:": [
            interaction_as_text(of, verdict.decided_by) for of in verdict.interactions
        ],
        "What was wrong while training:": [finding_as_text(finding, verdict.seeds) for finding in verdict.findings],
    }
    for title, listed in lists.items():
        if listed:
            lines += ["", title, "", *(f"- {line}" for line in listed)]
    return "\n".join(lines) + "\n"


def _table(verdict: Verdict) -> list[str]:
    """Return the effects as a table, with a line above that says what they are."""
    metric, shown = verdict.metric, columns(verdict, "markdown")
    lines = [[column.heading(verdict) for column in shown], ["---"] * len(shown)]
    lines += [[column.write(effect, verdict).replace("|", "\\|") for column in shown] for effect in verdict.ranked]
    return [
        f"What each technique does on validation rows, paired over {verdict.seeds} seeds; the reference has a "
        f"{METRICS[metric].title} of {verdict.reference.mean:.4f}.",
        "",
        *(f"| {' | '.join(line)} |" for line in lines),
    ]
