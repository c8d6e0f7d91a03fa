"""The data report as a page of Markdown."""

import numpy as np
from reports import inspect, table, texts

from components.data import report
from components.data.raw_values import Column
from components.data.report.markdown import markdown


def test_words_are_legible_in_markdown():
    found = markdown(inspect(texts(["* _ | ` <b>", "\x1b a_b", "x"], [0, 1, 1]), test=[2]))
    assert "| a | \\* \\<b> \\_ \\` \\| |" in found
    assert "| b | \ufffd a_b x |" in found
    assert "Not among the train rows of seed 0: 100.0 % of the words of test rows." in found


def test_names_with_a_bar_do_not_break_the_table():
    rows = table([[0], [1]], [0, 1])
    rows.classes = ("a|b", "c", "d")
    assert "| a\\|b | 1 |" in markdown(inspect(rows))


def test_of_many_columns_and_classes_the_first_are_listed(tmp_path):
    rng = np.random.default_rng(0)
    rows = table(rng.normal(size=(2000, 200)), np.arange(2000) % 1000)
    rows.classes = tuple(f"class {i}" for i in range(1000))
    found = inspect(rows)
    assert (len(found.classes), len(found.columns)) == (1000, 200)
    text = markdown(found)
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
