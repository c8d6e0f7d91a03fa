"""Peak memory of training from images on disk: ten times the data, how much more memory?

Run: python benchmarks/memory.py [--small 400] [--large 4000] [--memory 0.25]

Random 64x64x3 images (uint8) are written as prepared data, so many megabytes of them. The train step's own trainer then
trains one cell for one epoch, in a process of its own whose greatest resident size (VmHWM, Linux) is taken. The disk
needs room for the larger set; it is removed at the end.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SHAPE = (64, 64, 3)
CHUNK = 4096
STUDY = {
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
    from components.data.prepared import Prepared
    from components.data.sources import Rows
    from components.data.splitting import content, split
    from components.study.dataset import DatasetSpec

    rows = megabytes * 10**6 // int(np.prod(SHAPE))
    random = np.random.default_rng(0)
    folder.mkdir()
    # Where `Prepared.write` leaves it: the images of the larger set are more than may be in memory.
    x = np.lib.format.open_memmap(folder / "x.npy", mode="w+", dtype=np.uint8, shape=(rows, *SHAPE))
    for start in range(0, rows, CHUNK):
        chunk = x[start : start + CHUNK]
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

    class Unlogged:
        def epoch(self, epoch: int, values: dict[str, float]) -> None: ...

    study = Study.model_validate({**STUDY, "memory": memory})
    prepared = Prepared(folder)
    scaling.write(study, prepared, folder / "scalers.json")
    store = Store(folder / "store", prepared.schema.fingerprint)
    trainer = Trainer(study, prepared, str(folder / "scalers.json"), store, Step("train"))
    start = time.perf_counter()
    trainer.train(study.cells()[0], Unlogged())
    seconds = time.perf_counter() - start
    # Not ru_maxrss: a child starts with that of its parent, which has just written the images through a memory map.
    status = Path("/proc/self/status").read_text()
    kilobytes = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    return {"megabytes": kilobytes / 1000, "seconds": seconds}


def main() -> None:
    """Print the peak for both sizes, and their ratio."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--small", type=int, default=400, help="megabytes")
    parser.add_argument("--large", type=int, default=4000, help="megabytes")
    parser.add_argument("--memory", type=float, default=0.25, help="the study's budget, GiB")
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(json.dumps(peak(options.peak, options.memory)))
        return
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {options.memory} GiB budget"
    )
    peaks = []
    for megabytes in (options.small, options.large):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "data"
            rows = write(folder, megabytes)
            command = [sys.executable, __file__, "--peak", str(folder), "--memory", str(options.memory)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        peaks.append(found["megabytes"])
        rate = f"{rows / found['seconds']:.0f} images/s in one epoch and scoring"
        print(f"{megabytes:5} MB of images: peak {found['megabytes']:.0f} MB, {rate}")
    print(f"ratio {peaks[1] / peaks[0]:.2f}")


if __name__ == "__main__":
    main()
