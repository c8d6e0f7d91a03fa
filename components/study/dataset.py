"""The study's `data`: which rows, what their columns are, and how they are split."""

from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from components.errors import StudyError
from components.formatting import did_you_mean
from components.study.part import Count, Fraction, Part, is_list, is_mapping, option
from components.study.recipe import Kind
from components.study.source_types import SOURCE_TYPES, SourceType, all_options, schemes_with, source_forms, source_type

# Findings in the data that stop a study unless its `data.allow` names them.
Allowance = Literal["duplicates", "label-column", "unreadable-files"]
Side = Annotated[int, Field(ge=1, le=8192, strict=True)]
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], BeforeValidator(lambda names: (names,) if isinstance(names, str) else names)]


def _only(name: str, description: str) -> str:
    """Return what an option is, behind the sources that have it."""
    return f"{', '.join(f'{scheme}:' for scheme in schemes_with(name))} {description}"


_OF_ANY_KIND = " and ".join(row.forms[0] for row in SOURCE_TYPES.values() if len(row.kinds) > 1)


class DatasetSpec(Part):
    """Which rows, what their columns are, and how they are split."""

    source: str = Field(description=source_forms())
    kind: Kind = option("image", f"image, table or text; known by itself but for {_OF_ANY_KIND}")
    test: Annotated[float, Field(gt=0, lt=1)] | str = option(
        0.2, "test rows: a fraction, or the name of the source's own split"
    )
    validation: Fraction = option(0.2, "validation rows: a fraction of the rest, redrawn for each seed")
    image_size: Side | tuple[Side, Side] | None = option(
        None, "images:DIR: pixels, or [height, width]; null: all images have one size already"
    )
    target: Name | None = option(
        None, _only("target", "the column of the class; null: it is called target, label, class or y")
    )
    ignore: Names = option((), _only("ignore", "columns that are left out"))
    categorical: Names = option((), _only("categorical", "columns of numbers that are codes, such as a postcode"))
    group: Name | None = option(
        None, _only("group", "rows with the same value here are never split, such as a patient")
    )
    time: Name | None = option(
        None, _only("time", "numbers or dates; the newest rows are the test, and none is shuffled")
    )
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = option(
        None, "between columns; null: a comma, in .tsv a tab"
    )
    text: Name | None = option(None, _only("text", "the column of the text; null: the one called text"))
    words: int = option(256, "text: what is longer is cut off here", ge=1, le=65536, strict=True)
    vocabulary: Count = option(10_000, "text: at most this many words, the most frequent in train rows")
    allow: tuple[Allowance, ...] = option((), "go on in spite of: duplicates, label-column, unreadable-files")

    @field_validator("allow", mode="before")
    @classmethod
    def _allowances_are_known(cls, allow: object) -> object:
        names: object = [allow] if isinstance(allow, str) else allow
        for name in names if is_list(names) else ():
            if name not in get_args(Allowance):
                expected = did_you_mean(str(name), get_args(Allowance))
                raise StudyError(("data", "allow"), f"got {name!r}; expected {expected}")
        return names

    @model_validator(mode="before")
    @classmethod
    def _source_is_known(cls, values: object) -> object:
        if not is_mapping(values) or not isinstance(source := values.get("source"), str):
            return values
        scheme, _, name = source.partition(":")
        row = SOURCE_TYPES.get(scheme)
        kinds = row.kinds_of(name) if row else ()
        if not kinds:
            raise StudyError(("data", "source"), _unknown_source(source))
        for name in all_options():
            able = schemes_with(name)
            if values.get(name) and scheme not in able:
                forms = " and ".join(SOURCE_TYPES[other].forms[0] for other in able)
                verb = "has" if len(able) == 1 else "have"
                raise StudyError(("data", name), f"only {forms} {verb} it, and the source is {source}")
        kind = values.get("kind", kinds[0])
        if kind not in kinds and set(kinds) != set(get_args(Kind)):
            raise StudyError(("data", "kind"), f"{source} is {' or '.join(kinds)} data, got {kind!r}; leave `kind` out")
        return {**values, "kind": kind}

    @property
    def source_type(self) -> SourceType:
        """What is known of this kind of source."""
        return source_type(self.source)

    @property
    def address(self) -> str:
        """Where the rows are: what stands behind the source's scheme."""
        return self.source.partition(":")[2]

    @model_validator(mode="after")
    def _columns_have_one_use(self) -> Self:
        if self.group and self.time:
            raise StudyError(("data", "time"), "rows are split by group or by time, not by both; leave one out")
        single = {"target": self.target, "group": self.group, "time": self.time, "text": self.text}
        uses = [(use, name) for use, name in single.items() if name]
        uses += [("ignore", name) for name in self.ignore] + [("categorical", name) for name in self.categorical]
        first: dict[str, str] = {}
        for use, name in uses:
            if first.setdefault(name, use) != use:
                raise StudyError(("data", use), f"column {name!r} is the {first[name]} column already")
        if self.time and isinstance(self.test, str):
            raise StudyError(("data", "test"), f"with `time` the newest rows are the test; got {self.test!r}")
        return self


def _unknown_source(source: str) -> str:
    scheme, _, name = source.partition(":")
    row = SOURCE_TYPES.get(scheme)
    if row and row.names:
        hint = did_you_mean(name, row.names, f"{scheme}:{{}}")
        return f"{row.keeper} has no data set {name!r} that Assay knows; expected {hint}"
    named = [f"{other}:{known}" for other, row in SOURCE_TYPES.items() for known in row.names]
    forms = [row.forms[0] for row in SOURCE_TYPES.values()]
    return f"no source is called {source!r}; expected {did_you_mean(source, [*named, *forms])}"
