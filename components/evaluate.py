"""Step `evaluate`: all cells -> paired effects, verdict, figures; the winner and the reference on the test rows.

verdict.json holds all that is shown: the terminal's table, MLflow's description and the figures are made of it.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from components.events import step
from components.findings import KINDS
from components.prepared import Prepared
from components.store import CellResult
from components.study import HIGHER_IS_BETTER, REFERENCE, Arm, Study

Cells = dict[str, list[CellResult]]  # by arm, in the order of the seeds
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
        with this.span("report"):
            prepared = Prepared(data)
            by_arm = gather(parsed, cells)
            judged = judge(parsed, by_arm, prepared)
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
            tracking.log_verdict(mlflow_runs, judged, description, report)


def gather(study: Study, folders: Sequence[str]) -> Cells:
    """Return every cell of the study out of the train tasks' folders."""
    found = {path.name: path for folder in folders for path in Path(folder).iterdir()}
    by_arm: Cells = {}
    for cell in study.cells():
        by_arm.setdefault(cell.arm, []).append(CellResult(found[cell.id]))
    return by_arm


def judge(study: Study, cells: Cells, prepared: Prepared) -> dict[str, Any]:
    """Return the verdict as JSON; only the winner's and the reference's test predictions are opened."""
    from components.compare import compare, interval
    from components.curve import worth_in_data

    metric, schema = study.metric, prepared.schema
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    values = {arm: np.array([cell.result["validation"][metric] for cell in of]) for arm, of in cells.items()}
    seconds = {arm: float(np.mean([cell.result["seconds"] for cell in of])) for arm, of in cells.items()}
    reference, *others = study.expand()
    arms = [arm for arm in others if not arm.is_size]
    overlap = schema.splits["validation"] / schema.splits["train"]
    curve = _curve([reference, *others], values, prepared, metric, overlap)
    differences = [
        (sign * (values[REFERENCE] - values[arm.name]) * (1 if arm.removes else -1)).tolist() for arm in arms
    ]
    resolution = 0.0 if metric == "loss" else 1 / schema.splits["validation"]
    effects = [
        {
            "arm": arm.name,
            "technique": arm.technique,
            "removes": arm.removes,
            "arm_mean": float(values[arm.name].mean()),
            **asdict(effect),
            "cost": _cost(arm, seconds),
            "worth_in_data": worth_in_data(curve, effect.effect, arm.removes) if curve else None,
        }
        for arm, effect in zip(arms, compare(differences, overlap, resolution), strict=True)
    ]
    # The first of equals: the reference comes first, and is not given up for nothing. Fewer rows win nothing.
    winner = max((arm.name for arm in (reference, *arms)), key=lambda arm: sign * values[arm].mean())
    low, high = interval(values[REFERENCE].tolist(), overlap)
    judged = {
        "study": study.study,
        "metric": metric,
        "higher_is_better": HIGHER_IS_BETTER[metric],
        "seeds": study.seeds,
        "train_rows": schema.splits["train"],
        "validation_rows": schema.splits["validation"],
        "reference": {"mean": float(values[REFERENCE].mean()), "low": low, "high": high, "seconds": seconds[REFERENCE]},
        "effects": effects,
        "curve": curve,
        "winner": {
            "arm": winner,
            "mean": float(values[winner].mean()),
            "seed": median_seed(values[winner].tolist()),
        },
        "test": _test_scores(cells, winner, prepared, metric),
        "findings": gather_findings(cells),
    }
    return {**judged, "sentence": sentence(judged)}


def _curve(
    arms: list[Arm], values: dict[str, np.ndarray], prepared: Prepared, metric: str, overlap: float
) -> dict[str, Any] | None:
    """Return the learning curve of the reference and of the arms that only have fewer rows; None without any."""
    from components.curve import learning_curve

    sizes = {len(prepared.split(0, arm.recipe.data)[0]): arm for arm in arms if arm.is_size or arm.name == REFERENCE}
    if len(sizes) < 2:
        return None
    errors = {rows: values[arm.name] if metric == "loss" else 1 - values[arm.name] for rows, arm in sizes.items()}
    curve = learning_curve(errors, len(prepared.split(0, arms[0].recipe.data)[0]), overlap)
    for point in curve["points"]:
        point["arm"] = sizes[point["rows"]].name
    return curve


def median_seed(values: Sequence[float]) -> int:
    """Return the seed with the median value (the lower of two).

    Each seed has its own validation rows, so the best value is mostly the easiest rows; the median is a typical model.
    """
    return int(np.argsort(values, kind="stable")[(len(values) - 1) // 2])


def gather_findings(cells: Cells) -> list[dict[str, Any]]:
    """Return what was wrong in the training of each arm, see `components.findings`.

    Returns:
        For each arm and kind of finding, in the order of the arms, the gravest first: `arm`, `text` (of its first
        seed), `seeds` (in how many) and `cures`: for the reference, the arms in which nothing is wrong.
    """
    texts: dict[str, dict[str, list[str]]] = {}  # by arm and kind
    for arm, of_arm in cells.items():
        texts[arm] = {}
        for cell in of_arm:
            for text in cell.result["findings"]:
                texts[arm].setdefault(text.partition(":")[0], []).append(text)
    return [
        {
            "arm": arm,
            "text": of_kind[0],
            "seeds": len(of_kind),
            "cures": [other for other in texts if not texts[other]] if arm == REFERENCE else [],
        }
        for arm, kinds in texts.items()
        for _, of_kind in sorted(kinds.items(), key=lambda kind: KINDS.index(kind[0]))
    ]


def finding_as_text(finding: dict[str, Any], seeds: int) -> str:
    """Return a finding of the verdict as one line."""
    cured = f"; not in {_listed(finding['cures'], 'or')}" if finding["cures"] else ""
    return f"{finding['arm']}: {finding['text']} ({finding['seeds']} of {seeds} seeds{cured})"


def _winner(verdict: dict[str, Any], cells: Cells) -> CellResult:
    return cells[verdict["winner"]["arm"]][verdict["winner"]["seed"]]


def _test_scores(cells: Cells, winner: str, prepared: Prepared, metric: str) -> dict[str, Any]:
    from components.metrics import scores

    y = np.asarray(prepared.y[prepared.test_rows])
    found: dict[str, Any] = {"rows": len(y)}
    for who, arm in (("reference", REFERENCE), ("winner", winner)):
        per_seed = [scores(cell.probabilities("test"), y) for cell in cells[arm]]
        means = {name: float(np.mean([one[name] for one in per_seed])) for name in per_seed[0]}
        found[who] = {**means, "per_seed": [one[metric] for one in per_seed]}
    return found


def _cost(arm: Arm, seconds: dict[str, float]) -> float:
    """Return how much longer training takes with the technique than without, 0.4 for 40 % longer."""
    with_it, without = seconds[arm.name], seconds[REFERENCE]
    if arm.removes:
        with_it, without = without, with_it
    return with_it / without - 1


def amount(value: float, metric: str) -> str:
    """Return a difference of the metric as text: `+1.4 points` for shares, `+0.021` for the loss."""
    return _number(value, metric) + ("" if metric == "loss" else " points")


def _number(value: float, metric: str) -> str:
    return f"{value:+z.3f}" if metric == "loss" else f"{100 * value:+z.1f}"


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
        parts.append(f"Nothing is shown to have changed {metric} with {verdict['seeds']} seeds.")
    if "too few seeds" in by_verdict:
        needs = [
            f"{e['technique']} (about {e['seeds_needed']} would decide)" if e["seeds_needed"] else e["technique"]
            for e in by_verdict["too few seeds"]
        ]
        parts.append(f"Too few seeds to tell about {_listed(needs)}.")
    if "no evidence" in by_verdict:
        parts.append(f"No evidence for {_listed([e['technique'] for e in by_verdict['no evidence']], 'or')}.")
    if verdict.get("curve"):
        parts.append(twice_the_data(verdict["curve"], metric))
    return " ".join(part[0].upper() + part[1:] for part in parts)


def twice_the_data(curve: dict[str, Any], metric: str) -> str:
    """Return what the learning curve says of twice the rows, as a sentence."""

    def shown(error: float) -> str:
        return f"{error:.3f}" if metric == "loss" else f"{100 * (1 - error):.1f} %"

    sure = ""
    if curve["twice_low"] is not None:
        ends = sorted((shown(curve["twice_low"]), shown(curve["twice_high"])))
        sure = f" ({ends[0]} to {ends[1]})"
    return (
        f"Twice the rows would bring {metric} from {shown(curve['now'])} to about {shown(curve['twice'])}{sure}, if it "
        "goes on as from fewer rows."
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

    names = [name for name in verdict["effects"][0] if name != "differences"] if verdict["effects"] else []
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
        f"Effect of each technique on validation {metric}, paired over {verdict['seeds']} seeds; the reference has "
        f"{verdict['reference']['mean']:.4f}.",
        "",
        f"| technique | effect{unit} | 95 % interval | probability to help | p (Holm) | verdict | training time |"
        f"{worth}",
        "|---|---|---|---|---|---|---|" + ("---|" if worth else ""),
    ]
    for e in sorted(verdict["effects"], key=lambda e: -e["effect"]):
        between = f"{_number(e['low'], metric)} to {_number(e['high'], metric)}" if e["low"] is not None else "one seed"
        sure = f"{e['probability']:.0%} | {e['p_holm']:.3f}" if e["probability"] is not None else " | "
        word = e["verdict"] + (f" (about {e['seeds_needed']} would decide)" if e["seeds_needed"] else "")
        technique = e["technique"].replace("|", "\\|")
        lines.append(
            f"| {technique} | {_number(e['effect'], metric)} | {between} | {sure} | {word} | {e['cost']:+z.0%} |"
            + (f" {worth_of(e)} |" if worth else "")
        )
    test, winner = verdict["test"], verdict["winner"]
    lines += [
        "",
        f"Winner on validation rows: **{winner['arm']}** ({winner['mean']:.4f}). On the {test['rows']} test rows: "
        f"winner {test['winner'][metric]:.4f}, reference {test['reference'][metric]:.4f} (mean of "
        f"{verdict['seeds']} seeds).",
    ]
    if verdict["findings"]:
        lines += ["", "What was wrong while training:", ""]
        lines += [f"- {finding_as_text(finding, verdict['seeds'])}" for finding in verdict["findings"]]
    return "\n".join(lines) + "\n"
