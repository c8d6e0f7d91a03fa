"""A decision as a file."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from components.data.slices import Slice
from components.records import from_json, to_json
from components.registry.decision import Decision
from components.registry.gate import Rows, judge
from components.study.study import Gate

GOLDEN = (Path(__file__).parent / "golden" / "decision.json").read_text()


def keys(value: Any) -> Any:
    """Return the keys of a JSON value at all depths, and of a list those of its first element."""
    if isinstance(value, list):
        return [keys(value[0])] if value else []
    return {name: keys(of) for name, of in value.items()} if isinstance(value, dict) else None


def made() -> Decision:
    """Return a promotion that a guard and a slice have looked at."""
    y = np.arange(200) % 2
    right, wrong = np.eye(2)[y] * 0.8 + 0.1, np.eye(2)[np.where(np.arange(200) < 40, 1 - y, y)] * 0.8 + 0.1
    judgement = judge(Gate(guard=("loss",)), "accuracy", Rows(right, wrong, y), {Slice("class", "1"): y == 1}, "1")
    aliases = {"previous": "1", "champion": "2", "challenger": None}
    of_model: dict[str, Any] = {"model": "digits", "version": "2", "champion": "2", "before": "1", "aliases": aliases}
    return Decision(**vars(judgement), **of_model, by="ada")


def test_a_decision_in_a_file_is_read_and_written_as_it_was():
    assert to_json(from_json(Decision, GOLDEN, "decision.json")) == GOLDEN
    assert keys(json.loads(to_json(made()))) == keys(json.loads(GOLDEN))
    assert list(from_json(Decision, to_json(made()), "decision.json").aliases) == ["previous", "champion", "challenger"]
