"""The study's figures: data, effects with intervals, learning curves with seed bands, confusions, augmentation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from components.data.prepared import Prepared
from components.evaluation.judge import Cells
from components.evaluation.verdict import Verdict
from components.reporting.phrases import verdict_as_text
from components.stats.metrics import METRICS, confusion
from components.study.study import REFERENCE

COLORS = {
    "helped": "#1a7f37",
    "hurt": "#b3261e",
    "no difference": "#0969da",
    "leans": "#9a6700",
    "unknown": "#6e7781",
}
NAMED_CLASSES = 30  # more are not labelled: the letters would overlap

NAMED_LAYERS = 12  # of more, the first and the last are named
WATCHED_ARMS = 4  # the reference, one that has none of its faults, and the first others with faults
# What is drawn of each layer, and under which title.
PANELS = {
    ("gradient_norm",): "length of the gradient",
    ("update_ratio",): "step / weights",
    ("weight_norm",): "length of the weights",
    ("spread",): "spread of the outputs",
    ("dead", "saturated"): "dead units, saturated outputs",
}


def draw(folder: Path, verdict: Verdict, cells: Cells, prepared: Prepared) -> None:
    """Write effects.png, curves.png and confusion.png into the folder, and where there is something to draw, more."""
    effects(verdict).savefig(folder / "effects.png", dpi=150)
    curves(cells).savefig(folder / "curves.png", dpi=150)
    confusions(verdict, cells, prepared).savefig(folder / "confusion.png", dpi=150)
    if verdict.curve:
        data_curve(verdict).savefig(folder / "data_curve.png", dpi=150)
    wrong = [name for finding in verdict.findings for name in (*finding.cures[:1], finding.arm)]
    watched = {arm: cells[arm][0].result.diagnostics for arm in (REFERENCE, *wrong)}
    watched = {arm: of_arm for arm, of_arm in watched.items() if of_arm}
    if watched:
        layers(dict(list(watched.items())[:WATCHED_ARMS])).savefig(folder / "layers.png", dpi=150)


def effects(verdict: Verdict) -> Figure:
    """Return a row per technique: its effect, the 95 % interval, and every seed as a dot."""
    factor, unit = (100, ", percentage points") if METRICS[verdict.decided_by].unit else (1, "")
    ordered = sorted(verdict.effects, key=lambda e: e.effect)
    figure = Figure(figsize=(8, 1.2 + 0.45 * len(ordered)), layout="constrained")
    axes = figure.subplots()
    for row, effect in enumerate(ordered):
        color = COLORS[effect.verdict]
        seeds = factor * np.array(effect.differences)
        axes.plot(seeds, np.full(len(seeds), row), "|", color=color, alpha=0.45, markersize=11)
        if effect.low is not None and effect.high is not None:
            axes.plot([factor * effect.low, factor * effect.high], [row, row], color=color, linewidth=2)
        axes.plot(factor * effect.effect, row, "o", color=color, markersize=7)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(ordered)), [f"{e.technique}\n{verdict_as_text(e, verdict)}" for e in ordered], fontsize=9)
    axes.set_xlabel(f"effect on validation {METRICS[verdict.decided_by].title}{unit}; right of 0 is better")
    axes.set_title(f"{verdict.study}: what each technique brings, {verdict.seeds} seeds, 95 % intervals")
    axes.grid(axis="x", alpha=0.3)
    return figure


def data_curve(verdict: Verdict) -> Figure:
    """Return the error over the number of train rows, the fitted law, and what it says of twice as many."""
    curve, loss = verdict.curve, not METRICS[verdict.metric].unit
    assert curve, "it is drawn only where there is one"
    factor = 1 if loss else 100
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    rows = np.array([point.rows for point in curve.points])
    means, lows, highs = (
        factor * np.array([getattr(point, name) for point in curve.points]) for name in ("mean", "low", "high")
    )
    axes.errorbar(rows, means, (means - lows, highs - means), fmt="o", color="#0969da", capsize=3, label="all seeds")
    line = np.geomspace(rows.min(), 2 * curve.rows, 100)
    axes.plot(line, factor * curve.law(line), color="#0969da", linewidth=1, label="power law")
    if curve.twice_low is not None and curve.twice_high is not None:
        between = factor * np.array([[curve.twice - curve.twice_low], [curve.twice_high - curve.twice]])
        between = np.maximum(between, 0)
        twice = [2 * curve.rows], [factor * curve.twice], between
        axes.errorbar(*twice, fmt="D", color="#bc4c00", capsize=3, label="twice the rows, 95 % interval")
    axes.set_xscale("log")
    axes.set_xticks([*rows, 2 * curve.rows], [str(n) for n in (*rows, 2 * curve.rows)])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("train rows")
    axes.set_ylabel("validation loss" if loss else f"validation error (1 - {verdict.metric}), %")
    axes.set_title(f"{verdict.study}: what more data brings")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def curves(cells: Cells) -> Figure:
    """Return a panel per arm with training and validation loss: the mean over seeds, and a band from least to most."""
    columns = min(3, len(cells))
    rows = -(-len(cells) // columns)
    figure = Figure(figsize=(4 * columns, 2.8 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)).ravel()
    for axes, (arm, of_arm) in zip(panels, cells.items(), strict=False):
        for name, label, color in (("loss", "training", "#0969da"), ("val_loss", "validation", "#bc4c00")):
            _band(axes, [cell.result.curves[name] for cell in of_arm], label, color)
        axes.set_title(arm, fontsize=10)
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
    for axes in panels[len(cells) :]:
        axes.set_visible(False)
    panels[0].legend(fontsize=8)
    figure.supxlabel("epoch")
    figure.supylabel("cross-entropy")
    return figure


def layers(arms: dict[str, dict[str, dict[str, tuple[float | None, ...]]]]) -> Figure:
    """Return what the layers of each arm's first seed showed: a row an arm, a panel a quantity, a line a layer.

    Args:
        arms: by name, layer and quantity a value for each epoch; see `components.training.diagnosis`.
    """
    figure = Figure(figsize=(15.5, 0.6 + 2.6 * len(arms)), layout="constrained")
    panels = figure.subplots(len(arms), len(PANELS), squeeze=False, sharex=True, sharey="col")
    for axes, (quantities, title) in zip(panels[0], PANELS.items(), strict=True):
        axes.set_title(title, fontsize=10)
        if "dead" in quantities:
            axes.set_ylim(-0.03, 1.03)
        else:
            axes.set_yscale("log")
    for row, (arm, of_arm) in zip(panels, arms.items(), strict=True):
        colors = colormaps["viridis"](np.linspace(0, 0.92, len(of_arm)))
        for axes, quantities in zip(row, PANELS, strict=True):
            axes.grid(alpha=0.3)
            for of_layer, color in zip(of_arm.values(), colors, strict=True):
                for values in [of_layer[quantity] for quantity in quantities if quantity in of_layer]:
                    drawn = [value if value or "dead" in quantities else None for value in values]  # no logarithm of 0
                    axes.plot(np.array(drawn, float), color=color, linewidth=1.2, marker="." if len(drawn) == 1 else "")
        row[0].set_ylabel(f"{arm}, seed 0", fontsize=10, parse_math=False)
        _name_layers(row[-1], list(of_arm), colors)
    figure.supxlabel("epoch", fontsize=10)
    return figure


def _name_layers(axes: Axes, names: list[str], colors: np.ndarray) -> None:
    """Put the layers' names beside the panel, of many the first and the last."""
    half = NAMED_LAYERS // 2
    named = range(len(names)) if len(names) <= NAMED_LAYERS else [*range(half), *range(len(names) - half, len(names))]
    handles = [Line2D([], [], color=colors[i], label=names[i]) for i in named]
    axes.legend(handles=handles, fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5))


def _band(axes: Axes, runs: Sequence[Sequence[float]], label: str, color: str) -> None:
    """Draw the mean and the range over the seeds that still train; stopped seeds leave the band."""
    longest = max(len(run) for run in runs)
    padded = np.full((len(runs), longest), np.nan)
    for row, run in zip(padded, runs, strict=True):
        row[: len(run)] = run
    epochs = np.arange(longest)
    axes.fill_between(epochs, np.nanmin(padded, axis=0), np.nanmax(padded, axis=0), color=color, alpha=0.2, linewidth=0)
    axes.plot(epochs, np.nanmean(padded, axis=0), color=color, label=label, linewidth=1.5)


def confusions(verdict: Verdict, cells: Cells, prepared: Prepared) -> Figure:
    """Return the confusion matrices of the winner and the reference on the test rows, summed over seeds."""
    winner = verdict.winner.arm
    shown = {f"winner: {winner}": winner, "reference": REFERENCE} if winner != REFERENCE else {"reference": REFERENCE}
    y = np.asarray(prepared.y[prepared.test_rows])
    figure = Figure(figsize=(5.2 * len(shown), 5), layout="constrained")
    for axes, (title, arm) in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown.items(), strict=True):
        counts = np.sum([confusion(cell.probabilities("test"), y) for cell in cells[arm]], axis=0)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        _label_classes(axes, prepared.schema.classes, counts, shares)
        axes.set_title(f"{title}, {len(y)} test rows x {len(cells[arm])} seeds")
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
    return figure


def _label_classes(axes: Axes, classes: tuple[str, ...], counts: np.ndarray, shares: np.ndarray) -> None:
    if len(classes) > NAMED_CLASSES:
        return
    axes.set_xticks(range(len(classes)), classes, rotation=45 if max(map(len, classes)) > 3 else 0, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    for true, predicted in np.argwhere(counts):
        color = "white" if shares[true, predicted] > 0.5 else "black"
        axes.text(predicted, true, str(counts[true, predicted]), ha="center", va="center", fontsize=8, color=color)
