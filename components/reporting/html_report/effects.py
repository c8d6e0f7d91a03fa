"""What the page shows of the techniques: effects, costs, slices."""

import math
from typing import Any, get_args

import numpy as np

from components.data.slices import CLASS
from components.evaluation.verdict import ArmEffect, Verdict
from components.reporting.html_report.charts import Axis, Plot, Strip, spread
from components.reporting.html_report.texts import change, minus, tick, unit
from components.reporting.phrases import verdict_as_text
from components.reporting.tables import columns
from components.stats.metrics import METRICS
from components.stats.paired_effects import Conclusion

SLICES = 14  # columns of the heat map
SEED_TICKS = 1500  # in all; of more seeds none is drawn
LEVELS = 5  # tints of a heat map


def effects(verdict: Verdict) -> dict[str, Any] | None:
    """Return the effects, the greatest first, each with its number and its drawing, and their common scale."""
    metric = verdict.decided_by
    ordered = verdict.ranked
    if not ordered:
        return None
    seeds = [value for e in ordered for value in e.differences]
    drawn = len(seeds) <= SEED_TICKS
    ends = [value for e in ordered for value in (e.low, e.high, e.effect) if value is not None]
    axis = Axis("", *spread([0.0, *ends, *(seeds if drawn else [])], 0.04), lambda v: tick(v, metric))
    strip = Strip(axis)
    shown = [column for column in columns(verdict, "page") if column.key not in ("technique", "verdict")]
    rows = [
        {
            **vars(effect),
            "number": number,
            "kind": _kind(effect),
            "word": verdict_as_text(effect, verdict),
            "on_metric": verdict.on(verdict.metric, effect).effect,
            "strip": strip.effect(
                effect.effect, effect.low, effect.high, effect.differences if drawn else (), _kind(effect)
            ),
            "numbers": [(column.heading(verdict), minus(column.write(effect, verdict))) for column in shown],
        }
        for number, effect in enumerate(ordered, 1)
    ]
    return {
        "rows": rows,
        "headings": [column.heading(verdict) for column in shown],
        "scale": strip.scale(),
        "ticks": drawn,
        "by_verdict": {kind: [row for row in rows if row["verdict"] == kind] for kind in get_args(Conclusion)},
        "others": [name for name in METRICS if name in rows[0]["others"]],
    }


def costs(verdict: Verdict) -> Any:
    """Draw effects over cost in training time, both with their intervals; points have the numbers of the table."""
    ordered = verdict.ranked
    if len(ordered) < 2:
        return None
    metric = verdict.decided_by
    ends = [value for e in ordered for value in (e.low, e.high, e.effect) if value is not None]
    x = Axis("change of training time", *spread([0.0, *(e.cost for e in ordered)], 0.1), change)
    y = Axis(f"effect on {METRICS[metric].title}{unit(metric)}", *spread([0.0, *ends], 0.08), lambda v: tick(v, metric))
    told = "Each point is a technique, with its number in the table above; up is better, left is cheaper."
    plot = Plot("costs", "Cost against gain", told, x, y, 420, 340)
    plot.line([x.low, x.high], [0, 0], "zero")
    plot.line([0, 0], [y.low, y.high], "zero")
    for effect in ordered:
        if effect.low is not None and effect.high is not None:
            plot.line([effect.cost] * 2, [effect.low, effect.high], f"thin {_kind(effect)}")
        if effect.cost_low is not None and effect.cost_high is not None:
            ends = np.clip([effect.cost_low, effect.cost_high], x.low, x.high).tolist()
            plot.line(ends, [effect.effect] * 2, f"thin {_kind(effect)}")
    for number, effect in reversed(list(enumerate(ordered, 1))):
        plot.dot(effect.cost, effect.effect, f"numbered {_kind(effect)}", 9)
        plot.text(effect.cost, effect.effect, str(number), "in-dot")
    return plot.render()


def slices(verdict: Verdict) -> dict[str, Any] | None:
    """Return the heat map of effects by slice: of many slices those that some technique harms most."""
    slices = verdict.slices
    rows = [effect for effect in verdict.ranked if any(value is not None for value in effect.by_slice)]
    if not rows:
        return None
    values = np.array([[math.nan if v is None else v for v in row.by_slice] for row in rows], float)
    known = np.flatnonzero(~np.isnan(values).all(axis=0))
    worst = known[np.argsort(np.nanmin(values[:, known], axis=0), kind="stable")]
    chosen = np.sort(worst[:SLICES])
    most = float(np.nanmax(np.abs(values[:, chosen]))) or 1.0
    sure = {(harm.arm, harm.slice) for harm in verdict.harms}
    return {
        "names": [("" if slices[i].column == CLASS else slices[i].column, slices[i].value) for i in chosen],
        "rows_of": [slices[i].rows for i in chosen],
        "detectable": [slices[i].detectable for i in chosen],
        "hidden": len(known) - len(chosen),
        "lines": [
            {
                "technique": row.technique,
                "cells": [
                    {
                        "value": None if math.isnan(value) else float(value),
                        "tint": _tint(value, most),
                        "sure": (row.arm, slices[i]) in sure,
                    }
                    for i, value in zip(chosen, of_row[chosen], strict=True)
                ],
            }
            for row, of_row in zip(rows, values, strict=True)
        ],
    }


def _kind(effect: ArmEffect) -> str:
    """Return the class of what is drawn of an effect."""
    return effect.verdict.replace(" ", "-")


def _tint(value: float, most: float) -> str:
    """Return the class of a heat map's cell: its direction, and how strong it is; the root lets small ones be seen."""
    if math.isnan(value) or abs(value) < 5e-4:  # it is shown as 0.0
        return ""
    return f"{'good' if value > 0 else 'bad'}-{min(math.ceil(LEVELS * math.sqrt(abs(value) / most)), LEVELS)}"
