"""Curves as SVG figures that need no script, and helpers for the HTML markup of the report.

`markup` escapes everything that is not `Html`, so that text from a corpus or a model cannot be interpreted as HTML.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import NamedTuple, TypeGuard

_MAX_POINTS = 800  # maximum number of points of a curve, about the resolution of a screen


# Markup and numbers


class Html(str):
    """HTML markup, which is not escaped again."""


def join(*parts: object) -> Html:
    """Concatenate parts, escaping those that are not `Html`."""
    return Html("".join(part if isinstance(part, Html) else escape(str(part)) for part in parts))


def markup(name: str, *children: object, **attributes: object) -> Html:
    """Make `<name attributes>children</name>`; `class_` stands for `class`, `data_span` for `data-span`."""
    pairs = [f'{key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items()]
    return Html(f"<{' '.join([name, *pairs])}>{join(*children)}</{name}>")


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value can be plotted: a finite number, not a boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def show(value: object) -> object:
    """Format a value for display, for example `28,890`, `3.412` or `a, b`; `Html` is unchanged."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if not is_number(value):
        return "–" if value is None else value
    whole = value == int(value) or abs(value) >= 1000
    return f"{value:,.0f}" if whole and abs(value) < 1e10 else f"{value:.4g}"


def show_time(seconds: float) -> str:
    """Format seconds as minutes, or as hours from three hours on: `2.5 min`, `45 min`, `12.5 h`."""
    minutes = seconds / 60
    if minutes < 180:
        return f"{minutes:.0f} min" if minutes >= 10 else f"{minutes:.2g} min"
    return f"{minutes / 60:.1f} h"


# Curves. Drawings of 100 by 100 units are stretched. Labels are HTML text next to them, which is not stretched.


class CurvePoint(NamedTuple):
    """A value at a step, and the training time in seconds up to that step."""

    step: int
    seconds: float
    value: float  # a value that is not finite makes a gap in the curve


class Series(NamedTuple):
    """A curve of a chart."""

    name: str
    hue: str  # CSS class, "a" or "b"
    points: list[CurvePoint]


class _Axes(NamedTuple):
    span: int  # number of steps on the horizontal axis, from 0
    ticks: list[float]  # tick values on the vertical axis; the first and the last are its limits

    def x(self, step: float) -> str:
        return f"{100 * step / self.span:.2f}"

    def y(self, value: float) -> str:
        return f"{100 * (self.ticks[-1] - value) / (self.ticks[-1] - self.ticks[0]):.2f}"


def chart(
    title: str,
    unit: str,
    series: list[Series],
    clock: list[CurvePoint],
    resumes: list[int],
    from_zero: bool = True,
    timed: bool = False,
) -> Html:
    """Make a figure with legend, curves and axes; empty without points. The page's script reads `data-series`.

    Args:
        title: Heading.
        unit: Unit of the values.
        series: The curves.
        clock: Steps with their time; the last step is the right end of the axis.
        resumes: Steps at which training was resumed, marked by dashed lines.
        from_zero: Whether the vertical axis includes zero.
        timed: Whether to show minutes below the steps.
    """
    series = [each._replace(points=_thin(each.points)) for each in series if each.points]
    if not series:
        return Html("")
    values = [point.value for each in series for point in each.points]
    levels = list(filter(is_number, values)) or [0.0]
    axes = _Axes(
        span=max(clock[-1].step, *resumes, 1),
        ticks=_round_numbers(min(levels + [0.0] * from_zero), max(levels), 5),
    )
    note = unit if len(levels) == len(values) else f"{unit} (gaps: values that are not finite)"
    data = [[[p.step, p.seconds, p.value if is_number(p.value) else None] for p in each.points] for each in series]
    frame = [_drawing(title, series, axes, resumes), *_labels(axes, clock if timed else [])]
    return markup(
        "figure",
        markup("figcaption", markup("h3", title, " ", markup("small", note)), _legend(series, resumes)),
        markup("div", *frame, Html('<i class="cursor" hidden></i>'), class_="frame"),
        class_="chart timed" if timed else "chart",
        data_span=axes.span,
        data_series=json.dumps(data, separators=(",", ":")),
    )


def _legend(series: list[Series], resumes: list[int]) -> Html:
    """Make the legend: names and last values, which the script replaces by the values under the pointer."""
    last = [(name, hue, curve[-1]) for name, hue, curve in series]
    keys = [markup("span", name, " ", markup("b", show(point.value)), class_=f"key {hue}") for name, hue, point in last]
    mark = markup("span", "resumed", class_="key resume") if resumes else ""
    step = max(point.step for _, _, point in last)
    return markup("div", *keys, mark, markup("output", f"step {show(step)}"), class_="legend soft")


def _drawing(title: str, series: list[Series], axes: _Axes, resumes: list[int]) -> Html:
    paths = [("grid", "".join(f"M0,{axes.y(tick)}H100" for tick in axes.ticks))]
    paths += [("resume", f"M{axes.x(step)},0V100") for step in resumes]
    for _, hue, curve in series:
        runs = [list(part) for finite, part in groupby(curve, lambda point: is_number(point.value)) if finite]
        pieces = [[f"{axes.x(point.step)},{axes.y(point.value)}" for point in part] for part in runs]
        paths.append((f"line {hue}", "".join(f"M{'L'.join(piece)}" for piece in pieces)))
        # A line of length 0 with round caps is a round dot even in a stretched drawing.
        dotted = [piece for piece in pieces if len(curve) <= 100 or len(piece) == 1]
        paths.append((f"dots {hue}", "".join(f"M{position}h0" for piece in dotted for position in piece)))
    summary = "; ".join(f"{name} from {show(curve[0].value)} to {show(curve[-1].value)}" for name, _, curve in series)
    drawn = (markup("path", class_=name, d=data) for name, data in paths)
    about = {"role": "img", "aria_label": f"{title}: {summary}"}
    return markup("svg", *drawn, viewBox="0 0 100 100", preserveAspectRatio="none", **about)


def _labels(axes: _Axes, times: list[CurvePoint]) -> Iterator[Html]:
    """Yield the labels of both axes, with the time of the nearest point in `times` below each step."""
    for tick in axes.ticks:
        yield markup("span", show(tick), class_="y", style=f"top:{axes.y(tick)}%")
    for step in _round_numbers(0, axes.span, 5):
        if step <= axes.span and step == int(step):
            nearest = min(times, key=lambda point: abs(point.step - step), default=None)
            below = (Html("<br>"), show_time(nearest.seconds)) if nearest else ()
            yield markup("span", show(step), *below, class_="x", style=f"left:{axes.x(step)}%")


def _round_numbers(low: float, high: float, count: int) -> list[float]:
    """Return ticks that span `low` to `high`: about `count` steps of 1, 2, 2.5 or 5 times a power of ten."""
    if low == high:
        low, high = min(low, 0), max(high, 0) or 1
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10, 20) if factor * power * count >= high - low)
    return [index * step for index in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _thin(curve: list[CurvePoint]) -> list[CurvePoint]:
    """Reduce a curve to at most _MAX_POINTS points: the ends, and the minimum and maximum of each bucket."""
    if len(curve) <= _MAX_POINTS:
        return curve
    size = math.ceil(len(curve) / (_MAX_POINTS // 2 - 1))
    height = [point.value if is_number(point.value) else math.inf for point in curve]
    kept = {0, len(curve) - 1}
    for start in range(0, len(curve), size):
        bucket = range(start, min(start + size, len(curve)))
        kept |= {min(bucket, key=height.__getitem__), max(bucket, key=height.__getitem__)}
    return [curve[index] for index in sorted(kept)]
