"""False claims and coverage of 95 % intervals: Assay's against Nadeau and Bengio's and against plain t intervals.
One round takes about 3 min on 2 cores, and 2 min more with Fashion-MNIST.

70,000 rows are cut into 70 studies of 1,000 each, so what a technique truly does is the mean over all of them. Each
study redraws 160 of 800 rows for validation with each seed, and fits networks with a random first layer exactly (ridge
regression): a few ms a network. Every round cuts the rows anew. For each kind of interval is printed how often that of
a technique holds the truth, its mean width, and in how many studies one of seven arms that change nothing is claimed to
help or hurt.

    shared                what Assay uses
    Nadeau and Bengio     the corrected resampled t test (2003)
    plain                 t intervals that take the seeds for independent

The rows are drawn from ten normal distributions, or are the images of Fashion-MNIST.
"""

import gzip
from collections.abc import Callable, Iterator

import numpy as np

from _common import FASHION, chosen, parser, start
from components.stats.paired_effects import Paired, compare, interval, paired

STUDIES, STUDIES_SMALL, ROWS, TEST, VALIDATION, UNITS, NOTHING = 70, 2, 1000, 200, 160, 150, 7
CASES = {"normal": None, "fashion-mnist": FASHION}
TECHNIQUES = ("half the units", "half the rows", "a strong penalty", "the same first layer always", "no hidden layer")
KINDS: dict[str, Callable[[Paired], Paired]] = {
    "shared": lambda of: of,
    "Nadeau and Bengio": lambda of: Paired(
        of.values, float(np.var(of.values, ddof=1)) * VALIDATION / (ROWS - TEST - VALIDATION)
    ),
    "plain": lambda of: Paired(of.values, 0.0),
}


def rows(case: str) -> tuple[np.ndarray, np.ndarray]:
    """Return all rows, float64 (rows, columns), and their classes."""
    if case == "normal":
        rng = np.random.default_rng(0)
        y = rng.integers(0, 10, STUDIES * ROWS)
        return rng.normal(size=(10, 64))[y] * 0.35 + rng.normal(size=(len(y), 64)), y

    def read(name: str, header: int) -> np.ndarray:
        packed = (FASHION.at / f"{name}-ubyte.gz").read_bytes()
        return np.frombuffer(gzip.decompress(packed), np.uint8, offset=header)

    x = np.concatenate([read(f"{part}-images-idx3", 16).reshape(-1, 784) for part in ("train", "t10k")]) / 255.0
    return x, np.concatenate([read(f"{part}-labels-idx1", 8) for part in ("train", "t10k")]).astype(np.int64)


def layer(rng: np.random.Generator, columns: int) -> np.ndarray:
    """Return a random first layer (columns, units)."""
    return rng.normal(size=(columns, UNITS)) / 8


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
    columns = x.shape[1]
    always = layer(np.random.default_rng(5), columns)
    for seed in range(seeds):
        rng = np.random.default_rng((number, seed))
        order = rng.permutation(rest)
        validation, train = order[:VALIDATION], order[VALIDATION:]
        rows.append(validation)
        first = layer(rng, columns)
        reference = right(x, y, train, validation, first)
        arms = [
            right(x, y, train, validation, first[:, : UNITS // 2]),
            right(x, y, train[: len(train) // 2], validation, first),
            right(x, y, train, validation, first, penalty=200.0),
            right(x, y, train, validation, always),
            right(x, y, train, validation, None),
            *(right(x, y, train, validation, layer(rng, columns)) for _ in range(NOTHING)),
        ]
        for of, ours in zip(found, arms, strict=True):
            of.append(ours - reference)
    units = np.arange(rest)
    return (paired(rows, of, units) for of in found)


def main() -> None:
    """Run all studies of each case and print a table."""
    made = parser(__doc__, rounds=1, cases=CASES)
    made.add_argument("--seeds", type=int, default=5, help="of a study (5 by default)")
    options = made.parse_args()
    count = STUDIES_SMALL if options.small else STUDIES
    start(options, f"{count} studies a round, {options.seeds} seeds")
    for case in chosen(options, CASES):
        x, y = rows(case)
        studies = []
        for cut in range(options.rounds):
            order = np.random.default_rng(cut).permutation(len(y))
            for number in range(count):
                part = order[ROWS * number + TEST : ROWS * (number + 1)]
                studies.append(list(study(STUDIES * cut + number, x[part], y[part], options.seeds)))
        print(f"{case}:")
        report(studies)


def report(studies: list[list[Paired]]) -> None:
    """Print what the studies of one case gave."""
    techniques = len(TECHNIQUES)
    truths = [float(np.mean([of[arm].values.mean() for of in studies])) for arm in range(techniques)]
    effects = (f"{name} {100 * of:+.1f}" for name, of in zip(TECHNIQUES, truths, strict=True))
    print("  true effects in points:", ", ".join(effects))
    print(f"  {'interval':18} {'holds the truth':>15} {'mean width':>11} {'false claims':>13}")
    for kind, changed in KINDS.items():
        estimates = [[interval(changed(of), 1 / VALIDATION) for of in one[:techniques]] for one in studies]
        ends = np.array([[(of.low, of.high) for of in one] for one in estimates], float)
        holds = np.mean((ends[..., 0] <= truths) & (truths <= ends[..., 1]))
        width = 100 * np.mean(ends[..., 1] - ends[..., 0])
        nothing = [compare([changed(of) for of in one[techniques:]], 1 / VALIDATION) for one in studies]
        claims = np.mean([any(effect.verdict in ("helped", "hurt") for effect in of) for of in nothing])
        print(f"  {kind:18} {holds:15.1%} {width:10.1f}p {claims:13.1%}")


if __name__ == "__main__":
    main()
