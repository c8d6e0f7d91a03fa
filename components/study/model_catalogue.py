"""The models, one row each: `MODELS`.

A new model is a builder and a row. Rows may also be added at run time, before a study that names the model is read.
Nothing heavy is imported: a builder is named here, and found when a network is built.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from components.study.part import KINDS, PLURALS, Kind

APPLICATIONS = "applications/"


@dataclass(frozen=True)
class ModelType:
    """A model."""

    description: str
    # `module:function`. A network's takes encoded rows, `Layers`, `Inputs` and the widths of the hidden layers, and
    # returns what the logits are made of, see `components.training.models`. That of trees takes `Inputs` and a seed,
    # and returns scikit-learn's estimator, see `components.training.trees`.
    builder: str
    kinds: tuple[Kind, ...]  # of data that it fits. Trees get no text: they would take the numbers of words for sizes.
    cost: float  # an epoch beside one of `mlp`, roughly; of trees all of it. It need only balance train tasks.
    # widths of the hidden layers unless the study gives them: of dense layers (mlp), filters (cnn, resnet, textcnn),
    # LSTMs (bilstm), feed-forward layers (transformer). Other models have their own.
    units: tuple[int, ...] = ()
    # what differs from the defaults of the kind of data
    own: Mapping[str, object] = field(default_factory=dict[str, object])
    trees: bool = False  # it is scikit-learn's and fitted as a whole; else a network, trained in epochs


# The text models are as in their papers, without batch normalization; trees know no technique but scaling.
_NO_LAYERS = {"batch_norm": False, "dropout": 0.0}
_TREES = {"augment": "none", "model": _NO_LAYERS, "train": {"early_stopping": False, "diagnostics": False}}
_NETWORKS = "components.training.models"

# Those of keras.applications; it is not asked for them here, since that takes seconds.
_BACKBONES = (
    *("ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtSmall", "ConvNeXtTiny", "ConvNeXtXLarge", "DenseNet121", "DenseNet169"),
    *("DenseNet201", "EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3", "EfficientNetB4"),
    *("EfficientNetB5", "EfficientNetB6", "EfficientNetB7", "EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2"),
    *("EfficientNetV2B3", "EfficientNetV2L", "EfficientNetV2M", "EfficientNetV2S", "InceptionResNetV2", "InceptionV3"),
    *("MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small", "NASNetLarge", "NASNetMobile", "ResNet101"),
    *("ResNet101V2", "ResNet152", "ResNet152V2", "ResNet50", "ResNet50V2", "VGG16", "VGG19", "Xception"),
)

MODELS: dict[str, ModelType] = {
    # One layer alone learns too slowly at Adam's usual rate.
    "logistic": ModelType(
        description="logistic regression",
        builder=f"{_NETWORKS}.dense:logistic",
        kinds=KINDS,
        cost=0.5,
        own={"model": _NO_LAYERS, "train": {"learning_rate": 0.01}},
    ),
    "mlp": ModelType(
        description="dense layers", builder=f"{_NETWORKS}.dense:mlp", kinds=KINDS, cost=1.0, units=(64, 128, 128)
    ),
    "cnn": ModelType(
        description="3x3 convolutions with pooling, and a dense layer",
        builder=f"{_NETWORKS}.images:cnn",
        kinds=("image",),
        cost=3.0,
        units=(32, 64),
    ),
    "resnet": ModelType(
        description="a pre-activation residual network (He et al. 2016)",
        builder=f"{_NETWORKS}.images:resnet",
        kinds=("image",),
        cost=20.0,
        units=(32, 64, 128),
        own={"model": {"dropout": 0.0}},
    ),
    "bilstm": ModelType(
        description="bidirectional LSTMs (Graves and Schmidhuber 2005), and a dense layer",
        builder=f"{_NETWORKS}.text:bilstm",
        kinds=("text",),
        cost=40.0,
        units=(64, 32),
        own={"model": {"batch_norm": False, "dropout": 0.5}},
    ),
    "textcnn": ModelType(
        description="convolutions over 3, 4 and 5 words (Kim 2014)",
        builder=f"{_NETWORKS}.text:textcnn",
        kinds=("text",),
        cost=5.0,
        units=(100,),
        own={"model": {"batch_norm": False, "dropout": 0.5}},
    ),
    "transformer": ModelType(
        description="a transformer encoder (Vaswani et al. 2017)",
        builder=f"{_NETWORKS}.text:transformer",
        kinds=("text",),
        cost=20.0,
        units=(128, 128),
        own={"model": {"batch_norm": False, "dropout": 0.1}},
    ),
    "hist_gradient_boosting": ModelType(
        description="boosted trees on histograms (Ke et al. 2017)",
        builder="components.training.trees:hist_gradient_boosting",
        kinds=("image", "table"),
        cost=20.0,
        own=_TREES,
        trees=True,
    ),
    "random_forest": ModelType(
        description="a random forest (Breiman 2001)",
        builder="components.training.trees:random_forest",
        kinds=("image", "table"),
        cost=15.0,
        own=_TREES,
        trees=True,
    ),
    **{
        f"{APPLICATIONS}{name}": ModelType(
            description="a backbone of keras.applications, and the mean over all places",
            builder=f"{_NETWORKS}.images:application",
            kinds=("image",),
            cost=200.0,
        )
        for name in _BACKBONES
    },
}


def fitting(kind: Kind) -> str:
    """Return the models that fit this kind of data, as text."""
    return ", ".join(_short(name for name, model in MODELS.items() if kind in model.kinds))


def all_models() -> str:
    """Return all models, as text, with the kinds of data that they fit."""
    groups: dict[tuple[Kind, ...], list[str]] = {}
    for name, model in MODELS.items():
        groups.setdefault(model.kinds, []).append(name)
    fits = {kinds: "any data" if kinds == KINDS else " and ".join(PLURALS[kind] for kind in kinds) for kinds in groups}
    return "; ".join(f"{', '.join(_short(names))} ({fits[kinds]})" for kinds, names in groups.items())


def default_units() -> str:
    """Return the models' default widths of hidden layers, as text."""
    return ", ".join(f"{name} {'-'.join(map(str, model.units))}" for name, model in MODELS.items() if model.units)


def _short(names: Iterable[str]) -> list[str]:
    """Return the names, those of keras.applications as one."""
    return list(dict.fromkeys(f"{APPLICATIONS}NAME" if name.startswith(APPLICATIONS) else name for name in names))
