"""Which images are nearly the same."""

import numpy as np
import pytest

from components.data import near_duplicates


def test_pairs_are_row_numbers_and_exact_copies_are_none():
    x = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 1), np.uint8)
    x[4], x[5] = x[1], np.minimum(x[2], 254) + 1
    assert near_duplicates.near_duplicates(x, np.array([0, 1, 2, 3, 1, 5])).tolist() == [[2, 5]]


def test_near_pairs_are_those_that_comparing_all_with_all_finds():
    rng = np.random.default_rng(0)
    thumbs = rng.uniform(0, 255, (300, 8, 9)).astype(np.float32)
    for i in range(100):
        thumbs[i] = thumbs[299 - i] + rng.normal(0, rng.uniform(0, 3), (8, 9))
    hashes = near_duplicates.difference_hash(thumbs)
    first, second = np.triu_indices(300, 1)
    close = np.bitwise_count(hashes[first] ^ hashes[second]) <= near_duplicates.MAX_BITS
    close &= np.abs(thumbs[first] - thumbs[second]).mean(axis=(1, 2)) <= near_duplicates.MAX_GRAY
    expected = np.stack([first[close], second[close]], axis=1)
    assert 30 < len(expected) < 100
    assert near_duplicates.near_pairs(thumbs).tolist() == expected.tolist()


@pytest.mark.parametrize("count", [0, 1, 2, 5000])
def test_blank_images_do_not_blow_up(count):
    pairs = near_duplicates.near_pairs(np.zeros((count, 8, 9), np.float32))
    assert len(pairs) <= count * near_duplicates.WINDOW


def test_any_image_size_has_a_thumbnail_that_keeps_its_mean():
    rng = np.random.default_rng(0)
    for size in [(1, 1), (3, 50), (8, 9), (28, 28)]:
        x = rng.integers(0, 256, (2, *size, 3), np.uint8)
        found = near_duplicates.thumbnails(x, np.arange(2))
        np.testing.assert_allclose(found.mean(axis=(1, 2)), x.mean(axis=(1, 2, 3)), rtol=1e-5)
