"""`sklearn:NAME`: the small real data sets that scikit-learn carries."""

from pathlib import Path

import numpy as np
from sklearn import datasets

from components.data import Data
from components.raw import Column
from components.sources import Rows


def read(name: str, data: Data, folder: Path) -> Rows:
    """Return digits as 8x8 images with pixels 0..16, the others as tables of float columns."""
    bunch = getattr(datasets, f"load_{name}")()
    x = bunch.images[..., np.newaxis] if data.kind == "image" else bunch.data
    columns = () if data.kind == "image" else tuple(Column(name) for name in bunch.feature_names)
    return Rows(x.astype(np.float32), bunch.target, tuple(str(c) for c in bunch.target_names), columns)
