"""What the data report is asked for: what there is, what stops a study, and files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from reports import NAN, inspect, kinds, noise, pictures, table, texts

from components.data import report
from components.data.issues import DataIssue
from components.data.preparation import prepare, read_checked
from components.data.raw_values import Column
from components.data.report.data_report import ClassCounts, DataReport
from components.data.report.markdown import markdown
from components.data.sources import Rows
from components.data.splitting import TEST, TRAIN, UNUSED, VALIDATION
from components.errors import AssayError
from components.records import from_json, to_json
from components.study.study import Study

# Ready data


@pytest.mark.parametrize(("name", "notes"), [("digits", []), ("iris", ["copies"]), ("wine", []), ("breast_cancer", [])])
def test_nothing_is_wrong_with_the_ready_data(name, notes, tmp_path):
    study = Study.model_validate({"study": "x", "data": {"source": f"sklearn:{name}"}})
    found = report.inspect(study.data, *read_checked(study, tmp_path))
    assert kinds(found) == notes
    assert report.short(found, "x") == []
    report.refuse(found)


def test_the_report_lies_beside_the_prepared_data(iris):
    folder = iris.folder / "report"
    assert sorted(file.name for file in folder.iterdir()) == ["data.json", "data.md", "data.png"]
    found = report.read(folder)
    assert found.classes[2] == ClassCounts("virginica", rows=50, test=10, validation=8, train=32, unused=0)
    assert found.columns[0].least == pytest.approx(4.3)
    assert found.columns[0].greatest == pytest.approx(7.9)
    assert found.columns[0].mean == pytest.approx(5.8433, abs=1e-4)
    assert sum(found.columns[3].histogram) == 150
    text = (folder / "data.md").read_text()
    assert "| virginica | 50 | 33.3 % | 10 | 8 | 32 |" in text
    assert "row 101 = row 142" in text
    with Image.open(folder / "data.png") as figure:
        assert figure.size == (1500, 675)


# Its file


def whole_report() -> DataReport:
    """A report in which every field says something, whatever kind of data has it."""
    columns = (Column("n"), Column("c", "category", ("x", "y")))
    groups, times = np.array([0, 1, 2, 3]), np.array([0.5, 1, 2, 3])
    rows = table([[1.5, 0], [NAN, 1], [1.5, 0], [4, 1]], [0, 1, 1, 0], columns, groups=groups)
    images = inspect(pictures(noise(4, 8, 8, 1)))
    found = inspect(rows, test=[2], group="patient", allow="duplicates")
    return replace(
        found,
        split=replace(found.split, times=inspect(replace(rows, times=times), test=[3]).split.times),
        images=images.images,
        near_duplicates=images.near_duplicates,
        text=inspect(texts(["a b c", "a"], [0, 1]), test=[0]).text,
        own_splits={"test": 1},
    )


def keys(value: object) -> object:
    """Return the names in JSON, without the values."""
    if isinstance(value, dict):
        return {name: keys(inner) for name, inner in value.items()}
    return [keys(inner) for inner in value] if isinstance(value, list) else None


def test_the_form_of_the_file_is_as_it_was():
    """Whoever changes the form raises `DataReport.SCHEMA`, and writes the golden file anew."""
    text = (Path(__file__).parent / "golden" / "data.json").read_text("utf-8")
    assert to_json(from_json(DataReport, text, "data.json")) + "\n" == text
    assert keys(json.loads(to_json(whole_report()))) == keys(json.loads(text))


# How it is told


def test_at_most_two_lines_are_printed():
    issues = (*(DataIssue(name, "warning", name, 1) for name in "abcd"), DataIssue("n", "note", "n", 1))
    found = replace(inspect(table([[0], [1]], [0, 1])), issues=issues)
    assert report.short(found, "the report") == ["a", "b; 2 more in the report"]
    assert report.short(replace(found, issues=issues[:2]), "the report") == ["a", "b"]


@pytest.mark.parametrize(
    "rows",
    [
        table([[0, 1, NAN]] * 3, [0, 1, 2], (Column("n"), Column("b", "boolean"), Column("c", "category", ("v",)))),
        table([[NAN], [NAN]], [0, 1]),
        texts(["a b c", "a"], [0, 1]),
    ],
)
def test_every_kind_of_data_has_a_figure(rows, tmp_path):
    report.write(inspect(rows, test=[0]), tmp_path)
    with Image.open(tmp_path / "data.png") as figure:
        assert figure.size == (1500, 675)


# Any data


def any_rows(draw, x, columns=(), words=()) -> DataReport:
    labels = arrays(np.int32, len(x), elements=st.integers(0, 2))
    rows = Rows(x, draw(labels), ("a", "b", "c"), columns, words)
    times = draw(st.none() | arrays(np.float64, len(x), elements=st.floats(-1e300, 1e300)))
    groups = draw(st.none() | arrays(np.int64, len(x), elements=st.integers(0, 3)))
    rows.times, rows.groups = times, groups
    parts = draw(arrays(np.uint8, (2, len(x)), elements=st.sampled_from([TRAIN, VALIDATION, TEST, UNUSED])))
    return inspect(rows, parts=parts)


@given(st.data())
def test_any_table_has_a_report(data):
    many = data.draw(st.integers(1, 40))
    kinds = data.draw(st.lists(st.sampled_from(["number", "boolean", "category"]), min_size=1, max_size=4))
    floats = st.floats(allow_infinity=False) | st.sampled_from([0.0, 1.0, NAN])
    of_kind = {
        "number": floats,
        "boolean": st.sampled_from([0.0, 1.0, NAN]),
        "category": st.sampled_from([0, 1, 2, NAN]),
    }
    x = np.stack([data.draw(arrays(np.float64, many, elements=of_kind[kind])) for kind in kinds], axis=1)
    columns = tuple(Column(data.draw(st.text()), k, ("x", "y", "z") * (k == "category")) for k in kinds)
    found = any_rows(data.draw, x, columns)
    assert_whole(found)
    for entry, column in zip(found.columns, x.T, strict=True):
        known = column[~np.isnan(column)]
        assert entry.missing == many - len(known)
        assert entry.different == len(np.unique(known))
        if entry.type == "number" and len(known):
            numbers = [value for value in (entry.least, entry.mean, entry.greatest) if value is not None]
            assert len(numbers) == 3
            assert numbers == sorted(numbers)
            assert not entry.histogram or sum(entry.histogram) == len(known)


@given(st.data())
def test_any_texts_have_a_report(data):
    words = tuple(data.draw(st.lists(st.text(min_size=1), min_size=1, max_size=6, unique=True)))
    lengths = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=20))
    x = np.zeros((len(lengths), max(*lengths, 1)), np.int32)
    for row, length in zip(x, lengths, strict=True):
        row[:length] = data.draw(arrays(np.int32, length, elements=st.integers(1, len(words))))
    found = any_rows(data.draw, x, words=words)
    assert_whole(found)
    assert found.text
    assert found.text.words == len(np.unique(x[x > 0]))
    assert sum(found.text.histogram.rows) == len(x)


def assert_whole(found: DataReport) -> None:
    """Check that a report is JSON, and that its parts add up."""
    assert from_json(DataReport, to_json(found), "data.json") == found  # with NaN it would not be equal to itself
    assert sum(found.split.rows.values()) == found.rows == sum(entry.rows for entry in found.classes)
    assert all(line.isprintable() for line in markdown(found).split("\n"))


# In the pipeline


def test_what_is_found_is_in_mlflow_and_among_the_events(run_steps, in_workplace, tmp_path):
    from components.tracking import client

    for i in range(44):
        file = tmp_path / "pets" / ("cat", "dog")[i % 11 == 0] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(8, 8, seed=i)).save(file)
    (tmp_path / "pets" / "cat" / "notes.txt").write_text("")
    data = {"source": f"images:{tmp_path / 'pets'}", "test": 0.25, "validation": 0.25}
    steps = run_steps("pets", data=data, arms={}, seeds=1)
    from components.steps.load import load

    steps.folder.mkdir(exist_ok=True)
    with steps._watched("load"):
        load(steps._json, steps.run, str(steps.store), steps._path("data"), steps._path("runs.json"))
    told = [event["message"] for event in steps.events if event["event"] == "warning"]
    assert told[0] == "files of other types are left out: 1 .txt"
    files = client.client().list_artifacts(steps.runs.parent, "data")
    assert sorted(file.path for file in files) == ["data/data.json", "data/data.md", "data/data.png"]


def test_data_that_would_falsify_the_answer_is_not_prepared(make_study, tmp_path):
    for part in ("train", "test"):
        for i in range(20):
            file = tmp_path / "pets" / part / "ab"[i % 2] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise(8, 8, seed=i + (part == "test") * 19)).save(file)
    data = {"test": "test"}
    with pytest.raises(AssayError, match="1 of 20 test rows are also among the rows to train on"):
        prepare(make_study(f"images:{tmp_path / 'pets'}", data=data, arms={}), tmp_path / "data")
    allowed = make_study(f"images:{tmp_path / 'pets'}", data={**data, "allow": ["duplicates"]}, arms={})
    assert prepare(allowed, tmp_path / "data").schema.splits["test"] == 20
