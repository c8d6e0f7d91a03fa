"""Drift: how the rows that are new since a model was trained differ from those that it was trained on.

All rows of today would hide it: what came last night is a small part of them. So a model is registered with a profile
of its data: which rows there were, and how the values of those that it was fitted to or tuned on are spread. Later the
rows that were not there are compared with it. Where many rows are equal, and others have gone, a new one can't be told
from one of then; so then all rows of today are compared. What is compared, value by value:
    tables      each column
    images      brightness, contrast, detail, and each color
    texts       words in a text, letters in a word, and the share of words that no other text has
    all         the classes

The measure is the population stability index, the sum of (q - p) ln(q / p) over bins with the shares p then and q now;
ten bins that held equally many rows then, or a category's values. By custom 0.1 is a small shift and 0.2 one to act on
(Siddiqi, Credit Risk Scorecards, 2006). With few rows chance alone gives as much: with n and m rows, PSI times
nm / (n + m) is near a chi-squared variable with one degree of freedom less than there are bins (Yurdakul and Naranjo,
Statistical properties of the population stability index, Journal of Risk Model Validation 14, 2020). So a value has
drifted when its index reaches the threshold AND chance is ruled out at the 1 % level, by Holm's correction for all of
them together. Rows are taken as independent, so of each group of `data.group` only one is looked at: a few new patients
with many rows each are no drift. Rows that follow each other in time may be alike, too, and of that nothing is known.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from components.data.prepared import Prepared, chunks
from components.data.raw_values import Column
from components.data.splitting import hashed
from components.stats.paired_effects import holm

BINS = 10
# Rows in a bin of the smaller sample, on average; bins with fewer are put together (Cochran 1954 asks for one). With
# one, false alarms were 0.0 to 0.9 % in simulations where 1 % is allowed, and a value that was never there is seen.
FEWEST_EXPECTED = 1
FEWEST_ROWS = 50  # new ones, with which an index can tell anything
LEVEL = 0.01
MOST_VALUES = 200  # of a category; the rarer ones are one bin
FEW = 0.01  # share of rows
SAMPLE = 20_000  # rows that are looked at: more make no index that matters surer
LONGEST_NAME = 40  # of a category's value, in words
PROFILE = "profile.npz"


@dataclass(frozen=True)
class Quantity:
    """What is compared: a column of a table, the classes, or what is measured of images or texts."""

    name: str
    is_column: bool = False

    def __str__(self) -> str:
        return f"column {self.name}" if self.is_column else self.name


@dataclass(frozen=True)
class Median:
    """How numbers are spread; `missing` is the share of the rows that have none."""

    median: float | None
    missing: float

    def __str__(self) -> str:
        if self.median is None:
            return "no number"
        return f"median {self.median:.4g}" + (f", {100 * self.missing:.1f} % missing" if self.missing else "")


@dataclass(frozen=True)
class Share:
    """The share of the rows that have a category's value."""

    value: str
    share: float

    def __str__(self) -> str:
        name = self.value if len(self.value) <= LONGEST_NAME else f"{self.value[: LONGEST_NAME - 1]}…"
        return f"{name} {100 * self.share:.1f} %"


@dataclass(frozen=True)
class DriftedValue:
    """How far one value of the rows has moved; `p` is corrected (Holm) for all of them."""

    quantity: Quantity
    psi: float
    p: float | None
    drifted: bool
    then: Median | Share
    now: Median | Share


@dataclass(frozen=True)
class Drift:
    """How the rows that are new since a version was trained differ from those of then."""

    rows: int  # of today
    new: int  # of them
    compared: Literal["new", "all"]  # whether only the new rows were, or all
    looked_at: int  # how many of those; of each group one
    threshold: float  # of the index, from which a value has drifted
    values: tuple[DriftedValue, ...]  # those that have moved most first; none where the rows are too few to tell

    @property
    def enough(self) -> bool:
        """Whether the rows can tell."""
        return self.looked_at >= FEWEST_ROWS

    @property
    def drifted(self) -> bool:
        """Whether any value has drifted."""
        return any(value.drifted for value in self.values)


CLASSES, STRANGE = Quantity("class"), Quantity("strange words")


def save(prepared: Prepared, file: Path) -> None:
    """Write the profile of prepared data as .npz, for `measure`: some KB, and 8 bytes a row."""
    used, hashes = _sample(prepared, prepared.used_rows()), _hashes(prepared)
    texts = np.zeros(len(hashes) + 1, np.int64)  # that have each word; the first is none
    for chunk in chunks(prepared.rows, used) if len(hashes) else ():
        for row in chunk:
            texts[np.unique(row)] += 1
    spread = json.dumps(_spread(_values(prepared, used, np.r_[False, texts[1:] < 2])))
    np.savez_compressed(file, rows=prepared.digests[:, 0], words=hashes[texts[1:] > 0], spread=np.array(spread))


def measure(prepared: Prepared, file: Path, threshold: float) -> Drift:
    """Return how today's rows that are new since a profile differ from those that it describes.

    From the threshold on, of the index, a value has drifted.
    """
    with np.load(file) as saved:
        seen, words, spread = saved["rows"], saved["words"], json.loads(str(saved["spread"]))
    new, sure = _new(seen, prepared.digests[:, 0])
    looked_at = _sample(prepared, new if sure else np.arange(len(prepared.y)))
    values: tuple[DriftedValue, ...] = ()
    if len(looked_at) >= FEWEST_ROWS:
        now = _values(prepared, looked_at, np.r_[False, ~np.isin(_hashes(prepared), words)])
        if not sure:
            now.pop(STRANGE, None)  # no word of a row that was there then is strange
        values = _compared(spread, now, threshold)
    return Drift(len(prepared.y), len(new), "new" if sure else "all", len(looked_at), threshold, values)


def _compared(
    spread: dict[str, dict[str, Any]], now: dict[Quantity, np.ndarray], threshold: float
) -> tuple[DriftedValue, ...]:
    """Return how far each value has moved, those that have drifted, and moved most, first."""
    measured: list[tuple[Quantity, float, float, Median | Share, Median | Share]] = []
    for quantity, values in now.items():
        then = spread.get(str(quantity))
        if then is None:
            continue  # the column is new: another model, and the gate says so
        if "edges" in then and values.dtype == object:
            values = np.full(len(values), np.nan)  # a column of numbers that has become a category
        counts = _counts(values, then)
        measured.append((quantity, *psi(np.array(then["counts"]), counts), *_summaries(then, values, counts)))
    moved = [
        DriftedValue(quantity, index, p, bool(index >= threshold and p is not None and p < LEVEL), *summaries)
        for (quantity, index, _, *summaries), p in zip(measured, holm([row[2] for row in measured]), strict=True)
    ]
    return tuple(sorted(moved, key=lambda value: (-value.drifted, -value.psi)))


def _new(then: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the numbers of the rows that were not there, and whether these are, all but a few, the ones that came.

    Of equal rows as many are new as there are more now, the last ones. A row that came in the place of an equal one
    that has gone is taken for that one, so what seems new is then the odd ones. How many have gone so is not seen; it
    is taken from the rows that had no equal. Both arguments are digests (rows,).
    """
    rows, known = pd.Series(now), pd.Series(then).value_counts()
    new = np.flatnonzero(rows.groupby(rows).cumcount() >= rows.map(known).fillna(0))
    left = np.minimum(known, rows.value_counts().reindex(known.index, fill_value=0))
    alone = known == 1
    share = (np.sum(left[alone] == 0) + 1) / (np.sum(alone) + 1)  # + 1: of few rows that share is not known
    replaced = share * np.sum(known[~alone])
    return new, bool(not len(new) or (left == known).all() or replaced <= FEW * len(then))


def psi(then: np.ndarray, now: np.ndarray) -> tuple[float, float]:
    """Return the population stability index of two samples (bins,), and the probability of as much by chance."""
    then, now = _pooled(then.astype(float), now.astype(float))
    if len(then) < 2:
        return 0.0, 1.0
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (then, now))
    index = float(np.sum((q - p) * np.log(q / p)))
    n, m = then.sum(), now.sum()
    return index, float(stats.chi2.sf(index * n * m / (n + m), len(then) - 1))


def _pooled(then: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the counts with bins that are too small put together, as few as make one that is large enough."""
    both = then + now
    expected = both * min(then.sum(), now.sum()) / both.sum()
    groups = [[place] for place in np.flatnonzero(expected >= FEWEST_EXPECTED).tolist()]
    group: list[int] = []
    for place in np.flatnonzero(expected < FEWEST_EXPECTED).tolist():
        group.append(place)
        if expected[group].sum() >= FEWEST_EXPECTED:
            groups.append(group)
            group = []
    if group and groups:
        min(groups, key=lambda other: expected[other].sum()).extend(group)
    return np.array([then[group].sum() for group in groups]), np.array([now[group].sum() for group in groups])


def _sample(prepared: Prepared, rows: np.ndarray) -> np.ndarray:
    """Return at most `SAMPLE` of the rows, of each group one, the same each time."""
    rng = np.random.default_rng(0)
    drawn = rng.permutation(rows)
    if prepared.digests.shape[1] > 1:
        drawn = rng.permutation(drawn[np.unique(prepared.digests[drawn, 1], return_index=True)[1]])
    return np.sort(drawn[:SAMPLE])


# A value of the rows is an array: float64 (rows,), NaN where one is missing, or for a category the
# values' text, as objects (rows,): as an array of text each would take as much as the longest.


def _values(prepared: Prepared, rows: np.ndarray, strange: np.ndarray) -> dict[Quantity, np.ndarray]:
    """Return the values of the rows with these numbers, given of each word whether no other text has it."""
    schema = prepared.schema
    measure = partial(_of_table, schema.columns) if schema.kind == "table" else _of_images
    if schema.kind == "text":
        measure = partial(_of_texts, np.array([0, *(len(word) for word in prepared.words)]), strange)
    parts = [measure(chunk) for chunk in chunks(prepared.rows, rows)]
    named = {quantity: np.concatenate([part[quantity] for part in parts]) for quantity in parts[0]}
    return {**named, CLASSES: np.array(schema.classes, object)[prepared.y[rows]]}


def _of_table(columns: tuple[Column, ...], x: np.ndarray) -> dict[Quantity, np.ndarray]:
    named = {}
    for column, of in zip(columns, x.T.astype(np.float64), strict=True):
        if column.kind == "category":
            names = np.array([*column.values, "missing"], object)
            of = names[np.where(np.isnan(of), len(column.values), of).astype(np.int64)]
        named[Quantity(column.name, is_column=True)] = of
    return named


def _of_images(x: np.ndarray) -> dict[Quantity, np.ndarray]:
    pixels = x.astype(np.float64)
    gray = pixels[..., :3].mean(axis=-1)
    sides = [axis for axis in (1, 2) if gray.shape[axis] > 1]
    detail = sum((np.abs(np.diff(gray, axis=axis)).mean(axis=(1, 2)) for axis in sides), np.zeros(len(gray)))
    measured = {"brightness": gray.mean(axis=(1, 2)), "contrast": gray.std(axis=(1, 2)), "detail": detail}
    if x.shape[-1] in (3, 4):
        colors = zip(("red", "green", "blue", "alpha"), np.moveaxis(pixels, -1, 0), strict=False)
        measured |= {color: of_color.mean(axis=(1, 2)) for color, of_color in colors}
    return {Quantity(name): of for name, of in measured.items()}


def _of_texts(lengths: np.ndarray, strange: np.ndarray, x: np.ndarray) -> dict[Quantity, np.ndarray]:
    words = (x > 0).sum(axis=1).astype(np.float64)
    letters, share = (of_word[x].sum(axis=1) / np.maximum(words, 1) for of_word in (lengths, strange))
    return {Quantity("words in a text"): words, Quantity("letters in a word"): letters, STRANGE: share}


def _hashes(prepared: Prepared) -> np.ndarray:
    words = prepared.words if prepared.schema.kind == "text" else ()
    return np.array([hashed(word) for word in words], np.uint64)


# How values are spread, as JSON: `counts` of the bins, and `edges` of numbers' bins, or `names` of a category's.


def _spread(values: dict[Quantity, np.ndarray]) -> dict[str, Any]:
    spread = {}
    for quantity, of in values.items():
        if of.dtype == object:
            names, counts = np.unique(of, return_counts=True)
            if len(names) > BINS:  # which are frequent is asked of other rows than are counted: there by chance alone
                asked = np.random.default_rng(0).random(len(of)) < 0.5
                names, counts = np.unique(of[asked], return_counts=True)
                of = of[~asked]
            kept = np.sort(names[np.argsort(-counts, kind="stable")[:MOST_VALUES]])
            then: dict[str, Any] = {"names": kept.tolist()}
        else:
            there = of[~np.isnan(of)]
            edges = np.unique(np.quantile(there, np.linspace(0, 1, BINS + 1))) if len(there) else np.empty(0)
            then = {"edges": edges.tolist(), "median": float(np.median(there)) if len(there) else None}
        spread[str(quantity)] = {**then, "counts": _counts(of, then).tolist()}
    return spread


def _counts(values: np.ndarray, then: dict[str, Any]) -> np.ndarray:
    """Return how many rows are in each bin; the last is for what is in no other, or missing."""
    if "names" in then:
        places = {name: place for place, name in enumerate(then["names"])}
        bins = np.array([places.get(str(value), len(places)) for value in values], np.int64)
        return np.bincount(bins, minlength=len(places) + 1)
    edges = np.array(then["edges"])
    bins = np.searchsorted(edges, values)  # below the least, up to each edge, above the greatest
    bins[np.isnan(values)] = len(edges) + 1
    return np.bincount(bins, minlength=len(edges) + 2)


def _summaries(then: dict[str, Any], values: np.ndarray, now: np.ndarray) -> tuple[Median | Share, Median | Share]:
    """Return then and now: the medians of numbers, or the share of that value which has changed most."""
    before, after = (np.array(counts) / sum(counts) for counts in (then["counts"], now))
    if "names" in then:
        most = int(np.argmax(np.abs(after - before)))
        name = [*then["names"], "other values"][most]
        return Share(name, float(before[most])), Share(name, float(after[most]))
    there = values[~np.isnan(values)]
    median = float(np.median(there)) if len(there) else None
    return Median(then["median"], float(before[-1])), Median(median, float(after[-1]))
