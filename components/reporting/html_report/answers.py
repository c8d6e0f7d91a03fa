"""What the page shows of the test rows: confusions, reliability, and what is predicted confidently and wrongly."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from components.data.prepared import Prepared
from components.evaluation.verdict import Cells
from components.reporting.html_report.charts import Axis, Plot
from components.stats.metrics import CONFIDENCE_BINS, METRICS, confidence_bins, confusion
from components.study.study import REFERENCE

MATRIX = 12  # classes up to which there is a confusion matrix; of more the most confused pairs are listed
PAIRS = 15  # confused pairs that are listed
WRONG = 12  # examples that are predicted confidently and wrongly
LETTERS = 300  # of a text
SIDE = 160  # pixels of an example's image, at most
LEVELS = 5  # tints of a heat map


def test_rows(verdict: dict[str, Any], cells: Cells, prepared: Prepared) -> dict[str, Any]:
    """Return what winner and reference do on the test rows."""
    winner = verdict["winner"]
    shown = {"winner": winner["arm"]} if winner["arm"] != REFERENCE else {}
    shown["reference"] = REFERENCE
    y = np.asarray(prepared.y[prepared.test_rows])
    classes = prepared.schema.classes
    predicted = {who: [cell.probabilities("test") for cell in cells[arm]] for who, arm in shown.items()}
    counts = {who: np.sum([confusion(p, y) for p in of], axis=0) for who, of in predicted.items()}
    seeds = [cell.result.seed for cell in cells[winner["arm"]]]
    chosen = next(iter(predicted.values()))[seeds.index(winner["seed"])]
    return {
        "arms": shown,
        "metrics": [name for name in METRICS if name in verdict["test"]["reference"]],
        "matrices": {who: _matrix(of, classes) for who, of in counts.items()} if len(classes) <= MATRIX else None,
        "pairs": _pairs(counts, classes) if len(classes) > MATRIX else None,
        "reliability": [
            reliability_plot(who, arm, reliability(predicted[who], y), verdict["test"][who]["ece"])
            for who, arm in shown.items()
        ],
        "wrong": wrong_examples(chosen, y, prepared),
    }


def _matrix(counts: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return a line a true class: its name, and of each predicted class the share and its tint."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return [
        {
            "name": name,
            "cells": [
                {"share": float(share), "tint": _confusion_tint(float(share), i == j)} for j, share in enumerate(line)
            ],
        }
        for i, (name, line) in enumerate(zip(classes, shares, strict=True))
    ]


def _confusion_tint(share: float, right: bool) -> str:
    if share == 0:
        return "none"
    if right:
        return f"right-{max(math.ceil(LEVELS * share), 1)}"
    return f"bad-{min(math.ceil(share / 0.06), LEVELS)}"


def _pairs(counts: dict[str, np.ndarray], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the pairs of classes that are confused most, by the share of the true class's rows."""
    shares = {who: of / np.maximum(of.sum(axis=1, keepdims=True), 1) for who, of in counts.items()}
    first = next(iter(shares.values())).copy()
    np.fill_diagonal(first, 0)
    order = np.argsort(-first, axis=None, kind="stable")[:PAIRS]
    places = [divmod(int(place), len(classes)) for place in order]
    return [
        {"true": classes[i], "predicted": classes[j], "shares": {who: float(of[i, j]) for who, of in shares.items()}}
        for i, j in places
        if first[i, j] > 0
    ]


def reliability(probabilities: Iterable[np.ndarray], y: np.ndarray) -> list[dict[str, float]]:
    """Return how often predictions come true that are made with a given confidence, in the bins of the metric `ece`.

    Args:
        probabilities: of each seed (rows, classes).
        y: class numbers (rows,).

    Returns:
        The bins that have rows, with `low`, `high`, `share` (of all rows), `confidence` and `accuracy`.
    """
    every = list(probabilities)
    confidence = np.concatenate([p.max(axis=1) for p in every]).astype(np.float64)
    right = np.concatenate([p.argmax(axis=1) == y for p in every])
    of_bin = confidence_bins(confidence)
    return [
        {
            "low": number / CONFIDENCE_BINS,
            "high": (number + 1) / CONFIDENCE_BINS,
            "share": float(np.mean(of_bin == number)),
            "confidence": float(confidence[of_bin == number].mean()),
            "accuracy": float(right[of_bin == number].mean()),
        }
        for number in np.unique(of_bin).tolist()
    ]


def reliability_plot(who: str, arm: str, bins: list[dict[str, float]], error: float) -> dict[str, Any]:
    """Return the diagram of `reliability`, drawn and said; `error` is the calibration error."""

    def whole(value: float) -> str:
        return f"{100 * value:.0f} %"

    x, height = Axis("confidence", 0, 1, whole), Axis("rows predicted rightly", 0, 1, whole)
    told = (
        "On the diagonal confidence is right, below it too great. The area of a point is its share of the rows. "
        f"The expected calibration error is {100 * error:.1f} points."
    )
    plot = Plot(f"reliability-{who}", f"Reliability of {arm}", told, x, height, 340, 300)
    for one in bins:
        plot.bar((one["low"], one["high"]), (0, one["accuracy"]), "soft")
    plot.line([0, 1], [0, 1], "diagonal")
    for one in bins:
        plot.dot(one["confidence"], one["accuracy"], "accent", 3 + 9 * math.sqrt(one["share"]))
    return {"arm": arm, "plot": plot.render(), "error": error}


def wrong_examples(probabilities: np.ndarray, y: np.ndarray, prepared: Prepared) -> list[dict[str, Any]]:
    """Return the test rows that are predicted wrongly with the greatest confidence.

    Args:
        probabilities: of the test rows (rows, classes).
        y: their class numbers (rows,).
        prepared: the data.

    Returns:
        For each `true`, `predicted` (names), `confidence`, `of_true` (the probability of the true class) and what it
        is: `image` (the address of a PNG in itself), `text` or `columns` (name and value).
    """
    from components.serving.saved_model import raw_rows

    said = probabilities.argmax(axis=1)
    missed = np.flatnonzero(said != y)
    chosen = missed[np.argsort(-probabilities[missed, said[missed]], kind="stable")][:WRONG]
    if not len(chosen):
        return []
    kind, classes = prepared.schema.kind, prepared.schema.classes
    raw = raw_rows(prepared, prepared.test_rows[chosen])
    shown: list[dict[str, Any]]
    if kind == "image":
        white = _white(prepared.x)
        shown = [{"image": png(_pixels(image, white))} for image in raw]
    elif kind == "text":
        shown = [{"text": text[:LETTERS] + " \N{HORIZONTAL ELLIPSIS}" * (len(text) > LETTERS)} for text in raw]
    else:
        names = [str(name) for name in raw.columns]
        shown = [
            {"columns": list(zip(names, map(_value, row), strict=True))}
            for row in raw.itertuples(index=False, name=None)
        ]
    return [
        {
            "true": classes[y[row]],
            "predicted": classes[said[row]],
            "confidence": float(probabilities[row, said[row]]),
            "of_true": float(probabilities[row, y[row]]),
            **one,
        }
        for row, one in zip(chosen, shown, strict=True)
    ]


def _value(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "missing"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _white(x: np.ndarray) -> float:
    """Return the brightest value that images of this type have: 255 of bytes, else what some of the rows have."""
    return 255.0 if x.dtype == np.uint8 else float(np.max(x[:1000])) or 1.0


def _pixels(image: np.ndarray, white: float) -> np.ndarray:
    """Return uint8 pixels of an image; three channels are colours, of another number the first is shown."""
    scaled = (np.clip(np.asarray(image, np.float64) / white, 0, 1) * 255).astype(np.uint8)
    return scaled if scaled.shape[-1] == 3 else scaled[..., 0]


def png(pixels: np.ndarray) -> str:
    """Return an image as an address that holds it; a large one is made smaller."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    return address(image)


def address(image: Any) -> str:
    """Return an image of pillow's as an address that holds it, a PNG."""
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return data_address("image/png", out.getvalue())


def data_address(of: str, content: bytes) -> str:
    """Return an address that holds its content, of the media type `of`."""
    return f"data:{of};base64,{base64.b64encode(content).decode()}"
