import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage

from components.study.recipe import FOR_KIND, Augment
from components.training import augment as module
from components.training.augment import RAND_COLORS, RAND_GEOMETRY, STREAMS, Mixture, augment

STEP = (3, 11)  # seed of the cell, number of the step


def both(x, recipe: Augment, seed=STEP, spread: Any = (1.0, 0.0, 1.0)) -> tuple[np.ndarray, Mixture | None]:
    tensors = tf.constant(x, tf.float32), recipe, tf.constant(seed, tf.int32), tf.constant(spread, tf.float32)
    changed, mixture = augment(*tensors)
    return changed.numpy(), mixture and Mixture(*(part.numpy() for part in mixture))


def run(x, recipe: Augment, seed=STEP, spread: Any = (1.0, 0.0, 1.0)) -> np.ndarray:
    return both(x, recipe, seed, spread)[0]


def drawn(x, recipe: Augment) -> dict[str, np.ndarray]:
    """The random numbers of a batch."""
    draws = module.draw(tf.constant(x, tf.float32), recipe, tf.constant(STEP, tf.int32))
    return {name: draw.numpy() for name, draw in draws.items()}


@pytest.fixture(scope="module")
def colors() -> np.ndarray:
    """Smooth random images of three channels in 0..1, of no symmetry and not square."""
    noise = np.random.default_rng(0).random((12, 13, 10, 3))
    smooth = ndimage.gaussian_filter(noise, (0, 1.5, 1.5, 0))
    least, greatest = smooth.min(axis=(1, 2, 3), keepdims=True), smooth.max(axis=(1, 2, 3), keepdims=True)
    return ((smooth - least) / (greatest - least)).astype(np.float32)


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
        Augment(shear=30),
        Augment(vertical_flip=True),
        Augment(brightness=0.5),
        Augment(contrast=0.5),
        Augment(rand_augment=0.5),
        Augment(erase=0.5),
        Augment(mixup=1),
        Augment(cutmix=1),
        Augment(mixup=1, cutmix=1),
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


@pytest.mark.parametrize(("flip", "axis"), [("horizontal_flip", 2), ("vertical_flip", 1)])
def test_a_flip_mirrors_about_half_of_the_rows(images, flip, axis):
    flipped = run(images, Augment.model_validate({flip: True}))
    mirror = np.flip(images, axis)
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


@pytest.mark.parametrize(
    "recipe", [Augment(rotate=180, shift=0.9, zoom=0.9, shear=60, horizontal_flip=True, vertical_flip=True)]
)
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


# Draws


ALL = Augment(
    rotate=10,
    shift=0.1,
    zoom=0.1,
    shear=10,
    horizontal_flip=True,
    vertical_flip=True,
    brightness=0.2,
    contrast=0.2,
    rand_augment=0.5,
    erase=0.2,
    noise=0.1,
    mixup=0.4,
    cutmix=1.0,
)
WORDS = Augment(drop_words=0.2, swap_words=0.3, mask_words=0.1)


def test_every_technique_is_on_in_the_recipe_above():
    assert [*ALL.techniques(), *WORDS.techniques()] == list(Augment.model_fields)
    assert {*ALL.techniques(), *WORDS.techniques()} <= set(STREAMS)
    assert len(set(STREAMS.values())) == len(STREAMS)


@pytest.mark.parametrize("name", Augment.model_fields)
def test_what_a_technique_draws_does_not_depend_on_the_others(images, name):
    alone, among_all = drawn(images, Augment.model_validate({name: getattr(ALL, name)})), drawn(images, ALL)
    for stream, draws in alone.items():
        np.testing.assert_array_equal(draws, among_all[stream])


def test_techniques_do_not_share_draws():
    draws = drawn(np.zeros((4000, 2, 2, 1)), ALL.model_copy(update={"noise": 0, "erase": 0.1}))
    numbers = np.concatenate([draw.reshape(-1, 4000) for name, draw in draws.items() if draw.shape[-1] == 4000])
    correlations = np.corrcoef(numbers) - np.eye(len(numbers))
    assert len(numbers) > 20
    assert np.abs(correlations).max() < 5 / np.sqrt(4000)


def test_whether_draws_are_compiled_does_not_matter(colors):
    draws = {name: tf.constant(draw) for name, draw in drawn(colors, ALL).items()}
    eager, mixture = module.change(tf.constant(colors), ALL, draws, tf.constant([0.3, 0.0, 1.0]), compiled=False)
    compiled, compiled_mixture = both(colors, ALL, spread=[0.3, 0.0, 1.0])
    # Posterizing and solarizing jump: a rounding error may put a pixel on the other side.
    assert np.isclose(eager, compiled, atol=1e-4).mean() > 0.99
    assert mixture is not None
    assert compiled_mixture is not None
    np.testing.assert_array_equal(mixture[0], compiled_mixture[0])
    np.testing.assert_allclose(mixture[1], compiled_mixture[1], atol=1e-6)


# Geometry, by SciPy


def by_scipy(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Read each output pixel (row, column, 1), counted from the centre, from the place that the matrix sends it to."""
    centre = (np.array(image.shape[:2]) - 1) / 2
    offset = centre + matrix[:2, 2] - matrix[:2, :2] @ centre
    channels = [
        ndimage.affine_transform(channel.astype(np.float64), matrix[:2, :2], offset, order=1, mode="nearest")
        for channel in np.moveaxis(image, -1, 0)
    ]
    return np.stack(channels, axis=-1)


def matrix(a=1.0, b=0.0, c=0.0, d=0.0, e=1.0, f=0.0) -> np.ndarray:
    """x is read from a x + b y + c, y from d x + e y + f; as a matrix of rows and columns, y first."""
    return np.array([[e, d, f], [b, a, c], [0, 0, 1]])


def rotation(angle: float) -> np.ndarray:
    return matrix(a=math.cos(angle), b=-math.sin(angle), d=math.sin(angle), e=math.cos(angle))


def test_all_geometry_is_one_warp_of_the_product_of_its_maps(colors):
    recipe = Augment(rotate=40, shift=0.2, zoom=0.3, shear=20, horizontal_flip=True, vertical_flip=True)
    warped, draws = run(colors, recipe), drawn(colors, recipe)
    for row, image in enumerate(colors):
        u = {name: draw[..., row] for name, draw in draws.items()}
        across, down = u["shift"]
        whole = (
            matrix(c=across * 0.2 * 10, f=down * 0.2 * 13)
            @ rotation(float(u["rotate"]) * math.radians(40))
            @ ((1 + 0.3 * u["zoom"]) * np.diag([1, 1, 0]) + np.diag([0, 0, 1]))
            @ matrix(b=math.tan(u["shear"] * math.radians(20)))
            @ matrix(a=-1 if u["horizontal_flip"] < 0 else 1)
            @ matrix(e=-1 if u["vertical_flip"] < 0 else 1)
        )
        np.testing.assert_allclose(warped[row], by_scipy(image, whole), atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 1), (9, 1, 3), (2, 2, 4)])
def test_images_of_any_size_and_channels_are_warped(shape):
    x = np.random.default_rng(0).random((5, *shape), np.float32)
    recipe = ALL.model_copy(update={"rotate": 90})
    assert run(x, recipe).shape == x.shape
    assert np.isfinite(run(x, recipe)).all()


def test_bytes_and_floats_of_the_same_image_are_augmented_alike(colors):
    """Only scaled rows come here; the range goes with them."""
    recipe = ALL.model_copy(update={"rand_augment": 0.0})
    unit = run(colors, recipe, spread=[0.3, 0, 1])
    raw = run(colors * 255, recipe, spread=[0.3 * 255, 0, 255])
    np.testing.assert_allclose(raw / 255, unit, atol=1e-4)


# Colours, by NumPy and Pillow


def test_brightness_adds_a_part_of_the_range_and_stays_in_it(colors):
    x = 10 * colors - 5
    changed = run(x, Augment(brightness=0.4), spread=[1, -5, 5])
    added = drawn(x, Augment(brightness=0.4))["brightness"] * 0.4 * 10
    np.testing.assert_allclose(changed, np.clip(x + added[:, None, None, None], -5, 5), atol=1e-5)
    assert np.abs(added).max() <= 4


def test_the_range_may_be_each_channels_own(colors):
    low, high = np.array([0, -1, 5]), np.array([1, 1, 8])
    x = low + colors * (high - low)
    changed = run(x, Augment(brightness=0.4, erase=0.3), spread=[[1, 1, 1], low, high])
    unit = run(colors, Augment(brightness=0.4, erase=0.3))
    np.testing.assert_allclose((changed - low) / (high - low), unit, atol=1e-5)


def test_contrast_scales_about_the_images_mean(colors):
    changed = run(colors, Augment(contrast=0.8))
    factor = 1 + 0.8 * drawn(colors, Augment(contrast=0.8))["contrast"][:, None, None, None]
    mean = colors.mean(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(changed, np.clip(mean + factor * (colors - mean), 0, 1), atol=1e-5)


def recoloured(colors, name: str, sign: float, magnitude: float) -> np.ndarray:
    kind = tf.fill([len(colors)], RAND_COLORS.index(name) if name in RAND_COLORS else len(RAND_COLORS))
    random = module._Random((*RAND_COLORS, "color"), kind, tf.fill([len(colors)], sign), magnitude)
    return module._recolor(tf.constant(colors), random).numpy()


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize(
    ("name", "by_pillow"),
    [
        ("identity", lambda image, factor: image),
        ("brightness", lambda image, factor: ImageEnhance.Brightness(image).enhance(factor)),
        ("contrast", lambda image, factor: ImageEnhance.Contrast(image).enhance(factor)),
        ("color", lambda image, factor: ImageEnhance.Color(image).enhance(factor)),
        ("autocontrast", lambda image, factor: ImageOps.autocontrast(image)),
        ("solarize", lambda image, factor: ImageOps.solarize(image, 128)),
        ("posterize", lambda image, factor: ImageOps.posterize(image, 6)),
    ],
)
def test_rand_augments_colors_are_pillows(colors, name, by_pillow, sign):
    in_bytes = np.round(0.2 + 150 * colors).astype(np.uint8)
    ours = recoloured((in_bytes / 255).astype(np.float32), name, sign, 0.5)
    theirs = [np.asarray(by_pillow(Image.fromarray(image), 1 + sign * 0.45)) for image in in_bytes]
    # Pillow rounds to bytes, some operations more than once.
    np.testing.assert_allclose(ours * 255, theirs, atol=2.1)


@pytest.mark.parametrize("name", RAND_GEOMETRY)
def test_rand_augments_geometry_is_the_papers(colors, name):
    for sign in (-1.0, 1.0):
        names = (*RAND_GEOMETRY, "identity")
        random = module._Random(names, tf.fill([12], names.index(name)), tf.fill([12], sign), 0.5)
        warped = module._warp(tf.constant(colors), random.affine(13, 10)).numpy()
        amount = sign * 0.5
        expected = {
            "rotate": rotation(amount * math.radians(30)),
            "shear_x": matrix(b=amount * 0.3),
            "shear_y": matrix(d=amount * 0.3),
            "translate_x": matrix(c=amount * 0.45 * 10),
            "translate_y": matrix(f=amount * 0.45 * 13),
        }[name]
        np.testing.assert_allclose(warped[0], by_scipy(colors[0], expected), atol=1e-4)


def test_rand_augment_draws_two_of_all_operations_for_each_row():
    draws = drawn(np.zeros((3000, 2, 2, 3)), Augment(rand_augment=0.5))["rand_augment"]
    for channels, operations in ((3, 12), (1, 11)):
        first, second = module._rand_augment(tf.constant(draws), Augment(rand_augment=0.5), channels)
        for random in (first, second):
            counts = np.bincount(random.kind.numpy(), minlength=operations)
            assert len(random.names) == len(counts) == operations
            assert counts.min() > 0.7 * 3000 / operations
            assert set(random.sign.numpy()) == {-1, 1}
        assert 0 < np.mean(first.kind == second.kind) < 2 / operations


def test_rand_augment_stays_in_the_range(colors):
    changed = run(10 * colors - 5, Augment(rand_augment=1), spread=[1, -5, 5])
    assert changed.min() >= -5 - 1e-5
    assert changed.max() <= 5 + 1e-5


# Erasing


def test_erasing_fills_a_rectangle_of_the_stated_area_in_every_second_image():
    x = np.full((600, 30, 40, 1), 7, np.float32)
    erased = run(x, Augment(erase=0.3), spread=[1, -1, 1])[..., 0]
    changed = erased != 7
    hit = changed.any(axis=(1, 2))
    assert 0.43 < hit.mean() < 0.57
    areas = []
    for mask in changed[hit]:
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        np.testing.assert_array_equal(mask, np.outer(rows, columns))
        assert np.ptp(np.flatnonzero(rows)) + 1 == rows.sum()
        assert np.ptp(np.flatnonzero(columns)) + 1 == columns.sum()
        areas.append(mask.mean())
    assert 0.009 < min(areas) < 0.04
    assert 0.27 < max(areas) < 0.32
    fill = erased[changed]
    assert (fill.min(), fill.max()) == pytest.approx((-1, 1), abs=0.01)
    assert fill.mean() == pytest.approx(0, abs=0.02)
    assert len(np.unique(fill[:1000])) > 900


def test_erasing_reaches_every_pixel():
    changed = run(np.full((3000, 6, 6, 1), 7, np.float32), Augment(erase=0.2)) != 7
    shares = changed.mean(axis=0)
    assert shares.min() > 0.01


# Mixing


@pytest.mark.parametrize("alpha", [0.01, 0.4, 1.0, 8.0])
def test_weights_are_of_a_symmetric_beta_distribution(alpha):
    _, mixture = both(np.zeros((20000, 1)), Augment(mixup=alpha))
    assert mixture is not None
    assert mixture.weight.mean() == pytest.approx(0.5, abs=0.015)
    assert mixture.weight.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)
    assert mixture.weight.min() >= 0
    assert mixture.weight.max() <= 1


@pytest.mark.parametrize("rows", [1, 2, 7, 64])
@pytest.mark.parametrize("recipe", [Augment(mixup=1), Augment(cutmix=1), Augment(mixup=1, cutmix=1)])
def test_partners_are_rows_of_the_batch_each_of_them_once(rows, recipe):
    x = np.random.default_rng(0).random((rows, 4, 4, 1), np.float32)
    mixed, mixture = both(x, recipe)
    assert mixture is not None
    assert sorted(mixture.partner) == list(range(rows))
    assert mixed.min() >= x.min() - 1e-6
    assert mixed.max() <= x.max() + 1e-6


@pytest.mark.parametrize("shape", [(9,), (4, 5, 3)])
def test_mixup_blends_rows_with_their_weights(shape):
    x = np.random.default_rng(0).normal(size=(33, *shape)).astype(np.float32)
    mixed, mixture = both(x, Augment(mixup=0.7))
    assert mixture is not None
    weight = mixture.weight.reshape(-1, *[1] * len(shape))
    np.testing.assert_allclose(mixed, weight * x + (1 - weight) * x[mixture.partner], atol=1e-6)


def test_cutmix_pastes_a_box_and_weighs_by_what_is_left():
    x = np.arange(200, dtype=np.float32)[:, None, None, None] * np.ones((1, 12, 16, 2), np.float32)
    mixed, mixture = both(x, Augment(cutmix=1))
    assert mixture is not None
    pasted = (mixed != x)[..., 0]
    for row in range(200):
        if mixture.partner[row] != row:
            mask = pasted[row]
            assert mixture.weight[row] == pytest.approx(1 - mask.mean(), abs=1e-6)
            np.testing.assert_array_equal(mask, np.outer(mask.any(axis=1), mask.any(axis=0)))
            assert set(np.unique(mixed[row])) <= {row, mixture.partner[row]}
    assert 0.6 < mixture.weight.mean() < 0.8  # a box of half the image on average, less what leaves it
    assert pasted.any(axis=0).all()


def test_mixup_and_cutmix_share_the_rows_by_chance():
    x = np.arange(400, dtype=np.float32)[:, None, None, None] * np.ones((1, 6, 6, 1), np.float32)
    mixed, mixture = both(x, Augment(mixup=1, cutmix=1))
    blended, of_mixup = both(x, Augment(mixup=1))
    pasted, of_cutmix = both(x, Augment(cutmix=1))
    assert mixture is not None
    assert of_mixup is not None
    assert of_cutmix is not None
    by_mixup = np.isclose(mixed, blended).all(axis=(1, 2, 3)) & np.isclose(mixture.weight, of_mixup.weight)
    by_cutmix = np.isclose(mixed, pasted).all(axis=(1, 2, 3)) & np.isclose(mixture.weight, of_cutmix.weight)
    assert (by_mixup | by_cutmix).all()
    assert 0.4 < by_mixup.mean() < 0.6


def test_without_mixing_labels_are_left_alone(images):
    assert both(images, Augment(rotate=5, noise=0.1))[1] is None
    assert both(images, Augment())[1] is None


def test_a_table_can_have_all_that_it_is_allowed():
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    recipe = Augment.model_validate(dict.fromkeys(FOR_KIND["table"], 0.5))
    mixed, mixture = both(x, recipe, spread=np.ones((3, 3)))
    assert mixed.shape == x.shape
    assert mixture is not None


# Tables with categories

SEED = np.array([3, 5], np.int32)


def test_mixup_keeps_categories_whole_and_takes_them_as_often_as_their_labels_count():
    rows = 4000
    x = np.stack([np.arange(rows), np.arange(rows) + 0.0, 10.0 + np.arange(rows)], axis=1).astype(np.float32)
    mixed, mixture = module.augment(tf.constant(x), Augment(mixup=1.0), SEED, tf.ones((3, 3)), categories=2)
    mixed, own, other = mixed.numpy(), x, x[mixture.partner.numpy()]
    weight = mixture.weight.numpy()
    np.testing.assert_allclose(mixed[:, 0], weight * own[:, 0] + (1 - weight) * other[:, 0], rtol=1e-4)
    is_own, is_other = mixed[:, 1:] == own[:, 1:], mixed[:, 1:] == other[:, 1:]
    assert (is_own | is_other).all()
    elsewhere = mixture.partner.numpy() != np.arange(rows)
    for low, high in ((0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)):
        these = elsewhere & (weight >= low) & (weight < high)
        assert is_own[these].mean() == pytest.approx(weight[these].mean(), abs=0.04)
    assert (is_own[:, 0] != is_own[:, 1]).any(), "each column is drawn by itself"


def test_noise_leaves_categories_alone():
    x = np.tile(np.array([1.5, 3.0], np.float32), (50, 1))
    spread = np.array([[1, 0], [0, 0], [1, 0]], np.float32)
    noisy = module.augment(tf.constant(x), Augment(noise=0.5), SEED, tf.constant(spread), categories=1)[0].numpy()
    assert (noisy[:, 0] != 1.5).all()
    assert (noisy[:, 1] == 3.0).all()


# Words


def texts(rows: int = 300, words: int = 20) -> np.ndarray:
    """Texts of different lengths, each word another one: 2, 3, 4, ... and zeros at the end."""
    lengths = np.random.default_rng(0).integers(1, words + 1, rows)
    return np.where(np.arange(words) < lengths[:, None], np.arange(2, words + 2), 0).astype(np.int32)


def rewritten(x: np.ndarray, **techniques: float) -> np.ndarray:
    changed, mixture = module.augment(tf.constant(x), Augment.model_validate(techniques), SEED, tf.zeros((3, 0)))
    assert mixture is None
    assert changed.dtype == tf.int32
    return changed.numpy()


def test_dropped_words_leave_no_gap_and_the_order_stays():
    x = texts()
    found = rewritten(x, drop_words=0.3)
    for before, after in zip(x, found, strict=True):
        left = after[: np.count_nonzero(after)]
        assert (after[len(left) :] == 0).all()
        assert (np.diff(left) > 0).all()
        assert set(left) <= set(before)
        assert len(left) >= 1
    long = np.count_nonzero(x, axis=1) >= 10
    assert np.count_nonzero(found[long]) / np.count_nonzero(x[long]) == pytest.approx(0.7, abs=0.03)


def test_a_text_never_loses_its_last_words():
    x = np.array([[7, 0, 0]] * 50, np.int32)
    np.testing.assert_array_equal(rewritten(x, drop_words=0.9), x)


def test_swapped_words_are_the_same_words_in_other_places():
    x = texts()
    found = rewritten(x, swap_words=0.3)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(x, axis=1))
    np.testing.assert_array_equal(found == 0, x == 0)
    long = np.count_nonzero(x, axis=1) >= 10
    moved = (found != x)[long].sum() / np.count_nonzero(x[long])
    assert 0.2 < moved < 0.3  # a chosen word may by chance get its own place again


def test_masked_words_become_the_unknown_one_and_nothing_else_changes():
    x = texts()
    found = rewritten(x, mask_words=0.25)
    hidden = found != x
    assert (found[hidden] == 1).all()
    assert not hidden[x == 0].any()
    assert hidden[x != 0].mean() == pytest.approx(0.25, abs=0.03)


def test_words_are_changed_anew_in_every_step_and_alike_for_a_seed():
    x = texts()
    changes = {"drop_words": 0.1, "swap_words": 0.1, "mask_words": 0.1}
    np.testing.assert_array_equal(rewritten(x, **changes), rewritten(x, **changes))
    other = module.augment(tf.constant(x), Augment.model_validate(changes), SEED + 1, tf.zeros((3, 0)))[0].numpy()
    assert (other != rewritten(x, **changes)).any()


def test_the_page_on_extending_gives_a_new_augmentation_a_number_of_its_own():
    page = Path(__file__).parents[3] / "docs" / "extending.md"
    name = re.search(r'\+ +"(\w+)",  # in STREAMS: behind the last', page.read_text("utf-8"))
    assert name is not None
    assert name[1] not in STREAMS
    assert list(STREAMS.values()) == list(range(1, len(STREAMS) + 1))
