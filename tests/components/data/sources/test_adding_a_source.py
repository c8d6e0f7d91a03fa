"""A new source is a module with `read` and a row: all that asks what a source is asks the row."""

import sys
from types import ModuleType

import numpy as np
import pytest
from pydantic import ValidationError

from components.data.raw_values import Column
from components.data.sources import Rows
from components.errors import StudyError
from components.study.dataset import DatasetSpec
from components.study.source_types import SOURCE_TYPES, SourceType, source_forms
from pipeline.runners.docker import _mounts
from pipeline.study_file import read_document, write_study

NAMES = ("sepal", "petal")


def read(data: DatasetSpec, folder) -> Rows:
    """Return as many rows as the address says, whose columns tell the class."""
    y = np.arange(int(data.address.rpartition("/")[2])) % 2
    x = np.random.default_rng(0).normal(size=(len(y), 2)) + y[:, None] * 4
    return Rows(x, y, ("a", "b"), tuple(Column(name) for name in NAMES))


@pytest.fixture
def made(monkeypatch) -> SourceType:
    module = ModuleType("a_source_made_here")
    module.__dict__["read"] = read
    monkeypatch.setitem(sys.modules, module.__name__, module)
    row = SourceType(module.__name__, ("made:COUNT",), ("table", "text"), options=("target",), is_path=True)
    monkeypatch.setitem(SOURCE_TYPES, "made", row)
    return row


@pytest.mark.usefixtures("made", "in_workplace")
def test_a_source_that_was_added_is_trained_on_and_registered(run_steps):
    recipe = {"train": {"epochs": 40, "early_stopping": False}}
    steps = run_steps("made", data={"source": "made:120"}, recipe=recipe, arms={}, seeds=1).all()
    assert (steps.prepared.schema.kind, steps.prepared.schema.rows) == ("table", 120)
    assert steps.verdict["test"]["reference"]["accuracy"] > 0.9
    assert steps.decision.version


@pytest.mark.usefixtures("made")
def test_all_that_asks_what_a_source_is_knows_it(tmp_path):
    assert "made:COUNT" in source_forms()
    assert read_document(f"made:{tmp_path}/9.csv").values["study"] == "9"
    written = write_study("made:9")
    assert "  target:" in written
    assert "  image_size:" not in written
    from components.study.study import Study

    study = Study.model_validate({"study": "x", "data": {"source": f"made:{tmp_path}"}})
    mounts = _mounts(study, tmp_path / "home", {"MLFLOW_TRACKING_URI": "http://127.0.0.1"})
    assert mounts[tmp_path] == "ro"


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"source": "made:9", "time": "day"}, "only table:FILE and text:FILE have it, and the source is made:9"),
        ({"source": "made:9", "kind": "image"}, "made:9 is table or text data, got 'image'; leave `kind` out"),
        ({"source": "maid:9"}, "sklearn:NAME, tfds:NAME, made:COUNT (did you mean made:COUNT?)"),
        ({"source": "tfds:x", "target": "y"}, "only table:FILE and text:FILE and made:COUNT have it"),
    ],
)
def test_messages_know_it(data, message):
    with pytest.raises((StudyError, ValidationError)) as caught:
        DatasetSpec.model_validate(data)
    assert message in str(caught.value)


def test_a_source_that_was_taken_out_is_unknown_again():
    with pytest.raises((StudyError, ValidationError), match="no source is called 'made:9'"):
        DatasetSpec.model_validate({"source": "made:9"})


@pytest.mark.parametrize("scheme", SOURCE_TYPES)
def test_every_row_is_whole(scheme):
    row = SOURCE_TYPES[scheme]
    assert row.forms[0].startswith(f"{scheme}:")
    assert bool(row.names) != bool(row.kinds)
    assert set(row.options) <= set(DatasetSpec.model_fields)
    assert bool(row.names) == bool(row.keeper)
