"""What the page shows of the training: learning curves, and what more data brings."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from components.evaluation.judge import Cells
from components.evaluation.verdict import Verdict
from components.reporting.html_report.charts import Axis, Plot, spread, thinned
from components.reporting.html_report.texts import level
from components.reporting.phrases import twice_the_data
from components.stats.metrics import METRICS
from components.study.study import REFERENCE

SHOWN = 6  # learning curves that need no click


def curves(cells: Cells) -> dict[str, Any] | None:
    """Draw the loss over the epochs, an arm a chart, on common axes: the mean, and a band over the seeds."""
    bands = {
        arm: {name: band([cell.result.curves[name] for cell in of_arm]) for name in ("loss", "val_loss")}
        for arm, of_arm in cells.items()
        if max(cell.result.epochs for cell in of_arm) > 1
    }
    values = [v for of in bands.values() for band in of.values() for line in band[1:] for v in line]
    if not values:
        return None
    x = Axis("epoch", 1, max(band[0][-1] for of in bands.values() for band in of.values() if band[0]), "{:.0f}".format)
    low, high = max(min(values), 1e-6), max(max(values), 2e-6)
    y = Axis("loss", low / 1.15, high * 1.15, "{:.4g}".format, log=True)
    charts = []
    for number, (arm, of_arm) in enumerate(bands.items()):
        kept = float(np.mean([cell.result.epoch + 1 for cell in cells[arm]]))
        last = {name: f"{band[1][-1]:.3g}" if band[1] else "no number" for name, band in of_arm.items()}
        told = (
            f"{arm}: the training loss ends at {last['loss']} and the validation loss at {last['val_loss']}; "
            f"the weights of epoch {kept:.0f} were kept, on average."
        )
        plot = Plot(f"curve-{number}", f"Learning curve of {arm}", told, x, y, 330, 210)
        plot.line([min(kept, x.high)] * 2, [y.low, y.high], "kept")
        for name, kind in (("loss", "training"), ("val_loss", "validation")):
            epochs, mean, least, most = of_arm[name]
            if len(epochs) > 1:
                plot.band(epochs, least, most, kind)
                plot.line(epochs, mean, kind)
        charts.append({"arm": arm, "plot": plot.render()})
    return {"shown": charts[:SHOWN], "more": charts[SHOWN:], "seeds": len(cells[REFERENCE])}


def band(runs: Sequence[Sequence[float]]) -> tuple[list[float], list[float], list[float], list[float]]:
    """Return epochs (from 1), mean, least and greatest value, as long as half of the seeds train; thinned."""
    longest = sorted(map(len, runs))[(len(runs) - 1) // 2]
    padded = np.full((len(runs), longest), np.nan)
    for row, run in zip(padded, runs, strict=True):
        row[: min(len(run), longest)] = run[:longest]
    padded[~np.isfinite(padded)] = np.nan
    padded = np.maximum(padded, 1e-6)
    known = np.flatnonzero(~np.isnan(padded).all(axis=0))
    at = known[thinned(len(known))] if len(known) else known
    lines = (np.nanmean(padded[:, at], axis=0), np.nanmin(padded[:, at], axis=0), np.nanmax(padded[:, at], axis=0))
    mean, least, most = (line.tolist() for line in lines)
    return (at + 1).astype(float).tolist(), mean, least, most


def sizes(verdict: Verdict) -> dict[str, Any] | None:
    """Draw the score over the number of train rows, the fitted law, and what it says of twice as many."""
    curve, metric = verdict.curve, verdict.metric
    if not curve:
        return None

    def value(error: float) -> float:
        return 1 - error if METRICS[metric].higher_is_better else error

    law, points, twice = curve.law, curve.points, 2 * curve.rows
    rows = [point.rows for point in points]
    ends = [end for point in points for end in (point.low, point.high)]
    ends += [error for error in (curve.twice, curve.twice_low, curve.twice_high) if error is not None]
    x = Axis("train rows", min(rows) / 1.2, twice * 1.2, "{:.0f}".format, True, tuple(map(float, (*rows, twice))))
    y = Axis(METRICS[metric].title, *spread([value(end) for end in ends]), lambda v: level(v, metric))
    said = twice_the_data(curve, metric)
    told = f"{METRICS[metric].title} over the number of train rows. {said}"
    plot = Plot("sizes", "What more data brings", told, x, y, 420, 280)
    plot_rows = np.geomspace(min(rows), curve.rows, 40)
    plot.line(plot_rows.tolist(), [value(float(law(n))) for n in plot_rows], "accent")
    beyond = np.geomspace(curve.rows, twice, 10)
    plot.line(beyond.tolist(), [value(float(law(n))) for n in beyond], "accent dashed")
    for point in points:
        plot.line([point.rows] * 2, [value(point.low), value(point.high)], "accent thin")
        plot.dot(point.rows, value(point.mean), "accent", 5)
    if curve.twice_low is not None and curve.twice_high is not None:
        plot.line([twice] * 2, [value(curve.twice_low), value(curve.twice_high)], "few thin")
    plot.dot(twice, value(curve.twice), "few hollow", 5)
    return {"plot": plot.render(), "said": said}
