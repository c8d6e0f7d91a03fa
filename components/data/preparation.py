"""Any source -> checked, split, reported, prepared data."""

from pathlib import Path

import numpy as np

from components.data import report
from components.data.prepared import REPORT, STUDY, Prepared
from components.data.slices import slicings
from components.data.sources import Rows, read
from components.data.splitting import TEST, Content, content, split
from components.errors import AssayError
from components.study.study import Study

MAX_CLASSES = 10_000
BLOCK = 4096  # that are looked at at a time


def prepare(study: Study, folder: str | Path) -> Prepared:
    """Read the source, check it, split it, and write it as prepared data, with the report on it in `report`.

    Raises:
        AssayError: for data that no study can be made of, or that would falsify the answer.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows, known, parts = read_checked(study, folder)
    about = report.inspect(study.data, rows, known, parts)
    report.refuse(about)
    prepared = Prepared.write(folder, study.data, rows, known, parts)
    report.write(about, folder / REPORT)
    slicings(prepared, study.slices)  # a column that is not there is said before anything is trained
    return record(study, folder)


def record(study: Study, folder: Path) -> Prepared:
    """Write what is run on prepared data, and open it."""
    (folder / STUDY).write_text(study.model_dump_json(), "utf-8")
    return Prepared(folder)


def read_checked(study: Study, folder: Path) -> tuple[Rows, Content, np.ndarray]:
    """Return the rows, what is known of their content, and each seed's parts, see `components.data.splitting`.

    The folder is for arrays that are larger than memory.

    Raises:
        AssayError: for data that no study can be made of.
    """
    rows = read(study.data, folder)
    check(rows)
    known = content(rows)
    seeds = max(study.seeds, study.retrain.seeds) if study.retrain.enabled else study.seeds
    parts = split(rows, study.data, seeds, known)
    if rows.words:  # text: no row is longer than the longest that is not for the test, which must not decide anything
        longest = max(int(np.count_nonzero(rows.x[parts[0] != TEST], axis=1).max()), 1)
        rows.x = rows.x[:, :longest]
    return rows, known, parts


def check(rows: Rows) -> None:
    """Refuse data that no study can be made of.

    Raises:
        AssayError: for no rows, rows without a label, one class or too many, or a value that is not a finite number.
    """
    if len(rows.y) == 0:
        raise AssayError("the data has no rows")
    if rows.y.min() < 0:
        raise AssayError(f"{np.count_nonzero(rows.y < 0)} rows have no label; a study needs labelled rows")
    counts = np.bincount(rows.y, minlength=len(rows.classes))
    if np.count_nonzero(counts) < 2:
        only = rows.classes[int(counts.argmax())]
        raise AssayError(f"all {len(rows.y)} rows are of class {only!r}; a study needs two classes or more")
    if len(rows.classes) > MAX_CLASSES:
        raise AssayError(
            f"the {len(rows.y)} rows have {len(rows.classes)} classes, such as {rows.classes[0]!r} and "
            f"{rows.classes[1]!r}; expected at most {MAX_CLASSES}: is the target a name or a measurement?"
        )
    if np.issubdtype(rows.x.dtype, np.floating):
        _check_finite(rows)


def _check_finite(rows: Rows) -> None:
    """Refuse infinite values, and in images missing ones."""
    for start in range(0, len(rows.x), BLOCK):
        chunk = np.asarray(rows.x[start : start + BLOCK]).reshape(len(rows.x[start : start + BLOCK]), -1)
        bad = np.isinf(chunk) if rows.columns else ~np.isfinite(chunk)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            where = f"column {rows.columns[column].name!r}" if rows.columns else f"pixel {column}"
            name = rows.names[start + row] if rows.names else f"row {start + row}"
            raise AssayError(
                f"{name}, {where} is {chunk[row, column]}; every value must be a finite number; remove the row, or "
                f"leave the value {'empty' if rows.columns else 'out'}"
            )
