"""Straight lines through double logarithms: the exponent of a power law, and where two curves cross."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import linear_regression
from typing import TypeVar

Point = TypeVar("Point")


def upper_half(points: Sequence[Point]) -> Sequence[Point]:
    """The larger half of sorted points, the middle one with it: small sizes show constants rather than orders."""
    return points[len(points) // 2 :]


def exponent(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """The p of y = c · x^p by least squares over log x and log y; None from fewer than two points."""
    if len(xs) < 2:
        return None
    return linear_regression([math.log(x) for x in xs], [math.log(y) for y in ys]).slope


def crossing(xs: Sequence[float], first: Sequence[float], second: Sequence[float]) -> float | None:
    """The x where two curves cross, straight in double logarithms between the points; None where they do not.

    Of several crossings the last: beyond it the order stays.
    """
    gaps = [math.log(a / b) for a, b in zip(first, second, strict=True)]
    for i in range(len(xs) - 1, 0, -1):
        before, after = gaps[i - 1], gaps[i]
        if before * after < 0 or (before == 0) != (after == 0):
            share = before / (before - after)
            return math.exp(math.log(xs[i - 1]) * (1 - share) + math.log(xs[i]) * share)
    return None
