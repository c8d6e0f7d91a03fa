"""What is wrong inside a network, out of what `layer_watch` measured in every epoch.

QUANTITIES of a layer, each of one step, the last whole batch of the epoch:
    gradient_norm  length of the gradient of its kernels, before clipping and without the L1 and L2 penalties
    weight_norm    length of its kernels
    update_ratio   length of the step that its kernels took, as a share of weight_norm
    dead           relu and gelu: share of the units that no row (and no place of an image or text) makes positive
    saturated      sigmoid and tanh: share of the outputs that are within 1.5 % of the range of one of its ends
    spread         standard deviation of a unit's outputs over the batch, the mean over the units

The thresholds are far from what sound networks have, since a false alarm costs trust: of all models on digits, iris,
wine and fortunes the medians over the epochs had gradients above 0.1 of the last layer's, updates from 4e-4 to 1.3e-2,
and at most 0.2 dead or saturated.
"""

import math

import numpy as np

from components.runtime.cells import Diagnosis, DiagnosisKind
from components.study.recipe import Train
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
        later = len(fit.diagnostics) // 2
        dead = _greatest("units are dead", fit, _middle(_quantity(fit, "dead")[later:]), DEAD)
        saturated = _greatest("units saturate", fit, _middle(_quantity(fit, "saturated")[later:]), SATURATED)
        gradients = _quantity(fit, "gradient_norm")
        with np.errstate(invalid="ignore", divide="ignore"):  # all of them may be 0, once nothing is left to learn
            shares = _middle(gradients / gradients[:, -1:])  # of the last layer's
        updates = _quantity(fit, "update_ratio")
        # Dead units pass no gradient: it is lost there, and does not vanish on its way, nor is a step too short.
        found += [dead, saturated, None if dead else _vanishing(fit, shares)]
        found.append(_greatest("gradients explode", fit, shares, EXPLODED, "times"))
        if not diverged:
            rate = recipe.learning_rate
            found.append(_greatest("updates are too large", fit, _middle(updates), LARGE_UPDATE, learning_rate=rate))
        # Of all layers and epochs the greatest: one that has learned all it can moves little, as do the first layers
        # of a network in which gradients vanish.
        if not (dead or saturated or np.isnan(updates).all()) and np.nanmax(updates) < SMALL_UPDATE:
            numbers = {"share": float(np.nanmax(updates)), "learning_rate": recipe.learning_rate}
            found.append(Diagnosis("updates are too small", None, numbers))
    return tuple(diagnosis for diagnosis in found if diagnosis)


def by_layer(fit: Fit) -> dict[str, dict[str, tuple[float | None, ...]]]:
    """Return for each layer the quantities that it has, epoch by epoch; None where one is not a finite number."""
    measured = {quantity: _quantity(fit, quantity) for quantity in QUANTITIES}
    return {
        layer: {
            quantity: tuple(float(value) if math.isfinite(value) else None for value in values[:, i])
            for quantity, values in measured.items()
            if not np.isnan(values[:, i]).all()
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
    layer, gradients = None, _quantity(fit, "gradient_norm")
    if len(gradients) > 1 and not np.isnan(gradients).all(axis=1).any():
        first, last = float(np.nanmax(gradients[0])), float(np.nanmax(gradients[-1]))
        if last > GREW * first:  # of the layer whose gradients are the largest now
            layer = fit.layers[int(np.nanargmax(gradients[-1]))]
            numbers |= {"first_gradient": first, "last_gradient": last}
    numbers["learning_rate"] = recipe.learning_rate
    if recipe.clip_norm:
        numbers["clip_norm"] = recipe.clip_norm
    return Diagnosis("training diverges", layer, numbers)


def _vanishing(fit: Fit, shares: np.ndarray) -> Diagnosis | None:
    if not (shares < VANISHED).any():
        return None
    least = int(np.nanargmin(shares))
    return Diagnosis("gradients vanish", fit.layers[least], {"share": float(shares[least])})


def _greatest(
    kind: DiagnosisKind, fit: Fit, values: np.ndarray, limit: float, name: str = "share", **more: float
) -> Diagnosis | None:
    """Return what is wrong with the layer of the greatest of `values` (layers,), where that reaches the limit."""
    if not (values >= limit).any():
        return None
    most = int(np.nanargmax(values))
    return Diagnosis(kind, fit.layers[most], {name: float(values[most]), **more})


def _quantity(fit: Fit, name: str) -> np.ndarray:
    """Return float64 (epochs, layers)."""
    measured = np.array(fit.diagnostics, np.float64).reshape(len(fit.diagnostics), len(fit.layers), len(QUANTITIES))
    return measured[:, :, QUANTITIES.index(name)]


def _middle(values: np.ndarray) -> np.ndarray:
    """Return the median over the epochs, NaN where a layer has no number at all; (epochs, layers) -> (layers,)."""
    return np.array([np.median(of[~np.isnan(of)]) if not np.isnan(of).all() else math.nan for of in values.T])
