"""How long texts are, and which words they have."""

import pytest
from reports import inspect, texts

from components.data.report.data_report import ClassWords, Histogram, TextReport
from components.data.report.markdown import markdown


def test_texts_are_counted():
    lines = ["good good film", "good", "bad film", "bad bad ! !", "new good", "odd"]
    found = inspect(texts(lines, [0, 0, 1, 1, 0, 1]), test=[4, 5], validation=[1]).text
    assert found == TextReport(
        least=1,
        median=2.0,
        p95=3.75,
        greatest=4,
        limit=4,
        at_limit=0,
        words=6,
        unknown_share={"test": 2 / 3, "validation": 0.0},
        histogram=Histogram((0, 1, 2, 3, 4, 5), (0, 2, 2, 1, 1)),
        classes=(
            ClassWords("a", ("good", "film", "new"), ("good",)),
            ClassWords("b", ("bad", "!", "film", "odd"), ("bad",)),
            ClassWords("c", (), ()),
        ),
    )


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
    assert found.text
    assert found.text.at_limit == reach
    assert f"{reach} rows reach 2 words, where longer ones are cut." in markdown(found)
