"""Augmentation of whole batches inside the training graph: one warp for all geometry, then noise.

It is applied to scaled rows. Scaling is the same for all pixels, so it commutes with a warp; noise is in units of the
train rows' own spread. Random numbers come from the seed and the step alone: a seed gives every arm the same draws.
"""

import math

import tensorflow as tf

from components.study import Augment


@tf.autograph.experimental.do_not_convert  # nothing here loops; AutoGraph would read this file again while tracing
def augment(x: tf.Tensor, recipe: Augment, seed: tf.Tensor, spread: tf.Tensor) -> tf.Tensor:
    """Return the batch, changed at random.

    Args:
        x: float32 (rows, height, width, channels) or (rows, columns), scaled.
        recipe: what may change, and by how much.
        seed: int32 (2,): the cell's seed and the number of the step.
        spread: float32, standard deviation of the scaled train rows, () or (columns,).
    """
    if recipe.geometry():
        x = _warp(x, recipe, seed)
    if recipe.noise:
        noise_seed = tf.random.experimental.stateless_fold_in(seed, 1)
        x += tf.random.stateless_normal(tf.shape(x), noise_seed) * (recipe.noise * spread)
    return x


def _warp(x: tf.Tensor, recipe: Augment, seed: tf.Tensor) -> tf.Tensor:
    """Rotate, shift, zoom and flip about the centre in one bilinear resampling; edges are repeated outwards."""
    shape = tf.shape(x)
    rows, height, width = shape[0], shape[1], shape[2]
    u = tf.random.stateless_uniform((5, rows), seed, -1.0, 1.0)
    angle = u[0] * (recipe.rotate * math.pi / 180)
    scale = 1.0 + u[1] * recipe.zoom
    mirror = tf.where(u[2] < 0, -1.0, 1.0) if recipe.horizontal_flip else tf.ones_like(scale)
    cos, sin = tf.cos(angle) * scale, tf.sin(angle) * scale
    centre_x, centre_y = tf.cast(width - 1, tf.float32) / 2, tf.cast(height - 1, tf.float32) / 2
    shift_x = u[3] * (recipe.shift * tf.cast(width, tf.float32))
    shift_y = u[4] * (recipe.shift * tf.cast(height, tf.float32))
    # Output pixel (i, j) is read from (a0 i + a1 j + a2, b0 i + b1 j + b2).
    a0, a1, b0, b1 = cos * mirror, -sin, sin * mirror, cos
    a2 = centre_x - a0 * centre_x - a1 * centre_y + shift_x
    b2 = centre_y - b0 * centre_x - b1 * centre_y + shift_y
    zeros = tf.zeros_like(cos)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=x,
        transforms=tf.stack([a0, a1, a2, b0, b1, b2, zeros, zeros], axis=1),
        output_shape=tf.stack([height, width]),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
