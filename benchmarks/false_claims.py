"""Are the intervals as wide as they should be, on real images? 70 studies, each on 1,000 images of its own.

Run: python benchmarks/false_claims.py [--seeds 5] [--data /usr/share/datasets/fashion-mnist]

Fashion-MNIST's 70,000 images (Debian: apt install dataset-fashion-mnist) are cut into disjoint data sets, so what a
technique truly does is the mean over all of them. Each study redraws 160 of 800 rows for validation with each seed, and
fits networks with a random first layer exactly (ridge regression): a few ms a network. Three kinds of intervals are
compared: `shared`, what Assay uses; the corrected resampled t test of Nadeau and Bengio (2003); and plain t intervals
that take the seeds for independent. For each: how often the 95 % interval of a technique holds the truth, its mean
width, and in how many studies one of seven arms that change nothing is claimed to help or hurt (after Holm).
"""

import argparse
import gzip
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from components.compare import Paired, compare, interval, paired

STUDIES, ROWS, TEST, VALIDATION, UNITS, NOTHING = 70, 1000, 200, 160, 150, 7
TECHNIQUES = ("half the units", "half the rows", "a strong penalty", "the same first layer always", "no hidden layer")
KINDS: dict[str, Callable[[Paired], Paired]] = {
    "shared": lambda of: of,
    "Nadeau and Bengio": lambda of: Paired(
        of.values, float(np.var(of.values, ddof=1)) * VALIDATION / (ROWS - TEST - VALIDATION)
    ),
    "plain": lambda of: Paired(of.values, 0.0),
}


def images(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return all images as float64 (rows, 784), 0 to 1, and their classes, in random order."""

    def read(name: str, header: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((folder / f"{name}-ubyte.gz").read_bytes()), np.uint8, offset=header)

    x = np.concatenate([read(f"{part}-images-idx3", 16).reshape(-1, 784) for part in ("train", "t10k")]) / 255.0
    y = np.concatenate([read(f"{part}-labels-idx1", 8) for part in ("train", "t10k")]).astype(np.int64)
    order = np.random.default_rng(0).permutation(len(y))
    return x[order], y[order]


def layer(rng: np.random.Generator, units: int = UNITS) -> np.ndarray:
    """Return a random first layer (784, units)."""
    return rng.normal(size=(784, units)) / 8


def right(x, y, train, validation, first: np.ndarray | None, penalty: float = 5.0) -> np.ndarray:
    """Return which validation rows a network gets right, float64 (rows,); without a first layer it is a linear one."""
    hidden = x if first is None else np.maximum(x @ first, 0)
    hidden = np.column_stack([hidden, np.ones(len(hidden))])
    ours = hidden[train]
    second = np.linalg.solve(ours.T @ ours + penalty * np.eye(ours.shape[1]), ours.T @ np.eye(10)[y[train]])
    return ((hidden[validation] @ second).argmax(axis=1) == y[validation]).astype(np.float64)


def study(number: int, x: np.ndarray, y: np.ndarray, seeds: int) -> Iterator[Paired]:
    """Yield the differences to the reference of each technique, and then of each arm that changes nothing."""
    rest = ROWS - TEST
    rows, found = [], [[] for _ in range(len(TECHNIQUES) + NOTHING)]
    always = layer(np.random.default_rng(5))
    for seed in range(seeds):
        rng = np.random.default_rng((number, seed))
        order = rng.permutation(rest)
        validation, train = order[:VALIDATION], order[VALIDATION:]
        rows.append(validation)
        first = layer(rng)
        reference = right(x, y, train, validation, first)
        arms = [
            right(x, y, train, validation, first[:, : UNITS // 2]),
            right(x, y, train[: len(train) // 2], validation, first),
            right(x, y, train, validation, first, penalty=200.0),
            right(x, y, train, validation, always),
            right(x, y, train, validation, None),
            *(right(x, y, train, validation, layer(rng)) for _ in range(NOTHING)),
        ]
        for of, ours in zip(found, arms, strict=True):
            of.append(ours - reference)
    units = np.arange(rest)
    return (paired(rows, of, units) for of in found)


def main() -> None:
    """Run all studies and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    options = parser.parse_args()
    if not options.data.is_dir():
        raise SystemExit(f"{options.data} is not there: apt install dataset-fashion-mnist, or --data FOLDER")
    x, y = images(options.data)
    parts = [slice(ROWS * n, ROWS * (n + 1)) for n in range(STUDIES)]
    studies = [list(study(n, x[part][TEST:], y[part][TEST:], options.seeds)) for n, part in enumerate(parts)]
    techniques = len(TECHNIQUES)
    truths = [float(np.mean([of[arm].values.mean() for of in studies])) for arm in range(techniques)]
    print(f"{platform.processor() or platform.machine()}, {STUDIES} studies, {options.seeds} seeds")
    print("true effects:", ", ".join(f"{name} {100 * of:+.1f}" for name, of in zip(TECHNIQUES, truths, strict=True)))
    print(f"{'interval':18} {'holds the truth':>15} {'mean width':>11} {'false claims':>13}")
    for kind, changed in KINDS.items():
        ends = np.array([[interval(changed(of)) for of in one[:techniques]] for one in studies], float)
        holds = np.mean((ends[..., 0] <= truths) & (truths <= ends[..., 1]))
        width = 100 * np.mean(ends[..., 1] - ends[..., 0])
        nothing = [compare([changed(of) for of in one[techniques:]], 1 / VALIDATION) for one in studies]
        claims = np.mean([any(effect.verdict in ("helped", "hurt") for effect in of) for of in nothing])
        print(f"{kind:18} {holds:15.1%} {width:10.1f}p {claims:13.1%}")


if __name__ == "__main__":
    main()
