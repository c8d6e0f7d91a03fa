"""Which rows are held out: every class in proportion, and identical rows always on the same side.

Identical rows are kept, not dropped: two rows of a table may well be two cases with the same values, and without them
the classes would have other shares than the data has. What must not happen is that one copy is trained on and another
one scored. So a draw takes or leaves all copies of a row together, and no leak can arise from a fraction.

With `data.group` a draw takes or leaves whole groups, and what is identical to a row of a group goes with it. With
`data.time` nothing is drawn: the newest rows are the test, and every seed has a window of the older ones, the newest
part of which is for validation, so that no model has seen the future of a row that it is scored on.

Test rows of a fraction are not drawn but follow from their own content: of each class those with the smallest digests.
So a row stays a test row when others are added, and a model that was trained last month has not seen most of the test
rows of today. Every draw is made from the rows in the order of their content, so it does not depend on the order of a
file.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from components.data.sources import Rows
from components.errors import AssayError
from components.study.dataset import DatasetSpec

UNUSED, TRAIN, VALIDATION, TEST = range(4)
# Chooses of groups, by their numbers, sizes and a quota of rows: their places.
Choice = Callable[[np.ndarray, np.ndarray, int], np.ndarray | list[int]]
CHUNK = 256  # rows that are read at a time: 150 MB of 224x224x3 as float32
DRAWS = 100  # of groups, until each class is on both sides
SPREAD = 0x9E3779B97F4A7C15  # odd: a product with it spreads small numbers over all of 64 bits (Fibonacci hashing)
GOLDEN = (5**0.5 - 1) / 2
WINDOW = 0.8  # share of the rows before the test that a seed's window has, with `data.time`
STRETCHES = 3  # in a seed's validation rows, with `data.time`: more would see less of what lasts (simulated)


@dataclass(frozen=True)
class Content:
    """What is in the rows, and no more."""

    digests: np.ndarray  # uint64 (rows, 2), equal for rows with the same values
    first: np.ndarray  # (rows,) for each row the number of the first one with the same values
    order: np.ndarray  # int64 (rows,) the rows' numbers, ordered by content, class and time


def content(rows: Rows) -> Content:
    """Return the rows' digests and what follows from them; 0.0 and -0.0 are the same, and so are all NaN.

    A category or a word counts by its text, and not by its number, which depends on what other rows have.
    """
    digests = np.frombuffer(b"".join(_digests(rows)), np.uint64).reshape(-1, 2)
    high, low = digests.T
    times = () if rows.times is None else (rows.times,)
    order = np.lexsort((*times, rows.y, low, high))  # stable: among equals the first row comes first
    first = pd.Series(np.arange(len(order))).groupby([high, low]).transform("min").to_numpy()
    return Content(digests, first, order)


def _digests(rows: Rows) -> Iterator[bytes]:
    """Yield the digest of each row, 16 bytes."""
    words = np.array([0, *(hashed(word) for word in rows.words)], np.uint64)
    values = {i: np.array([hashed(v) for v in c.values], np.uint64) for i, c in enumerate(rows.columns) if c.values}
    for start in range(0, len(rows.x), CHUNK):
        chunk = np.ascontiguousarray(rows.x[start : start + CHUNK])
        if np.issubdtype(chunk.dtype, np.floating):
            chunk = np.where(np.isnan(chunk), np.nan, chunk + 0.0)
        if rows.words:
            chunk = [words[row[row > 0]] for row in chunk]
        elif rows.columns:
            coded = chunk.astype(np.float64).view(np.uint64)
            for i, hashes in values.items():
                known = ~np.isnan(chunk[:, i])
                coded[known, i] = hashes[chunk[known, i].astype(np.int64)]
            chunk = coded
        for row in chunk:
            yield hashlib.blake2b(row.data, digest_size=16).digest()


def hashed(text: str) -> int:
    """Return 64 bits that stand for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def split(rows: Rows, data: DatasetSpec, seeds: int, content: Content) -> np.ndarray:
    """Return for each seed what it does with each row: uint8 (seeds, rows) of TRAIN, VALIDATION, TEST and UNUSED.

    Raises:
        AssayError: where the rows can't be split so.
    """
    if rows.times is not None:
        return _by_time(rows, data, seeds, content)
    together = linked(rows, content)
    held_out = _test_rows(rows, data, content, together)
    parts = np.full((seeds, len(rows.y)), TRAIN, np.uint8)
    parts[:, held_out] = TEST
    rest = content.order[parts[0][content.order] == TRAIN]
    times = np.zeros(len(rest), np.int64)
    for seed in range(seeds):
        taken = stratified(rest, rows.y[rest], data.validation, seed, rows.classes, together[rest], times)
        parts[seed, taken] = VALIDATION
        times += parts[seed, rest] == VALIDATION
    return parts


def _test_rows(rows: Rows, data: DatasetSpec, content: Content, together: np.ndarray) -> np.ndarray:
    if isinstance(data.test, str):
        if data.test not in rows.splits:
            own = ", ".join(rows.splits) or "none"
            raise AssayError(
                f"data.test: the source has no split {data.test!r}; its own splits: {own}; or give a fraction"
            )
        return rows.splits[data.test]
    order = content.order
    keys = (content.digests[:, 0] if rows.groups is None else rows.groups.astype(np.uint64))[order]
    y, groups = rows.y[order], together[order]
    held_out = round(len(y) * data.test)
    return order[_checked(y, held_out, rows.classes, groups, _smallest(y, groups, keys, held_out))]


def linked(rows: Rows, content: Content) -> np.ndarray:
    """Return a number for each row (rows,), the same where rows must stay together.

    It is the place in the content's order of the first of them: a draw among them does not depend on a file's order.
    """
    together = content.first if rows.groups is None else _joined(content.first, rows.groups)
    return pd.Series(np.argsort(content.order)).groupby(together).transform("min").to_numpy()


def units(rows: Rows, content: Content, validation: int) -> np.ndarray:
    """Return a number for each row (rows,), the same where rows don't speak for themselves.

    Such are copies of a row and rows of a group. With times it is a stretch of them, for what happens at nearly the
    same time is alike: a seed's validation rows, of which there are so many, are `STRETCHES` of them (batch means: the
    variance of a mean of values in a row, Conway 1963).
    """
    if rows.times is None:
        return linked(rows, content)
    return np.argsort(_oldest_first(rows.times, content)) // max(validation // STRETCHES, 1)


def _joined(first: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return a number for each row (rows,), the same where rows are linked by equal content or by a group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ids = np.unique(groups, return_inverse=True)[1] + len(first)
    nodes = len(first) + int(ids.max()) + 1
    rows = np.arange(len(first))
    links = coo_array((np.ones(2 * len(rows)), (np.r_[rows, rows], np.r_[first, ids])), (nodes, nodes))
    return connected_components(links, directed=False)[1][: len(first)]


def _oldest_first(times: np.ndarray, content: Content) -> np.ndarray:
    return np.lexsort((np.argsort(content.order), times))


def _by_time(rows: Rows, data: DatasetSpec, seeds: int, content: Content) -> np.ndarray:
    """Return the parts by time: test rows are newer than all others, validation rows not older than train rows.

    The test begins where the time changes, as near to the wanted fraction as that allows. A seed's window has
    WINDOW of the rows before the test; what is outside of it is unused. The windows of any number of seeds are spread
    evenly over these rows (the golden ratio's multiples).
    """
    assert rows.times is not None
    assert isinstance(data.test, float)
    oldest_first = _oldest_first(rows.times, content)
    times = rows.times[oldest_first]
    changes = 1 + np.flatnonzero(np.diff(times))
    if not len(changes):
        raise AssayError(f"data.time: all {len(times)} rows have the same time, so none are the newest")
    cut = int(changes[np.abs(changes - (1 - data.test) * len(times)).argmin()])
    window = max(round(WINDOW * cut), 2)
    scored = min(max(round(data.validation * window), 1), window - 1)
    parts = np.zeros((seeds, len(times)), np.uint8)
    parts[:, oldest_first[cut:]] = TEST
    for seed in range(seeds):
        start = int(seed * GOLDEN % 1 * (max(cut - window, 0) + 1))
        used = oldest_first[start : min(start + window, cut)]
        parts[seed, used[:-scored]] = TRAIN
        parts[seed, used[-scored:]] = VALIDATION
        if len(np.unique(rows.y[used[:-scored]])) < 2:
            raise AssayError(
                f"data.time: the {len(used) - scored} rows that seed {seed} trains on are all of class "
                f"{rows.classes[rows.y[used[0]]]!r}; the classes must not follow each other in time: use data.group"
            )
    return parts


def stratified(
    rows: np.ndarray,
    y: np.ndarray,
    fraction: float,
    seed: int,
    classes: tuple[str, ...],
    groups: np.ndarray,
    times: np.ndarray,
) -> np.ndarray:
    """Return the given fraction of the row numbers (rows,), in order, with every class in proportion.

    Rows that were taken least often come first, so that seeds together are balanced folds: none of a class is taken
    twice before all of it were taken once. Rows with the same number in `groups` (rows,) stay together. With large
    groups the fraction is as near as they allow, the same for every seed; with rows of several classes in a group the
    shares are only nearly right.

    Args:
        rows: their numbers (rows,).
        y: their class numbers (rows,).
        fraction: to take.
        seed: of the draw.
        classes: their names.
        groups: a number for each row (rows,).
        times: how often each row was taken by the seeds before (rows,).

    Raises:
        AssayError: where a class can't be in both parts.
    """
    held_out = round(len(y) * fraction)
    return rows[_checked(y, held_out, classes, groups, _draws(y, groups, held_out, seed, times))]


def _checked(
    y: np.ndarray, held_out: int, classes: tuple[str, ...], groups: np.ndarray, tries: Iterator[np.ndarray]
) -> np.ndarray:
    """Return the first of the tries, bool (rows,), in which every class is on both sides, or refuse."""
    counts = np.bincount(y, minlength=len(classes))
    present = np.flatnonzero(counts)
    rarest = present[counts[present].argmin()]
    if counts[rarest] >= 2 and held_out >= len(present) and len(y) - held_out >= len(present):
        for taken in tries:
            # Shares are rounded: of a rare class a part may get less than one row.
            lacking = next((part for part in (~taken, taken) if len(np.unique(y[part])) < len(present)), None)
            if lacking is None:
                return taken
            lost = np.setdiff1d(present, y[lacking])[0]
            if len(np.unique(groups[y == lost])) == 1:
                raise AssayError(
                    f"all {counts[lost]} rows of class {classes[lost]!r} are identical or of one group, so it can't be "
                    "in every part; add rows or leave the class out"
                )
    raise AssayError(
        f"too few rows to split: {len(y)} rows of {len(present)} classes, {counts[rarest]} of class "
        f"{classes[rarest]!r}, {held_out} held out; every class must be in every part: add rows or change the fraction"
    )


def _draws(y: np.ndarray, groups: np.ndarray, held_out: int, seed: int, times: np.ndarray) -> Iterator[np.ndarray]:
    """Yield which rows are taken (rows,), again and again where a class may be lacking by chance."""
    rng = np.random.default_rng(seed)
    least = times[np.unique(groups, return_index=True)[1]]
    for counted in (least, np.zeros_like(least)):  # a rare class may be only in groups whose turn it is not

        def draw(members: np.ndarray, sizes: np.ndarray, quota: int, counted: np.ndarray = counted) -> np.ndarray:
            return _draw(sizes, quota, counted[members], rng)

        yield from (_by_class(y, groups, held_out, draw) for _ in range(DRAWS // 2))


def _smallest(y: np.ndarray, groups: np.ndarray, keys: np.ndarray, held_out: int) -> Iterator[np.ndarray]:
    """Yield which rows are taken (rows,): of each class the groups with the smallest keys; then by other keys.

    Keys, uint64 (rows,), follow from what is in the rows and are the same whatever other rows there are.
    """
    for attempt in range(DRAWS):
        spread = keys * np.uint64(SPREAD * (2 * attempt + 1) & 0xFFFFFFFFFFFFFFFF)
        least = pd.Series(spread).groupby(groups).min().to_numpy()
        yield _by_class(y, groups, held_out, partial(_nearest, least))


def _by_class(y: np.ndarray, groups: np.ndarray, held_out: int, choose: Choice) -> np.ndarray:
    """Return which rows are taken (rows,): of each class in proportion, those of the groups that are chosen.

    A group counts for the class of its first row.
    """
    _, first, member, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    of_class, taken = y[first], np.zeros(len(sizes), bool)
    present = np.unique(of_class)
    counts = np.array([sizes[of_class == label].sum() for label in present])
    for label, quota in zip(present, _quotas(counts, held_out), strict=True):
        members = np.flatnonzero(of_class == label)
        taken[members[choose(members, sizes[members], int(quota))]] = True
    return taken[member]


def _quotas(counts: np.ndarray, held_out: int) -> np.ndarray:
    """Return how many rows of each class are taken: in proportion, in all as many as wanted, and never none or all."""
    exact = counts * (held_out / counts.sum())
    quotas = np.clip(_rounded(exact, held_out), 1, np.maximum(counts - 1, 1))
    while off := held_out - int(quotas.sum()):
        step = int(np.sign(off))
        able = quotas < counts - 1 if step > 0 else quotas > 1
        quotas[np.where(able, step * (quotas - exact), np.inf).argmin()] += step
    return quotas


def _nearest(keys: np.ndarray, members: np.ndarray, sizes: np.ndarray, quota: int) -> list[int]:
    """Choose, from the smallest key on, the groups that bring their size nearer to the quota; one at least, not all."""
    order = np.argsort(keys[members], kind="stable")
    left, taken = quota, []
    for group in order.tolist():
        if sizes[group] < 2 * left:
            taken.append(group)
            left -= int(sizes[group])
        if left <= 0:
            break
    if not taken:
        taken = [int(order[sizes[order].argmin()])]
    return taken[:-1] if 1 < len(order) == len(taken) else taken


def _rounded(exact: np.ndarray, total: int, least: int = 0) -> np.ndarray:
    """Return whole numbers that add up to the total, where that is more; those that lose most are rounded up."""
    whole = np.maximum(np.floor(exact).astype(int), least)
    whole[np.argsort(whole - exact, kind="stable")[: max(total - whole.sum(), 0)]] += 1
    return whole


def _draw(sizes: np.ndarray, quota: int, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the positions of groups whose sizes add up to the quota, or nearly; none or all of them is no choice.

    Of a size those come first that were taken least often.

    The sum follows from the sizes alone: every seed gets as many rows, since a compiled program fits one number.
    Sums that can be reached are the bits of an integer, one for each number of distinct sizes used (subset sums).
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
        alike = rng.permutation(np.flatnonzero(sizes == size))
        chosen.append(alike[np.argsort(times[alike], kind="stable")][:number])
        left, available = left - number * size, available - count * size
    return np.concatenate(chosen)


def share_of(y: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return which of the rows are in a share of them, bool (rows,): every class in proportion, and at least one row.

    Rows come in a random order for each seed, of which a larger share takes more; as many for every seed.
    """
    classes, counts = np.unique(y, return_counts=True)
    taken = np.zeros(len(y), bool)
    for number, quota in enumerate(_rounded(counts * share, max(round(len(y) * share), len(classes)), least=1)):
        members = np.flatnonzero(y == classes[number])
        taken[np.random.default_rng((seed, number)).permutation(members)[:quota]] = True
    return taken
