"""Byte products in AMX's tile registers, for `product.py`; see `amx.py`.

One instruction multiplies sixteen rows by sixteen columns over a depth of 64 and adds the products to 32-bit sums,
exactly, so that the results are those of VNNI. A product is written, or its blocks are compared as soon as they are
computed, so that the logits of a whole vocabulary need no memory.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from allyouneed.kernels import LANES, Mode
from allyouneed.kernels.amx import BLOCK, LEFT, RIGHT, SUMS, configure_tiles, emit, release_tiles, request
from allyouneed.kernels.compiler import kernel_function, named, separate_function
from allyouneed.kernels.lanes import FLOAT_VECTOR, INT_VECTOR, lanes, vectors_on_stack
from allyouneed.kernels.records import FLOAT, LONG, Floats, Longs, pointer_to
from allyouneed.kernels.simd import any_above, at_least, broadcast, multiply_add
from allyouneed.kernels.simd_memory import load, store
from allyouneed.kernels.target import has_amx

MIN_ROWS = 4  # for fewer, VNNI is faster
DEPTH = 4 * LANES  # values in a row of a register
_BYTE = ir.IntType(8)
_sums_on_stack = vectors_on_stack(BLOCK * BLOCK // LANES)


@cache
def has_byte_tiles() -> bool:
    """Return whether the processor has tile registers for bytes, and Linux grants them."""
    return has_amx() and request()


@intrinsic
def _load_integers(typing, pointer, index):
    """Return sixteen integers of 32 bits as floats."""

    def code(context, builder, signature, values):
        integers = builder.load(pointer_to(builder, FLOAT, *values), typ=INT_VECTOR, align=4)
        return builder.sitofp(integers, FLOAT_VECTOR)

    return lanes(Floats, types.int64), code


def _make_product(groups: int, vectors: int):
    """Make an intrinsic that multiplies `groups` groups of sixteen rows by a panel of 16 · vectors columns.

    The arguments are pointers, and sizes in 32-bit words. depth: a multiple of 16; initial: initial values of the
    columns' sums; sums: int32 [groups · 16, BLOCK].
    """

    @intrinsic
    def product(typing, a, a_stride, panel, depth, initial, sums):
        def code(context, builder, signature, values):
            a, a_stride, panel, depth, initial, sums = values
            positions = [(group, v) for group in range(groups) for v in range(vectors)]

            def move(name, register, pointer, index, stride):
                address = pointer_to(builder, FLOAT, pointer, index)
                emit(builder, name, _BYTE(register), address, builder.mul(stride, LONG(4)))

            for group, v in positions:
                move("tileloadd64", SUMS + 2 * group + v, initial, LONG(LANES * v), LONG(0))
            with cgutils.for_range(builder, builder.udiv(depth, LONG(LANES))) as loop:
                word = builder.mul(loop.index, LONG(LANES))
                line = builder.mul(word, LONG(LANES * vectors))
                for v in range(vectors):
                    move("tileloadd64", RIGHT + v, panel, builder.add(line, LONG(LANES * v)), LONG(LANES * vectors))
                for group in range(groups):
                    first = builder.add(word, builder.mul(a_stride, LONG(LANES * group)))
                    move("tileloadd64", LEFT + group, a, first, a_stride)
                for group, v in positions:
                    emit(builder, "tdpbusd", *map(_BYTE, (SUMS + 2 * group + v, LEFT + group, RIGHT + v)))
            for group, v in positions:
                place = LONG(BLOCK * LANES * group + LANES * v)
                move("tilestored64", SUMS + 2 * group + v, sums, place, LONG(BLOCK))
            return context.get_dummy_value()

        size = types.int64
        return types.void(Floats, size, Floats, size, Floats, Floats), code

    return product


_narrow, _wide, _tall_narrow, _tall_wide = (_make_product(groups, vectors) for groups in (1, 2) for vectors in (1, 2))


class Block(NamedTuple):
    """A block of a product in compiled code: some rows by up to 32 columns."""

    sums: Floats  # int32 [rows, BLOCK], memory that may be overwritten
    scales: Floats  # scale of the first row
    stride: int  # from a row's scale to the next
    row: int  # number of the first row
    rows: int
    column: int  # number of the first column
    columns: int


@kernel_function
def values_of(block, row, column, bias, scale):
    """Return sixteen values of a block's row, from sums and the bias and scale of their columns."""
    return multiply_add(
        _load_integers(block.sums, row * BLOCK + column), scale * block.scales[row * block.stride], bias
    )


def make_product_in_tiles(name: str, use):
    """Make a function that multiplies rows by columns, and passes each block of the product to another function.

    Args:
        name: Name of the function, see `named`.
        use: Kernel function of the block, the columns' terms, the distance `n` between the rows of terms, and `out`.

    Returns:
        Kernel function (a, rows, panels, depth, terms, n, width, out): as `product.multiply_floats`, except for `out`.
    """

    @separate_function
    @named(name)
    def multiply(a, rows, panels, depth, terms, n, width, out):
        sums, stride = _sums_on_stack(), a.stride
        configure_tiles(min(rows, LANES))
        for c in range(0, width, BLOCK):
            panel, initial, columns, row = panels + c * depth, terms + (2 * n + c), min(BLOCK, width - c), 0
            while row < rows:
                size = BLOCK if rows >= BLOCK and rows - row > LANES else LANES
                begin = max(0, min(row, rows - size))  # the last rows are computed together with earlier ones
                end, first = min(rows, begin + size), a.start + begin * stride
                if size == BLOCK:
                    if columns == BLOCK:
                        _tall_wide(first, stride, panel, depth, initial, sums)
                    else:
                        _tall_narrow(first, stride, panel, depth, initial, sums)
                elif columns == BLOCK:
                    _wide(first, stride, panel, depth, initial, sums)
                else:
                    _narrow(first, stride, panel, depth, initial, sums)
                found, scales = sums + (row - begin) * BLOCK, a.start + (row * stride + depth)
                use(Block(found, scales, stride, row, end - row, c, columns), terms + c, n, out)
                row = end
        release_tiles()

    return multiply


class Output(NamedTuple):
    """Where and how a product is written in compiled code."""

    start: Floats
    stride: int
    mode: int


@kernel_function
def _write(block, terms, n, out):
    """Write values to a matrix."""
    to = out.start + block.row * out.stride + block.column
    for c in range(0, block.columns, LANES):
        bias, scale = load(terms, c), load(terms, n + c)
        for row in range(block.rows):
            value, at = values_of(block, row, c, bias, scale), row * out.stride + c
            if out.mode == Mode.ADD:
                value = value + load(to, at)
            elif out.mode == Mode.RELU:
                value = at_least(value, broadcast(0.0))
            store(to, at, value)


multiply_in_tiles = make_product_in_tiles("multiply_in_tiles", _write)


class Largest(NamedTuple):
    """The largest value of each row and its column, in compiled code; of equal values, the first."""

    values: Floats  # fp32 [rows], to begin with a lower bound
    columns: Longs  # [rows]
    width: int  # columns; those after it are padding


@kernel_function
def _compare(block, terms, n, out):
    """Replace largest values by larger ones."""
    values, columns = out.values + block.row, out.columns + block.row
    for c in range(0, block.columns, LANES):
        bias, scale = load(terms, c), load(terms, n + c)
        for row in range(block.rows):
            found = values_of(block, row, c, bias, scale)
            if any_above(found, values[row]):
                line = block.sums + (row * BLOCK + c)
                store(line, 0, found)
                for j in range(min(LANES, out.width - block.column - c)):
                    if line[j] > values[row]:
                        values[row] = line[j]
                        columns[row] = block.column + c + j


find_largest_in_tiles = make_product_in_tiles("find_largest_in_tiles", _compare)
