"""The data report: what there is, and what is wrong with it, told before an hour is spent on training.

`inspect` returns it as JSON, `markdown` as text, `write` puts both and a figure into a folder. What a study would be
falsified by is an error unless `data.allow` names it:

    duplicates      test rows that are also among the rest, when the source's own split says which rows are test rows.
                    A fraction can't do that: see `components.split`. By time it is a note: what happens again later
                    is another case.
    label-column    a table column whose values and the classes map one to one: each value stands for one class, each
                    class for one value, in all rows. A missing value is a value, too. It takes MIN_ROWS rows, at least
                    MIN_OF_CLASS of each class, since among a few rows that happens by chance.
Weaker signs of a label among the columns are warnings: of each class the value is missing in all rows or in none;
cutting a column's sorted numbers in one place per class separates all classes (honest for a very good measurement); or
each value is always of one class although values repeat REPEATED times on average (a code made from the label). None
of iris's columns does any of that. A column has one finding at most, the gravest.
"""

import json
import math
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from components.data import FILES, Data
from components.errors import AssayError
from components.near import near_duplicates
from components.raw import Column
from components.sources import Finding, Rows
from components.split import TEST, TRAIN, UNUSED, VALIDATION, WINDOW, Content

MIN_ROWS = 20
MIN_OF_CLASS = 3
REPEATED = 10
UNBALANCED = 10  # times as many rows in the largest class as in the smallest
OWN_VALUE = 0.9  # share of rows with a value of their own, from which on a column names the rows
MUCH_MISSING = 0.5
BINS = 20

EXAMPLES = 5
FREQUENT = 5  # values of a column and words of a class that are named
LISTED = 20  # classes, columns and image sizes that the text lists; the JSON has all classes and columns
SIZES = 10  # image sizes that are listed
LONGEST = 120  # characters in a cell of a table

MARKS = re.compile(r"[\\`*<&|~]|(?<!\w)_|_(?!\w)")  # an underscore within a word is none

# What may be found of a column, the gravest first.
SIGNS: dict[str, tuple[Literal["error", "warning"], str]] = {
    "label-column": ("error", "say the class by a code of its own for each class; {leave}"),
    "missing-tells-class": (
        "warning",
        "have a value in all rows of some classes and in no row of the others; if that is known only after the class, "
        "{leave}",
    ),
    "identifier-columns": (
        "warning",
        "name the rows: nearly each row has a value of its own, of which nothing can be learned; {leave}",
    ),
    "telling-column": (
        "warning",
        "tell every row's class alone; are they made from the label, or known only after it?",
    ),
    "constant-columns": ("warning", "have the same value, or none, in every row"),
    "much-missing": ("warning", "have no value in more than half of the rows"),
}

PARTS = {"test": TEST, "validation": VALIDATION, "train": TRAIN, "unused": UNUSED}
BLOCK = 4096  # rows of text that are looked at at a time


def inspect(data: Data, rows: Rows, of: Content, parts: np.ndarray) -> dict[str, Any]:
    """Return the report as JSON, without NaN: what can't be said of a column without values is None.

    Args:
        data: the study's data; its `allow` turns errors into warnings.
        rows: what the source gave, at least one.
        of: the rows' content.
        parts: what each seed does with each row, uint8 (seeds, rows), see `components.split`.
    """
    is_test = parts[0] == TEST
    findings = list(rows.findings)
    report: dict[str, Any] = {
        "source": data.source,
        "kind": data.kind,
        "rows": len(rows.y),
        "shape": list(rows.x.shape[1:]),
        "dtype": str(rows.x.dtype),
        "classes": _classes(rows, parts[0]),
        "split": _split(data, rows, parts),
        "own_splits": {name: len(of) for name, of in rows.splits.items()},
        "duplicates": _duplicates(rows, is_test, of.first, findings),
    }
    _balance(report["classes"], findings)
    _check_split(data, rows, parts, findings)
    if data.kind == "image":
        report["images"] = _images(rows)
        report["near_duplicates"] = _near_duplicates(rows, is_test, of.first, findings)
    elif data.kind == "text":
        report["text"] = _text(data, rows, parts[0])
    else:
        report["columns"] = _columns(data, rows, findings)
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
    (folder / "data.json").write_text(json.dumps(report, indent=1, allow_nan=False), "utf-8")
    (folder / "data.md").write_text(markdown(report), "utf-8")
    with warnings.catch_warnings():
        # Matplotlib's font has no Chinese, and draws boxes instead; the names are in the text.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        data_figure(report).savefig(folder / "data.png", dpi=150)


# What is counted


def _classes(rows: Rows, mine: np.ndarray) -> list[dict[str, Any]]:
    """Return the rows of each class, in all and in each part of the first seed."""
    counts = {name: np.bincount(rows.y[mine == part], minlength=len(rows.classes)) for name, part in PARTS.items()}
    return [
        {"name": name, "rows": int(sum(of[i] for of in counts.values())), **{k: int(of[i]) for k, of in counts.items()}}
        for i, name in enumerate(rows.classes)
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


def _split(data: Data, rows: Rows, parts: np.ndarray) -> dict[str, Any]:
    """Return the rule of the split as a sentence, and the rows, groups and times of the first seed's parts."""
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


def _ends(times: np.ndarray) -> list[Any]:
    """Return the oldest and the newest time: numbers, or dates in ISO format of int64 microseconds since 1970."""
    ends = [times.min(), times.max()]
    if not np.issubdtype(times.dtype, np.integer):
        return [float(end) for end in ends]
    return [str(np.datetime64(int(end) // 10**6, "s")).removesuffix("T00:00:00") for end in ends]


def _check_split(data: Data, rows: Rows, parts: np.ndarray, findings: list[Finding]) -> None:
    """Tell what is odd about the source's own splits, and what a split by time or by groups does."""
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
    if rows.groups is not None:
        both = np.intersect1d(rows.groups[parts[0] == TEST], rows.groups[parts[0] != TEST])
        if len(both):
            text = (
                f"{len(both)} group{_s(len(both))} of {data.group!r} {_have(len(both))} rows both among the source's "
                "own test rows and among the others, so the test is easier than new groups are"
            )
            findings.append(Finding("groups-on-both-sides", "warning", text))
    unused = np.count_nonzero(parts[0] == UNUSED)
    if unused:
        text = (
            f"each seed has {100 * WINDOW:g} % of the rows before the test, a window of its own, and leaves out the "
            f"others: {unused} with seed 0"
        )
        findings.append(Finding("unused-rows", "note", text))
    _check_trained(rows, parts, findings)


def _check_trained(rows: Rows, parts: np.ndarray, findings: list[Finding]) -> None:
    """Name the classes that some seed does not train on; only by time or by the source's own split are there any."""
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
        findings.append(Finding("untrained-classes", "warning", text, tuple(examples)))


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
    return counts


# Images


def _images(rows: Rows) -> dict[str, Any]:
    height, width, channels = rows.x.shape[1:]
    sizes = Counter({(height, width): len(rows.y)})
    if rows.sizes is not None:
        sizes = Counter((int(h), int(w)) for h, w in rows.sizes)
    listed = [{"height": h, "width": w, "rows": count} for (h, w), count in sizes.most_common(SIZES)]
    return {"channels": channels, "sizes": listed, "different_sizes": len(sizes)}


def _near_duplicates(rows: Rows, is_test: np.ndarray, first: np.ndarray, findings: list[Finding]) -> dict[str, int]:
    pairs = near_duplicates(rows.x, first)
    across = pairs[is_test[pairs[:, 0]] != is_test[pairs[:, 1]]]
    if len(pairs):
        shown = np.concatenate([across, pairs])[:EXAMPLES]
        text = (
            f"{len(pairs)} pairs of images are nearly the same, {len(across)} of them with one among the test rows and "
            "one not; where they are copies, scores are too good"
        )
        examples = tuple(dict.fromkeys(" ~ ".join(_row(rows, row) for row in pair) for pair in shown))
        findings.append(Finding("near-duplicates", "warning", text, examples))
    return {"pairs": len(pairs), "pairs_across_test": len(across)}


# Tables


def _columns(data: Data, rows: Rows, findings: list[Finding]) -> list[dict[str, Any]]:
    counts = np.bincount(rows.y)
    present = counts[counts > 0]
    enough = len(rows.y) >= MIN_ROWS and len(present) > 1 and present.min() >= MIN_OF_CLASS
    described = []
    found: dict[str, list[str]] = defaultdict(list)
    for i, column in enumerate(rows.columns):
        values = np.asarray(rows.x[:, i], np.float64)
        order = np.argsort(values)  # once for all that is asked; NaN is last
        ordered, y = values[order], rows.y[order]
        entry = _column(column, ordered)
        described.append(entry)
        found[_sign(entry, ordered, y, enough)].append(column.name)
    can_ignore = data.source.partition(":")[0] in FILES
    leave = "data.ignore leaves them out" if can_ignore else "leave them out of the data"
    for name, (level, text) in SIGNS.items():
        if found[name]:
            text = f"{len(found[name])} of {len(rows.columns)} columns {text.format(leave=leave)}"
            findings.append(Finding(name, level, text, tuple(found[name][:EXAMPLES])))
    return described


def _column(column: Column, values: np.ndarray) -> dict[str, Any]:
    """Return what is in a column, whose values (rows,) are in rising order, with NaN last."""
    missing = int(np.count_nonzero(np.isnan(values)))
    known = values[: len(values) - missing]
    different = len(_starts(known))
    entry: dict[str, Any] = {
        "name": column.name,
        "type": column.kind,
        "missing": missing,
        "missing_share": missing / len(values),
        "different": different,
        "constant": different + (missing > 0) == 1,
    }
    if column.kind == "number":
        ends = {"least": float(known[0]), "mean": _mean(known), "greatest": float(known[-1])} if different else {}
        histogram = _histogram(known) if different > 1 else []
        return {**entry, **dict.fromkeys(("least", "mean", "greatest")), **ends, "histogram": histogram}
    counts = np.bincount(known.astype(np.int64))
    names = column.values if column.kind == "category" else ("false", "true")
    return {**entry, "frequent": [{"value": names[i], "rows": int(counts[i])} for i in _most(counts)]}


def _sign(entry: dict[str, Any], values: np.ndarray, y: np.ndarray, enough: bool) -> str:
    """Return the name of the gravest finding on a column, or "".

    Args:
        entry: what `_column` says of it.
        values: the column (rows,) in rising order, with NaN last.
        y: the class numbers in the same order.
        enough: whether there are rows enough to say that a column and the class go together.
    """
    if entry["constant"]:
        return "constant-columns"
    tells = tells_label(values, y, entry["type"] == "category") if enough else ""
    if tells == "equal":
        return "label-column"
    if enough and _missing_tells(np.isnan(values), y):
        return "missing-tells-class"
    if _names_rows(entry, values):
        return "identifier-columns"
    if tells == "telling":
        return "telling-column"
    return "much-missing" if entry["missing_share"] > MUCH_MISSING else ""


def tells_label(values: np.ndarray, y: np.ndarray, is_category: bool = False) -> str:
    """Return "equal" where values and classes map one to one, "telling" for the weaker signs, else "".

    Args:
        values: of a column (rows,), in rising order, with NaN last; NaN is one more value.
        y: class numbers (rows,), in the same order.
        is_category: whether the order of the values means nothing.
    """
    starts = _starts(values)
    label = np.minimum.reduceat(y, starts)
    if (label != np.maximum.reduceat(y, starts)).any():  # a value that occurs with two classes
        return ""
    if len(starts) == np.count_nonzero(np.bincount(y)):
        return "equal"
    if len(starts) * REPEATED <= len(y):
        return "telling"
    of_known = label[~np.isnan(values[starts])]
    cuts = np.count_nonzero(np.diff(of_known))  # going up the values, how often the class changes
    return "telling" if not is_category and cuts == len(np.unique(of_known)) - 1 else ""


def _missing_tells(missing: np.ndarray, y: np.ndarray) -> bool:
    """Tell whether of each class the value is missing in all rows or in none, and both occur."""
    of_all, of_missing = np.bincount(y), np.bincount(y[missing], minlength=int(y.max()) + 1)
    return bool(missing.any() and not missing.all() and ((of_missing == 0) | (of_missing == of_all)).all())


def _names_rows(entry: dict[str, Any], values: np.ndarray) -> bool:
    """Tell whether a column names the rows: nearly each category is there once, or nearly consecutive numbers are."""
    known = len(values) - entry["missing"]
    if known < MIN_ROWS or entry["different"] < OWN_VALUE * known or entry["type"] == "boolean":
        return False
    if entry["type"] == "category":
        return True
    span = entry["greatest"] / 2 - entry["least"] / 2  # the half: the whole may be too large for a float
    return known == len(values) == entry["different"] and span * 2 * OWN_VALUE < known and bool((values % 1 == 0).all())


def _starts(values: np.ndarray) -> np.ndarray:
    """Return where each different value begins in an array (rows,) in rising order, with NaN last, as one value."""
    new = (values[1:] != values[:-1]) & ~np.isnan(values[:-1])
    return np.flatnonzero(np.concatenate([np.ones(min(len(values), 1), bool), new]))


def _mean(values: np.ndarray) -> float:
    """Return the mean of one value or more; they are scaled by a power of two, for the sum may be too large."""
    scale = math.ldexp(1.0, math.frexp(float(np.abs(values).max()))[1] - 1)
    return float((values / scale).mean()) * scale


def _histogram(values: np.ndarray) -> list[int]:
    """Return how many of the values, which are in rising order, are in each of BINS equal parts of their range."""
    share = np.linspace(0, 1, BINS + 1)[1:-1]
    edges = np.sort(values[0] * (1 - share) + values[-1] * share)  # no difference, which may be too large
    return np.diff(np.searchsorted(values, edges), prepend=0, append=len(values)).tolist()


def _most(counts: np.ndarray) -> list[int]:
    """Return the positions of the FREQUENT greatest counts above 0, the greatest first."""
    enough = np.partition(counts, -FREQUENT)[-FREQUENT] if len(counts) > FREQUENT else 0
    among = np.flatnonzero((counts >= enough) & (counts > 0))
    return among[np.argsort(-counts[among], kind="stable")][:FREQUENT].tolist()


# Text


def _text(data: Data, rows: Rows, mine: np.ndarray) -> dict[str, Any]:
    """Return how long the texts are, which words they have, and how many that the train rows of `mine` don't have."""
    limit = rows.x.shape[1]
    blocks = range(0, len(rows.x), BLOCK)
    lengths = np.concatenate([np.count_nonzero(rows.x[start : start + BLOCK], axis=1) for start in blocks])
    # A limit below data.words is the longest row that is not for the test: it cuts test rows only.
    full = (lengths == limit) & ((mine == TEST) | (limit >= data.words))
    counts = {name: _word_counts(rows, np.flatnonzero(mine == part)) for name, part in PARTS.items()}
    total = np.sum(list(counts.values()), axis=0)
    edges = np.unique(np.linspace(0, limit + 1, BINS + 1).astype(int))
    return {
        "least": int(lengths.min()),
        "median": float(np.median(lengths)),
        "p95": float(np.percentile(lengths, 95)),
        "greatest": int(lengths.max()),
        "limit": limit,
        "at_limit": int(full.sum()),
        "words": int(np.count_nonzero(total)),
        "unknown_share": {name: _share(counts[name], counts["train"] == 0) for name in ("test", "validation")},
        "histogram": {"edges": edges.tolist(), "rows": np.histogram(lengths, edges)[0].tolist()},
        "classes": list(_class_words(rows, total)),
    }


def _word_counts(rows: Rows, numbers: np.ndarray) -> np.ndarray:
    """Return int64 (words,): how often each word is in the rows with these numbers."""
    counts = np.zeros(len(rows.words) + 1, np.int64)
    for start in range(0, len(numbers), BLOCK):
        counts += np.bincount(rows.x[numbers[start : start + BLOCK]].ravel(), minlength=len(counts))
    return counts[1:]


def _share(counts: np.ndarray, which: np.ndarray) -> float | None:
    return float(counts[which].sum() / counts.sum()) if counts.any() else None


def _class_words(rows: Rows, total: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield of each class its most frequent words, and those that it has most in excess of its share of all words."""
    numbers = np.split(np.argsort(rows.y, kind="stable"), np.cumsum(np.bincount(rows.y, minlength=len(rows.classes))))
    for name, mine in zip(rows.classes, numbers, strict=False):  # after the last class there are no numbers
        counts = _word_counts(rows, mine)
        excess = counts - total * (counts.sum() / max(total.sum(), 1))
        yield {
            "name": name,
            "frequent": [rows.words[i] for i in _most(counts)],
            "typical": [rows.words[i] for i in _most(np.where(excess >= 1, excess, 0))],
        }


# How it is written


def markdown(report: dict[str, Any]) -> str:
    """Return the report as Markdown that is read in a minute: of what is many, the first are listed."""
    shape = " x ".join(map(str, report["shape"]))
    unit = {"image": "images", "text": "words", "table": "columns"}[report["kind"]]
    lines = [f"# Data: {_plain(report['source'], None)}", ""]
    test = report["split"]["rows"]["test"]
    lines += [
        f"{report['rows']} rows of {len(report['classes'])} classes, {shape} {unit}, {report['dtype']}; "
        f"{test} test rows, and {report['rows'] - test} to train and validate on."
    ]
    levels = {"error": "Errors: these falsify the answer", "warning": "Warnings", "note": "Notes"}
    for level, title in levels.items():
        found = [finding for finding in report["findings"] if finding["level"] == level]
        if found:
            told = (f"- **{finding['name']}**: {_plain(_with_examples(finding), None)}" for finding in found)
            lines += ["", f"## {title}", "", *told]
    if not report["findings"]:
        lines += ["", "Nothing was found to be wrong."]
    lines += ["", "## Classes", "", _plain(report["split"]["rule"], None), "", *_class_table(report)]
    about = {"image": _image_text, "text": _text_text, "table": _column_text}[report["kind"]]
    return "\n".join([*lines, "", *about(report)]) + "\n"


def _class_table(report: dict[str, Any]) -> list[str]:
    parts = [name for name, rows in report["split"]["rows"].items() if rows or name != "unused"]
    lines = (
        [entry["name"], entry["rows"], _percent(entry["rows"] / report["rows"]), *(entry[part] for part in parts)]
        for entry in report["classes"]
    )
    return _table(["class", "rows", "share", *parts], lines, len(report["classes"]))


def _image_text(report: dict[str, Any]) -> list[str]:
    images = report["images"]
    lines = ([f"{size['height']} x {size['width']}", size["rows"]] for size in images["sizes"])
    table = _table(["height x width, as they came", "images"], lines, images["different_sizes"])
    return ["## Images", "", f"{images['channels']} channel{_s(images['channels'])}.", "", *table]


def _column_text(report: dict[str, Any]) -> list[str]:
    columns = report["columns"]
    lines = (
        [column["name"], column["type"], _missing(column), column["different"], _values(column)] for column in columns
    )
    head = ["column", "type", "missing", "different", "values"]
    return ["## Columns", "", *_table(head, lines, len(columns), (0, 1, 4))]


def _missing(column: dict[str, Any]) -> str:
    return f"{column['missing']} ({_percent(column['missing_share'])})" if column["missing"] else "0"


def _values(column: dict[str, Any]) -> str:
    if column["type"] != "number":
        frequent = ", ".join(f"{_cut(entry['value'], 20)} ({entry['rows']})" for entry in column["frequent"])
        return frequent + ", ..." * (column["different"] > len(column["frequent"]))
    if column["different"] < 2:
        return "" if column["least"] is None else _number(column["least"])
    return f"{_number(column['least'])} to {_number(column['greatest'])}, mean {_number(column['mean'])}"


def _number(value: float) -> str:
    """Return four digits of a number, or all of a whole one, as years and counts are."""
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.4g}"


def _text_text(report: dict[str, Any]) -> list[str]:
    text, classes = report["text"], report["text"]["classes"]
    cut = (
        f"{text['at_limit']} rows reach {text['limit']} words, where longer ones are cut"
        if text["at_limit"]
        else "None is cut"
    )
    unknown = " and ".join(
        f"{_percent(share)} of the words of {part} rows"
        for part, share in text["unknown_share"].items()
        if share is not None
    )
    lines = ([entry["name"], " ".join(entry["frequent"]), " ".join(entry["typical"])] for entry in classes)
    return [
        "## Text",
        "",
        f"Words in a row: least {text['least']}, median {text['median']:g}, 95 % up to {text['p95']:g}, greatest "
        f"{text['greatest']}. {cut}.",
        "",
        f"{text['words']} different words." + f" Not among the train rows of seed 0: {unknown}." * bool(unknown),
        "",
        *_table(
            ["class", "most frequent words", "more frequent than in other classes"], lines, len(classes), (0, 1, 2)
        ),
    ]


def _table(head: list[str], lines: Iterable[list[Any]], many: int, left: tuple[int, ...] = (0,)) -> list[str]:
    """Return a table of the first lines, and how many more there are of the `many` in all.

    Args:
        head: of the columns.
        lines: a cell for each column.
        many: how many there are in all, of which `lines` may have some only.
        left: the places of the columns of text; the others are of numbers.
    """
    listed = [f"| {' | '.join(_plain(str(cell)) for cell in line)} |" for line in islice(lines, LISTED)]
    align = " | ".join("---" if place in left else "---:" for place in range(len(head)))
    more = many - len(listed)
    return [f"| {' | '.join(head)} |", f"| {align} |", *listed, *(["", f"And {more} more."] if more > 0 else [])]


def _plain(text: str, longest: int | None = LONGEST) -> str:
    """Return a text on one line, with nothing in it that Markdown or a terminal would take for a command."""
    line = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    return MARKS.sub(r"\\\g<0>", line if longest is None else _cut(line, longest))


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _row(rows: Rows, row: int) -> str:
    return rows.names[row] if rows.names else f"row {row}"


def _s(many: int) -> str:
    return "" if many == 1 else "s"


def _have(many: int) -> str:
    return "has" if many == 1 else "have"


def _percent(share: float) -> str:
    """Return a share in percent; what is not 0 is not shown as 0, and what is not all is not shown as all."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if 0.999 < share < 1 else f"{100 * share:.1f} %"


def _with_examples(finding: dict[str, Any]) -> str:
    examples = "; ".join(finding["examples"])
    return f"{finding['text']}: {examples}" if examples else finding["text"]
