"""result.json has one form: whoever changes it sees it here, and raises SCHEMA, so that older cells are ignored."""

import json
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from made_up import RESULT_OF_A_CELL

from components.records import from_json, to_json
from components.runtime.cells import RESULT, CellResult, Diagnosis

GOLDEN = Path(__file__).parent / "golden" / "cell_result.json"


def made() -> CellResult:
    """Return a result that has something of everything."""
    found = Diagnosis("units are dead", "dense_1", {"share": 0.7})
    return replace(RESULT_OF_A_CELL, diverged=1, diagnostics={"dense_1": {"dead": (0.7, None)}}, findings=(found,))


def test_the_golden_result_is_read_and_written_as_it_is():
    text = GOLDEN.read_text()
    assert to_json(from_json(CellResult, text, GOLDEN.name)) == text.rstrip("\n")


def test_a_fresh_result_has_the_golden_ones_keys(tiny):
    assert from_json(CellResult, GOLDEN.read_text(), GOLDEN.name) == made()
    assert list(json.loads((tiny.cell("0-0").folder / RESULT).read_text())) == list(json.loads(GOLDEN.read_text()))


@given(st.lists(st.floats(allow_nan=False)))
def test_numbers_come_back_to_the_last_digit(losses):
    result = replace(RESULT_OF_A_CELL, curves={"loss": tuple(losses)})
    assert from_json(CellResult, to_json(result), RESULT) == result
