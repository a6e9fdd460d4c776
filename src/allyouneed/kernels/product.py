"""Products with a constant matrix: weights are packed once, so that every product reads them sequentially.

A tile of the result, several rows by 16 or 32 columns, is accumulated in registers over the depth, in order. A row's
result is therefore bitwise independent of the rows computed with it.

In 8 bits, each column of the weights is rounded with its own scale when the matrix is packed, and each row with its own
scale when it is multiplied. The processor multiplies and sums four bytes at a time (AVX-512 VNNI), or 64 in its tile
registers (AMX, see `byte_tiles.py`), exactly. One of its operands is unsigned: 128 is added to the values of rows, and
the sums start from a value that compensates for this.

In 24 bits, where there is AMX, products are nearly as accurate as in fp32 (`digit_tiles.py`).

In 16 bits, which take half the time of fp32, and less in tile registers (`half_tiles.py`), rows and columns are rounded
so that their lengths are at most 46,000. A sum then fits into 32 bits, by the Cauchy-Schwarz inequality.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from allyouneed.kernels import LANES, Mode, has_vnni
from allyouneed.kernels.byte_tiles import (
    MIN_ROWS,
    Largest,
    Output,
    find_largest_in_tiles,
    multiply_in_tiles,
)
from allyouneed.kernels.compiler import kernel_function, named
from allyouneed.kernels.digit_tiles import (
    DIGITS,
    digits_size,
    multiply_digits,
    round_row_to_digits,
)
from allyouneed.kernels.half_tiles import multiply_halves_in_tiles
from allyouneed.kernels.lanes import FLOAT_VECTOR, INT_VECTOR, call_on_lanes, relu, splat
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.packed_matrix import LONGEST, PANEL, VECTORS, Matrix
from allyouneed.kernels.records import FLOAT, INT, Floats, pointer_to
from allyouneed.kernels.simd import broadcast, maximum, multiply_add, reduce_max, reduce_sum, round_half_even
from allyouneed.kernels.simd_memory import load, store_bytes, store_halves, store_low_bytes
from allyouneed.kernels.target import has_avx512

if TYPE_CHECKING:
    from torch import Tensor

# Rows of a tile: it uses 16 of the 32 AVX-512 registers (16 lanes), or 12 of the 16 AVX2 ones (8 lanes).
_TALL = 8 if has_avx512() else 6
_PART = 96  # rows per part


class Rows(NamedTuple):
    """Rows of a matrix in compiled code: a pointer to the first row, and the row stride in elements."""

    start: Floats
    stride: int


def multiply_packed(a: Tensor, matrix: Matrix, mode: Mode = Mode.SET, out: Tensor | None = None) -> Tensor:
    """Compute a @ matrix + bias.

    Args:
        a: fp32 [rows, depth], contiguous.
        matrix: The packed matrix, with its bias.
        mode: How the product is written.
        out: Output, fp32 [rows, columns], contiguous; by default a new tensor.

    Returns:
        fp32 [rows, columns].
    """
    rows = len(a)
    out = torch.empty(rows, matrix.columns) if out is None else out
    parts = -(-rows // _PART)
    rounded = torch.empty(rounded_rows_size(matrix, rows)) if matrix.in_bytes or matrix.in_digits else None
    _multiply(parts, a, rows, matrix, out, mode, rounded)
    return out


@kernel
def _multiply(part, a: Floats, rows, matrix: Matrix, out: Floats, mode, rounded: Floats):
    begin = part * _PART
    count, a = min(_PART, rows - begin), a + begin * matrix.depth
    if rounded:
        rounded += rounded_rows_size(matrix, begin)
    round_rows(a, count, matrix, rounded)
    multiply_rows(a, rounded, count, matrix, Rows(out + begin * matrix.columns, matrix.columns), mode)


@register_jitable
def rounded_size(rows: int, depth: int) -> int:
    """Return the size in 32-bit words of rows rounded to bytes, each followed by its scale."""
    return rows * (depth // 4 + 1)


@register_jitable
def rounded_rows_size(matrix: Matrix, rows: int) -> int:
    """Return the size in 32-bit words of rows after `round_rows`."""
    return rows * digits_size(matrix.depth) if matrix.in_digits else rounded_size(rows, matrix.depth)


@register_jitable
def halves_size(depth: int) -> int:
    """Return the size in 32-bit words of a row rounded to 16 bits and its scale; rows begin at whole cache lines."""
    return depth // 2 + LANES


@kernel_function
def round_row(a, depth, out):
    """Round a row [depth] to bytes, a / scale + 128, followed by the scale."""
    top = broadcast(0.0)
    for c in range(0, depth, LANES):
        top = maximum(top, maximum(load(a, c), broadcast(0.0) - load(a, c)))
    scale = max(reduce_max(top), 1e-30) / 127
    for c in range(0, depth, LANES):
        store_bytes(out, c, round_half_even(load(a, c) * (1 / scale)) + 128.0)
    out[depth // 4] = scale


@kernel_function
def round_row_to_halves(a, depth, out, in_tiles):
    """Round a row [depth] to 16 bits, followed by the scale; see `to_halves`. In tiles, its upper bytes come first."""
    top = squares = broadcast(0.0)
    for c in range(0, depth, LANES):
        values = load(a, c)
        top = maximum(top, maximum(values, broadcast(0.0) - values))
        squares = multiply_add(values, values, squares)
    scale = max(math.sqrt(reduce_sum(squares)) / LONGEST, reduce_max(top) / 32_767, 1e-30)
    for c in range(0, depth, LANES):
        whole = round_half_even(load(a, c) * (1 / scale))
        if in_tiles:
            store_low_bytes(out, c, whole, 8)
            store_low_bytes(out, depth + c, whole, 0)
        else:
            store_halves(out, c, whole)
    out[depth // 2] = scale


@kernel_function
def round_rows(a, rows, matrix, out):
    """Round rows [rows, depth] for a matrix, to `out`, and return it; do nothing for a matrix in fp32."""
    depth = matrix.depth
    if matrix.in_bytes:
        for row in range(rows):
            round_row(a + row * depth, depth, out + rounded_size(row, depth))
    elif matrix.in_digits:
        for row in range(rows):
            round_row_to_digits(a + row * depth, depth, out + row * digits_size(depth))
    return out


def _sum_of_integers(builder, vnni, bits, summed, word, columns):
    """Emit `summed` plus, in each lane, the dot product of the integers in a word (equal in all lanes) and in the lane.

    Those of the word are unsigned if they are bytes.
    """
    if vnni:
        name, kind = "vpdpbusd" if bits == 8 else "vpdpwssd", ir.FunctionType(INT_VECTOR, [INT_VECTOR] * 3)
        product = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.avx512.{name}.512")
        return builder.call(product, [summed, splat(builder, word), columns])
    for begin in range(0, 32, bits):
        to_top, to_bottom = 32 - bits - begin, 32 - bits
        one = builder.shl(word, word.type(to_top))
        one = (builder.lshr if bits == 8 else builder.ashr)(one, word.type(to_bottom))
        shifts = (ir.Constant(INT_VECTOR, [distance] * LANES) for distance in (to_top, to_bottom))
        column = builder.ashr(builder.shl(columns, next(shifts)), next(shifts))
        summed = builder.add(summed, builder.mul(splat(builder, one), column))
    return summed


def _write_vector(builder, mode, value, address):
    """Emit code that writes a vector according to the mode."""
    is_relu = builder.icmp_signed("==", mode, mode.type(Mode.RELU.value))
    value = builder.select(is_relu, relu(builder, value), value)
    with builder.if_then(builder.icmp_signed("==", mode, mode.type(Mode.ADD.value))):
        builder.store(builder.fadd(value, builder.load(address, typ=FLOAT_VECTOR, align=4)), address, align=4)
    with builder.if_then(builder.icmp_signed("!=", mode, mode.type(Mode.ADD.value))):
        builder.store(value, address, align=4)


def make_tile(rows: int, vectors: int, bits: int, vnni: bool | None = None):
    """Make an intrinsic that multiplies `rows` rows by a panel of 16 · vectors columns, in 32 (fp32), 16 or 8 bits.

    The arguments are pointers, and sizes in 32-bit words. terms: terms of the panel's first column; n: distance between
    the rows of terms. VNNI is used if it works, unless `vnni` says otherwise; the results are the same.
    """
    positions = [(row, v) for row in range(rows) for v in range(vectors)]
    element, kind = (INT, INT_VECTOR) if bits < 32 else (FLOAT, FLOAT_VECTOR)
    # Integer sums may be split, so that more of them are computed at a time; the depth is a multiple of 4 words.
    splits = 4 if bits < 32 and rows == 1 else 1

    @intrinsic
    def tile(typing, a, a_stride, panel, depth, terms, n, out, out_stride, mode):
        def code(context, builder, signature, values):
            a, a_stride, panel, depth, terms, n, out, out_stride, mode = values

            def at(pointer, stride, line, index):
                index = builder.add(builder.mul(stride, line), index)
                return pointer_to(builder, FLOAT, pointer, index)

            def read(kind, *place):
                return builder.load(at(*place), typ=kind, align=4)

            def read_vectors(kind, pointer, stride, line):
                return [read(kind, pointer, stride, line, line.type(LANES * v)) for v in range(vectors)]

            def multiply_add(summed, one, column):
                if bits < 32:
                    return _sum_of_integers(builder, has_vnni() if vnni is None else vnni, bits, summed, one, column)
                return call_on_lanes(builder, "llvm.fmuladd", FLOAT_VECTOR, splat(builder, one), column, summed)

            whole, zero = depth.type, ir.Constant(kind, None)
            initial = read_vectors(kind, terms, n, whole(2 if bits < 32 else 0))
            sums = [
                [[cgutils.alloca_once_value(builder, zero if i else begin) for begin in initial] for _ in range(rows)]
                for i in range(splits)
            ]
            with cgutils.for_range(builder, builder.udiv(depth, whole(splits))) as loop:
                for i in range(splits):
                    word = builder.add(builder.mul(loop.index, whole(splits)), whole(i))
                    columns = read_vectors(kind, panel, whole(LANES * vectors), word)
                    for row in range(rows):
                        one = read(element, a, a_stride, whole(row), word)
                        for summed, column in zip(sums[i][row], columns, strict=True):
                            builder.store(multiply_add(builder.load(summed), one, column), summed)
            products = []
            for row, v in positions:
                parts = [builder.load(each[row][v]) for each in sums]
                products.append(functools.reduce(builder.add, parts))
            if bits < 32:
                bias, scales = (read_vectors(FLOAT_VECTOR, terms, n, whole(term)) for term in (0, 1))
                row_scales = [splat(builder, read(FLOAT, a, a_stride, whole(row), depth)) for row in range(rows)]
                for number, (row, v) in enumerate(positions):
                    scale = builder.fmul(row_scales[row], scales[v])
                    product = builder.sitofp(products[number], FLOAT_VECTOR)
                    products[number] = call_on_lanes(builder, "llvm.fmuladd", FLOAT_VECTOR, product, scale, bias[v])
            for product, (row, v) in zip(products, positions, strict=True):
                _write_vector(builder, mode, product, at(out, out_stride, whole(row), whole(LANES * v)))
            return context.get_dummy_value()

        size = types.int64
        return types.void(Floats, size, Floats, size, Floats, size, Floats, size, size), code

    return tile


def _multiply_by_panel(vectors: int, bits: int):
    """Make the product of all rows with a panel: the tallest tiles first, then smaller ones."""
    tall, four, one = (make_tile(rows, vectors, bits) for rows in (_TALL, 4, 1))

    @kernel_function
    @named(f"multiply_by_panel_{vectors}_{bits}")
    def by_panel(a, rows, panel, depth, terms, n, out, mode):
        row, from_, to, a_stride, out_stride = 0, a.start, out.start, a.stride, out.stride
        while row + _TALL <= rows:
            tall(from_ + row * a_stride, a_stride, panel, depth, terms, n, to + row * out_stride, out_stride, mode)
            row += _TALL
        while row + 4 <= rows:
            four(from_ + row * a_stride, a_stride, panel, depth, terms, n, to + row * out_stride, out_stride, mode)
            row += 4
        while row < rows:
            one(from_ + row * a_stride, a_stride, panel, depth, terms, n, to + row * out_stride, out_stride, mode)
            row += 1

    return by_panel


def _multiply_by_panels(bits: int):
    whole_panel, last_panel = _multiply_by_panel(VECTORS, bits), _multiply_by_panel(1, bits)

    @kernel_function
    @named(f"multiply_by_panels_{bits}")
    def by_panels(a, rows, panels, depth, terms, n, width, out, mode):
        whole = width // PANEL * PANEL
        for column in range(0, whole, PANEL):
            to = Rows(out.start + column, out.stride)
            whole_panel(a, rows, panels + column * depth, depth, terms + column, n, to, mode)
        if whole < width:
            to = Rows(out.start + whole, out.stride)
            last_panel(a, rows, panels + whole * depth, depth, terms + whole, n, to, mode)

    return by_panels


# (a, rows, panels, depth, terms, n, width, out, mode): multiply `rows` rows of `a` by `width` columns. `a` and `out`
# are `Rows`; the other parameters are those of a tile.
multiply_floats, _multiply_halves, _multiply_bytes = (_multiply_by_panels(bits) for bits in (32, 16, 8))


@kernel_function
def uses_byte_tiles(matrix, rows):
    """Return whether this number of rows is multiplied by a matrix of bytes in tile registers."""
    return matrix.in_bytes and matrix.in_tiles and rows >= MIN_ROWS


@kernel_function
def multiply_columns(a, rounded, rows, matrix, begin, width, out, mode):
    """Multiply rows by `width` columns of a matrix, starting at column `begin`, a multiple of PANEL.

    a: fp32 [rows, depth]; rounded: the same rows after `round_rows`.
    """
    depth, columns, terms = matrix.depth, matrix.columns, matrix.terms + begin
    if matrix.in_digits:
        a_rounded, words = Rows(rounded, digits_size(depth)), depth // 4
        tiles = matrix.panels + begin * DIGITS * words
        multiply_digits(a_rounded, rows, tiles, words, terms, columns, width, out, mode)
    elif matrix.in_bytes:
        words = depth // 4
        a_rounded, panels = Rows(rounded, words + 1), matrix.panels + begin * words
        if uses_byte_tiles(matrix, rows):
            to = Output(out.start, out.stride, mode)
            multiply_in_tiles(a_rounded, rows, panels, words, terms, columns, width, to)
        else:
            _multiply_bytes(a_rounded, rows, panels, words, terms, columns, width, out, mode)
    else:
        multiply_floats(Rows(a, depth), rows, matrix.panels + begin * depth, depth, terms, columns, width, out, mode)


@kernel_function
def multiply_halves(rounded, rows, matrix, begin, width, out):
    """Multiply rows after `round_row_to_halves` by `width` columns of a matrix of `pack_halves`; `begin` as above."""
    words, terms, columns, stride = matrix.depth // 2, matrix.terms + begin, matrix.columns, halves_size(matrix.depth)
    panels = matrix.panels + begin * words
    if matrix.in_tiles:
        for row in range(0, rows, LANES):
            a, to = Rows(rounded + row * stride, stride), Rows(out.start + row * out.stride, out.stride)
            multiply_halves_in_tiles(a, min(LANES, rows - row), panels, words // 2, terms, columns, width, to)
    else:
        _multiply_halves(Rows(rounded, stride), rows, panels, words, terms, columns, width, out, Mode.SET)


@kernel_function
def find_largest(rounded, rows, matrix, width, values, columns):
    """Replace the values of rows [rows] by their largest product with the first `width` columns, if that is larger.

    Only if `uses_byte_tiles`. rounded: rows after `round_rows`; columns: the columns of these products, int64 [rows].
    """
    words, out = matrix.depth // 4, Largest(values, columns, width)
    find_largest_in_tiles(
        Rows(rounded, words + 1), rows, matrix.panels, words, matrix.terms, matrix.columns, matrix.columns, out
    )


@kernel_function
def multiply_rows(a, rounded, rows, matrix, out, mode):
    """Multiply rows by a whole matrix; see `multiply_columns`."""
    multiply_columns(a, rounded, rows, matrix, 0, matrix.columns, out, mode)
