"""How often verdicts are right where that is hard: differences that are drawn and single trees, against t intervals.
One round takes about 15 min on 2 cores.

A study has seven arms beside a reference, whose luck all of them share, and scores a fifth of 400 rows with each seed.
What an arm changes on a row is the row's own part, a part of seed and row, and a seed's luck; arms differ in the size
of each. A third of the arms change nothing, a third a little, a third much.

    plain       as said
    ties        counts of hits, where an arm changes few rows
    few rows    150 of them
    many arms   15 of them
    groups      rows in 8 groups, which a seed takes as a whole
    time        windows of 1,600 rows in the order of time, of which those within ten are alike
    short time  the same with 400 rows, of which a seed validates on 64
    diverging   one training in twenty comes to nothing
    trees       no draws: single decision trees, with accuracy

Printed is in how many studies an arm is decided wrongly (with the wrong sign, or where it changes nothing), how often
single intervals and all of a study hold the truth, how often t intervals of the seeds do, and how many arms are decided
or shown to make no difference. Of arms that are not decided, how often as many seeds again were promised to decide, and
did, in five bins of the promise.

    looks       at 5, 10, 20 and 40 seeds, as `assay run --until-decided` looks: in how many studies of arms that change
                nothing any look claims something, and with how many seeds effects of 1, 1.5 and 2 standard deviations
                of a seed are decided, beside a fixed 40
    equal       arms that change nothing and one that costs 2 points, where rows and seeds differ as with digits: how
                often they are said to make no difference
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats
from sklearn.tree import DecisionTreeClassifier

from _common import chosen, parser, report_promises, start
from components.data.splitting import GOLDEN, STRETCHES, WINDOW
from components.evaluation.looks import Look, left_to_spend
from components.evaluation.verdict import WORTH_MORE
from components.stats.paired_effects import Effect, Paired, compare, moderated, paired

SHARE, SEEDS, LOOKS = 0.2, (3, 5, 10, 20), (5, 10, 20, 40)
CLAIMS = "helped", "hurt"
CERTAIN = (*CLAIMS, "no difference")
EFFECTS = 0.0, 0.01, 0.03  # of an arm in three


@dataclass(frozen=True)
class Case:
    """How a study's differences come about."""

    rows: int = 400
    arms: int = 7
    row: tuple[float, float] = (0.05, 0.25)  # standard deviation of a row's difference, from and to, by arm
    luck: tuple[float, float] = (0.003, 0.03)  # of a seed's
    own: float = 0.4  # share of a row's difference that is the row's own, whatever the seed
    ties: bool = False
    groups: int = 0
    alike: float = 0.0  # rows, over which what is alike in time fades
    diverges: float = 0.0  # share of an arm's trainings
    trees: bool = False
    seeds: int = max(SEEDS)


CASES = {
    "plain": Case(),
    "ties": Case(ties=True),
    "few rows": Case(rows=150),
    "many arms": Case(arms=15),
    "groups": Case(groups=8),
    "time": Case(rows=1600, alike=10.0),
    "short time": Case(alike=10.0),
    "diverging": Case(diverges=0.05),
    "trees": Case(trees=True, seeds=10),
    "looks": Case(own=0.1, seeds=max(LOOKS)),
    "equal": Case(rows=1440, row=(0.06, 0.06), luck=(0.004, 0.004), seeds=10),
}


@dataclass(frozen=True)
class Study:
    """One study's differences."""

    rows: list[np.ndarray]  # of each seed, their numbers
    of_arms: list[list[np.ndarray]]  # of each arm and seed, the differences of the rows
    sound: np.ndarray  # bool (arms, seeds), which trainings did not diverge
    units: np.ndarray  # (rows,)
    truth: np.ndarray  # (arms,)

    def arms(self, seeds: int) -> list[Paired]:
        """Return the arms after so many seeds."""
        return [self.arm(arm, seeds) for arm in range(len(self.of_arms))]

    def arm(self, arm: int, seeds: int) -> Paired:
        """Return one arm after so many seeds; what diverged is left out, as a study does."""
        places = [seed for seed in range(seeds) if self.sound[arm, seed]] or list(range(seeds))
        return paired([self.rows[i] for i in places], [self.of_arms[arm][i] for i in places], self.units)


def validation(case: Case, rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """Return each seed's validation rows, as `components.data.splitting` draws them, and the rows' units."""
    units = np.arange(case.rows)
    if case.alike:
        window = round(WINDOW * case.rows)
        scored = round(SHARE * window)
        starts = [int(seed * GOLDEN % 1 * (case.rows - window + 1)) for seed in range(case.seeds)]
        seeds = [np.arange(first + window - scored, first + window) for first in starts]
        return seeds, units // (scored // STRETCHES)
    if case.groups:
        units = np.repeat(np.arange(case.groups), case.rows // case.groups)
    found: list[np.ndarray] = []
    while len(found) < case.seeds:
        order = rng.permutation(case.groups or case.rows)
        parts = np.array_split(order, case.groups // 2 if case.groups else round(1 / SHARE))
        found += [np.sort(np.flatnonzero(np.isin(units, part))) for part in parts]
    return found[: case.seeds], units


def draw(case: Case, effects: np.ndarray, rng: np.random.Generator) -> Study:
    """Return a study in which the arms have these effects."""
    rows, units = validation(case, rng)
    row, luck = (np.exp(rng.uniform(*np.log(ends), size=len(effects))) for ends in (case.row, case.luck))
    own, fresh = np.sqrt(case.own), np.sqrt(1 - case.own)

    def of_units() -> np.ndarray:
        if not case.alike:
            return rng.normal(size=len(units))[units]
        fades, values = np.exp(-1 / case.alike), rng.normal(size=len(units))
        for place in range(1, len(values)):
            values[place] = fades * values[place - 1] + np.sqrt(1 - fades**2) * values[place]
        return values

    def shared(of_reference: np.ndarray, ours: np.ndarray) -> np.ndarray:
        return (ours - of_reference) / np.sqrt(2)

    reference = of_units()
    parts = [shared(reference, of_units()) for _ in effects]
    of_arms: list[list[np.ndarray]] = [[] for _ in effects]
    for of_seed in rows:
        noise, lucky = rng.normal(size=len(of_seed)), rng.normal()
        for arm, differences in enumerate(of_arms):
            by_row = own * parts[arm][of_seed] + fresh * shared(noise, rng.normal(size=len(of_seed)))
            found = effects[arm] + row[arm] * by_row + luck[arm] * (rng.normal() - lucky) / np.sqrt(2)
            if case.ties:  # the same mean, by rows that change by one or not at all
                likely = np.clip(np.abs(found), 0, 1)
                found = np.sign(found) * (rng.random(len(found)) < likely)
            differences.append(found)
    sound = rng.random((len(effects), case.seeds)) >= case.diverges
    return Study(rows, of_arms, sound, units, effects)


TREES: tuple[dict[str, Any], ...] = (
    *({"max_depth": 3}, {"min_samples_leaf": 10}, {"max_features": 3}, {"criterion": "entropy"}),
    *({"max_leaf_nodes": 6}, {"splitter": "random"}, {"random_state": 1}),
)


def grow(case: Case, rng: np.random.Generator) -> Study:
    """Return a study of single trees; what they truly do is known from all studies."""
    x = rng.normal(size=(case.rows, 10))
    y = x[:, 0] + 0.8 * np.abs(x[:, 1]) + x[:, 2] * x[:, 3] + 0.5 * rng.normal(size=case.rows) > 0.6
    rows, units = validation(case, rng)
    of_arms: list[list[np.ndarray]] = [[] for _ in TREES]
    for seed, of_seed in enumerate(rows):
        train = np.setdiff1d(units, of_seed)
        right = [
            tree.fit(x[train], y[train]).predict(x[of_seed]) == y[of_seed]
            for tree in (DecisionTreeClassifier(**{"random_state": 1000 + seed, **arm}) for arm in ({}, *TREES))
        ]
        for differences, of_arm in zip(of_arms, right[1:], strict=True):
            differences.append(of_arm.astype(float) - right[0])
    return Study(rows, of_arms, np.ones((len(TREES), case.seeds), bool), units, np.full(len(TREES), np.nan))


def studies(case: Case, count: int) -> Iterator[Study]:
    """Yield studies, and the truth with them."""
    rngs = [np.random.default_rng((number, case.rows, case.arms)) for number in range(count)]
    if case.trees:
        grown = [grow(case, rng) for rng in rngs]
        truth = np.mean([[np.mean([of.mean() for of in arm]) for arm in one.of_arms] for one in grown], axis=0)
        yield from (replace(one, truth=truth) for one in grown)
        return
    for rng in rngs:
        effects = np.resize(EFFECTS, case.arms) * rng.choice((-1, 1), case.arms)
        yield draw(case, effects, rng)


def report(case: Case, count: int) -> None:
    """Print how often verdicts of a case are right."""
    found: dict[int, list[tuple[float, ...]]] = {}
    promises: list[tuple[float, bool]] = []
    for one in studies(case, count):
        resolution = 1 / len(one.rows[0]) if case.ties or case.trees else 0.0
        earlier: list[Effect] = []
        for seeds in (number for number in SEEDS if number <= case.seeds):
            arms = one.arms(seeds)
            effects = compare(arms, resolution, most=1.0)
            found.setdefault(seeds, []).append(judged(one, arms, effects, resolution))
            if seeds >= 10:
                promises += [
                    (before.chance, now.verdict in CERTAIN)
                    for before, now in zip(earlier, effects, strict=True)
                    if before.chance is not None
                ]
            earlier = effects
    print(f"  {'seeds':>5} {'wrong':>7} {'hold':>7} {'all':>7} {'t':>7} {'decided':>8} {'no difference':>14}")
    for seeds, lines in found.items():
        wrong, hold, every, plain, decided, none = np.mean(lines, axis=0)
        print(f"  {seeds:5} {wrong:7.1%} {hold:7.1%} {every:7.1%} {plain:7.1%} {decided:8.2f} {none:14.2f}")
    report_promises(promises)


def judged(one: Study, arms: list[Paired], effects: list[Effect], resolution: float) -> tuple[float, ...]:
    """Return whether an arm is decided wrongly, what share of single intervals holds, whether all do, and so on."""
    each = list(zip(effects, one.truth, strict=True))
    wrong = any(of.verdict in CLAIMS and of.effect * truth <= 0 for of, truth in each)
    spreads = zip(moderated(arms, resolution), each, strict=True)
    hold = [abs(of.effect - truth) <= stats.t.ppf(0.975, s.freedom) * s.error for s, (of, truth) in spreads if s]
    every = all(of.low is not None and of.high is not None and of.low <= truth <= of.high for of, truth in each)
    plain = [
        abs(of.values.mean() - truth) <= stats.t.ppf(0.975, len(of.values) - 1) * stats.sem(of.values)
        for of, truth in zip(arms, one.truth, strict=True)
        if len(of.values) > 1
    ]
    decided = sum(of.verdict in CLAIMS for of in effects)
    none = sum(of.verdict == "no difference" for of in effects)
    return wrong, float(np.mean(hold)), every, float(np.mean(plain)), decided, none


def report_looks(case: Case, count: int) -> None:
    """Print how often any look claims something where there is nothing, and with how many seeds effects are decided."""
    for size in (0.0, 1.0, 1.5, 2.0):
        claims, fixed, right, seeds = [], [], [], []
        for number in range(count):
            rng = np.random.default_rng((number, 4))
            one = draw(case, np.zeros(case.arms), rng)
            spreads = [np.std([of.mean() for of in arm], ddof=1) for arm in one.of_arms]
            moved = [[of + size * s for of in arm] for arm, s in zip(one.of_arms, spreads, strict=True)]
            one = replace(one, of_arms=moved)
            verdicts, used = until_decided(one)
            claims.append(any(of in CLAIMS for of in verdicts))
            right.append(np.mean([of == "helped" for of in verdicts]))
            seeds.append(np.mean(used))
            fixed.append(np.mean([of.verdict == "helped" for of in compare(one.arms(LOOKS[-1]), 0.0, matters=0.0)]))
        if size:
            print(
                f"  effects of {size} standard deviations: decided {np.mean(right):.1%}, with {np.mean(seeds):.1f} "
                f"seeds; with {LOOKS[-1]} {np.mean(fixed):.1%}"
            )
        else:
            print(f"  nothing to find: claims in {np.mean(claims):.1%} of studies, {np.mean(seeds):.1f} seeds")


def until_decided(one: Study) -> tuple[list[str], list[int]]:
    """Return the arms' last verdicts and their seeds; equivalence is left out, so that only effects end an arm."""
    goes_on, arms, verdicts = set(range(len(one.of_arms))), one.arms(LOOKS[0]), ["unknown"] * len(one.of_arms)
    earlier: list[list[Look]] = [[] for _ in one.of_arms]
    used = [LOOKS[0]] * len(arms)
    for seeds in LOOKS:
        for arm in goes_on:
            arms[arm], used[arm] = one.arm(arm, seeds), seeds
            alpha = left_to_spend(earlier[arm], seeds, LOOKS[-1])
            earlier[arm].append(Look("", "", "", seeds, LOOKS[-1], alpha))
        effects = compare(arms, 0.0, matters=0.0, alphas=[of[-1].alpha for of in earlier], then=LOOKS[-1])
        for arm in set(goes_on):
            verdicts[arm] = effects[arm].verdict
            chance = effects[arm].chance
            if verdicts[arm] in CLAIMS or (chance is not None and chance < WORTH_MORE):
                goes_on.remove(arm)
    return verdicts, used


def report_equal(case: Case, count: int) -> None:
    """Print how often arms that change nothing, and arms that cost 2 points, are said to make no difference."""
    for cost in (0.0, 0.02):
        said, of_cost = [], []
        for number in range(count):
            rng = np.random.default_rng((number, 5))
            one = draw(case, np.r_[-cost, np.zeros(case.arms - 1)], rng)
            verdicts = [of.verdict == "no difference" for of in compare(one.arms(case.seeds), 0.0, most=1.0)]
            said.append(np.mean(verdicts[1:]))
            of_cost.append(verdicts[0])
        named = f"an arm that costs {100 * cost:.0f} points" if cost else "arms that change nothing"
        share = np.mean(of_cost if cost else said)
        print(f"  {named}, {case.seeds} seeds: said to make no difference in {share:.1%}")


def main() -> None:
    """Draw the studies of each case and print a table."""
    options = parser(__doc__, rounds=1, cases=CASES).parse_args()
    count = 10 if options.small else 300 * options.rounds
    start(options, f"{count} studies of a case")
    for name in chosen(options, dict.fromkeys(CASES)):
        print(f"{name}:")
        {"looks": report_looks, "equal": report_equal}.get(name, report)(CASES[name], count)


if __name__ == "__main__":
    main()
