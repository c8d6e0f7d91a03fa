"""The study: what is compared, on which data, with which recipe. Every default is written once.

A study has a reference recipe and arms, each of which states only its differences. `Study.expand` turns them into arms
with full recipes, and `Study.cells` into cells: one arm with one seed, named by a hash of all that decides its result.

Nothing heavy is imported: reading, checking and expanding a study takes milliseconds.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, ValidationError, field_validator, model_validator

from components.errors import StudyError
from components.formatting import did_you_mean
from components.stats.metrics import METRICS
from components.study.arms import ADD_ONE_IN, LEAVE_ONE_OUT, Arm, Arms, expand, with_own_defaults
from components.study.arms import REFERENCE as REFERENCE
from components.study.dataset import DatasetSpec, Names
from components.study.model_catalogue import APPLICATIONS
from components.study.part import OneOf, Part, is_list, is_mapping, option
from components.study.recipe import Recipe, content_hash, defaults, merge


@dataclass(frozen=True)
class Cell:
    """One arm trained with one seed."""

    id: str  # unique in the study: the arm's number in `Study.expand` and the seed, `3-0`
    arm: str
    seed: int  # from 0
    recipe: Recipe
    key: str  # cells with the same key give, on the same data, the same result


class Gate(Part):
    """What a new model must show to become the champion; shares are fractions: 0.01 is one point.

    See `components.registry.gate` for the rule.
    """

    margin: float = option(
        0.0, "by how much the metric must significantly beat the champion's; below 0: how much worse it may be"
    )
    guard: tuple[Annotated[str, OneOf(METRICS)], ...] = option(
        (), "of accuracy, macro_f1, loss, ece: what must not be significantly worse"
    )
    guard_margin: NonNegativeFloat = option(0.0, "how much worse a metric of `guard` may be")
    slice_margin: NonNegativeFloat = option(
        0.02, "how much worse a class or slice may be, in accuracy (the loss, if that is the metric)"
    )


class Retrain(Part):
    """What `--retrain` does instead of the study: train the champion's recipe again, on the data of today.

    See `components.registry.retrain`.
    """

    enabled: bool = option(False, "retrain, as `--retrain` says")
    seeds: int = option(3, "the recipe is trained once per seed", ge=1, le=1000, strict=True)
    study_if_drift: bool = option(False, "run the whole study where the data has drifted, as `--study-if-drift` says")
    drift: PositiveFloat = option(0.2, "population stability index from which a column, say, has drifted")


class Study(Part):
    """A whole study, as its YAML file says it."""

    study: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\- ]*$",
        max_length=100,
        description="its name: the MLflow experiment and the registered model are called so",
    )
    data: DatasetSpec
    recipe: Recipe = option(Recipe(), "the reference: what you would train today; what is not said has its default")
    arms: Arms = option(
        LEAVE_ONE_OUT, "leave-one-out, add-one-in, named differences, lists to sweep, or a list of these"
    )
    seeds: int = option(5, "each arm is trained once per seed", ge=1, le=1000, strict=True)
    pairs: bool = option(False, "train every two techniques together, too, and say how they work with each other")
    slices: Names = option((), "columns of a table; effects are given by their values, too, as they are by class")
    metric: Annotated[str, OneOf(METRICS, lambda row: row.decides)] = option(
        "accuracy", "what people read, and what the gate compares"
    )
    decide_on: Annotated[str, OneOf(METRICS, lambda row: row.decides)] | None = option(
        None,
        "the metric that decides; by default the Brier score, which sees more in the same rows, beside accuracy or "
        "macro F1, and else `metric` itself",
    )
    matters: PositiveFloat = option(
        0.01, "the smallest difference that matters: 0.01 is a point, and of a number without a unit 1 %"
    )
    gate: Gate = option(Gate(), "what a new model must show to become the champion")
    retrain: Retrain = option(Retrain(), "what `--retrain` does instead of the study")
    memory: PositiveFloat = option(
        2.0, "GiB of rows that a train task may hold; more is streamed, with the same numbers"
    )

    checkpoint: NonNegativeFloat = option(
        1.0, "minutes of training that a killed train task may lose, beside the epoch that it was in"
    )
    planned: int | None = option(
        None,
        "seeds up to which it is going to be looked at again, as `--until-decided` says; each look spends its part of "
        "the 5 %",
        ge=1,
        le=1000,
        strict=True,
    )
    stopped: dict[str, int] = option({}, "arms that are trained no further, each with its number of seeds")
    promote: bool = option(True, "register the winner, and make it the champion if it earns it")

    @model_validator(mode="before")
    @classmethod
    def _kind_and_model_pick_the_recipe(cls, values: object) -> object:
        """Fill what the recipe and the arms do not say with the defaults of this kind of data and of their model."""
        if not is_mapping(values):
            return values
        recipe: object = values.get("recipe") or dict[str, object]()
        data = values.get("data")
        if not is_mapping(recipe) or not is_mapping(data):
            return values
        try:
            kind = DatasetSpec.model_validate(data).kind
        except ValidationError:  # said, with its place, when the field itself is validated
            return values
        model = recipe.get("model")
        full = merge(defaults(kind, model.get("name") if is_mapping(model) else None), recipe)
        name = full["model"].get("name") if is_mapping(full["model"]) else None
        arms = {"arms": with_own_defaults(values["arms"], kind, name, recipe)} if "arms" in values else {}
        return {**values, "recipe": full, **arms}

    @field_validator("arms", mode="before")
    @classmethod
    def _arms_are_of_a_known_form(cls, arms: object) -> object:
        if not all(isinstance(entry, str) or is_mapping(entry) for entry in (arms if is_list(arms) else [arms])):
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
        arms = expand(self.arms, self.recipe, self.data.kind, pairs=self.pairs)
        names = [arm.name for arm in arms[1:]]
        for name, seeds in self.stopped.items():
            if name not in names:
                raise StudyError(("stopped",), f"no arm is called {name!r}; expected {did_you_mean(name, names)}")
            if not 1 <= seeds <= self.seeds:
                raise StudyError(("stopped", name), f"expected 1 to {self.seeds} seeds, got {seeds}")
        return arms

    def of_recipe(self, recipe: Recipe, seeds: int) -> "Study":
        """Return this study with a recipe alone: nothing is compared with it."""
        alone = {
            "recipe": recipe.model_dump(),
            "arms": {},
            "seeds": seeds,
            "pairs": False,
            "planned": None,
            "stopped": {},
        }
        return Study.model_validate({**self.model_dump(), **alone})

    def of_seeds(self, seeds: int) -> "Study":
        """Return this study with another number of seeds, of all arms."""
        return self.model_copy(update={"seeds": seeds, "stopped": {}})

    def cells(self) -> list[Cell]:
        """Return every arm with every seed, arm by arm."""
        return [
            Cell(f"{number}-{seed}", arm.name, seed, arm.recipe, self._key(arm.recipe, seed))
            for number, arm in enumerate(self.expand())
            for seed in range(self.seeds_of(arm.name))
        ]

    @property
    def decided_by(self) -> str:
        """The metric that verdicts are about, see `decide_on`."""
        return self.decide_on or ("brier" if METRICS[self.metric].counts else self.metric)

    def seeds_of(self, arm: str) -> int:
        """Return with how many seeds an arm is trained, whose numbers are from 0."""
        return self.stopped.get(arm, self.seeds)

    def digest(self) -> str:
        """Return a hash of the whole study: 12 hexadecimal digits."""
        return content_hash(self.model_dump(mode="json"))[:12]

    def _key(self, recipe: Recipe, seed: int) -> str:
        data = self.data.model_dump(mode="json", exclude={"allow"})  # what is allowed changes no number
        decides: dict[str, object] = {"data": data, "recipe": recipe.model_dump(mode="json"), "seed": seed}
        if recipe.model.weights and recipe.model.name.startswith(APPLICATIONS):
            decides["weights"] = _file_hash(recipe.model.weights)  # another file may come to have this name
        return content_hash(decides)[:16]


@cache
def _file_hash(file: str) -> str:
    """Return the SHA-256 of a file."""
    try:
        with Path(file).open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise StudyError(("recipe", "model", "weights"), f"{file}: can't be read: {error.strerror}") from None
