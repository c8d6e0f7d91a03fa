"""How rows are spread over classes and parts, and what is odd about that."""

import numpy as np
from reports import finding, inspect, names, parts_of, table

from components.data import report
from components.data.report.markdown import markdown
from components.data.sources import Rows
from components.data.splitting import content, split
from components.study.dataset import DatasetSpec


def rows_of(many=60, **more) -> Rows:
    return table(np.random.default_rng(0).normal(size=(many, 2)), np.arange(many) % 3, **more)


def split_of(rows: Rows, seeds=3, **options) -> dict:
    data = DatasetSpec.model_validate({"source": "table:made.csv", **options})
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
    assert "| class | rows | share | test | validation | train |\n" in markdown(found)


def test_the_sources_own_test_is_named():
    rows = rows_of(splits={"train": np.arange(40), "later": np.arange(40, 60)})
    found = split_of(rows, test="later")
    assert found["split"]["rule"].startswith("The test is the source's own 'later', and each seed draws 20 % of the")
    assert found["classes"][1]["test"] == 7


def test_a_test_split_of_the_source_that_is_not_used_is_mentioned():
    rows = table(np.random.default_rng(0).normal(size=(40, 2)), [0, 1] * 20, splits={"test": np.arange(10)})
    assert "its own test rows (10)" in finding(inspect(rows, test=[1, 2]), "own-test-rows")["text"]
    described = DatasetSpec.model_validate({"source": "tfds:made", "kind": "table", "test": "test"})
    assert names(report.inspect(described, rows, content(rows), parts_of(rows, range(10)))) == []


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
    assert "| class | rows | share | test | validation | train | unused |\n" in markdown(found)


def test_dates_are_told_as_dates():
    day = 24 * 3600 * 10**6
    found = split_of(rows_of(times=np.arange(60) * day), time="when")
    assert found["split"]["times"]["test"] == ["1970-02-18", "1970-03-01"]
    found = split_of(rows_of(times=np.arange(60) * day + 1_900_000), time="when")
    assert found["split"]["times"]["test"][0] == "1970-02-18T00:00:01"


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
