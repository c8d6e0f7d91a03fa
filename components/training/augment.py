"""Augmentation of whole batches inside the training graph: one warp for all geometry, then colours, noise and mixing.

It is applied to scaled rows. Scaling is the same for all pixels, so it commutes with a warp; brightness, erasing and
noise measure with the scaled train rows' own range and standard deviation.

Random numbers come from the seed and the step alone: a seed gives every arm the same draws. Each technique folds a
number of its own (`STREAMS`) into that seed, so what one draws does not depend on which others are on.

Drawing is a few small ops. What touches pixels is compiled by XLA: a warp is one kernel, where coordinates, the four
reads of a pixel and their blend are never stored in between. On the CPU that is 2 to 4 times as fast as
`ImageProjectiveTransformV3`, for a tenth of a second of compiling per size of batch.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from components.data.encoding import NO_WORD, UNKNOWN_WORD
from components.study.recipe import FOR_TEXT, Augment

# What a technique folds into the seed. A number is never given to another one: draws would change between versions.
STREAMS = {
    "noise": 1,
    "rotate": 2,
    "shift": 3,
    "zoom": 4,
    "shear": 5,
    "horizontal_flip": 6,
    "vertical_flip": 7,
    "brightness": 8,
    "contrast": 9,
    "rand_augment": 10,
    "erase": 11,
    "erase_fill": 12,
    "mixup": 13,
    "cutmix": 14,
    "cutmix_box": 15,
    "partner": 16,
    "mixup_or_cutmix": 17,
    "mixup_category": 18,
    "drop_words": 19,
    "swap_words": 20,
    "swap_order": 21,
    "mask_words": 22,
}

# RandAugment's operations. Of the 14 of Cubuk et al. (2020) sharpness and equalize are left out: they need a pixel's
# neighbours and a histogram, which no single pass over the batch gives.
RAND_GEOMETRY = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
RAND_COLOURS = ("identity", "brightness", "contrast", "autocontrast", "solarize", "posterize")
RAND_CHANGES = 2  # operations drawn for each row
LUMA = (0.299, 0.587, 0.114)  # grey of red, green and blue, ITU-R BT.601

Affine = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
Draws = dict[str, tf.Tensor]


class Mixture(NamedTuple):
    """How the labels of mixed rows are mixed.

    Attributes:
        partner: int32 (rows,), for each row the number of the row of this batch that was mixed into it.
        weight: float32 (rows,), 0..1: of the row's own label; the rest is its partner's.
    """

    partner: tf.Tensor
    weight: tf.Tensor


@tf.autograph.experimental.do_not_convert  # nothing here loops; AutoGraph would read this file again while tracing
def augment(
    x: tf.Tensor, recipe: Augment, seed: tf.Tensor, spread: tf.Tensor, categories: int = 0
) -> tuple[tf.Tensor, Mixture | None]:
    """Return the batch, changed at random, and how its labels are mixed: None where they are not.

    Args:
        x: float32 (rows, height, width, channels) or (rows, columns), or int32 (rows, words), encoded.
        recipe: what may change, and by how much.
        seed: int32 (2,): the cell's seed and the number of the step.
        spread: float32 (3,) or (3, channels or columns), see `Encoder.spread`.
        categories: how many of the last columns of a table are no numbers.
    """
    return change(x, recipe, draw(x, recipe, seed, categories), spread, categories)


def draw(x: tf.Tensor, recipe: Augment, seed: tf.Tensor, categories: int = 0) -> Draws:
    """Return the random numbers of the techniques that are on; arguments as for `augment`.

    Not compiled by XLA, whose generator may be another one: the numbers are the same on every device.
    """
    rows = tf.shape(x)[0]

    def stream(name: str) -> tf.Tensor:
        return tf.random.experimental.stateless_fold_in(seed, STREAMS[name])

    def uniform(name: str, *shape: int | tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_uniform(shape, stream(name), -1.0, 1.0)

    def beta(name: str, alpha: float) -> tf.Tensor:
        """Beta(alpha, alpha) from two gammas, by their logarithms: with a small alpha both gammas may underflow.

        Gamma(alpha) is Gamma(alpha + 1) * U^(1 / alpha) (Marsaglia and Tsang 2000).
        """
        first, second = tf.unstack(tf.random.experimental.stateless_split(stream(name), 2))
        gamma = tf.random.stateless_gamma((2, rows), first, alpha + 1.0)
        power = tf.random.stateless_uniform((2, rows), second, 1e-7, 1.0)
        logs = tf.math.log(gamma) + tf.math.log(power) / alpha
        return tf.sigmoid(logs[0] - logs[1])

    draws = {}
    for name in recipe.techniques():
        if name == "shift":
            draws[name] = uniform(name, 2, rows)
        elif name == "rand_augment":
            draws[name] = uniform(name, 2, RAND_CHANGES, rows)
        elif name == "erase":
            draws[name] = uniform(name, 5, rows)
            draws["erase_fill"] = uniform("erase_fill", *tf.unstack(tf.shape(x)))
        elif name == "noise":
            draws[name] = tf.random.stateless_normal(tf.shape(x), stream(name))
        elif name in FOR_TEXT:
            draws[name] = uniform(name, *tf.unstack(tf.shape(x)))
        elif name in ("mixup", "cutmix"):
            draws[name] = beta(name, getattr(recipe, name))
        else:
            draws[name] = uniform(name, rows)
    if recipe.cutmix:
        draws["cutmix_box"] = uniform("cutmix_box", 2, rows)
    if recipe.mixup and categories:
        draws["mixup_category"] = uniform("mixup_category", rows, categories)
    if recipe.swap_words:
        draws["swap_order"] = uniform("swap_order", *tf.unstack(tf.shape(x)))
    if recipe.mixes():
        draws["partner"] = tf.argsort(uniform("partner", rows), stable=True)
    if recipe.mixup and recipe.cutmix:
        draws["mixup_or_cutmix"] = uniform("mixup_or_cutmix", rows)
    return draws


def change(
    x: tf.Tensor, recipe: Augment, draws: Draws, spread: tf.Tensor, categories: int = 0, *, compiled: bool = True
) -> tuple[tf.Tensor, Mixture | None]:
    """Return the batch changed as drawn, and how its labels are mixed; arguments as for `augment`."""

    def run(stage: Callable, *tensors):
        function = functools.partial(stage, recipe=recipe)
        return tf.function(function, jit_compile=True, autograph=False)(*tensors) if compiled else function(*tensors)

    # Each stage is compiled by itself: XLA would warp a pixel again wherever a later stage reads it.
    if recipe.geometry():
        x = run(_move, x, draws)
    if recipe.values():
        x = run(_revalue, x, draws, spread)
    if recipe.rewrites():
        x = _rewrite(x, draws, recipe)  # sorting is faster without XLA
    if not recipe.mixes():
        return x, None
    mixed, mixture = run(_mix, x, draws)
    if recipe.mixup and categories:
        mixed = _mixed_categories(x, mixed, draws, mixture, categories)
    return mixed, mixture


def _move(x: tf.Tensor, draws: Draws, *, recipe: Augment) -> tf.Tensor:
    randoms = _rand_augment(draws["rand_augment"], recipe, x.shape[-1]) if recipe.rand_augment else []
    return _warp(x, _affine(draws, recipe, randoms, x.shape))


def _revalue(x: tf.Tensor, draws: Draws, spread: tf.Tensor, *, recipe: Augment) -> tf.Tensor:
    """Change values where they are: brightness, contrast, RandAugment's colours, erasing, noise."""
    deviation, low, high = tf.unstack(spread)
    width = high - low
    if recipe.brightness:
        x += _over_pixels(draws["brightness"]) * recipe.brightness * width
    if recipe.contrast:
        mean = tf.reduce_mean(x, axis=(1, 2, 3), keepdims=True)
        x = mean + (x - mean) * (1.0 + _over_pixels(draws["contrast"]) * recipe.contrast)
    if recipe.brightness or recipe.contrast:
        x = tf.clip_by_value(x, low, high)
    if recipe.rand_augment:
        shown = tf.where(width > 0, width, 1.0)
        randoms = _rand_augment(draws["rand_augment"], recipe, x.shape[-1])
        x = low + shown * functools.reduce(_recolour, randoms, (x - low) / shown)
    if recipe.erase:
        fill = low + (draws["erase_fill"] + 1.0) / 2.0 * width
        x = tf.where(_erased(draws["erase"], recipe.erase, x.shape), fill, x)
    if recipe.noise:
        x += draws["noise"] * (recipe.noise * deviation)
    return x


def _over_pixels(values: tf.Tensor) -> tf.Tensor:
    """(rows,) -> (rows, 1, 1, 1)."""
    return values[:, tf.newaxis, tf.newaxis, tf.newaxis]


# Geometry. An affine map (a, b, c, d, e, f) sends the output pixel (i, j), counted from the centre, to the place
# (a i + b j + c, d i + e j + f) it is read from; each number is a float or a tensor (rows,).


def _affine(draws: Draws, recipe: Augment, randoms: "list[_Random]", shape: tf.TensorShape) -> Affine:
    """Return all geometry as one map."""
    height, width = shape[1], shape[2]
    maps = []
    if recipe.shift:
        maps.append(
            (1.0, 0.0, draws["shift"][0] * recipe.shift * width, 0.0, 1.0, draws["shift"][1] * recipe.shift * height)
        )
    if recipe.rotate:
        maps.append(_rotation(draws["rotate"] * math.radians(recipe.rotate)))
    if recipe.zoom:
        scale = 1.0 + draws["zoom"] * recipe.zoom
        maps.append((scale, 0.0, 0.0, 0.0, scale, 0.0))
    if recipe.shear:
        maps.append((1.0, tf.tan(draws["shear"] * math.radians(recipe.shear)), 0.0, 0.0, 1.0, 0.0))
    if recipe.horizontal_flip:
        maps.append((tf.where(draws["horizontal_flip"] < 0, -1.0, 1.0), 0.0, 0.0, 0.0, 1.0, 0.0))
    if recipe.vertical_flip:
        maps.append((1.0, 0.0, 0.0, 0.0, tf.where(draws["vertical_flip"] < 0, -1.0, 1.0), 0.0))
    return functools.reduce(_after, maps + [random.affine(height, width) for random in randoms])


def _rotation(angle: tf.Tensor) -> Affine:
    cos, sin = tf.cos(angle), tf.sin(angle)
    return cos, -sin, 0.0, sin, cos, 0.0


def _after(outer: Affine, inner: Affine) -> Affine:
    """Return the map that does `inner` first."""
    a, b, c, d, e, f = outer
    p, q, r, s, t, u = inner
    return a * p + b * s, a * q + b * t, a * r + b * u + c, d * p + e * s, d * q + e * t, d * r + e * u + f


def _warp(x: tf.Tensor, affine: Affine) -> tf.Tensor:
    """Resample bilinearly, once; edges are repeated outwards."""
    height, width, channels = x.shape[1:]
    a, b, c, d, e, f = (tf.convert_to_tensor(number, tf.float32) for number in affine)
    a, b, c, d, e, f = (number[..., tf.newaxis, tf.newaxis] for number in (a, b, c, d, e, f))
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    i = tf.range(width, dtype=tf.float32) - centre_x
    j = tf.range(height, dtype=tf.float32)[:, tf.newaxis] - centre_y
    from_x = tf.clip_by_value(a * i + b * j + c + centre_x, 0.0, width - 1.0)
    from_y = tf.clip_by_value(d * i + e * j + f + centre_y, 0.0, height - 1.0)
    # The last pixel is the neighbour of the last but one, with all the weight: no read is beyond the image.
    left = tf.minimum(tf.floor(from_x), max(width - 2.0, 0.0))
    top = tf.minimum(tf.floor(from_y), max(height - 2.0, 0.0))
    right_share, bottom_share = (from_x - left)[..., tf.newaxis], (from_y - top)[..., tf.newaxis]
    image = tf.range(tf.shape(x)[0])[:, tf.newaxis, tf.newaxis] * (height * width)
    place = image + tf.cast(top, tf.int32) * width + tf.cast(left, tf.int32)
    pixels = tf.reshape(x, (-1, channels))
    right, below = min(1, width - 1), width * min(1, height - 1)

    def row(first: tf.Tensor) -> tf.Tensor:
        return tf.gather(pixels, first) * (1.0 - right_share) + tf.gather(pixels, first + right) * right_share

    return row(place) * (1.0 - bottom_share) + row(place + below) * bottom_share


# RandAugment


class _Random(NamedTuple):
    """One drawn operation for each row.

    Attributes:
        names: of the operations.
        kind: int32 (rows,), which of them.
        sign: float32 (rows,), -1 or 1, for those that go either way.
        magnitude: 0..1.
    """

    names: tuple[str, ...]
    kind: tf.Tensor
    sign: tf.Tensor
    magnitude: float

    def chosen(self, name: str) -> tf.Tensor:
        """Return bool (rows,): where the operation was drawn."""
        return tf.equal(self.kind, self.names.index(name)) if name in self.names else tf.zeros_like(self.kind, tf.bool)

    def amount(self, name: str, most: float) -> tf.Tensor:
        """Return float32 (rows,): up to `most` either way where the operation was drawn, else 0."""
        return tf.where(self.chosen(name), self.sign, 0.0) * (most * self.magnitude)

    def affine(self, height: int, width: int) -> Affine:
        """Return the operation as a map; the ranges are those of Cubuk et al.: 30 degrees, 0.3, 0.45 of a side."""
        cos, minus_sin, _, sin, _, _ = _rotation(self.amount("rotate", math.radians(30)))
        shear_x, shear_y = self.amount("shear_x", 0.3), self.amount("shear_y", 0.3)
        shift_x, shift_y = self.amount("translate_x", 0.45 * width), self.amount("translate_y", 0.45 * height)
        return cos, minus_sin + shear_x, shift_x, sin + shear_y, cos, shift_y


def _rand_augment(draws: tf.Tensor, recipe: Augment, channels: int) -> list[_Random]:
    """Read draws (2, RAND_CHANGES, rows) as operations: the first half says which, the second in which direction."""
    names = RAND_GEOMETRY + RAND_COLOURS + (("colour",) if channels == 3 else ())
    kinds = tf.minimum(tf.cast((draws[0] + 1.0) / 2.0 * len(names), tf.int32), len(names) - 1)
    signs = tf.where(draws[1] < 0, -1.0, 1.0)
    return [_Random(names, kinds[i], signs[i], recipe.rand_augment) for i in range(RAND_CHANGES)]


def _recolour(z: tf.Tensor, random: _Random) -> tf.Tensor:
    """Apply one drawn operation to the colours of pixels in 0..1; rows that drew another kind stay as they are."""
    grey = tf.reduce_sum(z * LUMA, axis=-1, keepdims=True) if z.shape[-1] == 3 else z
    mean = tf.reduce_mean(grey, axis=(1, 2, 3), keepdims=True)

    def where(name: str, then: tf.Tensor) -> tf.Tensor:
        return tf.where(_over_pixels(random.chosen(name)), then, z)

    z = where("brightness", z * (1.0 + _over_pixels(random.amount("brightness", 0.9))))
    z = where("contrast", mean + (z - mean) * (1.0 + _over_pixels(random.amount("contrast", 0.9))))
    z = where("colour", grey + (z - grey) * (1.0 + _over_pixels(random.amount("colour", 0.9))))
    least, greatest = tf.reduce_min(z, axis=(1, 2), keepdims=True), tf.reduce_max(z, axis=(1, 2), keepdims=True)
    stretched = tf.where(greatest > least, (z - least) / tf.where(greatest > least, greatest - least, 1.0), z)
    z = where("autocontrast", stretched)
    z = where("solarize", tf.where(z > 1.0 - random.magnitude, 1.0 - z, z))
    step = 2.0 ** round(4 * random.magnitude)  # up to four of a byte's eight bits are dropped
    z = where("posterize", tf.floor(tf.round(z * 255.0) / step) * step / 255.0)
    return tf.clip_by_value(z, 0.0, 1.0)


# Rectangles and mixing


def _erased(draws: tf.Tensor, most: float, shape: tf.TensorShape) -> tf.Tensor:
    """Return bool (rows, height, width, 1): a rectangle in every second image (Zhong et al. 2020, RE-R).

    Its area is a twentieth of `most` up to `most` of the image's, its sides' ratio 0.3 to 1 / 0.3, as in the paper.
    """
    chance, area, ratio, down, across = tf.unstack(draws)
    area = most * (0.525 + 0.475 * area)
    stretch = tf.exp(ratio * (math.log(1 / 0.3) / 2))
    height, width = shape[1], shape[2]
    side = tf.sqrt(area * (height * width))
    tall, wide = (
        tf.clip_by_value(tf.round(side * stretch), 1, height),
        tf.clip_by_value(tf.round(side / stretch), 1, width),
    )
    top = tf.floor((down + 1.0) / 2.0 * (height - tall + 1.0))
    left = tf.floor((across + 1.0) / 2.0 * (width - wide + 1.0))
    return _over_pixels(chance < 0) & _box(top, left, top + tall, left + wide, shape)


def _box(top: tf.Tensor, left: tf.Tensor, bottom: tf.Tensor, right: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """Return bool (rows, height, width, 1): whether a pixel is in the row's box; each side is float32 (rows,)."""
    down = tf.range(shape[1], dtype=tf.float32)[:, tf.newaxis, tf.newaxis]
    across = tf.range(shape[2], dtype=tf.float32)[:, tf.newaxis]
    top, left, bottom, right = (_over_pixels(side) for side in (top, left, bottom, right))
    return (down >= top) & (down < bottom) & (across >= left) & (across < right)


def _mix(x: tf.Tensor, draws: Draws, *, recipe: Augment) -> tuple[tf.Tensor, Mixture]:
    """Mix each row with its partner: MixUp (Zhang et al. 2018), CutMix (Yun et al. 2019), or by chance one of both.

    A partner is another row of the batch, or now and then the row itself; each row is the partner of one.
    """
    partner = draws["partner"]
    other = tf.gather(x, partner)
    weight = tf.ones_like(draws["mixup" if recipe.mixup else "cutmix"])
    blends = draws["mixup_or_cutmix"] < 0 if recipe.mixup and recipe.cutmix else tf.ones_like(weight, tf.bool)
    mixed = x
    if recipe.mixup:
        weight = draws["mixup"]
        own = tf.reshape(weight, (-1, *[1] * (len(x.shape) - 1)))
        mixed = own * x + (1.0 - own) * other
    if recipe.cutmix:
        box, kept = _cut(draws["cutmix"], draws["cutmix_box"], x.shape)
        pasted = tf.where(box, other, x)
        mixed = tf.where(_over_pixels(blends), mixed, pasted) if recipe.mixup else pasted
        weight = tf.where(blends, weight, kept) if recipe.mixup else kept
    return mixed, Mixture(partner, weight)


def _mixed_categories(x: tf.Tensor, mixed: tf.Tensor, draws: Draws, mixture: Mixture, categories: int) -> tf.Tensor:
    """Return mixed rows of a table with whole categories in them: half of one category and half of another is none.

    Each is the row's own with the chance that its label counts for, and else its partner's.
    """
    own = (draws["mixup_category"] + 1.0) / 2.0 < mixture.weight[:, tf.newaxis]
    first = x.shape[-1] - categories
    chosen = tf.where(own, x[:, first:], tf.gather(x[:, first:], mixture.partner))
    return tf.concat([mixed[:, :first], chosen], axis=1)


# Words


def _rewrite(x: tf.Tensor, draws: Draws, recipe: Augment) -> tf.Tensor:
    """Leave out, exchange and hide words, in this order; int32 (rows, words) -> the same."""
    if recipe.drop_words:
        x = _dropped(x, _chance(draws["drop_words"]) < recipe.drop_words)
    if recipe.swap_words:
        x = _swapped(x, _chance(draws["swap_words"]) < recipe.swap_words, draws["swap_order"])
    if recipe.mask_words:
        hidden = (_chance(draws["mask_words"]) < recipe.mask_words) & (x != NO_WORD)
        x = tf.where(hidden, UNKNOWN_WORD, x)
    return x


def _chance(draws: tf.Tensor) -> tf.Tensor:
    """Return draws from -1..1 as 0..1."""
    return (draws + 1.0) / 2.0


def _dropped(x: tf.Tensor, dropped: tf.Tensor) -> tf.Tensor:
    """Return the rows without these words, the others moved up; a row that would lose all of them loses none."""
    kept = (x != NO_WORD) & ~dropped
    kept |= ~tf.reduce_any(kept, axis=1, keepdims=True)
    order = tf.argsort(tf.where(kept, 0, 1), axis=1, stable=True)
    moved = tf.gather(x, order, batch_dims=1)
    return tf.where(tf.gather(kept, order, batch_dims=1), moved, NO_WORD)


def _swapped(x: tf.Tensor, chosen: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
    """Return the rows with the chosen words in each other's places, in the order of the numbers in `order`.

    It is the random swap of Wei and Zou (2019), all swaps of a row at once.
    """
    chosen &= x != NO_WORD
    places = tf.argsort(tf.where(chosen, 0, 1), axis=1, stable=True)
    drawn = tf.argsort(tf.where(chosen, order, 2.0), axis=1, stable=True)  # 2 is after all that is drawn
    back = tf.argsort(places, axis=1, stable=True)
    return tf.gather(tf.gather(x, drawn, batch_dims=1), back, batch_dims=1)


def _cut(weight: tf.Tensor, centre: tf.Tensor, shape: tf.TensorShape) -> tuple[tf.Tensor, tf.Tensor]:
    """Return CutMix's box as bool (rows, height, width, 1), and the share of the image outside as float32 (rows,).

    The box is as long and wide as sqrt(1 - weight) of the image's sides, and is cut off where it leaves the image.
    """
    height, width = shape[1], shape[2]
    side = tf.sqrt(1.0 - weight)
    middle_y, middle_x = (tf.floor((centre[axis] + 1.0) / 2.0 * size) for axis, size in ((0, height), (1, width)))
    tall, wide = tf.floor(side * height), tf.floor(side * width)
    top, left = tf.floor(middle_y - tall / 2.0), tf.floor(middle_x - wide / 2.0)
    bottom, right = tf.minimum(top + tall, height), tf.minimum(left + wide, width)
    top, left = tf.maximum(top, 0.0), tf.maximum(left, 0.0)
    return _box(top, left, bottom, right, shape), 1.0 - (bottom - top) * (right - left) / (height * width)
