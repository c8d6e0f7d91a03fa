import numpy as np
import pytest
from small import prepare_rows

from components.data.raw_values import Column
from components.data.slices import Slice, slices_of, slicings
from components.data.sources import Rows
from components.errors import AssayError


def names(slicing):
    return tuple(part.name for part in slicing.slices)


COLUMNS = (Column("age"), Column("member", "boolean"), Column("island", "category", ("Biscoe", "Dream")))


@pytest.fixture
def prepared(tmp_path):
    """Forty rows: ages 0 to 39, every second one a member, the islands by halves; the first has no island."""
    ages = np.arange(40.0)
    islands = np.where(ages < 20, 0.0, 1.0)
    islands[0] = np.nan
    x = np.column_stack([ages, ages % 2, islands])
    rows = Rows(x=x, y=np.tile([0, 1], 20), classes=("a", "b"), columns=COLUMNS)
    return prepare_rows(rows, tmp_path / "data", "table:x.csv")


def test_rows_are_always_cut_by_class(prepared):
    (of_class,) = slicings(prepared, ())
    assert names(of_class) == ("class: a", "class: b")
    assert of_class.codes.tolist() == [0, 1] * 20


def test_numbers_are_cut_at_their_quartiles(prepared):
    _, ages = slicings(prepared, ["age"])
    assert names(ages) == ("age: up to 9.75", "age: 9.75 to 19.5", "age: 19.5 to 29.25", "age: above 29.25")
    assert np.bincount(ages.codes).tolist() == [10, 10, 10, 10]


def test_quartiles_that_are_near_each_other_keep_names_of_their_own(tmp_path):
    """Months as numbers differ in the sixth digit; two slices of one name would be one to the gate."""
    months = 202300.0 + np.arange(40) % 12
    rows = Rows(x=months[:, None], y=np.tile([0, 1], 20), classes=("a", "b"), columns=(Column("month"),))
    data = prepare_rows(rows, tmp_path / "data", "table:x.csv")
    _, cut = slicings(data, ["month"])
    assert len(set(names(cut))) == 4
    assert "month: above 202308" in names(cut)
    found = slices_of(data, np.arange(40), ["month"])
    assert sum(mask.sum() for part, mask in found.items() if part.column == "month") == 40


def test_a_value_that_is_called_missing_is_not_lost_beside_those_that_are(tmp_path):
    columns = (Column("town", "category", ("Bonn", "missing")), Column("age"))
    values = np.column_stack([np.array([0.0, 1.0, np.nan, np.nan] * 10), np.arange(40.0)])
    rows = Rows(x=values, y=np.tile([0, 1], 20), classes=("a", "b"), columns=columns)
    found = slices_of(prepare_rows(rows, tmp_path / "data", "table:x.csv"), np.arange(40), ["town"])
    assert found[Slice("town", "missing")].sum() == 30


def test_categories_and_booleans_are_cut_by_their_values_and_missing_is_a_slice(prepared):
    _, members, islands = slicings(prepared, ["member", "island"])
    assert names(members) == ("member: false", "member: true")
    assert names(islands) == ("island: Biscoe", "island: Dream", "island: missing")
    assert np.bincount(islands.codes).tolist() == [19, 20, 1]


def test_slices_of_some_rows_are_masks_and_empty_ones_are_left_out(prepared):
    found = slices_of(prepared, np.array([1, 3, 39]), ["island"])
    assert {part.name: mask.tolist() for part, mask in found.items()} == {
        "class: b": [True, True, True],
        "island: Biscoe": [True, True, False],
        "island: Dream": [False, False, True],
    }


def test_an_unknown_column_is_said_with_the_nearest(prepared):
    with pytest.raises(AssayError, match="no column is called 'ilsand'; expected one such as island"):
        slicings(prepared, ["ilsand"])


def test_of_many_values_the_most_frequent_are_slices(tmp_path):
    values = np.concatenate([np.arange(60.0), np.repeat(np.arange(10.0), 3)])
    column = Column("town", "category", tuple(f"t{i:02}" for i in range(60)))
    rows = Rows(x=values[:, None], y=np.arange(90) % 2, classes=("a", "b"), columns=(column,))
    _, towns = slicings(prepare_rows(rows, tmp_path / "data", "table:x.csv"), ["town"])
    assert len(names(towns)) == 51
    assert names(towns)[-1] == "town: others"
    assert np.count_nonzero(towns.codes == 50) == 10
