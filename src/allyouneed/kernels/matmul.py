"""The product of two matrices that are both new, as all are in training.

Laid out as BLIS does (Van Zee and van de Geijn 2015), the left one in tiles, the right one in panels.

A panel, 16 or 32 columns of a part of the depth, is made by the thread that works on it, and stays in its own cache. A
tile by a panel stays in registers while it is summed over that depth, one position after another: what a row gives does
not depend on which rows stand beside it, bit by bit.
"""

from __future__ import annotations

import torch
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from allyouneed.kernels import LANES, Mode
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.simd import (
    FLOAT,
    FLOATS,
    call_lanes,
    get,
    load,
    pointer_to,
    prefetch,
    put,
    splat,
    store,
    transpose,
)
from allyouneed.kernels.target import has_avx512

# Rows and vectors of a tile: 24 of 32 registers of 16 lanes, or 12 of 16 of 8 lanes.
_ROWS, _VECTORS = (12, 2) if has_avx512() else (6, 1)
_PANEL = _VECTORS * LANES
_DEPTH = 512  # of a panel, at most: 64 KB
_TILES = 40  # of a part, about: 480 rows of that depth stay in a core's second cache
_LINES = 32  # of a matrix given as its transpose, that a part lays out; a divisor of _DEPTH
_EXACT = -(-(LANES - _ROWS) // _ROWS)  # of these, the last: what they wrote too much, nobody would overwrite
_AHEAD = 32  # positions of a tile that are asked for before they are used


def matmul(
    a: Tensor, b: Tensor, bias: Tensor | None = None, mode: Mode = Mode.SET, out: Tensor | None = None
) -> Tensor:
    """a [rows, depth] @ b [depth, columns] + bias [columns] -> [rows, columns].

    Each may be a transposed view or some columns of a wider matrix; `out` the latter. Sizes are multiples of 16, but
    for rows of an `a` that is no transposed view, and for the depth of one that is, by a `b` that is none.
    """
    (rows, depth), columns = a.shape, b.shape[1]
    out = torch.empty(rows, columns) if out is None else out
    tiles, panels = -(-rows // _ROWS), -(-columns // _PANEL)
    packed = torch.empty(tiles * (_ROWS * depth + LANES * -(-depth // _DEPTH)))
    if a.stride(1) == 1:
        _lay_out(tiles, a, a.stride(0), rows, depth, packed)
    else:
        _lay_out_transposed(-(-depth // _LINES), a, a.stride(1), rows, depth, packed)
    groups = max(1, round(tiles / _TILES))
    tiles_of_group, is_transposed = -(-tiles // groups), b.stride(1) != 1
    _multiply(
        panels * -(-tiles // tiles_of_group),
        panels,
        tiles_of_group,
        packed,
        rows,
        depth,
        b,
        b.stride(int(is_transposed)),
        is_transposed,
        columns,
        0 if bias is None else bias,
        mode,
        out,
        out.stride(0),
    )
    return out


@njit
def _place(tile, tiles, depth, begin):
    """Of a tile's numbers [up to _DEPTH, _ROWS] for the part of the depth that begins there, all tiles of each part
    side by side, with room for what is written past their ends."""
    some = min(_DEPTH, depth - begin)
    return tiles * (_ROWS * begin + LANES * (begin // _DEPTH)) + tile * (_ROWS * some + LANES)


@kernel
def _lay_out(part, a, stride, rows, depth, packed):
    """A tile of a [rows, depth]. The last row stands in for those that are missing."""
    tiles, first, last = -(-rows // _ROWS), part * _ROWS * stride, (rows - 1) * stride
    for begin in range(0, depth, _DEPTH):
        to = _place(part, tiles, depth, begin)
        for d in range(begin, min(begin + _DEPTH, depth), LANES):  # the next overwrites what is too much
            transpose(a, first + d, stride, last + d, packed, to + _ROWS * (d - begin), _ROWS)


@kernel
def _lay_out_transposed(part, a, stride, rows, depth, packed):
    """Some lines of a [depth, rows], of all tiles."""
    tiles, begin = -(-rows // _ROWS), part * _LINES // _DEPTH * _DEPTH
    first, end = part * _LINES, min((part + 1) * _LINES, depth)
    exact = max(first, end - _EXACT)
    for d in range(first, exact):  # each overwrites what was too much of the one before
        for tile in range(tiles):
            store(packed, _place(tile, tiles, depth, begin) + _ROWS * (d - begin), load(a, d * stride + _ROWS * tile))
    for d in range(exact, end):
        for row in range(rows):
            tile = row // _ROWS
            to = _place(tile, tiles, depth, begin) + _ROWS * (d - begin) + row - _ROWS * tile
            put(packed, to, get(a, d * stride + row))


@kernel
def _multiply(
    part, panels, tiles_of_group, packed, rows, depth, b, b_stride, is_transposed, columns, bias, mode, out, out_stride
):
    """A group of tiles by the columns of a panel."""
    group = part // panels
    first, tiles = (part - group * panels) * _PANEL, -(-rows // _ROWS)
    width, panel = min(_PANEL, columns - first), _room_for_panel()
    for begin in range(0, depth, _DEPTH):
        some = min(_DEPTH, depth - begin)
        _lay_out_panel(b, b_stride, is_transposed, first, width, begin, some, panel)
        ends = begin + some == depth
        these = bias + 4 * first if bias and ends else 0
        onto, positive = begin > 0 or mode == Mode.ADD, ends and mode == Mode.RELU
        for tile in range(group * tiles_of_group, min((group + 1) * tiles_of_group, tiles)):
            a, row = packed + 4 * _place(tile, tiles, depth, begin), tile * _ROWS
            to, valid = out + 4 * (row * out_stride + first), min(_ROWS, rows - row)
            if width == _PANEL:
                _wide(a, panel, some, these, onto, positive, to, out_stride, valid)
            else:
                _narrow(a, panel, some, these, onto, positive, to, out_stride, valid)


@njit
def _lay_out_panel(b, stride, is_transposed, first, width, begin, some, panel):
    """Columns from the first on, positions from `begin` on, of b [depth, columns] -> [some, width]."""
    for c in range(0, width, LANES):
        if is_transposed:
            for d in range(0, some, LANES):
                place = (first + c) * stride + begin + d
                transpose(b, place, stride, place + (LANES - 1) * stride, panel, d * width + c, width)
        else:
            for d in range(some):
                store(panel, d * width + c, load(b, (begin + d) * stride + first + c))


@intrinsic
def _room_for_panel(typing):
    """An address on the stack."""

    def code(context, builder, signature, values):
        with builder.goto_entry_block():
            room = builder.alloca(ir.ArrayType(FLOATS, _DEPTH * _VECTORS))
            room.align = 4 * LANES
        return builder.ptrtoint(room, ir.IntType(64))

    return types.int64(), code


def _make_tile(vectors: int):
    """Code for a tile [depth, _ROWS] by a panel [depth, 16 · vectors] -> out, of which `valid` rows are written.

    Addresses in bytes, all else in elements. bias: of the panel's columns, or 0 for none.
    """

    @intrinsic
    def tile(typing, a, panel, depth, bias, onto, positive, out, out_stride, valid):
        def code(context, builder, signature, values):
            a, panel, depth, bias, onto, positive, out, out_stride, valid = values
            whole, zero = a.type, ir.Constant(FLOATS, [0.0] * LANES)
            rows, columns = range(_ROWS), range(vectors)

            def at(address, line, place):
                return pointer_to(builder, FLOAT, address, builder.add(line, whole(place)))

            def lanes(pointer, align=4):
                return builder.load(pointer, typ=FLOATS, align=align)

            sums = [[cgutils.alloca_once_value(builder, zero) for _ in columns] for _ in rows]
            with cgutils.for_range(builder, depth) as loop:
                line = builder.mul(loop.index, whole(LANES * vectors))
                these = [lanes(at(panel, line, LANES * v), align=4 * LANES) for v in columns]
                line = builder.mul(loop.index, whole(_ROWS))
                prefetch(builder, at(a, line, _AHEAD * _ROWS))
                for row in rows:
                    one = splat(builder, builder.load(at(a, line, row), typ=FLOAT, align=4))
                    for summed, column in zip(sums[row], these, strict=True):
                        value = call_lanes(builder, "llvm.fmuladd", FLOATS, one, column, builder.load(summed))
                        builder.store(value, summed)
            biases = [cgutils.alloca_once_value(builder, zero) for _ in columns]
            with builder.if_then(builder.icmp_signed("!=", bias, whole(0))):
                for v in columns:
                    builder.store(lanes(at(bias, whole(0), LANES * v)), biases[v])
            for row in rows:
                with builder.if_then(builder.icmp_signed("<", whole(row), valid)):
                    for v in columns:
                        place, summed = at(out, builder.mul(out_stride, whole(row)), LANES * v), sums[row][v]
                        with builder.if_then(onto):
                            builder.store(builder.fadd(builder.load(summed), lanes(place)), summed)
                        value = builder.fadd(builder.load(summed), builder.load(biases[v]))
                        cut = builder.select(builder.fcmp_ordered(">", value, zero), value, zero)
                        builder.store(builder.select(positive, cut, value), place, align=4)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 4, types.boolean, types.boolean, *[types.int64] * 3), code

    return tile


_wide, _narrow = _make_tile(_VECTORS), _make_tile(1)
