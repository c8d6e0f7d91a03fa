"""The learning curve: how the error falls with the number of train rows, and what more rows would bring.

Errors follow a power law, error = floor + scale * rows^-exponent, over wide ranges of data (Hestness et al. 2017,
"Deep Learning Scaling is Predictable, Empirically"). It is fitted to the means over seeds. Its uncertainty comes from
fitting it again to seeds drawn with replacement (Efron 1979); it is that of the fit, and not of the law.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.optimize import minimize_scalar, nnls

EXPONENTS = np.geomspace(0.02, 2.0, 40)  # Hestness et al. found 0.07 to 0.35; small tables fall faster
WITH_FLOOR = 4  # sizes from which a floor is fitted: with fewer it would only follow the noise
DRAWS = 300
FEWEST_SEEDS = 3


@dataclass(frozen=True)
class PowerLaw:
    """error = floor + scale * rows^-exponent; all are at least 0."""

    floor: float
    scale: float
    exponent: float

    def __call__(self, rows: Any) -> Any:
        """Return the error with so many rows."""
        return self.floor + self.scale * np.asarray(rows, np.float64) ** -self.exponent

    def rows(self, error: float) -> float:
        """Return with how many rows the error would be this; infinity where it never is."""
        if error <= self.floor or self.scale == 0:
            return np.inf
        return float(np.exp(np.log(self.scale / (error - self.floor)) / self.exponent))


@dataclass(frozen=True)
class CurvePoint:
    """A size of the learning curve: the arm that has it, its train rows, the seeds' mean, least and greatest error."""

    arm: str
    rows: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """How the error falls with the number of train rows."""

    points: tuple[CurvePoint, ...]  # the smallest first
    law: PowerLaw  # that is fitted to them
    rows: int  # that the reference trains on
    now: float  # the law's error with `rows`
    twice: float  # and with twice as many
    twice_low: float | None  # its 95 % interval; None with fewer than FEWEST_SEEDS seeds
    twice_high: float | None


def fit(rows: np.ndarray, errors: np.ndarray) -> PowerLaw:
    """Return the power law nearest to the errors by relative squares; rows and errors are float64 (sizes,).

    With the exponent given the law is linear in floor and scale, so the exponents are tried one after another: no
    start to choose, and nothing that may not converge.
    """
    weights = 1 / np.maximum(errors, 1e-9)
    shares = rows / rows.max()  # near 1, so that the squares keep their digits

    def solved(exponent: float) -> tuple[np.ndarray, float]:
        columns = [shares**-exponent] + [np.ones_like(shares)] * (len(rows) >= WITH_FLOOR)
        return nnls(np.stack(columns, axis=1) * weights[:, None], errors * weights)

    def misfit(exponent: float) -> float:
        return solved(exponent)[1]

    place = int(np.argmin([misfit(exponent) for exponent in EXPONENTS]))
    near = EXPONENTS[max(place - 1, 0)], EXPONENTS[min(place + 1, len(EXPONENTS) - 1)]
    exponent = float(minimize_scalar(misfit, bounds=near, options={"xatol": 1e-4}).x)
    scale, *floor = solved(exponent)[0].tolist()
    return PowerLaw(floor[0] if floor else 0.0, scale * float(rows.max()) ** exponent, exponent)


def learning_curve(
    errors: Mapping[int, np.ndarray], rows: int, overlap: float, arms: Mapping[int, str]
) -> LearningCurve:
    """Return the curve: the sizes, the law, and what twice the rows would bring.

    Args:
        errors: for each number of train rows (two or more) the error of each seed (seeds,).
        rows: that the reference trains on.
        overlap: validation rows divided by train rows.
        arms: for each number of train rows the arm that has it.
    """
    sizes = np.array(sorted(errors), np.float64)
    values = np.stack([errors[int(size)] for size in sizes])
    law = fit(sizes, values.mean(axis=1))
    low = high = None
    seeds = values.shape[1]
    if seeds >= FEWEST_SEEDS:
        drawn = np.random.default_rng(0).integers(0, seeds, (DRAWS, seeds))
        twice = [float(fit(sizes, values[:, of].mean(axis=1))(2 * rows)) for of in drawn]
        # A bootstrap of few seeds is too narrow, by what a t interval and an unbiased deviation mend; and the seeds'
        # train sets overlap, see `components.stats.paired_effects`.
        half = np.std(twice) * stats.t.ppf(0.975, seeds - 1) * np.sqrt(seeds / (seeds - 1) * (1 + seeds * overlap))
        low, high = max(float(law(2 * rows) - half), 0.0), float(law(2 * rows) + half)
    points = tuple(
        CurvePoint(arms[int(size)], int(size), float(of.mean()), float(of.min()), float(of.max()))
        for size, of in zip(sizes, values, strict=True)
    )
    return LearningCurve(points, law, rows, float(law(rows)), float(law(2 * rows)), low, high)


def worth_in_data(curve: LearningCurve, effect: float, removed: bool) -> float | None:
    """Return how many times the data a technique is worth; None where no amount of data would do as much.

    Args:
        curve: what `learning_curve` returned.
        effect: of the technique on the error's metric, positive where it helps.
        removed: the reference has the technique, and the arm lacks it; else the arm adds it.
    """
    # The reference's curve is all there is. Without the technique the error is as high as with fewer rows; with one
    # more technique it is as low as with more rows.
    same = curve.law.rows(curve.now + effect if removed else curve.now - effect)
    if not 0 < same < np.inf:
        return None
    return curve.rows / same if removed else same / curve.rows
