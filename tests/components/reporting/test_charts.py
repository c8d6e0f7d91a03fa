"""Charts put numbers where they belong, and say what they show."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.reporting.html_report.charts import Axis, Plot, Strip, log_ticks, spread, thinned, ticks


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e6))
def test_ticks_are_a_few_round_numbers_within_the_ends(low, width):
    found = ticks(low, low + width)
    assert 1 <= len(found) <= 6
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in found)
    steps = [b - a for a, b in pairwise(found)]
    for step in steps:
        assert step == pytest.approx(steps[0], rel=1e-3)


def test_ticks_of_shares_are_what_a_person_would_write():
    assert ticks(0, 1) == (0, 0.2, 0.4, 0.6, 0.8, 1)
    assert ticks(-0.152, 0.031) == (-0.15, -0.1, -0.05, 0)


@given(st.floats(1e-6, 1e3), st.floats(1.01, 1e9))
def test_a_logarithmic_axis_has_some_numbers_and_not_too_many(low, times):
    found = log_ticks(low, low * times)
    assert 1 <= len(found) <= 6
    assert all(low * 0.999 <= tick <= low * times * 1.001 for tick in found)


def test_an_axis_never_has_the_same_two_ends():
    for values in ([0.0], [3.0, 3.0], [-1.0, 1.0]):
        low, high = spread(values)
        assert low < min(values) <= max(values) < high


def test_a_log_axis_places_by_the_logarithm():
    axis = Axis("rows", 1, 100, str, log=True)
    assert [axis.place(value) for value in (1, 10, 100)] == pytest.approx([0, 0.5, 1])


def test_of_many_points_some_are_drawn_with_both_ends():
    assert thinned(1000, 50)[[0, -1]].tolist() == [0, 999]
    assert len(thinned(1000, 50)) == 50
    assert thinned(3, 50).tolist() == [0, 1, 2]


def test_a_chart_says_what_it_is_and_escapes_what_it_is_told():
    plot = Plot("one", "a <b> title", "a & b", Axis("<x>", 0, 1, str), Axis("y", 0, 1, str))
    plot.dot(0, 0, "accent")
    plot.text(1, 1, "<i>")
    drawn = str(plot.render())
    assert 'role="img" aria-labelledby="one-t one-d"' in drawn
    assert '<title id="one-t">a &lt;b&gt; title</title><desc id="one-d">a &amp; b</desc>' in drawn
    assert "&lt;x&gt;" in drawn
    assert "&lt;i&gt;" in drawn
    assert "<i>" not in drawn


def test_up_is_more_and_points_are_within_the_picture():
    plot = Plot("one", "t", "d", Axis("x", 0, 10, str), Axis("y", -1, 1, str), 340, 240)
    (left, bottom), (right, top) = plot.at(0, -1), plot.at(10, 1)
    assert 0 < left < right < 340
    assert 0 < top < bottom < 240


def test_an_effect_is_drawn_where_its_value_is_and_stays_within_its_cell():
    drawn = str(Strip(Axis("", -1, 3, str)).effect(1.0, -9.0, 2.0, [0.0, 1.0], "helped"))
    assert 'cx="50.00%"' in drawn
    assert 'class="interval" x1="0.00%" x2="75.00%"' in drawn
    assert re.findall(r'class="seed" x="([\d.]+)%"', drawn) == ["25.00", "50.00"]
    assert "aria-hidden" in drawn
