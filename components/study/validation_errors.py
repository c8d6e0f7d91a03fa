"""Turns pydantic's validation errors into one sentence that names the place, what was expected and the nearest name."""

import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from components.errors import StudyError
from components.formatting import did_you_mean


def explain(error: ValidationError, model: type[BaseModel], place: tuple[str | int, ...] = ()) -> StudyError:
    """Return the first thing that is wrong, said for people.

    Args:
        error: what pydantic raised.
        model: the class that was validated, to list the keys it has.
        place: where that class's values stand in the study.
    """
    # A union reports a failure per member; the deepest is the one that the user meant.
    first = max(error.errors(), key=lambda e: (e["type"] == "extra_forbidden", len(e["loc"])))
    *parents, last = first["loc"]
    keep_last = first["type"] == "extra_forbidden" or not _is_union_tag(last)  # a user's key may look like a tag
    loc = tuple(part for part in parents if not _is_union_tag(part)) + ((last,) if keep_last else ())
    path = (*place, *loc)
    got = first["input"]
    context = first.get("ctx", {})
    match first["type"]:
        case "extra_forbidden":
            parent = _model_at(model, loc[:-1])
            keys = list(parent.model_fields) if parent else []
            return StudyError(path, f"unknown key {loc[-1]!r}; expected {did_you_mean(str(loc[-1]), keys)}")
        case "missing":
            return StudyError(path, "is missing and has no default")
        case "literal_error":
            names = context.get("names") or [name.strip("'") for name in re.split(", | or ", context["expected"])]
            return StudyError(path, f"got {got!r}; expected {did_you_mean(str(got), names)}")
        case "value_error":
            return StudyError(path, str(context["error"]))
        case _:
            value = repr(got) if len(repr(got)) <= 80 else f"{repr(got)[:77]}..."
            return StudyError(path, f"expected {_expected(first)}, got {value}")


def _expected(error: Mapping[str, Any]) -> str:
    """Return what pydantic expected, as a noun."""
    for bound, value in error.get("ctx", {}).items():
        if bound in ("gt", "ge", "lt", "le"):
            words = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
            return f"a value {words[bound]} {value}"
    nouns = {
        "int_type": "a whole number",
        "int_parsing": "a whole number",
        "int_from_float": "a whole number",
        "float_type": "a number",
        "float_parsing": "a number",
        "bool_type": "true or false",
        "bool_parsing": "true or false",
        "string_type": "text",
        "model_type": "a mapping of keys to values",
        "dict_type": "a mapping of keys to values",
        "too_short": "at least one entry",
        "string_pattern_mismatch": "letters, digits, spaces, and . _ - (the first a letter or digit)",
        "tuple_type": "a list",
        "finite_number": "a finite number",
    }
    return nouns.get(error["type"]) or error["msg"].removeprefix("Input should be ")


def _is_union_tag(part: str | int) -> bool:
    """Tell whether a part of a location is pydantic's name for a member of a union, not a key of the user's."""
    return isinstance(part, str) and (
        part in ("float", "str", "constrained-str", "[key]")
        or part.startswith(("constrained", "function-", "tuple[", "dict[", "list["))
        or part[:1].isupper()
    )


def _model_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> type[BaseModel] | None:
    """Return the class at a location, looking through `X | None`."""
    for part in loc:
        field = model.model_fields.get(str(part))
        if field is None:
            return None
        inner = [t for t in (field.annotation, *get_args(field.annotation)) if isinstance(t, type)]
        nested = next((t for t in inner if issubclass(t, BaseModel)), None)
        if nested is None:
            return None
        model = nested
    return model
