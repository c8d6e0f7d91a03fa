"""Step `evaluate`: all cells -> paired effects, verdict, figures; the winner and the reference on the test rows.

verdict.json holds all that is shown: the terminal's table, MLflow's description and the figures are made of it.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.events import step
from components.prepared import Prepared
from components.store import CellResult
from components.study import METRICS, REFERENCE, Study

if TYPE_CHECKING:
    from components.verdict import Cells

MOST_HARMS = 3  # that the answer tells; the others are in the table of harms
MOST_DATA = 100  # times as much: a learning curve tells nothing so far out


def evaluate(study: str, data: str, runs: str, cells: Sequence[str], verdict: str) -> None:
    """Write the verdict, and log it.

    Args:
        study: the study as JSON.
        data: the prepared data.
        runs: the file of MLflow run numbers that `load` wrote.
        cells: the folders that the train tasks wrote, each with a folder a cell.
        verdict: folder to write: `report/` (verdict.json, verdict.csv, verdict.md, report.html and the figures, which
            become MLflow artifacts), and `winner/` with the files of the winner's cell, for `register`.
    """
    parsed, mlflow_runs = Study.model_validate_json(study), json.loads(Path(runs).read_text())
    with step("evaluate") as this:
        with this.span("imports"):
            from components import figures, html, tracking
            from components.verdict import judge, typical
        with this.span("report"):
            prepared = Prepared(data)
            by_arm = gather(parsed, cells)
            judged = judge(parsed, by_arm, prepared)
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
            html.write(report / "report.html", parsed, judged, by_arm, prepared)
            shutil.copytree(_winner(judged, by_arm).folder, Path(verdict) / "winner")
        with this.span("mlflow"):
            tracking.log_verdict(mlflow_runs, judged, description, report, by_arm, typical(by_arm, parsed.metric))


def gather(study: Study, folders: Sequence[str]) -> "Cells":
    """Return every cell of the study out of the train tasks' folders."""
    found = {path.name: path for folder in folders for path in Path(folder).iterdir()}
    by_arm: Cells = {}
    for cell in study.cells():
        by_arm.setdefault(cell.arm, []).append(CellResult(found[cell.id]))
    return by_arm


def finding_as_text(finding: dict[str, Any], seeds: int) -> str:
    """Return a finding of the verdict as one line."""
    cured = f"; not in {_listed(finding['cures'], 'or')}" if finding["cures"] else ""
    return f"{finding['arm']}: {finding['text']} ({finding['seeds']} of {seeds} seeds{cured})"


def _winner(verdict: dict[str, Any], cells: "Cells") -> CellResult:
    winner = verdict["winner"]
    return next(cell for cell in cells[winner["arm"]] if cell.result["seed"] == winner["seed"])


def seeds_as_text(seeds: int) -> str:
    """Return how many seeds, as text."""
    return "one seed" if seeds == 1 else f"{seeds} seeds"


def amount(value: float, metric: str) -> str:
    """Return a difference of the metric as text: `+1.4 points` for shares, `+0.021` for the loss."""
    return _number(value, metric) + ("" if metric == "loss" else " points")


def _number(value: float, metric: str) -> str:
    return f"{value:+z.3f}" if metric == "loss" else f"{100 * value:+z.1f}"


def chance(probability: float) -> str:
    """Return a probability as text; what is not certain is not shown as 0 or 100 %."""
    if probability < 0.01:
        return "< 1 %"
    return "> 99 %" if probability > 0.99 else f"{100 * probability:.0f} %"


def sentence(verdict: dict[str, Any]) -> str:
    """Return the answer in plain sentences."""
    metric, by_verdict = verdict["metric"], {}
    for effect in sorted(verdict["effects"], key=lambda e: -e["effect"]):
        by_verdict.setdefault(effect["verdict"], []).append(effect)
    parts = []
    for word in ("helped", "hurt"):
        if word in by_verdict:
            listed = [f"{e['technique']} ({amount(e['effect'], metric)})" for e in by_verdict[word]]
            parts.append(f"{_listed(listed)} {word}.")
    if not parts:
        parts.append(f"Nothing is shown to have changed {METRICS[metric]} with {seeds_as_text(verdict['seeds'])}.")
    if "too few seeds" in by_verdict:
        needs = [
            f"{e['technique']} (about {e['seeds_needed']} would decide)" if e["seeds_needed"] else e["technique"]
            for e in by_verdict["too few seeds"]
        ]
        parts.append(f"Too few seeds to tell about {_listed(needs)}.")
    if "no evidence" in by_verdict:
        parts.append(f"No evidence for {_listed([e['technique'] for e in by_verdict['no evidence']], 'or')}.")
    if verdict["harms"]:
        parts.append(
            f"For some it is worse: {_listed([harm_as_text(harm) for harm in verdict['harms'][:MOST_HARMS]])}."
        )
    if verdict.get("curve"):
        parts.append(twice_the_data(verdict["curve"], metric))
    return " ".join(part[0].upper() + part[1:] for part in parts)


def harm_as_text(harm: dict[str, Any]) -> str:
    """Return a harm of the verdict in words: `shift costs class 6 4.1 points`."""
    return f"{harm['technique']} costs {harm['slice'].replace(': ', ' ', 1)} {abs(100 * harm['effect']):.1f} points"


def interaction_as_text(interaction: dict[str, Any], metric: str) -> str:
    """Return an interaction of the verdict in words: `dropout brings 1.2 points less beside L2 than without it`."""
    first, second = interaction["techniques"]
    much = amount(abs(interaction["effect"]), metric).removeprefix("+")
    word = "more" if interaction["effect"] >= 0 else "less"
    sure = "for sure" if interaction["verdict"] in ("helped", "hurt") else interaction["verdict"]
    return f"{first} brings {much} {word} beside {second} than without it{_between(interaction, metric)}: {sure}"


def _between(effect: dict[str, Any], metric: str) -> str:
    if effect["low"] is None:
        return ""
    return f" ({_number(effect['low'], metric)} to {_number(effect['high'], metric)})"


def twice_the_data(curve: dict[str, Any], metric: str) -> str:
    """Return what the learning curve says of twice the rows, as a sentence."""

    def shown(error: float) -> str:
        return f"{error:.3f}" if metric == "loss" else f"{100 * (1 - error):.1f} %"

    sure = ""
    if curve["twice_low"] is not None:
        ends = sorted((shown(curve["twice_low"]), shown(curve["twice_high"])))
        sure = f" ({ends[0]} to {ends[1]})"
    return (
        f"Twice the rows would bring {METRICS[metric]} from {shown(curve['now'])} to about "
        f"{shown(curve['twice'])}{sure}, if it goes on as from fewer rows."
    )


def worth_of(effect: dict[str, Any]) -> str:
    """Return how many times the data a technique is worth, as text: `1.8 x`; only of one that helps or leans so."""
    worth = effect["worth_in_data"]
    if effect["effect"] <= 0:
        return "-"
    return "beyond" if worth is None or worth > MOST_DATA else f"{worth:.1f} x"


def _listed(words: list[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


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
    unit = "" if metric == "loss" else " (points)"
    worth = " worth in data |" if verdict.get("curve") else ""
    lines = [
        f"**{verdict['sentence']}**",
        "",
        f"Effect of each technique on validation {METRICS[metric]}, paired over {verdict['seeds']} seeds; the "
        f"reference has {verdict['reference']['mean']:.4f}.",
        "",
        f"| technique | effect{unit} | 95 % interval | probability to help | p (Holm) | verdict | training time |"
        f"{worth}",
        "|---|---|---|---|---|---|---|" + ("---|" if worth else ""),
    ]
    for e in sorted(verdict["effects"], key=lambda e: -e["effect"]):
        between = f"{_number(e['low'], metric)} to {_number(e['high'], metric)}" if e["low"] is not None else "one seed"
        sure = f"{chance(e['probability'])} | {e['p_holm']:.3f}" if e["probability"] is not None else " | "
        word = e["verdict"] + (f" (about {e['seeds_needed']} would decide)" if e["seeds_needed"] else "")
        technique = e["technique"].replace("|", "\\|")
        lines.append(
            f"| {technique} | {_number(e['effect'], metric)} | {between} | {sure} | {word} | {e['cost']:+z.0%} |"
            + (f" {worth_of(e)} |" if worth else "")
        )
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
        lines += [f"- {harm_as_text(harm)}{_between(harm, 'accuracy')}" for harm in verdict["harms"]]
    if verdict["interactions"]:
        lines += ["", "How techniques work with each other:", ""]
        lines += [f"- {interaction_as_text(of, metric)}" for of in verdict["interactions"]]
    if verdict["findings"]:
        lines += ["", "What was wrong while training:", ""]
        lines += [f"- {finding_as_text(finding, verdict['seeds'])}" for finding in verdict["findings"]]
    return "\n".join(lines) + "\n"
