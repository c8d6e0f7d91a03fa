"""The networks, as Keras models from encoded rows to logits; each is a builder and a row of the model catalogue.

Models that are no networks are in `components.training.trees`.
"""

import pkgutil

import keras

from components.data.encoding import Inputs
from components.study.model_catalogue import MODELS
from components.study.recipe import Model
from components.training.models.layers import Layers


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
    model = MODELS[recipe.name]
    hidden = pkgutil.resolve_name(model.builder)(rows, layers, inputs, recipe.units or model.units)
    return keras.Model(rows, layers.output(hidden, classes), name=recipe.name.rpartition("/")[2])
