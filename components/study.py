"""The study: what is compared, on which data, with which recipe. Every default is written here and nowhere else.

A study has a reference recipe and arms, each of which states only its differences. `Study.expand` turns them into arms
with full recipes, and `Study.cells` into cells: one arm with one seed, named by a hash of all that decides its result.

Nothing heavy is imported: reading, checking and expanding a study takes milliseconds.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from components.errors import StudyError
from components.explain import did_you_mean, explain

Kind = Literal["image", "table"]
Scale = Literal["none", "minmax", "tanh", "standardize"]
ModelName = Literal["mlp", "cnn"]
Optimizer = Literal["adam", "rmsprop", "sgd"]
Monitor = Literal["val_loss", "val_accuracy", "loss", "accuracy"]
Metric = Literal["accuracy", "macro_f1", "loss"]

HIGHER_IS_BETTER: dict[Metric, bool] = {"accuracy": True, "macro_f1": True, "loss": False}

# The data sets that scikit-learn carries, and what kind of data each is.
SKLEARN: dict[str, Kind] = {"digits": "image", "iris": "table", "wine": "table", "breast_cancer": "table"}
SOURCE_FORMS = ("images:DIR", "sklearn:NAME", "tfds:NAME")

# Findings in the data that stop a study unless its `data.allow` names them.
Allowance = Literal["duplicates", "label-column", "unreadable-files"]
Side = Annotated[int, Field(ge=1, le=8192, strict=True)]

# What differs from the fields' own defaults by the kind of data.
RECIPES: dict[Kind, dict[str, Any]] = {
    "image": {
        "augment": {"rotate": 10.0, "shift": 0.1, "zoom": 0.1},
        "scale": "minmax",
        "model": {"name": "cnn", "dropout": 0.3},
        "train": {"batch_size": 64},
    },
    "table": {"scale": "standardize", "model": {"name": "mlp", "dropout": 0.0}, "train": {"batch_size": 32}},
}

# Widths of the hidden layers unless the study gives them: dense units of `mlp`, convolution filters of `cnn`.
UNITS: dict[ModelName, tuple[int, ...]] = {"mlp": (64, 128, 128), "cnn": (32, 64)}


OFF = (False, None, "none")


def _off_is(replacement: Any) -> BeforeValidator:
    """Read each of `OFF` as "off"."""
    return BeforeValidator(lambda value: replacement if value in OFF else value)


def _allow_off(schema: dict[str, Any]) -> None:
    """Tell editors, too, that each of `OFF` may stand here."""
    known = schema.pop("anyOf", None) or [{key: schema.pop(key) for key in ("$ref", "enum", "type") if key in schema}]
    schema["anyOf"] = [*known, {"enum": list(OFF)}]


class _Part(BaseModel):
    """A part of the study: frozen, and closed against unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Data(_Part):
    """Which rows, and how they are split."""

    source: str = Field(description="images:DIR, sklearn:digits | iris | wine | breast_cancer, or tfds:NAME")
    kind: Kind = Field(default="image", description="image or table; known by itself but for tfds:NAME")
    test: Annotated[float, Field(gt=0, lt=1)] | str = Field(
        default=0.2, description="test rows: a fraction, or the name of the source's own split"
    )
    validation: float = Field(
        default=0.2, gt=0, lt=1, description="validation rows: a fraction of the rest, redrawn for each seed"
    )

    image_size: Side | tuple[Side, Side] | None = Field(
        default=None, description="images:DIR: pixels, or [height, width]; null: all images have one size already"
    )
    allow: tuple[Allowance, ...] = Field(
        default=(), description="go on in spite of: duplicates, label-column, unreadable-files"
    )

    @field_validator("allow", mode="before")
    @classmethod
    def _allowances_are_known(cls, allow: Any) -> Any:
        names = [allow] if isinstance(allow, str) else allow
        for name in names if isinstance(names, list | tuple) else ():
            if name not in get_args(Allowance):
                raise StudyError(("data", "allow"), f"got {name!r}; expected {did_you_mean(name, get_args(Allowance))}")
        return names

    @model_validator(mode="before")
    @classmethod
    def _source_is_known(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not isinstance(values.get("source"), str):
            return values
        scheme, _, name = values["source"].partition(":")
        if scheme in ("sklearn", "tfds") and values.get("image_size") is not None:
            raise StudyError(("data", "image_size"), f"only images:DIR is resized, and the source is {scheme}:{name}")
        if scheme == "tfds" and name:
            return values
        known_kind = "image" if scheme == "images" and name else SKLEARN.get(name) if scheme == "sklearn" else None
        if known_kind:
            kind = values.get("kind", known_kind)
            if kind != known_kind:
                raise StudyError(
                    ("data", "kind"), f"{scheme}:{name} is {known_kind} data, got {kind!r}; leave `kind` out"
                )
            return {**values, "kind": kind}
        if scheme == "sklearn":
            hint = did_you_mean(name, SKLEARN, "sklearn:{}")
            raise StudyError(
                ("data", "source"), f"scikit-learn has no data set {name!r} that Assay knows; expected {hint}"
            )
        hint = did_you_mean(values["source"], [*(f"sklearn:{known}" for known in SKLEARN), *SOURCE_FORMS])
        raise StudyError(("data", "source"), f"no source is called {values['source']!r}; expected {hint}")


class Augment(_Part):
    """Random changes of train rows, drawn anew in every step; each is off at 0.

    They come in this order: what moves pixels (as one warp), brightness, contrast, RandAugment's colours, erasing,
    noise, mixing. Brightness never leaves the range of the scaled train rows.
    """

    rotate: float = Field(default=0.0, ge=0, le=180, description="images: up to this many degrees either way")
    shift: float = Field(default=0.0, ge=0, lt=1, description="images: up to this fraction of height and width")
    zoom: float = Field(default=0.0, ge=0, lt=1, description="images: up to this fraction nearer or farther")
    shear: float = Field(default=0.0, ge=0, le=60, description="images: slanted by up to this many degrees either way")
    horizontal_flip: bool = Field(default=False, description="images: mirror every second row, by chance")
    vertical_flip: bool = Field(default=False, description="images: turn every second row upside down, by chance")
    brightness: float = Field(
        default=0.0, ge=0, le=1, description="images: up to this fraction of the train rows' range brighter or darker"
    )
    contrast: float = Field(
        default=0.0, ge=0, le=1, description="images: up to this fraction more or less contrast, about the image's mean"
    )
    rand_augment: float = Field(
        default=0.0, ge=0, le=1, description="images: magnitude of two changes drawn for each row (RandAugment)"
    )
    erase: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="images: random values in a rectangle of up to this fraction of the area, in every second row",
    )
    noise: float = Field(default=0.0, ge=0, le=10, description="normal noise, in standard deviations of the train rows")
    mixup: float = Field(
        default=0.0, ge=0, le=100, description="blend rows and labels in pairs, with weights of Beta(alpha, alpha)"
    )
    cutmix: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="images: paste a rectangle of another row, its area of Beta(alpha, alpha)",
    )

    def techniques(self) -> list[str]:
        """Return the names of those that are on, in the order of the fields."""
        return [name for name in type(self).model_fields if getattr(self, name)]

    def geometry(self) -> bool:
        """Tell whether anything moves pixels."""
        return any(name in GEOMETRY for name in self.techniques())

    def values(self) -> bool:
        """Tell whether anything changes values where they are."""
        return any(name in VALUES for name in self.techniques())

    def mixes(self) -> bool:
        """Tell whether rows of a batch are mixed with each other."""
        return bool(self.mixup or self.cutmix)

    def on(self) -> bool:
        """Tell whether anything is changed at all."""
        return bool(self.techniques())


# Augmentations that are part of the warp, those that change values (RandAugment does both), and those for tables.
GEOMETRY = ("rotate", "shift", "zoom", "shear", "horizontal_flip", "vertical_flip", "rand_augment")
VALUES = ("brightness", "contrast", "rand_augment", "erase", "noise")
FOR_TABLES = ("noise", "mixup")


class Model(_Part):
    """The network. Every switch works with every model."""

    name: ModelName = Field(default="mlp", description="mlp (dense layers) or cnn (convolutions, images only)")
    units: tuple[Annotated[int, Field(ge=1, le=65536)], ...] | None = Field(
        default=None, min_length=1, description="widths of the hidden layers; null: mlp 64-128-128, cnn 32-64 filters"
    )
    batch_norm: bool = Field(default=True, description="batch normalization after every hidden layer")
    batch_norm_momentum: float | None = Field(
        default=None, ge=0, lt=1, description="of the moving averages; null: chosen from the steps in an epoch"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of units dropped; 0 is off")
    l2: float = Field(default=0.0, ge=0, description="L2 penalty on the kernels; 0 is off")


class EarlyStopping(_Part):
    """When to stop before the last epoch, with the terms of `keras.callbacks.EarlyStopping`."""

    monitor: Monitor = Field(default="val_loss", description="the metric that is watched")
    patience: int = Field(default=10, ge=0, strict=True, description="epochs without improvement before stopping")
    mode: Literal["auto", "min", "max"] = Field(default="auto", description="which direction is better")
    min_delta: float = Field(default=1e-4, ge=0, description="a smaller change is no improvement")
    restore_best: bool = Field(default=True, description="end with the weights of the best epoch")

    @model_validator(mode="after")
    def _mode_fits(self) -> Self:
        better = "max" if "accuracy" in self.monitor else "min"
        if self.mode not in ("auto", better):
            raise ValueError(f"mode {self.mode!r} would keep the worst {self.monitor}; expected {better!r} or 'auto'")
        return self

    @property
    def sign(self) -> int:
        """+1 where a higher value of the monitored metric is better, else -1."""
        return 1 if "accuracy" in self.monitor else -1


class Train(_Part):
    """How the network is trained."""

    epochs: int = Field(default=100, ge=1, strict=True, description="at most this many passes over the train rows")
    batch_size: int = Field(default=32, ge=1, strict=True, description="rows in a step")
    optimizer: Optimizer = Field(default="adam", description="adam, rmsprop or sgd")
    learning_rate: float = Field(default=0.001, gt=0, le=10)
    early_stopping: Annotated[
        EarlyStopping | None,
        BeforeValidator(lambda value: {} if value is True else value),
        _off_is(None),
    ] = Field(
        default=EarlyStopping(),
        json_schema_extra=_allow_off,
        description="false: train for all epochs and keep the last",
    )


class Recipe(_Part):
    """All that one training run is told, except the data and the seed."""

    augment: Annotated[Augment, _off_is({})] = Field(
        default=Augment(), json_schema_extra=_allow_off, description="train rows only"
    )
    scale: Annotated[Scale, _off_is("none")] = Field(
        default="none",
        json_schema_extra=_allow_off,
        description="none | minmax (0..1) | tanh (-1..1) | standardize; from train rows only",
    )
    model: Model = Model()
    train: Train = Train()

    @model_validator(mode="after")
    def _rows_have_partners(self) -> Self:
        if self.augment.mixes() and self.train.batch_size < 2:
            raise ValueError("mixup and cutmix mix rows of one batch; expected a train.batch_size of at least 2, got 1")
        return self


@dataclass(frozen=True)
class Technique:
    """A switch that leave-one-out turns off: its name, where it is, and its value when off."""

    name: str
    path: str
    off: Any


TECHNIQUES = (
    Technique("augmentation", "augment", "none"),
    Technique("scaling", "scale", "none"),
    Technique("batch normalization", "model.batch_norm", False),
    Technique("dropout", "model.dropout", 0.0),
    Technique("L2", "model.l2", 0.0),
    Technique("early stopping", "train.early_stopping", None),
)
# Single augmentations. Leave-one-out does not take them one by one: each more arm makes every verdict less sure.
AUGMENTATIONS = tuple(
    Technique(name.replace("_", " "), f"augment.{name}", field.default) for name, field in Augment.model_fields.items()
)

REFERENCE = "reference"
LEAVE_ONE_OUT = "leave-one-out"
ADD_ONE_IN = "add-one-in"


@dataclass(frozen=True)
class Arm:
    """One variant of the reference.

    Attributes:
        name: unique in the study; what runs and figures are called.
        technique: what the verdict speaks of ("dropout" for the arm "no dropout").
        removes: the arm lacks the technique, whose effect is then reference minus arm; else it is arm minus reference.
        changes: the differences from the reference recipe, as path and value.
        recipe: the full recipe.
    """

    name: str
    technique: str
    removes: bool
    changes: dict[str, Any]
    recipe: Recipe


@dataclass(frozen=True)
class Cell:
    """One arm trained with one seed.

    Attributes:
        id: unique in the study: the arm's number in `Study.expand` and the seed, `3-0`.
        arm: the arm's name.
        seed: from 0.
        recipe: the arm's full recipe.
        key: cells with the same key give, on the same data, the same result.
    """

    id: str
    arm: str
    seed: int
    recipe: Recipe
    key: str


class Study(_Part):
    """A whole study, as its YAML file says it."""

    study: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\- ]*$",
        max_length=100,
        description="its name: the MLflow experiment and the registered model are called so",
    )
    data: Data
    recipe: Recipe = Field(
        default=Recipe(), description="the reference: what you would train today; what is not said has its default"
    )
    arms: str | dict[str, Any] | list[str | dict[str, Any]] = Field(
        default=LEAVE_ONE_OUT,
        description="leave-one-out, add-one-in, named differences, lists to sweep, or a list of these",
    )
    seeds: int = Field(default=5, ge=1, le=1000, strict=True, description="each arm is trained once per seed")
    metric: Metric = Field(default="accuracy", description="what the verdict is about; on validation rows")
    memory: float = Field(
        default=2.0, gt=0, description="GiB of rows that a train task may hold; more is streamed, with the same numbers"
    )

    @model_validator(mode="before")
    @classmethod
    def _kind_picks_the_recipe(cls, values: Any) -> Any:
        """Fill what the recipe does not say with the defaults for this kind of data."""
        if not isinstance(values, Mapping):
            return values
        recipe = values.get("recipe") or {}
        if not isinstance(recipe, Mapping) or not isinstance(values.get("data"), Mapping):
            return values
        try:
            kind = Data.model_validate(values["data"]).kind
        except ValidationError:  # said, with its place, when the field itself is validated
            return values
        return {**values, "recipe": merge(RECIPES[kind], recipe)}

    @field_validator("arms", mode="before")
    @classmethod
    def _arms_are_of_a_known_form(cls, arms: Any) -> Any:
        if not all(isinstance(entry, str | Mapping) for entry in (arms if isinstance(arms, list) else [arms])):
            expected = f"expected {LEAVE_ONE_OUT}, {ADD_ONE_IN}, a mapping of arms, or a list of these"
            raise StudyError(("arms",), f"{expected}, got {arms!r}")
        return arms

    @model_validator(mode="after")
    def _arms_are_possible(self) -> Self:
        self.expand()
        return self

    def expand(self) -> list[Arm]:
        """Return the reference and the arms, in the order of the file.

        Raises:
            StudyError: for an unknown path, an impossible value, or a name used twice.
        """
        entries = self.arms if isinstance(self.arms, list) else [self.arms]
        reference = self.recipe
        if ADD_ONE_IN in entries:
            if LEAVE_ONE_OUT in entries:
                raise StudyError(
                    ("arms",),
                    f"{LEAVE_ONE_OUT} starts from the full recipe and {ADD_ONE_IN} from a bare one; choose one",
                )
            reference = change(self.recipe, {t.path: t.off for t in _techniques_on(self.recipe)}, ("arms",))
        self._check_kind(reference, ("recipe",))
        arms = [Arm(REFERENCE, REFERENCE, False, {}, reference)]
        for index, entry in enumerate(entries):
            place = ("arms", index) if isinstance(self.arms, list) else ("arms",)
            arms += self._preset(entry) if isinstance(entry, str) else self._stated(entry, reference, place)
        names = [arm.name for arm in arms]
        for name in names:
            if names.count(name) > 1:
                raise StudyError(("arms",), f"two arms are called {name!r}; give one another name")
        return arms

    def cells(self) -> list[Cell]:
        """Return every arm with every seed, arm by arm."""
        return [
            Cell(f"{number}-{seed}", arm.name, seed, arm.recipe, self._key(arm.recipe, seed))
            for number, arm in enumerate(self.expand())
            for seed in range(self.seeds)
        ]

    def digest(self) -> str:
        """Return a hash of the whole study: 12 hexadecimal digits."""
        return content_hash(self.model_dump(mode="json"))[:12]

    def _key(self, recipe: Recipe, seed: int) -> str:
        data = self.data.model_dump(mode="json", exclude={"allow"})  # what is allowed changes no number
        return content_hash({"data": data, "recipe": recipe.model_dump(mode="json"), "seed": seed})[:16]

    def _preset(self, preset: str) -> list[Arm]:
        on = _techniques_on(self.recipe)
        everything_off = {t.path: t.off for t in on}
        if preset == LEAVE_ONE_OUT:
            stated = [(f"no {t.name}", t.name, True, {t.path: t.off}) for t in on]
            if len(on) > 1:
                stated.append(("bare", "all of these together", True, everything_off))
        elif preset == ADD_ONE_IN:
            full = self.recipe.model_dump()
            stated = [(f"with {t.name}", t.name, False, {t.path: _lookup(full, t.path)}) for t in on]
            if len(on) > 1:
                together = {t.path: _lookup(full, t.path) for t in on}
                stated.append(("with all", "all of these together", False, together))
        else:
            expected = did_you_mean(preset, [LEAVE_ONE_OUT, ADD_ONE_IN])
            raise StudyError(("arms",), f"no preset is called {preset!r}; expected {expected}, or a mapping")
        base = change(self.recipe, everything_off, ("arms",)) if preset == ADD_ONE_IN else self.recipe
        return [Arm(name, tech, gone, diff, change(base, diff, ("arms",))) for name, tech, gone, diff in stated]

    def _stated(self, entry: Mapping[str, Any], reference: Recipe, place: tuple[str | int, ...]) -> list[Arm]:
        """Return the arms of a mapping: a name with its differences, or a path with the values to sweep."""
        arms = []
        for key, value in entry.items():
            here = (*place, key)
            if isinstance(value, Mapping):
                arms.append(self._arm(str(key), value, reference, here))
            elif isinstance(value, list):
                swept = [self._arm(f"{key}={item}", {str(key): item}, reference, place) for item in value]
                arms += [arm for arm in swept if arm.recipe != reference]
            else:
                raise StudyError(
                    here,
                    f"an arm is a mapping of its differences, as in {{model.dropout: 0.2}}, or a list of values to "
                    f"sweep, got {value!r}",
                )
        return arms

    def _arm(self, name: str, changes: Mapping[str, Any], reference: Recipe, place: tuple[str | int, ...]) -> Arm:
        recipe = change(reference, changes, place)
        self._check_kind(recipe, place)
        # Whoever writes {model.dropout: 0} wants to know what dropout brings.
        on = _techniques_on(reference, (*TECHNIQUES, *AUGMENTATIONS))
        off = [t for t in on if recipe == change(reference, {t.path: t.off}, place)]
        return Arm(name, off[0].name if off else name, bool(off), dict(changes), recipe)

    def _check_kind(self, recipe: Recipe, place: tuple[str | int, ...]) -> None:
        if self.data.kind == "image":
            return
        if recipe.model.name == "cnn":
            raise StudyError((*place, "model", "name"), "cnn needs images, and the data is a table; expected mlp")
        wrong = [name for name in recipe.augment.techniques() if name not in FOR_TABLES]
        if wrong:
            can = " and ".join(FOR_TABLES)
            raise StudyError(
                (*place, "augment"), f"{', '.join(wrong)}: for images only, and the data is a table; it can have {can}"
            )


def program_key(recipe: Recipe) -> str:
    """Return what decides the compiled training program: cells with the same key share one.

    Scaling, the number of epochs and early stopping are not in it.
    """
    parts = recipe.model_dump(mode="json", include={"augment", "model"})
    parts["train"] = recipe.train.model_dump(mode="json", include={"batch_size", "optimizer", "learning_rate"})
    return content_hash(parts)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `over` laid over it, mapping by mapping."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def change(recipe: Recipe, changes: Mapping[str, Any], place: tuple[str | int, ...]) -> Recipe:
    """Return the recipe with each path of `changes` set to its value.

    Raises:
        StudyError: for a path that no recipe has, or a value that it can't have; `place` says where it stood.
    """
    values = recipe.model_dump()
    for path, value in changes.items():
        _at(values, path, (*place, path))
        *parents, leaf = path.split(".")
        nested: dict[str, Any] = {leaf: value}
        for parent in reversed(parents):
            nested = {parent: nested}
        values = merge(values, nested)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise explain(error, Recipe, place) from None


def content_hash(value: Any) -> str:
    """Return the SHA-256 of a JSON value, in hexadecimal; equal values have equal hashes."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def paths(part: type[BaseModel] = Recipe, prefix: str = "") -> list[str]:
    """Return every path that an arm may change: `scale`, `augment.rotate`, ..."""
    found = []
    for name, field in part.model_fields.items():
        found.append(prefix + name)
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found += paths(inner, f"{prefix}{name}.")
    return found


def _techniques_on(recipe: Recipe, techniques: Iterable[Technique] = TECHNIQUES) -> list[Technique]:
    """Return the techniques that the recipe uses: those for which "off" would change it."""
    return [t for t in techniques if change(recipe, {t.path: t.off}, ()) != recipe]


def _lookup(values: Any, path: str) -> Any:
    for part in path.split("."):
        values = values[part] if values is not None else None
    return values


def _at(values: Mapping[str, Any], path: str, place: tuple[str | int, ...]) -> Any:
    if path not in paths():
        raise StudyError(place, f"no recipe has {path!r}; expected {did_you_mean(path, paths())}")
    return _lookup(values, path)
