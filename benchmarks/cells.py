"""Seconds per cell: Assay's engine against a plain script with a fresh model and `model.fit` for every cell.
One round takes about 8 min on 2 cores.

All sides train the same cells: the same rows, network, optimizer, epochs and batch size, early stopping with a patience
that never ends a run. They run in turn, so that a slow minute of the machine hits all. Imports are not counted;
building and tracing are. The augmentation of the plain script is Keras' own layers in front of the network.

    plain       one process, TensorFlow's own choice of threads (all cores)
    engine      one process, one thread: what a train step of Assay does with data this small
    two steps   two such processes side by side, an arm each: what `assay run` does on two cores
"""

import argparse
import contextlib
import importlib.resources
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _common import FORTUNES, Files, answer, average, chosen, launch, parser, spread, start

SEEDS = 5  # as many as a study has by default
SMALL = 1, 1  # seeds and epochs, with --small


@dataclass(frozen=True)
class Case:
    """What is trained: data and recipe as in a study, and two arms of leave-one-out.

    Attributes:
        write: writes the file that the source names into the working folder.
        needs: what it is written from, where no package of Python's has that.
    """

    source: str
    epochs: int
    arms: tuple[str, str]
    data: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    write: Callable[[], object] = lambda: None
    needs: Files | None = None


def penguins() -> None:
    """Write the Palmer penguins."""
    found = importlib.resources.files("palmerpenguins") / "data" / "penguins.csv"
    Path("penguins.csv").write_bytes(found.read_bytes())


def fortunes() -> None:
    """Write short texts on two topics."""
    with Path("fortunes.jsonl").open("w") as file:
        for topic in ("people", "science"):
            for text in filter(str.strip, FORTUNES.at.with_name(topic).read_text("utf-8").split("\n%\n")):
                file.write(json.dumps({"text": text, "topic": topic}) + "\n")


CASES = {
    "iris": Case("sklearn:iris", 60, ("reference", "no batch normalization")),
    "digits": Case("sklearn:digits", 30, ("reference", "no augmentation")),
    "penguins": Case(
        "table:penguins.csv", 60, ("reference", "no batch normalization"), {"target": "species"}, write=penguins
    ),
    "fortunes": Case(
        "text:fortunes.jsonl",
        3,
        ("reference", "no dropout"),
        {"target": "topic", "words": 100},
        {"augment": "none", "model": {"name": "bilstm"}},
        fortunes,
        FORTUNES,
    ),
}


def sizes(options: argparse.Namespace, case: str) -> tuple[int, int]:
    """Return seeds and epochs."""
    return SMALL if options.small else (SEEDS, CASES[case].epochs)


def cells(options: argparse.Namespace) -> Iterator[tuple[Any, ...]]:
    """Yield arm, seed, encoded rows, encoded test rows, encoder and schema of each cell of some arms of a case."""
    from components.data.preparation import prepare
    from components.data.scaling import fit
    from components.study.study import Study
    from components.training.engine import Split

    (case,) = options.case
    described = CASES[case]
    seeds, epochs = sizes(options, case)
    train = {"epochs": epochs, "early_stopping": {"patience": 1000}}
    study = Study.model_validate(
        {
            "study": case,
            "data": {"source": described.source, **described.data},
            "recipe": {**described.recipe, "train": train},
            "seeds": seeds,
        }
    )
    described.write()
    prepared = prepare(study, "prepared")
    x, y = prepared.x, prepared.y
    for arm in study.expand():
        if arm.name in options.arms:
            for seed in range(seeds):
                train, validation = prepared.split(seed)
                encoder = fit(prepared, seed, {"": arm.recipe})[""]
                split = Split(encoder(x[train]), y[train], encoder(x[validation]), y[validation])
                test = encoder(x[prepared.test_rows]), y[prepared.test_rows]
                yield arm, seed, split, test, encoder, prepared.schema


def engine(options: argparse.Namespace) -> list[dict]:
    """Train the cells with the engine: one program an arm, reset for every seed."""
    from components.runtime import devices
    from components.study.recipe import Train, program_key

    devices.set_up(Train(), threads=1)
    from components.training.backends.tensorflow_program import Program

    results, programs = [], {}
    for arm, seed, split, (test_x, test_y), encoder, schema in cells(options):
        begin = time.perf_counter()
        key = program_key(arm.recipe)
        if key not in programs:
            programs[key] = Program(arm.recipe, schema.inputs, len(schema.classes), len(split.y))
        fit = programs[key].fit(split, arm.recipe.train, seed, encoder.spread)
        seconds = time.perf_counter() - begin
        accuracy = float((programs[key].probabilities(test_x).argmax(axis=1) == test_y).mean())
        results.append({"seconds": seconds, "accuracy": accuracy, "epochs": len(fit.curves["loss"])})
    return results


def plain(options: argparse.Namespace) -> list[dict]:
    """Train the cells as a plain script does."""
    import keras

    from components.training import models

    results = []
    for arm, seed, split, (test_x, test_y), _, schema in cells(options):
        begin = time.perf_counter()
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
        seconds = time.perf_counter() - begin
        accuracy = float((model.predict(test_x, verbose=0).argmax(axis=1) == test_y).mean())
        results.append({"seconds": seconds, "accuracy": accuracy, "epochs": len(history.history["loss"])})
    return results


def measure(case: str, small: bool) -> dict[str, tuple[float, list[dict]]]:
    """Return for each side the seconds a cell, by the clock on the wall, and its cells."""

    def side(name: str, *arms: str) -> subprocess.Popen[str]:
        return launch(__file__, "--side", name, "--case", case, *["--small"] * small, "--arms", *arms)

    arms, measured = CASES[case].arms, {}
    for name in ("plain", "engine"):
        trained = answer(side(name, *arms))
        measured[name] = sum(cell["seconds"] for cell in trained) / len(trained), trained
    steps = [answer(process) for process in [side("engine", arm) for arm in arms]]
    longest = max(sum(cell["seconds"] for cell in step) for step in steps)
    both = [cell for step in steps for cell in step]
    measured["two steps"] = longest / len(both), both
    return measured


def main() -> None:
    """Print for each case the seconds a cell on each side, the ratios by round, and the accuracies."""
    made = parser(__doc__, rounds=3, cases=CASES)
    made.add_argument("--side", choices=("engine", "plain"), help=argparse.SUPPRESS)
    made.add_argument("--arms", nargs="+", help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.side:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            print(json.dumps({"engine": engine, "plain": plain}[options.side](options)))
        return
    start(options)
    for case in chosen(options, {case: of.needs for case, of in CASES.items()}):
        seeds, epochs = sizes(options, case)
        print(f"{case}: {len(CASES[case].arms)} arms x {seeds} seeds x {epochs} epochs")
        report([measure(case, options.small) for _ in range(options.rounds)])


def report(rounds: list[dict[str, tuple[float, list[dict]]]]) -> None:
    """Print what the rounds of one case gave."""
    for side in rounds[0]:
        seconds = [sides[side][0] for sides in rounds]
        ratios = [sides["plain"][0] / sides[side][0] for sides in rounds]
        trained = [cell for sides in rounds for cell in sides[side][1]]
        print(
            f"  {side:9}  {spread(seconds, '5.2f')} s a cell; plain / {side} {spread(ratios)}; "
            f"epochs {sorted({cell['epochs'] for cell in trained})}; "
            f"test accuracy {average([cell['accuracy'] for cell in trained])}"
        )


if __name__ == "__main__":
    main()
