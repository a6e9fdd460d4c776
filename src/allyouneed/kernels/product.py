"""Rows times a matrix that is always the same: weights laid out once, so that each product reads them front to back.

A tile of the result, so many rows by one or two times 16 columns, stays in registers while it is summed over the depth,
one position after another: what a row gives does not depend on which rows stand beside it, bit by bit.
"""

from __future__ import annotations

import llvmlite.binding
import torch
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from allyouneed.kernels import LANES
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.simd import FLOAT, FLOATS, call_lanes, pointer_to, splat

SET, RELU, ADD = 0, 1, 2  # what becomes of a product: it is stored, or its positive part, or it is added

_AVX512 = llvmlite.binding.get_host_cpu_features().get("avx512f", False)
_TALL, _VECTORS = (8, 2) if _AVX512 else (6, 1)  # of a tile: 16 of 32 registers of 16 lanes, or 12 of 16 of 8 lanes
PANEL = _VECTORS * LANES  # columns that stand together
_ROWS = 96  # a part


def pack(weight: Tensor) -> Tensor:
    """[n, depth] -> panels [n / PANEL, depth, PANEL], at the end perhaps one of 16 columns; n is filled up to 16s."""
    n, depth = weight.shape
    weight = weight.detach()
    if n % LANES:
        weight = torch.cat([weight, weight.new_zeros(-n % LANES, depth)])
    whole = len(weight) // PANEL * PANEL
    panels = weight[:whole].view(-1, PANEL, depth).transpose(1, 2)
    return torch.cat([panels.reshape(-1), weight[whole:].t().reshape(-1)])


def multiply(a: Tensor, packed: Tensor, bias: Tensor, mode: int = SET, onto: Tensor | None = None) -> Tensor:
    """a [rows, depth] times packed [depth, n], plus bias [n], n a multiple of 16 -> [rows, n]; ADD: onto another."""
    (rows, depth), n = a.shape, len(bias)
    out = torch.empty(rows, n) if onto is None else onto
    _multiply(-(-rows // _ROWS), a, rows, packed, bias, n, depth, out, mode)
    return out


@kernel
def _multiply(part, a, rows, packed, bias, n, depth, out, mode):
    begin = part * _ROWS
    a, out = a + 4 * begin * depth, out + 4 * begin * n
    multiply_rows(a, depth, min(_ROWS, rows - begin), packed, bias, n, depth, out, n, mode)


def _tile(rows: int, vectors: int):
    """Code for `rows` rows of `a` by 16 · vectors columns of a panel. Addresses in bytes, strides in elements."""

    @intrinsic
    def tile(typing, a, a_stride, panel, depth, bias, out, out_stride, mode):
        def code(context, builder, signature, values):
            a, a_stride, panel, depth, bias, out, out_stride, mode = values
            whole, zero = a.type, ir.Constant(FLOATS, [0.0] * LANES)

            def lanes_at(address, stride, line, vector):
                place = builder.add(builder.mul(stride, line), whole(LANES * vector))
                return pointer_to(builder, FLOAT, address, place)

            def load(pointer):
                return builder.load(pointer, typ=FLOATS, align=4)

            places = [(row, vector) for row in range(rows) for vector in range(vectors)]
            sums = [cgutils.alloca_once_value(builder, load(lanes_at(bias, whole(0), whole(0), v))) for _, v in places]
            with cgutils.for_range(builder, depth) as loop:
                columns = [load(lanes_at(panel, whole(LANES * vectors), loop.index, v)) for v in range(vectors)]
                for row in range(rows):
                    place = builder.add(builder.mul(a_stride, whole(row)), loop.index)
                    one = splat(builder, builder.load(pointer_to(builder, FLOAT, a, place), typ=FLOAT, align=4))
                    for summed, column in zip(sums[row * vectors : (row + 1) * vectors], columns, strict=True):
                        value = call_lanes(builder, "llvm.fmuladd", FLOATS, one, column, builder.load(summed))
                        builder.store(value, summed)
            for summed, (row, v) in zip(sums, places, strict=True):
                place, value = lanes_at(out, out_stride, whole(row), v), builder.load(summed)
                positive = builder.select(builder.fcmp_ordered(">", value, zero), value, zero)
                value = builder.select(builder.icmp_signed("==", mode, whole(RELU)), positive, value)
                with builder.if_then(builder.icmp_signed("==", mode, whole(ADD))):
                    builder.store(builder.fadd(value, load(place)), place, align=4)
                with builder.if_then(builder.icmp_signed("!=", mode, whole(ADD))):
                    builder.store(value, place, align=4)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 8), code

    return tile


def _column(vectors: int):
    """All rows by a panel: tiles as tall as possible, then smaller ones."""
    tall, four, one = _tile(_TALL, vectors), _tile(4, vectors), _tile(1, vectors)

    @njit
    def column(a, a_stride, rows, panel, depth, bias, out, out_stride, mode):
        row = 0
        while row + _TALL <= rows:
            tall(a + 4 * row * a_stride, a_stride, panel, depth, bias, out + 4 * row * out_stride, out_stride, mode)
            row += _TALL
        while row + 4 <= rows:
            four(a + 4 * row * a_stride, a_stride, panel, depth, bias, out + 4 * row * out_stride, out_stride, mode)
            row += 4
        while row < rows:
            one(a + 4 * row * a_stride, a_stride, panel, depth, bias, out + 4 * row * out_stride, out_stride, mode)
            row += 1

    return column


_whole_panel, _last_panel = _column(_VECTORS), _column(1)


@njit
def multiply_rows(a, a_stride, rows, packed, bias, n, depth, out, out_stride, mode):
    """a [rows, depth] times packed [depth, n] plus bias -> out [rows, n]: addresses; strides of rows in elements."""
    whole = n // PANEL * PANEL
    for place in range(0, whole, PANEL):
        panel = packed + 4 * place * depth
        _whole_panel(a, a_stride, rows, panel, depth, bias + 4 * place, out + 4 * place, out_stride, mode)
    if whole < n:
        panel = packed + 4 * whole * depth
        _last_panel(a, a_stride, rows, panel, depth, bias + 4 * whole, out + 4 * whole, out_stride, mode)
