"""Test accuracy of real runs on full data, against the processor time that they take; each round is a seed of its own.
One round takes about 1 min on 2 cores, and half an hour with Fashion-MNIST.

Each seed is a cell of a study's reference arm, trained in a process of its own with all cores. Test rows are scored
once, with the weights of the epoch that counts on the validation rows. The time is processor time of the whole process,
imports and compiling included. Fashion-MNIST is read by tensorflow-datasets, which needs it prepared (see
docs/fashion-mnist.md, TFDS_DATA_DIR). With --folder a run that was stopped continues.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _common import Files, answer, average, chosen, launch, parser, start

TFDS = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser() / "fashion_mnist"
PREPARED = Files(TFDS, "prepare it as docs/fashion-mnist.md says (apt install dataset-fashion-mnist)")
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
CASES: dict[str, dict[str, Any]] = {
    "iris": {"data": {"source": "sklearn:iris"}},
    "digits": {"data": {"source": "sklearn:digits"}},
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


def train(case: str, seed: int, seeds: int, small: bool, folder: Path) -> dict[str, float]:
    """Train one of so many seeds in this process; returns its accuracies and processor minutes."""
    from components.data import scaling
    from components.data.preparation import prepare
    from components.data.prepared import Prepared
    from components.runtime.cells import Store
    from components.runtime.events import Step
    from components.study.recipe import merge
    from components.study.study import Study
    from components.training.trainer import Trainer

    def tell(epoch: int, values: dict[str, float]) -> None:
        print(case, seed, epoch, {name: round(value, 4) for name, value in values.items()}, file=sys.stderr)

    epochs = {"recipe": {"train": {"epochs": 1}}} if small else {}
    study = Study.model_validate(merge({"study": case, "arms": {}, "seeds": seeds, **CASES[case]}, epochs))
    data = folder / f"data-{seeds}"  # more seeds are prepared anew; finished cells are found all the same
    if not data.exists():
        prepare(study, folder / "unfinished")
        (folder / "unfinished").rename(data)
    prepared = Prepared(data)
    scaling.write(study, prepared, folder / "scalers.json")
    store = Store(folder / "store", prepared.schema.fingerprint)
    trainer = Trainer(study, prepared, str(folder / "scalers.json"), store, Step("train"))
    cell = study.cells()[seed]
    finished = store.find(cell.key) or trainer.train([cell], [tell])[0]
    predicted = finished.probabilities("test").argmax(axis=1)
    return {
        "test": float((predicted == prepared.y[prepared.test_rows]).mean()),
        "validation": finished.result.validation["accuracy"],
        "epochs": finished.result.epochs,
        "minutes": time.process_time() / 60,
    }


def main() -> None:
    """Print for each case the test accuracy of the seeds, and what they took."""
    made = parser(__doc__, rounds=3, cases=CASES)
    made.add_argument("--folder", type=Path, help="keep data and finished cells here; a run that was stopped continues")
    made.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.seed is not None:
        (case,) = options.case
        print(json.dumps(train(case, options.seed, options.rounds, options.small, options.folder)))
        return
    start(options)
    with tempfile.TemporaryDirectory() as temporary:
        for case in chosen(options, {case: PREPARED if of["data"] is FASHION else None for case, of in CASES.items()}):
            folder = (options.folder or Path(temporary)) / case.replace(" ", "-")
            folder.mkdir(parents=True, exist_ok=True)
            told = ["--case", case, "--rounds", options.rounds, "--folder", folder, *["--small"] * options.small]
            seeds = range(options.rounds)
            report(case, [answer(launch(__file__, *told, "--seed", seed, stderr=None)) for seed in seeds])


def report(case: str, seeds: list[dict[str, float]]) -> None:
    """Print what the seeds of one case gave."""
    each = ", ".join(f"{seed['test']:.4f}" for seed in seeds)
    minutes = ", ".join(f"{seed['minutes']:.1f}" for seed in seeds)
    epochs = ", ".join(str(seed["epochs"]) for seed in seeds)
    print(
        f"{case}: test accuracy {average([seed['test'] for seed in seeds])}, each {each}; epochs {epochs}; "
        f"processor minutes {minutes}"
    )


if __name__ == "__main__":
    main()
