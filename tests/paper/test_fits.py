"""Exponents and crossings of known power laws."""

import pytest

from allyouneed.paper.table1.fits import crossing, exponent, upper_half


@pytest.mark.parametrize("power", [-1, 0.5, 1, 2])
def test_exponent_of_a_power_law(power):
    xs = [2, 4, 8, 64]
    assert exponent(xs, [7 * x**power for x in xs]) == pytest.approx(power)


def test_exponent_needs_two_points():
    assert exponent([2], [3]) is None
    assert exponent([], []) is None


def test_the_upper_half_is_less_affected_by_a_constant():
    xs = [2**i for i in range(5, 14)]
    ys = [1e5 + x**2 for x in xs]
    assert list(upper_half(xs)) == xs[4:]
    assert exponent(xs, ys) < 1.3
    assert exponent(upper_half(xs), upper_half(ys)) > 1.6


def test_crossing_of_power_laws():
    xs = [32, 64, 128, 256, 512]
    squares = [x**2 for x in xs]
    assert crossing(xs, squares, [100 * x for x in xs]) == pytest.approx(100)
    assert crossing(xs, [100 * x for x in xs], squares) == pytest.approx(100)
    for at in (xs[0], xs[2], xs[-1]):  # a measured point
        assert crossing(xs, squares, [at * x for x in xs]) == pytest.approx(at)


def test_no_crossing():
    assert crossing([1, 2, 4], [1, 2, 4], [2, 4, 8]) is None
    assert crossing([1, 2], [3, 3], [3, 3]) is None
    assert crossing([1], [1], [2]) is None
    assert crossing([], [], []) is None


def test_the_last_of_several_crossings():
    assert 4 < crossing([1, 2, 4, 8], [1, 3, 1, 3], [2, 2, 2, 2]) < 8
