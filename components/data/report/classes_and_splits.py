"""How the rows are spread over the classes and the parts of the split, and what is odd about that."""

from collections.abc import Iterator, Sequence

import numpy as np

from components.data.issues import MAX_EXAMPLES, DataIssue
from components.data.report.data_report import ClassCounts, SplitReport, Time
from components.data.sources import Rows
from components.data.splitting import TEST, TRAIN, UNUSED, VALIDATION, WINDOW
from components.study.dataset import DatasetSpec

PARTS = {"test": TEST, "validation": VALIDATION, "train": TRAIN, "unused": UNUSED}
MIN_UNBALANCED = 10  # times as many rows in the largest class as in the smallest


def count_classes(rows: Rows, parts: np.ndarray) -> tuple[ClassCounts, ...]:
    """Return how many rows each class has, in all and in each of one seed's parts (rows,)."""
    counts = {name: np.bincount(rows.y[parts == part], minlength=len(rows.classes)) for name, part in PARTS.items()}
    in_all = np.sum(list(counts.values()), axis=0)
    return tuple(
        ClassCounts(name, int(in_all[i]), **{part: int(count[i]) for part, count in counts.items()})
        for i, name in enumerate(rows.classes)
    )


def describe_split(data: DatasetSpec, rows: Rows, parts: np.ndarray) -> SplitReport:
    """Return the rule of the split, and the rows, groups and times of the first of the seeds' parts (seeds, rows)."""
    of_part = {name: np.flatnonzero(parts[0] == part) for name, part in PARTS.items()}
    groups = times = None
    if rows.groups is not None:
        groups = {name: len(np.unique(rows.groups[numbers])) for name, numbers in of_part.items()}
    if rows.times is not None:
        times = {name: _ends(rows.times[numbers]) for name, numbers in of_part.items() if len(numbers)}
    counts = {name: len(numbers) for name, numbers in of_part.items()}
    return SplitReport(len(parts), data.test, data.validation, data.group, data.time, counts, groups, times)


def check_parts(
    data: DatasetSpec, rows: Rows, parts: np.ndarray, classes: Sequence[ClassCounts]
) -> Iterator[DataIssue]:
    """Yield what is odd about the classes, see `count_classes`, and about the parts of all seeds (seeds, rows)."""
    yield from _balance(classes)
    if isinstance(data.test, float) and "test" in rows.splits:
        sentence = (
            "the source has its own test rows ({count}), which are mixed with the rest; data.test: test holds them out "
            "instead"
        )
        yield DataIssue("own-test-rows", "warning", sentence, len(rows.splits["test"]))
    if "validation" in rows.splits:
        sentence = "the source's own validation rows ({count}) are among those from which each seed draws its own"
        yield DataIssue("own-validation-rows", "note", sentence, len(rows.splits["validation"]))
    is_test, unused = parts[0] == TEST, int(np.count_nonzero(parts[0] == UNUSED))
    both = 0 if rows.groups is None else len(np.intersect1d(rows.groups[is_test], rows.groups[~is_test]))
    if both:
        groups, have = ("group", "has") if both == 1 else ("groups", "have")
        sentence = (
            f"{{count}} {groups} of {{column!r}} {have} rows both among the source's own test rows and among the "
            "others, so the test is easier than new groups are"
        )
        yield DataIssue("groups-on-both-sides", "warning", sentence, both, {"column": str(data.group)})
    if unused:
        sentence = (
            "each seed has {percent:g} % of the rows before the test, a window of its own, and leaves out the others: "
            "{count} with seed 0"
        )
        yield DataIssue("unused-rows", "note", sentence, unused, {"percent": 100 * WINDOW})
    yield from _untrained(rows, parts)


def _ends(times: np.ndarray) -> tuple[Time, Time]:
    """Return the oldest and the newest time: numbers, or dates in ISO format of int64 microseconds since 1970."""
    ends = times.min(), times.max()
    if not np.issubdtype(times.dtype, np.integer):
        return float(ends[0]), float(ends[1])
    first, last = (str(np.datetime64(int(end) // 10**6, "s")).removesuffix("T00:00:00") for end in ends)
    return first, last


def _balance(classes: Sequence[ClassCounts]) -> Iterator[DataIssue]:
    present = sorted((entry for entry in classes if entry.rows), key=lambda entry: entry.rows)
    smallest, largest = present[0], present[-1]
    if largest.rows >= MIN_UNBALANCED * smallest.rows:
        sentence = (
            "class {largest!r} has {most} rows and class {smallest!r} {count}; accuracy hardly sees the small one: "
            "metric: macro_f1 does"
        )
        values = {"largest": largest.name, "most": largest.rows, "smallest": smallest.name}
        yield DataIssue("unbalanced", "warning", sentence, smallest.rows, values)


def _untrained(rows: Rows, parts: np.ndarray) -> Iterator[DataIssue]:
    """Yield the classes that some seed does not train on; only by time or by the source's own split are there any."""
    present = np.bincount(rows.y, minlength=len(rows.classes)) > 0
    trained = np.array([np.bincount(rows.y[of_seed == TRAIN], minlength=len(present)) > 0 for of_seed in parts])
    lost = np.flatnonzero((present & ~trained).any(axis=0))
    if len(lost):
        without = [(rows.classes[c], np.flatnonzero(~trained[:, c])) for c in lost[:MAX_EXAMPLES]]
        examples = (f"{name} with seed {s[0]}" + f" and {len(s) - 1} more" * (len(s) > 1) for name, s in without)
        several = len(lost) > 1
        sentence = (
            f"{{count}} {'classes have' if several else 'class has'} no row among the train rows of some seed, whose "
            f"models can't know {'them' if several else 'it'}"
        )
        yield DataIssue("untrained-classes", "warning", sentence, len(lost), examples=tuple(examples))
