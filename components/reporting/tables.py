"""The verdict as rows."""

from collections.abc import Mapping
from typing import Any

COLUMNS = ("technique", "arm", "effect", "low", "high", "probability", "verdict", "cost")


def records(verdict: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what each technique does, the best first."""
    effects = sorted(verdict["effects"], key=lambda effect: -effect["effect"])
    return [{column: effect[column] for column in COLUMNS} for effect in effects]
