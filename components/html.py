"""The study's report as one HTML page, `report.html`: it needs no network and no script.

This module gathers what the page shows, `charts` draws, and templates/report.html.j2 says it. All names and texts of
the user's go through jinja2's escaping, and the page's own policy forbids it to load or run anything.
"""

import base64
import io
import json
import math
import platform
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import yaml

from components.charts import Axis, Plot, Strip, histogram, spread, thinned
from components.curve import PowerLaw
from components.evaluate import MOST_HARMS, amount, chance, finding_as_text, harm_as_text, twice_the_data, worth_of
from components.metrics import CONFIDENCE_BINS, confidence_bins, confusion
from components.prepared import Prepared
from components.report.page import missing_text, values_text, with_examples
from components.store import CellResult, code_version
from components.study import METRICS, REFERENCE, Study
from components.verdict import Cells

MATRIX = 12  # classes up to which there is a confusion matrix; of more the most confused pairs are listed
SLICES = 14  # columns of the heat map
PAIRS = 15  # confused pairs that are listed
SHOWN = 6  # learning curves that need no click
CLASSES = 20  # classes that the data section lists
COLUMNS = 40  # columns that it lists
WRONG = 12  # examples that are predicted confidently and wrongly
LETTERS = 300  # of a text
SIDE = 160  # pixels of an example's image, at most
PREVIEW_WIDTH = 1400  # pixels
SEED_TICKS = 1500  # in all; of more seeds none is drawn
LEVELS = 5  # tints of a heat map
LIBRARIES = ("assay-pipeline", "keras", "tensorflow", "jax", "scikit-learn", "numpy", "mlflow", "kfp")


def write(file: Path, study: Study, verdict: dict[str, Any], cells: Cells, prepared: Prepared) -> None:
    """Write the page.

    Args:
        file: to write.
        study: the study.
        verdict: see `components.evaluate.judge`.
        cells: by arm, in the order of the seeds; test predictions are opened of the winner and the reference only.
        prepared: the data; its own report is in the folder `report`, and the augmentation preview beside `file`.
    """
    page = gather(study, verdict, cells, prepared, file.parent / "augmentation.png")
    file.write_text(_environment(verdict["metric"]).get_template("report.html.j2").render(page), "utf-8")


def gather(study: Study, verdict: dict[str, Any], cells: Cells, prepared: Prepared, preview: Path) -> dict[str, Any]:
    """Return all that the template shows, by section; a section that has nothing to show is None."""
    return {
        "verdict": verdict,
        "effects": _effects(verdict),
        "costs": _costs(verdict),
        "slices": _slices(verdict),
        "test": _test(verdict, cells, prepared),
        "curves": _curves(cells),
        "findings": [finding_as_text(finding, verdict["seeds"]) for finding in verdict["findings"]],
        "sizes": _sizes(verdict),
        "preview": _preview(preview),
        "data": _data(prepared.folder / "report" / "data.json"),
        "reproduce": _reproduce(study, verdict, cells, prepared),
        "trainings": sum(len(of_arm) for of_arm in cells.values()),
        "seconds": sum(cell.result["seconds"] for of_arm in cells.values() for cell in of_arm),
        "arms": len(cells),
        "most_harms": MOST_HARMS,
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
        "amount": lambda value: _minus(amount(value, metric)),
        "number": lambda value: _signed(value, metric),
        "of": _signed,
        "score": score,
        "percent": lambda probability: _whole(chance(probability)),
        "change": lambda share: _whole(_minus(f"{100 * share:+z.0f} %")),
        "duration": duration,
        "metric": lambda name: METRICS.get(name, name),
        "worth": lambda effect: worth_of(effect).replace(" x", " \N{MULTIPLICATION SIGN}").replace("-", "\N{EN DASH}"),
        "harm": harm_as_text,
    }
    return environment


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _whole(text: str) -> str:
    """Return a text that is not broken into lines."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _signed(value: float, metric: str) -> str:
    """Return a difference without its unit: percentage points of shares, the loss as it is."""
    return _minus(amount(value, metric).removesuffix(" points"))


def _tick(value: float, metric: str) -> str:
    return _minus(f"{value if metric == 'loss' else 100 * value:+.4g}") if value else "0"


def score(value: float, metric: str) -> str:
    """Return a score as text: shares in percent."""
    if metric == "ece":
        return _whole(f"{100 * value:.1f} points")
    return f"{value:.4f}" if metric == "loss" else _whole(f"{100 * value:.1f} %")


def duration(seconds: float) -> str:
    """Return a time as text with two units at most."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    whole, rest = divmod(round(seconds), 60)
    if whole < 60:
        return f"{whole} min {rest:02} s"
    return f"{whole // 60} h {whole % 60:02} min"


def _effects(verdict: dict[str, Any]) -> dict[str, Any] | None:
    """Return the effects, the greatest first, each with its number and its drawing, and their common scale."""
    metric = verdict["metric"]
    ordered = sorted(verdict["effects"], key=lambda e: -e["effect"])
    if not ordered:
        return None
    seeds = [value for e in ordered for value in e["differences"]]
    drawn = len(seeds) <= SEED_TICKS
    ends = [value for e in ordered for value in (e["low"], e["high"], e["effect"]) if value is not None]
    axis = Axis("", *spread([0.0, *ends, *(seeds if drawn else [])], 0.04), lambda v: _tick(v, metric))
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


def _costs(verdict: dict[str, Any]) -> Any:
    """Draw effects over cost in training time, both with their intervals; points have the numbers of the table."""
    ordered = sorted(verdict["effects"], key=lambda e: -e["effect"])
    if len(ordered) < 2:
        return None
    metric = verdict["metric"]
    ends = [value for e in ordered for value in (e["low"], e["high"], e["effect"]) if value is not None]
    x = Axis("change of training time", *spread([0.0, *(e["cost"] for e in ordered)], 0.1), lambda v: _share(v))
    y = Axis(f"effect on {METRICS[metric]}{_unit(metric)}", *spread([0.0, *ends], 0.08), lambda v: _tick(v, metric))
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


def _unit(metric: str) -> str:
    return "" if metric == "loss" else ", points"


def _share(value: float) -> str:
    return _minus(f"{100 * value:+z.0f} %") if value else "0"


def _slices(verdict: dict[str, Any]) -> dict[str, Any] | None:
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


def _test(verdict: dict[str, Any], cells: Cells, prepared: Prepared) -> dict[str, Any]:
    """Return what winner and reference do on the test rows."""
    winner = verdict["winner"]
    shown = {"winner": winner["arm"]} if winner["arm"] != REFERENCE else {}
    shown["reference"] = REFERENCE
    y = np.asarray(prepared.y[prepared.test_rows])
    classes = prepared.schema.classes
    predicted = {who: [cell.probabilities("test") for cell in cells[arm]] for who, arm in shown.items()}
    counts = {who: np.sum([confusion(p, y) for p in of], axis=0) for who, of in predicted.items()}
    seeds = [cell.result["seed"] for cell in cells[winner["arm"]]]
    chosen = next(iter(predicted.values()))[seeds.index(winner["seed"])]
    return {
        "arms": shown,
        "metrics": [name for name in METRICS if name in verdict["test"]["reference"]],
        "matrices": {who: _matrix(of, classes) for who, of in counts.items()} if len(classes) <= MATRIX else None,
        "pairs": _pairs(counts, classes) if len(classes) > MATRIX else None,
        "reliability": [
            _reliability(who, arm, reliability(predicted[who], y), verdict["test"][who]["ece"])
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


def _reliability(who: str, arm: str, bins: list[dict[str, float]], error: float) -> dict[str, Any]:
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
    from components.serve import raw_rows

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
    return _address(image)


def _address(image: Any) -> str:
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return _data_address("image/png", out.getvalue())


def _data_address(of: str, content: bytes) -> str:
    return f"data:{of};base64,{base64.b64encode(content).decode()}"


def _curves(cells: Cells) -> dict[str, Any] | None:
    """Draw the loss over the epochs, an arm a chart, on common axes: the mean, and a band over the seeds."""
    bands = {
        arm: {name: _band([cell.result["curves"][name] for cell in of_arm]) for name in ("loss", "val_loss")}
        for arm, of_arm in cells.items()
        if max(cell.result["epochs"] for cell in of_arm) > 1
    }
    values = [v for of in bands.values() for band in of.values() for line in band[1:] for v in line]
    if not values:
        return None
    x = Axis("epoch", 1, max(band[0][-1] for of in bands.values() for band in of.values() if band[0]), "{:.0f}".format)
    low, high = max(min(values), 1e-6), max(max(values), 2e-6)
    y = Axis("loss", low / 1.15, high * 1.15, "{:.4g}".format, log=True)
    charts = []
    for number, (arm, of_arm) in enumerate(bands.items()):
        kept = float(np.mean([cell.result["epoch"] + 1 for cell in cells[arm]]))
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


def _band(runs: list[list[float]]) -> tuple[list[float], list[float], list[float], list[float]]:
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


def _sizes(verdict: dict[str, Any]) -> dict[str, Any] | None:
    """Draw the score over the number of train rows, the fitted law, and what it says of twice as many."""
    curve, metric = verdict["curve"], verdict["metric"]
    if not curve:
        return None

    def value(error: float) -> float:
        return error if metric == "loss" else 1 - error

    law, points, twice = PowerLaw(**curve["law"]), curve["points"], 2 * curve["rows"]
    rows = [point["rows"] for point in points]
    ends = [point[name] for point in points for name in ("low", "high")]
    ends += [error for error in (curve["twice"], curve["twice_low"], curve["twice_high"]) if error is not None]
    x = Axis("train rows", min(rows) / 1.2, twice * 1.2, "{:.0f}".format, True, tuple(map(float, (*rows, twice))))
    y = Axis(METRICS[metric], *spread([value(end) for end in ends]), lambda v: _level(v, metric))
    said = twice_the_data(curve, metric)
    plot = Plot(
        "sizes", "What more data brings", f"{METRICS[metric]} over the number of train rows. {said}", x, y, 420, 280
    )
    plot_rows = np.geomspace(min(rows), curve["rows"], 40)
    plot.line(plot_rows.tolist(), [value(float(law(n))) for n in plot_rows], "accent")
    beyond = np.geomspace(curve["rows"], twice, 10)
    plot.line(beyond.tolist(), [value(float(law(n))) for n in beyond], "accent dashed")
    for point in points:
        plot.line([point["rows"]] * 2, [value(point["low"]), value(point["high"])], "accent thin")
        plot.dot(point["rows"], value(point["mean"]), "accent", 5)
    if curve["twice_low"] is not None:
        plot.line([twice] * 2, [value(curve["twice_low"]), value(curve["twice_high"])], "few thin")
    plot.dot(twice, value(curve["twice"]), "few hollow", 5)
    return {"plot": plot.render(), "said": said}


def _level(value: float, metric: str) -> str:
    return f"{value:.4g}" if metric == "loss" else f"{100 * value:.4g} %"


def _preview(file: Path) -> dict[str, Any] | None:
    """Return the picture of augmentation with fewer colours: a third of the bytes."""
    from PIL import Image

    if not file.exists():
        return None
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    image.thumbnail((PREVIEW_WIDTH, 4 * PREVIEW_WIDTH))
    return {"address": _address(image.quantize(64)), "width": image.width, "height": image.height}


def _data(file: Path) -> dict[str, Any] | None:
    """Return the data report in short; None where there is none."""
    if not file.exists():
        return None
    report = json.loads(file.read_text("utf-8"))
    most = max((entry["rows"] for entry in report["classes"]), default=1) or 1
    return {
        **report,
        "found": [{**finding, "said": with_examples(finding)} for finding in report["findings"]],
        "listed": [{**entry, "part": entry["rows"] / most} for entry in report["classes"][:CLASSES]],
        "columns_listed": [
            {
                **column,
                "gone": missing_text(column),
                "said": values_text(column),
                "drawn": histogram(column["histogram"]) if column.get("histogram") else "",
            }
            for column in report.get("columns", ())[:COLUMNS]
        ],
        "lengths": _lengths(report["text"]["histogram"]) if "text" in report else None,
    }


def _lengths(bars: dict[str, list[int]]) -> Any:
    edges, rows = bars["edges"], bars["rows"]
    x = Axis("words in a text", edges[0], edges[-1], "{:.0f}".format)
    y = Axis("texts", 0, max(*rows, 1), "{:.0f}".format)
    plot = Plot("lengths", "Lengths of the texts", f"From {edges[0]} to {edges[-1] - 1} words.", x, y, 340, 200)
    for left, right, count in zip(edges, edges[1:], rows, strict=False):
        plot.bar((left, right), (0, count), "soft")
    return plot.render()


def _reproduce(study: Study, verdict: dict[str, Any], cells: Cells, prepared: Prepared) -> dict[str, Any]:
    """Return the exact study, what computed it, and the versions."""
    text = yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True, default_flow_style=None)
    first: CellResult = cells[REFERENCE][0]
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        with suppress(PackageNotFoundError):  # jax is an extra, and kfp is not in every image
            versions[library] = version(library)
    return {
        "study": text,
        "address": _data_address("text/yaml", text.encode()),
        "versions": versions,
        "computed": first.result["computed"],
        "code": code_version()[:12],
        "fingerprint": prepared.schema.fingerprint,
        "run": verdict.get("run"),
        "mlflow": (verdict.get("mlflow") or {}).get("run_id"),
        "system": f"{platform.system()} {platform.machine()}",
    }
