"""What augmentation does to the data: some train rows, and what the recipe makes of them."""

import warnings
from pathlib import Path

import numpy as np
import tensorflow as tf

from components import augment, figures
from components.encode import Encoder
from components.prepared import Prepared
from components.recipe import Augment

IMAGES = 8
TEXTS = 4


def draw(prepared: Prepared, encoder: Encoder, recipe: Augment, file: Path, seed: int = 0) -> None:
    """Write a figure of train rows and of their augmented versions, for each technique alone and for all.

    Args:
        prepared: the data; images or text.
        encoder: the one that the recipe trains with: augmentation changes scaled rows.
        recipe: what may change.
        file: a PNG file.
        seed: whose train rows, and whose draws.
    """
    originals = encoder(prepared.x[_rows(prepared, seed)])
    shown = {"original": originals, **versions(originals, recipe, seed, encoder.spread)}
    if prepared.schema.kind == "text":
        words = np.array(["", "[?]", *(prepared.words[number - 1] for number in encoder.known[0])], object)
        texts = {title: [" ".join(words[row[row > 0]]) for row in rows[:TEXTS]] for title, rows in shown.items()}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # matplotlib's own font has no Chinese
            figures.augmented_texts(texts).savefig(file, dpi=150)
        return
    low, high = encoder.spread[1:].astype(np.float32)
    # As shares of the train rows' range: white is the brightest that there is in them.
    width = np.where(high > low, high - low, 1)
    shares = {title: np.clip((images - low) / width, 0, 1) for title, images in shown.items()}
    figures.augmentations(shares).savefig(file, dpi=150)


def versions(x: np.ndarray, recipe: Augment, seed: int, spread: np.ndarray) -> dict[str, np.ndarray]:
    """Return the encoded rows as each technique of the recipe alone changes them, and as all do together.

    The draws are those that a batch of these rows would get in the first step. They are not compiled, which would
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
