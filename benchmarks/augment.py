"""Images a second: Assay's augmentation against Keras' layers one after another and against `ImageDataGenerator`.
One round takes about 20 s on 2 cores.

All sides rotate (10 degrees), shift (0.1), zoom (0.1) and flip the same float32 batches, bilinearly, edges repeated
outwards, drawing anew for every image. They run in one process with TensorFlow's own choice of threads, in turn in
every round, so that a slow minute of the machine hits all; a ratio is of one round. Tracing and compiling are not
counted.

    assay       one tf.function: the draws, and one warp for all four (`components.training.augment`)
    layers      one tf.function: RandomRotation, RandomTranslation, RandomZoom and RandomFlip, one after another
    generator   `ImageDataGenerator.random_transform` on each image of the batch (NumPy and SciPy), without its
                iterator, which would cost it more
"""

import time
from collections.abc import Callable

from _common import chosen, parser, report_speeds, start

CASES = {"28x28x1": 64, "64x64x3": 64, "224x224x3": 32}  # shapes, and the rows of a batch
ROTATE, SHIFT, ZOOM = 10, 0.1, 0.1
GENERATOR_ROWS = 32  # of a batch; more take seconds and change no ratio
SECONDS, SECONDS_SMALL = 0.4, 0.02  # a side runs at least this long in a round


def sides(shape: tuple[int, ...], rows: int) -> dict[str, tuple[Callable[[], object], int]]:
    """Return for each side a function that augments a batch, and how many rows that has."""
    import keras
    import numpy as np
    import tensorflow as tf
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    from components.study.recipe import Augment
    from components.training.augment import augment

    recipe = Augment(rotate=ROTATE, shift=SHIFT, zoom=ZOOM, horizontal_flip=True)
    images = np.random.default_rng(0).random((rows, *shape), np.float32)
    x, spread = tf.constant(images), tf.constant([0.3, 0.0, 1.0])
    ours = tf.function(lambda x, seed: augment(x, recipe, seed, spread)[0])
    step = iter(range(10**9))

    kept = {"fill_mode": "nearest", "interpolation": "bilinear"}
    layers = [
        keras.layers.RandomRotation(ROTATE / 360, **kept),
        keras.layers.RandomTranslation(SHIFT, SHIFT, **kept),
        keras.layers.RandomZoom(ZOOM, **kept),
        keras.layers.RandomFlip("horizontal"),
    ]

    @tf.function
    def one_after_another(x):
        for layer in layers:
            x = layer(x, training=True)
        return x

    generator = ImageDataGenerator(
        rotation_range=ROTATE,
        width_shift_range=SHIFT,
        height_shift_range=SHIFT,
        zoom_range=ZOOM,
        horizontal_flip=True,
        fill_mode="nearest",
        interpolation_order=1,
    )
    few = images[:GENERATOR_ROWS]
    return {
        "assay": (lambda: ours(x, tf.constant((0, next(step)), tf.int32)).numpy(), rows),
        "layers": (lambda: one_after_another(x).numpy(), rows),
        "generator": (lambda: np.stack([generator.random_transform(image) for image in few]), len(few)),
    }


def speed(batch: Callable[[], object], rows: int, seconds: float) -> float:
    """Return images a second, by the clock on the wall."""
    begin, done = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        batch()
        done += rows
    return done / (time.perf_counter() - begin)


def main() -> None:
    """Print for each shape the images a second of each side, and the ratios by round."""
    options = parser(__doc__, rounds=7, cases=CASES).parse_args()
    start(options)
    seconds = SECONDS_SMALL if options.small else SECONDS
    for case in chosen(options, dict.fromkeys(CASES)):
        measured = sides(tuple(map(int, case.split("x"))), CASES[case])
        for batch, _ in measured.values():
            batch()  # traces and compiles
        print(f"{case}, {CASES[case]} rows a batch")
        report_speeds([{name: speed(*side, seconds) for name, side in measured.items()} for _ in range(options.rounds)])


if __name__ == "__main__":
    main()
