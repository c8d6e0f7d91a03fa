"""The gate's decision on answers made by hand: what differs, how sure it is, and what follows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from scipy.stats import binom, norm

from components.data.slices import Slice
from components.registry.decision import Difference, Judgement, Outcome
from components.registry.gate import FEWEST_ROWS, Rows, compare, judge, too_few
from components.stats.metrics import METRICS, scores
from components.study.study import Gate

LOWER = ("loss", "brier", "ece")


def sure(said: np.ndarray, classes: int = 2) -> np.ndarray:
    """Return answers that say these classes, with nine tenths."""
    return np.where(np.eye(classes)[said] == 1, 0.9, 0.1 / (classes - 1)).astype(np.float32)


def rivals(rows: int, gained: int, lost: int, both_wrong: int = 0, y: np.ndarray | None = None) -> Rows:
    """Return rows of which the challenger has some right that the champion has wrong, and the other way."""
    y = np.arange(rows) % 2 if y is None else y
    challenger, champion = y.copy(), y.copy()
    champion[:gained] = 1 - y[:gained]
    challenger[gained : gained + lost] = 1 - y[gained : gained + lost]
    wrong = slice(gained + lost, gained + lost + both_wrong)
    champion[wrong] = challenger[wrong] = 1 - y[wrong]
    return Rows(sure(challenger), sure(champion), y)


def noisy(rows: int, strength: float, other: float, seed: int = 0, classes: int = 3) -> Rows:
    """Return two models that know the truth as far as their strengths go, with noise of their own and in common."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    common = rng.normal(size=(rows, classes))

    def answers(of: float) -> np.ndarray:
        logits = of * np.eye(classes)[y] + common + 0.5 * rng.normal(size=(rows, classes))
        powers = np.exp(logits)
        return powers / powers.sum(axis=1, keepdims=True)

    return Rows(answers(strength), answers(other), y)


def by_class(rows: Rows) -> dict[Slice, np.ndarray]:
    return {Slice("class", str(k)): rows.y == k for k in range(rows.challenger.shape[1])}


def decided(rows: Rows, metric: str = "accuracy", slices=None, **settings) -> Judgement:
    return judge(Gate(**settings), metric, rows, slices or {}, "champion version 1")


# The difference and its interval


def ends(found: Difference) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


@pytest.mark.parametrize("metric", METRICS)
def test_the_sums_over_all_rows_make_the_metric(metric):
    rows = noisy(300, 2.0, 1.0)
    sums = np.asarray(METRICS[metric].sums(rows.champion, rows.y).sum(axis=0))
    whole = METRICS[metric].of_sums(sums[None])
    assert whole == pytest.approx([scores(rows.champion, rows.y)[metric]])


@pytest.mark.parametrize("metric", METRICS)
def test_better_is_above_zero_whichever_way_the_metric_goes(metric):
    rows = noisy(300, 4.0, 1.0)
    rows = Rows(rows.challenger, sure(1 - np.minimum(rows.y, 1), 3), rows.y)  # surely wrong
    found = compare(metric, rows)
    low, high = ends(found)
    assert 0 < low < found.estimate < high
    assert found.estimate == pytest.approx(abs(found.challenger - found.champion))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("in_groups", [False, True])
def test_the_interval_is_that_of_resampled_rows_scored_anew(metric, in_groups):
    """The same thing the slow way: draw rows, or groups of rows, and score them."""
    rows = noisy(200, 2.0, 1.5)
    rows = Rows(rows.challenger, rows.champion, rows.y, np.arange(200) // 4 if in_groups else None)
    rng, drawn = np.random.default_rng(1), []
    for _ in range(1000):
        at = rng.integers(0, 200, 200)
        if in_groups:
            at = (4 * rng.integers(0, 50, 50)[:, None] + np.arange(4)).ravel()
        new, old = (scores(of[at], rows.y[at])[metric] for of in (rows.challenger, rows.champion))
        drawn.append(old - new if metric in LOWER else new - old)
    found = compare(metric, rows)
    width = float(np.std(drawn))
    np.testing.assert_allclose(ends(found), np.percentile(drawn, [2.5, 97.5]), atol=0.25 * width)


def test_rows_of_a_group_that_err_together_make_the_interval_wider():
    y = np.arange(400) % 2
    wrong = np.isin(np.arange(400) // 20, [0, 1, 2, 3, 4, 5])  # six of twenty groups
    alone = Rows(sure(y), sure(np.where(wrong, 1 - y, y)), y)
    grouped = Rows(alone.challenger, alone.champion, y, np.arange(400) // 20)
    one, other = compare("accuracy", alone), compare("accuracy", grouped)
    assert one.estimate == other.estimate == pytest.approx(0.3)
    assert np.diff(ends(other)) > 3 * np.diff(ends(one))


@pytest.mark.parametrize("metric", ["accuracy", "loss", "macro_f1"])  # ECE is never below 0, and larger on few rows
def test_ninety_five_of_a_hundred_intervals_hold_the_truth(metric):
    everything = noisy(100_000, 2.0, 1.5, seed=5)
    new, old = (scores(of, everything.y)[metric] for of in (everything.challenger, everything.champion))
    truth = old - new if metric in LOWER else new - old
    inside = 0
    for start in range(0, 30_000, 300):
        low, high = ends(compare(metric, everything[np.arange(start, start + 300)]))
        inside += low <= truth <= high
    assert binom.ppf(0.001, 100, 0.94) <= inside


@pytest.mark.parametrize("lost", range(6))
def test_a_handful_of_rows_is_never_sure(lost):
    """Five rows that all speak for one side have p = 0.06 in a sign test."""
    low, high = ends(compare("accuracy", rivals(400, 5 - lost, lost)))
    assert low < 0 < high


def test_no_difference_on_few_rows_does_not_mean_no_difference():
    assert ends(compare("accuracy", rivals(100, 0, 0))) == pytest.approx((-0.037, 0.037))


def test_the_same_rows_give_the_same_interval():
    assert compare("loss", noisy(100, 2.0, 1.5)) == compare("loss", noisy(100, 2.0, 1.5))


# The rule


@pytest.mark.parametrize(
    ("gained", "lost", "settings", "decision"),
    [
        (30, 5, {}, "promoted"),
        (5, 30, {}, "kept"),
        (20, 18, {}, "undecided"),
        (18, 20, {}, "undecided"),
        (0, 0, {}, "undecided"),
        (20, 18, {"margin": -0.05}, "promoted"),  # as good, and surely not five points worse
        (0, 0, {"margin": -0.05}, "promoted"),
        (18, 20, {"margin": -0.05}, "undecided"),  # surely not five points worse, but worse by the estimate
        (5, 30, {"margin": -0.2}, "kept"),  # surely worse, if by less than twenty points
        (30, 5, {"margin": 0.02}, "promoted"),
        (30, 5, {"margin": 0.06}, "undecided"),  # 6.25 points by the estimate
        (20, 18, {"margin": 0.06}, "kept"),  # surely less than asked for
    ],
)
def test_the_rule_with_its_margin(gained, lost, settings, decision):
    found = decided(rivals(400, gained, lost, both_wrong=40), **settings)
    assert found.decision == decision
    assert "on the same 400 test rows" in found.reason
    assert "champion version 1 has" in found.reason


def test_a_lower_loss_is_better():
    rows = noisy(500, 2.5, 1.5)
    assert decided(rows, "loss").decision == "promoted"
    assert decided(Rows(rows.champion, rows.challenger, rows.y), "loss").decision == "kept"
    assert "points" not in decided(rows, "loss").reason


def test_two_equal_models_are_seldom_told_apart():
    """Each way in one of forty, if the intervals are right."""
    decisions = [decided(noisy(300, 2.0, 2.0, seed=seed)).decision for seed in range(200)]
    for wrong in (Outcome.PROMOTED, Outcome.KEPT):
        assert decisions.count(wrong) <= binom.ppf(0.999, 200, 0.03)
    assert decisions.count(Outcome.UNDECIDED) >= 180


# Guards


def traded(rows: int = 1000, rare: int = 100, lost: int = 30) -> Rows:
    """Return a challenger that is better overall, but loses a third of the rare class."""
    y = np.where(np.arange(rows) < rare, 1, 0)
    challenger, champion = y.copy(), y.copy()
    challenger[:lost] = 0
    champion[rare : rare + 3 * lost] = 1
    return Rows(sure(challenger), sure(champion), y)


def test_better_overall_but_worse_in_one_slice_is_kept_and_named():
    rows = traded()
    assert decided(rows).decision == "promoted"
    found = decided(rows, slices=by_class(rows))
    assert found.decision == "kept"
    assert "worse where it must not be: class: 1, accuracy 0.7000 against 1.0000 on 100 rows" in found.reason
    assert [of.worse for of in found.slices] == [False, True]
    assert decided(rows, slices=by_class(rows), slice_margin=0.5).decision == "promoted"


def test_a_slice_of_few_rows_is_not_judged_and_that_is_said():
    rows = traded(rare=29, lost=20)
    found = decided(rows, slices=by_class(rows))
    assert found.decision == "promoted"
    assert f"not judged, having fewer than {FEWEST_ROWS} rows: class: 1" in found.reason


def test_many_slices_raise_no_false_alarm():
    """Forty slices drawn by chance, in which two equal models differ by luck alone."""
    alarms = 0
    for seed in range(20):
        rows = noisy(4000, 2.0, 2.0, seed=seed)
        slices = {Slice("part", str(k)): np.arange(4000) % 40 == k for k in range(40)}
        alarms += any(of.worse for of in decided(rows, slices=slices, slice_margin=0.0).slices)
    assert alarms <= binom.ppf(0.999, 20, 0.05)


@pytest.mark.parametrize(("slices", "rows"), [(10, 36), (100, 40), (10, 400)])
def test_slices_of_few_rows_raise_no_false_alarm(slices, rows):
    """Two models that err on three tenths of the rows, half of these in common. One alarm in forty is allowed."""
    alarms, times = 0, 200
    rng = np.random.default_rng(0)
    names = {Slice("part", str(k)): np.arange(slices * rows) % slices == k for k in range(slices)}
    y = np.zeros(slices * rows, int)
    for _ in range(times):
        kind = rng.choice(4, size=len(y), p=[0.55, 0.15, 0.15, 0.15])
        models = Rows(sure(np.isin(kind, (1, 3)).astype(int)), sure(np.isin(kind, (2, 3)).astype(int)), y)
        alarms += any(of.worse for of in decided(models, slices=names, slice_margin=0.0).slices)
    assert alarms <= binom.ppf(0.999, times, 0.025)


@given(st.integers(30, 300), st.integers(0, 30), st.integers(0, 30))
def test_the_ends_of_a_slices_interval_are_where_the_score_test_stops_to_reject(rows, gained, lost):
    """Tango's statistic, with the likeliest share of losses found by search instead of by his formula."""
    gained, lost = min(gained, rows // 2), min(lost, rows // 2)
    of = rivals(rows, gained, lost)
    found = decided(of, slices={Slice("rows", "all"): np.ones(rows, bool)}).slices[0]
    low, high = ends(found)
    assert low <= (gained - lost) / rows <= high
    for end in (low, high):
        if -0.999 < end < 0.999:
            least = max(-end, 0.0)

            def unlikely(share: float, end: float = end) -> float:
                p = np.array([share + end, share, 1 - 2 * share - end])
                return -float(xlogy([gained, lost, rows - gained - lost], p).sum())

            share = minimize_scalar(unlikely, bounds=(least, (1 - end) / 2), options={"xatol": 1e-12}).x
            score = (gained - lost - rows * end) / np.sqrt(rows * (2 * share + end - end**2))
            assert abs(score) == pytest.approx(norm.ppf(0.975), rel=0.01)


def test_a_slice_without_rows_is_none():
    rows = rivals(400, 30, 5)
    assert decided(rows, slices={Slice("class", "9"): np.zeros(400, bool)}).slices == ()


def test_a_metric_that_must_not_get_worse_is_a_guard():
    """More are right, but with less confidence: the loss grows."""
    rows = rivals(400, 40, 0)
    rows = Rows(np.where(rows.challenger > 0.5, 0.55, 0.45), rows.champion, rows.y)
    assert decided(rows).decision == "promoted"
    found = decided(rows, guard=["loss"])
    assert found.decision == "kept"
    assert "worse where it must not be: loss 0.5978 against" in found.reason
    assert decided(rows, guard=["loss"], guard_margin=0.5).decision == "promoted"
    assert decided(rows, guard=["macro_f1"]).decision == "promoted"


def test_a_guard_does_not_promote():
    rows = rivals(400, 20, 18)
    assert decided(rows, guard=["loss", "macro_f1"], slices=by_class(rows)).decision == "undecided"


# How many rows are enough


@pytest.mark.parametrize(
    ("unseen", "tested", "groups", "said"),
    [
        (30, 30, None, None),
        (29, 29, None, "29 of the 29 test rows"),
        (100, 301, None, "fewer than a third"),
        (101, 303, None, None),
        (100, 100, np.arange(100) % 9, "9 groups"),
        (100, 100, np.arange(100) % 10, None),
    ],
)
def test_too_few_rows_are_said(unseen, tested, groups, said):
    found = too_few(unseen, tested, groups)
    assert (found is None) == (said is None)
    assert (said or "") in (found or "")
