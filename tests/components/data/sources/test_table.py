"""Users' own tables: what a column is, which columns have a use of their own, and a message for what can't be used."""

import datetime
import json
import math
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.data import raw_values
from components.data.raw_values import Column, category, is_missing, numbers
from components.data.sources import Rows, read
from components.errors import AssayError
from components.formatting import MANY
from components.study.dataset import DatasetSpec

CSV = """species,island,bill,wild,target
adelie,dream,39.1,true,yes
gentoo,biscoe,NA,FALSE,no
adelie,,1e3,,yes
?, biscoe ,-5,True,maybe
"""


def read_table(file: Path, **data) -> Rows:
    return read(DatasetSpec.model_validate({"source": f"table:{file}", **data}), file.parent)


@pytest.fixture
def of(tmp_path):
    """Reads the text of a CSV file."""

    def rows(text: str, **data) -> Rows:
        (tmp_path / "x.csv").write_text(text)
        return read_table(tmp_path / "x.csv", **data)

    return rows


@pytest.fixture
def refused(of, tmp_path):
    """Reads the text of a CSV file and returns the one message with which it is refused."""

    def message(text: str, **data) -> str:
        with pytest.raises(AssayError) as caught:
            of(text, **data)
        assert "\n" not in str(caught.value)
        assert str(tmp_path / "x.csv") in str(caught.value)
        return str(caught.value)

    return message


def column_of(values: list) -> str:
    """Return CSV with these values as column a, and two classes."""
    return "a,target\n" + "".join(f"{value},{'xy'[i % 2]}\n" for i, value in enumerate(values))


# What a column is


def test_numbers_booleans_and_categories_are_told_apart(of):
    rows = of(CSV)
    assert rows.columns == (
        Column("species", "category", ("adelie", "gentoo")),
        Column("island", "category", ("biscoe", "dream")),
        Column("bill"),
        Column("wild", "boolean"),
    )
    nan = np.nan
    assert rows.x.dtype == np.float64
    np.testing.assert_array_equal(rows.x, [[0, 1, 39.1, 1], [1, 0, nan, 0], [0, nan, 1000, nan], [nan, 0, -5, 1]])
    assert (rows.classes, rows.y.tolist(), rows.y.dtype) == (("maybe", "no", "yes"), [2, 1, 2, 0], np.int32)
    assert (list(rows.names), rows.findings) == (["line 2", "line 3", "line 4", "line 5"], ())
    assert (rows.groups, rows.times, rows.words) == (None, None, ())


def test_codes_stay_categories_when_it_is_said(of):
    rows = of(column_of(["02", "10", "", "02"]), categorical="a")
    assert rows.columns == (Column("a", "category", ("02", "10")),)
    np.testing.assert_array_equal(rows.x[:, 0], [0, 1, np.nan, 0])


def test_the_formats_give_the_same_rows(of, tmp_path):
    rows = of(CSV)
    as_text = pd.read_csv(tmp_path / "x.csv", dtype=str, keep_default_na=False)
    table: dict[str, list] = {
        str(name): [None if is_missing(value) else category(value) for value in column]
        for name, column in as_text.items()
    }
    table["bill"] = [39.1, None, 1000, -5]
    table["wild"] = [True, False, None, True]
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    with (tmp_path / "x.jsonl").open("w") as file:
        for row in zip(*table.values(), strict=True):
            file.write(json.dumps(dict(zip(table, row, strict=True))) + "\n")
    for name in ("x.parquet", "x.jsonl"):
        other = read_table(tmp_path / name)
        assert (other.columns, other.classes, other.y.tolist()) == (rows.columns, rows.classes, rows.y.tolist())
        np.testing.assert_array_equal(other.x, rows.x)


def test_typed_numbers_are_exact_and_may_be_codes(tmp_path):
    table = {
        "big": pa.array([2**53, 2**40 + 1, None, 2**63], pa.uint64()),
        "real": pa.array([1.5, None, math.nan, 0.1], pa.float32()),
        "money": pa.array(["0.10", "2.25", None, "1.00"]).cast(pa.decimal128(9, 2)),
        "code": pa.array([1.0, 2.5, None, 1.0]),
        "flag": pa.array([True, None, False, True]),
        "y": pa.array([3.0, 20.0, 20.0, 3.0]),
    }
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    rows = read_table(tmp_path / "x.parquet", categorical=["code"])
    nan = np.nan
    np.testing.assert_array_equal(rows.x[:, 0], [2.0**53, 2.0**40 + 1, nan, 2.0**63])
    np.testing.assert_array_equal(rows.x[:, 1], [1.5, nan, nan, float(np.float32(0.1))])
    np.testing.assert_array_equal(rows.x[:, 2], [0.1, 2.25, nan, 1.0])
    np.testing.assert_array_equal(rows.x[:, 3], [0, 1, nan, 0])
    np.testing.assert_array_equal(rows.x[:, 4], [1, nan, 0, 1])
    assert rows.columns[3] == Column("code", "category", ("1", "2.5"))
    assert (rows.classes, rows.y.tolist(), rows.names[3]) == (("3", "20"), [0, 1, 1, 0], "row 4")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["1", "2", "3", "x"], ["line 5, column 'a' is 'x'", "3 of 4 values are numbers", "data.categorical: [a]"]),
        (["", "x", "2"], ["line 3, column 'a' is 'x'", "1 of 2 values"]),
        (["1", "1_000", "2", "nan(1)"], ["line 3, column 'a' is '1_000'", "2 of 4", "(2 rows)"]),
        (["true", "1", "0"], ["line 2, column 'a' is 'true'", "2 of 3"]),
        (['"1,5"', '"2,25"', ""], ["line 2, column 'a' is '1,5'", "write 1.5 and not 1,5 (2 rows)"]),
        (["1", "inf"], ["line 3, column 'a' is 'inf'; expected a number below 1.8e308"]),
        (["1", "-1e400", "2"], ["line 3, column 'a' is '-1e400'"]),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_named(refused, values, words):
    message = refused(column_of(values))
    for word in words:
        assert word in message


def test_mostly_text_is_categories(of):
    assert of(column_of(["1", "x", "y", "NA"])).columns == (Column("a", "category", ("1", "x", "y")),)


def test_a_column_without_values_is_left_out_and_told(of):
    rows = of("a,b,c,target\n1,,NA,x\n2,?,,y\n")
    assert [column.name for column in rows.columns] == ["a"]
    (finding,) = rows.findings
    assert (finding.name, finding.level, finding.examples) == ("empty-columns", "warning", ("b", "c"))


def test_dates_as_text_are_told(of):
    (finding,) = of(column_of(["2026-01-31", "", "2026-02-01T10:00:00"])).findings
    assert (finding.name, finding.examples) == ("date-columns", ("a",))
    assert "data.time" in finding.text


def test_dates_of_parquet_are_no_feature(tmp_path):
    table = pa.table({"when": [datetime.date(2026, 1, 1), None], "a": [1, 2], "target": ["x", "y"]})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(AssayError, match=r"column 'when' is of type date32.*data.ignore: \[when\], or data.time: when"):
        read_table(tmp_path / "x.parquet")
    assert read_table(tmp_path / "x.parquet", ignore="when").x.shape == (2, 1)


def test_too_many_categories_are_refused(refused):
    message = refused(column_of([f"id{i}" for i in range(100_001)]))
    assert "column 'a' has 100001 different values, such as 'id0' and 'id1'" in message
    assert "data.ignore: [a]" in message


# Columns with a use of their own


@pytest.mark.parametrize("name", ["target", "Label", "CLASS", "y", "Y "])
def test_the_target_is_known_by_its_name(of, name):
    assert of(f"a,{name}\n1,n\n2,m\n").classes == ("m", "n")


def test_the_target_can_be_said(of):
    rows = of("a,target\n1,x\n2,y\n", target="a")
    assert (rows.classes, rows.columns) == (("1", "2"), (Column("target", "category", ("x", "y")),))


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["10", "9", "a"], ("10", "9", "a")),
        (["0.5", "1.5", "0.5"], ("0.5", "1.5")),
        (["true", "false", "true"], ("false", "true")),
        ([" a ", "b", "a"], ("a", "b")),
    ],
)
def test_classes_are_sorted_as_numbers_if_all_are(of, values, classes):
    rows = of("a,target\n" + "".join(f"1,{value}\n" for value in values))
    assert rows.classes == classes
    assert [rows.classes[i] for i in rows.y] == [value.strip() for value in values]


def in_order(groups: np.ndarray) -> list[int]:
    """Number the groups by their first rows."""
    numbers = dict.fromkeys(groups.tolist())
    return [list(numbers).index(group) for group in groups.tolist()]


def test_a_group_is_the_same_however_its_number_is_written(of):
    ids = ["7", "7.0", "07", "8", "a", "A", "8.5", "0", "0.00", str(2**60), str(2**60 + 1)]
    rows = of("a,g,y\n" + "".join(f"{i},{one},{i % 2}\n" for i, one in enumerate(ids)), group="g")
    assert in_order(rows.groups) == [0, 0, 0, 1, 2, 3, 4, 5, 5, 6, 7]


def test_a_group_has_its_number_whatever_other_groups_there_are(of):
    few = of("a,g,y\n1,ann,0\n2,7.0,1\n", group="g").groups
    many = of("a,g,y\n1,7,0\n1,zoe,1\n1,bob,0\n1,ann,1\n", group="g").groups
    assert few.tolist() == [many[3], many[0]]


def test_columns_with_another_use_are_no_features(of):
    text = "a,who,when,junk,target\n1,ann,3,z,x\n2,bob,1,z,y\n3,ann,2.5,z,x\n"
    rows = of(text, group="who", ignore=["junk", "when"])
    assert [column.name for column in rows.columns] == ["a"]
    assert (rows.groups is not None and in_order(rows.groups), rows.times) == ([0, 1, 0], None)
    rows = of(text, time="when", ignore=["junk", "who"])
    assert (rows.times is not None and rows.times.tolist(), rows.groups) == ([3, 1, 2.5], None)


@pytest.mark.parametrize(
    "dates",
    [
        ["2026-01-31", "2025-12-31", "2026-01-31T00:00:01"],
        ["2026-01-31T10:00:00+02:00", "2026-01-31T07:59:59Z", "2026-01-31T10:00:00+01:59"],
    ],
)
def test_dates_are_times(of, dates, tmp_path):
    rows = of("a,when,y\n" + "".join(f"{i},{date},{i % 2}\n" for i, date in enumerate(dates)), time="when")
    assert rows.times is not None
    assert np.argsort(rows.times).tolist() == [1, 0, 2]
    when = pa.array(rows.times).cast(pa.timestamp("us", "UTC"))
    table = pa.table({"a": [1, 2, 3], "when": when, "y": [0, 1, 0]})
    pq.write_table(table, tmp_path / "x.parquet")
    np.testing.assert_array_equal(read_table(tmp_path / "x.parquet", time="when").times, rows.times)


MEASURED = "a,target\n" + "".join(f"1,{i / 4}\n" for i in range(30)) * 3
NAMED = "a,target\n" + "".join(f"1,{1000 + i}\n" for i in range(30))


@pytest.mark.parametrize(
    ("text", "data", "words"),
    [
        (CSV, {"target": "specis"}, ["data.target:", "no column 'specis'", "did you mean species?"]),
        (CSV, {"ignore": ["island", "bil"]}, ["data.ignore:", "did you mean bill?"]),
        (CSV, {"categorical": "wlid"}, ["data.categorical:", "did you mean wild?"]),
        (CSV, {"group": "who"}, ["data.group:", "expected one of species, island, bill, wild, target"]),
        (CSV, {"time": "when"}, ["data.time:", "no column 'when'"]),
        ("a,b\n1,2\n", {}, ["no column is called target, label, class or y", "pass data.target: a or b"]),
        ("y,a,Label\n1,2,3\n", {}, ["2 columns could be the target", "pass data.target: y or Label"]),
        ("a,y\n1,x\n2,\n3,NA\n", {}, ["column 'y': 2 of 3 rows have no label: line 3, line 4; label or remove"]),
        (MEASURED, {}, ["has 30 different numbers in 90 rows, such as 0.0 and 0.25", "a study needs classes"]),
        (NAMED, {}, ["has 30 different numbers in 30 rows", "a study needs classes"]),
        ("a,g,y\n1,,x\n2,1,y\n", {"group": "g"}, ["column 'g': 1 of 2 rows have no group: line 2"]),
        ("a,t,y\n1,,x\n2,1,y\n", {"time": "t"}, ["column 't': 1 of 2 rows have no time: line 2"]),
        ("a,t,y\n1,2026-01-01,x\n2,31.1.2026,y\n", {"time": "t"}, ["line 3, column 't' is '31.1.2026'", "2026-01-31"]),
        ("a,t,y\n1,1,x\n2,inf,y\n", {"time": "t"}, ["line 3, column 't' is 'inf'"]),
        ("a,y\n1,x\n2,y\n", {"ignore": "a"}, ["no column left to learn from"]),
        ("a,y\n,x\nNA,y\n", {}, ["no column left to learn from"]),
        ("a;y\n1;x\n", {}, ['pass data.delimiter: ";"']),
    ],
)  # fmt: skip
def test_a_column_that_cannot_be_used_is_one_message(refused, text, data, words):
    message = refused(text, **data)
    for word in words:
        assert word in message


def test_among_many_columns_the_nearest_are_listed(refused):
    names = [f"col{i}" for i in range(40)]
    message = refused(",".join([*names, "y"]) + "\n" + "1," * 40 + "x\n", ignore="col171")
    assert "did you mean col17?" in message
    assert message.endswith(f"and {41 - MANY} more")


# As a served model reads it

TEXT = st.one_of(
    st.sampled_from(
        [*raw_values.MISSING, "true", "False", " TRUE ", "1", "0", "1_0", " 1.5 ", "nan(1)", "+nan", "1e400"]
    ),
    st.sampled_from(["\x1c2\x85", "\uff11\uff12", "0x10", "1e-400", ".5", "5.", "infinity", "-0", "0.1", "1.0"]),
    st.floats().map(repr),
    st.integers().map(str),
    st.text(st.characters(codec="utf-8"), max_size=5),
)
VALUES = st.one_of(
    st.lists(TEXT),
    st.lists(st.one_of(st.none(), TEXT)),
    st.lists(st.one_of(st.none(), st.floats())),
    st.lists(st.one_of(st.none(), st.integers())),
    st.lists(st.one_of(st.none(), st.booleans())),
    st.lists(st.one_of(st.none(), TEXT, st.floats(), st.integers(), st.booleans())),
)
KNOWN = Column("a", "category", ("", "-0", "0", "0.1", "1", "1.0", "True", "x"))


def one_by_one(values, column: Column) -> np.ndarray | None:
    """Return what each value says on its own; None where one says nothing."""
    of_category = {value: float(i) for i, value in enumerate(column.values)}
    read = {"number": raw_values.number, "boolean": raw_values.boolean}.get(
        column.kind, lambda value: of_category.get(category(value), float(len(of_category)))
    )
    try:
        return np.array([np.nan if is_missing(value) else read(value) for value in values], np.float64)
    except ValueError:
        return None


@given(VALUES, st.sampled_from([Column("a"), Column("a", "boolean"), KNOWN]), st.booleans())
def test_a_whole_column_is_read_as_each_of_its_values(values, column, many):
    given = [values * (raw_values.SMALL if many else 1)]
    if not many and all(value is None or isinstance(value, str) for value in values):
        given += [pa.array(values, pa.string()), pa.chunked_array([pa.array(values[:2], pa.string()), values[2:]])]
        given += [pd.Series(values, dtype=object), pd.Series(values, dtype="str")]
    for whole in given:
        expected = one_by_one(whole.to_pylist() if hasattr(whole, "to_pylist") else list(whole), column)
        try:
            found = numbers(whole, column)
        except ValueError:
            found = None
        if expected is None or found is None:
            assert expected is None and found is None  # noqa: PT018 (both, or neither)
        else:
            assert found.dtype == np.float64
            np.testing.assert_array_equal(found, expected)


@given(st.lists(TEXT, min_size=1, max_size=30))
def test_a_table_has_what_a_served_model_reads(tmp_path_factory, values):
    file = tmp_path_factory.mktemp("drawn") / "x.csv"
    table = pd.DataFrame({"a": values, "b": "1", "target": "x"})
    table.to_csv(file, index=False, lineterminator="\n")
    try:
        rows = read_table(file)
    except AssayError as error:
        assert "column 'a'" in str(error) or "NUL" in str(error)  # noqa: PT017
        return
    for i, column in enumerate(rows.columns):
        kept = [value.replace("\r\n", "\n") for value in table[column.name]]
        np.testing.assert_array_equal(rows.x[:, i], numbers(kept, column))


# Real data: the penguins of Palmer Station, as the package palmerpenguins carries them


def test_the_penguins_are_read(tmp_path):
    rows = read_table(Path(str(files("palmerpenguins") / "data" / "penguins.csv")), target="species")
    assert (rows.x.shape, rows.classes) == ((344, 7), ("Adelie", "Chinstrap", "Gentoo"))
    assert np.bincount(rows.y).tolist() == [152, 68, 124]
    assert {column.name: column.kind for column in rows.columns if column.kind != "number"} == {
        "island": "category",
        "sex": "category",
    }
    assert np.isnan(rows.x).sum(0).tolist() == [0, 2, 2, 2, 2, 11, 0]
    assert np.nanmean(rows.x[:, 1]) == pytest.approx(43.92193)
    assert rows.findings == ()


def test_the_raw_penguins_have_something_to_tell(tmp_path):
    rows = read_table(Path(str(files("palmerpenguins") / "data" / "penguins-raw.csv")), target="Species")
    assert [(finding.name, finding.examples) for finding in rows.findings] == [("date-columns", ("Date Egg",))]
    assert (rows.x.shape, len(rows.classes), rows.names[3]) == ((344, 16), 3, "line 5")
