"""Exponents, crossings and rates computed from the measurements of Table 1's layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from allyouneed.paper.table1.compared_layers import FUSED, LAYERS, PROJECTED, RECURRENT, SELF_ATTENTION, ComparedLayer
from allyouneed.paper.table1.fits import crossing, exponent, upper_half
from allyouneed.paper.table1.layer_cost import LayerMeasurement, LayerSize, step_operations

BATCH, NARROW = 16, 64  # small sequential steps, whose latency costs most
GIGA = 1e9
Measurements: TypeAlias = Mapping[tuple[str, LayerSize], LayerMeasurement]  # by layer and size


class Sweeps(NamedTuple):
    """Sizes to measure.

    Attributes:
        lengths: Values of n at d = `width`.
        width: Value of d while n grows.
        widths: Values of d at n = `length`; NARROW is one of them.
        length: Value of n while d grows.
    """

    lengths: Sequence[int]
    width: int
    widths: Sequence[int]
    length: int

    def sizes(self) -> list[LayerSize]:
        """Return all sizes: single sequences, and a batch as the last one."""
        return [*dict.fromkeys([*self.along("n"), *self.along("d")]), LayerSize(BATCH, self.length, NARROW)]

    def along(self, axis: str) -> list[LayerSize]:
        """Return the sizes along axis "n" or "d"."""
        if axis == "n":
            return [LayerSize(1, n, self.width) for n in self.lengths]
        return [LayerSize(1, self.length, d) for d in self.widths]

    def fixed(self, axis: str) -> str:
        """Describe the size that is constant along axis "n" or "d"."""
        return f"d = {self.width}" if axis == "n" else f"n = {self.length}"


def make_tables(measured: Sequence[LayerMeasurement], sweeps: Sweeps, peak: float) -> dict[str, list[dict[str, Any]]]:
    """Compute all tables of the page, unrounded.

    Args:
        measured: Measurements of all layers and sizes.
        sweeps: The sizes.
        peak: FLOP/s of a large matrix product.

    Returns:
        Rows by table.
    """
    times = by_layer(measured)
    return {
        "points": [row._asdict() for row in measured],
        "exponents": [_exponents(layer, axis, times, sweeps) for axis in ("n", "d") for layer in LAYERS],
        "crossings": [
            _crossing(layer, axis, times, sweeps) for layer in (SELF_ATTENTION, PROJECTED, FUSED) for axis in ("n", "d")
        ],
        "sequential": [_sequential(layer, times, sweeps, peak) for layer in LAYERS],
    }


def by_layer(measured: Sequence[LayerMeasurement]) -> Measurements:
    """Index measurements by layer and size.

    Args:
        measured: Measurements; skipped ones are ignored.

    Returns:
        The index.
    """
    return {(row.layer, row.size): row for row in measured if row.seconds is not None}


def curve(layer: ComparedLayer, axis: str, times: Measurements, sweeps: Sweeps) -> list[LayerMeasurement]:
    """Select a layer's measurements along an axis.

    Args:
        layer: The layer.
        axis: "n" or "d".
        times: Measurements by layer and size.
        sweeps: The sizes.

    Returns:
        Measurements in ascending order of n or d.
    """
    return [times[layer.name, size] for size in sweeps.along(axis) if (layer.name, size) in times]


def _exponents(layer: ComparedLayer, axis: str, times: Measurements, sweeps: Sweeps) -> dict[str, Any]:
    """Fit exponents over the larger half of the measurements; rates are in GFLOP/s, at the ends of the fitted range."""
    fitted = upper_half(curve(layer, axis, times, sweeps))
    sizes = [getattr(row, axis) for row in fitted]
    return {
        "layer": layer.name,
        "grows": axis,
        "Table 1": layer.order,
        "exponent": layer.in_n if axis == "n" else layer.in_d,
        "counted": exponent(sizes, [row.operations for row in fitted]),
        "time": exponent(sizes, [row.step_seconds for row in fitted]),
        "memory": exponent(sizes, [row.saved_bytes for row in fitted if row.saved_bytes is not None]),
        "from": sizes[0] if sizes else None,
        "to": sizes[-1] if sizes else None,
        "rate from": fitted[0].rate / GIGA if fitted else None,
        "rate to": fitted[-1].rate / GIGA if fitted else None,
    }


def _crossing(layer: ComparedLayer, axis: str, times: Measurements, sweeps: Sweeps) -> dict[str, Any]:
    """Find where this attention and the LSTM cost the same: by Table 1, by counted operations, by measured time."""
    planned = sweeps.along(axis)
    counted = [[step_operations(each, size) for size in planned] for each in (layer, RECURRENT)]
    both = [size for size in planned if all((each.name, size) in times for each in (layer, RECURRENT))]
    ratios = [times[layer.name, size].step_seconds / times[RECURRENT.name, size].step_seconds for size in both]
    sizes = [getattr(size, axis) for size in both]
    return {
        "attention": layer.name,
        "grows": axis,
        "fixed": sweeps.fixed(axis),
        "by Table 1": sweeps.width if axis == "n" else sweeps.length,
        "by operations": crossing([getattr(size, axis) for size in planned], *counted),
        "by time": crossing(sizes, ratios, [1.0] * len(ratios)),
        "from": sizes[0] if sizes else None,
        "to": sizes[-1] if sizes else None,
        "times LSTM at from": ratios[0] if ratios else None,
        "times LSTM at to": ratios[-1] if ratios else None,
    }


def _sequential(layer: ComparedLayer, times: Measurements, sweeps: Sweeps, peak: float) -> dict[str, Any]:
    """Compare rates of one sequence and of a batch, in GFLOP/s: a measure of the cost of sequential operations."""
    longest = next(reversed(curve(layer, "n", times, sweeps)), None)
    alone, together = (times.get((layer.name, LayerSize(batch, sweeps.length, NARROW))) for batch in (1, BATCH))
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
