"""What happens inside a network while it trains, measured in one step of an epoch; with any backend of Keras.

What the numbers mean, and when they are bad, is said in `components.findings`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from components.findings import QUANTITIES
from components.recipe import Activation

SATURATED = 0.97  # of the way to an end, where the slope is 6 % of the steepest (1 - 0.97^2)
LOGITS = "logits"
KERNELS = ("kernel", "embeddings")  # ends of their names. Biases and gains are left out: they start at 0 or at 1.


class Watch:
    """Which layers of a network are watched, and how to measure them.

    Watched is each layer that has kernels or embeddings to train, with the activation that is named after it; an
    activation that has no such layer is one by itself. A network inside the network counts as one layer.

    Attributes:
        layers: their names, in the order of the network: the logits are the last.
        network: encoded rows -> what the watched activations put out, by layer, and the logits, by `LOGITS`. It
            consists of the network's own layers, and computes the same numbers.
    """

    def __init__(self, network: keras.Model, activation: Activation):
        """Find the layers of a network whose hidden layers have this activation."""
        self.activation = activation
        numbers = {id(variable): number for number, variable in enumerate(network.trainable_variables)}
        self._kernels: dict[str, list[int]] = {}  # by layer, their numbers among the trainable variables
        outputs = {}
        for layer in network.layers:
            name = layer.name.removesuffix(f"_{activation}")
            kernels = [numbers[id(v)] for v in layer.trainable_variables if v.name.endswith(KERNELS)]
            if kernels:
                self._kernels[name] = kernels
            elif name != layer.name:
                outputs[name] = layer.output
        named = [layer.name.removesuffix(f"_{activation}") for layer in network.layers]
        self.layers = tuple(name for name in dict.fromkeys(named) if name in {*self._kernels, *outputs})
        self.network = keras.Model(network.input, {**outputs, LOGITS: network.output}, name="watched")

    def measure(self, gradients: Sequence[Any], before: Sequence[Any], after: Sequence[Any], outputs: Mapping[str, Any]):
        """Return float32 (layers, QUANTITIES) for one step; NaN for what a layer does not have.

        Args:
            gradients: for each trainable variable, before clipping.
            before: the trainable variables before the step.
            after: the same after it.
            outputs: what `network` gave in this step.
        """
        nothing = ops.convert_to_tensor(math.nan, "float32")
        found = []
        for layer in self.layers:
            row = dict.fromkeys(QUANTITIES, nothing)
            if layer in self._kernels:
                numbers = self._kernels[layer]
                row["gradient_norm"] = _norm([gradients[i] for i in numbers])
                row["weight_norm"] = _norm([before[i] for i in numbers])
                row["update_ratio"] = _norm([after[i] - before[i] for i in numbers]) / row["weight_norm"]
            if layer in outputs and layer != LOGITS:
                row |= self._activity(outputs[layer])
            found += row.values()
        return ops.reshape(ops.stack(found), (len(self.layers), len(QUANTITIES)))

    def _activity(self, output: Any) -> dict[str, Any]:
        """Return what the outputs of an activation show; (rows, ..., units)."""
        output = ops.reshape(ops.cast(output, "float32"), (-1, output.shape[-1]))
        spread = {"spread": ops.mean(ops.std(output, axis=0))}
        if self.activation in ("sigmoid", "tanh"):
            level = ops.abs(output if self.activation == "tanh" else 2 * output - 1)
            return {**spread, "saturated": ops.mean(ops.cast(level > SATURATED, "float32"))}
        return {**spread, "dead": ops.mean(ops.cast(ops.max(output, axis=0) <= 0, "float32"))}


def _norm(tensors: Sequence[Any]):
    """Return the length of the tensors as one vector."""
    return ops.sqrt(sum(ops.sum(ops.square(tensor)) for tensor in tensors))
