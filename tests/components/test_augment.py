from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.augment import augment
from components.study import Augment

STEP = (3, 11)  # seed of the cell, number of the step


def run(x, recipe: Augment, seed=STEP, spread: Any = (1.0, 0.0, 1.0)) -> np.ndarray:
    return augment(tf.constant(x, tf.float32), recipe, tf.constant(seed, tf.int32), tf.constant(spread, tf.float32))[
        0
    ].numpy()


@pytest.fixture(scope="module")
def images(digits) -> np.ndarray:
    return np.asarray(digits.x[:64], np.float32) / 16


def test_nothing_changes_when_all_is_off(images):
    np.testing.assert_array_equal(run(images, Augment()), images)


@pytest.mark.parametrize(
    "recipe",
    [
        Augment(rotate=30),
        Augment(shift=0.3),
        Augment(zoom=0.3),
        Augment(horizontal_flip=True),
        Augment(noise=0.5),
        Augment(rotate=10, shift=0.1, zoom=0.1, horizontal_flip=True, noise=0.1),
    ],
)
def test_seed_and_step_decide_the_batch(images, recipe):
    once = run(images, recipe)
    assert once.shape == images.shape
    assert not np.array_equal(once, images)
    np.testing.assert_array_equal(once, run(images, recipe))
    assert not np.array_equal(once, run(images, recipe, (3, 12)))
    assert not np.array_equal(once, run(images, recipe, (4, 11)))


def test_a_flip_mirrors_about_half_of_the_rows_left_to_right(images):
    flipped = run(images, Augment(horizontal_flip=True))
    mirror = images[:, :, ::-1]
    kept = np.isclose(flipped, images, atol=1e-5).all(axis=(1, 2, 3))
    mirrored = np.isclose(flipped, mirror, atol=1e-5).all(axis=(1, 2, 3))
    assert (kept ^ mirrored).all()
    assert 16 < mirrored.sum() < 48


def test_a_rotation_turns_about_the_centre_by_at_most_the_angle():
    """A bright pixel right of the centre keeps its distance from it, and its angle stays in bounds."""
    x = np.zeros((200, 21, 21, 1), np.float32)
    x[:, 10, 18] = 1
    turned = run(x, Augment(rotate=90))[..., 0]
    grid = np.arange(21) - 10.0
    mass = turned.sum(axis=(1, 2))
    across, down = (turned * grid).sum(axis=(1, 2)) / mass, (turned * grid[:, None]).sum(axis=(1, 2)) / mass
    angles = np.degrees(np.arctan2(down, across))
    np.testing.assert_allclose(np.hypot(across, down), 8, atol=0.5)
    assert np.abs(angles).max() <= 93
    assert angles.min() < -75
    assert angles.max() > 75


def test_a_shift_moves_by_at_most_the_fraction_of_each_side():
    x = np.zeros((200, 20, 40, 1), np.float32)
    x[:, 10, 20] = 1
    moved = run(x, Augment(shift=0.25))[..., 0]
    down = (moved.sum(axis=2) * np.arange(20)).sum(axis=1) - 10
    across = (moved.sum(axis=1) * np.arange(40)).sum(axis=1) - 20
    assert 4.5 < np.abs(down).max() <= 5.01
    assert 9 < np.abs(across).max() <= 10.01
    np.testing.assert_allclose(moved.sum(axis=(1, 2)), 1, atol=1e-4)


def test_a_zoom_goes_nearer_and_farther_and_keeps_the_centre():
    x = np.zeros((200, 41, 41, 1), np.float32)
    x[:, 20, 30] = x[:, 20, 10] = 1
    zoomed = run(x, Augment(zoom=0.5))[:, 20, :, 0]
    grid = np.arange(41) - 20.0
    left, right = zoomed * (grid < 0), zoomed * (grid > 0)
    seen = (left.sum(1) > 0.05) & (right.sum(1) > 0.05)  # where far nearer, the dots fall between the samples
    middle_left, middle_right = (half @ grid / half.sum(1) for half in (left[seen], right[seen]))
    np.testing.assert_allclose(middle_left, -middle_right, atol=0.1)
    assert middle_right.min() < 8
    assert middle_right.max() > 14
    assert middle_right.min() >= 10 / 1.5 - 0.5
    assert middle_right.max() <= 10 / 0.5 + 0.5


@pytest.mark.parametrize("recipe", [Augment(rotate=180, shift=0.9, zoom=0.9, horizontal_flip=True)])
def test_pixels_stay_in_the_range_of_their_image(images, recipe):
    moved = run(images, recipe)
    assert (moved.min(axis=(1, 2, 3)) >= images.min(axis=(1, 2, 3)) - 1e-6).all()
    assert (moved.max(axis=(1, 2, 3)) <= images.max(axis=(1, 2, 3)) + 1e-6).all()


def test_geometry_commutes_with_scaling(images):
    """What scaling follows may as well come before; so augmentation may act on scaled rows."""
    recipe = Augment(rotate=20, shift=0.2, zoom=0.2)
    np.testing.assert_allclose(run(images * 6 - 3, recipe), run(images, recipe) * 6 - 3, atol=1e-4)


def test_noise_is_normal_with_the_stated_spread_of_each_column():
    x = np.tile(np.array([5, -2, 0], np.float32), (20000, 1))
    noise = run(x, Augment(noise=0.5), spread=[[1, 4, 0], [0, 0, 0], [1, 1, 1]]) - x
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(noise.std(axis=0), [0.5, 2, 0], rtol=0.03)
    assert abs(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]) < 0.03
    within = np.abs(noise[:, 0]) < 0.5
    assert within.mean() == pytest.approx(0.683, abs=0.02)


def test_rows_of_a_batch_are_changed_each_by_itself(images):
    same = np.repeat(images[:1], 16, axis=0)
    assert len({row.tobytes() for row in run(same, Augment(rotate=30))}) == 16
