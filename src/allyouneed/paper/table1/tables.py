"""What the measurements of Table 1's layers come to: exponents, crossings, rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from allyouneed.paper.table1.compared_layers import FUSED, LAYERS, PROJECTED, RECURRENT, SELF_ATTENTION, Layer
from allyouneed.paper.table1.fits import crossing, exponent, upper_half
from allyouneed.paper.table1.layer_cost import Measured, Point, step_operations

BATCH, NARROW = 16, 64  # small steps that follow each other: where waiting for the position before costs most
GIGA = 1e9
Times = Mapping[tuple[str, Point], Measured]  # by layer and point


class Sweeps(NamedTuple):
    """n grows over `lengths` at d = `width`; d grows over `widths`, NARROW among them, at n = `length`."""

    lengths: Sequence[int]
    width: int
    widths: Sequence[int]
    length: int

    def points(self) -> list[Point]:
        """One sequence at a time, except for the last point."""
        both = [Point(1, n, self.width) for n in self.lengths] + [Point(1, self.length, d) for d in self.widths]
        return [*dict.fromkeys(both), Point(BATCH, self.length, NARROW)]

    def along(self, axis: str) -> list[Point]:
        """axis: "n" or "d"."""
        if axis == "n":
            return [Point(1, n, self.width) for n in self.lengths]
        return [Point(1, self.length, d) for d in self.widths]

    def held(self, axis: str) -> str:
        """What does not grow along "n" or "d", in words."""
        return f"d = {self.width}" if axis == "n" else f"n = {self.length}"


def make_tables(measured: Sequence[Measured], sweeps: Sweeps, peak: float) -> dict[str, list[dict[str, Any]]]:
    """Numbers, unrounded. peak: floating-point operations a second of a large matrix product."""
    times = by_layer(measured)
    return {
        "points": [row._asdict() for row in measured],
        "exponents": [_exponents(layer, axis, times, sweeps) for axis in ("n", "d") for layer in LAYERS],
        "crossings": [
            _crossing(layer, axis, times, sweeps) for layer in (SELF_ATTENTION, PROJECTED, FUSED) for axis in ("n", "d")
        ],
        "sequential": [_sequential(layer, times, sweeps, peak) for layer in LAYERS],
    }


def by_layer(measured: Sequence[Measured]) -> Times:
    """Without what was left out."""
    return {(row.layer, row.point): row for row in measured if row.seconds is not None}


def curve(layer: Layer, axis: str, times: Times, sweeps: Sweeps) -> list[Measured]:
    """What was measured of this layer, by rising n or d."""
    return [times[layer.name, point] for point in sweeps.along(axis) if (layer.name, point) in times]


def _exponents(layer: Layer, axis: str, times: Times, sweeps: Sweeps) -> dict[str, Any]:
    """Fitted over the larger half of what was measured; rates in GFLOP/s at the ends of it."""
    fitted = upper_half(curve(layer, axis, times, sweeps))
    sizes = [getattr(row, axis) for row in fitted]
    return {
        "layer": layer.name,
        "grows": axis,
        "Table 1": layer.order,
        "exponent": layer.in_n if axis == "n" else layer.in_d,
        "counted": exponent(sizes, [row.operations for row in fitted]),
        "time": exponent(sizes, [row.taken for row in fitted]),
        "memory": exponent(sizes, [row.saved_bytes for row in fitted if row.saved_bytes is not None]),
        "from": sizes[0] if sizes else None,
        "to": sizes[-1] if sizes else None,
        "rate from": fitted[0].rate / GIGA if fitted else None,
        "rate to": fitted[-1].rate / GIGA if fitted else None,
    }


def _crossing(layer: Layer, axis: str, times: Times, sweeps: Sweeps) -> dict[str, Any]:
    """Where this attention and the LSTM take equally long: by Table 1, by counted operations, by the clock."""
    planned = sweeps.along(axis)
    counted = [[step_operations(each, point) for point in planned] for each in (layer, RECURRENT)]
    both = [point for point in planned if all((each.name, point) in times for each in (layer, RECURRENT))]
    ratios = [times[layer.name, point].taken / times[RECURRENT.name, point].taken for point in both]
    sizes = [getattr(point, axis) for point in both]
    return {
        "attention": layer.name,
        "grows": axis,
        "held": sweeps.held(axis),
        "by Table 1": sweeps.width if axis == "n" else sweeps.length,
        "by operations": crossing([getattr(point, axis) for point in planned], *counted),
        "by the clock": crossing(sizes, ratios, [1.0] * len(ratios)),
        "from": sizes[0] if sizes else None,
        "to": sizes[-1] if sizes else None,
        "times LSTM at from": ratios[0] if ratios else None,
        "times LSTM at to": ratios[-1] if ratios else None,
    }


def _sequential(layer: Layer, times: Times, sweeps: Sweeps, peak: float) -> dict[str, Any]:
    """What waiting for the position before costs: rates in GFLOP/s."""
    longest = next(reversed(curve(layer, "n", times, sweeps)), None)
    alone, together = (times.get((layer.name, Point(batch, sweeps.length, NARROW))) for batch in (1, BATCH))
    return {
        "layer": layer.name,
        "sequential operations": layer.sequential,
        "longest path": layer.path,
        "longest n": longest and longest.n,
        "GFLOP/s there": longest and longest.rate / GIGA,
        "of peak": longest and longest.rate / peak,
        "GFLOP/s alone": alone and alone.rate / GIGA,
        "GFLOP/s together": together and together.rate / GIGA,
        "gain": together.rate / alone.rate if alone and together else None,
    }
