"""Rows that are there twice: copies, and images that are nearly the same."""

import numpy as np
import pandas as pd

from components.data.issues import MAX_EXAMPLES, DataIssue
from components.data.near_duplicates import near_duplicates
from components.data.report.data_report import DuplicateCounts, NearDuplicateCounts
from components.data.sources import Rows


def count_copies(rows: Rows, is_test: np.ndarray, first: np.ndarray) -> tuple[DuplicateCounts, list[DataIssue]]:
    """Count rows that have an identical one, and tell where they lie and how they are labelled.

    Test rows are bool (rows,); `first` is that of `components.data.splitting.Content`.
    """
    groups = pd.DataFrame({"y": rows.y, "is_test": is_test}).groupby(first)
    sizes, in_test = groups.size(), groups["is_test"].sum()
    across = (in_test > 0) & (in_test < sizes)
    mixed = groups["y"].nunique() > 1
    counts = DuplicateCounts(
        copies=int((sizes - 1).sum()),
        copies_within_test=int((in_test - 1).clip(0).sum()),
        copies_within_rest=int((sizes - in_test - 1).clip(0).sum()),
        test_rows_in_rest=int(in_test[across].sum()),
        rows_with_two_labels=int(sizes[mixed].sum()),
    )

    def shown(which: pd.Series) -> tuple[str, ...]:
        """Return the first of the groups of equal rows as text."""
        rows_of = (np.flatnonzero(first == i)[:3] for i in sizes.index[which][:MAX_EXAMPLES])
        return tuple(" = ".join(_name(rows, row) for row in numbers) for numbers in rows_of)

    issues: list[DataIssue] = []
    if counts.test_rows_in_rest:
        kind, level = "duplicates", "error"
        sentence = (
            "{count} of {test} test rows are also among the rows to train on, so their score is no test; remove them, "
            "or let a fraction draw the test rows (data.test: 0.2), which keeps identical rows together"
        )
        if rows.times is not None:
            kind, level = "repeated-later", "note"
            sentence = (
                "{count} of {test} test rows are also among the older rows; that is no leak where the same may well "
                "happen again"
            )
        test = {"test": int(is_test.sum())}
        issues.append(DataIssue(kind, level, sentence, counts.test_rows_in_rest, test, shown(across)))
    if counts.rows_with_two_labels:
        sentence = "{count} rows are identical to a row of another class; no model can get both right"
        issues.append(DataIssue("two-labels", "warning", sentence, counts.rows_with_two_labels, examples=shown(mixed)))
    if counts.copies:
        sentence = (
            f"{{count}} {'rows are' if counts.copies > 1 else 'row is'} an exact copy of another one "
            "({within_rest} within the rows to train and validate on)"
        )
        sentence += "; every draw keeps copies on one side, so that none leaks" if rows.times is None else ""
        values = {"within_rest": counts.copies_within_rest}
        issues.append(DataIssue("copies", "note", sentence, counts.copies, values, shown(sizes > 1)))
    return counts, issues


def count_near_copies(
    rows: Rows, is_test: np.ndarray, first: np.ndarray
) -> tuple[NearDuplicateCounts, list[DataIssue]]:
    """Count pairs of images that are nearly the same, and name some, those on both sides of the test first."""
    pairs = near_duplicates(rows.x, first)
    across = pairs[is_test[pairs[:, 0]] != is_test[pairs[:, 1]]]
    counts = NearDuplicateCounts(len(pairs), len(across))
    if not len(pairs):
        return counts, []
    shown = np.concatenate([across, pairs])[:MAX_EXAMPLES]
    sentence = (
        "{count} pairs of images are nearly the same, {across} of them with one among the test rows and one not; "
        "where they are copies, scores are too good"
    )
    examples = tuple(dict.fromkeys(" ~ ".join(_name(rows, row) for row in pair) for pair in shown))
    return counts, [DataIssue("near-duplicates", "warning", sentence, len(pairs), {"across": len(across)}, examples)]


def _name(rows: Rows, row: int) -> str:
    return rows.names[row] if rows.names else f"row {row}"
