"""Encoders for each seed, from the TRAIN rows of that seed; the winner's becomes part of the saved model.

Scaling is (x - offset) / divisor. Images have one of each for all pixels, or one for each channel; tables have one for
each column. Vocabularies are taken here, too. Images that are larger than memory are measured chunk by chunk.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from components.data.encoding import FIRST_WORD, Encoder, category_columns, number_columns
from components.data.prepared import Prepared, RowFile, chunks
from components.study.recipe import Recipe, Scale
from components.study.study import Study

BINS = 2**16  # of a histogram of pixels that are no bytes: quartiles are exact to 1/65536 of the range


def write(study: Study, prepared: Prepared, scalers: str | Path) -> None:
    """Write the file that `read_encoder` reads."""
    wanted = {variant(arm.recipe): arm.recipe for arm in study.expand()}
    fitted = {
        seed: {name: encoder.to_json() for name, encoder in fit(prepared, seed, wanted).items()}
        for seed in range(study.seeds)
    }
    Path(scalers).write_text(json.dumps(fitted))


def variant(recipe: Recipe) -> str:
    """Return the name of the recipe's scaling: recipes with the same one share an encoder."""
    name = f"{recipe.scale} per channel" if recipe.scale_per_channel else recipe.scale
    return name if recipe.data == 1 else f"{name}, {recipe.data} of the rows"


def read_encoder(scalers: str | Path, seed: int, recipe: Recipe, prepared: Prepared) -> Encoder:
    """Return one encoder out of the file that `write` wrote."""
    schema = prepared.schema
    values = json.loads(Path(scalers).read_text())[str(seed)][variant(recipe)]
    return Encoder.from_json(values, schema.kind, schema.inputs, schema.columns)


def fit(prepared: Prepared, seed: int, wanted: dict[str, Recipe]) -> dict[str, Encoder]:
    """Return an encoder for each of the recipes, under the same names, from the rows of one seed that it trains on."""
    schema = prepared.schema

    @cache
    def measured(share: float, per_channel: bool) -> Statistics:  # scalings of the same rows share it
        return image_statistics(prepared.rows, prepared.split(seed, share)[0], per_channel=per_channel)

    encoders = {}
    for name, recipe in wanted.items():
        if schema.kind == "image":
            offset, divisor, spread = measured(recipe.data, recipe.scale_per_channel).scaling(recipe.scale)
            encoders[name] = Encoder("image", schema.inputs, offset=offset, divisor=divisor, spread=spread)
            continue
        rows, _ = prepared.split(seed, recipe.data)
        if schema.kind == "text":
            known = vocabulary(prepared.x, rows, schema.inputs.sizes[0])
            encoders[name] = Encoder("text", schema.inputs, known=(known,))
        else:
            encoders[name] = _table(prepared, rows, recipe.scale)
    return encoders


@dataclass(frozen=True)
class Statistics:
    """Statistics of the train rows, each float64: () or (channels,) for images, (numbers,) for tables."""

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    quartiles: np.ndarray  # (3, ...), the middle one is the median

    def scaling(self, kind: Scale) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return offset and divisor for one way of scaling, and the spread of what it makes (3, ...).

        What is constant is only shifted. `robust` is (x - median) / (the quartiles' distance); where the quartiles
        are equal, as of a column that is mostly 0, the standard deviation stands in for their distance.
        """
        between = self.quartiles[2] - self.quartiles[0]
        offset, divisor = {
            "none": (np.zeros_like(self.mean), np.ones_like(self.mean)),
            "minmax": (self.low, self.high - self.low),
            "tanh": ((self.high + self.low) / 2, (self.high - self.low) / 2),
            "standardize": (self.mean, self.std),
            "robust": (self.quartiles[1], np.where(between > 0, between, self.std)),
        }[kind]
        divisor = np.where(divisor > 0, divisor, 1.0)
        return np.asarray(offset), divisor, np.stack([self.std, self.low - offset, self.high - offset]) / divisor


def image_statistics(x: np.ndarray | RowFile, rows: np.ndarray, *, per_channel: bool = False) -> Statistics:
    """Measure the pixels of the given rows, of all channels together or of each."""
    if x[rows[:1]].dtype == np.uint8:
        return _byte_statistics(x, rows, per_channel)
    axes = (0, 1, 2) if per_channel else None
    # The variance is taken about the first chunk's mean: a sum of plain squares would lose its digits where the mean is
    # large beside the spread (Chan, Golub and LeVeque 1983).
    about = np.mean(next(chunks(x, rows)), axis=axes, dtype=np.float64)
    lows, highs, sums, squares, count = [], [], [], [], 0
    for chunk in chunks(x, rows):
        values = np.asarray(chunk, np.float64)
        lows.append(values.min(axis=axes))
        highs.append(values.max(axis=axes))
        sums.append((values - about).sum(axis=axes))
        squares.append(((values - about) ** 2).sum(axis=axes))
        count += values.size // np.size(about)
    shift = np.sum(sums, axis=0) / count
    variance = np.maximum(np.sum(squares, axis=0) / count - shift**2, 0.0)
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    steps = np.where(high > low, (high - low) / BINS, 1.0)
    counts = _counts(x, rows, per_channel, BINS + 1, lambda values: ((values - low) / steps).astype(np.int64))
    quartiles = low + np.reshape(_quartiles(counts), (3, *np.shape(low))) * steps
    return Statistics(low, high, about + shift, np.sqrt(variance), quartiles)


def _byte_statistics(x: np.ndarray | RowFile, rows: np.ndarray, per_channel: bool) -> Statistics:
    """Measure bytes by counting how often each of the 256 occurs: exact, and in one pass."""
    counts = _counts(x, rows, per_channel, 256, lambda values: values)
    shape = (len(counts),) if per_channel else ()
    values, shares = np.arange(256.0), counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
    present = counts > 0
    low, high = present.argmax(axis=1), 255 - present[:, ::-1].argmax(axis=1)
    low, high, mean, std = (np.asarray(measure, np.float64).reshape(shape) for measure in (low, high, mean, std))
    return Statistics(low, high, mean, std, np.asarray(_quartiles(counts), np.float64).reshape(3, *shape))


def _counts(
    x: np.ndarray | RowFile, rows: np.ndarray, per_channel: bool, bins: int, bin_of: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return how often each bin occurs: int64 (1, bins), or (channels, bins)."""
    counts = np.zeros((x[rows[:1]].shape[-1] if per_channel else 1, bins), np.int64)
    for chunk in chunks(x, rows):
        in_bins = bin_of(chunk)
        for channel, of_channel in enumerate(np.moveaxis(in_bins, -1, 0) if per_channel else [in_bins]):
            counts[channel] += np.bincount(of_channel.ravel(), minlength=bins)
    return counts


def _quartiles(counts: np.ndarray) -> np.ndarray:
    """Return the bins of the quartiles, int64 (3, channels); of counts (channels, bins)."""
    cumulated = counts.cumsum(axis=1)
    return np.array([[np.searchsorted(row, share * row[-1]) for row in cumulated] for share in (0.25, 0.5, 0.75)])


def table_statistics(prepared: Prepared, rows: np.ndarray) -> Statistics:
    """Measure the columns of numbers in the given rows; missing values count for nothing."""
    measured = []
    for column in number_columns(prepared.schema.columns):
        values = np.asarray(prepared.x[rows, column], np.float64)
        values = values[~np.isnan(values)]
        values = values if len(values) else np.zeros(1)  # all are missing, and so will be filled with 0
        low, high, *quartiles = np.quantile(values, (0, 1, 0.25, 0.5, 0.75))
        unit = math.ldexp(1.0, math.frexp(max(-low, high))[1] - 1)  # squares of 1e200 or of 1e-200 are no numbers
        measured.append([low, high, unit * (values / unit).mean(), unit * (values / unit).std(), *quartiles])
    low, high, mean, std, *quartiles = np.array(measured, np.float64).reshape(-1, 7).T
    return Statistics(low, high, mean, std, np.stack(quartiles))


def _table(prepared: Prepared, rows: np.ndarray, kind: Scale) -> Encoder:
    schema, statistics = prepared.schema, table_statistics(prepared, rows)
    offset, divisor, spread = statistics.scaling(kind)
    codes = [np.asarray(prepared.x[rows, column]) for column in category_columns(schema.columns)]
    rest = schema.inputs.shape[0] - len(offset)
    return Encoder(
        "table",
        schema.inputs,
        schema.columns,
        offset=offset,
        divisor=divisor,
        median=statistics.quartiles[1],
        known=tuple(np.unique(column[~np.isnan(column)]).astype(np.int64) for column in codes),
        absent=tuple(bool(np.isnan(column).any()) for column in codes),
        spread=np.concatenate([spread, np.zeros((3, rest))], axis=1),
    )


def vocabulary(x: np.ndarray, rows: np.ndarray, size: int) -> np.ndarray:
    """Return the most frequent words of the rows, as prepared data numbers them (words,); of equals the lower number.

    The size is that of the vocabulary with the two numbers that stand for no word.
    """
    counts = np.bincount(np.asarray(x[rows]).ravel())
    counts[0] = 0
    order = np.argsort(-counts, kind="stable")[: size - FIRST_WORD]
    return order[counts[order] > 0]
