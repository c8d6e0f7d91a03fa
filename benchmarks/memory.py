"""Peak memory of training from images on disk: of 4 GB of images against that of 400 MB.
One round takes about 2 min on 2 cores, and 4 GB of disk.

Random 64x64x3 images (uint8) are written as prepared data, so many megabytes of them. The train step's own trainer then
trains one cell for one epoch, in a process of its own whose greatest resident size (VmHWM, Linux) is taken. The disk
needs room for the larger set; it is removed at the end.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from _common import answer, launch, parser, spread, start

SHAPE = (64, 64, 3)
CHUNK = 4096
STUDY: dict[str, Any] = {
    "study": "memory",
    "data": {"source": "tfds:random"},
    "recipe": {
        "augment": "none",
        "model": {"name": "mlp", "units": [16], "dropout": 0.0},
        "train": {"epochs": 1, "batch_size": 256, "early_stopping": False},
    },
    "arms": {},
    "seeds": 1,
}


def write(folder: Path, megabytes: int) -> int:
    """Write prepared data of about this size, chunk by chunk; returns the number of rows."""
    import numpy as np

    from components.data.prepared import Prepared
    from components.data.sources import Rows
    from components.data.splitting import content, split
    from components.study.dataset import DatasetSpec

    rows = megabytes * 10**6 // int(np.prod(SHAPE))
    random = np.random.default_rng(0)
    folder.mkdir()
    # Where `Prepared.write` leaves it: the images of the larger set are more than may be in memory.
    x = np.lib.format.open_memmap(folder / "x.npy", mode="w+", dtype=np.uint8, shape=(rows, *SHAPE))
    for first in range(0, rows, CHUNK):
        chunk = x[first : first + CHUNK]
        chunk[...] = random.integers(0, 256, chunk.shape, np.uint8)
    x.flush()
    given = Rows(x, random.integers(0, 10, rows), tuple("0123456789"))
    data = DatasetSpec.model_validate({**STUDY["data"], "test": 0.01, "validation": 0.01})
    of = content(given)
    Prepared.write(folder, data, given, of, split(given, data, 1, of))
    return rows


def peak(folder: Path, memory: float) -> dict[str, float]:
    """Train one cell in this process; returns its greatest resident size, and the seconds."""
    from components.data import scaling
    from components.data.prepared import Prepared
    from components.runtime.cells import Store
    from components.runtime.events import Step
    from components.study.study import Study
    from components.training.trainer import Trainer

    study = Study.model_validate({**STUDY, "memory": memory})
    prepared = Prepared(folder)
    scaling.write(study, prepared, folder / "scalers.json")
    with tempfile.TemporaryDirectory(dir=folder) as store:
        cells = Store(store, prepared.schema.fingerprint)
        trainer = Trainer(study, prepared, str(folder / "scalers.json"), cells, Step("train"))
        begin = time.perf_counter()
        trainer.train(study.cells()[:1])
        seconds = time.perf_counter() - begin
    # Not ru_maxrss: a child starts with that of its parent, which has just written the images through a memory map.
    status = Path("/proc/self/status").read_text()
    kilobytes = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    return {"megabytes": kilobytes / 1000, "seconds": seconds}


def main() -> None:
    """Print the peak for both sizes, and their ratio."""
    made = parser(__doc__, rounds=1)
    made.add_argument("--megabytes", type=int, nargs=2, default=(400, 4000), help="of both sets (400 4000 by default)")
    made.add_argument("--memory", type=float, default=0.25, help="the study's budget in GiB (0.25 by default)")
    made.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.peak:
        print(json.dumps(peak(options.peak, options.memory)))
        return
    start(options, f"{options.memory} GiB budget")
    peaks = []
    for megabytes in (25, 100) if options.small else options.megabytes:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "data"
            rows = write(folder, megabytes)
            command = (__file__, "--peak", folder, "--memory", options.memory)
            found = [answer(launch(*command)) for _ in range(options.rounds)]
        peaks.append([of["megabytes"] for of in found])
        speed = spread([rows / of["seconds"] for of in found], ",.0f")
        print(
            f"{megabytes:5} MB of images: peak {spread(peaks[-1], '.0f')} MB, {speed} images/s in an epoch and scoring"
        )
    print(f"ratio {spread([large / small for small, large in zip(*peaks, strict=True)], '.2f')}")


if __name__ == "__main__":
    main()
