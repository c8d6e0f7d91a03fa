"""The study's report as one HTML page, `report.html`: it needs no network and no script.

The modules beside this one gather what the page shows, `charts` draws, and templates/report.html.j2 says it. All names
and texts of the user's go through jinja2's escaping, and the page's own policy forbids it to load or run anything.
"""

from pathlib import Path
from typing import Any

import jinja2

from components.data.prepared import Prepared
from components.evaluation.judge import Cells
from components.evaluation.verdict import Verdict
from components.formatting import duration
from components.reporting.html_report import about, answers, effects, training
from components.reporting.html_report.texts import minus, score, signed, whole
from components.reporting.phrases import (
    amount,
    chance,
    changes,
    finding_as_text,
    harm_as_text,
    looks_as_text,
    retraining_lines,
    seeds_in_view,
    sentences,
    test_looks,
)
from components.stats.metrics import METRICS
from components.study.study import Study


def write(file: Path, study: Study, verdict: Verdict, cells: Cells, prepared: Prepared) -> None:
    """Write the page to a file, beside which the augmentation preview is.

    Test predictions are opened of the winner and the reference only.
    """
    page = gather(study, verdict, cells, prepared, file.parent / "augmentation.png")
    file.write_text(_environment(verdict.decided_by).get_template("report.html.j2").render(page), "utf-8")


def gather(study: Study, verdict: Verdict, cells: Cells, prepared: Prepared, preview: Path) -> dict[str, Any]:
    """Return all that the template shows, by section; a section that has nothing to show is None."""
    said = sentences(verdict)
    decided = len({effect.verdict for effect in verdict.effects} & {"helped", "hurt"})  # said in the heading, in color
    return {
        "verdict": verdict,
        "sentence": " ".join(said),
        "heading": None if decided else said[0],
        "lead": " ".join(said[max(decided, 1) :]),
        "retrained": [*retraining_lines(verdict.retrain), *changes(verdict)] if verdict.retrain else [],
        "more_seeds": seeds_in_view(verdict),
        "looks": looks_as_text(verdict),
        "test_looks": test_looks(verdict.test),
        "effects": effects.effects(verdict),
        "costs": effects.costs(verdict),
        "slices": effects.slices(verdict),
        "test": answers.test_rows(verdict, cells, prepared),
        "curves": training.curves(cells),
        "findings": [finding_as_text(finding, verdict.seeds) for finding in verdict.findings],
        "sizes": training.sizes(verdict),
        "preview": about.preview(preview),
        "data": about.data(prepared.folder / "report" / "data.json"),
        "reproduce": about.reproduce(study, verdict, cells, prepared),
        "trainings": sum(len(of_arm) for of_arm in cells.values()),
        "seconds": sum(cell.result.seconds for of_arm in cells.values() for cell in of_arm),
        "arms": len(cells),
    }


def _environment(metric: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "amount": lambda value: minus(amount(value, metric)),
        "number": lambda value: signed(value, metric),
        "of": signed,
        "score": score,
        "percent": lambda probability: whole(chance(probability)),
        "change": lambda share: whole(minus(f"{100 * share:+z.0f} %")),
        "duration": duration,
        "metric": lambda name: METRICS[name].title,
        "points": lambda name: " (points)" if METRICS[name].unit else "",
        "harm": harm_as_text,
    }
    return environment
