"""What is in a table's columns, and what is found of them."""

from dataclasses import replace

import numpy as np
import pytest
from reports import NAN, column_of, inspect, issue, kinds, table

from components.data import report
from components.data.report.columns import SIGNS, tells_label
from components.data.report.data_report import ColumnReport, ValueCount
from components.data.report.markdown import markdown
from components.errors import AssayError

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
    assert tells_label(np.asarray(column, float)[order], Y[order]) == sign


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
    assert issue(found, "telling-column").examples == ("c0",)


def test_among_a_few_rows_a_column_may_equal_the_label_by_chance():
    assert kinds(inspect(table([[0], [1], [0.0], [1]], [0, 1, 0, 1]), test=[2])) != ["label-column"]
    y = np.array([0] * 38 + [1] * 2)
    assert "label-column" not in kinds(inspect(table(y[:, None], y)))


def test_constant_columns_are_named():
    x = np.random.default_rng(0).normal(size=(60, 3))
    x[:, 2] = 4
    found = inspect(table(x, Y))
    assert issue(found, "constant-columns").text == "1 of 3 columns have the same value, or none, in every row"
    assert issue(found, "constant-columns").examples == ("c2",)


def test_a_column_of_numbers_is_described_without_what_is_missing():
    found = column_of([3, NAN, 1, 1.5, NAN, 1]).columns[0]
    histogram = found.histogram
    expected = ColumnReport("it", "number", 2, 1 / 3, 3, False, least=1.0, mean=1.625, greatest=3.0)
    assert replace(found, histogram=()) == expected
    assert (histogram[0], histogram[5], histogram[-1], sum(histogram)) == (2, 1, 1, 4)


def test_a_column_without_values_has_no_mean():
    found = column_of([NAN] * 3)
    column = found.columns[0]
    assert [column.least, column.mean, column.greatest, column.constant] == [None, None, None, True]
    assert kinds(found, "warning")[-1] == "constant-columns"
    assert "| it | number | 3 (100.0 %) | 0 |  |" in markdown(found)


def test_numbers_may_be_as_large_as_floats_are():
    found = column_of([-1.7e308, 1.7e308, 1.7e308, 1.7e308]).columns[0]
    assert found.mean == pytest.approx(0.85e308)
    assert (found.histogram[0], found.histogram[-1]) == (1, 3)
    tiny = column_of([0, 5e-324]).columns[0]
    assert sum(tiny.histogram) == 2


def test_categories_and_booleans_are_counted():
    found = column_of([1, 0, 1, 2, NAN, 1, 0], "category", ("no", "yes", "|", "never"))
    assert found.columns[0].frequent == (ValueCount("yes", 3), ValueCount("no", 2), ValueCount("|", 1))
    assert "| it | category | 1 (14.3 %) | 3 | yes (3), no (2), \\| (1) |" in markdown(found)
    found = column_of([1, 0, 1], "boolean").columns[0]
    assert found.frequent == (ValueCount("true", 2), ValueCount("false", 1))


def test_only_the_most_frequent_values_are_named():
    found = column_of(np.repeat(np.arange(8), np.arange(8)), "category", "abcdefgh")
    assert [entry.value for entry in found.columns[0].frequent] == list("hgfed")
    assert "h (7), g (6), f (5), e (4), d (3), ... |" in markdown(found)


def test_a_column_with_one_value_and_gaps_is_not_constant():
    found = column_of([1, NAN, 1, 1])
    assert not found.columns[0].constant
    assert "constant-columns" not in kinds(found)


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
    mine = [each for each in found.issues if each.kind in SIGNS]
    assert [(each.kind, each.level, each.examples) for each in mine] == [(name, level, ("it",))]


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
    assert [name for name in kinds(found) if name in SIGNS] == []


def test_how_to_leave_a_column_out_depends_on_the_source():
    ids = np.arange(60)
    assert issue(column_of(ids), "identifier-columns").text.endswith("; data.ignore leaves them out")
    found = column_of(ids, source="tfds:made")
    assert issue(found, "identifier-columns").text.endswith("; leave them out of the data")


def test_the_mean_of_equal_values_is_their_value():
    found = inspect(table(np.full((35, 1), 257348550135457.03), [0, 1] * 17 + [0]))
    assert found.columns[0].mean == 257348550135457.03
