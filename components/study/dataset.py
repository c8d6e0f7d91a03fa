"""The study's `data`: which rows, what their columns are, and how they are split."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from components.errors import StudyError
from components.formatting import did_you_mean
from components.study.part import Part
from components.study.recipe import Kind

# The data sets that scikit-learn carries, and what kind of data each is.
SKLEARN: dict[str, Kind] = {"digits": "image", "iris": "table", "wine": "table", "breast_cancer": "table"}

# The kind of data that a source always has; tfds:NAME has any, and says nothing of it before it is read.
KINDS: dict[str, Kind] = {"images": "image", "table": "table", "text": "text"}
SOURCE_FORMS = ("images:DIR", "table:FILE", "text:FILE", "sklearn:NAME", "tfds:NAME")

# Options that only some sources have.
FILES = ("table", "text")
OPTIONS_OF: dict[str, tuple[str, ...]] = {
    "image_size": ("images",),
    "target": FILES,
    "ignore": FILES,
    "group": FILES,
    "time": FILES,
    "delimiter": FILES,
    "categorical": ("table",),
    "text": ("text",),
}

# Findings in the data that stop a study unless its `data.allow` names them.
Allowance = Literal["duplicates", "label-column", "unreadable-files"]
Side = Annotated[int, Field(ge=1, le=8192, strict=True)]
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], BeforeValidator(lambda names: (names,) if isinstance(names, str) else names)]


class DatasetSpec(Part):
    """Which rows, what their columns are, and how they are split."""

    source: str = Field(
        description="images:DIR, table:FILE, text:FILE, text:DIR, tfds:NAME, sklearn:digits, iris, wine, breast_cancer"
    )
    kind: Kind = Field(default="image", description="image, table or text; known by itself but for tfds:NAME")
    test: Annotated[float, Field(gt=0, lt=1)] | str = Field(
        default=0.2, description="test rows: a fraction, or the name of the source's own split"
    )
    validation: float = Field(
        default=0.2, gt=0, lt=1, description="validation rows: a fraction of the rest, redrawn for each seed"
    )
    image_size: Side | tuple[Side, Side] | None = Field(
        default=None, description="images:DIR: pixels, or [height, width]; null: all images have one size already"
    )
    target: Name | None = Field(
        default=None,
        description="table:, text: the column of the class; null: it is called target, label, class or y",
    )
    ignore: Names = Field(default=(), description="table:, text: columns that are left out")
    categorical: Names = Field(default=(), description="table: columns of numbers that are codes, such as a postcode")
    group: Name | None = Field(
        default=None, description="table:, text: rows with the same value here are never split, such as a patient"
    )
    time: Name | None = Field(
        default=None, description="table:, text: numbers or dates; the newest rows are the test, and none is shuffled"
    )
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = Field(
        default=None, description="between columns; null: a comma, in .tsv a tab"
    )
    text: Name | None = Field(default=None, description="text: the column of the text; null: the one called text")
    words: int = Field(default=256, ge=1, le=65536, strict=True, description="text: what is longer is cut off here")
    vocabulary: int = Field(
        default=10_000, ge=1, strict=True, description="text: at most this many words, the most frequent in train rows"
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
        known = SKLEARN.get(name) if scheme == "sklearn" else KINDS.get(scheme) if name else None
        if known is None and not (scheme == "tfds" and name):
            raise StudyError(("data", "source"), _unknown_source(values["source"]))
        for option, schemes in OPTIONS_OF.items():
            if values.get(option) and scheme not in schemes:
                able = " and ".join(form for form in SOURCE_FORMS if form.partition(":")[0] in schemes)
                verb = "has" if len(schemes) == 1 else "have"
                raise StudyError(("data", option), f"only {able} {verb} it, and the source is {values['source']}")
        if known is None:
            return values
        kind = values.get("kind", known)
        if kind != known:
            raise StudyError(("data", "kind"), f"{values['source']} is {known} data, got {kind!r}; leave `kind` out")
        return {**values, "kind": kind}

    @model_validator(mode="after")
    def _columns_have_one_use(self) -> Self:
        uses = [(use, getattr(self, use)) for use in ("target", "group", "time", "text") if getattr(self, use)]
        if self.group and self.time:
            raise StudyError(("data", "time"), "rows are split by group or by time, not by both; leave one out")
        uses += [(use, name) for use in ("ignore", "categorical") for name in getattr(self, use)]
        first: dict[str, str] = {}
        for use, name in uses:
            if first.setdefault(name, use) != use:
                raise StudyError(("data", use), f"column {name!r} is the {first[name]} column already")
        if self.time and isinstance(self.test, str):
            raise StudyError(("data", "test"), f"with `time` the newest rows are the test; got {self.test!r}")
        return self


def _unknown_source(source: str) -> str:
    scheme, _, name = source.partition(":")
    if scheme == "sklearn":
        hint = did_you_mean(name, SKLEARN, "sklearn:{}")
        return f"scikit-learn has no data set {name!r} that Assay knows; expected {hint}"
    hint = did_you_mean(source, [*(f"sklearn:{known}" for known in SKLEARN), *SOURCE_FORMS])
    return f"no source is called {source!r}; expected {hint}"
