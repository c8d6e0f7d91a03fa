"""The picture of the data: rows of each class by part, and what the rows look like."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure, SubFigure

NAMED_CLASSES = 30  # more are not labelled: the letters would overlap

HISTOGRAMS = 16  # columns that are drawn


def data_figure(report: dict[str, Any]) -> Figure:
    """Return the rows of each class with the first seed's parts, and the images' sizes, texts' lengths or columns.

    Args:
        report: see `components.data.report.inspect`.
    """
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = np.ravel(np.array(figure.subfigures(1, 2)))
    axes = left.subplots()
    classes = report["classes"]
    places = np.arange(len(classes))
    start = np.zeros(len(classes), int)
    colors = {"train": "#0969da", "validation": "#8250df", "test": "#bc4c00", "unused": "#d0d7de"}
    for part in [part for part in colors if report["split"]["rows"][part]]:
        rows = np.array([entry[part] for entry in classes])
        axes.barh(places, rows, left=start, color=colors[part], label=part)
        start += rows
    if len(classes) <= NAMED_CLASSES:
        axes.set_yticks(places, [entry["name"][:30] for entry in classes], parse_math=False)
    axes.set_ylim(max(len(classes), 6) - 0.5, -0.5)
    axes.set_xlabel("rows, with seed 0")
    axes.set_title(f"{report['source']}: {report['rows']} rows", parse_math=False)
    left.legend(loc="outside lower center", ncols=4, fontsize=8)
    if "columns" in report:
        _columns(right, report["columns"])
        return figure
    axes = right.subplots()
    if "images" in report:
        sizes = report["images"]["sizes"]
        named = [f"{size['height']} x {size['width']}" for size in sizes]
        axes.barh(named, [size["rows"] for size in sizes], color="#0969da")
        axes.set_ylim(max(len(sizes), 6) - 0.5, -0.5)  # one bar alone would fill the panel
        axes.set_xlabel("images")
        axes.set_title("height x width, before resizing")
    else:
        edges, rows = report["text"]["histogram"]["edges"], report["text"]["histogram"]["rows"]
        axes.bar(edges[:-1], rows, width=np.diff(edges), align="edge", color="#0969da", edgecolor="white")
        axes.set_xlabel("words in a row")
        axes.set_ylabel("rows")
        axes.set_title("lengths of the texts")
    return figure


def _columns(figure: SubFigure, columns: list[dict[str, Any]]) -> None:
    """Draw the first columns: histograms of numbers, the most frequent values of the others."""
    drawn = [column for column in columns if column.get("histogram") or column.get("frequent")][:HISTOGRAMS]
    wide = max(1, int(np.ceil(np.sqrt(len(drawn)))))
    panels = figure.subplots(max(1, -(-len(drawn) // wide)), wide, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, column in zip(panels, drawn, strict=False):
        heights = column.get("histogram") or [value["rows"] for value in column["frequent"]]
        gap = 0.0 if "histogram" in column else 0.3
        axes.bar(range(len(heights)), heights, width=1 - gap, color="#0969da")
        axes.set_title(column["name"][:24], fontsize=7, parse_math=False)
