"""The data report as a record: what data.json says, and what Markdown, the figure and the page are made of."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from components.data.issues import DataIssue
from components.study.recipe import Kind

Time = float | str  # a number, or a date in ISO format


@dataclass(frozen=True)
class ClassCounts:
    """How many rows a class has, in all and in each part with the first seed."""

    name: str
    rows: int
    test: int
    validation: int
    train: int
    unused: int


@dataclass(frozen=True)
class SplitReport:
    """How the rows are split; rows, groups and times are those of the first seed's parts."""

    seeds: int
    test: float | str  # a fraction of the rows, or the name of the source's own split
    validation: float  # a fraction of the other rows
    group: str | None  # the column of `data.group`, as the next is of `data.time`
    time: str | None
    rows: dict[str, int]
    groups: dict[str, int] | None = None
    times: dict[str, tuple[Time, Time]] | None = None  # the oldest and the newest, of parts that have rows

    @property
    def rule(self) -> str:
        """The rule of the split as a sentence."""
        parts = ("train", "validation", "test")
        if self.times is not None:
            ends = {part: [e if isinstance(e, str) else f"{e:.12g}" for e in of] for part, of in self.times.items()}
            borders = "; ".join(f"{part} {' to '.join(ends[part])}" for part in parts if part in ends)
            return (
                f"By {self.time!r} the newest rows are the test, and no seed trains on what is newer than what it is "
                f"validated on; with seed 0: {borders}."
            )
        fixed = f"the source's own {self.test!r}"
        if isinstance(self.test, float):
            fixed = f"{100 * self.test:.3g} % of the rows"
        drawn = f"each seed draws {100 * self.validation:.3g} % of the other rows for validation"
        how = "of every class in proportion"
        if self.groups is not None:
            sides = ", ".join(f"{self.groups[name]} for {name}" for name in parts)
            how = f"whole groups of {self.group!r} at a time; with seed 0 groups are {sides}"
        return f"The test is {fixed}, and {drawn}, {how}."


@dataclass(frozen=True)
class DuplicateCounts:
    """How many rows have an identical one."""

    copies: int
    copies_within_test: int
    copies_within_rest: int
    test_rows_in_rest: int
    rows_with_two_labels: int


@dataclass(frozen=True)
class NearDuplicateCounts:
    """How many pairs of images are nearly the same."""

    pairs: int
    pairs_across_test: int


@dataclass(frozen=True)
class ImageSize:
    """How many images came with a size."""

    height: int
    width: int
    rows: int


@dataclass(frozen=True)
class ImagesReport:
    """What the images are like: the most frequent sizes, and how many there are."""

    channels: int
    sizes: tuple[ImageSize, ...]
    different_sizes: int


@dataclass(frozen=True)
class ValueCount:
    """How many rows have a value."""

    value: str
    rows: int


@dataclass(frozen=True)
class ColumnReport:
    """What is in a column of a table; of `different` values the missing one is none."""

    name: str
    type: Literal["number", "boolean", "category"]
    missing: int
    missing_share: float
    different: int
    constant: bool  # the same value in all rows, or none
    least: float | None = None  # of numbers, as the next three; None where all are missing
    mean: float | None = None
    greatest: float | None = None
    histogram: tuple[int, ...] = ()  # rows in equal parts of the range; empty where all are the same
    frequent: tuple[ValueCount, ...] = ()  # the most frequent categories, or true and false, the first most


@dataclass(frozen=True)
class Histogram:
    """How many rows are between each two edges."""

    edges: tuple[int, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True)
class ClassWords:
    """The words of a class: the most frequent, and those that are more frequent than in the other classes."""

    name: str
    frequent: tuple[str, ...]
    typical: tuple[str, ...]


@dataclass(frozen=True)
class TextReport:
    """How long texts are, in words, and which words they have."""

    least: int
    median: float
    p95: float
    greatest: int
    limit: int  # where rows are cut
    at_limit: int  # rows that may have been cut there
    words: int  # different ones
    unknown_share: dict[str, float | None]  # of a part's words, those that train rows don't have; None without words
    histogram: Histogram  # of the lengths
    classes: tuple[ClassWords, ...]


@dataclass(frozen=True)
class DataReport:
    """What there is, and what is wrong with it; the last four are each of one kind of data alone."""

    SCHEMA: ClassVar[int] = 1

    source: str
    kind: Kind
    rows: int
    shape: tuple[int, ...]  # of one row
    dtype: str
    classes: tuple[ClassCounts, ...]
    split: SplitReport
    own_splits: dict[str, int]  # rows of the source's own splits
    duplicates: DuplicateCounts
    issues: tuple[DataIssue, ...]  # the gravest first
    images: ImagesReport | None = None
    near_duplicates: NearDuplicateCounts | None = None
    text: TextReport | None = None
    columns: tuple[ColumnReport, ...] = ()
