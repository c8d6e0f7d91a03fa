"""The gate's decision: the champion and the challenger on the same held-out rows.

What is compared is the difference, challenger minus champion, in the study's metric, with a 95 % interval from a paired
bootstrap: rows are drawn with replacement, and both models are scored on the same draw (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 13: the percentile interval). With `data.group` whole groups are drawn,
since the rows of a patient are not independent. An interval needs no model of how scores are spread, and as a paired
one it is narrow where two models mostly err on the same rows.

The rule, with the study's `gate.margin`, 0 by default:
    promoted    the whole interval is above the margin, and the estimate is not below 0;
    kept        the whole interval is below the margin, or below 0; or a guard says no;
    undecided   all else: the rows can't tell.
So with a margin of 0 a challenger must be significantly better. A retraining on some more rows that is as good as the
champion is undecided: the champion stays, and nothing moves to and fro by luck. Who wants the newer of two equals
says `margin: -0.01`: then it is promoted when it is shown to be less than a point worse AND not worse by the estimate;
the latter since a chain of models, each only a little worse than the last, would lead down (the creep of
non-inferiority trials). A margin above 0 asks for a gain that is worth the change.

The guards can only refuse. Each metric of `gate.guard`, and accuracy (the loss, where that is the study's metric) in
each slice with rows enough, must not be significantly worse by more than its margin. Slices are many, and one of them
looks bad by luck, so their intervals are wider by Bonferroni's rule; for the question whether ANY slice is worse,
Holm's procedure gives the same answer. So far out in the tails, and with so few rows, a bootstrap's intervals are too
narrow. A slice's accuracy has the score interval for paired shares instead (Tango 1998, Statistics in Medicine 17,
891-908).
"""

# SciPy publishes no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.sparse import csr_array

from components.data.slices import Slice
from components.registry.decision import Difference, Guard, Judgement, Outcome
from components.stats.metrics import METRICS, scores
from components.study.study import Gate

DRAWS = 2000
SEED = 0  # of the draws: the same decision each time
AT_ONCE = 4_000_000  # numbers in memory while drawing: 32 MB
LEVEL = 0.95
FEWEST_ROWS = 30
FEWEST_GROUPS = 10  # with fewer independent groups a bootstrap's intervals are too narrow
FEWEST_SHARE = 1 / 3  # of the test rows, that the champion must not have seen
# Six rows that all speak for one side are the fewest that a sign test finds at the 5 % level. Where fewer differ, the
# interval is not taken to be narrower than the 97.5 % limit of a count of none, 3.7 rows, either way (the "rule of
# three": Hanley and Lippman-Hand, JAMA 1983).
FEWEST_DIFFERENT, UNSEEN_ROWS = 6, 3.7


@dataclass(frozen=True)
class Rows:
    """Held-out rows with both models' answers."""

    challenger: np.ndarray  # its probabilities, float (rows, classes)
    champion: np.ndarray
    y: np.ndarray  # class numbers (rows,)
    groups: np.ndarray | None = None  # rows with the same number are not independent (rows,); None: each for itself

    def __getitem__(self, which: np.ndarray) -> "Rows":
        """Return some of the rows: numbers, or bool (rows,)."""
        groups = None if self.groups is None else self.groups[which]
        return Rows(self.challenger[which], self.champion[which], self.y[which], groups)

    def are_enough(self) -> bool:
        """Tell whether they can decide anything."""
        return too_few(len(self.y), len(self.y), self.groups) is None


def judge(settings: Gate, metric: str, rows: Rows, slices: Mapping[Slice, np.ndarray], rival: str) -> Judgement:
    """Return what follows for the challenger.

    Args:
        settings: the study's `gate`.
        metric: the study's.
        rows: that neither model was trained on.
        slices: which of the rows are in each, bool (rows,).
        rival: what the champion is called: "champion version 3".
    """
    main = compare(metric, rows)
    guards = tuple(_guard(compare(guard, rows), settings.guard_margin) for guard in settings.guard)
    by_slice = _by_slice(metric, rows, slices, settings.slice_margin)
    decision, reason = _rule(main, settings.margin, metric, rival)
    against = [_as_text(guard, settings.guard_margin) for guard in guards if guard.worse]
    against += [_as_text(guard, settings.slice_margin) for guard in by_slice if guard.worse]
    if against and decision != Outcome.KEPT:
        decision = Outcome.KEPT
        reason += f", but it is worse where it must not be: {'; '.join(against)}"
    unjudged = [guard.slice.name for guard in by_slice if guard.slice and guard.low is None]
    if unjudged:
        few = f"fewer than {FEWEST_ROWS} rows" + ("" if rows.groups is None else f" or {FEWEST_GROUPS} groups")
        more = f" and {len(unjudged) - 5} more" if len(unjudged) > 5 else ""
        reason += f"; not judged, having {few}: {', '.join(unjudged[:5])}{more}"
    return Judgement(decision=decision, reason=reason, difference=main, guards=guards, slices=by_slice)


def too_few(unseen: int, tested: int, groups: np.ndarray | None) -> str | None:
    """Return why so few rows decide nothing, or None.

    Args:
        unseen: test rows that neither model was trained on.
        tested: all test rows.
        groups: of the unseen rows; None where each row is for itself.
    """
    said = f"the champion was not trained on only {unseen} of the {tested} test rows"
    if unseen < FEWEST_ROWS:
        return f"{said}, and {FEWEST_ROWS} are the fewest that can tell"
    if unseen < FEWEST_SHARE * tested:
        return f"{said}, and fewer than a third may be special ones"
    if groups is not None and (count := len(np.unique(groups))) < FEWEST_GROUPS:
        return f"the rows that can be compared are of {count} groups, and {FEWEST_GROUPS} are the fewest that can tell"
    return None


def compare(metric: str, rows: Rows, part: Slice | None = None, level: float = LEVEL) -> Difference:
    """Return the difference of two models on the same rows, with its interval.

    Args:
        metric: accuracy, loss, macro_f1 or ece.
        rows: the rows.
        part: the slice that they are, if they are one: in accuracy it has the interval of a score test.
        level: of the interval.
    """
    sign = METRICS[metric].sign
    champion, challenger = (scores(answers, rows.y)[metric] for answers in (rows.champion, rows.challenger))
    estimate = sign * (challenger - champion)
    low = high = None
    if rows.are_enough():
        of_test = part and metric == "accuracy" and rows.groups is None
        low, high = _by_score(rows, level) if of_test else _drawn(metric, rows, level)
    return Difference(metric, part, len(rows.y), champion, challenger, estimate, low, high)


def _drawn(metric: str, rows: Rows, level: float) -> tuple[float, float]:
    """Return the bootstrap's interval of the challenger's lead."""
    drawn = METRICS[metric].sign * _draws(metric, rows)
    tail = 100 * (1 - level) / 2
    low, high = (float(end) for end in np.percentile(drawn, [tail, 100 - tail]))
    if _different(metric, rows) < FEWEST_DIFFERENT:
        least = UNSEEN_ROWS / len(rows.y)
        low, high = min(low, -least), max(high, least)
    return low, high


def _by_score(rows: Rows, level: float) -> tuple[float, float]:
    """Return the leads of the challenger in accuracy that Tango's score test just does not reject."""
    ours, theirs = (answers.argmax(axis=1) == rows.y for answers in (rows.challenger, rows.champion))
    n, gained, lost = len(rows.y), int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    critical = stats.norm.ppf((1 + level) / 2)

    def score(lead: float) -> float:
        # The likeliest share of rows that only the champion has right, if this is the lead.
        b = -gained - lost + (2 * n - gained + lost) * lead
        share = (np.sqrt(b**2 + 8 * n * lost * lead * (1 - lead)) - b) / (4 * n)
        variance = n * (2 * share + lead * (1 - lead))
        return (gained - lost - n * lead) / np.sqrt(max(variance, 1e-12))

    lead, edge = (gained - lost) / n, 1 - 1e-9
    low = brentq(lambda at: score(at) - critical, -edge, lead) if score(-edge) > critical else -1.0
    high = brentq(lambda at: score(at) + critical, lead, edge) if score(edge) < -critical else 1.0
    return float(low), float(high)


def _by_slice(metric: str, rows: Rows, slices: Mapping[Slice, np.ndarray], margin: float) -> tuple[Guard, ...]:
    """Return the differences in the slices; of those that have rows enough, together at the usual level."""
    inside = {part: rows[which] for part, which in slices.items() if which.any()}
    level = 1 - (1 - LEVEL) / max(sum(of.are_enough() for of in inside.values()), 1)
    judged_by = "accuracy" if METRICS[metric].of_whole else metric  # a slice of one class has no F1 over classes
    return tuple(_guard(compare(judged_by, of, part, level), margin) for part, of in inside.items())


def _guard(found: Difference, margin: float) -> Guard:
    return Guard(**vars(found), worse=found.high is not None and found.high < -margin)


def _rule(found: Difference, margin: float, metric: str, rival: str) -> tuple[Outcome, str]:
    """Return the decision on the study's metric alone, and why."""
    assert found.low is not None
    assert found.high is not None
    said = (
        f"{metric} {found.challenger:.4f}, {rival} has {found.champion:.4f} on the same {found.rows} test rows that "
        f"neither was trained on: {_amount(found.estimate, metric)} (95 % interval "
        f"{_amount(found.low, metric, unit='')} to {_amount(found.high, metric, unit='')})"
    )
    asked = "better" if margin == 0 else f"above the margin of {_amount(margin, metric)}"
    if found.low > margin and found.estimate >= 0:
        return Outcome.PROMOTED, f"{said}, significantly {asked}"
    if found.high < 0:
        return Outcome.KEPT, f"{said}, significantly worse"
    if found.high < margin:
        return Outcome.KEPT, f"{said}, significantly not {asked}"
    if found.low > margin:
        return Outcome.UNDECIDED, f"{said}, significantly {asked}, but worse by the estimate"
    return Outcome.UNDECIDED, f"{said}: these rows can't tell whether it is {asked}"


def _as_text(guard: Guard, margin: float) -> str:
    name = f"{guard.slice.name}, {guard.metric}" if guard.slice else guard.metric
    return f"{name} {guard.challenger:.4f} against {guard.champion:.4f} on {guard.rows} rows, significantly worse" + (
        f" by more than {_amount(margin, guard.metric, sign='')}" if margin else ""
    )


def _amount(value: float, metric: str, sign: str = "+z", unit: str = " points") -> str:
    """Return a difference as text: points of a share, a plain number of the loss."""
    return f"{100 * value:{sign}.2f}{unit}" if METRICS[metric].unit else f"{value:{sign}.4f}"


def _draws(metric: str, rows: Rows) -> np.ndarray:
    """Return the metric's difference, challenger minus champion, in each draw of the bootstrap (DRAWS,).

    Every metric is a function of sums over rows. Rows that add the same to them are counted and drawn as one kind, so
    that a draw of ten thousand rows costs no more than there are kinds.
    """
    of = METRICS[metric]
    if rows.groups is None and of.by_class:
        said = np.stack([rows.y, rows.challenger.argmax(axis=1), rows.champion.argmax(axis=1)], axis=1)
        _, kinds, times = np.unique(said, axis=0, return_index=True, return_counts=True)
    else:
        kinds, times = np.arange(len(rows.y)), np.ones(len(rows.y), int)
    sums = [csr_array(of.sums(answers[kinds], rows.y[kinds])) for answers in (rows.challenger, rows.champion)]
    if rows.groups is not None:
        names, member = np.unique(rows.groups, return_inverse=True)
        into = csr_array((np.ones(len(member)), (member, np.arange(len(member)))), (len(names), len(member)))
        sums, times = [into @ one for one in sums], np.ones(len(names), int)
    rng = np.random.default_rng(SEED)
    drawn, size = [], AT_ONCE // (len(times) + sums[0].shape[1]) + 1
    for start in range(0, DRAWS, size):
        weights = rng.multinomial(times.sum(), times / times.sum(), size=min(size, DRAWS - start))
        drawn.append(of.of_sums(weights @ sums[0]) - of.of_sums(weights @ sums[1]))
    return np.concatenate(drawn)


def _different(metric: str, rows: Rows) -> int:
    """Return how many rows, or groups, speak for one of the models."""
    differ = (rows.challenger != rows.champion).any(axis=1)
    if METRICS[metric].by_class:
        differ = rows.challenger.argmax(axis=1) != rows.champion.argmax(axis=1)
    return int(differ.sum()) if rows.groups is None else len(np.unique(rows.groups[differ]))
