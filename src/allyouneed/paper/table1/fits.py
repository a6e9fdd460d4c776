"""Fits on double logarithmic scales: the exponent of a power law, and the crossing of two curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import linear_regression
from typing import TypeVar

Element = TypeVar("Element")


def upper_half(points: Sequence[Element]) -> Sequence[Element]:
    """Select the larger half of sorted points, where constant costs matter least.

    Args:
        points: Points in ascending order.

    Returns:
        The larger half, with the middle point.
    """
    return points[len(points) // 2 :]


def exponent(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Fit p of y = c · x^p by least squares over log x and log y.

    Args:
        xs: Positive values.
        ys: Positive values, one per x.

    Returns:
        The exponent; None for fewer than two points.
    """
    if len(xs) < 2:
        return None
    return linear_regression([math.log(x) for x in xs], [math.log(y) for y in ys]).slope


def crossing(xs: Sequence[float], first: Sequence[float], second: Sequence[float]) -> float | None:
    """Find where two curves cross, interpolating linearly in double logarithms.

    Args:
        xs: Positive values in ascending order.
        first: The first curve, one value per x.
        second: The second curve, one value per x.

    Returns:
        The x of the last crossing, beyond which the order does not change; None if there is none.
    """
    gaps = [math.log(a / b) for a, b in zip(first, second, strict=True)]
    for i in range(len(xs) - 1, 0, -1):
        before, after = gaps[i - 1], gaps[i]
        if before * after < 0 or (before == 0) != (after == 0):
            share = before / (before - after)
            return math.exp(math.log(xs[i - 1]) * (1 - share) + math.log(xs[i]) * share)
    return None
