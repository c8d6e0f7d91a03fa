"""Images that are nearly the same, such as a JPEG saved again at quality 50 or an image made smaller.

Two are: their difference hashes differ in few of 64 bits, and their thumbnails by few of 255 gray levels (mean).
"""

import numpy as np

from components.data.splitting import CHUNK

MAX_BITS = 6
MAX_GRAY = 1.5  # of 10,000 Fashion-MNIST images one pair is at 0.4, and the next one at 2.3
BANDS = 8  # of 8 bits: of two hashes that differ in 6 bits at least two bands are the same
WINDOW = 16  # neighbours that are looked at in each band's order
THUMB = (8, 9)


def near_duplicates(x: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the pairs of images (pairs, 2) that are nearly the same, and not exactly.

    They are (rows, height, width, channels), of any numeric dtype; `first` (rows,) is that of `Content`.
    """
    alone = np.flatnonzero(first == np.arange(len(first)))
    return alone[near_pairs(thumbnails(x, alone))]


def thumbnails(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return float32 (rows, 8, 9): gray, averaged over areas, 0..255; what is not uint8 is stretched to that."""
    down, across = (_averaging(size, to) for size, to in zip(x.shape[1:3], THUMB, strict=True))
    thumbs = np.empty((len(rows), *THUMB), np.float32)
    for start in range(0, len(rows), CHUNK):
        gray = np.asarray(x[rows[start : start + CHUNK]]).mean(axis=-1, dtype=np.float32)
        thumbs[start : start + CHUNK] = down @ gray @ across.T
    if x.dtype != np.uint8:
        thumbs -= thumbs.min()
        thumbs *= 255 / max(float(thumbs.max()), 1e-12)
    return thumbs


def _averaging(size: int, to: int) -> np.ndarray:
    """Return float32 (to, size): rows that average `size` pixels over `to` equal areas."""
    edges = np.linspace(0, size, to + 1)
    pixel = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (np.maximum(overlap, 0) * (to / size)).astype(np.float32)


def difference_hash(thumbs: np.ndarray) -> np.ndarray:
    """Return uint64 (rows,): of thumbnails (rows, 8, 9) whether each pixel is brighter than its left neighbour."""
    bits = (thumbs[:, :, 1:] > thumbs[:, :, :-1]).reshape(len(thumbs), 64)
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def near_pairs(thumbs: np.ndarray) -> np.ndarray:
    """Return the pairs of positions (pairs, 2) whose thumbnails (rows, 8, 9) are nearly the same.

    The hashes are sorted BANDS times, each time with another band of bits in front, and each is compared with the
    WINDOW next ones: rows x BANDS x WINDOW comparisons, 9 million for 70,000 rows. Where more than WINDOW hashes
    share a band, pairs may be missed; it is a count of what is there at least.
    """
    hashes = difference_hash(thumbs)
    pairs: list[np.ndarray] = []
    for band in range(BANDS):
        shift = np.uint64(band * 64 // BANDS)
        turned = hashes << shift | hashes >> (np.uint64(64) - shift) if band else hashes
        order = np.argsort(turned, kind="stable")
        ordered = hashes[order]
        for step in range(1, min(WINDOW, len(order) - 1) + 1):
            near = np.flatnonzero(np.bitwise_count(ordered[step:] ^ ordered[:-step]) <= MAX_BITS)
            pair = np.stack([order[near], order[near + step]], axis=1)
            gray = np.abs(thumbs[pair[:, 0]] - thumbs[pair[:, 1]]).mean(axis=(1, 2))
            pairs.append(np.sort(pair[gray <= MAX_GRAY], axis=1))
    return np.unique(np.concatenate(pairs), axis=0) if pairs else np.empty((0, 2), np.int64)
