"""What the page shows of the techniques: effects, costs, slices."""

import math
from typing import Any

import numpy as np

from components.reporting.html_report.charts import Axis, Plot, Strip, spread
from components.reporting.html_report.texts import change, tick, unit
from components.stats.metrics import METRICS

SLICES = 14  # columns of the heat map
SEED_TICKS = 1500  # in all; of more seeds none is drawn
LEVELS = 5  # tints of a heat map


def effects(verdict: dict[str, Any]) -> dict[str, Any] | None:
    """Return the effects, the greatest first, each with its number and its drawing, and their common scale."""
    metric = verdict["metric"]
    ordered = sorted(verdict["effects"], key=lambda e: -e["effect"])
    if not ordered:
        return None
    seeds = [value for e in ordered for value in e["differences"]]
    drawn = len(seeds) <= SEED_TICKS
    ends = [value for e in ordered for value in (e["low"], e["high"], e["effect"]) if value is not None]
    axis = Axis("", *spread([0.0, *ends, *(seeds if drawn else [])], 0.04), lambda v: tick(v, metric))
    strip = Strip(axis)
    rows = [
        {
            **effect,
            "number": number,
            "kind": effect["verdict"].replace(" ", "-"),
            "strip": strip.effect(
                effect["effect"],
                effect["low"],
                effect["high"],
                effect["differences"] if drawn else (),
                effect["verdict"].replace(" ", "-"),
            ),
        }
        for number, effect in enumerate(ordered, 1)
    ]
    kinds = ("helped", "hurt", "too few seeds", "no evidence")
    return {
        "rows": rows,
        "scale": strip.scale(),
        "ticks": drawn,
        "comparisons": len(rows) + len(verdict["dropped"]),
        "by_verdict": {kind: [row for row in rows if row["verdict"] == kind] for kind in kinds},
        "others": [name for name in METRICS if name in rows[0]["others"]],
    }


def costs(verdict: dict[str, Any]) -> Any:
    """Draw effects over cost in training time, both with their intervals; points have the numbers of the table."""
    ordered = sorted(verdict["effects"], key=lambda e: -e["effect"])
    if len(ordered) < 2:
        return None
    metric = verdict["metric"]
    ends = [value for e in ordered for value in (e["low"], e["high"], e["effect"]) if value is not None]
    x = Axis("change of training time", *spread([0.0, *(e["cost"] for e in ordered)], 0.1), lambda v: change(v))
    y = Axis(f"effect on {METRICS[metric].title}{unit(metric)}", *spread([0.0, *ends], 0.08), lambda v: tick(v, metric))
    told = "Each point is a technique, with its number in the table above; up is better, left is cheaper."
    plot = Plot("costs", "Cost against gain", told, x, y, 420, 340)
    plot.line([x.low, x.high], [0, 0], "zero")
    plot.line([0, 0], [y.low, y.high], "zero")
    for effect in ordered:
        if effect["low"] is not None:
            kind = effect["verdict"].replace(" ", "-")
            plot.line([effect["cost"]] * 2, [effect["low"], effect["high"]], f"thin {kind}")
            plot.line(
                np.clip([effect["cost_low"], effect["cost_high"]], x.low, x.high).tolist(),
                [effect["effect"]] * 2,
                f"thin {kind}",
            )
    for number, effect in reversed(list(enumerate(ordered, 1))):
        plot.dot(effect["cost"], effect["effect"], f"numbered {effect['verdict'].replace(' ', '-')}", 9)
        plot.text(effect["cost"], effect["effect"], str(number), "in-dot")
    return plot.render()


def slices(verdict: dict[str, Any]) -> dict[str, Any] | None:
    """Return the heat map of effects by slice: of many slices those that some technique harms most."""
    slices = verdict["slices"]
    rows = [effect for effect in verdict["effects"] if any(v is not None for v in effect["by_slice"])]
    if not rows:
        return None
    rows = sorted(rows, key=lambda e: -e["effect"])
    values = np.array([[math.nan if v is None else v for v in row["by_slice"]] for row in rows], float)
    known = np.flatnonzero(~np.isnan(values).all(axis=0))
    worst = known[np.argsort(np.nanmin(values[:, known], axis=0), kind="stable")]
    chosen = np.sort(worst[:SLICES])
    most = float(np.nanmax(np.abs(values[:, chosen]))) or 1.0
    sure = {(harm["arm"], harm["slice"]) for harm in verdict["harms"]}
    return {
        "names": [_slice_name(slices[i]["name"]) for i in chosen],
        "rows_of": [slices[i]["rows"] for i in chosen],
        "hidden": len(known) - len(chosen),
        "lines": [
            {
                "technique": row["technique"],
                "cells": [
                    {
                        "value": None if math.isnan(value) else float(value),
                        "tint": _tint(value, most),
                        "sure": (row["arm"], slices[i]["name"]) in sure,
                    }
                    for i, value in zip(chosen, of_row[chosen], strict=True)
                ],
            }
            for row, of_row in zip(rows, values, strict=True)
        ],
    }


def _slice_name(name: str) -> tuple[str, str]:
    """Return the column and the value of a slice; classes have no column."""
    column, _, value = name.partition(": ")
    return ("" if column == "class" else column), value


def _tint(value: float, most: float) -> str:
    """Return the class of a heat map's cell: its direction, and how strong it is; the root lets small ones be seen."""
    if math.isnan(value) or abs(value) < 5e-4:  # it is shown as 0.0
        return ""
    return f"{'good' if value > 0 else 'bad'}-{min(math.ceil(LEVELS * math.sqrt(abs(value) / most)), LEVELS)}"
