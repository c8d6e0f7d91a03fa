"""Seconds per cell: Assay's engine against a plain script with a fresh model and `model.fit` for every cell.

Run: python benchmarks/cells.py [--rounds 3]

Both sides train the same cells: the same rows, network, optimizer, epochs and batch size, early stopping with a patience
that never ends a run. Each side runs in a process of its own (they want different numbers of threads), in turn, so that a
slow minute of the machine hits both. Imports are not counted; building and tracing are. The augmentation of the
plain script is Keras' own layers in front of the network.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SEEDS = 5  # as many as a study has by default
CASES = {
    "digits": {"source": "sklearn:digits", "epochs": 30, "arms": ("reference", "no augmentation")},
    "iris": {"source": "sklearn:iris", "epochs": 60, "arms": ("reference", "no batch normalization")},
}


def cells(case: str, folder: str):
    """Yield the arm, the seed, the scaled rows and the program's shape of each cell of a case."""
    from components.engine import Split
    from components.load import prepare
    from components.scale import Statistics
    from components.study import Study

    study = Study.model_validate(
        {
            "study": case,
            "data": {"source": CASES[case]["source"]},
            "recipe": {"train": {"epochs": CASES[case]["epochs"], "early_stopping": {"patience": 1000}}},
            "seeds": SEEDS,
        }
    )
    prepared = prepare(study, folder)
    x, y = prepared.x, prepared.y
    for arm in study.expand():
        if arm.name in CASES[case]["arms"]:
            for seed in range(SEEDS):
                train, validation = prepared.split(seed)
                scaler = Statistics.of(x, train, prepared.schema.kind).scaler(arm.recipe.scale)
                split = Split(scaler(x[train]), y[train], scaler(x[validation]), y[validation])
                test = scaler(x[prepared.test_rows]), y[prepared.test_rows]
                yield arm, seed, split, test, scaler, prepared.schema


def engine(case: str, folder: str) -> list[dict]:
    """Train the cells with the engine: one program an arm, reset for every seed."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from components.engine import Program, program_key

    results, programs = [], {}
    for arm, seed, split, (test_x, test_y), scaler, schema in cells(case, folder):
        start = time.perf_counter()
        key = program_key(arm.recipe)
        if key not in programs:
            programs[key] = Program(arm.recipe, schema.shape, len(schema.classes), len(split.y))
        fit = programs[key].fit(split, arm.recipe.train, seed, scaler.spread)
        seconds = time.perf_counter() - start
        accuracy = float((programs[key].probabilities(test_x).argmax(axis=1) == test_y).mean())
        results.append({"seconds": seconds, "accuracy": accuracy, "epochs": len(fit.curves["loss"])})
    return results


def plain(case: str, folder: str) -> list[dict]:
    """Train the cells as a plain script does."""
    import keras

    from components import models

    results = []
    for arm, seed, split, (test_x, test_y), _, schema in cells(case, folder):
        start = time.perf_counter()
        recipe = arm.recipe
        steps = -(-len(split.y) // recipe.train.batch_size)
        model = models.build(recipe.model, schema.shape, len(schema.classes), steps, seed)
        if recipe.augment.geometry():
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


def measure(side: str, case: str) -> list[dict]:
    """Run one side of one case in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--side", side, "--case", case], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print a table: seconds a cell on both sides, their ratio by round, and both accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=("engine", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=tuple(CASES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps({"engine": engine, "plain": plain}[options.side](options.case, folder)))
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {options.rounds} rounds")
    for case, settings in CASES.items():
        rounds = [{side: measure(side, case) for side in ("engine", "plain")} for _ in range(options.rounds)]
        print(f"{case}: {len(settings['arms'])} arms x {SEEDS} seeds x {settings['epochs']} epochs")
        ratios = []
        for number, both in enumerate(rounds, 1):
            mean = {side: sum(cell["seconds"] for cell in of) / len(of) for side, of in both.items()}
            ratios.append(mean["plain"] / mean["engine"])
            print(
                f"  round {number}: engine {mean['engine']:.2f} s a cell, plain fit {mean['plain']:.2f} s a cell, "
                f"ratio {ratios[-1]:.1f}"
            )
        accuracy = {side: [c["accuracy"] for both in rounds for c in both[side]] for side in ("engine", "plain")}
        epochs = {cell["epochs"] for both in rounds for of in both.values() for cell in of}
        shown = ", ".join(
            f"{side} {sum(of) / len(of):.4f} ({min(of):.4f} to {max(of):.4f})" for side, of in accuracy.items()
        )
        print(f"  ratio {median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}); epochs {sorted(epochs)}")
        print(f"  accuracy on test rows: {shown}")


if __name__ == "__main__":
    main()
