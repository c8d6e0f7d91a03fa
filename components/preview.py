"""What augmentation does to the data: some train rows, and what the recipe makes of them."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from components import augment, figures
from components.encode import Encoder
from components.prepared import Prepared
from components.recipe import Augment

IMAGES = 8


def draw(prepared: Prepared, encoder: Encoder, recipe: Augment, file: Path, seed: int = 0) -> None:
    """Write a figure of train images and of their augmented versions, for each technique alone and for all.

    Args:
        prepared: the data; images.
        encoder: the one that the recipe trains with: augmentation changes scaled rows.
        recipe: what may change.
        file: a PNG file.
        seed: whose train rows, and whose draws.
    """
    originals = encoder(prepared.x[_rows(prepared, seed)])
    shown = {"original": originals, **versions(originals, recipe, seed, encoder.spread)}
    low, high = encoder.spread[1:].astype(np.float32)
    # As shares of the train rows' range: white is the brightest that there is in them.
    width = np.where(high > low, high - low, 1)
    shares = {title: np.clip((images - low) / width, 0, 1) for title, images in shown.items()}
    figures.augmentations(shares).savefig(file, dpi=150)


def versions(x: np.ndarray, recipe: Augment, seed: int, spread: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scaled images as each technique of the recipe alone changes them, and as all do together.

    The draws are those that a batch of these images would get in the first step. They are not compiled, which would
    take longer than to change so few.
    """
    on = recipe.techniques()
    recipes = {name.replace("_", " "): Augment.model_validate({name: getattr(recipe, name)}) for name in on}
    if len(on) > 1:
        recipes["all together"] = recipe
    batch, measures = tf.constant(x), tf.constant(spread, tf.float32)
    changed = {}
    for title, one in recipes.items():
        draws = augment.draw(batch, one, tf.constant((seed, 0), tf.int32))
        changed[title] = augment.change(batch, one, draws, measures, compiled=False)[0].numpy()
    return changed


def _rows(prepared: Prepared, seed: int) -> np.ndarray:
    """Return the numbers of some train rows, of as many classes as there is room for."""
    rows = prepared.split(seed)[0]
    _, first = np.unique(np.asarray(prepared.y[rows]), return_index=True)
    rest = np.setdiff1d(np.arange(len(rows)), first)
    return rows[np.concatenate([first, rest])[:IMAGES]]
