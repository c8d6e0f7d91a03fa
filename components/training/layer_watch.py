"""What happens inside a network while it trains, measured in one step of an epoch; with any backend of Keras.

What the numbers mean, and when they are bad, is said in `components.training.diagnosis`.
"""

import functools
import itertools
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops

from components.study.recipe import Activation
from components.training.diagnosis import QUANTITIES

AT_AN_END = 0.97  # of the way to an end, where the slope is 6 % of the steepest (1 - 0.97^2)
Tensor: TypeAlias = Any  # of Keras' backend: tf.Tensor or jax.Array
LOGITS = "logits"
KERNELS = ("kernel", "embeddings")  # ends of their names. Biases and gains are left out: they start at 0 or at 1.


class LayerStatistics:
    """Which layers of a network are watched, and how to measure them.

    Watched is each layer that has kernels or embeddings to train, with the activation that is named after it; an
    activation that has no such layer is one by itself. A network inside the network counts as one layer.

    Attributes:
        kernels: their numbers among the network's trainable variables.
        layers: their names, in the order of the network: the logits are the last.
        network: encoded rows -> what the watched activations put out, by layer, and the logits, by `LOGITS`. It
            consists of the network's own layers, and computes the same numbers.
    """

    def __init__(self, network: keras.Model, activation: Activation):
        self.activation = activation
        numbers = {id(variable): number for number, variable in enumerate(network.trainable_variables)}
        kernels: dict[str, list[int]] = {}
        outputs: dict[str, Tensor] = {}
        for layer in network.layers:
            name = layer.name.removesuffix(f"_{activation}")
            of_layer = [numbers[id(v)] for v in layer.trainable_variables if v.name.endswith(KERNELS)]
            if of_layer:
                kernels[name] = of_layer
            elif name != layer.name:
                outputs[name] = layer.output
        named = [layer.name.removesuffix(f"_{activation}") for layer in network.layers]
        self.layers = tuple(name for name in dict.fromkeys(named) if name in {*kernels, *outputs})
        self.network = keras.Model(network.input, {**outputs, LOGITS: network.output}, name="watched")
        self.kernels = tuple(number for of_layer in kernels.values() for number in of_layer)
        self._penalties = [network.trainable_variables[number].regularizer for number in self.kernels]
        self._kernels = [len(of_layer) for of_layer in kernels.values()]
        self._outputs = list(outputs)
        # Where each number of a layer is among all that `measure` finds; the last one is NaN.
        measured = [(quantity, layer) for quantity in QUANTITIES[:3] for layer in kernels]
        measured += [(quantity, layer) for layer in outputs for quantity in (self._idle, "spread")]
        places = {key: place for place, key in enumerate(measured)}
        self._places = np.array([[places.get((q, layer), len(measured)) for q in QUANTITIES] for layer in self.layers])

    @property
    def _idle(self) -> str:
        """The quantity that says which units learn nothing."""
        return "saturated" if self.activation in ("sigmoid", "tanh") else "dead"

    def measure(
        self,
        gradients: Sequence[Tensor],
        before: Sequence[Tensor],
        after: Sequence[Tensor],
        outputs: Mapping[str, Tensor],
    ):
        """Return float32 (layers, QUANTITIES) for one step; NaN for what a layer does not have.

        Few operations, since tracing one costs more than computing it.

        Args:
            gradients: of the `kernels`, before clipping. What is measured is without the part of an L1 or L2 penalty,
                which would hide that what comes from the data vanishes.
            before: the kernels before the step.
            after: the kernels after it.
            outputs: what `network` gave in this step.
        """
        of_data = [self._of_data(*kernel) for kernel in zip(gradients, before, self._penalties, strict=True)]
        changes = [new - old for new, old in zip(after, before, strict=True)]
        squares = [*self._squares(of_data), *self._squares(before), *self._squares(changes)]
        gradient, weight, change = ops.split(ops.sqrt(ops.stack(squares)), 3)
        activity = [number for layer in self._outputs for number in self._activity(outputs[layer])]
        numbers = ops.concatenate([gradient, weight, change / weight, ops.stack([*activity, math.nan])])
        return ops.take(numbers, self._places)

    @staticmethod
    def _of_data(gradient: Tensor, kernel: Tensor, penalty: keras.regularizers.L1L2 | None) -> Tensor:
        return gradient if penalty is None else gradient - penalty.l1 * ops.sign(kernel) - 2 * penalty.l2 * kernel

    def _squares(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the sum of squares of each layer's tensors."""
        each = iter([ops.sum(ops.square(tensor)) for tensor in tensors])
        return [functools.reduce(operator.add, itertools.islice(each, kernels)) for kernels in self._kernels]

    def _activity(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return the share of idle units or outputs, and the spread; (rows, ..., units)."""
        output = ops.cast(ops.reshape(output, (-1, output.shape[-1])), "float32")
        if self._idle == "saturated":
            idle = ops.abs(output if self.activation == "tanh" else 2 * output - 1) > AT_AN_END
        else:
            idle = ops.max(output, axis=0) <= 0
        return ops.mean(ops.cast(idle, "float32")), ops.mean(ops.std(output, axis=0))
