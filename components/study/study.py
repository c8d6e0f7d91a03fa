"""The study: what is compared, on which data, with which recipe. Every default is written once.

A study has a reference recipe and arms, each of which states only its differences. `Study.expand` turns them into arms
with full recipes, and `Study.cells` into cells: one arm with one seed, named by a hash of all that decides its result.

Nothing heavy is imported: reading, checking and expanding a study takes milliseconds.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from components.errors import StudyError
from components.formatting import did_you_mean
from components.stats.metrics import METRICS
from components.study.dataset import DatasetSpec, Names
from components.study.model_catalogue import APPLICATIONS, MODELS
from components.study.part import OneOf, Part
from components.study.recipe import (
    OF_PROCESS,
    Kind,
    Recipe,
    change,
    content_hash,
    defaults,
    lookup,
    merge,
    own_defaults,
    refuse_kind,
)
from components.study.techniques import AUGMENTATIONS, TECHNIQUES, techniques_on

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
        pair: the names of the two arms whose changes it has both; None of all other arms.
    """

    name: str
    technique: str
    removes: bool
    changes: dict[str, Any]
    recipe: Recipe
    pair: tuple[str, str] | None = None

    @property
    def is_size(self) -> bool:
        """Whether it is no technique but the reference with fewer rows: a point of the learning curve."""
        return set(self.changes) == {"data"}


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


class Screening(Part):
    """What `assay run --budget` did before: seeds of their own, which chose arms and count for nothing else."""

    seeds: int = Field(default=0, ge=0, strict=True, description="how many; the study's own seeds come after them")
    dropped: dict[str, float] = Field(
        default={}, description="arms that are not trained further, each with its technique's effect on those seeds"
    )


class Gate(Part):
    """What a new model must show to become the champion; shares are fractions: 0.01 is one point.

    See `components.registry.gate` for the rule.
    """

    margin: float = Field(
        default=0.0,
        description="by how much the metric must surely beat the champion's; below 0: how much worse it may be",
    )
    guard: tuple[Annotated[str, OneOf(METRICS)], ...] = Field(
        default=(),
        description="of accuracy, macro_f1, loss, ece: what must not be surely worse",
    )
    guard_margin: float = Field(default=0.0, ge=0, description="how much worse a metric of `guard` may be")
    slice_margin: float = Field(
        default=0.02,
        ge=0,
        description="how much worse a class or slice may be, in accuracy (the loss, if that is the metric)",
    )


class Retrain(Part):
    """What `--retrain` does instead of the study: train the champion's recipe again, on the data of today.

    See `components.registry.retrain`.
    """

    enabled: bool = Field(default=False, description="retrain, as `--retrain` says")
    seeds: int = Field(default=3, ge=1, le=1000, strict=True, description="the recipe is trained once per seed")
    study_if_drift: bool = Field(
        default=False, description="run the whole study where the data has drifted, as `--study-if-drift` says"
    )
    drift: float = Field(
        default=0.2, gt=0, description="population stability index from which a column, say, has drifted"
    )


class Study(Part):
    """A whole study, as its YAML file says it."""

    study: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\- ]*$",
        max_length=100,
        description="its name: the MLflow experiment and the registered model are called so",
    )
    data: DatasetSpec
    recipe: Recipe = Field(
        default=Recipe(), description="the reference: what you would train today; what is not said has its default"
    )
    arms: str | dict[str, Any] | list[str | dict[str, Any]] = Field(
        default=LEAVE_ONE_OUT,
        description="leave-one-out, add-one-in, named differences, lists to sweep, or a list of these",
    )
    seeds: int = Field(default=5, ge=1, le=1000, strict=True, description="each arm is trained once per seed")
    pairs: bool = Field(
        default=False, description="train every two techniques together, too, and say how they work with each other"
    )
    slices: Names = Field(
        default=(), description="columns of a table; effects are given by their values, too, as they are by class"
    )
    metric: Annotated[str, OneOf(METRICS, lambda row: row.decides)] = Field(
        default="accuracy", description="what the verdict is about; on validation rows"
    )
    gate: Gate = Field(default=Gate(), description="what a new model must show to become the champion")
    retrain: Retrain = Field(default=Retrain(), description="what `--retrain` does instead of the study")
    memory: float = Field(
        default=2.0, gt=0, description="GiB of rows that a train task may hold; more is streamed, with the same numbers"
    )

    checkpoint: float = Field(
        default=1.0,
        ge=0,
        description="minutes of training that a killed train task may lose, beside the epoch that it was in",
    )
    screening: Screening = Screening()
    promote: bool = Field(default=True, description="register the winner, and make it the champion if it earns it")

    @model_validator(mode="before")
    @classmethod
    def _kind_and_model_pick_the_recipe(cls, values: Any) -> Any:
        """Fill what the recipe and the arms do not say with the defaults of this kind of data and of their model."""
        if not isinstance(values, Mapping):
            return values
        recipe = values.get("recipe") or {}
        if not isinstance(recipe, Mapping) or not isinstance(values.get("data"), Mapping):
            return values
        try:
            kind = DatasetSpec.model_validate(values["data"]).kind
        except ValidationError:  # said, with its place, when the field itself is validated
            return values
        model = recipe.get("model")
        full = merge(defaults(kind, model.get("name") if isinstance(model, Mapping) else None), recipe)
        name = full["model"]["name"] if isinstance(full["model"], Mapping) else None
        arms = {"arms": _with_own_defaults(values["arms"], kind, name, recipe)} if "arms" in values else {}
        return {**values, "recipe": full, **arms}

    @field_validator("arms", mode="before")
    @classmethod
    def _arms_are_of_a_known_form(cls, arms: Any) -> Any:
        if not all(isinstance(entry, str | Mapping) for entry in (arms if isinstance(arms, list) else [arms])):
            expected = f"expected {LEAVE_ONE_OUT}, {ADD_ONE_IN}, a mapping of arms, or a list of these"
            raise StudyError(("arms",), f"{expected}, got {arms!r}")
        return arms

    @model_validator(mode="after")
    def _slices_are_of_tables(self) -> Self:
        if self.slices and self.data.kind != "table":
            raise StudyError(("slices",), f"only tables have columns, and the data is {self.data.kind}; leave it out")
        return self

    @model_validator(mode="after")
    def _arms_are_possible(self) -> Self:
        for arm in self.expand():
            self._key(arm.recipe, seed=0)  # weights that are not there are said now
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
            reference = change(self.recipe, {t.path: t.off for t in techniques_on(self.recipe)}, ("arms",))
        refuse_kind(reference, self.data.kind, ("recipe",))
        arms = [Arm(REFERENCE, REFERENCE, False, {}, reference)]
        for index, entry in enumerate(entries):
            place = ("arms", index) if isinstance(self.arms, list) else ("arms",)
            arms += self._preset(entry) if isinstance(entry, str) else self._stated(entry, reference, place)
        if self.pairs:
            arms += self._pairs(arms[1:], reference)
        names = [arm.name for arm in arms]
        for name in names:
            if names.count(name) > 1:
                raise StudyError(("arms",), f"two arms are called {name!r}; give one another name")
        dropped = self.screening.dropped.keys()
        for name in dropped - set(names):
            raise StudyError(
                ("screening", "dropped"), f"no arm is called {name!r}; expected {did_you_mean(name, names)}"
            )
        return [arm for arm in arms if not {arm.name, *(arm.pair or ())} & dropped]

    def of_recipe(self, recipe: Recipe, seeds: int) -> "Study":
        """Return this study with a recipe alone: nothing is compared with it."""
        alone = {"recipe": recipe.model_dump(), "arms": {}, "seeds": seeds, "pairs": False, "screening": {}}
        return Study.model_validate({**self.model_dump(), **alone})

    def cells(self) -> list[Cell]:
        """Return every arm with every seed, arm by arm."""
        return [
            Cell(f"{number}-{seed}", arm.name, seed, arm.recipe, self._key(arm.recipe, seed))
            for number, arm in enumerate(self.expand())
            for seed in self.seed_numbers
        ]

    @property
    def seed_numbers(self) -> range:
        """The seeds' numbers: from 0, or after those of the screening."""
        return range(self.screening.seeds, self.screening.seeds + self.seeds)

    def digest(self) -> str:
        """Return a hash of the whole study: 12 hexadecimal digits."""
        return content_hash(self.model_dump(mode="json"))[:12]

    def _key(self, recipe: Recipe, seed: int) -> str:
        data = self.data.model_dump(mode="json", exclude={"allow"})  # what is allowed changes no number
        decides: dict[str, Any] = {"data": data, "recipe": recipe.model_dump(mode="json"), "seed": seed}
        if recipe.model.weights and recipe.model.name.startswith(APPLICATIONS):
            decides["weights"] = _file_hash(recipe.model.weights)  # another file may come to have this name
        return content_hash(decides)[:16]

    def _preset(self, preset: str) -> list[Arm]:
        on = techniques_on(self.recipe)
        everything_off = {t.path: t.off for t in on}
        if preset == LEAVE_ONE_OUT:
            stated = [(f"no {t.name}", t.name, True, {t.path: t.off}) for t in on]
            if len(on) > 1:
                stated.append(("bare", "all of these together", True, everything_off))
        elif preset == ADD_ONE_IN:
            full = self.recipe.model_dump()
            stated = [(f"with {t.name}", t.name, False, {t.path: lookup(full, t.path)}) for t in on]
            if len(on) > 1:
                together = {t.path: lookup(full, t.path) for t in on}
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

    def _pairs(self, arms: list[Arm], reference: Recipe) -> list[Arm]:
        """Return an arm for every two that add, or remove, different things; what can't be had together is left out."""
        pairs = []
        for first, second in combinations([arm for arm in arms if not arm.is_size], 2):
            if first.removes != second.removes or _overlap(first.changes, second.changes):
                continue
            changes = {**first.changes, **second.changes}
            try:
                recipe = change(reference, changes, ("pairs",))
                refuse_kind(recipe, self.data.kind, ("pairs",))
            except StudyError:
                continue
            name, technique = f"{first.name}, {second.name}", f"{first.technique} and {second.technique}"
            pairs.append(Arm(name, technique, first.removes, changes, recipe, (first.name, second.name)))
        return pairs

    def _arm(self, name: str, changes: Mapping[str, Any], reference: Recipe, place: tuple[str | int, ...]) -> Arm:
        recipe = change(reference, changes, place)
        refuse_kind(recipe, self.data.kind, place)
        _refuse_another_process(recipe, reference, place)
        # Whoever writes {model.dropout: 0} wants to know what dropout brings.
        on = techniques_on(reference, (*TECHNIQUES, *AUGMENTATIONS))
        off = [t for t in on if recipe == change(reference, {t.path: t.off}, place)]
        return Arm(name, off[0].name if off else name, bool(off), dict(changes), recipe)


def _refuse_another_process(recipe: Recipe, reference: Recipe, place: tuple[str | int, ...]) -> None:
    """Refuse an arm that would need a process of its own.

    Raises:
        StudyError: with the path of what differs.
    """
    ours, theirs = recipe.model_dump(), reference.model_dump()
    for path in OF_PROCESS:
        found, expected = lookup(ours, path), lookup(theirs, path)
        if found != expected:
            raise StudyError(
                (*place, path),
                f"all arms share one process, which has one {path}; expected {expected!r} as in the reference, "
                f"got {found!r}; say it in the recipe, and compare two studies",
            )


def _overlap(first: Iterable[str], second: Iterable[str]) -> bool:
    """Tell whether two arms change the same path, or one a part of what the other changes."""
    return any(f"{a}.".startswith(f"{b}.") or f"{b}.".startswith(f"{a}.") for a in first for b in second)


def _with_own_defaults(arms: Any, kind: Kind, name: Any, stated: Mapping[str, Any]) -> Any:
    """Return the arms; one that sets `model.name` also sets that model's defaults, but for what is stated.

    Args:
        arms: as written; what is wrong with them is left as it is, and refused later.
        kind: of the data.
        name: of the reference's model.
        stated: the recipe as written.
    """
    if isinstance(arms, list):
        return [_with_own_defaults(entry, kind, name, stated) for entry in arms]
    if not isinstance(arms, Mapping) or not _is_model(name):
        return arms
    filled: dict[str, Any] = {}
    for key, value in arms.items():
        if key == "model.name" and isinstance(value, list) and all(map(_is_model, value)):
            swept = {f"{key}={other}": {key: other} for other in value if other != name}
            filled |= _with_own_defaults(swept, kind, name, stated)
        elif isinstance(value, Mapping) and _is_model(value.get("model.name")):
            own = own_defaults(kind, name, value["model.name"])
            filled[key] = {**{path: of for path, of in own.items() if not _states(stated, path)}, **value}
        else:
            filled[key] = value
    return filled


def _is_model(name: Any) -> bool:
    return isinstance(name, str) and name in MODELS


def _states(stated: Mapping[str, Any], path: str) -> bool:
    """Tell whether a recipe as written says what is at `part.name`; a part that is off says all of it."""
    part, _, name = path.partition(".")
    inner = stated.get(part, {})
    return name in inner if isinstance(inner, Mapping) else True


@cache
def _file_hash(file: str) -> str:
    """Return the SHA-256 of a file.

    Raises:
        StudyError: where it can't be read.
    """
    try:
        with Path(file).open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise StudyError(("recipe", "model", "weights"), f"{file}: can't be read: {error.strerror}") from None
