"""Seconds per cell: Assay's engine against a plain script with a fresh model and `model.fit` for every cell.

Run: python benchmarks/cells.py [--rounds 3]

All sides train the same cells: the same rows, network, optimizer, epochs and batch size, early stopping with a patience
that never ends a run. They run in turn, so that a slow minute of the machine hits all. Imports are not counted;
building and tracing are. The augmentation of the plain script is Keras' own layers in front of the network.

    plain       one process, TensorFlow's own choice of threads (all cores)
    engine      one process, one thread: what a train step of Assay does with data this small
    two steps   two such processes side by side, an arm each: what `assay run` does on two cores
"""

import argparse
import importlib.resources
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SEEDS = 5  # as many as a study has by default
FORTUNES = Path("/usr/share/games/fortunes")  # of Debian's package of that name
TOPICS = ("people", "science")


@dataclass(frozen=True)
class Case:
    """What is trained: data and recipe as in a study, and two arms of leave-one-out."""

    source: str
    epochs: int
    arms: tuple[str, str]
    data: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)


CASES = {
    "digits": Case("sklearn:digits", 30, ("reference", "no augmentation")),
    "iris": Case("sklearn:iris", 60, ("reference", "no batch normalization")),
    "penguins": Case("table:penguins.csv", 60, ("reference", "no batch normalization"), {"target": "species"}),
    "fortunes": Case(
        "text:fortunes.jsonl",
        3,
        ("reference", "no dropout"),
        {"target": "topic", "words": 100},
        {"augment": "none", "model": {"name": "bilstm"}},
    ),
}


def write_data(folder: Path) -> None:
    """Write the files that the cases name: the Palmer penguins, and short texts on two topics."""
    penguins = importlib.resources.files("palmerpenguins") / "data" / "penguins.csv"
    (folder / "penguins.csv").write_bytes(penguins.read_bytes())
    with (folder / "fortunes.jsonl").open("w") as file:
        for topic in TOPICS:
            for text in filter(str.strip, (FORTUNES / topic).read_text("utf-8").split("\n%\n")):
                file.write(json.dumps({"text": text, "topic": topic}) + "\n")


def cells(case: str, arms: list[str], folder: str):
    """Yield arm, seed, encoded rows, encoded test rows, encoder and schema of each cell of some arms of a case."""
    from components.data.preparation import prepare
    from components.data.scaling import fit
    from components.study.study import Study
    from components.training.engine import Split

    described = CASES[case]
    train = {"epochs": described.epochs, "early_stopping": {"patience": 1000}}
    study = Study.model_validate(
        {
            "study": case,
            "data": {"source": described.source, **described.data},
            "recipe": {**described.recipe, "train": train},
            "seeds": SEEDS,
        }
    )
    os.chdir(folder)
    write_data(Path(folder))
    prepared = prepare(study, Path(folder) / "prepared")
    x, y = prepared.x, prepared.y
    for arm in study.expand():
        if arm.name in arms:
            for seed in range(SEEDS):
                train, validation = prepared.split(seed)
                encoder = fit(prepared, seed, {"": arm.recipe})[""]
                split = Split(encoder(x[train]), y[train], encoder(x[validation]), y[validation])
                test = encoder(x[prepared.test_rows]), y[prepared.test_rows]
                yield arm, seed, split, test, encoder, prepared.schema


def engine(case: str, arms: list[str], folder: str) -> list[dict]:
    """Train the cells with the engine: one program an arm, reset for every seed."""
    from components.runtime import devices
    from components.study.recipe import Train, program_key

    devices.set_up(Train(), threads=1)
    from components.training.backends.tensorflow_program import Program

    results, programs = [], {}
    for arm, seed, split, (test_x, test_y), encoder, schema in cells(case, arms, folder):
        start = time.perf_counter()
        key = program_key(arm.recipe)
        if key not in programs:
            programs[key] = Program(arm.recipe, schema.inputs, len(schema.classes), len(split.y))
        fit = programs[key].fit(split, arm.recipe.train, seed, encoder.spread)
        seconds = time.perf_counter() - start
        accuracy = float((programs[key].probabilities(test_x).argmax(axis=1) == test_y).mean())
        results.append({"seconds": seconds, "accuracy": accuracy, "epochs": len(fit.curves["loss"])})
    return results


def plain(case: str, arms: list[str], folder: str) -> list[dict]:
    """Train the cells as a plain script does."""
    import keras

    from components.training import models

    results = []
    for arm, seed, split, (test_x, test_y), _, schema in cells(case, arms, folder):
        start = time.perf_counter()
        recipe = arm.recipe
        steps = -(-len(split.y) // recipe.train.batch_size)
        model = models.build(recipe.model, schema.inputs, len(schema.classes), steps, seed)
        if recipe.augment.has("warp"):
            inputs = keras.Input(schema.shape)
            x = keras.layers.RandomRotation(recipe.augment.rotate / 360, fill_mode="nearest", seed=seed)(inputs)
            shift, zoom = recipe.augment.shift, recipe.augment.zoom
            x = keras.layers.RandomTranslation(shift, shift, fill_mode="nearest", seed=seed)(x)
            x = keras.layers.RandomZoom(zoom, fill_mode="nearest", seed=seed)(x)
            model = keras.Model(inputs, model(x))
        model.compile(
            optimizer=keras.optimizers.Adam(recipe.train.learning_rate),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        stop = keras.callbacks.EarlyStopping(patience=1000, min_delta=1e-4, restore_best_weights=True)
        history = model.fit(
            split.x,
            split.y,
            batch_size=recipe.train.batch_size,
            epochs=recipe.train.epochs,
            validation_data=(split.val_x, split.val_y),
            callbacks=[stop],
            verbose=0,
        )
        stop.model.set_weights(stop.best_weights)
        seconds = time.perf_counter() - start
        accuracy = float((model.predict(test_x, verbose=0).argmax(axis=1) == test_y).mean())
        results.append({"seconds": seconds, "accuracy": accuracy, "epochs": len(history.history["loss"])})
    return results


def start(side: str, case: str, arms: tuple[str, ...]) -> subprocess.Popen[str]:
    """Start one side for some arms of a case in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--case", case, "--arms", *arms]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def finish(process: subprocess.Popen[str]) -> list[dict]:
    """Return the cells that a process trained."""
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args} failed with {process.returncode}")
    return json.loads(str(out).splitlines()[-1])


def measure(case: str) -> dict[str, tuple[float, list[dict]]]:
    """Return for each side the seconds a cell, by the clock on the wall, and its cells."""
    arms = CASES[case].arms
    measured = {}
    for side in ("engine", "plain"):
        trained = finish(start(side, case, arms))
        measured[side] = sum(cell["seconds"] for cell in trained) / len(trained), trained
    steps = [finish(process) for process in [start("engine", case, (arm,)) for arm in arms]]
    longest = max(sum(cell["seconds"] for cell in step) for step in steps)
    both = [cell for step in steps for cell in step]
    measured["two steps"] = longest / len(both), both
    return measured


def main() -> None:
    """Print for each case the seconds a cell on each side, the ratios by round, and the accuracies."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=("engine", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=tuple(CASES), help="only this one")
    parser.add_argument("--arms", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        with tempfile.TemporaryDirectory() as folder:
            train = {"engine": engine, "plain": plain}[options.side]
            print(json.dumps(train(options.case, options.arms, folder)))
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {options.rounds} rounds")
    for case in [options.case] if options.case else CASES:
        report(case, [measure(case) for _ in range(options.rounds)])


def report(case: str, rounds: list[dict[str, tuple[float, list[dict]]]]) -> None:
    """Print what the rounds of one case gave."""
    print(f"{case}: {len(CASES[case].arms)} arms x {SEEDS} seeds x {CASES[case].epochs} epochs")
    for side in ("plain", "engine", "two steps"):
        seconds = [sides[side][0] for sides in rounds]
        ratios = [sides["plain"][0] / sides[side][0] for sides in rounds]
        trained = [cell for sides in rounds for cell in sides[side][1]]
        accuracy = [cell["accuracy"] for cell in trained]
        epochs = sorted({cell["epochs"] for cell in trained})
        print(
            f"  {side:9}  {median(seconds):5.2f} s a cell ({min(seconds):.2f} to {max(seconds):.2f}); plain / {side} "
            f"{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}); epochs {epochs}; "
            f"test accuracy {mean(accuracy):.4f} (sd {stdev(accuracy):.4f})"
        )


if __name__ == "__main__":
    main()
