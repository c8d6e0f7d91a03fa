"""The networks, as Keras models from encoded rows to logits. A network is one builder, registered in `BUILDERS`.

Which kinds of data it fits, its widths and its own defaults are said in `components.study.recipe`. Models that are no
networks are in `components.training.trees`.
"""

from collections.abc import Callable

import keras

from components.data.encoding import Inputs
from components.study.recipe import APPLICATIONS, UNITS, Model
from components.training.models.dense import logistic, mlp
from components.training.models.images import application, cnn, resnet
from components.training.models.layers import Layers, embedding_width, momentum
from components.training.models.text import bilstm, textcnn, transformer

__all__ = ["BUILDERS", "build", "embedding_width", "momentum"]

BUILDERS: dict[str, Callable[[keras.KerasTensor, Layers, Inputs, tuple[int, ...]], keras.KerasTensor]] = {
    "logistic": logistic,
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "bilstm": bilstm,
    "textcnn": textcnn,
    "transformer": transformer,
}


def build(recipe: Model, inputs: Inputs, classes: int, steps: int, seed: int) -> keras.Model:
    """Return an untrained network: encoded rows -> float32 (rows, classes) logits.

    Args:
        recipe: the model's part of the recipe.
        inputs: what a row is, see `components.data.encoding`.
        classes: how many.
        steps: in an epoch; decides the batch-normalization momentum.
        seed: of the initial weights and of dropout.
    """
    rows = keras.Input(inputs.shape, name="encoded", dtype=inputs.dtype)
    layers = Layers(recipe, steps, seed)
    builder = application if recipe.name.startswith(APPLICATIONS) else BUILDERS[recipe.name]
    hidden = builder(rows, layers, inputs, recipe.units or UNITS.get(recipe.name, ()))
    return keras.Model(rows, layers.output(hidden, classes), name=recipe.name.rpartition("/")[2])
