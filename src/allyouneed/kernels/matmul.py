"""Products of two matrices that both change from call to call, as in training.

Matrices are packed as in BLIS (Van Zee and van de Geijn 2015): the left matrix in tiles, the right matrix in panels.

A panel holds 16 or 32 columns of a block of the depth. The thread that multiplies by it packs it, so that it stays in
that thread's cache. The product of a tile and a panel is accumulated in registers over the depth, in order. A row's
result is therefore bitwise independent of the rows computed with it.
"""

from __future__ import annotations

import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from allyouneed.kernels import LANES, Mode
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.records import FLOAT, LONG, Floats, Record, no_floats, pointer_to
from allyouneed.kernels.simd import (
    FLOAT_VECTOR,
    call_on_lanes,
    load,
    prefetch,
    relu,
    splat,
    store,
    transpose,
)
from allyouneed.kernels.target import has_avx512

# Rows and vectors of a tile: it uses 24 of the 32 AVX-512 registers (16 lanes), or 12 of the 16 AVX2 ones (8 lanes).
_ROWS, _VECTORS = (12, 2) if has_avx512() else (6, 1)
_PANEL = _VECTORS * LANES  # columns of a panel
_DEPTH = 512  # maximum depth of a panel; 64 KB with 32 columns
_TILES = 40  # approximate number of tiles in a part: 480 rows of depth 512 fit into a core's L2 cache
_LINES = 32  # lines of a transposed matrix that a part packs; a divisor of _DEPTH
_EXACT = -(-(LANES - _ROWS) // _ROWS)  # last lines of a part: copied by element, as no line overwrites their excess
_AHEAD = 32  # prefetch distance, in positions of a tile


class _Product(Record):
    """Arguments of `_multiply`."""

    packed: Floats  # the left matrix: see `_tile_offset`
    rows: int
    depth: int
    right: Floats  # [depth, columns], or [columns, depth] if transposed
    right_stride: int
    is_transposed: int
    columns: int
    bias: Floats | None  # [columns]
    mode: int
    out: Floats  # [rows, columns]
    out_stride: int
    panels: int
    tiles_of_group: int


def matmul(
    a: Tensor, b: Tensor, bias: Tensor | None = None, mode: Mode = Mode.SET, out: Tensor | None = None
) -> Tensor:
    """Compute a @ b + bias in fp32.

    `a` and `b` may be transposed views, or columns of a wider matrix. All sizes must be multiples of 16, with two
    exceptions: the number of rows if `a` is not a transposed view, and the depth if `a` is one and `b` is not.

    Args:
        a: [rows, depth].
        b: [depth, columns].
        bias: [columns].
        mode: How the product is written.
        out: Output [rows, columns], which may be columns of a wider matrix; by default a new tensor.

    Returns:
        `out`.
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
    product = _Product(
        packed=packed,
        rows=rows,
        depth=depth,
        right=b,
        right_stride=b.stride(int(is_transposed)),
        is_transposed=is_transposed,
        columns=columns,
        bias=bias,
        mode=mode,
        out=out,
        out_stride=out.stride(0),
        panels=panels,
        tiles_of_group=tiles_of_group,
    )
    _multiply(panels * -(-tiles // tiles_of_group), product)
    return out


@kernel_function
def _tile_offset(tile, tiles, depth, begin):
    """Return the offset of a tile [up to _DEPTH, _ROWS] in the block of the depth that starts at `begin`.

    All tiles of such a block are adjacent, each with padding for vectors written past its end.
    """
    length = min(_DEPTH, depth - begin)
    return tiles * (_ROWS * begin + LANES * (begin // _DEPTH)) + tile * (_ROWS * length + LANES)


@kernel
def _lay_out(part, a: Floats, stride, rows, depth, packed: Floats):
    """Pack a tile of the matrix a [rows, depth], padded by repeating the last row."""
    tiles, first, last = -(-rows // _ROWS), part * _ROWS * stride, (rows - 1) * stride
    for begin in range(0, depth, _DEPTH):
        to = _tile_offset(part, tiles, depth, begin)
        for d in range(begin, min(begin + _DEPTH, depth), LANES):  # overwrites the excess of the previous block
            transpose(a, first + d, stride, last + d, packed, to + _ROWS * (d - begin), _ROWS)


@kernel
def _lay_out_transposed(part, a: Floats, stride, rows, depth, packed: Floats):
    """Pack some lines of the matrix a [depth, rows], for all tiles."""
    tiles, begin = -(-rows // _ROWS), part * _LINES // _DEPTH * _DEPTH
    first, end = part * _LINES, min((part + 1) * _LINES, depth)
    exact = max(first, end - _EXACT)
    for d in range(first, exact):  # each line overwrites the excess of the previous one
        for tile in range(tiles):
            to = _tile_offset(tile, tiles, depth, begin) + _ROWS * (d - begin)
            store(packed, to, load(a, d * stride + _ROWS * tile))
    for d in range(exact, end):
        for row in range(rows):
            tile = row // _ROWS
            to = _tile_offset(tile, tiles, depth, begin) + _ROWS * (d - begin) + row - _ROWS * tile
            packed[to] = a[d * stride + row]


@kernel
def _multiply(part, product: _Product):
    """Multiply a group of tiles by the columns of a panel."""
    rows, depth, out_stride = product.rows, product.depth, product.out_stride
    group = part // product.panels
    first, tiles = (part - group * product.panels) * _PANEL, -(-rows // _ROWS)
    width = min(_PANEL, product.columns - first)
    panel: Floats = _panel_on_stack()
    first_tile, last_tile = group * product.tiles_of_group, min((group + 1) * product.tiles_of_group, tiles)
    for begin in range(0, depth, _DEPTH):
        length = min(_DEPTH, depth - begin)
        _lay_out_panel(product, first, width, begin, length, panel)
        is_last = begin + length == depth
        bias = product.bias + first if product.bias and is_last else no_floats()
        add, cut = begin > 0 or product.mode == Mode.ADD, is_last and product.mode == Mode.RELU
        for tile in range(first_tile, last_tile):
            a, row = product.packed + _tile_offset(tile, tiles, depth, begin), tile * _ROWS
            to, valid = product.out + (row * out_stride + first), min(_ROWS, rows - row)
            if width == _PANEL:
                _wide(a, panel, length, bias, add, cut, to, out_stride, valid)
            else:
                _narrow(a, panel, length, bias, add, cut, to, out_stride, valid)


@kernel_function
def _lay_out_panel(product, first, width, begin, length, panel):
    """Copy the block of the right matrix at position `begin` and column `first` to a panel [length, width]."""
    b, stride = product.right, product.right_stride
    for c in range(0, width, LANES):
        if product.is_transposed:
            for d in range(0, length, LANES):
                index = (first + c) * stride + begin + d
                transpose(b, index, stride, index + (LANES - 1) * stride, panel, d * width + c, width)
        else:
            for d in range(length):
                store(panel, d * width + c, load(b, (begin + d) * stride + first + c))


@intrinsic
def _panel_on_stack(typing):
    """Allocate a panel on the stack."""

    def code(context, builder, signature, values):
        with builder.goto_entry_block():
            panel = builder.alloca(ir.ArrayType(FLOAT_VECTOR, _DEPTH * _VECTORS))
            panel.align = 4 * LANES
        return builder.ptrtoint(panel, LONG)

    return Floats(), code


def _write_vector(builder, summed, bias, add, cut, address):
    """Emit code that writes sum + bias: added to the output if `add`, through ReLU if `cut`."""
    with builder.if_then(add):
        there = builder.load(address, typ=FLOAT_VECTOR, align=4)
        builder.store(builder.fadd(builder.load(summed), there), summed)
    value = builder.fadd(builder.load(summed), builder.load(bias))
    builder.store(builder.select(cut, relu(builder, value), value), address, align=4)


def _make_tile(vectors: int):
    """Make an intrinsic that multiplies a tile [depth, _ROWS] by a panel [depth, 16 · vectors].

    The arguments are pointers, and sizes in elements. bias: bias of the panel's columns, or null; valid: number of rows
    to write.
    """

    @intrinsic
    def tile(typing, a, panel, depth, bias, add, cut, out, out_stride, valid):
        def code(context, builder, signature, values):
            a, panel, depth, bias, add, cut, out, out_stride, valid = values
            whole, zero = depth.type, ir.Constant(FLOAT_VECTOR, [0.0] * LANES)
            rows, columns = range(_ROWS), range(vectors)

            def at(pointer, line, index):
                return pointer_to(builder, FLOAT, pointer, builder.add(line, whole(index)))

            def read(pointer, align=4):
                return builder.load(pointer, typ=FLOAT_VECTOR, align=align)

            sums = [[cgutils.alloca_once_value(builder, zero) for _ in columns] for _ in rows]
            with cgutils.for_range(builder, depth) as loop:
                line = builder.mul(loop.index, whole(LANES * vectors))
                lines = [read(at(panel, line, LANES * v), align=4 * LANES) for v in columns]
                line = builder.mul(loop.index, whole(_ROWS))
                prefetch(builder, at(a, line, _AHEAD * _ROWS))
                for row in rows:
                    one = splat(builder, builder.load(at(a, line, row), typ=FLOAT, align=4))
                    for summed, column in zip(sums[row], lines, strict=True):
                        before = builder.load(summed)
                        value = call_on_lanes(builder, "llvm.fmuladd", FLOAT_VECTOR, one, column, before)
                        builder.store(value, summed)
            biases = [cgutils.alloca_once_value(builder, zero) for _ in columns]
            with builder.if_then(builder.icmp_signed("!=", bias, whole(0))):
                for v in columns:
                    builder.store(read(at(bias, whole(0), LANES * v)), biases[v])
            for row in rows:
                with builder.if_then(builder.icmp_signed("<", whole(row), valid)):
                    for v in columns:
                        address = at(out, builder.mul(out_stride, whole(row)), LANES * v)
                        _write_vector(builder, sums[row][v], biases[v], add, cut, address)
            return context.get_dummy_value()

        size, flag = types.int64, types.boolean
        return types.void(Floats, Floats, size, Floats, flag, flag, Floats, size, size), code

    return tile


_wide, _narrow = _make_tile(_VECTORS), _make_tile(1)
