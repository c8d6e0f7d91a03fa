"""Which rows are held out: every class in proportion, and identical rows always on the same side.

Identical rows are kept, not dropped: two rows of a table may well be two cases with the same values, and without them
the classes would have other shares than the data has. What must not happen is that one copy is trained on and another
one scored. So a draw takes or leaves all copies of a row together, and no leak can arise from a fraction.
"""

import hashlib

import numpy as np

from components.errors import AssayError

CHUNK = 256  # rows that are read at a time: 150 MB of 224x224x3 as float32


def identical(x: np.ndarray) -> np.ndarray:
    """Return for each row (rows,) the number of the first row with the same values; 0.0 and -0.0 are the same."""
    digests = bytearray()
    for start in range(0, len(x), CHUNK):
        chunk = np.ascontiguousarray(x[start : start + CHUNK])
        if np.issubdtype(chunk.dtype, np.floating):
            chunk = chunk + 0.0
        for row in chunk:
            digests += hashlib.blake2b(row.data, digest_size=16).digest()
    high, low = np.frombuffer(bytes(digests), np.uint64).reshape(-1, 2).T
    order = np.lexsort((low, high))  # stable: among equals the first row comes first
    is_new = np.ones(len(order), bool)
    is_new[1:] = (np.diff(high[order]) != 0) | (np.diff(low[order]) != 0)
    groups = np.empty(len(order), np.int64)
    groups[order] = order[is_new][np.cumsum(is_new) - 1]
    return groups


def stratified(
    rows: np.ndarray,
    y: np.ndarray,
    fraction: float,
    seed: int,
    classes: tuple[str, ...],
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Return the given fraction of the rows, in order, with every class in proportion.

    Args:
        rows: row numbers (rows,).
        y: their class numbers (rows,).
        fraction: how much to take; with large groups as near to it as whole groups allow, the same for every seed.
        seed: of the draw.
        classes: the classes' names.
        groups: a number for each row (rows,); rows with the same one stay together. None: each row for itself.

    Raises:
        AssayError: where a class can't be in both parts.
    """
    counts = np.bincount(y, minlength=len(classes))
    present = np.flatnonzero(counts)
    rarest = present[counts[present].argmin()]
    held_out = round(len(y) * fraction)
    if counts[rarest] >= 2 and held_out >= len(present) and len(y) - held_out >= len(present):
        if groups is None or len(np.unique(groups)) == len(groups):
            taken = _rows_alone(y, held_out, seed)
        else:
            taken = _whole_groups(y, groups, held_out, seed)
        # Shares are rounded: of a rare class a part may get less than one row.
        lacking = next((part for part in (~taken, taken) if len(np.unique(y[part])) < len(present)), None)
        if lacking is None:
            return rows[taken]
        if groups is not None:
            lost = np.setdiff1d(present, y[lacking])[0]
            if len(np.unique(groups[y == lost])) == 1:
                raise AssayError(
                    f"all {counts[lost]} rows of class {classes[lost]!r} are identical, so it can't be in every part; "
                    "add rows or leave the class out"
                )
    raise AssayError(
        f"too few rows to split: {len(y)} rows of {len(present)} classes, {counts[rarest]} of class "
        f"{classes[rarest]!r}, {held_out} held out; every class must be in every part: add rows or change the fraction"
    )


def _rows_alone(y: np.ndarray, held_out: int, seed: int) -> np.ndarray:
    from sklearn.model_selection import train_test_split

    _, chosen = train_test_split(np.arange(len(y)), test_size=held_out, stratify=y, random_state=seed)
    taken = np.zeros(len(y), bool)
    taken[chosen] = True
    return taken


def _whole_groups(y: np.ndarray, groups: np.ndarray, held_out: int, seed: int) -> np.ndarray:
    """Return which rows are taken (rows,), group by group; a group counts for the class of its first row."""
    _, first, member, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    of_class = y[first]
    present, rows = np.unique(of_class, return_counts=True)
    rows = np.array([sizes[of_class == label].sum() for label in present])
    exact = rows * (held_out / len(y))
    quotas = np.floor(exact).astype(int)
    quotas[np.argsort(quotas - exact, kind="stable")[: held_out - quotas.sum()]] += 1
    rng = np.random.default_rng(seed)
    taken = np.zeros(len(sizes), bool)
    for label, quota in zip(present, quotas, strict=True):
        mine = np.flatnonzero(of_class == label)
        taken[mine[_draw(sizes[mine], int(quota), rng)]] = True
    return taken[member]


def _draw(sizes: np.ndarray, quota: int, rng: np.random.Generator) -> np.ndarray:
    """Draw groups whose sizes add up to the quota, or to what is nearest to it; all of them or none is no choice.

    The sum follows from the sizes alone: every seed gets as many rows, since a compiled program fits one number.
    Sums that can be reached are the bits of an integer, one for each number of distinct sizes used (subset sums).

    Returns:
        The chosen groups' positions; none where there is no choice.
    """
    kinds, counts = np.unique(sizes, return_counts=True)
    total = int(sizes.sum())
    limit = min(total - 1, quota + int(kinds[-1]))
    within = (1 << (limit + 1)) - 1
    reachable = [1]
    for size, count in zip(kinds.tolist(), counts.tolist(), strict=True):
        sums, step = reachable[-1], 1
        while count:
            used = min(step, count)
            sums = (sums | sums << (size * used)) & within
            count, step = count - used, step * 2
        reachable.append(sums)
    near = sorted(range(max(1, quota - int(kinds[-1])), limit + 1), key=lambda s: abs(s - quota))
    left = next((s for s in near if reachable[-1] >> s & 1), 0)
    chosen, available = [], total
    for size, count, sums in reversed(list(zip(kinds.tolist(), counts.tolist(), reachable[:-1], strict=True))):
        wish = rng.binomial(count, min(1.0, left / available))
        possible = range(min(count, left // size) + 1)
        number = next(k for k in sorted(possible, key=lambda k: abs(k - wish)) if sums >> (left - k * size) & 1)
        chosen.append(rng.choice(np.flatnonzero(sizes == size), number, replace=False))
        left, available = left - number * size, available - count * size
    return np.concatenate(chosen)
