"""What the data report counts, and what stops a study."""

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageEnhance

from components import report
from components.data import Data
from components.errors import AssayError
from components.load import prepare, read_checked
from components.raw import Column
from components.sources import Rows
from components.split import TEST, TRAIN, UNUSED, VALIDATION, content, split
from components.study import Study

NAN = np.nan
SOURCES = {"image": "tfds:made", "table": "table:made.csv", "text": "text:made.csv"}


def parts_of(rows: Rows, test=(), validation=()) -> np.ndarray:
    parts = np.full((1, len(rows.y)), TRAIN, np.uint8)
    parts[:, np.array(test, int)] = TEST
    parts[:, np.array(validation, int)] = VALIDATION
    return parts


def inspect(rows: Rows, test=(), validation=(), parts=None, **data) -> dict:
    kind = "image" if rows.x.ndim > 2 else "text" if rows.words else "table"
    described = Data.model_validate({"source": SOURCES[kind], "kind": kind, **data})
    parts = parts_of(rows, test, validation) if parts is None else parts
    return report.inspect(described, rows, content(rows), parts)


def table(x, y, columns=None, **more) -> Rows:
    x = np.asarray(x, float)
    columns = columns or tuple(Column(f"c{i}") for i in range(x.shape[1]))
    return Rows(x, np.asarray(y), ("a", "b", "c"), columns, **more)


def column_of(values, kind: Any = "number", names=(), y=None, **data) -> dict:
    """Return the report on a table of one column."""
    y = np.arange(len(values)) % 2 if y is None else y
    return inspect(
        table(np.array(values, float)[:, None], y, (Column("it", kind, tuple(names) if kind == "category" else ()),)),
        **data,
    )


def texts(lines: list[str], y, **more) -> Rows:
    """Return rows of texts, whose words are between spaces."""
    split_up = [line.split() for line in lines]
    words = tuple(sorted({word for line in split_up for word in line}))
    x = np.zeros((len(lines), max(map(len, split_up))), np.int32)
    for row, line in zip(x, split_up, strict=True):
        row[: len(line)] = [words.index(word) + 1 for word in line]
    return Rows(x, np.asarray(y), ("a", "b", "c"), words=words, **more)


def pictures(x, y=None, **more) -> Rows:
    x = np.asarray(x)
    return Rows(x, np.arange(len(x)) % 2 if y is None else np.asarray(y), ("a", "b"), **more)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def finding(found: dict, name: str) -> dict:
    (one,) = [each for each in found["findings"] if each["name"] == name]
    return one


def names(found: dict, *levels: str) -> list[str]:
    return [each["name"] for each in found["findings"] if not levels or each["level"] in levels]


# Ready data


@pytest.mark.parametrize(("name", "notes"), [("digits", []), ("iris", ["copies"]), ("wine", []), ("breast_cancer", [])])
def test_nothing_is_wrong_with_the_ready_data(name, notes, tmp_path):
    study = Study.model_validate({"study": "x", "data": {"source": f"sklearn:{name}"}})
    found = report.inspect(study.data, *read_checked(study, tmp_path))
    assert names(found) == notes
    assert report.short(found, "x") == []
    report.refuse(found)


def test_the_report_lies_beside_the_prepared_data(iris):
    folder = iris.folder / "report"
    assert sorted(file.name for file in folder.iterdir()) == ["data.json", "data.md", "data.png"]
    found = json.loads((folder / "data.json").read_text())
    assert found["classes"][2] == {
        "name": "virginica",
        "rows": 50,
        "test": 10,
        "validation": 8,
        "train": 32,
        "unused": 0,
    }
    assert found["columns"][0]["least"] == pytest.approx(4.3)
    assert found["columns"][0]["greatest"] == pytest.approx(7.9)
    assert found["columns"][0]["mean"] == pytest.approx(5.8433, abs=1e-4)
    assert sum(found["columns"][3]["histogram"]) == 150
    text = (folder / "data.md").read_text()
    assert "| virginica | 50 | 33.3 % | 10 | 8 | 32 |" in text
    assert "row 101 = row 142" in text
    with Image.open(folder / "data.png") as figure:
        assert figure.size == (1500, 675)


# Rows that are there twice


def test_copies_are_counted_within_and_across():
    x = [[0], [0], [0], [1], [1], [2], [3], [4], [4], [5]]
    found = inspect(table(x, [0, 0, 0, 1, 1, 0, 1, 0, 0, 1]), test=[2, 4, 7, 8], allow=["duplicates"])
    assert found["duplicates"] == {
        "copies": 4,
        "copies_within_test": 1,
        "copies_within_rest": 1,
        "test_rows_in_rest": 2,
        "rows_with_two_labels": 0,
    }


def test_test_rows_among_the_rest_stop_the_study_unless_allowed():
    x = noise(40, 4, 4, 1)
    x[35] = x[3]
    rows = pictures(x, names=tuple(f"{i}.png" for i in range(40)))
    found = inspect(rows, test=range(30, 40))
    with pytest.raises(AssayError) as caught:
        report.refuse(found)
    assert str(caught.value).startswith("1 of 10 test rows are also among the rows to train on")
    assert "3.png = 35.png" in str(caught.value)
    assert str(caught.value).endswith("data.allow: [duplicates]")
    allowed = inspect(rows, test=range(30, 40), allow="duplicates")
    report.refuse(allowed)
    assert finding(allowed, "duplicates")["level"] == "warning"


def test_copies_on_one_side_are_only_a_note():
    found = inspect(table([[0], [0], [1], [2]], [0, 0, 1, 1]), test=[3])
    assert names(found, "error", "warning") == []
    assert finding(found, "copies")["text"].startswith("1 row is an exact copy of another one (1 within the rows to")


def test_identical_rows_of_two_classes_are_a_warning():
    found = inspect(table([[0], [0], [1], [2], [1]], [0, 1, 1, 0, 1]))
    assert finding(found, "two-labels")["examples"] == ("row 0 = row 1",)
    assert found["duplicates"]["rows_with_two_labels"] == 2


def test_a_test_split_of_the_source_that_is_not_used_is_mentioned():
    rows = table(np.random.default_rng(0).normal(size=(40, 2)), [0, 1] * 20, splits={"test": np.arange(10)})
    assert "its own test rows (10)" in finding(inspect(rows, test=[1, 2]), "own-test-rows")["text"]
    described = Data.model_validate({"source": "tfds:made", "kind": "table", "test": "test"})
    assert names(report.inspect(described, rows, content(rows), parts_of(rows, range(10)))) == []


# Columns


Y = np.repeat([0, 1, 2], 20)


@pytest.mark.parametrize(
    ("column", "sign"),
    [
        (Y, "equal"),
        (np.array([5.0, -1.0, 3.0])[Y], "equal"),  # a code in any order
        (Y + np.tile(np.linspace(0, 0.9, 20), 3), "telling"),  # two cuts tell three classes
        (Y * 2 + np.tile([0, 1], 30), "telling"),
        (np.array([0, 4, 2])[Y] + np.tile([0, 1], 30) * 10, "telling"),  # few values, each of one class, no cuts
        (np.tile([0, 1, 2], 20), ""),
        (np.where(np.arange(60) == 7, 1, Y), ""),  # one row says otherwise
        (np.arange(60) * 7 % 60, ""),  # a value for each row: says nothing
        (np.minimum(Y, 1), ""),  # tells two of three classes
        (np.array([NAN, 0, 1])[Y], "equal"),  # missing is a value
        (np.where(Y == 1, NAN, Y + np.tile(np.linspace(0, 0.9, 20), 3)), "telling"),
        (np.where(np.arange(60) % 2, NAN, Y), ""),  # missing with all classes
        (np.full(60, NAN), ""),
    ],
)
def test_which_columns_tell_the_label(column, sign):
    order = np.argsort(np.asarray(column, float))
    assert report.tells_label(np.asarray(column, float)[order], Y[order]) == sign


def test_a_column_that_is_the_label_stops_the_study_unless_allowed():
    x = np.random.default_rng(0).normal(size=(60, 3))
    x[:, 1] = 7 - Y
    with pytest.raises(AssayError, match=r"^1 of 3 columns say the class .*: c1; .*data.allow: \[label-column\]"):
        report.refuse(inspect(table(x, Y)))
    report.refuse(inspect(table(x, Y), allow=["label-column"]))


def test_a_perfect_measurement_is_a_warning_only():
    x = np.random.default_rng(0).normal(size=(60, 2))
    x[:, 0] = Y * 10 + x[:, 0]
    found = inspect(table(x, Y))
    report.refuse(found)
    assert finding(found, "telling-column")["examples"] == ("c0",)


def test_among_a_few_rows_a_column_may_equal_the_label_by_chance():
    assert names(inspect(table([[0], [1], [0.0], [1]], [0, 1, 0, 1]), test=[2])) != ["label-column"]
    y = np.array([0] * 38 + [1] * 2)
    assert "label-column" not in names(inspect(table(y[:, None], y)))


def test_constant_columns_are_named():
    x = np.random.default_rng(0).normal(size=(60, 3))
    x[:, 2] = 4
    found = inspect(table(x, Y))
    assert finding(found, "constant-columns")["text"] == "1 of 3 columns have the same value, or none, in every row"
    assert finding(found, "constant-columns")["examples"] == ("c2",)


def test_a_column_of_numbers_is_described_without_what_is_missing():
    found = column_of([3, NAN, 1, 1.5, NAN, 1])["columns"][0]
    histogram = found.pop("histogram")
    assert found == {
        "name": "it",
        "type": "number",
        "missing": 2,
        "missing_share": pytest.approx(1 / 3),
        "different": 3,
        "constant": False,
        "least": 1.0,
        "mean": 1.625,
        "greatest": 3.0,
    }
    assert (histogram[0], histogram[5], histogram[-1], sum(histogram)) == (2, 1, 1, 4)


def test_a_column_without_values_has_no_mean():
    found = column_of([NAN] * 3)
    assert [found["columns"][0][name] for name in ("least", "mean", "greatest", "constant")] == [None, None, None, True]
    assert names(found, "warning")[-1] == "constant-columns"
    assert "| it | number | 3 (100.0 %) | 0 |  |" in report.markdown(found)


def test_numbers_may_be_as_large_as_floats_are():
    found = column_of([-1.7e308, 1.7e308, 1.7e308, 1.7e308])["columns"][0]
    assert found["mean"] == pytest.approx(0.85e308)
    assert (found["histogram"][0], found["histogram"][-1]) == (1, 3)
    tiny = column_of([0, 5e-324])["columns"][0]
    assert sum(tiny["histogram"]) == 2


def test_categories_and_booleans_are_counted():
    found = column_of([1, 0, 1, 2, NAN, 1, 0], "category", ("no", "yes", "|", "never"))
    assert found["columns"][0]["frequent"] == [
        {"value": "yes", "rows": 3},
        {"value": "no", "rows": 2},
        {"value": "|", "rows": 1},
    ]
    assert "| it | category | 1 (14.3 %) | 3 | yes (3), no (2), \\| (1) |" in report.markdown(found)
    found = column_of([1, 0, 1], "boolean")["columns"][0]
    assert found["frequent"] == [{"value": "true", "rows": 2}, {"value": "false", "rows": 1}]


def test_only_the_most_frequent_values_are_named():
    found = column_of(np.repeat(np.arange(8), np.arange(8)), "category", "abcdefgh")
    assert [entry["value"] for entry in found["columns"][0]["frequent"]] == list("hgfed")
    assert "h (7), g (6), f (5), e (4), d (3), ... |" in report.markdown(found)


def test_a_column_with_one_value_and_gaps_is_not_constant():
    found = column_of([1, NAN, 1, 1])
    assert not found["columns"][0]["constant"]
    assert "constant-columns" not in names(found)


# What is found of a column: y is 0, 1, 2 in turn, or Y


@pytest.mark.parametrize(
    ("values", "kind", "y", "name", "level"),
    [
        (np.array([2, 0, 1])[Y], "category", Y, "label-column", "error"),
        (np.array([NAN, 0, 1])[Y], "category", Y, "label-column", "error"),
        (np.minimum(Y, 1), "boolean", np.minimum(Y, 1), "label-column", "error"),
        (np.where(Y == 1, NAN, np.arange(60) * 7 % 11), "number", Y, "missing-tells-class", "warning"),
        (np.where(Y < 2, NAN, np.arange(60) % 2), "boolean", Y, "missing-tells-class", "warning"),
        (np.arange(60), "category", Y, "identifier-columns", "warning"),
        (np.where(np.arange(60) < 4, 0, np.arange(60)), "category", Y, "identifier-columns", "warning"),
        (np.arange(60) + 1000, "number", Y, "identifier-columns", "warning"),  # and it tells the class: said once
        (np.arange(60) * 7 % 60, "number", Y, "identifier-columns", "warning"),
        (np.array([0, 2, 1])[Y] * 2 + np.arange(60) % 2, "category", Y, "telling-column", "warning"),
        (np.where(np.arange(60) % 3, NAN, np.arange(60) % 9), "number", Y, "much-missing", "warning"),
        (np.full(60, NAN), "category", Y, "constant-columns", "warning"),
    ],
)
def test_a_column_has_the_gravest_finding_and_no_other(values, kind, y, name, level):
    found = column_of(values, kind, [str(i) for i in range(1100)], y=y)
    mine = [each for each in found["findings"] if each["name"] in report.SIGNS]
    assert [(each["name"], each["level"], each["examples"]) for each in mine] == [(name, level, ("it",))]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.arange(60) % 7, "number"),  # few whole numbers may be codes, and may not
        (np.arange(60) // 2, "category"),
        (np.arange(60) * 7 % 60 / 2, "number"),
        (np.arange(60) ** 2 * 7 % 3541, "number"),
        (np.where(np.arange(60) % 2, NAN, np.arange(60) % 9), "number"),  # half is not more than half
        (np.where(np.arange(60) == 5, NAN, np.arange(60) % 7), "number"),  # one of a class is no sign
    ],
)
def test_of_a_usual_column_nothing_is_found(values, kind):
    found = column_of(values, kind, [str(i) for i in range(60)], y=np.arange(60) // 4 % 3)
    assert [name for name in names(found) if name in report.SIGNS] == []


def test_how_to_leave_a_column_out_depends_on_the_source():
    ids = np.arange(60)
    assert finding(column_of(ids), "identifier-columns")["text"].endswith("; data.ignore leaves them out")
    found = column_of(ids, source="tfds:made")
    assert finding(found, "identifier-columns")["text"].endswith("; leave them out of the data")


# Texts


def test_texts_are_counted():
    lines = ["good good film", "good", "bad film", "bad bad ! !", "new good", "odd"]
    found = inspect(texts(lines, [0, 0, 1, 1, 0, 1]), test=[4, 5], validation=[1])["text"]
    classes = found.pop("classes")
    assert found.pop("histogram") == {"edges": [0, 1, 2, 3, 4, 5], "rows": [0, 2, 2, 1, 1]}
    assert found == {
        "least": 1,
        "median": 2.0,
        "p95": 3.75,
        "greatest": 4,
        "limit": 4,
        "at_limit": 0,
        "words": 6,
        "unknown_share": {"test": pytest.approx(2 / 3), "validation": 0.0},
    }
    assert classes[0] == {"name": "a", "frequent": ["good", "film", "new"], "typical": ["good"]}
    assert classes[1] == {"name": "b", "frequent": ["bad", "!", "film", "odd"], "typical": ["bad"]}
    assert classes[2] == {"name": "c", "frequent": [], "typical": []}


@pytest.mark.parametrize(
    ("limit", "reach"),
    [
        (2, 3),  # data.words is reached: whatever reaches it may have been longer
        (5, 1),  # else it is the longest row that is not for the test, and only test rows may have been longer
    ],
)
def test_rows_that_reach_the_limit_are_counted(limit, reach):
    rows = texts(["a b", "c d", "a", "b d"], [0, 1, 0, 1])
    found = inspect(rows, test=[3], words=limit)
    assert found["text"]["at_limit"] == reach
    assert f"{reach} rows reach 2 words, where longer ones are cut." in report.markdown(found)


def test_words_are_legible_in_markdown():
    found = report.markdown(inspect(texts(["* _ | ` <b>", "\x1b a_b", "x"], [0, 1, 1]), test=[2]))
    assert "| a | \\* \\<b> \\_ \\` \\| |" in found
    assert "| b | \ufffd a_b x |" in found
    assert "Not among the train rows of seed 0: 100.0 % of the words of test rows." in found


# How it is split


def rows_of(many=60, **more) -> Rows:
    return table(np.random.default_rng(0).normal(size=(many, 2)), np.arange(many) % 3, **more)


def split_of(rows: Rows, seeds=3, **options) -> dict:
    data = Data.model_validate({"source": "table:made.csv", **options})
    parts = split(rows, data, seeds, content(rows))
    return report.inspect(data, rows, content(rows), parts)


def test_a_fraction_is_one_sentence():
    found = split_of(rows_of(), validation=0.25)
    assert found["split"] == {
        "seeds": 3,
        "rule": "The test is 20 % of the rows, and each seed draws 25 % of the other rows for validation, of every "
        "class in proportion.",
        "rows": {"test": 12, "validation": 12, "train": 36, "unused": 0},
    }
    assert found["classes"][0] == {"name": "a", "rows": 20, "test": 4, "validation": 4, "train": 12, "unused": 0}
    assert "| class | rows | share | test | validation | train |\n" in report.markdown(found)


def test_the_sources_own_test_is_named():
    rows = rows_of(splits={"train": np.arange(40), "later": np.arange(40, 60)})
    found = split_of(rows, test="later")
    assert found["split"]["rule"].startswith("The test is the source's own 'later', and each seed draws 20 % of the")
    assert found["classes"][1]["test"] == 7


def test_groups_are_counted_on_each_side():
    groups = np.arange(60) // 6
    rows = rows_of(groups=groups)
    rows.y = groups % 2
    found = split_of(rows, group="patient")
    assert found["split"]["groups"] == {"test": 2, "validation": 2, "train": 6, "unused": 0}
    assert (
        "whole groups of 'patient' at a time; with seed 0 groups are 6 for train, 2 for val" in found["split"]["rule"]
    )
    assert "groups-on-both-sides" not in names(found)
    rows.splits = {"test": np.arange(10)}
    found = split_of(rows, group="patient", test="test")
    assert finding(found, "groups-on-both-sides")["text"].startswith("1 group of 'patient' has rows both among")


def test_times_have_borders_and_unused_rows_are_a_note():
    found = split_of(rows_of(100, times=np.arange(100) / 2), time="when")
    assert found["split"]["rows"] == {"test": 20, "validation": 13, "train": 51, "unused": 16}
    times = found["split"]["times"]
    assert times["test"] == [40.0, 49.5]
    assert times["train"][1] + 0.5 == times["validation"][0]
    assert f"train {times['train'][0]:g} to {times['train'][1]:g}; validation" in found["split"]["rule"]
    assert finding(found, "unused-rows")["text"].endswith("leaves out the others: 16 with seed 0")
    assert "| class | rows | share | test | validation | train | unused |\n" in report.markdown(found)


def test_dates_are_told_as_dates():
    day = 24 * 3600 * 10**6
    found = split_of(rows_of(times=np.arange(60) * day), time="when")
    assert found["split"]["times"]["test"] == ["1970-02-18", "1970-03-01"]
    found = split_of(rows_of(times=np.arange(60) * day + 1_900_000), time="when")
    assert found["split"]["times"]["test"][0] == "1970-02-18T00:00:01"


def test_the_same_values_at_a_later_time_are_a_note():
    rows = rows_of(times=np.arange(60))
    rows.x[59] = rows.x[5]
    found = split_of(rows, time="when")
    assert names(found, "error") == []
    assert finding(found, "repeated-later")["examples"] == ("row 5 = row 59",)
    assert "every draw" not in finding(found, "copies")["text"]


def test_a_class_that_some_seed_does_not_train_on_is_a_warning():
    rows = rows_of(6)
    parts = np.array([[1, 1, 1, 2, 2, 3], [1, 1, 0, 2, 2, 3], [0, 1, 2, 1, 1, 3]], np.uint8)
    told = finding(inspect(rows, parts=parts), "untrained-classes")
    assert told["text"].startswith("1 class has no row among the train rows of some seed")
    assert told["examples"] == ("c with seed 1 and 1 more",)
    assert "untrained-classes" not in names(inspect(rows, parts=parts[:1]))


def test_a_class_without_rows_is_not_missed():
    rows = table([[0], [1], [2]], [0, 1, 0])
    assert "untrained-classes" not in names(inspect(rows))


def test_unbalanced_classes_are_a_warning():
    x = np.random.default_rng(0).normal(size=(60, 1))
    assert "unbalanced" in names(inspect(table(x, [0] * 55 + [1] * 5)))
    assert "unbalanced" not in names(inspect(table(x, [0] * 54 + [1] * 6)))


# Nearly the same images


def saved_again(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def test_an_image_saved_again_resized_or_brightened_is_nearly_the_same():
    small = noise(30, 8, 8, 3)
    photos = [Image.fromarray(each).resize((64, 64), Image.Resampling.BICUBIC) for each in small]
    copies = [
        photos[0].resize((50, 50)).resize((64, 64)),
        ImageEnhance.Brightness(photos[1]).enhance(1.005),
        saved_again(photos[2], 50),
    ]
    found = inspect(pictures(np.stack([np.asarray(each) for each in photos + copies])), test=[0, 1])
    assert found["near_duplicates"] == {"pairs": 3, "pairs_across_test": 2}
    assert finding(found, "near-duplicates")["examples"] == ("row 0 ~ row 30", "row 1 ~ row 31", "row 2 ~ row 32")


def test_exact_copies_are_not_counted_again_as_nearly_the_same():
    x = noise(20, 16, 16, 1)
    x[5] = x[6]
    assert inspect(pictures(x))["near_duplicates"]["pairs"] == 0


# How it is told


def test_at_most_two_lines_are_printed():
    found = {"findings": [{"level": "warning", "text": text} for text in "abcd"] + [{"level": "note", "text": "n"}]}
    assert report.short(found, "the report") == ["a", "b; 2 more in the report"]
    assert report.short({"findings": found["findings"][:2]}, "the report") == ["a", "b"]


def test_names_with_a_bar_do_not_break_the_table():
    rows = table([[0], [1]], [0, 1])
    rows.classes = ("a|b", "c", "d")
    assert "| a\\|b | 1 |" in report.markdown(inspect(rows))


def test_of_many_columns_and_classes_the_first_are_listed(tmp_path):
    rng = np.random.default_rng(0)
    rows = table(rng.normal(size=(2000, 200)), np.arange(2000) % 1000)
    rows.classes = tuple(f"class {i}" for i in range(1000))
    found = inspect(rows)
    assert (len(found["classes"]), len(found["columns"])) == (1000, 200)
    text = report.markdown(found)
    assert "And 980 more." in text
    assert "And 180 more." in text
    assert len(text.splitlines()) < 70
    report.write(found, tmp_path)


def test_any_name_can_be_written_and_drawn(tmp_path):
    awkward = ("$\\frac$", "\x1b[31m", "\u4e2d\u6587", "a\nb", "**a**", "x" * 500)
    columns = tuple(Column(name, "category", awkward) for name in awkward)
    rows = table(np.random.default_rng(0).integers(0, 6, (30, 6)), np.arange(30) % 6, columns)
    rows.classes = awkward
    report.write(inspect(rows), tmp_path)
    text = (tmp_path / "data.md").read_text("utf-8")
    assert "\x1b" not in text
    assert "| a b | 5 |" in text
    assert "| \\*\\*a\\*\\* | 5 |" in text
    assert max(map(len, text.splitlines())) < 500


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


def any_rows(draw, x, columns=(), words=()) -> dict:
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
    for entry, column in zip(found["columns"], x.T, strict=True):
        known = column[~np.isnan(column)]
        assert entry["missing"] == many - len(known)
        assert entry["different"] == len(np.unique(known))
        if entry["type"] == "number" and len(known):
            assert entry["least"] <= entry["mean"] <= entry["greatest"]
            assert not entry["histogram"] or sum(entry["histogram"]) == len(known)


@given(st.data())
def test_any_texts_have_a_report(data):
    words = tuple(data.draw(st.lists(st.text(min_size=1), min_size=1, max_size=6, unique=True)))
    lengths = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=20))
    x = np.zeros((len(lengths), max(*lengths, 1)), np.int32)
    for row, length in zip(x, lengths, strict=True):
        row[:length] = data.draw(arrays(np.int32, length, elements=st.integers(1, len(words))))
    found = any_rows(data.draw, x, words=words)
    assert_whole(found)
    assert found["text"]["words"] == len(np.unique(x[x > 0]))
    assert sum(found["text"]["histogram"]["rows"]) == len(x)


def assert_whole(found: dict) -> None:
    """Check that a report is JSON, and that its parts add up."""
    assert json.loads(json.dumps(found, allow_nan=False))["rows"] == found["rows"]
    assert sum(found["split"]["rows"].values()) == found["rows"] == sum(entry["rows"] for entry in found["classes"])
    assert all(line.isprintable() for line in report.markdown(found).split("\n"))


def test_what_is_found_is_in_mlflow_and_among_the_events(run_steps, in_workplace, tmp_path):
    from components import tracking

    for i in range(44):
        file = tmp_path / "pets" / ("cat", "dog")[i % 11 == 0] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(8, 8, seed=i)).save(file)
    (tmp_path / "pets" / "cat" / "notes.txt").write_text("")
    data = {"source": f"images:{tmp_path / 'pets'}", "test": 0.25, "validation": 0.25}
    steps = run_steps("pets", data=data, arms={}, seeds=1)
    from components.load import load

    steps.folder.mkdir(exist_ok=True)
    with steps._watched():
        load(steps._json, steps.run, str(steps.store), steps._path("data"), steps._path("runs.json"))
    told = [event["message"] for event in steps.events if event["event"] == "warning"]
    assert told[0] == "files of other types are left out: 1 .txt"
    files = tracking.client().list_artifacts(steps.runs["parent"], "data")
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
