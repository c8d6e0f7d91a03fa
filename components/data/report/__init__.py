"""The data report: what there is, and what is wrong with it, told before an hour is spent on training.

What is counted and found is in `parts` (classes and split), `copies`, `columns` and `words`; `page` writes it down.

What a study would be falsified by is an error unless `data.allow` names it:

    duplicates      test rows that are also among the rest, when the source's own split says which rows are test rows.
                    A fraction can't do that: see `components.data.splitting`. By time it is a note: what happens
                    again later is another case.
    label-column    a table column whose values and the classes map one to one: see `components.data.report.columns`.
"""

import json
import warnings
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from components.data.report.classes_and_splits import check_parts, count_classes, describe_split
from components.data.report.columns import describe_columns
from components.data.report.duplicates import count_copies, count_near_copies
from components.data.report.markdown import markdown, with_examples
from components.data.report.texts import describe_texts
from components.data.sources import Finding, Rows
from components.data.splitting import TEST, Content
from components.errors import AssayError
from components.study.dataset import DatasetSpec

SIZES = 10  # image sizes that are listed


def inspect(data: DatasetSpec, rows: Rows, of: Content, parts: np.ndarray) -> dict[str, Any]:
    """Return the report as JSON, without NaN: what can't be said of a column without values is None.

    Args:
        data: the study's data; its `allow` turns errors into warnings.
        rows: what the source gave, at least one.
        of: the rows' content.
        parts: what each seed does with each row, uint8 (seeds, rows), see `components.data.splitting`.
    """
    is_test = parts[0] == TEST
    classes = count_classes(rows, parts[0])
    copies, findings = count_copies(rows, is_test, of.first)
    findings = [*rows.findings, *findings, *check_parts(data, rows, parts, classes)]
    report: dict[str, Any] = {
        "source": data.source,
        "kind": data.kind,
        "rows": len(rows.y),
        "shape": list(rows.x.shape[1:]),
        "dtype": str(rows.x.dtype),
        "classes": classes,
        "split": describe_split(data, rows, parts),
        "own_splits": {name: len(of) for name, of in rows.splits.items()},
        "duplicates": copies,
    }
    more: list[Finding] = []
    if data.kind == "image":
        report["images"] = _images(rows)
        report["near_duplicates"], more = count_near_copies(rows, is_test, of.first)
    elif data.kind == "text":
        report["text"] = describe_texts(data, rows, parts[0])
    else:
        report["columns"], more = describe_columns(data, rows)
    allowed = [
        replace(f, level="warning", text=f"{f.text} (allowed)") if f.level == "error" and f.name in data.allow else f
        for f in (*findings, *more)
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
        texts = "; ".join(with_examples(finding) for finding in errors)
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
    from components.data.report.figure import data_figure

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.json").write_text(json.dumps(report, indent=1, allow_nan=False), "utf-8")
    (folder / "data.md").write_text(markdown(report), "utf-8")
    with warnings.catch_warnings():
        # Matplotlib's font has no Chinese, and draws boxes instead; the names are in the text.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        data_figure(report).savefig(folder / "data.png", dpi=150)


def _images(rows: Rows) -> dict[str, Any]:
    height, width, channels = rows.x.shape[1:]
    sizes = Counter({(height, width): len(rows.y)})
    if rows.sizes is not None:
        sizes = Counter((int(h), int(w)) for h, w in rows.sizes)
    listed = [{"height": h, "width": w, "rows": count} for (h, w), count in sizes.most_common(SIZES)]
    return {"channels": channels, "sizes": listed, "different_sizes": len(sizes)}
