"""What is known of each kind of source, in one row; a new source is a row here and the module that reads it.

A row may be added at run time: a source is looked up whenever a study is validated, read, mounted or served.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from components.study.recipe import Kind

COLUMNS = ("target", "ignore", "group", "time", "delimiter")


@dataclass(frozen=True)
class SourceType:
    """A kind of source."""

    module: str  # has `read(data, folder) -> Rows`, see `components.data.sources`; imported when a source is read
    forms: tuple[str, ...]  # how users write it; the first stands for it in messages
    kinds: tuple[Kind, ...] = ()  # of data that it may have; the first is what a study gets that does not say
    names: Mapping[str, Kind] = field(
        default_factory=dict[str, Kind]
    )  # where it has only these: each with its kind of data
    keeper: str = ""  # who has those names, for messages
    options: tuple[str, ...] = ()  # those of `data` that not every source has
    # whether its address is a file or folder, or a URL of one: mounted in Docker, looked for on a cluster
    is_path: bool = False
    rows_are_files: bool = False  # whether a row is a file, of which the served model takes the bytes
    # environment variable of the folder that keeps its data sets, and that folder's name in the user's home
    cache: tuple[str, str] | None = None

    def kinds_of(self, name: str) -> tuple[Kind, ...]:
        """Return the kinds of data that may be at an address; none where there can be nothing."""
        if self.names:
            return (self.names[name],) if name in self.names else ()
        return self.kinds if name else ()


# By what stands before the colon in `data.source`.
SOURCE_TYPES: dict[str, SourceType] = {
    "images": SourceType(
        "components.data.sources.images",
        ("images:DIR",),
        ("image",),
        options=("image_size",),
        is_path=True,
        rows_are_files=True,
    ),
    "table": SourceType(
        "components.data.sources.table", ("table:FILE",), ("table",), options=(*COLUMNS, "categorical"), is_path=True
    ),
    "text": SourceType(
        "components.data.sources.text", ("text:FILE", "text:DIR"), ("text",), options=(*COLUMNS, "text"), is_path=True
    ),
    "sklearn": SourceType(
        "components.data.sources.scikit",
        ("sklearn:NAME",),
        names={"digits": "image", "iris": "table", "wine": "table", "breast_cancer": "table"},
        keeper="scikit-learn",
    ),
    "tfds": SourceType(
        "components.data.sources.tfds",
        ("tfds:NAME",),
        ("image", "table", "text"),
        cache=("TFDS_DATA_DIR", "tensorflow_datasets"),
    ),
}


def source_type(source: str) -> SourceType:
    """Return the row of a source that was validated."""
    return SOURCE_TYPES[source.partition(":")[0]]


def all_options() -> list[str]:
    """Return the options of `data` that not every source has."""
    return list(dict.fromkeys(option for row in SOURCE_TYPES.values() for option in row.options))


def schemes_with(option: str) -> list[str]:
    """Return the sources that have an option of `all_options`."""
    return [scheme for scheme, row in SOURCE_TYPES.items() if option in row.options]


def source_forms() -> str:
    """Return how every source is written: `images:DIR, table:FILE, sklearn:digits, iris`."""
    free = [form for row in SOURCE_TYPES.values() if not row.names for form in row.forms]
    named = [f"{scheme}:{', '.join(row.names)}" for scheme, row in SOURCE_TYPES.items() if row.names]
    return ", ".join([*free, *named])
