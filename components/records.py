"""Results as files: frozen dataclasses as JSON and back.

The outermost record of a file has `SCHEMA`, the version of its form, which stands in the file as `schema` and goes up
by one whenever a field changes. What another version has written is refused, and never misread.
"""

from functools import cache
from typing import Any, ClassVar, Protocol, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json as parse_json
from pydantic_core import to_json as render_json

from components.errors import AssayError


class Record(Protocol):
    """A frozen dataclass that is a file of its own."""

    SCHEMA: ClassVar[int]


AnyRecord = TypeVar("AnyRecord", bound=Record)


class FormError(AssayError):
    """A file is not of the form that this version reads."""


def to_json(record: Record) -> str:
    """Return a record as JSON; numbers that are not finite are written as Python's own json module writes them."""
    values = _adapter(type(record)).dump_python(record)
    return render_json({"schema": record.SCHEMA, **values}, indent=1, inf_nan_mode="constants").decode()


def from_json(kind: type[AnyRecord], text: str | bytes, source: str) -> AnyRecord:
    """Return a record that `to_json` wrote.

    Args:
        kind: its class.
        text: the JSON.
        source: the file's name or address, for messages.

    Raises:
        FormError: for JSON of another form, or none at all.
    """
    try:
        values = parse_json(text)
        found = values.pop("schema", None) if isinstance(values, dict) else None
        if found == kind.SCHEMA:
            return cast(AnyRecord, _adapter(kind).validate_python(values))
        reason = f"its form is of version {found or 0}, and this Assay reads version {kind.SCHEMA}"
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except ValueError as error:
        reason = str(error)
    raise FormError(f"{source} can't be read: {reason}; run the study again")


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
