"""A record comes back as it was written, and what is not of its form is refused in a sentence."""

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest

from components.records import FormError, from_json, to_json


@dataclass(frozen=True)
class Part:
    name: str
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Whole:
    SCHEMA: ClassVar[int] = 3

    parts: tuple[Part, ...]
    by_name: dict[str, Part]
    least: float | None = None


WHOLE = Whole((Part("a", (1.0, math.inf)), Part("b")), {"c": Part("c", (0.1,))}, -0.25)


def test_a_record_comes_back_as_it_was():
    assert from_json(Whole, to_json(WHOLE), "whole.json") == WHOLE
    assert '"schema": 3' in to_json(WHOLE)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"parts": [], "by_name": {}}', "its form is of version 0, and this Assay reads version 3"),
        (to_json(WHOLE).replace('"schema": 3', '"schema": 4'), "its form is of version 4"),
        ('{"schema": 3, "parts": [{"name": 1}], "by_name": {}}', "parts.0.name: "),
        ('{"schema": 3', "EOF while parsing"),
        ("[]", "version 0"),
    ],
)
def test_another_form_is_refused_in_a_sentence(text, told):
    with pytest.raises(FormError, match=r"^whole.json can't be read: .*; run the study again$") as caught:
        from_json(Whole, text, "whole.json")
    assert told in str(caught.value)
