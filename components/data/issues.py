"""What the owner of data should know about it: facts as fields, and the sentence is made of them last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["error", "warning", "note"]

MAX_EXAMPLES = 5  # files, rows or columns that a message names


def some(names: Sequence[str], join: str = ", ") -> str:
    """Return the first few names as text, and how many more there are."""
    more = len(names) - MAX_EXAMPLES
    return join.join(names[:MAX_EXAMPLES]) + (f", and {more} more" if more > 0 else "")


def first_line(error: Exception) -> str:
    """Return what an error says, for a message of one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


@dataclass(frozen=True)
class DataIssue:
    """Something about the data that its owner should know."""

    kind: str  # of issue; errors are allowed by it, in `data.allow`
    level: Level  # an error stops the study, a warning is printed, a note is only in the report
    sentence: str  # what is said, with `{count}` and the names of the values in it, as of `str.format`
    count: int  # how many rows, files, columns or classes it is about
    values: Mapping[str, int | float | str] = field(default_factory=dict)  # what else the sentence names
    examples: tuple[str, ...] = ()  # a few files, rows or columns
    allowed: bool = False  # whether it would be an error, had `data.allow` not named it

    @property
    def text(self) -> str:
        """One sentence, with counts."""
        return self.sentence.format(count=self.count, **self.values) + " (allowed)" * self.allowed

    @property
    def text_with_examples(self) -> str:
        """The sentence, and the examples if there are any."""
        return ": ".join([self.text, *filter(None, ["; ".join(self.examples)])])
