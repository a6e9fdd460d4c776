"""Curves of the report: positions of points, thinning, and number formats."""

import math
import re

import pytest

from allyouneed.training.reporting import curves
from allyouneed.training.reporting.curves import CurvePoint, Series, chart


def draw(values: dict[int, float], **options) -> str:
    """Draw a chart of one curve, for a run with one second per step that ends at the last point."""
    points = [CurvePoint(step, float(step), value) for step, value in values.items()]
    return chart("Speed", "a second", [Series("speed", "a", points)], points, **({"resumes": []} | options))


def path(figure: str, name: str) -> str:
    return re.search(f'class="{name}" d="([^"]*)"', figure)[1]


def test_position_of_a_point():
    figure = draw({250: 500.0, 500: 1000.0, 1000: 0.0})
    assert path(figure, "line a") == "M25.00,50.00L50.00,0.00L100.00,100.00"
    assert path(figure, "dots a") == "M25.00,50.00h0M50.00,0.00h0M100.00,100.00h0"
    assert "speed from 500 to 0" in figure


def test_axes_start_at_zero_by_default():
    assert path(draw({50: 6.0, 100: 10.0}), "line a") == "M50.00,40.00L100.00,0.00"
    assert path(draw({50: 6.0, 100: 10.0}, from_zero=False), "line a") == "M50.00,100.00L100.00,0.00"


def test_resumes_and_minutes_are_shown_on_request():
    figure = draw({60: 1.0, 120: 2.0}, resumes=[60], timed=True)
    assert path(figure, "resume") == "M50.00,0V100"
    assert "100<br>2 min</span>" in figure
    assert "resume" not in draw({60: 1.0})
    assert "min</span>" not in draw({60: 1.0})


def test_no_chart_without_points():
    assert draw({}) == ""
    assert draw({1: math.nan}) != ""


def test_long_curves_are_thinned_but_keep_their_peaks():
    curve = [CurvePoint(step, 0.0, 1.0) for step in range(10_000)]
    curve[5_003] = CurvePoint(5_003, 0.0, 99.0)
    curve[7_001] = CurvePoint(7_001, 0.0, math.nan)
    thinned = curves._thin(curve)
    assert len(thinned) <= curves._MAX_POINTS
    assert [thinned[0], thinned[-1]] == [curve[0], curve[-1]]
    assert curve[5_003] in thinned
    assert curve[7_001] in thinned
    assert thinned == sorted(thinned, key=lambda point: point.step)
    assert draw(dict.fromkeys(range(10_000), 1.0)).count("L") < curves._MAX_POINTS


@pytest.mark.parametrize(
    ("low", "high"), [(0, 5000), (1.9, 7.3), (0, 1.2e-3), (3.0, 3.0), (0, 0), (-2.0, -2.0), (0, 3e38)]
)
def test_ticks_are_round_and_include_the_values(low, high):
    ticks = curves._round_numbers(low, high, 5)
    slack = 1e-9 * max(abs(low), abs(high))
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 8
    assert ticks == sorted(set(ticks))


@pytest.mark.parametrize(
    ("value", "text"), [(28890, "28,890"), (3.41234, "3.412"), (1e-4, "0.0001"), (None, "–"), (["a", "b"], "a, b")]
)
def test_number_formats(value, text):
    assert curves.show(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 min"), (30, "0.5 min"), (599, "10 min"), (2700, "45 min"), (20000, "5.6 h")]
)
def test_time_is_formatted_in_minutes_then_hours(seconds, text):
    assert curves.show_time(seconds) == text


def test_text_is_escaped_and_markup_is_not():
    inner = curves.markup("i", "&")
    assert curves.markup("p", "<b>", inner, title='"') == '<p title="&quot;">&lt;b&gt;<i>&amp;</i></p>'
