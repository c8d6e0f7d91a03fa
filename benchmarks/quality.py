"""How good the trained models are, and what they cost: real runs on full data, three seeds each.

Run: python benchmarks/quality.py [--case digits ...] [--folder KEEP]

Each seed is a cell of a study's reference arm, trained in a process of its own with all cores. Test rows are scored
once, with the weights of the epoch that counts on the validation rows. The time is processor time of the whole process,
imports and compiling included. Fashion-MNIST is read by tensorflow-datasets, which needs it prepared (see
docs/fashion-mnist.md, TFDS_DATA_DIR). With --folder a run that was stopped continues.
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
from statistics import mean, stdev

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SEEDS = 3
FASHION = {"source": "tfds:fashion_mnist", "test": "test", "validation": 0.05}
# Clothes are photographed upright and in the middle: mirrored they are still clothes, turned they are not.
CLOTHES = {"rotate": 0, "zoom": 0, "shift": 0.07, "horizontal_flip": True}
# Half precision, which recent processors compute two to three times as fast.
COSINE = {
    "batch_size": 128,
    "learning_rate": 0.002,
    "schedule": "cosine",
    "weight_decay": 0.05,
    "early_stopping": False,
    "precision": "bfloat16",
}
CASES = {
    "digits": {"data": {"source": "sklearn:digits"}},
    "iris": {"data": {"source": "sklearn:iris"}},
    "breast_cancer": {"data": {"source": "sklearn:breast_cancer"}, "recipe": {"model": {"name": "logistic"}}},
    "fashion cnn": {
        "data": FASHION,
        "recipe": {
            "augment": CLOTHES,
            "model": {"name": "cnn", "units": [48, 96, 192], "dropout": 0.15},
            "train": {**COSINE, "epochs": 25},
        },
    },
    "fashion resnet": {
        "data": FASHION,
        "recipe": {
            "augment": CLOTHES,
            "model": {"name": "resnet"},
            "train": {**COSINE, "epochs": 22},
        },
    },
}


def train(case: str, seed: int, folder: Path) -> dict[str, float]:
    """Train one seed in this process; returns its accuracies and processor minutes."""
    from components.data import scaling
    from components.data.preparation import prepare
    from components.data.prepared import Prepared
    from components.runtime.cells import Store
    from components.runtime.events import Step
    from components.study.study import Study
    from components.training.trainer import Trainer

    class Printed:
        def epoch(self, epoch: int, values: dict[str, float]) -> None:
            print(case, seed, epoch, {name: round(value, 4) for name, value in values.items()}, file=sys.stderr)

    study = Study.model_validate({"study": case, "arms": {}, "seeds": SEEDS, **CASES[case]})
    if not (folder / "data").exists():
        prepare(study, folder / "unfinished")
        (folder / "unfinished").rename(folder / "data")
    prepared = Prepared(folder / "data")
    scaling.write(study, prepared, folder / "scalers.json")
    store = Store(folder / "store", prepared.schema.fingerprint)
    trainer = Trainer(study, prepared, str(folder / "scalers.json"), store, Step("train"))
    cell = study.cells()[seed]
    cell = store.find(cell.key) or trainer.train(cell, Printed())
    predicted = cell.probabilities("test").argmax(axis=1)
    return {
        "test": float((predicted == prepared.y[prepared.test_rows]).mean()),
        "validation": cell.result.validation["accuracy"],
        "epochs": cell.result.epochs,
        "minutes": time.process_time() / 60,
    }


def main() -> None:
    """Print for each case the test accuracy of the seeds, and what they took."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--case", choices=tuple(CASES), nargs="+", default=list(CASES))
    parser.add_argument("--folder", type=Path, help="keep data and finished cells here")
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.seed is not None:
        print(json.dumps(train(options.case[0], options.seed, options.folder)))
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as temporary:
        for case in options.case:
            folder = (options.folder or Path(temporary)) / case.replace(" ", "-")
            folder.mkdir(parents=True, exist_ok=True)
            report(case, [run(case, seed, folder) for seed in range(SEEDS)])


def run(case: str, seed: int, folder: Path) -> dict[str, float]:
    """Train one seed in a process of its own."""
    command = [sys.executable, __file__, "--case", case, "--seed", str(seed), "--folder", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def report(case: str, seeds: list[dict[str, float]]) -> None:
    """Print what the seeds of one case gave."""
    accuracy = [seed["test"] for seed in seeds]
    minutes = ", ".join(f"{seed['minutes']:.1f}" for seed in seeds)
    epochs = ", ".join(str(seed["epochs"]) for seed in seeds)
    each = ", ".join(f"{value:.4f}" for value in accuracy)
    print(
        f"{case}: test accuracy {mean(accuracy):.4f} (sd {stdev(accuracy):.4f}; {each}); epochs {epochs}; "
        f"processor minutes {minutes}"
    )


if __name__ == "__main__":
    main()
