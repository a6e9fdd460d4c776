"""Byte products in AMX's tile registers, for `product.py`; see `amx.py`.

One instruction multiplies sixteen rows by sixteen columns over a depth of 64 and adds the products to 32-bit sums,
exactly, so that the results are those of VNNI.
"""

from __future__ import annotations

from functools import cache

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from allyouneed.kernels import LANES, Mode
from allyouneed.kernels.amx import BLOCK, LEFT, RIGHT, SUMS, configure_tiles, emit, release_tiles, request
from allyouneed.kernels.compiler import kernel_function, separate_function
from allyouneed.kernels.lanes import FLOAT_VECTOR, INT_VECTOR, lanes
from allyouneed.kernels.records import FLOAT, LONG, Floats, pointer_to
from allyouneed.kernels.simd import at_least, broadcast, multiply_add
from allyouneed.kernels.simd_memory import load, store
from allyouneed.kernels.target import has_amx

MIN_ROWS = 4  # for fewer, VNNI is faster
DEPTH = 4 * LANES  # values in a row of a register
_BYTE = ir.IntType(8)


@cache
def has_byte_tiles() -> bool:
    """Return whether the processor has tile registers for bytes, and Linux grants them."""
    return has_amx() and request()


@intrinsic
def _sums_on_stack(typing):
    def code(context, builder, signature, values):
        with builder.goto_entry_block():
            sums = builder.alloca(ir.ArrayType(FLOAT_VECTOR, BLOCK * BLOCK // LANES))
            sums.align = 4 * LANES
        return builder.ptrtoint(sums, LONG)

    return Floats(), code


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


@kernel_function
def _write(sums, row_scales, stride, rows, terms, n, width, out, out_stride, mode):
    """Write sums [rows, width], multiplied by the scales of rows and columns, plus the bias."""
    for c in range(0, width, LANES):
        bias, scale = load(terms, c), load(terms, n + c)
        for row in range(rows):
            value = multiply_add(_load_integers(sums, row * BLOCK + c), scale * row_scales[row * stride], bias)
            at = row * out_stride + c
            if mode == Mode.ADD:
                value = value + load(out, at)
            elif mode == Mode.RELU:
                value = at_least(value, broadcast(0.0))
            store(out, at, value)


@separate_function
def multiply_in_tiles(a, rows, panels, depth, terms, n, width, out, mode):
    """Multiply `rows` rows of `a` by `width` columns; the arguments are those of `product.multiply_floats`."""
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
            found, scales, to = sums + (row - begin) * BLOCK, a.start + (row * stride + depth), out.start + c
            to = to + row * out.stride
            _write(found, scales, stride, end - row, terms + c, n, columns, to, out.stride, mode)
            row = end
    release_tiles()
