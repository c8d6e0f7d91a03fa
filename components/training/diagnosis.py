"""What is wrong inside a network, out of what `layer_watch` measured in every epoch.

QUANTITIES of a layer, each of one step, the last whole batch of the epoch:
    gradient_norm  length of the gradient of its kernels, before clipping and with the L1 and L2 penalties
    weight_norm    length of its kernels
    update_ratio   length of the step that its kernels took, as a share of weight_norm
    dead           relu and gelu: share of the units that no row (and no place of an image or text) makes positive
    saturated      sigmoid and tanh: share of the outputs that are within 1.5 % of the range of one of its ends
    spread         standard deviation of a unit's outputs over the batch, the mean over the units

The thresholds are far from what sound networks have, since a false alarm costs trust: of all models on digits, iris,
wine and fortunes the medians over the epochs had gradients above 0.1 of the last layer's, updates from 4e-4 to 1.3e-2,
and at most 0.2 dead or saturated.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from components.runtime.cells import Diagnosis
from components.study.recipe import Train

if TYPE_CHECKING:
    from components.training.engine import Fit

QUANTITIES = ("gradient_norm", "weight_norm", "update_ratio", "dead", "saturated", "spread")

VANISHED = 1e-3  # of the last layer's gradient: each of ten layers halves it, as no sound network's do
EXPLODED = 1e3  # times the last layer's gradient
DEAD = 0.5  # share of units, in the later half of the epochs: one that a batch misses may yet live
SATURATED = 0.5  # share of outputs, in the later half of the epochs
LARGE_UPDATE = 0.1  # of the weights in one step; about 1e-3 is usual
SMALL_UPDATE = 1e-5  # of the weights in one step: ten thousand steps would not change them by a tenth
GREW = 10  # times the gradient of the first epoch, from where it is named as the reason of a divergence


def diagnose(fit: Fit, classes: int, recipe: Train) -> tuple[Diagnosis, ...]:
    """Return what was wrong in a training, the gravest first; mostly nothing."""
    diverged = _divergence(fit, classes, recipe)
    found = [diverged]
    if fit.diagnostics:
        idle = [_dead(fit), _saturated(fit)]
        # Dead units pass no gradient: it is lost there, and does not vanish on its way, nor is a step too short.
        small = None if any(idle) else _too_small(fit, recipe)
        found += [*idle, None if idle[0] else _vanishing(fit), _exploding(fit)]
        found += [None if diverged else _too_large(fit, recipe), small]
    return tuple(diagnosis for diagnosis in found if diagnosis)


def by_layer(fit: Fit) -> dict[str, dict[str, tuple[float | None, ...]]]:
    """Return for each layer the quantities that it has, epoch by epoch; None where one is not a finite number."""
    measured = np.array(fit.diagnostics).reshape(len(fit.diagnostics), len(fit.layers), len(QUANTITIES))
    return {
        layer: {
            quantity: tuple(float(value) if math.isfinite(value) else None for value in measured[:, i, j])
            for j, quantity in enumerate(QUANTITIES)
            if not np.isnan(measured[:, i, j]).all()
        }
        for i, layer in enumerate(fit.layers)
    }


def _divergence(fit: Fit, classes: int, recipe: Train) -> Diagnosis | None:
    losses, guess = fit.curves["loss"], math.log(max(classes, 2))
    if fit.diverged is not None:
        numbers: dict[str, float] = {"epoch": fit.diverged + 1, "epochs": recipe.epochs}
    elif losses and losses[-1] > max(losses[0], 2 * guess):
        numbers = {"first_loss": losses[0], "last_loss": losses[-1], "loss_of_guessing": guess}
    else:
        return None
    layer, growth = _growth(fit)
    numbers |= {**growth, "learning_rate": recipe.learning_rate}
    return Diagnosis(
        "training diverges", layer, numbers | ({"clip_norm": recipe.clip_norm} if recipe.clip_norm else {})
    )


def _growth(fit: Fit) -> tuple[str | None, dict[str, float]]:
    """Return the layer whose gradients grew most before a divergence, and from what to what they all did."""
    gradients = _quantity(fit, "gradient_norm")
    if len(gradients) < 2 or np.isnan(gradients).all(axis=1).any():
        return None, {}
    first, last = float(np.nanmax(gradients[0])), float(np.nanmax(gradients[-1]))
    if not last > GREW * first:
        return None, {}
    return _most(fit, gradients[-1]), {"first_gradient": first, "last_gradient": last}


def _vanishing(fit: Fit) -> Diagnosis | None:
    shares = _of_the_last(fit)
    if not (shares < VANISHED).any():
        return None
    least = int(np.nanargmin(shares))
    return Diagnosis("gradients vanish", fit.layers[least], {"share": float(shares[least])})


def _exploding(fit: Fit) -> Diagnosis | None:
    shares = _of_the_last(fit)
    if not (shares > EXPLODED).any():
        return None
    return Diagnosis("gradients explode", _most(fit, shares), {"times": float(np.nanmax(shares))})


def _dead(fit: Fit) -> Diagnosis | None:
    share = _middle(_later(_quantity(fit, "dead")))
    if not (share >= DEAD).any():
        return None
    return Diagnosis("units are dead", _most(fit, share), {"share": float(np.nanmax(share))})


def _saturated(fit: Fit) -> Diagnosis | None:
    share = _middle(_later(_quantity(fit, "saturated")))
    if not (share >= SATURATED).any():
        return None
    return Diagnosis("units saturate", _most(fit, share), {"share": float(np.nanmax(share))})


def _too_large(fit: Fit, recipe: Train) -> Diagnosis | None:
    ratios = _middle(_quantity(fit, "update_ratio"))
    if not (ratios >= LARGE_UPDATE).any():
        return None
    numbers = {"share": float(np.nanmax(ratios)), "learning_rate": recipe.learning_rate}
    return Diagnosis("updates are too large", _most(fit, ratios), numbers)


def _too_small(fit: Fit, recipe: Train) -> Diagnosis | None:
    # Of all layers and epochs the greatest: one that has learned all it can moves little, as do the first layers of a
    # network in which gradients vanish.
    ratios = _quantity(fit, "update_ratio")
    if np.isnan(ratios).all() or np.nanmax(ratios) >= SMALL_UPDATE:
        return None
    numbers = {"share": float(np.nanmax(ratios)), "learning_rate": recipe.learning_rate}
    return Diagnosis("updates are too small", None, numbers)


def _of_the_last(fit: Fit) -> np.ndarray:
    """Return each layer's gradient as a share of that of the last layer, in the middle of the epochs; (layers,)."""
    gradients = _quantity(fit, "gradient_norm")
    with np.errstate(invalid="ignore", divide="ignore"):  # all of them may be 0, once nothing is left to learn
        return _middle(gradients / gradients[:, -1:])


def _quantity(fit: Fit, name: str) -> np.ndarray:
    """Return float64 (epochs, layers)."""
    measured = np.array(fit.diagnostics, np.float64).reshape(len(fit.diagnostics), len(fit.layers), len(QUANTITIES))
    return measured[:, :, QUANTITIES.index(name)]


def _middle(values: np.ndarray) -> np.ndarray:
    """Return the median over the epochs, NaN where a layer has no number at all; (epochs, layers) -> (layers,)."""
    return np.array([np.median(of[~np.isnan(of)]) if not np.isnan(of).all() else math.nan for of in values.T])


def _later(values: np.ndarray) -> np.ndarray:
    return values[len(values) // 2 :]


def _most(fit: Fit, values: np.ndarray) -> str:
    """Return the name of the layer with the greatest value."""
    return fit.layers[int(np.nanargmax(values))]
