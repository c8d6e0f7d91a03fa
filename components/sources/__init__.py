"""Where labelled rows come from: one module a kind of source, all with the same `read`.

A source module has one function, `read(name, kind) -> Rows`. Adding a source is that module and a line in `SOURCES`.
"""

import importlib
from dataclasses import dataclass, field

import numpy as np

from components.study import Data


@dataclass
class Rows:
    """Labelled rows as a source gives them.

    Attributes:
        x: images (rows, height, width, channels), or tables (rows, columns); any numeric dtype.
        y: class numbers (rows,), integers that index `classes`.
        classes: the classes' names.
        columns: the table's column names; empty for images.
        splits: the source's own splits, as row numbers by name; empty where it has none.
    """

    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...]
    columns: tuple[str, ...] = ()
    splits: dict[str, np.ndarray] = field(default_factory=dict)


SOURCES = {"sklearn": "components.sources.scikit", "tfds": "components.sources.tfds"}


def read(data: Data) -> Rows:
    """Return the rows of the study's source.

    Raises:
        AssayError: where the data can't be had, or is not of the kind that the study says.
    """
    scheme, _, name = data.source.partition(":")
    return importlib.import_module(SOURCES[scheme]).read(name, data.kind)
