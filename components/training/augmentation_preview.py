"""What augmentation does to the data: some train rows, and what the recipe makes of them."""

import warnings
from pathlib import Path

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from components.data.encoding import Encoder
from components.data.prepared import Prepared
from components.study.recipe import Augment
from components.training import augment

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
            augmented_texts(texts).savefig(file, dpi=150)
        return
    low, high = encoder.spread[1:].astype(np.float32)
    # As shares of the train rows' range: white is the brightest that there is in them.
    width = np.where(high > low, high - low, 1)
    shares = {title: np.clip((images - low) / width, 0, 1) for title, images in shown.items()}
    augmentations(shares).savefig(file, dpi=150)


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
    for title, variant in recipes.items():
        draws = augment.draw(batch, variant, tf.constant((seed, 0), tf.int32))
        changed[title] = augment.change(batch, variant, draws, measures, compiled=False)[0].numpy()
    return changed


def _rows(prepared: Prepared, seed: int) -> np.ndarray:
    """Return the numbers of some train rows, of as many classes as there is room for."""
    rows = prepared.split(seed)[0]
    _, first = np.unique(np.asarray(prepared.y[rows]), return_index=True)
    rest = np.setdiff1d(np.arange(len(rows)), first)
    return rows[np.concatenate([first, rest])[:IMAGES]]


TEXT_WIDTH = 100  # letters of a text


def augmentations(versions: dict[str, np.ndarray]) -> Figure:
    """Return a row of images for each version, under its name.

    Args:
        versions: (images, height, width, channels) each, the same images; 0 is black and 1 is white.
    """
    columns = len(next(iter(versions.values())))
    figure = Figure(figsize=(1.3 + columns, 0.2 + 1.05 * len(versions)), layout="constrained")
    panels = figure.subplots(len(versions), columns, squeeze=False)
    for row, (title, images) in zip(panels, versions.items(), strict=True):
        for axes, image in zip(row, images, strict=True):
            # Three channels are colors; of any other number the first is shown.
            axes.imshow(image if image.shape[-1] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def augmented_texts(versions: dict[str, list[str]]) -> Figure:
    """Return the beginnings of texts, each with its versions below it, under their names."""
    texts, lines = len(next(iter(versions.values()))), len(versions)
    figure = Figure(figsize=(10, 0.3 + texts * (0.25 * lines + 0.2)), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(texts * (lines + 1), 0)
    for row in range(texts):
        for line, (title, of) in enumerate(versions.items()):
            place = row * (lines + 1) + line + 0.5
            begin = of[row] if len(of[row]) <= TEXT_WIDTH else f"{of[row][:TEXT_WIDTH]} ..."
            axes.text(0.15, place, title, ha="right", va="center", fontsize=8, color="#6e7781", parse_math=False)
            axes.text(0.17, place, begin, va="center", fontsize=8, family="monospace", parse_math=False)
    return figure
