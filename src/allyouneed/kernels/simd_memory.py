"""Loading, storing and transposing vectors of sixteen fp32 values; see `lanes.py`."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from allyouneed.kernels import LANES
from allyouneed.kernels.lanes import FLOAT_VECTOR, INT_VECTOR, declare, lanes, prefetch, splat
from allyouneed.kernels.records import FLOAT, INT, LONG, Floats, pointer_to

_BYTE, _HALF = ir.IntType(8), ir.IntType(16)


@intrinsic
def load(typing, pointer, index):
    """Return the sixteen values that begin at an index."""

    def code(context, builder, signature, values):
        address = pointer_to(builder, FLOAT, *values)
        return builder.load(address, typ=FLOAT_VECTOR, align=4)  # a vector may begin at any element

    return lanes(Floats, types.int64), code


@intrinsic
def store(typing, pointer, index, value):
    """Write sixteen values, beginning at an index."""

    def code(context, builder, signature, values):
        builder.store(values[2], pointer_to(builder, FLOAT, *values[:2]), align=4)
        return context.get_dummy_value()

    return types.void(Floats, types.int64, lanes), code


@intrinsic
def prefetch_line(typing, pointer, index):
    """Start to load the cache line with an element into the L2 cache; the element need not exist."""

    def code(context, builder, signature, values):
        prefetch(builder, pointer_to(builder, FLOAT, *values), locality=2)
        return context.get_dummy_value()

    return types.void(Floats, types.int64), code


@intrinsic
def prefetch_to_write(typing, pointer, index):
    """Start to load the cache line with an element for writing; the element need not exist."""

    def code(context, builder, signature, values):
        prefetch(builder, pointer_to(builder, FLOAT, *values), is_write=True)
        return context.get_dummy_value()

    return types.void(Floats, types.int64), code


@intrinsic
def store_lanes(typing, pointer, index, value, first, end):
    """Write the lanes from `first` to before `end`, which may exceed the vector; lane 0 would be at the index."""

    def code(context, builder, signature, values):
        pointer, index, value, first, end = values
        numbers = ir.Constant(INT_VECTOR, list(range(LANES)))
        first, end = (splat(builder, builder.trunc(bound, INT)) for bound in (first, end))
        mask = builder.and_(builder.icmp_signed(">=", numbers, first), builder.icmp_signed("<", numbers, end))
        address = pointer_to(builder, FLOAT, pointer, index)
        kinds = [FLOAT_VECTOR, address.type, INT, mask.type]
        function = declare(builder, f"llvm.masked.store.v{LANES}f32.p0", ir.VoidType(), kinds)
        builder.call(function, [value, address, INT(4), mask])
        return context.get_dummy_value()

    return types.void(Floats, types.int64, lanes, types.int64, types.int64), code


@intrinsic
def store_bytes(typing, pointer, index, value):
    """Write sixteen integers from 0 to 255 as bytes, beginning at the byte with an index."""

    def code(context, builder, signature, values):
        found = builder.fptoui(values[2], ir.VectorType(_BYTE, LANES))
        builder.store(found, pointer_to(builder, _BYTE, *values[:2]), align=1)
        return context.get_dummy_value()

    return types.void(Floats, types.int64, lanes), code


@intrinsic
def store_halves(typing, pointer, index, value):
    """Write sixteen integers from -32,768 to 32,767 in 16 bits, beginning at the element with an index."""

    def code(context, builder, signature, values):
        found = builder.fptosi(values[2], ir.VectorType(_HALF, LANES))
        builder.store(found, pointer_to(builder, _HALF, *values[:2]), align=2)
        return context.get_dummy_value()

    return types.void(Floats, types.int64, lanes), code


@intrinsic
def store_low_bytes(typing, pointer, index, value, distance):
    """Write the lowest 8 bits of sixteen integers that are shifted right, beginning at the byte with an index."""

    def code(context, builder, signature, values):
        pointer, index, value, distance = values
        whole = builder.fptosi(value, INT_VECTOR)
        shifted = builder.ashr(whole, splat(builder, builder.trunc(distance, INT)))
        found = builder.trunc(shifted, ir.VectorType(_BYTE, LANES))
        builder.store(found, pointer_to(builder, _BYTE, pointer, index), align=1)
        return context.get_dummy_value()

    return types.void(Floats, types.int64, lanes, types.int64), code


@intrinsic
def fetch_and_increment(typing, address):
    """Add 1 to the int64 at an address, atomically, and return its previous value."""

    def code(context, builder, signature, values):
        pointer = builder.inttoptr(values[0], LONG.as_pointer())
        return builder.atomic_rmw("add", pointer, LONG(1), "monotonic")

    return types.int64(types.int64), code


@intrinsic
def transpose(typing, source, index, stride, last, target, target_index, target_stride):
    """Write sixteen rows of sixteen values, `stride` apart, as sixteen columns of rows `target_stride` apart.

    Rows that would begin after the index `last` are replaced by the row that begins there.
    """

    def code(context, builder, signature, values):
        source, index, stride, last, target, target_index, target_stride = values
        rows = [read(builder, source, at) for at in row_starts(builder, index, stride, last)]
        for number, row in enumerate(transposed(builder, rows)):
            at = builder.add(target_index, builder.mul(target_stride, LONG(number)))
            builder.store(row, pointer_to(builder, FLOAT, target, at), align=4)
        return context.get_dummy_value()

    return types.void(Floats, *[types.int64] * 3, Floats, types.int64, types.int64), code


def row_starts(builder, index, stride, last):
    """Emit the indices of sixteen rows, at most `last`."""
    for number in range(LANES):
        at = builder.add(index, builder.mul(stride, LONG(number)))
        yield builder.select(builder.icmp_signed("<", at, last), at, last)


def read(builder, pointer, index):
    """Emit a load of the sixteen values that begin at an index."""
    return builder.load(pointer_to(builder, FLOAT, pointer, index), typ=FLOAT_VECTOR, align=4)


def transposed(builder, rows):
    """Emit the columns of sixteen vectors."""
    for bit in (1, 2, 4, 8):  # rows whose indices differ in this bit swap their off-diagonal blocks
        for number in (number for number in range(LANES) if not number & bit):
            pair = rows[number], rows[number + bit]
            upper = [lane + LANES - bit if lane & bit else lane for lane in range(LANES)]
            lower = [lane + LANES if lane & bit else lane + bit for lane in range(LANES)]
            rows[number], rows[number + bit] = (
                builder.shuffle_vector(*pair, ir.Constant(INT_VECTOR, taken)) for taken in (upper, lower)
            )
    return rows
