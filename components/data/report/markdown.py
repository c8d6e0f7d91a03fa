"""The data report as a page of Markdown, for a terminal and for MLflow."""

import re
from collections.abc import Iterable, Sequence
from itertools import islice

from components.data.report.data_report import ColumnReport, DataReport, ImagesReport, TextReport

MAX_LISTED = 20  # classes, columns and image sizes that the text lists; the JSON has all classes and columns
MAX_CHARACTERS = 120  # characters in a cell of a table
MARKS = re.compile(r"[\\`*<&|~]|(?<!\w)_|_(?!\w)")  # an underscore within a word is none


def markdown(report: DataReport) -> str:
    """Return the report as Markdown that is read in a minute: of what is many, the first are listed."""
    shape = " x ".join(map(str, report.shape))
    unit = {"image": "images", "text": "words", "table": "columns"}[report.kind]
    test = report.split.rows["test"]
    lines = [
        f"# Data: {_plain(report.source, None)}",
        "",
        f"{report.rows} rows of {len(report.classes)} classes, {shape} {unit}, {report.dtype}; {test} test rows, and "
        f"{report.rows - test} to train and validate on.",
    ]
    levels = {"error": "Errors: these falsify the answer", "warning": "Warnings", "note": "Notes"}
    for level, title in levels.items():
        issues = [issue for issue in report.issues if issue.level == level]
        if issues:
            listed = (f"- **{issue.kind}**: {_plain(issue.text_with_examples, None)}" for issue in issues)
            lines += ["", f"## {title}", "", *listed]
    if not report.issues:
        lines += ["", "Nothing was found to be wrong."]
    lines += ["", "## Classes", "", _plain(report.split.rule, None), "", *_class_table(report)]
    if report.images:
        lines += ["", *_image_text(report.images)]
    if report.text:
        lines += ["", *_text_text(report.text)]
    if report.columns:
        lines += ["", *_column_text(report.columns)]
    return "\n".join(lines) + "\n"


def _class_table(report: DataReport) -> list[str]:
    parts = [name for name, rows in report.split.rows.items() if rows or name != "unused"]
    lines = (
        [entry.name, entry.rows, _percent(entry.rows / report.rows), *(getattr(entry, part) for part in parts)]
        for entry in report.classes
    )
    return _table(["class", "rows", "share", *parts], lines, len(report.classes))


def _image_text(images: ImagesReport) -> list[str]:
    lines = ([f"{size.height} x {size.width}", size.rows] for size in images.sizes)
    table = _table(["height x width, as they came", "images"], lines, images.different_sizes)
    return ["## Images", "", f"{images.channels} channel{'s' * (images.channels != 1)}.", "", *table]


def _column_text(columns: Sequence[ColumnReport]) -> list[str]:
    lines = (
        [column.name, column.type, missing_text(column), column.different, values_text(column)] for column in columns
    )
    head = ["column", "type", "missing", "different", "values"]
    return ["## Columns", "", *_table(head, lines, len(columns), (0, 1, 4))]


def missing_text(column: ColumnReport) -> str:
    """Return how many values of a column are missing."""
    return f"{column.missing} ({_percent(column.missing_share)})" if column.missing else "0"


def values_text(column: ColumnReport) -> str:
    """Return what is in a column: its range, or its most frequent values."""
    if column.type != "number":
        frequent = ", ".join(f"{_cut(entry.value, 20)} ({entry.rows})" for entry in column.frequent)
        return frequent + ", ..." * (column.different > len(column.frequent))
    if column.least is None or column.greatest is None or column.mean is None:
        return ""
    if column.different < 2:
        return _number(column.least)
    return f"{_number(column.least)} to {_number(column.greatest)}, mean {_number(column.mean)}"


def _number(value: float) -> str:
    """Return four digits of a number, or all of a whole one, as years and counts are."""
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.4g}"


def _text_text(text: TextReport) -> list[str]:
    cut = (
        f"{text.at_limit} rows reach {text.limit} words, where longer ones are cut" if text.at_limit else "None is cut"
    )
    unknown = " and ".join(
        f"{_percent(share)} of the words of {part} rows"
        for part, share in text.unknown_share.items()
        if share is not None
    )
    lines = ([entry.name, " ".join(entry.frequent), " ".join(entry.typical)] for entry in text.classes)
    head = ["class", "most frequent words", "more frequent than in other classes"]
    return [
        "## Text",
        "",
        f"Words in a row: least {text.least}, median {text.median:g}, 95 % up to {text.p95:g}, greatest "
        f"{text.greatest}. {cut}.",
        "",
        f"{text.words} different words." + f" Not among the train rows of seed 0: {unknown}." * bool(unknown),
        "",
        *_table(head, lines, len(text.classes), (0, 1, 2)),
    ]


def _table(head: list[str], lines: Iterable[Sequence[object]], many: int, left: tuple[int, ...] = (0,)) -> list[str]:
    """Return a table of the first lines, and how many more there are of the `many` in all.

    Columns at the places `left` are of text, the others of numbers.
    """
    listed = [f"| {' | '.join(_plain(str(cell)) for cell in line)} |" for line in islice(lines, MAX_LISTED)]
    align = " | ".join("---" if place in left else "---:" for place in range(len(head)))
    more = many - len(listed)
    return [f"| {' | '.join(head)} |", f"| {align} |", *listed, *(["", f"And {more} more."] if more > 0 else [])]


def _plain(text: str, longest: int | None = MAX_CHARACTERS) -> str:
    """Return a text on one line, with nothing in it that Markdown or a terminal would take for a command."""
    line = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    return MARKS.sub(r"\\\g<0>", line if longest is None else _cut(line, longest))


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _percent(share: float) -> str:
    """Return a share in percent; what is not 0 is not shown as 0, and what is not all is not shown as all."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if 0.999 < share < 1 else f"{100 * share:.1f} %"
