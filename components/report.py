"""The data report: what there is, and what is wrong with it, told before an hour is spent on training.

`inspect` returns it as JSON, `markdown` as text, `write` puts both and a figure into a folder. What a study would be
falsified by is an error unless `data.allow` names it:

    duplicates      test rows that are also among the rest, when the source's own split says which rows are test rows.
                    A fraction can't do that: see `components.split`.
    label-column    a table column whose values and the classes map one to one: each value stands for one class, each
                    class for one value, in all rows. It takes MIN_ROWS rows, at least MIN_OF_CLASS of each class,
                    since among a few rows that happens by chance.
Weaker signs of a label among the columns are warnings: cutting the column's sorted values in one place per class
separates all classes (honest for a very good measurement), or each value is always of one class although values repeat
REPEATED times on average (a code made from the label). None of iris's columns does any of that.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from components.data import Data
from components.errors import AssayError
from components.sources import Finding, Rows
from components.split import CHUNK, TEST, Content

MIN_ROWS = 20
MIN_OF_CLASS = 3
REPEATED = 10
UNBALANCED = 10  # times as many rows in the largest class as in the smallest
EXAMPLES = 5
SIZES = 10  # image sizes that are listed

# Near duplicates, such as a JPEG saved again at quality 50 or an image made smaller: difference hashes within so many
# of 64 bits, and thumbnails within so many of 255 grey levels (mean).
NEAR_BITS = 6
NEAR_GREY = 1.5  # of 10,000 Fashion-MNIST images one pair is at 0.4, and the next one at 2.3
BANDS = 8  # of 8 bits: of two hashes that differ in 6 bits at least two bands are the same
WINDOW = 16  # neighbours that are looked at in each band's order
THUMB = (8, 9)


def inspect(data: Data, rows: Rows, of: Content, parts: np.ndarray) -> dict[str, Any]:
    """Return the report as JSON.

    Args:
        data: the study's data; its `allow` turns errors into warnings.
        rows: what the source gave.
        of: the rows' content.
        parts: what each seed does with each row, see `components.split`.
    """
    is_test = parts[0] == TEST
    findings = list(rows.findings)
    report: dict[str, Any] = {
        "source": data.source,
        "kind": data.kind,
        "rows": len(rows.y),
        "test_rows": int(is_test.sum()),
        "shape": list(rows.x.shape[1:]),
        "dtype": str(rows.x.dtype),
        "classes": _classes(rows, is_test),
        "own_splits": {name: len(of) for name, of in rows.splits.items()},
        "duplicates": _duplicates(rows, is_test, of.first, findings),
    }
    _balance(report["classes"], findings)
    if isinstance(data.test, float) and "test" in rows.splits:
        text = (
            f"the source has its own test rows ({len(rows.splits['test'])}), which are mixed with the rest; "
            "data.test: test holds them out instead"
        )
        findings.append(Finding("own-test-rows", "warning", text))
    if "validation" in rows.splits:
        text = (
            f"the source's own validation rows ({len(rows.splits['validation'])}) are among those from which each seed "
            "draws its own"
        )
        findings.append(Finding("own-validation-rows", "note", text))
    if data.kind == "image":
        report["images"] = _images(rows)
        report["near_duplicates"] = _near_duplicates(rows, is_test, of.first, findings)
    else:
        report["columns"] = _columns(rows, findings)
    allowed = [
        Finding(f.name, "warning", f"{f.text} (allowed)", f.examples)
        if f.level == "error" and f.name in data.allow
        else f
        for f in findings
    ]
    order = ("error", "warning", "note")
    report["findings"] = [asdict(f) for f in sorted(allowed, key=lambda f: order.index(f.level))]
    return report


def refuse(report: dict[str, Any]) -> None:
    """Stop where the data would falsify the answer.

    Raises:
        AssayError: with all errors of the report.
    """
    errors = [finding for finding in report["findings"] if finding["level"] == "error"]
    if errors:
        texts = "; ".join(_with_examples(finding) for finding in errors)
        names = ", ".join(dict.fromkeys(finding["name"] for finding in errors))
        raise AssayError(f"{texts}; to go on all the same: data.allow: [{names}]")


def short(report: dict[str, Any], where: str) -> list[str]:
    """Return the warnings in at most two lines; `where` says where the others are."""
    texts = [finding["text"] for finding in report["findings"] if finding["level"] == "warning"]
    if len(texts) > 2:
        texts = [texts[0], f"{texts[1]}; {len(texts) - 2} more in {where}"]
    return texts


def write(report: dict[str, Any], folder: Path) -> None:
    """Write data.md, data.json and data.png into the folder."""
    from components.figures import data_figure

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.json").write_text(json.dumps(report, indent=1), "utf-8")
    (folder / "data.md").write_text(markdown(report), "utf-8")
    data_figure(report).savefig(folder / "data.png", dpi=150)


def markdown(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    shape = " x ".join(map(str, report["shape"]))
    rest = report["rows"] - report["test_rows"]
    unit = "images" if report["kind"] == "image" else "columns"
    parts = [f"# Data: {report['source']}", ""]
    parts.append(
        f"{report['rows']} rows of {len(report['classes'])} classes, {shape} {unit}, {report['dtype']}; "
        f"{report['test_rows']} test rows, and {rest} to train and validate on."
    )
    levels = {"error": "Errors: these falsify the answer", "warning": "Warnings", "note": "Notes"}
    for level, title in levels.items():
        found = [finding for finding in report["findings"] if finding["level"] == level]
        if found:
            parts += ["", f"## {title}", "", *(f"- **{f['name']}**: {_with_examples(f)}" for f in found)]
    if not report["findings"]:
        parts += ["", "Nothing was found to be wrong."]
    parts += ["", "## Classes", "", *_table(["class", "rows", "share", "test", "rest"], _class_rows(report))]
    if "images" in report:
        images = report["images"]
        parts += ["", "## Images", "", f"{images['channels']} channel{'s' if images['channels'] > 1 else ''}."]
        listed = [[f"{s['height']} x {s['width']}", s["rows"]] for s in images["sizes"]]
        parts += ["", *_table(["height x width, as they came", "images"], listed)]
        if images["different_sizes"] > len(listed):
            parts += ["", f"And {images['different_sizes'] - len(listed)} more sizes."]
    else:
        names = ("name", "least", "mean", "greatest", "different")
        cells = [[_cell(column[name]) for name in names] for column in report["columns"]]
        parts += ["", "## Columns", "", *_table(["column", *names[1:4], "different values"], cells)]
    return "\n".join(parts) + "\n"


# What is counted


def _classes(rows: Rows, is_test: np.ndarray) -> list[dict[str, Any]]:
    of_test = np.bincount(rows.y[is_test], minlength=len(rows.classes))
    of_rest = np.bincount(rows.y[~is_test], minlength=len(rows.classes))
    return [
        {"name": name, "rows": int(a + b), "test": int(a), "rest": int(b)}
        for name, a, b in zip(rows.classes, of_test, of_rest, strict=True)
    ]


def _balance(classes: list[dict[str, Any]], findings: list[Finding]) -> None:
    present = sorted((entry for entry in classes if entry["rows"]), key=lambda entry: entry["rows"])
    least, most = present[0], present[-1]
    if most["rows"] >= UNBALANCED * least["rows"]:
        text = (
            f"class {most['name']!r} has {most['rows']} rows and class {least['name']!r} {least['rows']}; "
            "accuracy hardly sees the small one: metric: macro_f1 does"
        )
        findings.append(Finding("unbalanced", "warning", text))


def _duplicates(rows: Rows, is_test: np.ndarray, first: np.ndarray, findings: list[Finding]) -> dict[str, int]:
    """Count rows that have an identical one, and tell where they lie and how they are labelled."""
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

    if across.any():
        text = (
            f"{counts['test_rows_in_rest']} of {int(is_test.sum())} test rows are also among the rows to train on, so "
            f"their score is no test; remove them, or let a fraction draw the test rows (data.test: 0.2), which keeps "
            "identical rows together"
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
            f"({counts['copies_within_rest']} within the rows to train and validate on); every draw keeps copies on "
            "one side, so that none leaks"
        )
        findings.append(Finding("copies", "note", text, shown(sizes > 1)))
    return counts


def _images(rows: Rows) -> dict[str, Any]:
    height, width, channels = rows.x.shape[1:]
    sizes = Counter({(height, width): len(rows.y)})
    if rows.sizes is not None:
        sizes = Counter((int(h), int(w)) for h, w in rows.sizes)
    listed = [{"height": h, "width": w, "rows": count} for (h, w), count in sizes.most_common(SIZES)]
    return {"channels": channels, "sizes": listed, "different_sizes": len(sizes)}


def _columns(rows: Rows, findings: list[Finding]) -> list[dict[str, Any]]:
    counts = np.bincount(rows.y, minlength=len(rows.classes))
    enough = len(rows.y) >= MIN_ROWS and counts[counts > 0].min() >= MIN_OF_CLASS
    described, constant, equal, telling = [], [], [], []
    for i, of in enumerate(rows.columns):
        name, column = of.name, np.asarray(rows.x[:, i])
        different = len(np.unique(column))
        described.append(
            {
                "name": name,
                "least": float(column.min()),
                "mean": float(column.mean(dtype=np.float64)),
                "greatest": float(column.max()),
                "different": different,
                "histogram": np.histogram(column.astype(np.float64), bins=20)[0].tolist() if different > 1 else [],
            }
        )
        if different == 1:
            constant.append(name)
        elif enough:
            sign = tells_label(column, rows.y)
            equal += [name] if sign == "equal" else []
            telling += [name] if sign == "telling" else []
    if equal:
        text = f"{len(equal)} column{_s(equal)} say{_s(not equal[1:])} the class by a code of its own for each class; "
        text += "leave them out of the data" if equal[1:] else "leave it out of the data"
        findings.append(Finding("label-column", "error", text, tuple(equal[:EXAMPLES])))
    if telling:
        text = f"{len(telling)} column{_s(telling)} alone tell{_s(not telling[1:])} every row's class; "
        text += "is it made from the label, or known only after it?"
        findings.append(Finding("telling-column", "warning", text, tuple(telling[:EXAMPLES])))
    if constant:
        text = f"{len(constant)} of {len(rows.columns)} columns have the same value in every row"
        findings.append(Finding("constant-columns", "warning", text, tuple(constant[:EXAMPLES])))
    return described


def tells_label(column: np.ndarray, y: np.ndarray) -> str:
    """Return "equal" where values and classes map one to one, "telling" for the weaker signs, else "".

    Args:
        column: one value for each row (rows,).
        y: class numbers (rows,).
    """
    values, which = np.unique(column, return_inverse=True)
    least, most = np.full(len(values), np.iinfo(np.int64).max), np.full(len(values), -1)
    np.minimum.at(least, which, y)
    np.maximum.at(most, which, y)
    if (least != most).any():  # a value that occurs with two classes
        return ""
    classes = len(np.unique(y))
    if len(values) == classes:
        return "equal"
    cuts = np.count_nonzero(np.diff(least))  # going up the values, how often the class changes
    return "telling" if cuts == classes - 1 or len(values) * REPEATED <= len(y) else ""


# Near duplicates


def _near_duplicates(rows: Rows, is_test: np.ndarray, first: np.ndarray, findings: list[Finding]) -> dict[str, int]:
    alone = np.flatnonzero(first == np.arange(len(first)))
    pairs = alone[near_pairs(_thumbnails(rows.x, alone))]
    across = pairs[is_test[pairs[:, 0]] != is_test[pairs[:, 1]]]
    counts = {"pairs": len(pairs), "pairs_across_test": len(across)}
    if len(pairs):
        shown = np.concatenate([across, pairs])[:EXAMPLES]
        text = (
            f"{len(pairs)} pairs of images are nearly the same, {len(across)} of them with one among the test rows and "
            "one not; where they are copies, scores are too good"
        )
        examples = tuple(dict.fromkeys(" ~ ".join(_row(rows, row) for row in pair) for pair in shown))
        findings.append(Finding("near-duplicates", "warning", text, examples))
    return counts


def _thumbnails(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return float32 (rows, 8, 9): grey, averaged over areas, 0..255 over the range of each chunk's dtype or values."""
    down, across = (_averaging(size, to) for size, to in zip(x.shape[1:3], THUMB, strict=True))
    thumbs = np.empty((len(rows), *THUMB), np.float32)
    for start in range(0, len(rows), CHUNK):
        grey = np.asarray(x[rows[start : start + CHUNK]]).mean(axis=-1, dtype=np.float32)
        thumbs[start : start + CHUNK] = down @ grey @ across.T
    if x.dtype != np.uint8:
        thumbs -= thumbs.min()
        thumbs *= 255 / max(float(thumbs.max()), 1e-12)
    return thumbs


def _averaging(size: int, to: int) -> np.ndarray:
    """Return float32 (to, size): rows that average `size` pixels over `to` equal areas."""
    edges = np.linspace(0, size, to + 1)
    pixel = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (np.maximum(overlap, 0) * (to / size)).astype(np.float32)


def difference_hash(thumbs: np.ndarray) -> np.ndarray:
    """Return uint64 (rows,): of thumbnails (rows, 8, 9) whether each pixel is brighter than its left neighbour."""
    bits = (thumbs[:, :, 1:] > thumbs[:, :, :-1]).reshape(len(thumbs), 64)
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def near_pairs(thumbs: np.ndarray) -> np.ndarray:
    """Return the pairs of positions (pairs, 2) whose thumbnails (rows, 8, 9) are nearly the same.

    The hashes are sorted BANDS times, each time with another band of bits in front, and each is compared with the
    WINDOW next ones: rows x BANDS x WINDOW comparisons, 9 million for 70,000 rows. Where more than WINDOW hashes
    share a band, pairs may be missed; it is a count of what is there at least.
    """
    hashes = difference_hash(thumbs)
    found: list[np.ndarray] = []
    for band in range(BANDS):
        shift = np.uint64(band * 64 // BANDS)
        turned = hashes << shift | hashes >> (np.uint64(64) - shift) if band else hashes
        order = np.argsort(turned, kind="stable")
        ordered = hashes[order]
        for step in range(1, min(WINDOW, len(order) - 1) + 1):
            near = np.flatnonzero(np.bitwise_count(ordered[step:] ^ ordered[:-step]) <= NEAR_BITS)
            pair = np.stack([order[near], order[near + step]], axis=1)
            grey = np.abs(thumbs[pair[:, 0]] - thumbs[pair[:, 1]]).mean(axis=(1, 2))
            found.append(np.sort(pair[grey <= NEAR_GREY], axis=1))
    return np.unique(np.concatenate(found), axis=0) if found else np.empty((0, 2), np.int64)


# How it is written


def _row(rows: Rows, row: int) -> str:
    return rows.names[row] if rows.names else f"row {row}"


def _s(many: Any) -> str:
    """Return the ending of a plural, or of a verb: "s" for a list of several, or for True."""
    return "s" if many is True or (isinstance(many, list) and len(many) > 1) else ""


def _with_examples(finding: dict[str, Any]) -> str:
    examples = "; ".join(finding["examples"])
    return f"{finding['text']}: {examples}" if examples else finding["text"]


def _class_rows(report: dict[str, Any]) -> Iterable[list[Any]]:
    total = max(report["rows"], 1)
    for entry in report["classes"]:
        yield [entry["name"], entry["rows"], f"{100 * entry['rows'] / total:.1f} %", entry["test"], entry["rest"]]


def _table(head: list[str], lines: Iterable[list[Any]]) -> list[str]:
    escaped = ([str(cell).replace("|", "\\|") for cell in line] for line in [head, *lines])
    first, *others = (f"| {' | '.join(line)} |" for line in escaped)
    return [first, "|" + " --- |" + " ---: |" * (len(head) - 1), *others]


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
