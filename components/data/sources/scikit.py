"""`sklearn:NAME`: the small real data sets that scikit-learn carries."""

from pathlib import Path

import numpy as np
from sklearn import datasets

from components.data.raw_values import Column
from components.data.sources import Rows
from components.study.dataset import DatasetSpec


def read(name: str, data: DatasetSpec, folder: Path) -> Rows:
    """Return digits as 8x8 images with pixels 0..16, the others as float64 tables, as files are."""
    bunch = getattr(datasets, f"load_{name}")()
    # A tree tells 13.2 from what float32 makes of it, and the served model is given 13.2.
    x = bunch.images[..., np.newaxis].astype(np.float32) if data.kind == "image" else bunch.data.astype(np.float64)
    columns = () if data.kind == "image" else tuple(Column(name) for name in bunch.feature_names)
    return Rows(x, bunch.target, tuple(str(c) for c in bunch.target_names), columns)
