"""Networks for images: convolutions."""

import inspect

import keras

from components.data.encoding import Inputs
from components.errors import AssayError
from components.study.model_catalogue import APPLICATIONS
from components.training.models.layers import Layers, features

BLOCKS = 2  # residual blocks in a stage
LARGE = 24  # pixels on a side, from which the first stage halves, too: at full size it would take most of the time
MIN_SIDE = 32  # pixels on a side, below which most backbones have nothing left to look at


def cnn(x: keras.KerasTensor, layers: Layers, inputs: Inputs, units: tuple[int, ...]) -> keras.KerasTensor:
    """3x3 convolutions, each with 2x2 pooling, then one dense layer twice as wide as the last convolution."""
    for i, filters in enumerate(units, 1):
        x = layers.convolution(x, filters, f"conv_{i}")
    return layers.dense(features(x, layers, inputs), 2 * units[-1], "dense_1")


def resnet(x: keras.KerasTensor, layers: Layers, inputs: Inputs, units: tuple[int, ...]) -> keras.KerasTensor:
    """A pre-activation residual network (He et al. 2016): for each width a stage at half the size of the one before.

    Only images under 24 pixels are not halved by the first. It ends with the mean over all places, so that it has few
    weights for images of any size.
    """
    large = min(x.shape[1:3]) >= LARGE
    x = layers.bare_convolution(x, units[0], "stem")
    for stage, filters in enumerate(units, 1):
        for block in range(1, BLOCKS + 1):
            strides = 2 if block == 1 and (stage > 1 or large) else 1
            x = _residual(x, layers, filters, strides, f"stage_{stage}_block_{block}")
    return keras.layers.GlobalAveragePooling2D(name="mean")(layers.activation(x, "last"))


def _residual(x: keras.KerasTensor, layers: Layers, filters: int, strides: int, name: str) -> keras.KerasTensor:
    """Return x plus what two convolutions make of it; a 1x1 convolution fits x where its shape changes."""
    start = layers.activation(x, f"{name}_start")
    fits = strides == 1 and x.shape[-1] == filters
    shortcut = x if fits else layers.bare_convolution(start, filters, f"{name}_shortcut", size=1, strides=strides)
    change = layers.bare_convolution(start, filters, f"{name}_conv_1", strides=strides)
    change = layers.bare_convolution(layers.activation(change, f"{name}_middle"), filters, f"{name}_conv_2")
    return keras.layers.Add(name=f"{name}_sum")([shortcut, change])


def application(x: keras.KerasTensor, layers: Layers, inputs: Inputs, units: tuple[int, ...]) -> keras.KerasTensor:
    """A backbone of keras.applications, and the mean over all places of what it makes of an image.

    What the backbone would do to pixels first is left out: the recipe scales them. Gray images are read as three equal
    channels, which is what weights from elsewhere expect, and images under 32 pixels are enlarged. The switches act
    behind the backbone; normalization inside it is the backbone's own.

    Raises:
        AssayError: for images or weights that do not fit the backbone.
    """
    recipe = layers.recipe
    enlarged = -(-MIN_SIDE // min(x.shape[1:3]))
    if enlarged > 1:
        x = keras.layers.UpSampling2D(enlarged, name="enlarged")(x)
    if x.shape[-1] == 1:
        x = keras.ops.repeat(x, 3, axis=-1)
    name = recipe.name.removeprefix(APPLICATIONS)
    if name.startswith("EfficientNetB"):  # the only ones that can't be told to leave their division by 255 out
        x = keras.layers.Rescaling(255.0, name="undivided")(x)
    make = getattr(keras.applications, name)
    plain = {"include_preprocessing": False} if "include_preprocessing" in inspect.signature(make).parameters else {}
    keras.utils.set_random_seed(layers.seed)  # the backbones' layers take no seeds
    try:
        backbone = make(
            include_top=False, weights=recipe.weights, input_shape=tuple(x.shape[1:]), pooling="avg", name=name, **plain
        )
    except (ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        about = f"{recipe.name} on images of shape {inputs.shape}, weights {recipe.weights}"
        raise AssayError(f"{about}: {reason}") from None
    backbone.trainable = not recipe.frozen
    pooled = backbone(x, training=False) if recipe.frozen else backbone(x)
    return layers.activation(pooled, "features")
