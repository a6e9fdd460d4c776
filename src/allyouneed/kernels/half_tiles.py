"""Products of integers of 16 bits in AMX's tile registers, for `product.py`; see `byte_tiles.py`.

An integer is 256 times its upper byte, which is signed, plus its lower byte, which is unsigned. The four products of
bytes are added exactly to three sums, so that the results are those of VNNI, in a fifth of its cycles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from allyouneed.kernels import LANES
from allyouneed.kernels.amx import TILE, configure_tiles, emit, release_tiles
from allyouneed.kernels.compiler import separate_function
from allyouneed.kernels.lanes import FLOAT_VECTOR, INT_VECTOR, lanes, vectors_on_stack
from allyouneed.kernels.records import FLOAT, LONG, Floats, pointer_to
from allyouneed.kernels.simd import multiply_add
from allyouneed.kernels.simd_memory import load, store

if TYPE_CHECKING:
    from torch import Tensor

_BYTE = ir.IntType(8)
_LEFT, _RIGHT = 4, 6  # registers of the upper bytes of both sides; those of the lower bytes follow them
_SHIFTS = (16, 8, 0)  # of the three sums
# The sum, the factors (0: upper bytes, 1: lower bytes), and the instruction, which depends on their signs.
_PRODUCTS = ((0, 0, 0, "tdpbssd"), (1, 0, 1, "tdpbsud"), (1, 1, 0, "tdpbusd"), (2, 1, 1, "tdpbuud"))
_SIZE = len(_SHIFTS) * TILE  # words of all sums
_sums_on_stack = vectors_on_stack(_SIZE // LANES)


def half_tiles(whole: Tensor) -> Tensor:
    """Lay out integers [n, depth], int16, as tiles [n / 16, depth / 64, 2, 16, 16] of four bytes, upper bytes first.

    n must be a multiple of 16, depth of 64.
    """
    pairs = whole.contiguous().view(torch.uint8).view(len(whole) // LANES, LANES, -1, LANES, 4, 2)
    return pairs.permute(0, 2, 5, 3, 1, 4).flip(2).contiguous().view(torch.int32)


@intrinsic
def _multiply(typing, a, a_stride, tiles, depth, sums):
    """Write the sums of up to sixteen rows by sixteen columns, int32 [3, 16, 16].

    Sizes are in 32-bit words. A row has `depth` words of upper bytes, then as many of lower bytes.
    """

    def code(context, builder, signature, values):
        a, a_stride, tiles, depth, sums = values

        def move(name, register, pointer, index, stride):
            emit(builder, name, _BYTE(register), pointer_to(builder, FLOAT, pointer, index), stride)

        row, line = builder.mul(a_stride, LONG(4)), LONG(4 * LANES)
        for register in range(len(_SHIFTS)):
            emit(builder, "tilezero", _BYTE(register))
        with cgutils.for_range(builder, builder.udiv(depth, LONG(LANES))) as loop:
            word, tile = builder.mul(loop.index, LONG(LANES)), builder.mul(loop.index, LONG(2 * TILE))
            move("tileloadd64", _LEFT, a, word, row)
            move("tileloadd64", _RIGHT, tiles, tile, line)
            move("tileloadd64", _RIGHT + 1, tiles, builder.add(tile, LONG(TILE)), line)
            move("tileloadd64", _LEFT + 1, a, builder.add(word, depth), row)
            for register, left, right, name in _PRODUCTS:
                emit(builder, name, *map(_BYTE, (register, _LEFT + left, _RIGHT + right)))
        for register in range(len(_SHIFTS)):
            move("tilestored64", register, sums, LONG(register * TILE), line)
        return context.get_dummy_value()

    size = types.int64
    return types.void(Floats, size, Floats, size, Floats), code


@intrinsic
def _join_sums(typing, sums, index):
    """Return sixteen joint sums as floats; they fit into 32 bits, unlike their parts, which overflow without harm."""

    def code(context, builder, signature, values):
        sums, index = values

        joint = ir.Constant(INT_VECTOR, None)
        for register, distance in enumerate(_SHIFTS):
            pointer = pointer_to(builder, FLOAT, sums, builder.add(index, LONG(register * TILE)))
            value = builder.load(pointer, typ=INT_VECTOR, align=4)
            joint = builder.add(joint, builder.shl(value, ir.Constant(INT_VECTOR, [distance] * LANES)))
        return builder.sitofp(joint, FLOAT_VECTOR)

    return lanes(Floats, types.int64), code


@separate_function
def multiply_halves_in_tiles(a, rows, tiles, depth, terms, n, width, out):
    """Multiply up to sixteen rows by `width` columns.

    a, out: `Rows`; depth: words of a row's upper bytes; terms, n: as in a tile of `product.py`. Each row is followed by
    its scale.
    """
    sums, words = _sums_on_stack(), 2 * depth  # of a row, and of a column
    configure_tiles(rows)
    for c in range(0, width, LANES):
        _multiply(a.start, a.stride, tiles + c * words, depth, sums)
        bias, scale = load(terms, c), load(terms, n + c)
        for row in range(rows):
            value = _join_sums(sums, row * LANES)
            store(out.start, row * out.stride + c, multiply_add(value, scale * a.start[row * a.stride + words], bias))
    release_tiles()
