"""What is measured of drift: the index and its chance on drawn counts, and profiles of real and made data."""

import numpy as np
import pytest
from small import prepare_rows

from components.drift import FEWEST_ROWS, LEVEL, measure, psi, save
from components.raw import Column
from components.sources import Rows

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
    save(prepare_rows(old, folder / "old", source), folder / "profile.npz")
    return measure(prepare_rows(joined(old, new), folder / "new", source), folder / "profile.npz", threshold)


def by_name(found):
    return {value["name"]: value for value in found["values"]}


def test_of_a_table_only_the_column_that_moved_has_drifted(tmp_path):
    rng = np.random.default_rng(1)
    found = drift_of(tmp_path, table(1000, rng), table(200, rng, shift=1.0), "table:rows.csv")
    assert (found["rows"], found["new"], found["drifted"]) == (1200, 200, True)
    assert [value["name"] for value in found["values"] if value["drifted"]] == ["column size"]
    moved = found["values"][0]
    assert moved["psi"] > 0.5
    assert moved["then"].startswith("median ")
    assert by_name(found)["column nothing"]["psi"] == 0


def test_categories_and_classes_are_told_by_the_share_that_changed_most(tmp_path):
    rng = np.random.default_rng(2)
    found = drift_of(tmp_path, table(1000, rng), table(300, rng, reds=0.9, yes=0.1), "table:rows.csv")
    values = by_name(found)
    assert values["column color"]["drifted"]
    assert values["class"]["drifted"]
    assert not values["column size"]["drifted"]
    assert values["class"]["now"].startswith(("no 9", "no 8"))
    share = float(values["column color"]["now"].split()[1])
    assert values["column color"]["now"].startswith("blue 1") or share > 80


def test_rows_of_the_same_kind_have_not_drifted_and_a_few_can_tell_nothing(tmp_path):
    rng = np.random.default_rng(3)
    old = table(1000, rng)
    assert not drift_of(tmp_path / "same", old, table(300, rng), "table:rows.csv")["drifted"]
    other = table(1000, rng)
    save(prepare_rows(old, tmp_path / "old", "table:rows.csv"), tmp_path / "profile.npz")
    found = measure(prepare_rows(other, tmp_path / "other", "table:rows.csv"), tmp_path / "profile.npz", 0.2)
    assert (found["compared"], found["drifted"]) == ("all", False)  # a tenth of the rows is equal to others
    few = drift_of(tmp_path / "few", old, table(FEWEST_ROWS - 1, rng, shift=9), "table:rows.csv")
    assert (few["new"], few["enough"], few["drifted"], few["values"]) == (FEWEST_ROWS - 1, False, False, [])
    assert few["compared"] == "new"
    nothing = drift_of(tmp_path / "nothing", old, table(0, rng), "table:rows.csv")
    assert nothing["new"] == 0


def test_a_small_shift_that_is_sure_is_below_the_threshold(tmp_path):
    rng = np.random.default_rng(4)
    old, new = table(3000, rng), table(3000, rng, shift=0.25)
    size = by_name(drift_of(tmp_path / "a", old, new, "table:rows.csv"))["column size"]
    assert size["p"] < LEVEL
    assert not size["drifted"]
    assert by_name(drift_of(tmp_path / "b", old, new, "table:rows.csv", threshold=0.03))["column size"]["drifted"]


def test_of_images_light_and_detail_are_told_apart(digits, tmp_path):
    """Real digits: the new ones as they are, darker, or with noise."""
    x, y = np.array(digits.x, np.float32), np.array(digits.y)
    old = Rows(x[:1200], y[:1200], digits.schema.classes)
    rng = np.random.default_rng(5)

    def drifted(folder, images):
        found = drift_of(tmp_path / folder, old, Rows(images, y[1200:], old.classes), "tfds:any")
        return {value["name"] for value in found["values"] if value["drifted"]}

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
    assert not any(value["drifted"] for value in same.values())
    other = values("other", texts(200, rng, words, first=300))
    assert {name for name, value in other.items() if value["drifted"]} == {"strange words"}
    longer = values("longer", texts(200, rng, words, length=(20, 30), last=400))
    assert longer["words in a text"]["drifted"]
    assert not longer["strange words"]["drifted"]
