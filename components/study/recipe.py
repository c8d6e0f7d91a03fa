"""The recipe: all that one training run is told, except the data and the seed. Its defaults are written here only."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import BaseModel, BeforeValidator, Field, NonNegativeFloat, ValidationError, model_validator

from components.errors import StudyError
from components.formatting import did_you_mean
from components.study.model_catalogue import MODELS, all_models, default_units, fitting
from components.study.part import (
    KINDS,
    PLURALS,
    Count,
    Fraction,
    Kind,
    OneOf,
    Part,
    Place,
    Share,
    Whole,
    is_mapping,
    option,
)
from components.study.validation_errors import explain

Scale = Literal["none", "minmax", "tanh", "standardize", "robust"]
Activation = Literal["relu", "sigmoid", "tanh", "gelu"]
Optimizer = Literal["adam", "rmsprop", "sgd"]
Backend = Literal["tensorflow", "jax"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]

# What differs from the fields' own defaults by the kind of data.
RECIPES: dict[Kind, dict[str, Any]] = {
    "image": {
        "augment": {"rotate": 10.0, "shift": 0.1, "zoom": 0.1},
        "scale": "minmax",
        "model": {"name": "cnn", "dropout": 0.3},
        "train": {"batch_size": 64},
    },
    "table": {"scale": "standardize", "model": {"name": "mlp", "dropout": 0.0}, "train": {"batch_size": 32}},
    "text": {"augment": {"drop_words": 0.1}, "model": {"name": "mlp", "dropout": 0.3}, "train": {"batch_size": 32}},
}

OFF = (False, None, "none")


def _off_is(replacement: object) -> tuple[object, object]:
    """Read each of `OFF` as "off", and tell editors, too, that it may stand here."""

    def allow_off(schema: dict[str, Any]) -> None:
        alone = {key: schema.pop(key) for key in ("$ref", "enum", "type") if key in schema}
        schema["anyOf"] = [*schema.get("anyOf", [alone]), {"enum": list(OFF)}]

    read = BeforeValidator(lambda value: replacement if value in OFF else value)
    return read, Field(json_schema_extra=allow_off)


# Of `components.training.augment`: the warp of pixels, changes of values where they are, mixing rows, changes of words.
Stage = Literal["warp", "values", "mix", "words"]


class Applies(NamedTuple):
    """Where an augmentation applies: in which stages, and to which kinds of data."""

    stages: tuple[Stage, ...]
    kinds: tuple[Kind, ...] = ("image",)  # tables have no neighboring pixels, and words are no numbers


NUMBERS: tuple[Kind, ...] = ("image", "table")
Warp = Annotated[NonNegativeFloat, Applies(("warp",))]
Flip = Annotated[bool, Applies(("warp",))]
Values = Annotated[NonNegativeFloat, Applies(("values",))]
Words = Annotated[NonNegativeFloat, Applies(("words",), ("text",))]


class Augment(Part):
    """Random changes of train rows, drawn anew in every step; each is off at 0.

    They come in this order: what moves pixels (as one warp), brightness, contrast, RandAugment's colors, erasing,
    noise, mixing; for words: drop, swap, mask. Brightness never leaves the range of the scaled train rows.
    """

    rotate: Warp = option(0.0, "images: up to this many degrees either way", le=180)
    shift: Warp = option(0.0, "images: up to this fraction of height and width", lt=1)
    zoom: Warp = option(0.0, "images: up to this fraction nearer or farther", lt=1)
    shear: Warp = option(0.0, "images: slanted by up to this many degrees either way", le=60)
    horizontal_flip: Flip = option(False, "images: mirror every second row, by chance")
    vertical_flip: Flip = option(False, "images: turn every second row upside down, by chance")
    brightness: Values = option(0.0, "images: up to this fraction of the train rows' range brighter or darker", le=1)
    contrast: Values = option(0.0, "images: up to this fraction more or less contrast, about the image's mean", le=1)
    rand_augment: Annotated[NonNegativeFloat, Applies(("warp", "values"))] = option(
        0.0, "images: magnitude of two changes drawn for each row (RandAugment)", le=1
    )
    erase: Values = option(
        0.0, "images: random values in a rectangle of up to this fraction of the area, in every second row", lt=1
    )
    noise: Annotated[NonNegativeFloat, Applies(("values",), NUMBERS)] = option(
        0.0, "normal noise, in standard deviations of the train rows", le=10
    )
    mixup: Annotated[NonNegativeFloat, Applies(("mix",), NUMBERS)] = option(
        0.0, "blend rows and labels in pairs, with weights of Beta(alpha, alpha)", le=100
    )
    cutmix: Annotated[NonNegativeFloat, Applies(("mix",))] = option(
        0.0, "images: paste a rectangle of another row, its area of Beta(alpha, alpha)", le=100
    )

    drop_words: Words = option(0.0, "text: each word is left out with this chance", lt=1)
    swap_words: Words = option(0.0, "text: this share of the words change places with each other", le=1)
    mask_words: Words = option(0.0, "text: each word becomes an unknown one with this chance", lt=1)

    def techniques(self) -> list[str]:
        """Return the names of those that are on, in the order of the fields."""
        return [name for name in type(self).model_fields if getattr(self, name)]

    def has(self, stage: Stage) -> bool:
        """Tell whether anything that is on acts in this stage."""
        return any(stage in APPLIES[name].stages for name in self.techniques())

    def on(self) -> bool:
        """Tell whether anything is changed at all."""
        return bool(self.techniques())


APPLIES = {
    name: next(where for where in field.metadata if isinstance(where, Applies))
    for name, field in Augment.model_fields.items()
}
FOR_KIND = {kind: tuple(name for name, where in APPLIES.items() if kind in where.kinds) for kind in KINDS}

# What else only one kind of data has.
ONLY_FOR: dict[str, Kind] = {
    "scale_per_channel": "image",
    "weights": "image",
    "frozen": "image",
    "categories": "table",
    "embedding": "text",
    "words": "text",
    "vocabulary": "text",
}


class Model(Part):
    """The model. Every switch works with every model that has hidden layers: not with logistic, and not with trees."""

    name: Annotated[str, OneOf(MODELS)] = option(
        "mlp", f"{all_models()}; an arm that sets it also gets that model's own defaults, but for what the study states"
    )
    units: tuple[Annotated[int, Field(ge=1, le=65536)], ...] | None = option(
        None, f"widths of the hidden layers; null: {default_units()}", min_length=1
    )
    weights: Annotated[str, Field(min_length=1)] | None = option(
        None, "applications/NAME: a local file of the backbone's weights, without its top; null: random ones"
    )
    frozen: bool = option(False, "applications/NAME: train only what is behind the backbone")
    activation: Activation = option(
        "relu",
        "of the hidden layers: relu, sigmoid, tanh, or gelu (Hendrycks and Gimpel 2016); an LSTM and the "
        "inside of a backbone have their own",
    )
    batch_norm: bool = option(True, "batch normalization after every hidden layer")
    layer_norm: bool = option(
        False, "layer normalization after every hidden layer (Ba et al. 2016); not together with batch_norm"
    )
    batch_norm_momentum: float | None = option(
        None, "of the moving averages; null: chosen from the steps in an epoch", ge=0, lt=1
    )
    categories: Literal["one-hot", "embedding"] = option(
        "one-hot", "tables: how a column of categories goes in: one-hot or embedding"
    )
    embedding: int = option(64, "text: width of a word's vector", ge=1, le=65536, strict=True)
    dropout: Share = option(0.0, "share of units dropped; 0 is off")
    l1: NonNegativeFloat = option(0.0, "L1 penalty on the kernels (Tibshirani 1996); 0 is off")
    l2: NonNegativeFloat = option(0.0, "L2 penalty on the kernels; 0 is off")

    @model_validator(mode="after")
    def _one_normalization(self) -> Self:
        if self.batch_norm and self.layer_norm:
            raise ValueError(
                "batch_norm and layer_norm are both on, and a hidden layer has one normalization; "
                "set batch_norm or layer_norm to false"
            )
        return self


class EarlyStopping(Part):
    """When to stop before the last epoch, with the terms of `keras.callbacks.EarlyStopping`."""

    monitor: Literal["val_loss", "val_accuracy", "val_macro_f1", "loss", "accuracy"] = option(
        "val_loss", "the metric that is watched"
    )
    patience: Whole = option(10, "epochs without improvement before stopping")
    mode: Literal["auto", "min", "max"] = option("auto", "which direction is better")
    min_delta: NonNegativeFloat = option(1e-4, "a smaller change is no improvement")
    start_from_epoch: Whole = option(0, "epochs that are not watched yet")
    restore_best: bool = option(True, "end with the weights of the best epoch")

    @model_validator(mode="after")
    def _mode_fits(self) -> Self:
        better = "max" if self.sign == 1 else "min"
        if self.mode not in ("auto", better):
            raise ValueError(f"mode {self.mode!r} would keep the worst {self.monitor}; expected {better!r} or 'auto'")
        return self

    @property
    def sign(self) -> int:
        """+1 where a higher value of the monitored metric is better, else -1."""
        return -1 if "loss" in self.monitor else 1


class Plateau(Part):
    """When `schedule: plateau` lowers the learning rate, with the terms of `keras.callbacks.ReduceLROnPlateau`."""

    factor: Fraction = option(0.1, "what the learning rate is multiplied by")
    patience: Count = option(5, "epochs without a lower val_loss before that")


class Train(Part):
    """How the network is trained."""

    epochs: Count = option(100, "at most this many passes over the train rows")
    batch_size: Count = option(32, "rows in a step")
    optimizer: Optimizer = option("adam", "adam, rmsprop or sgd")
    learning_rate: float = option(0.001, "the highest one where there is a schedule", gt=0, le=10)
    schedule: Annotated[Literal["constant", "cosine", "plateau"], *_off_is("constant")] = option(
        "constant", "of the learning rate: constant | cosine (falls to 0, Loshchilov and Hutter 2017) | plateau"
    )
    plateau: Plateau = Plateau()
    warm_up: Whole = option(
        0, "epochs in which the learning rate rises from 0 (Goyal et al. 2017); works with every schedule"
    )
    clip_norm: NonNegativeFloat = option(
        0.0, "longest that all gradients together may be, as one vector (Pascanu et al. 2013); 0 is off"
    )
    weight_decay: Share = option(
        0.0,
        "share of each kernel that a step takes away, times the learning rate (AdamW: Loshchilov and "
        "Hutter 2019); 0 is off",
    )
    label_smoothing: Share = option(0.0, "share of a label spread over all classes (Szegedy et al. 2016); 0 is off")
    class_weights: Annotated[Literal["none", "balanced"], *_off_is("none")] = option(
        "none", "none | balanced: rare classes count for as much as common ones (King and Zeng 2001)"
    )
    ema: Share = option(
        0.0,
        "momentum of a moving average of the weights, by step, which is what is scored and saved (Polyak "
        "and Juditsky 1992), such as 0.99; 0 is off",
    )
    early_stopping: Annotated[
        EarlyStopping | None, BeforeValidator(lambda value: {} if value is True else value), *_off_is(None)
    ] = option(EarlyStopping(), "false: train for all epochs and keep the last")
    diagnostics: bool = option(
        True,
        "measure gradients, updates and activations of each layer once an epoch, and say what is wrong; "
        "changes no number of the training",
    )
    backend: Backend = option(
        "tensorflow",
        "what computes: tensorflow | jax (all GPUs of the machine; needs `assay-pipeline[jax]`); data is "
        "TensorFlow's in either case. One for all arms",
    )
    precision: Precision = option(
        "auto",
        "of the hidden layers: float32 | bfloat16 | float16 (these two with float32 weights and logits, "
        "Micikevicius et al. 2018); auto: float32 on the CPU, on a GPU bfloat16, or float16 where it has none",
    )
    jit: Literal["auto", True, False] = option(
        "auto",
        "tensorflow: compile the training step by XLA, which draws other numbers for dropout; auto: on a "
        "GPU, but for LSTMs, and for max pooling with deterministic. jax always compiles",
    )
    deterministic: bool = option(
        False, "on a GPU: the same numbers bit by bit, slower; on the CPU they always are. One for all arms"
    )

    @model_validator(mode="after")
    def _jax_compiles(self) -> Self:
        if self.backend == "jax" and self.jit is False:
            raise ValueError("backend jax always compiles; expected jit: auto or true, got false")
        return self

    @model_validator(mode="after")
    def _epochs_are_enough(self) -> Self:
        waits = {"warm_up": self.warm_up}
        if self.early_stopping:
            waits["early_stopping.start_from_epoch"] = self.early_stopping.start_from_epoch
        for name, epochs in waits.items():
            if epochs and epochs >= self.epochs:
                raise ValueError(
                    f"{name} must be over before training is; expected less than {self.epochs}, got {epochs}"
                )
        return self


class Recipe(Part):
    """All that one training run is told, except the data and the seed."""

    augment: Annotated[Augment, *_off_is({})] = option(Augment(), "train rows only")
    scale: Annotated[Scale, *_off_is("none")] = option(
        "none", "none | minmax (0..1) | tanh (-1..1) | standardize | robust (median, quartiles); from train rows"
    )
    scale_per_channel: bool = option(False, "images: scale each channel by its own numbers")
    data: float = option(
        1.0, "share of the train rows; arms `data: [0.1, 0.25, 0.5]` draw a learning curve", gt=0, le=1
    )
    model: Model = Model()
    train: Train = Train()

    @model_validator(mode="after")
    def _xla_knows_the_layers(self) -> Self:
        if self.train.jit is True and self.train.backend == "tensorflow" and self.model.name == "bilstm":
            raise ValueError("XLA does not compile TensorFlow's LSTMs; expected train.jit: auto or false for bilstm")
        return self

    @model_validator(mode="after")
    def _rows_have_partners(self) -> Self:
        if self.augment.has("mix") and self.train.batch_size < 2:
            raise ValueError("mixup and cutmix mix rows of one batch; expected a train.batch_size of at least 2, got 1")
        return self


def refuse_kind(recipe: Recipe, kind: Kind, place: Place) -> None:
    """Refuse a recipe that this kind of data can't have.

    Raises:
        StudyError: for the first part that does not fit; `place` says where the recipe stood.
    """
    name = recipe.model.name
    kinds = MODELS[name].kinds
    if kind not in kinds:
        fits = " or ".join(PLURALS[able] for able in kinds)
        message = f"{name} needs {fits}, and the data is {_a(kind)}; expected one of {fitting(kind)}"
        raise StudyError((*place, "model", "name"), message)
    wrong = [name for name in recipe.augment.techniques() if name not in FOR_KIND[kind]]
    if wrong:
        able = " and ".join(PLURALS[kind_of] for kind_of in APPLIES[wrong[0]].kinds)
        can = " and ".join(FOR_KIND[kind]) if kind != "image" else "what `assay schema` lists for images"
        raise StudyError(
            (*place, "augment"), f"{', '.join(wrong)}: for {able} only, and the data is {_a(kind)}; it can have {can}"
        )
    if recipe.scale_per_channel and kind != "image":
        raise StudyError((*place, "scale_per_channel"), f"only images have channels, and the data is {_a(kind)}")
    if recipe.scale != "none" and kind == "text":
        raise StudyError((*place, "scale"), f"words are no numbers to scale; expected none, got {recipe.scale}")


def _a(kind: Kind) -> str:
    return "a table" if kind == "table" else PLURALS[kind]


def program_key(recipe: Recipe) -> str:
    """Return what decides the compiled training program: cells with the same key share one.

    Scaling, epochs, early stopping, class weights, and the learning rate with its schedule are not in it.
    """
    train = {"batch_size", "optimizer", "clip_norm", "weight_decay", "label_smoothing", "ema", "diagnostics"}
    train |= {"backend", "precision", "jit"}
    return content_hash(
        recipe.model_dump(mode="json", include={"augment": True, "model": True, "data": True, "train": train})
    )


def trajectory_key(recipe: Recipe) -> str:
    """Return what decides the weights from step to step: trainings with the same key and seed are one.

    When training ends and which of its weights count is read off it. A moving average of the weights is read off it,
    too, unless the learning rate follows what is scored; and of its epochs a cosine's length is made.
    """
    train = recipe.train
    read_off = {"early_stopping"}
    read_off |= {"epochs"} if train.schedule != "cosine" else set()
    read_off |= {"ema"} if train.schedule != "plateau" else set()
    return content_hash(recipe.model_dump(mode="json", exclude={"train": read_off}))


def defaults(kind: Kind, name: object = None) -> dict[str, object]:
    """Return what a recipe is that says nothing but the model's name: of None the one for this kind of data."""
    base = RECIPES[kind]
    name = base["model"]["name"] if name is None else name
    if isinstance(name, str) and name in MODELS:
        base = merge(base, MODELS[name].own)
    return merge(base, {"model": {"name": name}})


def own_defaults(kind: Kind, name: str, other: str) -> dict[str, object]:
    """Return the defaults of the model `other` that differ from those of `name`, as path and value."""
    before, after = (_by_path(Recipe.model_validate(defaults(kind, model))) for model in (name, other))
    return {path: value for path, value in after.items() if value != before[path] and path != "model.name"}


def _by_path(recipe: Recipe) -> dict[str, object]:
    """Return the recipe's values, those of its parts by `part.name`."""
    values: dict[str, object] = {}
    for key, value in recipe.model_dump().items():
        values |= {f"{key}.{name}": inner for name, inner in value.items()} if is_mapping(value) else {key: value}
    return values


def merge(base: Mapping[str, object], over: Mapping[str, object]) -> dict[str, Any]:
    """Return `base` with the values of `over` laid over it, mapping by mapping."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if is_mapping(old) and is_mapping(value) else value
    return merged


def change(recipe: Recipe, changes: Mapping[str, object], place: Place) -> Recipe:
    """Return the recipe with each path of `changes` set to its value.

    Raises:
        StudyError: for a path that no recipe has, or a value that it can't have; `place` says where it stood.
    """
    values, known = recipe.model_dump(), paths()
    for path, value in changes.items():
        if path not in known:
            raise StudyError((*place, path), f"no recipe has {path!r}; expected {did_you_mean(path, known)}")
        nested: Any = value
        for key in reversed(path.split(".")):
            nested = {key: nested}
        values = merge(values, nested)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise explain(error, Recipe, place) from None


def content_hash(value: object) -> str:
    """Return the SHA-256 of a JSON value, in hexadecimal; equal values have equal hashes."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def paths(part: type[BaseModel] = Recipe, prefix: str = "") -> list[str]:
    """Return every path that an arm may change: `scale`, `augment.rotate`, ..."""
    names: list[str] = []
    for name, field in part.model_fields.items():
        names.append(prefix + name)
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                names += paths(inner, f"{prefix}{name}.")
    return names


def lookup(values: Mapping[str, Any] | None, path: str) -> Any:
    """Return what the nested mapping has at a path such as `train.early_stopping.patience`; None below None."""
    for part in path.split("."):
        values = values[part] if values is not None else None
    return values
