"""What is measured of drift: the index and its chance on drawn counts, and profiles of real and made data."""

import numpy as np
import pytest
from small import prepare_rows

from components.data.drift import FEWEST_ROWS, LEVEL, measure, psi, save
from components.data.raw_values import Column
from components.data.sources import Rows
from components.reporting.phrases import drift_as_text

CLASSES = ("no", "yes")


def test_the_index_is_that_of_its_definition():
    then, now = np.array([500, 300, 200]), np.array([200, 300, 500])
    p, q = (then + 0.5) / 1001.5, (now + 0.5) / 1001.5
    index, chance = psi(then, now)
    assert index == pytest.approx(np.sum((q - p) * np.log(q / p)))
    assert index == pytest.approx(0.55, abs=0.01)
    assert chance < 1e-30
    assert psi(then, then) == (0.0, 1.0)


@pytest.mark.parametrize(("rows", "new", "bins"), [(2000, 60, 12), (150, 60, 12), (20_000, 1000, 12), (5000, 300, 50)])
@pytest.mark.parametrize("even", [True, False])
def test_what_does_not_drift_is_told_so_in_99_of_100_cases(rows, new, bins, even):
    rng = np.random.default_rng(0)
    shares = np.full(bins, 1 / bins) if even else rng.dirichlet(np.full(bins, 0.5))
    drawn = [psi(rng.multinomial(rows, shares), rng.multinomial(new, shares)) for _ in range(2000)]
    false = np.mean([chance < LEVEL for _, chance in drawn])
    assert 0.0005 < false < 0.017  # 0.01, and three standard errors; less where many bins are nearly empty


def test_a_value_that_was_not_there_counts_and_rare_ones_together():
    assert psi(np.array([500, 500, 0]), np.array([40, 40, 20]))[1] < 1e-6
    many = np.full(200, 5)
    assert psi(many, many * 0 + 1)[1] > 0.5
    assert psi(many, np.where(np.arange(200) < 40, 5, 0))[1] < 1e-6
    assert psi(np.array([100]), np.array([7])) == (0.0, 1.0)


def table(rows, rng, shift=0.0, reds=0.5, yes=0.5):
    number, constant = rng.normal(size=rows) + shift, np.zeros(rows)
    number[rng.random(rows) < 0.1] = np.nan
    color = (rng.random(rows) >= reds).astype(float)
    columns = (Column("size"), Column("color", "category", ("blue", "red")[::-1]), Column("nothing"))
    return Rows(np.stack([number, color, constant], axis=1), (rng.random(rows) < yes).astype(int), CLASSES, columns)


def joined(old, new):
    return Rows(
        np.concatenate([old.x, new.x]), np.concatenate([old.y, new.y]), old.classes, old.columns, words=old.words
    )


def drift_of(folder, old, new, source, threshold=0.2):
    return between(folder, old, joined(old, new), source, threshold)


def between(folder, then, now, source="table:rows.csv", threshold=0.2, **data):
    save(prepare_rows(then, folder / "then", source, **data), folder / "profile.npz")
    return measure(prepare_rows(now, folder / "now", source, **data), folder / "profile.npz", threshold)


def taken(rows, numbers):
    return Rows(rows.x[numbers], rows.y[numbers], rows.classes, rows.columns, words=rows.words)


def by_name(found):
    return {str(value.quantity): value for value in found.values}


def test_of_a_table_only_the_column_that_moved_has_drifted(tmp_path):
    rng = np.random.default_rng(1)
    found = drift_of(tmp_path, table(1000, rng), table(200, rng, shift=1.0), "table:rows.csv")
    assert (found.rows, found.new, found.drifted) == (1200, 200, True)
    assert [str(value.quantity) for value in found.values if value.drifted] == ["column size"]
    moved = found.values[0]
    assert moved.psi > 0.5
    assert str(moved.then).startswith("median ")
    assert by_name(found)["column nothing"].psi == 0


def test_categories_and_classes_are_told_by_the_share_that_changed_most(tmp_path):
    rng = np.random.default_rng(2)
    found = drift_of(tmp_path, table(1000, rng), table(300, rng, reds=0.9, yes=0.1), "table:rows.csv")
    values = by_name(found)
    assert values["column color"].drifted
    assert values["class"].drifted
    assert not values["column size"].drifted
    assert str(values["class"].now).startswith(("no 9", "no 8"))
    share = float(str(values["column color"].now).split()[1])
    assert str(values["column color"].now).startswith("blue 1") or share > 80


def test_rows_of_the_same_kind_have_not_drifted_and_a_few_can_tell_nothing(tmp_path):
    rng = np.random.default_rng(3)
    old = table(1000, rng)
    assert not drift_of(tmp_path / "same", old, table(300, rng), "table:rows.csv").drifted
    other = table(1000, rng)
    save(prepare_rows(old, tmp_path / "old", "table:rows.csv"), tmp_path / "profile.npz")
    found = measure(prepare_rows(other, tmp_path / "other", "table:rows.csv"), tmp_path / "profile.npz", 0.2)
    assert (found.compared, found.drifted) == ("all", False)  # a tenth of the rows is equal to others
    few = drift_of(tmp_path / "few", old, table(FEWEST_ROWS - 1, rng, shift=9), "table:rows.csv")
    assert (few.new, few.enough, few.drifted, few.values) == (FEWEST_ROWS - 1, False, False, ())
    assert few.compared == "new"
    nothing = drift_of(tmp_path / "nothing", old, table(0, rng), "table:rows.csv")
    assert nothing.new == 0


def test_a_small_shift_that_is_sure_is_below_the_threshold(tmp_path):
    rng = np.random.default_rng(4)
    old, new = table(3000, rng), table(3000, rng, shift=0.25)
    size = by_name(drift_of(tmp_path / "a", old, new, "table:rows.csv"))["column size"]
    assert size.p is not None
    assert size.p < LEVEL
    assert not size.drifted
    assert by_name(drift_of(tmp_path / "b", old, new, "table:rows.csv", threshold=0.03))["column size"].drifted


def test_of_images_light_and_detail_are_told_apart(digits, tmp_path):
    """Real digits: the new ones as they are, darker, or with noise."""
    x, y = np.array(digits.x, np.float32), np.array(digits.y)
    old = Rows(x[:1200], y[:1200], digits.schema.classes)
    rng = np.random.default_rng(5)

    def drifted(folder, images):
        found = drift_of(tmp_path / folder, old, Rows(images, y[1200:], old.classes), "tfds:any")
        return {str(value.quantity) for value in found.values if value.drifted}

    assert drifted("same", x[1200:] + np.float32(1e-3)) == set()
    assert {"brightness", "contrast"} <= drifted("darker", x[1200:] * 0.6)
    noisy = drifted("noisy", np.clip(x[1200:] + rng.normal(0, 2, x[1200:].shape).astype(np.float32), 0, 16))
    assert "detail" in noisy
    assert "class" not in noisy


def texts(rows, rng, words, length=(5, 20), first=0, last=None):
    x = np.zeros((rows, 30), np.int32)
    for row in x:
        count = rng.integers(*length)
        row[:count] = 1 + rng.integers(first, last or len(words), count)
    return Rows(x, rng.integers(0, 2, rows), CLASSES, words=words)


def test_of_texts_strange_words_and_lengths_are_told(tmp_path):
    rng = np.random.default_rng(6)
    words = tuple(f"word{n:03}" for n in range(600))
    old = texts(800, rng, words, last=400)

    def values(folder, new):
        return by_name(drift_of(tmp_path / folder, old, new, "text:rows.csv"))

    same = values("same", texts(200, rng, words, last=400))
    assert not any(value.drifted for value in same.values())
    other = values("other", texts(200, rng, words, first=300))
    assert {name for name, value in other.items() if value.drifted} == {"strange words"}
    longer = values("longer", texts(200, rng, words, length=(20, 30), last=400))
    assert longer["words in a text"].drifted
    assert not longer["strange words"].drifted


def test_rows_are_counted_as_new_whatever_became_of_the_others(tmp_path):
    rng = np.random.default_rng(7)
    all_rows = table(500, rng)
    all_rows.x[:, 2] = rng.normal(size=500)  # no two are equal
    old, order = np.arange(400), rng.permutation(400)
    then = taken(all_rows, old)
    for name, numbers, new in (
        ("reordered", order, 0),
        ("appended", np.arange(500), 100),
        ("replaced", np.arange(100, 500), 100),
        ("deleted", order[:200], 0),
        ("doubled", np.r_[old, order], 400),
    ):
        found = between(tmp_path / name, then, taken(all_rows, numbers))
        assert (found.new, found.compared, found.drifted) == (new, "new", False), name


def test_where_rows_are_like_others_those_that_went_hide_those_that_came(tmp_path):
    """40 of 400 rows of 40 kinds go, and 100 come: what is left over of each kind is no sample of what came."""
    rng = np.random.default_rng(8)
    columns = (Column("size"), Column("age"))
    x = np.stack([rng.integers(0, 5, 500), rng.integers(0, 8, 500)], axis=1).astype(np.float32)
    everything = Rows(x, rng.integers(0, 2, 500), CLASSES, columns)
    found = between(tmp_path / "moved", taken(everything, np.arange(400)), taken(everything, np.arange(40, 500)))
    assert (found.compared, found.looked_at, found.drifted) == ("all", 460, False)
    grown = between(tmp_path / "grown", taken(everything, np.arange(400)), everything)
    assert (grown.compared, grown.looked_at) == ("new", 100)


def test_few_rows_that_are_equal_do_not_hide_new_ones_when_some_are_deleted(tmp_path):
    rng = np.random.default_rng(9)
    rows = table(1000, rng)
    rows.x[:, 2] = rng.normal(size=1000)
    now = np.arange(3, 1000)  # three were deleted, and a tenth is there twice
    then = taken(rows, np.r_[np.arange(800), np.arange(80)])
    found = between(tmp_path, then, taken(rows, np.r_[now, np.arange(3, 80)]))
    assert (found.compared, found.new) == ("new", 200)


def test_new_groups_with_many_rows_each_are_no_drift(tmp_path):
    """Rows of a patient are alike: ten new patients with 20 rows each are ten new cases, not 200."""
    rng = np.random.default_rng(10)
    drifted, patients = 0, np.repeat(np.arange(70), 20)
    columns = tuple(Column(f"c{number}") for number in range(5))
    for trial in range(10):
        x = rng.normal(size=(70, 5))[patients] + 0.7 * rng.normal(size=(1400, 5))
        y = rng.integers(0, 2, 1400)
        rows = Rows(x.astype(np.float32), y, CLASSES, columns, groups=patients)
        old = patients < 60
        then = Rows(rows.x[old], y[old], CLASSES, columns, groups=patients[old])
        found = between(tmp_path / f"{trial}", then, rows, group="patient")
        drifted += found.drifted
        assert (found.new, found.looked_at, found.enough) == (200, 10, False)
        assert "it takes 50 of different groups" in drift_as_text(found, "1")
    assert drifted == 0


def test_of_groups_that_are_enough_a_drift_is_seen(tmp_path):
    rng = np.random.default_rng(11)
    patients = np.repeat(np.arange(300), 3)
    x = (rng.normal(size=(300, 1)) + (np.arange(300) >= 200)[:, None])[patients].astype(np.float32)
    x += rng.normal(size=x.shape).astype(np.float32) / 10
    y, old, columns = rng.integers(0, 2, 900), patients < 200, (Column("a"),)
    then = Rows(x[old], y[old], CLASSES, columns, groups=patients[old])
    found = between(tmp_path, then, Rows(x, y, CLASSES, columns, groups=patients), group="patient")
    assert (found.new, found.looked_at, found.drifted) == (300, 100, True)


def test_a_column_that_changes_its_type_has_drifted(tmp_path):
    rng = np.random.default_rng(12)
    number = table(300, rng)
    number.x[:, 2] = rng.normal(size=300)
    code = Column("size", "category", ("a", "b"))
    x = np.array(number.x)
    x[:, 0] = rng.integers(0, 2, 300)
    category = Rows(x, number.y, CLASSES, (code, *number.columns[1:]))
    found = between(tmp_path / "to", number, category)
    size = by_name(found)["column size"]
    assert (size.drifted, str(size.now)) == (True, "no number")
    assert drift_as_text(found, "3").startswith("No row of today was there for version 3; all 300 are compared, and ")
    back = by_name(between(tmp_path / "back", category, number))["column size"]
    assert (back.drifted, str(back.now)) == (True, "other values 100.0 %")


def test_values_that_are_missing_now_are_told_so(tmp_path):
    rng = np.random.default_rng(13)
    old, new = table(500, rng), table(100, rng)
    new.x[:50, 0] = np.nan
    size = by_name(drift_of(tmp_path / "half", old, new, "table:rows.csv"))["column size"]
    assert size.drifted
    assert str(size.then).endswith(" % missing")
    assert float(str(size.now).split()[2]) >= 50
    new.x[:, 0] = np.nan
    gone = by_name(drift_of(tmp_path / "all", old, new, "table:rows.csv"))["column size"]
    assert (gone.drifted, str(gone.now)) == (True, "no number")


def test_long_values_of_a_category_are_cut_in_words(tmp_path):
    rng = np.random.default_rng(14)
    long = Column("note", "category", ("a" * 5000, "b" * 5000))
    x = np.stack([rng.normal(size=400), np.r_[np.zeros(300), np.ones(100)]], axis=1).astype(np.float32)
    rows = Rows(x, rng.integers(0, 2, 400), CLASSES, (Column("size"), long))
    note = by_name(between(tmp_path, taken(rows, np.arange(300)), rows))["column note"]
    assert note.drifted
    assert len(str(note.now)) < 60


def test_texts_that_came_and_went_are_not_less_strange_for_being_known(tmp_path):
    rng = np.random.default_rng(15)
    words = tuple(f"word{n:04}" for n in range(3000))
    rows = texts(600, rng, words)
    then = taken(rows, np.r_[np.arange(500), np.arange(100)])  # a hundred are there twice
    now = taken(rows, np.r_[np.arange(250, 600), np.arange(100), np.arange(100)])
    found = between(tmp_path, then, now, "text:rows.csv")
    assert (found.compared, found.drifted) == ("all", False)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(1, 9, 1), (6, 1, 3), (5, 4, 4), (3, 3, 2)])
def test_images_of_any_shape_have_what_is_measured(tmp_path, shape):
    rng = np.random.default_rng(16)
    x, y = rng.integers(0, 255, (300, *shape)).astype(np.uint8), rng.integers(0, 2, 300)
    found = between(tmp_path, Rows(x[:200], y[:200], CLASSES), Rows(x, y, CLASSES), "tfds:any")
    names = {"brightness", "contrast", "detail", "class"}
    colors = {3: {"red", "green", "blue"}, 4: {"red", "green", "blue", "alpha"}}.get(shape[-1], set())
    assert set(by_name(found)) == names | colors
    assert not found.drifted


@pytest.mark.parametrize(("values", "rows"), [(None, 450), (2000, 2200), (300, 1500)])
def test_a_category_of_many_values_has_not_drifted_for_being_rare(tmp_path, values, rows):
    """A value that was there once is not there again: which ones are frequent is asked of other rows."""
    rng = np.random.default_rng(17)
    texts_of = tuple(f"value {number}" for number in range(values or rows))
    codes = np.arange(rows) if values is None else rng.integers(0, values, rows)
    x = np.stack([rng.normal(size=rows), codes], axis=1).astype(np.float32)
    columns = (Column("size"), Column("code", "category", texts_of))
    everything = Rows(x, rng.integers(0, 2, rows), CLASSES, columns)
    found = between(tmp_path / "same", taken(everything, np.arange(rows - 200)), everything, threshold=0.1)
    assert not by_name(found)["column code"].drifted


def test_of_many_values_one_that_becomes_frequent_is_a_drift(tmp_path):
    rng = np.random.default_rng(18)
    column = Column("code", "category", tuple(f"value {number}" for number in range(1000)))
    x = np.stack([rng.normal(size=3000), np.minimum(rng.zipf(1.3, 3000), 1000) - 1], axis=1).astype(np.float32)
    rows = Rows(x, rng.integers(0, 2, 3000), CLASSES, (Column("size"), column))
    rows.x[-100:, 1] = 2
    code = by_name(between(tmp_path, taken(rows, np.arange(2900)), rows))["column code"]
    assert code.drifted
    assert str(code.now) == "value 2 100.0 %"
