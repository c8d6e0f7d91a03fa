"""Studies of a few words, and prepared data out of rows made by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from components.data.prepared import Prepared
from components.data.sources import Rows
from components.data.splitting import content, split
from components.study.dataset import DatasetSpec
from components.study.recipe import merge
from components.study.study import Study


def study_of(source: str = "sklearn:digits", **changes: Any) -> Study:
    """Return a study with the changes laid over: `study_of(seeds=2, recipe={...})`."""
    return Study.model_validate(merge({"study": "tiny", "data": {"source": source}}, changes))


def prepare_rows(rows: Rows, folder: Path, source: str, seeds: int = 3, **data: Any) -> Prepared:
    """Split the rows and write them as prepared data, as the step `load` does with those of a source."""
    settings = DatasetSpec.model_validate({"source": source, **data})
    of = content(rows)
    return Prepared.write(folder, settings, rows, of, split(rows, settings, seeds, of))


def rewritten(prepared: Prepared, folder: Path, **changes: Any) -> Prepared:
    """Write prepared data again, split as it was, with other `x`, `y` or `classes`."""
    schema = prepared.schema
    values = {"x": np.array(prepared.x), "y": np.array(prepared.y), "classes": schema.classes}
    rows = Rows(**{**values, "columns": schema.columns, **changes})
    settings = DatasetSpec.model_validate({"source": schema.source})
    of = replace(content(rows), order=np.load(prepared.folder / "order.npy"))
    return Prepared.write(folder, settings, rows, of, np.load(prepared.folder / "parts.npy"))
