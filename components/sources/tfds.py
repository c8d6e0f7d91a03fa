"""`tfds:NAME[/CONFIG][:VERSION]`: a data set that tensorflow-datasets has prepared on this machine.

Nothing is downloaded here. Without a network a download retries for minutes (measured: 200 s) before it fails, so
preparing a data set stays a step of its own: `tfds build NAME`.
"""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from components.data import Data
from components.errors import AssayError
from components.raw import Column
from components.recipe import Kind
from components.sources import Rows

RANKS: dict[Kind, int] = {"image": 3, "table": 1}  # dimensions of one row


def read(name: str, data: Data, folder: Path) -> Rows:
    """Return all labelled splits, joined, with each split's row numbers.

    Raises:
        AssayError: for a data set that is unknown, not prepared, without labels, or of another kind than `data.kind`.
    """
    kind = data.kind
    builder = _builder(name)
    features, label = _supervised(name, builder)
    shape = builder.info.features[features].shape
    if len(shape) != RANKS[kind]:
        fits = next((k for k, rank in RANKS.items() if rank == len(shape)), None)
        mend = f"add `kind: {fits}` to `data`" if fits else "images and tables are supported"
        raise AssayError(f"tfds:{name} has rows of shape {shape}, which is no {kind}; {mend}")
    parts = {split: _arrays(builder, split, features, label) for split in builder.info.splits}
    splits, start = {}, 0
    for split, (_, y) in parts.items():
        splits[split] = np.arange(start, start + len(y))
        start += len(y)
    x, y = (np.concatenate(arrays) for arrays in zip(*parts.values(), strict=True))
    columns = tuple(Column(f"{features}_{i}") for i in range(x.shape[1])) if kind == "table" else ()
    return Rows(x, y, tuple(builder.info.features[label].names), columns, splits)


def _builder(name: str) -> tfds.core.DatasetBuilder:
    try:
        builder = tfds.builder(name)
    except tfds.core.DatasetNotFoundError:
        raise AssayError(f"tensorflow-datasets knows no data set {name!r}; `tfds list` shows what there is") from None
    except (ValueError, AssertionError) as error:
        raise AssayError(f"tfds:{name} is not possible: {str(error).splitlines()[0]}") from None
    if not builder.is_prepared():
        raise AssayError(
            f"tfds:{name} is not prepared on this machine (looked in {builder.data_dir}); run `tfds build {name}` "
            "where there is a network, then copy that folder here, or set TFDS_DATA_DIR to where it is"
        )
    return builder


def _supervised(name: str, builder: tfds.core.DatasetBuilder) -> tuple[str, str]:
    keys = builder.info.supervised_keys
    if not keys or not isinstance(builder.info.features[keys[1]], tfds.features.ClassLabel):
        raise AssayError(f"tfds:{name} says of no feature that it is the class label; choose a classification data set")
    return keys[0], keys[1]


def _arrays(builder: tfds.core.DatasetBuilder, split: str, features: str, label: str) -> tuple[np.ndarray, np.ndarray]:
    fixed = None not in builder.info.features[features].shape
    if not fixed:  # as_dataset would fill up smaller images with zeros, silently
        sizes = {row[features].shape for row in tfds.as_numpy(builder.as_dataset(split=split))}
        if len(sizes) > 1:
            raise AssayError(f"the images of split {split!r} differ in size; Assay needs one size")
    rows = list(tfds.as_numpy(builder.as_dataset(split=split, batch_size=1024)))
    try:
        return np.concatenate([r[features] for r in rows]), np.concatenate([r[label] for r in rows])
    except ValueError:
        raise AssayError(f"the images of split {split!r} differ in size; Assay needs one size") from None
