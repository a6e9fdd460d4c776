"""Products of 24-bit integers in AMX's tile registers, with about the rounding errors of fp32, and faster.

Each row, and each column of a weight matrix, has its own scale, with which its values are integers of 24 bits. An
integer consists of three digits of 8 bits, from -128 to 127. Products of digits are summed exactly: those of equal
place value together, and those of the two lowest values not at all, since they are below the rounding of the integers
(the scheme of Ozaki et al. 2012, "Error-free transformations of matrix multiplication"). Since all sums are exact, few
rows, for which vectors are faster than tile registers, have the same results as many.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from allyouneed.kernels import LANES, Mode, has_vnni
from allyouneed.kernels.amx import TILE, configure_tiles, emit, release_tiles
from allyouneed.kernels.compiler import kernel_function, separate_function
from allyouneed.kernels.lanes import (
    FLOAT_VECTOR,
    INT_VECTOR,
    all_lanes,
    call_on_lanes,
    declare,
    lanes,
    splat,
    vectors_on_stack,
)
from allyouneed.kernels.records import FLOAT, INT, LONG, Floats, pointer_to
from allyouneed.kernels.simd import at_least, broadcast, maximum, multiply_add, reduce_max, reduce_sum, round_half_even
from allyouneed.kernels.simd_memory import load, store

if TYPE_CHECKING:
    from torch import Tensor

DIGITS = 3
_SHIFTS = (16, 8, 0)  # to the digits
_BYTE = ir.IntType(8)
_LARGEST = 8_323_072  # 127 · 65,536: its digits are 127, 0 and 0
_OFFSET = 0x808080  # 128 in each digit: the digits of an integer plus this, plus 128, are its bytes
_LEFT, _RIGHT = 4, 6  # first of two registers for digits of rows, and of columns
_SUMS = 4  # the products of the third sum are divided among two, which the processor computes at a time
_ROWS = 48  # that are multiplied by all columns before the next ones, so that they stay in the L1 cache
# The digits of the row and of the column of each product, and its sum: they are computed in this order, in which few
# tiles must be loaded, and in which products of one sum do not follow each other.
_PRODUCTS = ((0, 0, 0), (0, 1, 1), (1, 1, 3), (0, 2, 2), (1, 0, 1), (2, 0, 2))
_sums_on_stack = vectors_on_stack(_SUMS * LANES)


@register_jitable
def digits_size(depth: int) -> int:
    """Return the size in 32-bit words of a row in digits and its scale; rows begin at whole cache lines."""
    return DIGITS * depth // 4 + LANES


def to_digits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a matrix [n, depth] to digits, the three lower bytes of int32, and return it with each row's scale [n]."""
    scale = weight.abs().amax(1).clamp(min=1e-30) / _LARGEST
    whole = (weight.double() / scale[:, None]).round().to(torch.int32)
    return whole + _OFFSET ^ _OFFSET, scale


def digit_tiles(digits: Tensor) -> Tensor:
    """Lay out digits [n, depth] as tiles, int32 [n / 16, depth / 64, 3, 16, 16], with words as in `_store_digits`.

    n must be a multiple of 16, depth of 64.
    """
    blocks = digits.view(len(digits) // LANES, LANES, -1, 4, LANES)
    words = []
    for shift in _SHIFTS:
        bytes_of_words = ((blocks[:, :, :, number] >> shift & 0xFF) << 8 * number for number in range(4))
        words.append(functools.reduce(torch.bitwise_or, bytes_of_words))
    return torch.stack(words).permute(1, 3, 0, 4, 2).contiguous()


def initial_sums(digits: Tensor) -> Tensor:
    """Return what the sums of columns [n, depth] begin with, int32 [3, n]: 128 is added to the digits of rows."""
    of_columns = torch.stack([(digits << 24 - shift >> 24).sum(1, dtype=torch.int32) for shift in _SHIFTS])
    return -128 * of_columns.cumsum(0, dtype=torch.int32)


@intrinsic
def _store_digits(typing, pointer, index, step, a, b, c, d):
    """Write the digits of 64 integers, the largest to the sixteen words from an index on, the others `step` apart.

    A word has a digit of the same lane of each vector, so that values 16 apart are side by side.
    """

    def code(context, builder, signature, values):
        pointer, index, step, *vectors = values

        offset = all_lanes(_OFFSET)
        vectors = [builder.xor(builder.add(builder.fptosi(each, INT_VECTOR), offset), offset) for each in vectors]
        for digit, from_ in enumerate(_SHIFTS):
            words = all_lanes(0)
            for number, vector in enumerate(vectors):
                distance = 8 * number - from_
                shift = builder.lshr if distance < 0 else builder.shl
                moved = shift(vector, all_lanes(abs(distance)))
                words = builder.or_(words, builder.and_(moved, all_lanes(0xFF << 8 * number)))
            at = builder.add(index, builder.mul(step, LONG(digit)))
            builder.store(words, pointer_to(builder, FLOAT, pointer, at), align=4)
        return context.get_dummy_value()

    return types.void(Floats, types.int64, types.int64, lanes, lanes, lanes, lanes), code


@kernel_function
def round_row_to_digits(a, depth, out):
    """Round a row [depth], depth a multiple of 64, to digits, the largest of all values first, and the scale."""
    top = lost = broadcast(0.0)
    for c in range(0, depth, LANES):
        values = load(a, c)
        top, lost = maximum(top, maximum(values, broadcast(0.0) - values)), multiply_add(values, broadcast(0.0), lost)
    # An infinity or NaN, whose digits mean nothing, makes the scale NaN, and so all products.
    scale = max(reduce_max(top), 1e-30) / _LARGEST + reduce_sum(lost)
    share = 1 / scale
    for c in range(0, depth, 4 * LANES):
        first, second = round_half_even(load(a, c) * share), round_half_even(load(a, c + LANES) * share)
        third = round_half_even(load(a, c + 2 * LANES) * share)
        fourth = round_half_even(load(a, c + 3 * LANES) * share)
        _store_digits(out, c // 4, depth // 4, first, second, third, fourth)
    out[DIGITS * depth // 4] = scale


@intrinsic
def _multiply(typing, a, a_stride, tiles, depth, sums):
    """Write the sums of up to sixteen rows by sixteen columns, int32 [4, 16, 16].

    Sizes are in 32-bit words. A row has `depth` words of each digit.
    """

    def code(context, builder, signature, values):
        a, a_stride, tiles, depth, sums = values

        def move(name, register, pointer, index, stride):
            emit(builder, name, _BYTE(register), pointer_to(builder, FLOAT, pointer, index), stride)

        row, line = builder.mul(a_stride, LONG(4)), LONG(4 * LANES)
        for number in range(_SUMS):
            emit(builder, "tilezero", _BYTE(number))
        with cgutils.for_range(builder, builder.udiv(depth, LONG(LANES))) as loop:
            word, tile = builder.mul(loop.index, LONG(LANES)), builder.mul(loop.index, LONG(DIGITS * TILE))

            def load_digit(register, pointer, start, step, digit, stride):
                move("tileloadd64", register, pointer, builder.add(start, builder.mul(step, LONG(digit))), stride)

            loaded = dict[int, int]()  # the digit in each register
            for of_row, of_column, number in _PRODUCTS:
                left, right = _LEFT + of_row % 2, _RIGHT + (of_column > 0)
                if loaded.get(left) != of_row:
                    load_digit(left, a, word, depth, of_row, row)
                if loaded.get(right) != of_column:
                    load_digit(right, tiles, tile, LONG(TILE), of_column, line)
                loaded |= {left: of_row, right: of_column}
                emit(builder, "tdpbssd", *map(_BYTE, (number, left, right)))
        for number in range(_SUMS):
            move("tilestored64", number, sums, LONG(number * TILE), line)
        return context.get_dummy_value()

    size = types.int64
    return types.void(Floats, size, Floats, size, Floats), code


@intrinsic
def _multiply_row(typing, a, tiles, depth, initial, n, sums):
    """Write the sums of one row by sixteen columns with vectors, like `_multiply`.

    initial: what the sums of columns begin with, n words from each to the next.
    """

    def code(context, builder, signature, values):
        a, tiles, depth, initial, n, sums = values
        if not has_vnni():  # the code is never reached then
            return context.get_dummy_value()

        def read(kind, pointer, index):
            return builder.load(pointer_to(builder, FLOAT, pointer, index), typ=kind, align=4)

        function = declare(builder, "llvm.x86.avx512.vpdpbusd.512", INT_VECTOR, [INT_VECTOR] * 3)
        zero = ir.Constant(INT_VECTOR, None)
        # A sum for each product: the processor waits for a sum before it can add to it.
        partial = [cgutils.alloca_once_value(builder, zero) for _ in _PRODUCTS]
        with cgutils.for_range(builder, depth) as loop:
            tile = builder.mul(builder.lshr(loop.index, LONG(4)), LONG(DIGITS * TILE))
            line = builder.add(tile, builder.mul(builder.and_(loop.index, LONG(LANES - 1)), LONG(LANES)))
            words = [read(INT, a, builder.add(loop.index, builder.mul(depth, LONG(i)))) for i in range(DIGITS)]
            unsigned = [builder.xor(word, INT(0x80808080)) for word in words]  # each digit plus 128
            columns = [read(INT_VECTOR, tiles, builder.add(line, LONG(i * TILE))) for i in range(DIGITS)]
            for place, (of_row, of_column, _) in zip(partial, _PRODUCTS, strict=True):
                summed = [builder.load(place), splat(builder, unsigned[of_row]), columns[of_column]]
                builder.store(builder.call(function, summed), place)
        for number in range(_SUMS):
            builder.store(zero, pointer_to(builder, FLOAT, sums, LONG(number * TILE)), align=4)
        for number in range(DIGITS):
            summed = read(INT_VECTOR, initial, builder.mul(n, LONG(number)))
            for place, (of_row, of_column, _) in zip(partial, _PRODUCTS, strict=True):
                if of_row + of_column == number:
                    summed = builder.add(summed, builder.load(place))
            builder.store(summed, pointer_to(builder, FLOAT, sums, LONG(number * TILE)), align=4)
        return context.get_dummy_value()

    size = types.int64
    return types.void(Floats, Floats, size, Floats, size, Floats), code


@intrinsic
def _join(typing, sums, index):
    """Return sixteen products from their sums, in units of the smallest sum."""

    def code(context, builder, signature, values):
        sums, index = values

        def read(number):
            pointer = pointer_to(builder, FLOAT, sums, builder.add(index, LONG(number * TILE)))
            return builder.load(pointer, typ=INT_VECTOR, align=4)

        found = [read(0), read(1), builder.add(read(2), read(3))]
        upper, middle, lower = (builder.sitofp(each, FLOAT_VECTOR) for each in found)
        base = ir.Constant(FLOAT_VECTOR, [256.0] * LANES)
        upper = call_on_lanes(builder, "llvm.fmuladd", FLOAT_VECTOR, upper, base, middle)
        return call_on_lanes(builder, "llvm.fmuladd", FLOAT_VECTOR, upper, base, lower)

    return lanes(Floats, types.int64), code


@separate_function
def multiply_digits(a, rows, tiles, depth, terms, n, width, out, mode):
    """Multiply rows by `width` columns.

    a, out: `Rows`; depth: words of a digit of a row; terms, n: as in a tile of `product.py`, with three initial values.
    Each row is followed by its scale. A single row is multiplied with vectors, which is faster.
    """
    sums, words = _sums_on_stack(), DIGITS * depth  # of a row, and of a column
    size = min(rows, LANES)
    configure_tiles(size)
    for block in range(0, rows, _ROWS):
        for c in range(0, width, LANES):
            bias, scale, columns, row = load(terms, c), load(terms, n + c), tiles + c * words, block
            while row < min(block + _ROWS, rows):
                begin = min(row, rows - size)  # the last rows are computed together with earlier ones
                if rows > 1:
                    _multiply(a.start + begin * a.stride, a.stride, columns, depth, sums)
                else:
                    _multiply_row(a.start, columns, depth, terms + 2 * n + c, n, sums)
                for i in range(row, begin + size):
                    to = i * out.stride + c
                    # The smallest sum counts in units of 65,536 of the product of both integers.
                    factors = scale * (a.start[i * a.stride + words] * 65536.0)
                    value = multiply_add(_join(sums, (i - begin) * LANES), factors, bias)
                    if mode == Mode.ADD:
                        value = value + load(out.start, to)
                    elif mode == Mode.RELU:
                        value = at_least(value, broadcast(0.0))
                    store(out.start, to, value)
                row = begin + size
    release_tiles()
