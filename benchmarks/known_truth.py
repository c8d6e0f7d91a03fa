"""How often verdicts are right: small networks, trained for real, on data whose truth is known, against t intervals.
One round takes about 20 min on 2 cores.

A study is 400 rows from a population, of which each seed validates on a fifth, and a reference with some arms. All
networks of a few studies are trained at once: a hidden layer of ReLUs, Adam, mini-batches. What a technique truly does
is the mean over all studies on 2,000 fresh rows.

    techniques  seven that differ in function, from no scaling to a sixteenth of the units
    nothing     seven arms that each lack another column of a population in which all columns are alike: what they get
                right differs, and what they truly do is nothing
    many        the same with fifteen arms
    few         the same with 150 rows

For 2, 3, 5 and 10 seeds is printed how many arms are decided (helped or hurt), in how many studies one is decided
wrongly (with the wrong sign, or where there is nothing to find), and how often single intervals and all of a study hold
the truth. "t" stands for the arms that t intervals over the seeds' accuracy decide, with Holm's correction. Of arms
that are not decided, how often as many seeds again were promised to decide, and did, in five bins of the promise. Of
`assay plan`, the smallest effect of each arm that it says from two seeds, as a part of the one that all studies have.
Where there is nothing to find, also how often looks at 3, 5 and 10 seeds claim something, whose parts of the 5 % are
spent as `assay run --until-decided` spends them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from _common import chosen, parser, report_promises, start
from components.evaluation.looks import Look, left_to_spend
from components.stats.metrics import METRICS, row_scores
from components.stats.paired_effects import (
    ALPHA,
    Effect,
    Level,
    Paired,
    Spread,
    compare,
    expected_spreads,
    holm,
    moderated,
    most_borrowed,
    paired,
)

COLUMNS, UNITS, CLASSES, BATCH = 16, 32, 3, 32
SHARE, FRESH, SEEDS = 0.2, 2000, (2, 3, 5, 10)  # of the rows, to validate on; rows that show the truth; of a study
POPULATIONS, STUDIES, AT_ONCE = 4, 40, 8  # the last two of a population
EPOCHS, RATE, STABLE = 30, 5e-3, 1e-8
DECIDED = "helped", "hurt"
CERTAIN = (*DECIDED, "no difference")


@dataclass(frozen=True)
class Arm:
    """What an arm trains: the reference of `techniques` where nothing is said."""

    units: int = UNITS
    scale: bool = True
    dropout: float = 0.0
    decay: float = 1e-4  # of the weights, beside the optimizer's step
    noise: float = 0.0  # standard deviation of what is added to the train rows
    smoothing: float = 0.0  # of the labels
    epochs: int = EPOCHS
    lacks: int | None = None  # a column


def lacking(count: int) -> list[Arm]:
    """Return a reference and arms of which each lacks another column."""
    return [Arm(lacks=column) for column in range(count)]


TECHNIQUES = [
    *(Arm(), Arm(scale=False), Arm(dropout=0.4), Arm(decay=3e-2), Arm(noise=0.8)),
    *(Arm(smoothing=0.3), Arm(units=2), Arm(epochs=6)),
]
CASES = {  # arms, and rows of a study
    "techniques": (TECHNIQUES, 400),
    "nothing": (lacking(8), 400),
    "many": (lacking(16), 400),
    "few": (lacking(8), 150),
}


class Networks:
    """Networks that are trained at once, each on rows of its own."""

    def __init__(self, arms: list[Arm], x: np.ndarray, y: np.ndarray, rng: np.random.Generator):
        """Train one per arm; x float32 (networks, rows, columns), y class numbers (networks, rows)."""
        self.rng = rng
        setting = {name: np.array([vars(arm)[name] for arm in arms]) for name in vars(arms[0]) if name != "lacks"}
        self.setting = {name: of[:, None, None].astype(np.float32) for name, of in setting.items()}
        self.units = np.arange(UNITS) < self.setting["units"]
        seen = np.array([[column != arm.lacks for column in range(COLUMNS)] for arm in arms])[:, None]
        center, spread = x.mean(axis=1, keepdims=True), x.std(axis=1, keepdims=True)
        scaled = self.setting["scale"] > 0
        self.shift = np.where(scaled, center, 0).astype(np.float32)
        self.factor = (seen / np.where(scaled, spread, 1)).astype(np.float32)
        shapes = (COLUMNS, UNITS), (1, UNITS), (UNITS, CLASSES), (1, CLASSES)
        fan = np.sqrt(2 / COLUMNS), 0.0, np.sqrt(2 / self.setting["units"]), 0.0
        drawn = (rng.standard_normal((len(arms), *shape), np.float32) for shape in shapes)
        self.weights = [(of * size).astype(np.float32) for of, size in zip(drawn, fan, strict=True)]
        self.moments = [(np.zeros_like(of), np.zeros_like(of)) for of in self.weights]
        self._fit((x - self.shift) * self.factor, y)

    def _fit(self, x: np.ndarray, y: np.ndarray) -> None:
        smoothing = self.setting["smoothing"]
        labels = np.eye(CLASSES, dtype=np.float32)[y] * (1 - smoothing) + smoothing / CLASSES
        steps, every = 0, np.arange(len(x))[:, None]
        for epoch in range(EPOCHS):
            trains = self.setting["epochs"] > epoch
            order = self.rng.random(y.shape, np.float32).argsort(axis=1)
            for first in range(0, y.shape[1] - BATCH + 1, BATCH):
                steps += 1
                rows = order[:, first : first + BATCH]
                self._step(x[every, rows], labels[every, rows], steps, trains)

    def _step(self, x: np.ndarray, labels: np.ndarray, step: int, trains: np.ndarray) -> None:
        noise, keep = self.setting["noise"], 1 - self.setting["dropout"]
        x = x + noise * (self.factor > 0) * self.rng.standard_normal(x.shape, np.float32)
        before = x @ self.weights[0] + self.weights[1]
        on = (before > 0) * self.units * (self.rng.random(before.shape, np.float32) < keep) / keep
        hidden = before * on
        of_logits = (softmax(hidden @ self.weights[2] + self.weights[3]) - labels) / BATCH
        of_hidden = (of_logits @ self.weights[2].swapaxes(1, 2)) * on
        gradients = (
            *(x.swapaxes(1, 2) @ of_hidden, of_hidden.sum(axis=1, keepdims=True)),
            *(hidden.swapaxes(1, 2) @ of_logits, of_logits.sum(axis=1, keepdims=True)),
        )
        rate = np.float32(RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step))
        for weight, (mean, square), gradient in zip(self.weights, self.moments, gradients, strict=True):
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            weight -= trains * rate * mean / (np.sqrt(square) + STABLE)
            if weight.shape[1] > 1:
                weight -= trains * self.setting["decay"] * 0.05 * weight

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return probabilities float32 (networks, rows, classes) for x (networks or 1, rows, columns)."""
        hidden = ((x - self.shift) * self.factor) @ self.weights[0] + self.weights[1]
        return softmax(np.maximum(hidden, 0) * self.units @ self.weights[2] + self.weights[3])


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


Draw = Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def population(number: int, alike: bool) -> Draw:
    """Return what draws rows x float32 (rows, columns) and their classes; all columns are alike, or none."""
    rng = np.random.default_rng((number, 1))
    first, second = rng.normal(size=(COLUMNS, 12)) * 1.5 / np.sqrt(COLUMNS), 1.5 * rng.normal(size=(12, CLASSES))
    sizes = 10.0 ** rng.uniform(-1.5, 1.5, COLUMNS)

    def draw(rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x = rng.normal(size=(rows, COLUMNS))
        if alike:
            score = x.sum(axis=1) / np.sqrt(COLUMNS) + 0.7 * rng.normal(size=rows)
            return x.astype(np.float32), np.digitize(score, (-0.5, 0.5))
        likely = softmax(np.tanh(x @ first) @ second).cumsum(axis=1)
        return (x * sizes).astype(np.float32), (likely > rng.random((rows, 1))).argmax(axis=1)

    return draw


@dataclass(frozen=True)
class Study:
    """A study's validation rows, and by metric, seed and arm what its rows score (higher is better)."""

    rows: list[np.ndarray]
    scores: dict[str, list[np.ndarray]]  # a seed each, float64 (arms, rows)
    truth: dict[str, np.ndarray]  # the arms' scores on fresh rows (arms,): the mean over all of a population's networks


def studies(arms: list[Arm], size: int, number: int, alike: bool, count: int, seeds: int) -> list[Study]:
    """Return studies of a population."""
    found = list(_studies(arms, size, number, alike, count, seeds))
    truth = {metric: np.mean([one.truth[metric] for one in found], axis=0) for metric in found[0].truth}
    return [replace(one, truth=truth) for one in found]


def _studies(arms: list[Arm], size: int, number: int, alike: bool, count: int, seeds: int) -> Iterator[Study]:
    draw = population(number, alike)
    fresh, truth = draw(FRESH, np.random.default_rng((number, 2)))
    for first in range(0, count, AT_ONCE):
        rng = np.random.default_rng((number, 3, first))
        drawn = [(*draw(size, rng), folds(size, seeds, rng)) for _ in range(min(AT_ONCE, count - first))]
        cuts = [(x, y, np.setdiff1d(np.arange(size), of_seed), of_seed) for x, y, rows in drawn for of_seed in rows]
        x, y = (np.stack([cut[i][cut[2]] for cut in cuts for _ in arms]) for i in (0, 1))
        networks = Networks(arms * len(cuts), x, y, rng)
        of_rows = networks(np.stack([x[of_seed] for x, _, _, of_seed in cuts for _ in arms]))
        of_fresh = networks(fresh[None])
        for place, (_, y, rows) in enumerate(drawn):
            scores: dict[str, list[np.ndarray]] = {"brier": [], "accuracy": []}
            true: dict[str, list[np.ndarray]] = {"brier": [], "accuracy": []}
            for seed, of_seed in enumerate(rows):
                mine = slice((place * seeds + seed) * len(arms), (place * seeds + seed + 1) * len(arms))
                for part, probabilities, classes in (
                    (scores, of_rows[mine], y[of_seed]),
                    (true, of_fresh[mine], truth),
                ):
                    by_metric = [row_scores(of_arm, classes) for of_arm in probabilities]
                    part["brier"].append(-np.stack([of["brier"] for of in by_metric]))
                    part["accuracy"].append(np.stack([of["accuracy"] for of in by_metric]))
            yield Study(rows, scores, {m: np.mean([of.mean(axis=1) for of in v], axis=0) for m, v in true.items()})


def folds(size: int, seeds: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return each seed's validation rows: repetitions of a balanced cut into `1 / SHARE` parts."""
    parts = round(1 / SHARE)
    cuts = [np.array_split(rng.permutation(size), parts) for _ in range(-(-seeds // parts))]
    least = size // parts
    return [np.sort(part[:least]) for cut in cuts for part in cut][:seeds]


def judged(study: Study, metric: str, seeds: int, alpha: float = ALPHA) -> tuple[list[Paired], list[Effect]]:
    """Return the arms of a study's first seeds, and their effects."""
    units = np.arange(max(int(rows.max()) for rows in study.rows) + 1)
    arms = [
        paired(study.rows[:seeds], [of[arm] - of[0] for of in study.scores[metric][:seeds]], units)
        for arm in range(1, len(study.scores[metric][0]))
    ]
    return arms, compare(arms, METRICS[metric].resolution(len(study.rows[0])), alphas=alpha, most=1.0)


def report(found: list[Study], alike: bool) -> None:
    """Print what the studies of a case gave."""
    for metric in ("brier", "accuracy"):
        truth = np.mean([one.truth[metric] - one.truth[metric][0] for one in found], axis=0)[1:]
        print(f"  true effects on {metric}, points:", ", ".join(f"{100 * value:+.1f}" for value in truth))
    promises: list[tuple[float, bool]] = []
    print(f"  {'seeds':>5} {'decided':>8} {'wrong':>7} {'hold':>7} {'all':>7} {'t':>6}")
    for seeds in (count for count in SEEDS if count <= len(found[0].rows)):
        lines = []
        for one in found:
            true = 0.0 * one.truth["brier"][1:] if alike else one.truth["brier"][1:] - one.truth["brier"][0]
            arms, effects = judged(one, "brier", seeds)
            claims = [effect.verdict in DECIDED for effect in effects]
            wrong = [claim and effect.effect * of <= 0 for claim, effect, of in zip(claims, effects, true, strict=True)]
            holds = [effect.low <= of <= effect.high for effect, of in zip(effects, true, strict=True)]
            ends = [stats.t.ppf(0.975, of.freedom) * of.error for of in moderated(arms, 0.0) if of]
            alone = [abs(e.effect - of) <= end for e, of, end in zip(effects, true, ends, strict=True)]
            plain = np.array([of.values for of in judged(one, "accuracy", seeds)[0]])
            error = np.maximum(plain.std(axis=1, ddof=1) / np.sqrt(seeds), 1e-9)
            p = 2 * stats.t.sf(np.abs(plain.mean(axis=1)) / error, seeds - 1)
            lines.append((sum(claims), any(wrong), np.mean(alone), all(holds), (holm(p) < 0.05).sum()))
            if 2 * seeds <= len(one.rows):
                later = [effect.verdict in CERTAIN for effect in judged(one, "brier", 2 * seeds)[1]]
                both = zip(effects, later, strict=True)
                promises += [(effect.chance, then) for effect, then in both if effect.chance is not None]
        decided, wrong, alone, every, plain = np.mean(lines, axis=0)
        print(f"  {seeds:5} {decided:8.2f} {wrong:7.1%} {alone:7.1%} {every:7.1%} {plain:6.2f}")
    report_promises(promises)


def report_plan(populations: list[list[Study]]) -> None:
    """Print by arm what `assay plan` says from two seeds, beside what all studies of a population have."""
    seeds, arms = min(5, len(populations[0][0].rows)), len(populations[0][0].truth["brier"]) - 1
    level, freedom = Level(count=arms), most_borrowed(arms, seeds - 1) + seeds - 1
    ratios = []
    for found in populations:
        known = np.mean([[of.values.var(ddof=1) for of in judged(one, "brier", seeds)[0]] for one in found], axis=0)
        true = [Spread(float(of), 0.0, seeds, freedom, np.inf).detectable(level) for of in known]
        for one in found:
            planned = expected_spreads(judged(one, "brier", 2)[0], 0.0, SHARE)
            told = [replace(of, shared=0.0, seeds=seeds, freedom=freedom).detectable(level) for of in planned]
            ratios.append(np.array(told) / true)
    listed = ", ".join(f"{of:.2f}" for of in np.median(ratios, axis=0))
    near = np.mean(np.abs(np.array(ratios) - 1) <= 0.15)
    print(f"  planned for {seeds} seeds from 2, beside found, by arm: {listed}; within 15 % in {near:.0%}")


def report_looks(found: list[Study]) -> None:
    """Print in how many studies of arms that do nothing any look claims something, the last one alone, and each at 5 %.

    They are looked at again and again up to the most seeds that there are.
    """
    looks, spent = [seeds for seeds in SEEDS if 2 < seeds <= len(found[0].rows)], []
    for seeds in looks:
        spent.append(Look("", "", "", seeds, looks[-1], left_to_spend(spent, seeds, looks[-1])))

    def claimed(alphas: dict[int, float]) -> float:
        of_studies = [
            any(
                of.verdict in DECIDED for seeds, alpha in alphas.items() for of in judged(one, "brier", seeds, alpha)[1]
            )
            for one in found
        ]
        return float(np.mean(of_studies))

    ways = [{look.seeds: look.alpha for look in spent}, {looks[-1]: ALPHA}, dict.fromkeys(looks, ALPHA)]
    told = ", ".join(f"{claimed(way):.1%}" for way in ways)
    print(f"  false claims of looks at {looks}: each spends its part, the last alone, all at 5 %: {told}")


def main() -> None:
    """Run the studies of each case and print a table."""
    options = parser(__doc__, rounds=1, cases=CASES).parse_args()
    populations, count, seeds = (1, 2, 4) if options.small else (POPULATIONS, STUDIES, max(SEEDS))
    start(options, f"{populations * count} studies a round")
    for case in chosen(options, dict.fromkeys(CASES)):
        arms, size = CASES[case]
        alike = case != "techniques"
        numbers = range(populations * options.rounds)
        by_population = [studies(arms, size, number, alike, count, seeds) for number in numbers]
        found = [one for of in by_population for one in of]
        print(f"{case}:")
        report(found, alike)
        report_plan(by_population)
        if alike:
            report_looks(found)


if __name__ == "__main__":
    main()
