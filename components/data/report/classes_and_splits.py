"""How the rows are spread over the classes and the parts of the split, and what is odd about that."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from components.data.sources import Finding, Rows
from components.data.splitting import TEST, TRAIN, UNUSED, VALIDATION, WINDOW
from components.study.dataset import DatasetSpec

PARTS = {"test": TEST, "validation": VALIDATION, "train": TRAIN, "unused": UNUSED}
UNBALANCED = 10  # times as many rows in the largest class as in the smallest
EXAMPLES = 5


def count_classes(rows: Rows, mine: np.ndarray) -> list[dict[str, Any]]:
    """Return how many rows each class has, in all and in each part.

    Args:
        rows: what the source gave.
        mine: what one seed does with each row, uint8 (rows,).
    """
    counts = {name: np.bincount(rows.y[mine == part], minlength=len(rows.classes)) for name, part in PARTS.items()}
    return [
        {"name": name, "rows": int(sum(of[i] for of in counts.values())), **{k: int(of[i]) for k, of in counts.items()}}
        for i, name in enumerate(rows.classes)
    ]


def describe_split(data: DatasetSpec, rows: Rows, parts: np.ndarray) -> dict[str, Any]:
    """Return the rule of the split as a sentence, and the rows, groups and times of the first seed's parts.

    Args:
        data: the study's data.
        rows: what the source gave.
        parts: what each seed does with each row, uint8 (seeds, rows).
    """
    of = {name: np.flatnonzero(parts[0] == part) for name, part in PARTS.items()}
    split: dict[str, Any] = {"seeds": len(parts), "rows": {name: len(numbers) for name, numbers in of.items()}}
    fixed = (
        f"{100 * data.test:.3g} % of the rows" if isinstance(data.test, float) else f"the source's own {data.test!r}"
    )
    drawn = f"The test is {fixed}, and each seed draws {100 * data.validation:.3g} % of the other rows for validation"
    rule = f"{drawn}, of every class in proportion."
    if rows.groups is not None:
        split["groups"] = {name: len(np.unique(rows.groups[numbers])) for name, numbers in of.items()}
        sides = ", ".join(f"{split['groups'][name]} for {name}" for name in ("train", "validation", "test"))
        rule = f"{drawn}, whole groups of {data.group!r} at a time; with seed 0 groups are {sides}."
    if rows.times is not None:
        split["times"] = {name: _ends(rows.times[numbers]) for name, numbers in of.items() if len(numbers)}
        borders = "; ".join(
            f"{name} {' to '.join(end if isinstance(end, str) else f'{end:.12g}' for end in split['times'][name])}"
            for name in ("train", "validation", "test")
            if name in split["times"]
        )
        rule = (
            f"By {data.time!r} the newest rows are the test, and no seed trains on what is newer than what it is "
            f"validated on; with seed 0: {borders}."
        )
    return {"rule": rule, **split}


def check_parts(data: DatasetSpec, rows: Rows, parts: np.ndarray, classes: list[dict[str, Any]]) -> Iterator[Finding]:
    """Yield what is odd about the classes and the parts.

    Args:
        data: the study's data.
        rows: what the source gave.
        parts: what each seed does with each row, uint8 (seeds, rows).
        classes: see `count_classes`.
    """
    yield from _balance(classes)
    yield from _own_splits(data, rows)
    if rows.groups is not None:
        yield from _groups(data, rows.groups, parts[0] == TEST)
    yield from _unused(parts[0])
    yield from _untrained(rows, parts)


def _ends(times: np.ndarray) -> list[Any]:
    """Return the oldest and the newest time: numbers, or dates in ISO format of int64 microseconds since 1970."""
    ends = [times.min(), times.max()]
    if not np.issubdtype(times.dtype, np.integer):
        return [float(end) for end in ends]
    return [str(np.datetime64(int(end) // 10**6, "s")).removesuffix("T00:00:00") for end in ends]


def _balance(classes: list[dict[str, Any]]) -> Iterator[Finding]:
    present = sorted((entry for entry in classes if entry["rows"]), key=lambda entry: entry["rows"])
    least, most = present[0], present[-1]
    if most["rows"] >= UNBALANCED * least["rows"]:
        text = (
            f"class {most['name']!r} has {most['rows']} rows and class {least['name']!r} {least['rows']}; "
            "accuracy hardly sees the small one: metric: macro_f1 does"
        )
        yield Finding("unbalanced", "warning", text)


def _own_splits(data: DatasetSpec, rows: Rows) -> Iterator[Finding]:
    if isinstance(data.test, float) and "test" in rows.splits:
        text = (
            f"the source has its own test rows ({len(rows.splits['test'])}), which are mixed with the rest; "
            "data.test: test holds them out instead"
        )
        yield Finding("own-test-rows", "warning", text)
    if "validation" in rows.splits:
        text = (
            f"the source's own validation rows ({len(rows.splits['validation'])}) are among those from which each seed "
            "draws its own"
        )
        yield Finding("own-validation-rows", "note", text)


def _groups(data: DatasetSpec, groups: np.ndarray, is_test: np.ndarray) -> Iterator[Finding]:
    both = np.intersect1d(groups[is_test], groups[~is_test])
    if len(both):
        text = (
            f"{len(both)} group{'s' * (len(both) > 1)} of {data.group!r} {_have(len(both))} rows both among the "
            "source's own test rows and among the others, so the test is easier than new groups are"
        )
        yield Finding("groups-on-both-sides", "warning", text)


def _unused(mine: np.ndarray) -> Iterator[Finding]:
    unused = np.count_nonzero(mine == UNUSED)
    if unused:
        text = (
            f"each seed has {100 * WINDOW:g} % of the rows before the test, a window of its own, and leaves out the "
            f"others: {unused} with seed 0"
        )
        yield Finding("unused-rows", "note", text)


def _untrained(rows: Rows, parts: np.ndarray) -> Iterator[Finding]:
    """Yield the classes that some seed does not train on; only by time or by the source's own split are there any."""
    present = np.bincount(rows.y, minlength=len(rows.classes)) > 0
    trained = np.array([np.bincount(rows.y[mine == TRAIN], minlength=len(present)) > 0 for mine in parts])
    lost = np.flatnonzero((present & ~trained).any(axis=0))
    if len(lost):
        first = [(int(c), np.flatnonzero(~trained[:, c])) for c in lost[:EXAMPLES]]
        examples = (
            f"{rows.classes[c]} with seed {s[0]}" + (f" and {len(s) - 1} more" * (len(s) > 1)) for c, s in first
        )
        text = (
            f"{len(lost)} class{'es' * (len(lost) > 1)} {_have(len(lost))} no row among the train rows of some seed, "
            f"whose models can't know {'them' if len(lost) > 1 else 'it'}"
        )
        yield Finding("untrained-classes", "warning", text, tuple(examples))


def _have(many: int) -> str:
    return "has" if many == 1 else "have"
