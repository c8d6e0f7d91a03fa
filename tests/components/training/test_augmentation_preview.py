import matplotlib.image
import numpy as np
import pytest
from small import prepare_rows

from components.data.raw_values import as_words
from components.data.scaling import fit
from components.data.sources import Rows
from components.study.recipe import Augment, Recipe
from components.training import augmentation_preview
from components.training.augmentation_preview import augmentations, augmented_texts

RECIPE = Augment(rotate=30, brightness=0.3, noise=0.2, mixup=0.5)
SPREAD = np.array([0.4, 0.0, 1.0])


@pytest.fixture(scope="module")
def images(digits) -> np.ndarray:
    return np.asarray(digits.x[:6], np.float32) / 16


def test_there_is_a_version_for_each_technique_and_one_for_all(images):
    versions = augmentation_preview.versions(images, RECIPE, 0, SPREAD)
    assert list(versions) == ["rotate", "brightness", "noise", "mixup", "all together"]
    for version in versions.values():
        assert version.shape == images.shape
        assert not np.array_equal(version, images)
    assert list(augmentation_preview.versions(images, Augment(zoom=0.3), 0, SPREAD)) == ["zoom"]


def test_versions_are_what_training_draws(images):
    import tensorflow as tf

    from components.training.augment import augment

    step = tf.constant((3, 0), tf.int32)
    trained = augment(tf.constant(images), RECIPE, step, tf.constant(SPREAD, tf.float32))[0]
    np.testing.assert_allclose(
        augmentation_preview.versions(images, RECIPE, 3, SPREAD)["all together"], trained, atol=1e-4
    )


def test_images_of_as_many_classes_as_fit_are_shown_and_train_rows_only(digits):
    rows = augmentation_preview._rows(digits, 1)
    assert set(rows) <= set(digits.split(1)[0])
    assert len({*digits.y[rows]}) == len(rows) == augmentation_preview.IMAGES


@pytest.mark.parametrize("kind", ["none", "minmax", "tanh", "standardize"])
def test_the_file_shows_the_same_originals_however_they_are_scaled(digits, tmp_path, kind, monkeypatch):
    shown = {}
    monkeypatch.setattr(
        "components.training.augmentation_preview.augmentations", lambda v: shown.update(v) or augmentations(v)
    )
    encoder = fit(digits, 0, {kind: Recipe.model_validate({"scale": kind})})[kind]
    augmentation_preview.draw(digits, encoder, Augment(brightness=0.3), tmp_path / "a.png")
    assert list(shown) == ["original", "brightness"]
    np.testing.assert_allclose(
        shown["original"], np.asarray(digits.x[augmentation_preview._rows(digits, 0)]) / 16, atol=1e-6
    )
    assert matplotlib.image.imread(tmp_path / "a.png").std() > 0.1


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_images_of_any_number_of_channels_are_drawn(channels):
    figure = augmentations({"original": np.zeros((2, 5, 4, channels)), "flip": np.ones((2, 5, 4, channels))})
    assert [axes.get_ylabel() for axes in figure.axes] == ["original", "", "flip", ""]


def test_texts_are_shown_with_what_became_of_their_words(tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(
        "components.training.augmentation_preview.augmented_texts", lambda v: shown.update(v) or augmented_texts(v)
    )
    words, x, _ = as_words(
        [f"the {animal} number {n} 好 sleeps $well$" for n in range(30) for animal in ("cat", "dog")], 10
    )
    prepared = prepare_rows(Rows(x, np.arange(60) % 2, ("cat", "dog"), words=words), tmp_path, "text:x.csv")
    encoder = fit(prepared, 0, {"": Recipe()})[""]
    recipe = Augment(drop_words=0.3, mask_words=0.4)
    augmentation_preview.draw(prepared, encoder, recipe, tmp_path / "a.png")
    assert list(shown) == ["original", "drop words", "mask words", "all together"]
    assert {len(texts) for texts in shown.values()} == {augmentation_preview.TEXTS}
    assert all(text.startswith("the ") and text.endswith("sleeps $ well $") for text in shown["original"])
    assert any("[?]" in text for text in shown["mask words"])
    assert min(len(text.split()) for text in shown["drop words"]) < 8
    assert matplotlib.image.imread(tmp_path / "a.png").std() > 0.05
