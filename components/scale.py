"""Step `scale`: for each seed, a scaler from the TRAIN rows of that seed; it becomes part of the saved model.

A scaler is an offset and a divisor: scaled = (x - offset) / divisor. Images have one of each for all pixels,
tables one for each column.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.events import step
from components.prepared import Prepared, RowFile
from components.study import Kind, Scale, Study

CHUNK_VALUES = 2**22  # values read at a time (32 MB as float64), so that data larger than memory can be scaled


@dataclass(frozen=True)
class Scaler:
    """scaled = (x - offset) / divisor.

    Attributes:
        offset: float64, () for images, (columns,) for tables.
        divisor: as `offset`; 1 where the train rows are all alike.
        spread: float64 (3,) for images, (3, columns) for tables: standard deviation, least and greatest value of the
            scaled train rows; what augmentation measures with.
    """

    offset: np.ndarray
    divisor: np.ndarray
    spread: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the rows scaled, as float32."""
        offset, factor = self.float32()
        return (np.asarray(x, np.float32) - offset) * factor

    def float32(self) -> tuple[np.ndarray, np.ndarray]:
        """Return offset and factor (1 / divisor) as the saved model has them, so that it answers as the trained one."""
        return self.offset.astype(np.float32), (1 / self.divisor).astype(np.float32)


def scale(study: str, data: str, scalers: str) -> None:
    """Write the scalers of all seeds and of all scalings that an arm uses, as JSON: `{seed: {scaling: scaler}}`."""
    parsed = Study.model_validate_json(study)
    with step("scale") as this, this.span("data"):
        prepared = Prepared(data)
        kinds: list[Scale] = sorted({arm.recipe.scale for arm in parsed.expand()})
        fitted = {}
        for seed in range(parsed.seeds):
            train_rows, _ = prepared.split(seed)
            statistics = Statistics.of(prepared.rows, train_rows, prepared.schema.kind)
            fitted[seed] = {kind: _to_json(statistics.scaler(kind)) for kind in kinds}
        Path(scalers).write_text(json.dumps(fitted))


def read_scaler(scalers: str | Path, seed: int, kind: Scale) -> Scaler:
    """Return one scaler out of the file that `scale` wrote."""
    values = json.loads(Path(scalers).read_text())[str(seed)][kind]
    return Scaler(**{name: np.array(value) for name, value in values.items()})


def _to_json(scaler: Scaler) -> dict[str, list[float] | float]:
    return {name: getattr(scaler, name).tolist() for name in ("offset", "divisor", "spread")}


@dataclass(frozen=True)
class Statistics:
    """Least, greatest, mean and standard deviation of the train rows; float64, () for images, (columns,) for tables."""

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray | RowFile, rows: np.ndarray, kind: Kind) -> "Statistics":
        """Measure the given rows, chunk by chunk.

        The variance is taken about the first chunk's mean: a sum of plain squares would lose its digits where the
        mean is large beside the spread (Chan, Golub and LeVeque 1983).
        """
        axes = None if kind == "image" else 0
        size = max(CHUNK_VALUES // x[rows[:1]].size, 1)
        chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
        about = np.mean(x[chunks[0]], axis=axes, dtype=np.float64)
        lows, highs, sums, squares, count = [], [], [], [], 0
        for chunk in chunks:
            values = np.asarray(x[chunk], dtype=np.float64)
            lows.append(values.min(axis=axes))
            highs.append(values.max(axis=axes))
            sums.append((values - about).sum(axis=axes))
            squares.append(((values - about) ** 2).sum(axis=axes))
            count += values.size if kind == "image" else len(values)
        shift = np.sum(sums, axis=0) / count
        variance = np.maximum(np.sum(squares, axis=0) / count - shift**2, 0.0)
        return cls(np.min(lows, axis=0), np.max(highs, axis=0), about + shift, np.sqrt(variance))

    def scaler(self, kind: Scale) -> Scaler:
        """Return the scaler for one way of scaling; a column that is constant is only shifted."""
        zero, one = np.zeros_like(self.mean), np.ones_like(self.mean)
        offset, divisor = {
            "none": (zero, one),
            "minmax": (self.low, self.high - self.low),
            "tanh": ((self.high + self.low) / 2, (self.high - self.low) / 2),
            "standardize": (self.mean, self.std),
        }[kind]
        divisor = np.where(divisor > 0, divisor, 1.0)
        spread = np.stack([self.std, self.low - offset, self.high - offset]) / divisor
        return Scaler(np.asarray(offset), divisor, spread)
