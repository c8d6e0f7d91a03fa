"""What the programs of both backends share, in Keras: a network's precision, its optimizer and what it minimizes.

Arrays are those of Keras' backend.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
from keras import ops

from components.data.encoding import Inputs
from components.runtime import devices
from components.study.recipe import Recipe, Train
from components.training import engine, models
from components.training.augment import Mixture
from components.training.layer_watch import LayerStatistics, Tensor

Labels = list[tuple[Tensor, Tensor]]  # shares of the rows' labels, float32 (rows,) or a number; int32 (rows,)


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Layers that are made within the block compute in this precision; weights are float32 in any case."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name if name == "float32" else f"mixed_{name}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def optimizer(
    recipe: Train, network: keras.Model, of_precision: str = "float32", adam: type = keras.optimizers.Adam
) -> keras.optimizers.Optimizer:
    """Return the recipe's optimizer for a network; the learning rate is assigned before every step.

    Weight decay is Keras' own, as in its AdamW. Biases, gains and embeddings are spared: small ones do not make a
    network simpler, and a word that is not in a batch should not fade. In float16 small gradients would be 0, so the
    loss is scaled while they are computed (Micikevicius et al. 2018).
    """
    kinds = {"adam": adam, "rmsprop": keras.optimizers.RMSprop, "sgd": keras.optimizers.SGD}
    built = kinds[recipe.optimizer](
        weight_decay=recipe.weight_decay or None,
        global_clipnorm=recipe.clip_norm or None,
        use_ema=recipe.ema > 0,
        ema_momentum=recipe.ema,
    )
    built.exclude_from_weight_decay([v for v in network.trainable_variables if not v.name.endswith("kernel")])
    if of_precision == "float16":
        built = keras.optimizers.LossScaleOptimizer(built)
    built.build(network.trainable_variables)
    return built


def unscaled(gradients: list[Tensor], scale: Tensor) -> list[Tensor]:
    """Return the gradients without the optimizer's scale of the loss; most optimizers have none, and say 1.0."""
    return gradients if isinstance(scale, float) else [gradient / scale for gradient in gradients]


def labels(y: Tensor, mixture: Mixture | None) -> Labels:
    """Return the labels that the rows have, and how much of each."""
    if mixture is None:
        return [(1.0, y)]
    return [(mixture.weight, y), (1.0 - mixture.weight, ops.take(y, mixture.partner, axis=0))]


def losses(logits: Tensor, of: Labels, weights: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Return each row's cross-entropy, and what of it training minimizes; both float32 (rows,).

    Cross-entropy is linear in the label: that of a mixed label is the mixture of two, and that of a smoothed one is
    mixed with the mean over all classes (Szegedy et al. 2016). The cross-entropy that is shown is neither smoothed
    nor weighted, so that it compares with that of the validation rows.
    """
    uniform = ops.logsumexp(logits, axis=1) - ops.mean(logits, axis=1) if smoothing else 0.0
    shown, minimized = 0.0, 0.0
    for share, label in of:
        loss = ops.sparse_categorical_crossentropy(label, logits, from_logits=True)
        shown += share * loss
        minimized += share * ops.take(weights, label, axis=0) * ((1.0 - smoothing) * loss + smoothing * uniform)
    return shown, minimized


def hits(logits: Tensor, y: Tensor, mixture: Mixture | None) -> Tensor:
    """Return how many rows are taken for what they are, or for their label of greater weight; float32 ()."""
    if mixture is not None:
        y = ops.where(mixture.weight < 0.5, ops.take(y, mixture.partner, axis=0), y)
    return ops.sum(ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=1), "int32"), y), "float32"))


class KerasProgram(engine.Program):
    """What a program has with either backend: the network, what computes it, and which layers are watched."""

    def __init__(self, recipe: Recipe, inputs: Inputs, classes: int, rows: int):
        """Build the network for encoded rows, of which `rows` are trained on."""
        self.recipe = recipe
        self.inputs, self.classes = inputs, classes
        self.batch_size = recipe.train.batch_size
        self.steps = -(-rows // self.batch_size)
        self.computed = devices.computed(recipe.train)
        if self.computed.device != "cpu":
            self.clock = time.perf_counter
        self.network = self._fresh(seed=0)
        self._watch = LayerStatistics(self.network, recipe.model.activation) if recipe.train.diagnostics else None
        if self._watch:
            self.layers = self._watch.layers
        self.measured = np.zeros(0, np.float32)

    def losses(self, logits: Tensor, y: Tensor, mixture: Mixture | None, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the function `losses` says of the rows while training; `weights` are those of the classes."""
        return losses(logits, labels(y, mixture), weights, self.recipe.train.label_smoothing)

    def _fresh(self, seed: int) -> keras.Model:
        with precision(self.computed.precision):
            return models.build(self.recipe.model, self.inputs, self.classes, self.steps, seed)
