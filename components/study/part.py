"""What the parts of a study have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeGuard, get_args

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

Kind = Literal["image", "table", "text"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Place = tuple[str | int, ...]  # keys, and numbers in lists, from the study down
PLURALS: dict[Kind, str] = {"image": "images", "table": "tables", "text": "text"}


def option(default: Any, description: str, **more: Any) -> Any:
    """Return the field of a part that has a default; `description` is for users, see `assay schema`."""
    return Field(default=default, description=description, **more)


Share = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Whole = Annotated[int, Field(ge=0, strict=True)]
Count = Annotated[int, Field(ge=1, strict=True)]


def is_mapping(value: object) -> TypeGuard[Mapping[str, object]]:
    """Tell whether a value as written is a mapping; keys that are no text are refused where they are read."""
    return isinstance(value, Mapping)


def is_list(value: object) -> TypeGuard[list[object]]:
    """Tell whether a value as written is a list."""
    return isinstance(value, list)


class Part(BaseModel):
    """A part of the study: frozen, and closed against unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True, eq=False)
class OneOf:
    """Makes a text one of a table's keys: `Annotated[str, OneOf(METRICS)]`.

    The table is read whenever a value is validated, so that a row that was added to it counts.
    """

    table: Mapping[str, Any]  # by name
    able: Callable[[Any], bool] = lambda row: True  # which of its rows are meant

    def names(self) -> list[str]:
        """Return what the text may be."""
        return [name for name, row in self.table.items() if self.able(row)]

    def _check(self, value: Any) -> str:
        if value not in self.names():
            raise PydanticCustomError("literal_error", "expected one of {names}", {"names": self.names()})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": self.names(), "type": "string"}
