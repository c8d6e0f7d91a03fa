"""Images a second in training: Assay's engine against a plain `model.fit` and against PyTorch, the same network.
One round takes about 1 min on 2 cores.

All sides train on the first 6,400 images of Fashion-MNIST (Debian's package dataset-fashion-mnist; without it on random
ones), in batches of 128, in memory, shuffled every epoch, with Adam and without augmentation. The network is the recipe
`cnn`: two 3x3 convolutions (32, 64), each with 2x2 pooling, batch normalization, ReLU and dropout of whole maps (0.3);
a dense layer of 128 with the same, its dropout of single values; logits. Each side has a process of its own with two
threads. In every round each trains one epoch while the others wait; a ratio is of one round. Imports, tracing and the
first epoch are not counted. All sum loss and accuracy.

    assay                 the engine, deterministic as always; it also scores one validation row an epoch
    model.fit             the same layers, `compile` and `fit` on arrays
    model.fit, textbook   with batch normalization and ReLU in front of pooling: four times the values to normalize
    pytorch               eager, channels last; the gradient steps of a usual loop over tensors

Where the time of a step of Assay's goes: 22.2 ms with Keras' own layers, 19.2 with
`components.training.models.fused_layers`, which has what was worth it (TensorFlow 2.21's profiler, two cores with
AVX-512; parts run side by side and add up to more):

    convolutions          14.1 ms, of which the second 11.9: each of its three passes does 300 GFLOP/s
    batch normalization   2.6 ms, one operation (with the ReLU) and one for its gradient; alone, both of the maps' take
                          2.9 ms, and as Keras writes them, in some thirty operations each, 6.1
    pooling               2.4 ms, of which its gradient 1.5; by slices, maxima of halves or argmax it is slower
    dense layers          1.9 ms
    dropout               1.2 ms, of which random numbers 0.2; one product with all values, which was two operations
    Adam                  0.8 ms

Deterministic operations cost nothing measurable. Without oneDNN's operations a step takes 45 ms. With one thread
between operations instead of two it takes 20.6, and a resnet's 109 instead of 98.
"""

import argparse
import gzip
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from _common import FASHION, parser, report_speeds, start

ROWS, ROWS_SMALL, BATCH, CLASSES = 6400, 256, 128, 10
UNITS, DROPOUT, RATE = (32, 64), 0.3, 0.001
THREADS = 2
Turn = Callable[[], None]  # called at the end of every epoch


def images(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images, float32 (rows, 28, 28, 1) in 0..1, and labels, int32 (rows,); random without Debian's files."""
    if FASHION.missing:
        random = np.random.default_rng(0)
        return random.random((rows, 28, 28, 1), np.float32), random.integers(0, CLASSES, rows, np.int32)
    pixels = gzip.decompress((FASHION.at / "train-images-idx3-ubyte.gz").read_bytes())[16 : 16 + rows * 784]
    labels = gzip.decompress((FASHION.at / "train-labels-idx1-ubyte.gz").read_bytes())[8 : 8 + rows]
    x = np.frombuffer(pixels, np.uint8).reshape(-1, 28, 28, 1).astype(np.float32) / 255
    return x, np.frombuffer(labels, np.uint8).astype(np.int32)


def assay(x: np.ndarray, y: np.ndarray, epochs: int, turn: Turn) -> None:
    """Train with the engine, deterministic as always; one validation row, as it can't do without."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    threads(tf)
    from components.data.encoding import Inputs
    from components.study.recipe import Recipe
    from components.training.backends.tensorflow_program import Program
    from components.training.engine import Split

    train = {"epochs": epochs, "batch_size": BATCH, "learning_rate": RATE, "early_stopping": None}
    model = {"name": "cnn", "units": UNITS, "dropout": DROPOUT}
    recipe = Recipe.model_validate({"model": model, "augment": "none", "train": train})
    program = Program(recipe, Inputs(x.shape[1:]), CLASSES, len(y))
    program.fit(Split(x, y, x[:1], y[:1]), recipe.train, 0, np.zeros(3), lambda epoch, values: turn())


def keras_fit(x: np.ndarray, y: np.ndarray, epochs: int, turn: Turn, norm_first: bool = False) -> None:
    """Train with `model.fit`."""
    import keras
    import tensorflow as tf

    threads(tf)

    def activated(found, pool: bool, drop: type) -> list:
        parts = [keras.layers.MaxPooling2D(2)] if pool else []
        norm = [keras.layers.BatchNormalization(momentum=0.98), keras.layers.ReLU()]
        return [found, *(norm + parts if norm_first else parts + norm), drop(DROPOUT)]

    layers: list = [keras.Input(x.shape[1:])]
    for filters in UNITS:
        convolution = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)
        layers += activated(convolution, True, keras.layers.SpatialDropout2D)
    dense = keras.layers.Dense(2 * UNITS[-1], use_bias=False)
    layers += [keras.layers.Flatten(), *activated(dense, False, keras.layers.Dropout), keras.layers.Dense(CLASSES)]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: turn())
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[told])


def keras_textbook(x: np.ndarray, y: np.ndarray, epochs: int, turn: Turn) -> None:
    """Train with `model.fit` and batch normalization in front of pooling."""
    keras_fit(x, y, epochs, turn, norm_first=True)


def pytorch(x: np.ndarray, y: np.ndarray, epochs: int, turn: Turn) -> None:
    """Train with PyTorch, eager, channels last; loss and hits are summed as on the other sides."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(THREADS)
    parts: list[nn.Module] = []
    channels = x.shape[-1]
    for filters in UNITS:
        parts += [nn.Conv2d(channels, filters, 3, padding=1, bias=False), nn.MaxPool2d(2)]
        parts += [nn.BatchNorm2d(filters), nn.ReLU(), nn.Dropout2d(DROPOUT)]
        channels = filters
    wide = 2 * UNITS[-1]
    parts += [nn.Flatten(), nn.Linear(7 * 7 * channels, wide, bias=False), nn.BatchNorm1d(wide), nn.ReLU()]
    parts += [nn.Dropout(DROPOUT), nn.Linear(wide, CLASSES)]
    model = nn.Sequential(*parts).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    images = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(y).long()
    for _ in range(epochs):
        order, total, hits = torch.randperm(len(y)), torch.zeros(()), torch.zeros((), dtype=torch.long)
        for taken in order.split(BATCH):
            logits, wanted = model(images[taken]), labels[taken]
            loss = nn.functional.cross_entropy(logits, wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(taken)
            hits += (logits.argmax(1) == wanted).sum()
        _ = float(total), int(hits)  # as a user would read them
        turn()


SIDES = {"assay": assay, "model.fit": keras_fit, "model.fit, textbook": keras_textbook, "pytorch": pytorch}


def threads(tf) -> None:
    """Give TensorFlow as many threads as PyTorch gets."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)


def train(side: str, rows: int, rounds: int) -> None:
    """Train in this process, an epoch for every line on standard input; prints images a second."""
    begin = float("-inf")

    def turn() -> None:
        nonlocal begin
        print(rows / (time.perf_counter() - begin), flush=True)
        if not sys.stdin.readline():
            raise SystemExit
        begin = time.perf_counter()

    SIDES[side](*images(rows), rounds + 1, turn)


class Side:
    """A side in a process of its own, which waits for its turn after every epoch."""

    def __init__(self, name: str, options: argparse.Namespace):
        """Start its first epoch, which traces and compiles."""
        interpreter = options.torch if name == "pytorch" else sys.executable
        command = [interpreter, __file__, "--side", name, "--rounds", str(options.rounds), *["--small"] * options.small]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.name = name

    def epoch(self) -> float:
        """Train an epoch; returns images a second."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        """End the process."""
        self.process.communicate()

    def answer(self) -> float:
        """Wait for the end of an epoch; returns images a second."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} failed with {self.process.wait()}")
        return float(line)


def main() -> None:
    """Print for each side the images a second, and the ratios by round."""
    made = parser(__doc__, rounds=7)
    made.add_argument("--torch", metavar="PYTHON", default=sys.executable, help="an interpreter that has PyTorch")
    made.add_argument("--side", choices=tuple(SIDES), help=argparse.SUPPRESS)
    options = made.parse_args()
    rows = ROWS_SMALL if options.small else ROWS
    if options.side:
        train(options.side, rows, options.rounds)
        return
    start(options, f"{rows:,} {'random images' if FASHION.missing else 'images of Fashion-MNIST'}")
    names = list(SIDES)
    if subprocess.run([options.torch, "-c", "import torch"], capture_output=True, check=False).returncode:
        print("pytorch is left out: this interpreter has no PyTorch; name one that has with --torch PYTHON")
        names.remove("pytorch")
    sides = [Side(name, options) for name in names]
    for side in sides:
        side.answer()
    speeds = [{side.name: side.epoch() for side in sides} for _ in range(options.rounds)]
    for side in sides:
        side.end()
    report_speeds(speeds)


if __name__ == "__main__":
    main()
