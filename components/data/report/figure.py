"""The picture of the data: rows of each class by part, and what the rows look like."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure, SubFigure

from components.data.report.data_report import ColumnReport, DataReport, Histogram, ImageSize

MAX_NAMED = 30  # classes; more are not labelled: the letters would overlap
MAX_HISTOGRAMS = 16  # columns that are drawn
MIN_PLACES = 6  # on an axis; one bar alone would fill the panel

COLORS = {"train": "#0969da", "validation": "#8250df", "test": "#bc4c00", "unused": "#d0d7de"}
BAR = "#0969da"


def data_figure(report: DataReport) -> Figure:
    """Return the rows of each class with the first seed's parts, and the images' sizes, texts' lengths or columns."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = np.ravel(np.array(figure.subfigures(1, 2)))
    _draw_classes(left, report)
    if report.columns:
        _draw_columns(right, report.columns)
    if report.images:
        _draw_sizes(right, report.images.sizes)
    if report.text:
        _draw_lengths(right, report.text.histogram)
    return figure


def _draw_classes(figure: SubFigure, report: DataReport) -> None:
    axes = figure.subplots()
    places = np.arange(len(report.classes))
    start = np.zeros(len(places), int)
    for part in [part for part in COLORS if report.split.rows[part]]:
        rows = np.array([getattr(entry, part) for entry in report.classes])
        axes.barh(places, rows, left=start, color=COLORS[part], label=part)
        start += rows
    if len(places) <= MAX_NAMED:
        axes.set_yticks(places, [entry.name[:30] for entry in report.classes], parse_math=False)
    axes.set_ylim(max(len(places), MIN_PLACES) - 0.5, -0.5)
    axes.set_xlabel("rows, with seed 0")
    axes.set_title(f"{report.source}: {report.rows} rows", parse_math=False)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)


def _draw_sizes(figure: SubFigure, sizes: Sequence[ImageSize]) -> None:
    axes = figure.subplots()
    axes.barh([f"{size.height} x {size.width}" for size in sizes], [size.rows for size in sizes], color=BAR)
    axes.set_ylim(max(len(sizes), MIN_PLACES) - 0.5, -0.5)
    axes.set_xlabel("images")
    axes.set_title("height x width, before resizing")


def _draw_lengths(figure: SubFigure, lengths: Histogram) -> None:
    axes = figure.subplots()
    widths = np.diff(lengths.edges)
    axes.bar(lengths.edges[:-1], lengths.rows, widths, align="edge", color=BAR, edgecolor="white")
    axes.set_xlabel("words in a row")
    axes.set_ylabel("rows")
    axes.set_title("lengths of the texts")


def _draw_columns(figure: SubFigure, columns: Sequence[ColumnReport]) -> None:
    """Draw the first columns: histograms of numbers, the most frequent values of the others."""
    drawn = [column for column in columns if column.histogram or column.frequent][:MAX_HISTOGRAMS]
    wide = max(1, int(np.ceil(np.sqrt(len(drawn)))))
    panels = figure.subplots(max(1, -(-len(drawn) // wide)), wide, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, column in zip(panels, drawn, strict=False):
        heights = column.histogram or [value.rows for value in column.frequent]
        gap = 0.0 if column.type == "number" else 0.3
        axes.bar(range(len(heights)), heights, width=1 - gap, color=BAR)
        axes.set_title(column.name[:24], fontsize=7, parse_math=False)
