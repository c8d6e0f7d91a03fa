"""The data report: what there is, and what is wrong with it, told before an hour is spent on training.

What is counted and found is in `classes_and_splits`, `duplicates`, `columns` and `texts`; `data_report` is its form.

What a study would be falsified by is an error unless `data.allow` names it:

    duplicates      test rows that are also among the rest, when the source's own split says which rows are test rows.
                    A fraction can't do that: see `components.data.splitting`. By time it is a note: what happens
                    again later is another case.
    label-column    a table column whose values and the classes map one to one: see `components.data.report.columns`.
"""

import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from components.data.issues import DataIssue, Level
from components.data.report import classes_and_splits, columns, duplicates, texts
from components.data.report.data_report import DataReport, ImageSize, ImagesReport
from components.data.report.markdown import markdown
from components.data.sources import Rows
from components.data.splitting import TEST, Content
from components.errors import AssayError
from components.records import from_json, to_json
from components.study.dataset import DatasetSpec

FILE = "data.json"
MAX_SIZES = 10  # image sizes that are listed


def inspect(data: DatasetSpec, rows: Rows, content: Content, parts: np.ndarray) -> DataReport:
    """Return the report, without NaN: what can't be said of a column without values is None.

    `data.allow` turns errors into warnings; the parts are those of `components.data.splitting.split`.
    """
    is_test = parts[0] == TEST
    classes = classes_and_splits.count_classes(rows, parts[0])
    copies, issues = duplicates.count_copies(rows, is_test, content.first)
    issues = [*rows.issues, *issues, *classes_and_splits.check_parts(data, rows, parts, classes)]
    of_kind: dict[str, Any] = {}
    more: list[DataIssue] = []
    if data.kind == "image":
        near, more = duplicates.count_near_copies(rows, is_test, content.first)
        of_kind = {"images": _images(rows), "near_duplicates": near}
    elif data.kind == "text":
        of_kind["text"] = texts.describe_texts(data, rows, parts[0])
    else:
        of_kind["columns"], more = columns.describe_columns(data, rows)
    # Errors that are allowed are warnings; the gravest come first.
    issues = [
        replace(issue, level="warning", allowed=True) if issue.level == "error" and issue.kind in data.allow else issue
        for issue in [*issues, *more]
    ]
    return DataReport(
        source=data.source,
        kind=data.kind,
        rows=len(rows.y),
        shape=tuple(rows.x.shape[1:]),
        dtype=str(rows.x.dtype),
        classes=classes,
        split=classes_and_splits.describe_split(data, rows, parts),
        own_splits={name: len(numbers) for name, numbers in rows.splits.items()},
        duplicates=copies,
        issues=tuple(sorted(issues, key=lambda issue: get_args(Level).index(issue.level))),
        **of_kind,
    )


def refuse(report: DataReport) -> None:
    """Stop where the data would falsify the answer.

    Raises:
        AssayError: with all errors of the report.
    """
    errors = [issue for issue in report.issues if issue.level == "error"]
    if errors:
        found = "; ".join(issue.text_with_examples for issue in errors)
        kinds = ", ".join(dict.fromkeys(issue.kind for issue in errors))
        raise AssayError(f"{found}; to go on all the same: data.allow: [{kinds}]")


def short(report: DataReport, where: str) -> list[str]:
    """Return the warnings in at most two lines; `where` says where the others are."""
    found = [issue.text for issue in report.issues if issue.level == "warning"]
    if len(found) > 2:
        found = [found[0], f"{found[1]}; {len(found) - 2} more in {where}"]
    return found


def write(report: DataReport, folder: Path) -> None:
    """Write data.md, data.json and data.png into the folder."""
    from components.data.report.figure import data_figure

    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(to_json(report), "utf-8")
    (folder / "data.md").write_text(markdown(report), "utf-8")
    with warnings.catch_warnings():
        # Matplotlib's font has no Chinese, and draws boxes instead; the names are in the text.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        data_figure(report).savefig(folder / "data.png", dpi=150)


def read(folder: Path) -> DataReport:
    """Return the report that `write` wrote."""
    return from_json(DataReport, (folder / FILE).read_text("utf-8"), str(folder / FILE))


def _images(rows: Rows) -> ImagesReport:
    height, width, channels = rows.x.shape[1:]
    sizes = Counter({(height, width): len(rows.y)})
    if rows.sizes is not None:
        sizes = Counter((int(h), int(w)) for h, w in rows.sizes)
    listed = tuple(ImageSize(h, w, count) for (h, w), count in sizes.most_common(MAX_SIZES))
    return ImagesReport(channels, listed, len(sizes))
