"""The notebook of docs/ runs as it is, and still says the same."""

import re
from pathlib import Path

import nbformat
import pytest
from command import HANGS_SECONDS
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "docs" / "notebook.ipynb"


def output(notebook: nbformat.NotebookNode, of: str) -> str:
    """Return as text what the first cell with this code shows."""
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code" and of in cell.source)
    return "\n".join(shown.get("text") or shown.data["text/plain"] for shown in cell.outputs)


def main_facts(notebook: nbformat.NotebookNode) -> dict[str, object]:
    """Return what does not depend on the machine and the day."""
    said = output(notebook, "result.sentence")
    return {
        "hurt": re.findall(r"(\w[\w ]*) \([-+].*?points\) hurt", said),
        "decision": "promoted" in said,
        "cells": "20/20 cells" in output(notebook, "result = run("),
        "winner": "reference" in output(notebook, "result.winner"),
        "same sentence": output(notebook, "compare("),
        "champion": re.search(r"Model\(.*\)", output(notebook, "champion(")),
        "classes": output(notebook, "idxmax").split("dtype")[0].split()[-6:],
        "error": output(notebook, "AssayError"),
    }


def test_it_holds_no_path_of_a_machine_and_no_error():
    text = NOTEBOOK.read_text()
    assert not re.search(r"/(home|root|tmp|work|Users)/", text)
    assert "Traceback" not in text


@pytest.mark.slow
def test_it_runs_as_it_is_and_still_says_the_same(tmp_path):
    kept = nbformat.read(NOTEBOOK, as_version=4)
    fresh = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(fresh, timeout=HANGS_SECONDS, kernel_name="python3", resources=resources).execute()
    expected, facts = main_facts(kept), main_facts(fresh)
    assert expected.pop("champion")
    assert facts.pop("champion")
    assert facts == expected
