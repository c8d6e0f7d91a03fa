"""What the data report counts, and what stops a study."""

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from components import report
from components.data import Data
from components.errors import AssayError
from components.load import prepare, read_checked
from components.sources import Rows
from components.split import identical
from components.study import Study


def inspect(rows: Rows, test=(), **data) -> dict:
    kind = "image" if rows.x.ndim > 2 else "table"
    described = Data.model_validate({"source": "tfds:made", "kind": kind, **data})
    return report.inspect(described, rows, np.array(test, int), identical(rows.x))


def table(x, y, **more) -> Rows:
    x = np.asarray(x, float)
    return Rows(x, np.asarray(y), ("a", "b", "c"), tuple(f"c{i}" for i in range(x.shape[1])), **more)


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
    assert found["classes"][2] == {"name": "virginica", "rows": 50, "test": 10, "rest": 40}
    assert found["columns"][0]["least"] == pytest.approx(4.3)
    assert found["columns"][0]["greatest"] == pytest.approx(7.9)
    assert found["columns"][0]["mean"] == pytest.approx(5.8433, abs=1e-4)
    assert sum(found["columns"][3]["histogram"]) == 150
    text = (folder / "data.md").read_text()
    assert "| virginica | 50 | 33.3 % | 10 | 40 |" in text
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
    assert names(report.inspect(described, rows, np.arange(10), np.arange(40))) == []


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
    ],
)
def test_which_columns_tell_the_label(column, sign):
    assert report.tells_label(np.asarray(column, float), Y) == sign


def test_a_column_that_is_the_label_stops_the_study_unless_allowed():
    x = np.random.default_rng(0).normal(size=(60, 3))
    x[:, 1] = 7 - Y
    with pytest.raises(AssayError, match=r"1 column says the class.*: c1; .*data.allow: \[label-column\]"):
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
    assert finding(found, "constant-columns")["text"] == "1 of 3 columns have the same value in every row"
    assert finding(found, "constant-columns")["examples"] == ("c2",)


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


def test_near_pairs_are_those_that_comparing_all_with_all_finds():
    rng = np.random.default_rng(0)
    thumbs = rng.uniform(0, 255, (300, 8, 9)).astype(np.float32)
    for i in range(100):
        thumbs[i] = thumbs[299 - i] + rng.normal(0, rng.uniform(0, 3), (8, 9))
    hashes = report.difference_hash(thumbs)
    first, second = np.triu_indices(300, 1)
    near = np.bitwise_count(hashes[first] ^ hashes[second]) <= report.NEAR_BITS
    near &= np.abs(thumbs[first] - thumbs[second]).mean(axis=(1, 2)) <= report.NEAR_GREY
    expected = np.stack([first[near], second[near]], axis=1)
    assert 30 < len(expected) < 100
    assert report.near_pairs(thumbs).tolist() == expected.tolist()


@pytest.mark.parametrize("count", [0, 1, 2, 5000])
def test_blank_images_do_not_blow_up(count):
    pairs = report.near_pairs(np.zeros((count, 8, 9), np.float32))
    assert len(pairs) <= count * report.WINDOW


def test_any_image_size_has_a_thumbnail_that_keeps_its_mean():
    for size in [(1, 1), (3, 50), (8, 9), (28, 28)]:
        x = noise(2, *size, 3)
        found = report._thumbnails(x, np.arange(2))
        np.testing.assert_allclose(found.mean(axis=(1, 2)), x.mean(axis=(1, 2, 3)), rtol=1e-5)


# How it is told


def test_at_most_two_lines_are_printed():
    found = {"findings": [{"level": "warning", "text": text} for text in "abcd"] + [{"level": "note", "text": "n"}]}
    assert report.short(found, "the report") == ["a", "b; 2 more in the report"]
    assert report.short({"findings": found["findings"][:2]}, "the report") == ["a", "b"]


def test_names_with_a_bar_do_not_break_the_table():
    rows = table([[0], [1]], [0, 1])
    rows.classes = ("a|b", "c", "d")
    assert "| a\\|b | 1 |" in report.markdown(inspect(rows))


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
    for split in ("train", "test"):
        for i in range(20):
            file = tmp_path / "pets" / split / "ab"[i % 2] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise(8, 8, seed=i + (split == "test") * 19)).save(file)
    data = {"test": "test"}
    with pytest.raises(AssayError, match="1 of 20 test rows are also among the rows to train on"):
        prepare(make_study(f"images:{tmp_path / 'pets'}", data=data, arms={}), tmp_path / "data")
    allowed = make_study(f"images:{tmp_path / 'pets'}", data={**data, "allow": ["duplicates"]}, arms={})
    assert prepare(allowed, tmp_path / "data").schema.splits["test"] == 20
