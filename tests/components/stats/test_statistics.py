"""The statistics against studies in which the truth is known: 1,000 of them, each on data of its own.

A study here is a real one, only small: 400 rows from a population, 10 seeds that redraw 80 validation rows, networks
with a random first layer (the seed's) whose second layer is fitted exactly. Its variance has all the sources that a
real study's has: the data, the split, the initial weights. What a technique truly does is the mean over all studies.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from components.evaluation.looks import Look, left_to_spend
from components.stats.paired_effects import ALPHA, Level, Paired, Spread, compare, expected_spreads, interval, paired

STUDIES, SEEDS, EARLY, ARMS = 1000, 10, 5, 7
ROWS, VALIDATION, COLUMNS, UNITS = 400, 80, 10, 24
CURVED, STRAIGHT = np.random.default_rng(7).normal(size=(2, COLUMNS))

# What each technique does to a network and its train rows.
TECHNIQUES = ("half the units", "half the rows", "no hidden layer", "a strong penalty", "the same first layer always")


@dataclass
class Simulated:
    """A study's differences to the reference, as a `Paired` by technique, and by arm that changes nothing.

    The early ones are those that change nothing, on the first seeds alone; the first ones techniques on two seeds.
    """

    techniques: list[Paired]
    nothing: list[Paired]
    early: list[Paired]
    first: list[Paired]


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and classes, -1 or 1, with a straight, a curved and a random part."""
    x = rng.normal(size=(ROWS, COLUMNS))
    return x, np.sign(x @ STRAIGHT + 0.8 * np.abs(x @ CURVED) - 1.6 + 0.7 * rng.logistic(size=ROWS))


def weights(rng: np.random.Generator) -> np.ndarray:
    """Return a first layer with its biases: (columns + 1, units)."""
    return np.vstack([1.5 * rng.normal(size=(COLUMNS, UNITS)) / np.sqrt(COLUMNS), 0.5 * rng.normal(size=UNITS)])


def right(x, y, train, validation, first: np.ndarray, penalty: float = 1.0) -> np.ndarray:
    """Return which validation rows a network with this first layer gets right: float64 (validation rows,)."""
    hidden = np.maximum(np.column_stack([x, np.ones(ROWS)]) @ first, 0)
    hidden = np.column_stack([hidden, np.ones(ROWS)])
    ours = hidden[train]
    second = np.linalg.solve(ours.T @ ours + penalty * np.eye(ours.shape[1]), ours.T @ y[train])
    return (hidden[validation] @ second * y[validation] > 0).astype(np.float64)


STRAIGHT_LAYER = np.column_stack([np.eye(COLUMNS + 1, COLUMNS), -np.eye(COLUMNS + 1, COLUMNS)])
ONE_LAYER = weights(np.random.default_rng(5))


def study(number: int) -> Simulated:
    """Run one study."""
    x, y = draw(np.random.default_rng((0, number)))
    rows, found, nothing = [], [[] for _ in TECHNIQUES], [[] for _ in range(ARMS)]
    for seed in range(SEEDS):
        rng = np.random.default_rng((1, number, seed))
        order = rng.permutation(ROWS)
        validation, train = order[:VALIDATION], order[VALIDATION:]
        rows.append(validation)
        first = weights(rng)
        reference = right(x, y, train, validation, first)
        of_technique = (
            right(x, y, train, validation, first[:, : UNITS // 2]),
            right(x, y, train[: len(train) // 2], validation, first),
            right(x, y, train, validation, STRAIGHT_LAYER),
            right(x, y, train, validation, first, penalty=60.0),
            right(x, y, train, validation, ONE_LAYER),
        )
        for differences, ours in zip(found, of_technique, strict=True):
            differences.append(ours - reference)
        for differences in nothing:  # a technique that only draws other numbers
            differences.append(right(x, y, train, validation, weights(rng)) - reference)
    units = np.arange(ROWS)
    return Simulated(
        [paired(rows, of, units) for of in found],
        [paired(rows, of, units) for of in nothing],
        [paired(rows[:EARLY], of[:EARLY], units) for of in nothing],
        [paired(rows[:2], of[:2], units) for of in found],
    )


def ends_of(arms: list[Paired]) -> np.ndarray:
    """Return the ends of each arm's interval by itself, float64 (arms, 2)."""
    estimates = [interval(of, 1 / VALIDATION) for of in arms]
    return np.array([(of.low, of.high) for of in estimates], np.float64)


@pytest.fixture(scope="module")
def simulated() -> list[Simulated]:
    return [study(number) for number in range(STUDIES)]


def test_where_nothing_helps_at_most_one_study_in_twenty_claims_that_something_does(simulated):
    claims = [
        any(effect.verdict in ("helped", "hurt") for effect in compare(arms, 1 / VALIDATION))
        for arms in (one.nothing for one in simulated)
    ]
    assert 0.005 < np.mean(claims) <= 0.05  # not by never saying anything


def test_the_intervals_hold_the_true_effect_as_often_as_they_say(simulated):
    shares = {}
    for number, technique in enumerate(TECHNIQUES):
        ours = [of[number] for of in (one.techniques for one in simulated)]
        truth = np.mean([of.values.mean() for of in ours])
        ends = ends_of(ours)
        shares[technique] = float(np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1])))
    assert 0.93 <= np.mean(list(shares.values())) <= 0.97, shares
    assert all(0.92 <= share <= 0.98 for share in shares.values()), shares


def test_the_intervals_of_a_study_hold_all_at_once(simulated):
    truths = np.mean([[of.values.mean() for of in one.techniques] for one in simulated], axis=0)
    holds = [
        all(effect.low <= truth <= effect.high for effect, truth in zip(found, truths, strict=True))
        for found in (compare(one.techniques, 1 / VALIDATION) for one in simulated)
    ]
    assert 0.935 <= np.mean(holds) <= 0.98


def test_intervals_that_take_seeds_for_independent_would_miss_it_more_often(simulated):
    """What the seeds share is not nothing: with a first layer that never changes, rows matter more than seeds."""
    ours = [of[TECHNIQUES.index("the same first layer always")] for of in (one.techniques for one in simulated)]
    truth = np.mean([of.values.mean() for of in ours])
    plain = ends_of([Paired(of.values) for of in ours])
    assert np.mean((plain[:, 0] <= truth) & (truth <= plain[:, 1])) < 0.92


@pytest.mark.parametrize("technique", ["half the units", "half the rows", "no hidden layer"])
def test_the_power_is_what_was_promised(simulated, technique):
    """Promised from the spread and sharing that twenty earlier studies had, for as many seeds; found in the others."""
    ours = [of[TECHNIQUES.index(technique)] for of in (one.techniques for one in simulated)]
    truth = float(np.mean([of.values.mean() for of in ours]))
    spread = float(np.sqrt(np.mean([of.values.var(ddof=1) for of in ours[:20]])))
    shared = float(np.mean([of.shared for of in ours[:20]]))
    for comparisons in (1, ARMS):
        promised = Spread(spread**2, shared, SEEDS, SEEDS - 1, ROWS).power(truth, Level(count=comparisons))
        verdicts = [compare([of], 1 / VALIDATION, comparisons=comparisons)[0].verdict for of in ours[20:]]
        word = "helped" if truth > 0 else "hurt"
        assert np.mean([verdict == word for verdict in verdicts]) == pytest.approx(promised, abs=0.05)


def test_an_effect_of_the_size_that_is_called_detectable_is_found_in_four_of_five_studies(simulated):
    """The differences of arms that change nothing, with that effect added."""
    ours = [arm for arms in (one.nothing for one in simulated) for arm in arms[:3]]
    spread = float(np.sqrt(np.mean([of.values.var(ddof=1) for of in ours])))
    shared = float(np.mean([of.shared for of in ours]))
    size = Spread(spread**2, shared, SEEDS, SEEDS - 1, ROWS).detectable(Level(count=ARMS))
    moved = [Paired(of.values + size, of.shared) for of in ours]
    found = [compare([of], 1 / VALIDATION, comparisons=ARMS)[0].verdict == "helped" for of in moved]
    assert np.mean(found) == pytest.approx(0.8, abs=0.05)


def test_two_seeds_of_each_arm_tell_how_its_seeds_vary(simulated):
    """What a plan is made of: how small an effect will be shown goes with the standard deviation."""
    told = [expected_spreads(one.first, 1 / VALIDATION, VALIDATION / ROWS) for one in simulated]
    for number, technique in enumerate(TECHNIQUES):
        found = np.mean([one.techniques[number].values.var(ddof=1) for one in simulated])
        ratio = np.sqrt(np.median([of[number].variance for of in told]) / found)
        assert ratio == pytest.approx(1, abs=0.15), technique


# Looks


def test_looking_again_makes_no_more_false_claims_since_each_look_spends_its_part(simulated):
    def claimed(alphas: dict[int, float]) -> float:
        by_study = [
            any(
                effect.verdict in ("helped", "hurt")
                for seeds, alpha in alphas.items()
                for effect in compare(one.early if seeds == EARLY else one.nothing, 1 / VALIDATION, alphas=alpha)
            )
            for one in simulated
        ]
        return float(np.mean(by_study))

    spent = claimed(dict(spending((EARLY, SEEDS)).items()))
    again = claimed({EARLY: ALPHA, SEEDS: ALPHA})
    assert spent <= 0.05
    assert again > 1.3 * claimed({SEEDS: ALPHA})
    assert again > spent


def spending(looks: tuple[int, ...]) -> dict[int, float]:
    """Return what each of the planned looks may spend."""
    earlier: list[Look] = []
    for seeds in looks:
        earlier.append(
            Look("question", "data", f"run {seeds}", seeds, looks[-1], left_to_spend(earlier, seeds, looks[-1]))
        )
    return {look.seeds: look.alpha for look in earlier}
