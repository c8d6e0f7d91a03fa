"""Rows that are there twice: copies, and images that are nearly the same."""

import numpy as np

from components.data.near_duplicates import near_duplicates
from components.data.sources import Finding, Rows

EXAMPLES = 5


def count_copies(rows: Rows, is_test: np.ndarray, first: np.ndarray) -> tuple[dict[str, int], list[Finding]]:
    """Count rows that have an identical one, and tell where they lie and how they are labelled.

    Args:
        rows: what the source gave.
        is_test: which rows are for the test, bool (rows,).
        first: for each row the number of the first one with the same content (rows,), see
        `components.data.splitting.Content`.
    """
    ids, member, sizes = np.unique(first, return_inverse=True, return_counts=True)
    in_test = np.bincount(member[is_test], minlength=len(ids))
    across = (in_test > 0) & (in_test < sizes)
    least, most = np.full(len(ids), np.iinfo(np.int64).max), np.full(len(ids), -1)
    np.minimum.at(least, member, rows.y)
    np.maximum.at(most, member, rows.y)
    mixed = least != most
    counts = {
        "copies": int((sizes - 1).sum()),
        "copies_within_test": int(np.maximum(in_test - 1, 0).sum()),
        "copies_within_rest": int(np.maximum(sizes - in_test - 1, 0).sum()),
        "test_rows_in_rest": int(in_test[across].sum()),
        "rows_with_two_labels": int(sizes[mixed].sum()),
    }

    def shown(which: np.ndarray) -> tuple[str, ...]:
        firsts = np.flatnonzero(which)[:EXAMPLES]
        alike = (np.flatnonzero(first == ids[one])[:3] for one in firsts)
        return tuple(" = ".join(_row(rows, row) for row in same) for same in alike)

    findings: list[Finding] = []
    in_rest = f"{counts['test_rows_in_rest']} of {int(is_test.sum())} test rows are also among the "
    if across.any() and rows.times is not None:
        text = f"{in_rest}older rows; that is no leak where the same may well happen again"
        findings.append(Finding("repeated-later", "note", text, shown(across)))
    elif across.any():
        text = (
            f"{in_rest}rows to train on, so their score is no test; remove them, or let a fraction draw the test rows "
            "(data.test: 0.2), which keeps identical rows together"
        )
        findings.append(Finding("duplicates", "error", text, shown(across)))
    if mixed.any():
        text = (
            f"{counts['rows_with_two_labels']} rows are identical to a row of another class; no model can get both "
            "right"
        )
        findings.append(Finding("two-labels", "warning", text, shown(mixed)))
    if counts["copies"]:
        text = (
            f"{counts['copies']} row{'s are' if counts['copies'] > 1 else ' is'} an exact copy of another one "
            f"({counts['copies_within_rest']} within the rows to train and validate on)"
        )
        text += "; every draw keeps copies on one side, so that none leaks" if rows.times is None else ""
        findings.append(Finding("copies", "note", text, shown(sizes > 1)))
    return counts, findings


def count_near_copies(rows: Rows, is_test: np.ndarray, first: np.ndarray) -> tuple[dict[str, int], list[Finding]]:
    """Count pairs of images that are nearly the same, and name some, those on both sides of the test first.

    Args: those of `count_copies`.
    """
    pairs = near_duplicates(rows.x, first)
    across = pairs[is_test[pairs[:, 0]] != is_test[pairs[:, 1]]]
    counts = {"pairs": len(pairs), "pairs_across_test": len(across)}
    if not len(pairs):
        return counts, []
    shown = np.concatenate([across, pairs])[:EXAMPLES]
    text = (
        f"{len(pairs)} pairs of images are nearly the same, {len(across)} of them with one among the test rows and "
        "one not; where they are copies, scores are too good"
    )
    examples = tuple(dict.fromkeys(" ~ ".join(_row(rows, row) for row in pair) for pair in shown))
    return counts, [Finding("near-duplicates", "warning", text, examples)]


def _row(rows: Rows, row: int) -> str:
    return rows.names[row] if rows.names else f"row {row}"
