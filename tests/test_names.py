"""Names of modules in strings, docstrings and pages lead somewhere: nothing else notices when a module moves."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE = re.compile(r"(components|pipeline)(\.[a-z_]+)+")
POINTER = re.compile(r"`((?:components|pipeline)(?:\.\w+)+)")  # in backticks, perhaps with arguments behind it
SOURCES = [
    file for folder in ("components", "pipeline", "tests", "benchmarks") for file in (ROOT / folder).rglob("*.py")
]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def exists(name: str) -> bool:
    """Tell whether there is such a module, or such a thing in a module, or in a class there."""
    parent, _, leaf = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:  # it is no module
        if not parent or not exists(parent):
            return False
        holder = thing(parent)
        return hasattr(holder, leaf) or leaf in getattr(holder, "__annotations__", {})
    return True


def thing(name: str) -> object:
    """Return a module, or what one has under this name."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        parent, _, leaf = name.rpartition(".")
        return getattr(thing(parent), leaf)


def strings_of(file: Path) -> set[str]:
    """Return a source's strings."""
    nodes = ast.walk(ast.parse(file.read_text("utf-8")))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_modules_that_are_named_in_strings_exist():
    names = {text for file in SOURCES for text in strings_of(file) if MODULE.fullmatch(text)}
    assert len(names) >= 10  # the modules that child processes run, and those that tests patch
    assert [name for name in sorted(names) if not exists(name)] == []


def test_imports_in_strings_lead_somewhere():
    """Scripts that are run in a process of their own."""
    wanted = re.compile(r"^\s*from ((?:components|pipeline)[.\w]*) import (\w+)", re.MULTILINE)
    lines = {match for file in SOURCES for text in strings_of(file) for match in wanted.findall(text)}
    assert lines
    assert [match for match in sorted(lines) if not exists(".".join(match))] == []


@pytest.mark.parametrize("file", [*SOURCES, *PAGES], ids=lambda file: str(file.relative_to(ROOT)))
def test_pointers_lead_somewhere(file):
    names = set(POINTER.findall(file.read_text("utf-8")))
    assert [name for name in sorted(names) if not exists(name)] == []
