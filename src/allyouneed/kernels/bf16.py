"""Values in bf16 in memory, and pairs of them, each in the 32 bits of a lane; see `lanes.py`."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from allyouneed.kernels import LANES
from allyouneed.kernels.lanes import FLOAT_VECTOR, INT_VECTOR, all_lanes, declare, lanes
from allyouneed.kernels.records import FLOAT, INT, LONG, Floats, pointer_to
from allyouneed.kernels.simd_memory import read, row_starts, transposed


class _BFloat(ir.Type):
    """LLVM's type of a bf16 value, which llvmlite lacks."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


_HALF = ir.IntType(16)  # the bits of a bf16 value are the upper half of those in fp32
_HALF_VECTOR = ir.VectorType(_HALF, LANES)
_BF16_VECTOR, _BF16_PAIRS = ir.VectorType(_BFloat(), LANES), ir.VectorType(_BFloat(), 2 * LANES)
in_order = tuple(range(2 * LANES))  # orders of the values of two vectors in pairs
line_by_line = tuple(each for lane in range(LANES) for each in (lane, lane + LANES))


@intrinsic
def load_bf16(typing, pointer, index):
    """Return the sixteen bf16 values that begin at the value with an index."""

    def code(context, builder, signature, values):
        address = pointer_to(builder, _HALF, *values)
        upper = builder.zext(builder.load(address, typ=_HALF_VECTOR, align=2), INT_VECTOR)
        return builder.bitcast(builder.shl(upper, all_lanes(16)), FLOAT_VECTOR)

    return lanes(Floats, types.int64), code


@intrinsic
def store_bf16(typing, pointer, index, value):
    """Write sixteen values in bf16, rounded to even, beginning at the value with an index; none may be NaN."""

    def code(context, builder, signature, values):
        pointer, index, value = values
        bits = builder.bitcast(value, INT_VECTOR)
        is_odd = builder.and_(builder.lshr(bits, all_lanes(16)), all_lanes(1))
        rounded = builder.add(builder.add(bits, all_lanes(0x7FFF)), is_odd)
        upper = builder.trunc(builder.lshr(rounded, all_lanes(16)), _HALF_VECTOR)
        builder.store(upper, pointer_to(builder, _HALF, pointer, index), align=2)
        return context.get_dummy_value()

    return types.void(Floats, types.int64, lanes), code


@intrinsic
def pair_lines(typing, first, second):
    """Return lanes with a pair of bf16 values each: the lane of `first` and the lane of `second`, rounded to even."""

    def code(context, builder, signature, values):
        return join(builder, values, line_by_line)

    return lanes(lanes, lanes), code


@intrinsic
def transpose_pairs(typing, source, index, stride, last, pairs, target, target_index, target_stride):
    """Write sixteen rows of bf16 pairs as sixteen columns, like `transpose`, but no more than `pairs` of them.

    Args:
        pairs: Pairs that remain in a row, a multiple of 8.
    """

    def code(context, builder, signature, values):
        source, index, stride, last, pairs, target, target_index, target_stride = values
        is_whole = builder.icmp_signed(">=", pairs, LONG(LANES))
        second = builder.select(is_whole, LONG(LANES), LONG(0))  # where there is none, the first is read again
        rows = []
        for at in row_starts(builder, index, stride, last):
            halves = (read(builder, source, at), read(builder, source, builder.add(at, second)))
            rows.append(join(builder, halves, in_order))
        columns = transposed(builder, rows)
        half = LANES // 2

        def write(numbers):
            for number in numbers:
                at = builder.add(target_index, builder.mul(target_stride, LONG(number)))
                builder.store(columns[number], pointer_to(builder, FLOAT, target, at), align=4)

        write(range(half))
        with builder.if_then(is_whole):
            write(range(half, LANES))
        return context.get_dummy_value()

    return types.void(Floats, *[types.int64] * 4, Floats, types.int64, types.int64), code


def join(builder, halves, order):
    """Emit two vectors rounded to bf16, their values in an order, as a vector of pairs."""
    first, second = (builder.fptrunc(half, _BF16_VECTOR) for half in halves)
    both = builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(INT, 2 * LANES), list(order)))
    return builder.bitcast(both, FLOAT_VECTOR)


def multiply_pairs(builder, a, b, summed):
    """Emit `summed` plus the dot product of two bf16 pairs, lane by lane (AVX512_BF16)."""
    name = "llvm.x86.avx512bf16.dpbf16ps.512"
    function = declare(builder, name, FLOAT_VECTOR, [FLOAT_VECTOR, _BF16_PAIRS, _BF16_PAIRS])
    return builder.call(function, [summed, *(builder.bitcast(pairs, _BF16_PAIRS) for pairs in (a, b))])
