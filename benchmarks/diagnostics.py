"""What diagnostics cost: processor time of the same cells trained with them, against that without.
One round takes about 3 min on 2 cores.

In every round each case trains two seeds with diagnostics and two without, in one process on one thread, as a train
step does on data this small. The first cell of a program also builds and traces it, which the second does not. An arm
of five seeds, the default, has one of the former for four of the latter: so they are weighed. Which side comes first
changes from round to round. Seconds are those of the processor, since other processes would blur a few per cent.

    iris       the default recipe on 96 rows, 60 epochs
    digits     the default recipe on 1,149 images of 8x8, 30 epochs
    28x28      the default recipe on 5,745 images (digits, enlarged and repeated), 4 epochs
"""

import tempfile
import time
from statistics import median
from typing import Any

from _common import chosen, parser, spread, start

CASES: dict[str, tuple[str, int]] = {
    "iris": ("sklearn:iris", 60),
    "digits": ("sklearn:digits", 30),
    "28x28": ("sklearn:digits", 4),
}
SEEDS = 5  # as many as a study has by default
COPIES = 5


def prepared(case: str, small: bool) -> tuple[Any, Any, Any, int, Any]:
    """Return recipe, rows, inputs, number of classes and the spread that augmentation measures with."""
    import numpy as np

    from components.data.encoding import Inputs
    from components.data.preparation import prepare
    from components.data.scaling import fit
    from components.study.study import Study
    from components.training.engine import Split

    source, epochs = CASES[case]
    train = {"epochs": 1 if small else epochs, "early_stopping": {"patience": 1000}}
    study = Study.model_validate({"study": case, "data": {"source": source}, "recipe": {"train": train}, "seeds": 1})
    with tempfile.TemporaryDirectory() as folder:
        rows = prepare(study, folder)
        encoder = fit(rows, 0, {"": study.recipe})[""]
        parts = [(encoder(rows.x[numbers]), rows.y[numbers]) for numbers in rows.split(0)]
        inputs, classes = rows.schema.inputs, len(rows.schema.classes)
    if case == "28x28":
        grown = [
            np.pad(np.kron(x, np.ones((1, 3, 3, 1), np.float32)), ((0, 0), (2, 2), (2, 2), (0, 0))) for x, _ in parts
        ]
        parts = [(grown[0].repeat(COPIES, 0), parts[0][1].repeat(COPIES)), (grown[1], parts[1][1])]
        inputs = Inputs((28, 28, 1))
    return study.recipe, Split(*parts[0], *parts[1]), inputs, classes, encoder.spread


def seconds(recipe: Any, split: Any, inputs: Any, classes: int, spread: Any, on: bool) -> tuple[float, float]:
    """Return the seconds of a program's first cell and of its second, of the processor."""
    from components.training.backends.tensorflow_program import Program

    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"diagnostics": on})})
    begin = time.process_time()
    program = Program(recipe, inputs, classes, len(split.y))
    program.fit(split, recipe.train, 0, spread)
    middle = time.process_time()
    program.fit(split, recipe.train, 1, spread)
    return middle - begin, time.process_time() - middle


def main() -> None:
    """Print for each case the seconds with diagnostics and without, and what they cost, by round."""
    options = parser(__doc__, rounds=7, cases=CASES).parse_args()
    start(options)
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for case in chosen(options, dict.fromkeys(CASES)):
        rows = prepared(case, options.small)
        seconds(*rows, True)  # TensorFlow itself starts with the first program
        orders = [(True, False) if number % 2 else (False, True) for number in range(options.rounds)]
        report(case, [{on: seconds(*rows, on) for on in order} for order in orders])


def report(case: str, rounds: list[dict[bool, tuple[float, float]]]) -> None:
    """Print what the rounds of one case gave."""
    cells = [
        {on: {"five seeds": weighed(*of), "first": of[0], "later": of[1]} for on, of in one.items()} for one in rounds
    ]
    without = median(one[False]["five seeds"] for one in cells)
    print(f"{case}: {without:.2f} s a cell without; diagnostics cost, median (least to greatest):")
    for name in cells[0][True]:
        print(f"  {name:10}  {spread([100 * (one[True][name] / one[False][name] - 1) for one in cells], '+.1f')} %")


def weighed(first: float, second: float) -> float:
    """Return the seconds a cell of a study of so many seeds."""
    return (first + (SEEDS - 1) * second) / SEEDS


if __name__ == "__main__":
    main()
