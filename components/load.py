"""Step `load`: any source -> checked, split, reported, prepared data; and the study's runs are opened in MLflow."""

import json
from pathlib import Path

import numpy as np

from components import report
from components.errors import AssayError
from components.events import step
from components.prepared import Prepared
from components.sources import Rows, read
from components.split import identical, stratified
from components.study import Study

REPORT = "report"  # folder in that of the prepared data
SPLIT_SEED = 0  # test rows are the same for every seed of a study


def load(study: str, run: str, store: str, data: str, runs: str) -> None:
    """Write the prepared data and the MLflow run numbers.

    Args:
        study: the study as JSON.
        run: this run's unique name; the parent run in MLflow carries it, so that a resumed run finds its own.
        store: folder of the finished cells; made here, so that a folder that can't be written fails first.
        data: folder to write the prepared data to.
        runs: file to write the MLflow run numbers to, as JSON.
    """
    parsed = Study.model_validate_json(study)
    with step("load") as this:
        Path(store).mkdir(parents=True, exist_ok=True)
        with this.span("imports"):
            import sklearn.model_selection  # noqa: F401 (0.9 s, that are not charged to the data)
        with this.span("data"):
            prepared = prepare(parsed, data)
        with this.span("imports"):
            from components import tracking
        with this.span("mlflow"):
            opened = tracking.open_runs(parsed, run, prepared.schema)
            tracking.log_data(opened, prepared.folder / REPORT)
        found = json.loads((prepared.folder / REPORT / "data.json").read_text("utf-8"))
        for line in report.short(found, "MLflow, data/data.md"):
            this.emit("warning", message=line)
        Path(runs).write_text(json.dumps(opened))


def prepare(study: Study, folder: str | Path) -> Prepared:
    """Read the source, check it, split it, and write it as prepared data, with the report on it in `report`.

    Raises:
        AssayError: for data that no study can be made of, or that would falsify the answer.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows, test, groups = read_checked(study, folder)
    found = report.inspect(study.data, rows, test, groups)
    report.refuse(found)
    rest = np.setdiff1d(np.arange(len(rows.y)), test, assume_unique=True)
    validation = np.stack(
        [
            stratified(rest, rows.y[rest], study.data.validation, seed, rows.classes, groups[rest])
            for seed in range(study.seeds)
        ]
    )
    prepared = Prepared.write(
        folder,
        kind=study.data.kind,
        source=study.data.source,
        x=rows.x,
        y=rows.y,
        classes=rows.classes,
        columns=rows.columns,
        test=test,
        validation=validation,
    )
    report.write(found, folder / REPORT)
    return prepared


def read_checked(study: Study, folder: Path) -> tuple[Rows, np.ndarray, np.ndarray]:
    """Return the rows, the test rows' numbers, and for each row the first identical one.

    Args:
        study: the study.
        folder: is there; for arrays that are larger than memory.

    Raises:
        AssayError: for data that no study can be made of.
    """
    rows = read(study.data, folder)
    check(rows)
    groups = identical(rows.x)
    return rows, _test_rows(rows, study.data.test, groups), groups


def check(rows: Rows) -> None:
    """Refuse data that no study can be made of.

    Raises:
        AssayError: for no rows, rows without a label, one class only, or a value that is not a finite number.
    """
    if len(rows.y) == 0:
        raise AssayError("the data has no rows")
    if rows.y.min() < 0:
        raise AssayError(f"{np.count_nonzero(rows.y < 0)} rows have no label; a study needs labelled rows")
    counts = np.bincount(rows.y, minlength=len(rows.classes))
    if np.count_nonzero(counts) < 2:
        only = rows.classes[int(counts.argmax())]
        raise AssayError(f"all {len(rows.y)} rows are of class {only!r}; a study needs two classes or more")
    if not np.issubdtype(rows.x.dtype, np.floating):
        return
    bad = ~np.isfinite(rows.x.reshape(len(rows.x), -1))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        where = f"column {rows.columns[column]!r}" if rows.columns else f"pixel {column}"
        value = rows.x.reshape(len(rows.x), -1)[row, column]
        raise AssayError(
            f"row {row}, {where} is {value}; every value must be a finite number ({np.count_nonzero(bad)} are not); "
            "remove those rows or fill the values"
        )


def _test_rows(rows: Rows, test: float | str, groups: np.ndarray) -> np.ndarray:
    if isinstance(test, str):
        if test not in rows.splits:
            own = ", ".join(rows.splits) or "none"
            raise AssayError(f"data.test: the source has no split {test!r}; its own splits: {own}; or give a fraction")
        return rows.splits[test]
    return stratified(np.arange(len(rows.y)), rows.y, test, SPLIT_SEED, rows.classes, groups)
