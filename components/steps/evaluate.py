"""Step `evaluate`: all cells -> paired effects, verdict, figures; the winner and the reference on the test rows.

verdict.json holds all that is shown: the terminal's table, MLflow's description and the figures are made of it.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.prepared import REPORT, Prepared
from components.reporting.phrases import (
    amount,
    between,
    chance,
    finding_as_text,
    harm_as_text,
    interaction_as_text,
    number,
    sentence,
    worth_of,
)
from components.runtime.cells import FinishedCell
from components.runtime.events import step
from components.stats.metrics import METRICS
from components.study.study import REFERENCE, Study

if TYPE_CHECKING:
    from components.evaluation.verdict import Cells


def evaluate(data: str, runs: str, cells: Sequence[str], verdict: str) -> None:
    """Write the verdict, and log it.

    Args:
        data: the prepared data.
        runs: the file of MLflow run numbers that `load` wrote.
        cells: the folders that the train tasks wrote, each with a folder a cell.
        verdict: folder to write: `report/` (verdict.json, verdict.csv, verdict.md, report.html and the figures, which
            become MLflow artifacts), and `winner/` with the files of the winner's cell, for `register`.
    """
    mlflow_runs = json.loads(Path(runs).read_text())
    with step("evaluate") as this:
        with this.span("imports"):
            from components.evaluation.verdict import judge, typical
            from components.registry import retrain
            from components.reporting import figures, html_report
            from components.tracking import study_log
        with this.span("report"):
            prepared = Prepared(data)
            study = prepared.study
            by_arm = gather(study, cells)
            judged = judge(study, by_arm, prepared)
            if found := retrain.read(prepared.folder / REPORT):
                judged["retrain"] = {**found, "changes": retrain.changes(found["techniques"], judged["effects"])}
            judged["sentence"] = sentence(judged)
            judged["run"] = mlflow_runs["run"]
            judged["mlflow"] = {
                "tracking_uri": mlflow_runs["tracking_uri"],
                "experiment_id": mlflow_runs["experiment"],
                "run_id": mlflow_runs["parent"],
            }
            report = Path(verdict) / "report"
            report.mkdir(parents=True)
            (report / "verdict.json").write_text(json.dumps(judged, indent=1))
            (report / "verdict.csv").write_text(as_csv(judged))
            description = as_markdown(judged)
            (report / "verdict.md").write_text(description)
            figures.draw(report, judged, by_arm, prepared)
            if by_arm[REFERENCE][0].preview.exists():
                shutil.copy(by_arm[REFERENCE][0].preview, report)
            html_report.write(report / "report.html", study, judged, by_arm, prepared)
            shutil.copytree(_winner(judged, by_arm).folder, Path(verdict) / "winner")
        with this.span("mlflow"):
            study_log.log_verdict(mlflow_runs, judged, description, report, by_arm, typical(by_arm, study.metric))


def gather(study: Study, folders: Sequence[str]) -> "Cells":
    """Return every cell of the study out of the train tasks' folders."""
    found = {path.name: path for folder in folders for path in Path(folder).iterdir()}
    by_arm: Cells = {}
    for cell in study.cells():
        by_arm.setdefault(cell.arm, []).append(FinishedCell(found[cell.id]))
    return by_arm


def _winner(verdict: dict[str, Any], cells: "Cells") -> FinishedCell:
    winner = verdict["winner"]
    return next(cell for cell in cells[winner["arm"]] if cell.result.seed == winner["seed"])


def as_csv(verdict: dict[str, Any]) -> str:
    """Return the effects as CSV, a line an arm."""
    import csv
    import io

    first = verdict["effects"][0] if verdict["effects"] else {}
    names = [name for name, of in first.items() if not isinstance(of, list | tuple | dict)]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(verdict["effects"])
    return out.getvalue()


def as_markdown(verdict: dict[str, Any]) -> str:
    """Return the verdict as Markdown, for the description of the study's run."""
    metric = verdict["metric"]
    lines = [f"**{verdict['sentence']}**", ""]
    if found := verdict.get("retrain"):
        lines += [*(f"- {line}" for line in (*found["said"], *found["changes"])), ""]
    if verdict["effects"]:
        lines += _table(verdict)
    if verdict["dropped"]:
        told = ", ".join(f"{arm} ({amount(effect, metric)})" for arm, effect in verdict["dropped"].items())
        lines += ["", f"Not trained further after the screening, whose effects are in brackets: {told}."]
    test, winner = verdict["test"], verdict["winner"]
    lines += [
        "",
        f"Winner on validation rows: **{winner['arm']}** ({winner['mean']:.4f}). On the {test['rows']} test rows: "
        f"winner {test['winner'][metric]:.4f}, reference {test['reference'][metric]:.4f} (mean of "
        f"{verdict['seeds']} seeds).",
    ]
    if verdict["harms"]:
        lines += ["", "Worse for some, though not as a whole (accuracy, corrected for all techniques and slices):", ""]
        lines += [f"- {harm_as_text(harm)}{between(harm, 'accuracy')}" for harm in verdict["harms"]]
    if verdict["interactions"]:
        lines += ["", "How techniques work with each other:", ""]
        lines += [f"- {interaction_as_text(of, metric)}" for of in verdict["interactions"]]
    if verdict["findings"]:
        lines += ["", "What was wrong while training:", ""]
        lines += [f"- {finding_as_text(finding, verdict['seeds'])}" for finding in verdict["findings"]]
    return "\n".join(lines) + "\n"


def _table(verdict: dict[str, Any]) -> list[str]:
    """Return the effects as a table, with a line above that says what they are."""
    metric = verdict["metric"]
    unit = " (points)" if METRICS[metric].unit else ""
    worth = " worth in data |" if verdict.get("curve") else ""
    lines = [
        f"Effect of each technique on validation {METRICS[metric].title}, paired over {verdict['seeds']} seeds; the "
        f"reference has {verdict['reference']['mean']:.4f}.",
        "",
        f"| technique | effect{unit} | 95 % interval | probability to help | p (Holm) | verdict | training time |"
        f"{worth}",
        "|---|---|---|---|---|---|---|" + ("---|" if worth else ""),
    ]
    for e in sorted(verdict["effects"], key=lambda e: -e["effect"]):
        ends = f"{number(e['low'], metric)} to {number(e['high'], metric)}" if e["low"] is not None else "one seed"
        sure = f"{chance(e['probability'])} | {e['p_holm']:.3f}" if e["probability"] is not None else " | "
        word = e["verdict"] + (f" (about {e['seeds_needed']} would decide)" if e["seeds_needed"] else "")
        technique = e["technique"].replace("|", "\\|")
        lines.append(
            f"| {technique} | {number(e['effect'], metric)} | {ends} | {sure} | {word} | {e['cost']:+z.0%} |"
            + (f" {worth_of(e)} |" if worth else "")
        )
    return lines
