"""Tiles of bf16 pairs and their products, with AMX (Advanced Matrix Extensions).

A tile has 16 lines of 16 words of 4 bytes, each a pair of adjacent values of the depth. A tile of a left matrix has a
line for each row, a tile of a right matrix a line for each pair. An instruction adds the product of two tiles to sums
[16, 16] in fp32. The processor has eight registers for tiles and sums: a thread configures them before it multiplies
and releases them afterwards, so that the operating system need not save them. Linux grants them on request.
"""

from __future__ import annotations

import ctypes
import platform
import sys

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from allyouneed.kernels import LANES
from allyouneed.kernels.bf16 import in_order, join, line_by_line
from allyouneed.kernels.lanes import FLOAT_VECTOR, declare, prefetch
from allyouneed.kernels.records import FLOAT, LONG, Floats, pointer_to
from allyouneed.kernels.simd_memory import read, row_starts, transposed
from allyouneed.kernels.target import has_amx

TILE = LANES * LANES  # words of a tile
BLOCK = 2 * LANES  # rows and columns of a block of the product; values of the depth in a tile
_BYTE, _BOTH = ir.IntType(8), range(2)
SUMS, LEFT, RIGHT = 0, 4, 6  # first register of each kind
_LINES = 48  # byte of the configuration from which on each register has its number of lines
# Palette 1; from byte 16 on, the bytes of a line of each register.
_CONFIGURATION = bytes([1, *[0] * 15, *[4 * LANES, 0] * 8, *[0] * 16, *[LANES] * 8, *[0] * 8])
_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XTILEDATA = 158, 0x1023, 18  # of Linux on x86-64


def request() -> bool:
    """Request the tile registers for all threads of this process; return whether Linux grants them."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    return ctypes.CDLL(None).syscall(_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XTILEDATA) == 0


@intrinsic
def configure_tiles(typing, rows):
    """Configure this thread's tile registers; tiles of left matrices and sums have `rows` lines, at most 16."""

    def code(context, builder, signature, values):
        kind = ir.ArrayType(_BYTE, len(_CONFIGURATION))
        with builder.goto_entry_block():
            configuration = builder.alloca(kind)
        builder.store(ir.Constant(kind, bytearray(_CONFIGURATION)), configuration)
        start, count = builder.ptrtoint(configuration, LONG), builder.trunc(values[0], _BYTE)
        for register in range(RIGHT):
            builder.store(count, pointer_to(builder, _BYTE, start, LONG(_LINES + register)), align=1)
        emit(builder, "ldtilecfg", configuration)
        return context.get_dummy_value()

    return types.void(types.int64), code


@intrinsic
def release_tiles(typing):
    """Release this thread's tile registers."""

    def code(context, builder, signature, values):
        emit(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), code


def _make_product(is_prefetching: bool):
    """Make an intrinsic that multiplies tiles, and may prefetch those of the right matrix that are needed next."""

    @intrinsic
    def multiply(typing, left, left_step, right, right_step, count, initial, initial_stride, out, out_stride, ahead):
        """Write `initial` plus the product of two rows and two columns of tiles, a block [32, 32].

        Args:
            left: Tiles of 16 rows.
            left_step: Words from a row's first tile to that of the next 16 rows.
            right: Tiles of 16 columns.
            right_step: Words from a column's first tile to that of the next 16 columns.
            count: Number of tiles along the depth.
            initial: What the sums begin with; may be `out`.
            initial_stride: Words from one row of `initial` to the next; 0 if all are the same.
            out: Output.
            out_stride: Words from one row of the output to the next.
            ahead: Words from a right tile to the tile to prefetch, if any.
        """

        def code(context, builder, signature, values):
            left, left_step, right, right_step, count, initial, initial_stride, out, out_stride, ahead = values

            def move(name, register, pointer, index, stride):
                address, stride_bytes = pointer_to(builder, FLOAT, pointer, index), builder.mul(stride, LONG(4))
                emit(builder, name, _BYTE(register), address, stride_bytes)

            def move_sums(name, pointer, stride):
                for i in _BOTH:
                    for j in _BOTH:
                        index = builder.add(builder.mul(stride, LONG(LANES * i)), LONG(LANES * j))
                        move(name, SUMS + 2 * i + j, pointer, index, stride)

            move_sums("tileloadd64", initial, initial_stride)
            with cgutils.for_range(builder, count) as loop:
                index = builder.mul(loop.index, LONG(TILE))
                for register, pointer, step in ((LEFT, left, left_step), (RIGHT, right, right_step)):
                    for half, at in enumerate((index, builder.add(index, step))):
                        move("tileloadd64", register + half, pointer, at, LONG(LANES))
                if is_prefetching:
                    for at in (index, builder.add(index, right_step)):
                        for line in range(0, TILE, LANES):
                            place = builder.add(builder.add(at, ahead), LONG(line))
                            prefetch(builder, pointer_to(builder, FLOAT, right, place), locality=2)
                for i in _BOTH:
                    for j in _BOTH:
                        emit(builder, "tdpbf16ps", *map(_BYTE, (SUMS + 2 * i + j, LEFT + i, RIGHT + j)))
            move_sums("tilestored64", out, out_stride)
            return context.get_dummy_value()

        size = types.int64
        return types.void(Floats, size, Floats, size, size, Floats, size, Floats, size, size), code

    return multiply


multiply_tiles, multiply_and_prefetch = _make_product(False), _make_product(True)


def emit(builder, name, *values):
    """Emit an instruction; without AMX nothing, since the code is never reached then."""
    if not has_amx():
        return
    function = declare(builder, f"llvm.x86.{name}", ir.VoidType(), [value.type for value in values])
    builder.call(function, values)


def _make_rounding(is_in_lines: bool, is_transposed: bool):
    """Make an intrinsic that rounds a part of a matrix to a tile.

    Args:
        is_in_lines: Whether the part is 32 lines of the depth [32, 16], or else 16 rows or columns [16, 32].
        is_transposed: Whether pairs that are adjacent in memory belong to different lines of the tile.
    """

    @intrinsic
    def round_tile(typing, source, index, stride, last, depth, target, target_index):
        """Round to a tile; `last`: index of the last row, which is repeated; values at `depth` and beyond are 0."""

        def code(context, builder, signature, values):
            source, index, stride, last, depth, target, target_index = values

            def read_at(at, d):
                exists = builder.icmp_signed("<", LONG(d), depth)
                found = read(builder, source, builder.select(exists, at, index))
                return builder.select(exists, found, ir.Constant(FLOAT_VECTOR, [0.0] * LANES))

            if is_in_lines:
                lines = [read_at(builder.add(index, builder.mul(stride, LONG(d))), d) for d in range(BLOCK)]
                pairs = [join(builder, lines[d : d + 2], line_by_line) for d in range(0, BLOCK, 2)]
            else:
                starts = row_starts(builder, index, stride, last)
                halves = [(read_at(at, 0), read_at(builder.add(at, LONG(LANES)), LANES)) for at in starts]
                pairs = [join(builder, both, in_order) for both in halves]
            for number, line in enumerate(transposed(builder, pairs) if is_transposed else pairs):
                at = builder.add(target_index, LONG(LANES * number))
                builder.store(line, pointer_to(builder, FLOAT, target, at), align=4)
            return context.get_dummy_value()

        return types.void(Floats, *[types.int64] * 4, Floats, types.int64), code

    return round_tile


left_from_rows, right_from_columns = _make_rounding(False, False), _make_rounding(False, True)
left_from_lines, right_from_lines = _make_rounding(True, True), _make_rounding(True, False)
