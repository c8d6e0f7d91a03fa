"""Augmentation of whole batches inside the training graph: one warp for all geometry, then colors, noise and mixing.

A technique is a field of `components.study.recipe.Augment`, which says in which stage it acts, and here a number in
`STREAMS` and a function in that stage's table, `WARPS`, `VALUE_CHANGES` or `WORD_CHANGES`, in the order of acting.

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
from components.study.recipe import Augment

# What each technique folds into the seed: its place here, from 1. Draws would change with it: new names go to the end,
# and none is taken away.
_NAMES = (
    *("noise", "rotate", "shift", "zoom", "shear", "horizontal_flip", "vertical_flip", "brightness", "contrast"),
    *("rand_augment", "erase", "erase_fill", "mixup", "cutmix", "cutmix_box", "partner", "mixup_or_cutmix"),
    *("mixup_category", "drop_words", "swap_words", "swap_order", "mask_words"),
)
STREAMS = {name: number for number, name in enumerate(_NAMES, start=1)}

# RandAugment's operations. Of the 14 of Cubuk et al. (2020) sharpness and equalize are left out: they need a pixel's
# neighbors and a histogram, which no single pass over the batch gives.
RAND_GEOMETRY = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
RAND_COLORS = ("identity", "brightness", "contrast", "autocontrast", "solarize", "posterize")
RAND_CHANGES = 2  # operations drawn for each row
LUMA = (0.299, 0.587, 0.114)  # gray of red, green and blue, ITU-R BT.601

Affine = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
Draws = dict[str, tf.Tensor]
Sampler = Callable[[tf.Tensor, tf.Tensor, float], tf.Tensor]  # of a seed int32 (2,), the batch, and the field's value


class Mixture(NamedTuple):
    """How the labels of mixed rows are mixed."""

    partner: tf.Tensor  # int32 (rows,), for each row the number of the row of this batch that was mixed into it
    weight: tf.Tensor  # float32 (rows,), 0..1: of the row's own label; the rest is its partner's


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

    def sample(name: str, sampler: Sampler, amount: float = 0.0) -> tf.Tensor:
        return sampler(tf.random.experimental.stateless_fold_in(seed, STREAMS[name]), x, amount)

    draws = {}
    for technique in recipe.techniques():
        for name in (technique, *FURTHER.get(technique, ())):
            draws[name] = sample(name, SAMPLERS.get(name, _per_row()), getattr(recipe, technique))
    if recipe.mixup and categories:
        draws["mixup_category"] = sample("mixup_category", lambda seed, x, _: _per_value(seed, x[:, :categories], 0.0))
    if recipe.has("mix"):
        draws["partner"] = tf.argsort(sample("partner", _per_row()), stable=True)
    if recipe.mixup and recipe.cutmix:
        draws["mixup_or_cutmix"] = sample("mixup_or_cutmix", _per_row())
    return draws


def _per_row(*numbers: int) -> Sampler:
    """Draw from -1..1, so many numbers for each row: (*numbers, rows)."""
    return lambda seed, x, amount: tf.random.stateless_uniform((*numbers, tf.shape(x)[0]), seed, -1.0, 1.0)


def _per_value(seed: tf.Tensor, x: tf.Tensor, amount: float) -> tf.Tensor:
    """Draw from -1..1 for each value of the rows."""
    return tf.random.stateless_uniform(tf.shape(x), seed, -1.0, 1.0)


def _normal(seed: tf.Tensor, x: tf.Tensor, amount: float) -> tf.Tensor:
    """Draw from a standard normal distribution for each value of the rows."""
    return tf.random.stateless_normal(tf.shape(x), seed)


def _beta(seed: tf.Tensor, x: tf.Tensor, alpha: float) -> tf.Tensor:
    """Draw from Beta(alpha, alpha) for each row: from two gammas, by their logarithms, as both may underflow.

    Gamma(alpha) is Gamma(alpha + 1) * U^(1 / alpha) (Marsaglia and Tsang 2000).
    """
    rows = tf.shape(x)[0]
    first, second = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    gamma = tf.random.stateless_gamma((2, rows), first, alpha + 1.0)
    power = tf.random.stateless_uniform((2, rows), second, 1e-7, 1.0)
    logs = tf.math.log(gamma) + tf.math.log(power) / alpha
    return tf.sigmoid(logs[0] - logs[1])


# What techniques draw that do not draw one number for each row.
SAMPLERS: dict[str, Sampler] = {
    "shift": _per_row(2),
    "rand_augment": _per_row(2, RAND_CHANGES),
    "erase": _per_row(5),
    "erase_fill": _per_value,
    "noise": _normal,
    "mixup": _beta,
    "cutmix": _beta,
    "cutmix_box": _per_row(2),
    "drop_words": _per_value,
    "swap_words": _per_value,
    "swap_order": _per_value,
    "mask_words": _per_value,
}
# What techniques draw from streams of their own besides.
FURTHER = {"erase": ("erase_fill",), "cutmix": ("cutmix_box",), "swap_words": ("swap_order",)}


def change(
    x: tf.Tensor, recipe: Augment, draws: Draws, spread: tf.Tensor, categories: int = 0, *, compiled: bool = True
) -> tuple[tf.Tensor, Mixture | None]:
    """Return the batch changed as drawn, and how its labels are mixed; arguments as for `augment`."""

    def run(stage: Callable, *tensors):
        function = functools.partial(stage, recipe=recipe)
        return tf.function(function, jit_compile=True, autograph=False)(*tensors) if compiled else function(*tensors)

    # Each stage is compiled by itself: XLA would warp a pixel again wherever a later stage reads it.
    if recipe.has("warp"):
        x = run(_move, x, draws)
    if recipe.has("values"):
        x = run(_revalue, x, draws, spread)
    if recipe.has("words"):
        x = _rewrite(x, draws, recipe)  # sorting is faster without XLA
    if not recipe.has("mix"):
        return x, None
    mixed, mixture = run(_mix, x, draws)
    if recipe.mixup and categories:
        mixed = _mixed_categories(x, mixed, draws, mixture, categories)
    return mixed, mixture


def _move(x: tf.Tensor, draws: Draws, *, recipe: Augment) -> tf.Tensor:
    """Warp by all geometry as one map."""
    height, width, channels = x.shape[1:]
    on = [(name, warp) for name, warp in WARPS.items() if getattr(recipe, name)]
    maps = [warp(draws[name], getattr(recipe, name), height, width) for name, warp in on]
    if recipe.rand_augment:
        maps += [random.affine(height, width) for random in _rand_augment(draws["rand_augment"], recipe, channels)]
    return _warp(x, functools.reduce(_after, maps))


class Spread(NamedTuple):
    """What changes of values are measured with: the scaled train rows' standard deviation, and their range."""

    deviation: tf.Tensor
    low: tf.Tensor
    high: tf.Tensor


def _revalue(x: tf.Tensor, draws: Draws, spread: tf.Tensor, *, recipe: Augment) -> tf.Tensor:
    for name, change_values in VALUE_CHANGES.items():
        if getattr(recipe, name):
            x = change_values(x, draws, recipe, Spread(*tf.unstack(spread)))
    return x


def _brightness(x: tf.Tensor, draws: Draws, recipe: Augment, spread: Spread) -> tf.Tensor:
    x += _over_pixels(draws["brightness"]) * recipe.brightness * (spread.high - spread.low)
    return x if recipe.contrast else tf.clip_by_value(x, spread.low, spread.high)  # both are clipped as one


def _contrast(x: tf.Tensor, draws: Draws, recipe: Augment, spread: Spread) -> tf.Tensor:
    mean = tf.reduce_mean(x, axis=(1, 2, 3), keepdims=True)
    x = mean + (x - mean) * (1.0 + _over_pixels(draws["contrast"]) * recipe.contrast)
    return tf.clip_by_value(x, spread.low, spread.high)


def _rand_colors(x: tf.Tensor, draws: Draws, recipe: Augment, spread: Spread) -> tf.Tensor:
    width = spread.high - spread.low
    shown = tf.where(width > 0, width, 1.0)
    randoms = _rand_augment(draws["rand_augment"], recipe, x.shape[-1])
    return spread.low + shown * functools.reduce(_recolor, randoms, (x - spread.low) / shown)


def _erase(x: tf.Tensor, draws: Draws, recipe: Augment, spread: Spread) -> tf.Tensor:
    fill = spread.low + (draws["erase_fill"] + 1.0) / 2.0 * (spread.high - spread.low)
    return tf.where(_erased(draws["erase"], recipe.erase, x.shape), fill, x)


def _noise(x: tf.Tensor, draws: Draws, recipe: Augment, spread: Spread) -> tf.Tensor:
    return x + draws["noise"] * (recipe.noise * spread.deviation)


VALUE_CHANGES: dict[str, Callable[[tf.Tensor, Draws, Augment, Spread], tf.Tensor]] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "rand_augment": _rand_colors,
    "erase": _erase,
    "noise": _noise,
}


def _over_pixels(values: tf.Tensor) -> tf.Tensor:
    """(rows,) -> (rows, 1, 1, 1)."""
    return values[:, tf.newaxis, tf.newaxis, tf.newaxis]


# Geometry. An affine map (a, b, c, d, e, f) sends the output pixel (i, j), counted from the center, to the place
# (a i + b j + c, d i + e j + f) it is read from; each number is a float or a tensor (rows,).


def _rotation(angle: tf.Tensor) -> Affine:
    cos, sin = tf.cos(angle), tf.sin(angle)
    return cos, -sin, 0.0, sin, cos, 0.0


# Draws, how much at most, height and width -> a map.
WARPS: dict[str, Callable[[tf.Tensor, float, int, int], Affine]] = {
    "shift": lambda draw, most, height, width: (1.0, 0.0, draw[0] * most * width, 0.0, 1.0, draw[1] * most * height),
    "rotate": lambda draw, degrees, *_: _rotation(draw * math.radians(degrees)),
    "zoom": lambda draw, most, *_: (1.0 + draw * most, 0.0, 0.0, 0.0, 1.0 + draw * most, 0.0),
    "shear": lambda draw, degrees, *_: (1.0, tf.tan(draw * math.radians(degrees)), 0.0, 0.0, 1.0, 0.0),
    "horizontal_flip": lambda draw, *_: (tf.where(draw < 0, -1.0, 1.0), 0.0, 0.0, 0.0, 1.0, 0.0),
    "vertical_flip": lambda draw, *_: (1.0, 0.0, 0.0, 0.0, tf.where(draw < 0, -1.0, 1.0), 0.0),
}


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
    center_x, center_y = (width - 1) / 2, (height - 1) / 2
    i = tf.range(width, dtype=tf.float32) - center_x
    j = tf.range(height, dtype=tf.float32)[:, tf.newaxis] - center_y
    from_x = tf.clip_by_value(a * i + b * j + c + center_x, 0.0, width - 1.0)
    from_y = tf.clip_by_value(d * i + e * j + f + center_y, 0.0, height - 1.0)
    # The last pixel is the neighbor of the last but one, with all the weight: no read is beyond the image.
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
    """One drawn operation for each row."""

    names: tuple[str, ...]  # of the operations
    kind: tf.Tensor  # int32 (rows,), which of them
    sign: tf.Tensor  # float32 (rows,), -1 or 1, for those that go either way
    magnitude: float  # 0..1

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
    names = RAND_GEOMETRY + RAND_COLORS + (("color",) if channels == 3 else ())
    kinds = tf.minimum(tf.cast((draws[0] + 1.0) / 2.0 * len(names), tf.int32), len(names) - 1)
    signs = tf.where(draws[1] < 0, -1.0, 1.0)
    return [_Random(names, kinds[i], signs[i], recipe.rand_augment) for i in range(RAND_CHANGES)]


def _recolor(z: tf.Tensor, random: _Random) -> tf.Tensor:
    """Apply one drawn operation to the colors of pixels in 0..1; rows that drew another kind stay as they are."""
    gray = tf.reduce_sum(z * LUMA, axis=-1, keepdims=True) if z.shape[-1] == 3 else z
    mean = tf.reduce_mean(gray, axis=(1, 2, 3), keepdims=True)

    def where(name: str, then: tf.Tensor) -> tf.Tensor:
        return tf.where(_over_pixels(random.chosen(name)), then, z)

    z = where("brightness", z * (1.0 + _over_pixels(random.amount("brightness", 0.9))))
    z = where("contrast", mean + (z - mean) * (1.0 + _over_pixels(random.amount("contrast", 0.9))))
    z = where("color", gray + (z - gray) * (1.0 + _over_pixels(random.amount("color", 0.9))))
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
    tall = tf.clip_by_value(tf.round(side * stretch), 1, height)
    wide = tf.clip_by_value(tf.round(side / stretch), 1, width)
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
    """Leave out, exchange and hide words; int32 (rows, words) -> the same."""
    for name, change_words in WORD_CHANGES.items():
        if share := getattr(recipe, name):
            x = change_words(x, (draws[name] + 1.0) / 2.0 < share, draws)
    return x


def _drop(x: tf.Tensor, dropped: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Return the rows without these words, the others moved up; a row that would lose all of them loses none."""
    kept = (x != NO_WORD) & ~dropped
    kept |= ~tf.reduce_any(kept, axis=1, keepdims=True)
    order = tf.argsort(tf.where(kept, 0, 1), axis=1, stable=True)
    moved = tf.gather(x, order, batch_dims=1)
    return tf.where(tf.gather(kept, order, batch_dims=1), moved, NO_WORD)


def _swap(x: tf.Tensor, chosen: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Return the rows with the chosen words in each other's places, in the order of the numbers in `swap_order`.

    It is the random swap of Wei and Zou (2019), all swaps of a row at once.
    """
    chosen &= x != NO_WORD
    places = tf.argsort(tf.where(chosen, 0, 1), axis=1, stable=True)
    drawn = tf.argsort(tf.where(chosen, draws["swap_order"], 2.0), axis=1, stable=True)  # 2 is after all that is drawn
    back = tf.argsort(places, axis=1, stable=True)
    return tf.gather(tf.gather(x, drawn, batch_dims=1), back, batch_dims=1)


def _mask(x: tf.Tensor, hidden: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Return the rows with these words as unknown ones."""
    return tf.where(hidden & (x != NO_WORD), UNKNOWN_WORD, x)


# The words' numbers, bool (rows, words) which are chosen, and the draws -> the words' numbers.
WORD_CHANGES: dict[str, Callable[[tf.Tensor, tf.Tensor, Draws], tf.Tensor]] = {
    "drop_words": _drop,
    "swap_words": _swap,
    "mask_words": _mask,
}


# CutMix


def _cut(weight: tf.Tensor, center: tf.Tensor, shape: tf.TensorShape) -> tuple[tf.Tensor, tf.Tensor]:
    """Return CutMix's box as bool (rows, height, width, 1), and the share of the image outside as float32 (rows,).

    The box is as long and wide as sqrt(1 - weight) of the image's sides, and is cut off where it leaves the image.
    """
    height, width = shape[1], shape[2]
    side = tf.sqrt(1.0 - weight)
    middle_y, middle_x = (tf.floor((center[axis] + 1.0) / 2.0 * size) for axis, size in ((0, height), (1, width)))
    tall, wide = tf.floor(side * height), tf.floor(side * width)
    top, left = tf.floor(middle_y - tall / 2.0), tf.floor(middle_x - wide / 2.0)
    bottom, right = tf.minimum(top + tall, height), tf.minimum(left + wide, width)
    top, left = tf.maximum(top, 0.0), tf.maximum(left, 0.0)
    return _box(top, left, bottom, right, shape), 1.0 - (bottom - top) * (right - left) / (height * width)
