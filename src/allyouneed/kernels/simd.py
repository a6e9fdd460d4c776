"""Vectors of sixteen fp32 values for Numba: one register of AVX-512, two of AVX2, four of NEON.

Numba's loops over arrays check at run time whether the arrays overlap, which costs more than the work itself when rows
have 16 or 32 elements, as in attention. Kernels therefore use these vectors and the raw pointers of `records.py`.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_jitable, register_model

from allyouneed.kernels import LANES
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.records import FLOAT, INT, LONG, Floats, pointer_to


class _Lanes(types.Type):
    """Numba type of sixteen fp32 values."""

    def __init__(self):
        super().__init__("Lanes")


lanes = _Lanes()
_BYTE, _HALF = ir.IntType(8), ir.IntType(16)
FLOAT_VECTOR, INT_VECTOR = ir.VectorType(FLOAT, LANES), ir.VectorType(INT, LANES)


class _BFloat(ir.Type):
    """LLVM's type of a bf16 value, which llvmlite lacks."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


_BF16_VECTOR, _BF16_PAIRS = ir.VectorType(_BFloat(), LANES), ir.VectorType(_BFloat(), 2 * LANES)


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, front_end_type):
        super().__init__(manager, front_end_type, FLOAT_VECTOR)


# ---- memory


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
def store_lanes(typing, pointer, index, value, first, end):
    """Write the lanes from `first` to before `end`, which may exceed the vector; lane 0 would be at the index."""

    def code(context, builder, signature, values):
        pointer, index, value, first, end = values
        numbers = ir.Constant(INT_VECTOR, list(range(LANES)))
        first, end = (splat(builder, builder.trunc(bound, INT)) for bound in (first, end))
        mask = builder.and_(builder.icmp_signed(">=", numbers, first), builder.icmp_signed("<", numbers, end))
        address = pointer_to(builder, FLOAT, pointer, index)
        kinds = [FLOAT_VECTOR, address.type, INT, mask.type]
        function = _declare(builder, f"llvm.masked.store.v{LANES}f32.p0", ir.VoidType(), kinds)
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
        rows = [_read(builder, source, at) for at in _row_starts(builder, index, stride, last)]
        for number, row in enumerate(_transposed(builder, rows)):
            at = builder.add(target_index, builder.mul(target_stride, LONG(number)))
            builder.store(row, pointer_to(builder, FLOAT, target, at), align=4)
        return context.get_dummy_value()

    return types.void(Floats, *[types.int64] * 3, Floats, types.int64, types.int64), code


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
        for at in _row_starts(builder, index, stride, last):
            halves = (_read(builder, source, at), _read(builder, source, builder.add(at, second)))
            rows.append(_join(builder, halves, list(range(2 * LANES))))
        columns = _transposed(builder, rows)
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


def _row_starts(builder, index, stride, last):
    """Emit the indices of sixteen rows, at most `last`."""
    for number in range(LANES):
        at = builder.add(index, builder.mul(stride, LONG(number)))
        yield builder.select(builder.icmp_signed("<", at, last), at, last)


def _read(builder, pointer, index):
    return builder.load(pointer_to(builder, FLOAT, pointer, index), typ=FLOAT_VECTOR, align=4)


def _transposed(builder, rows):
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


# ---- pairs of bf16 values, each in the 32 bits of a lane


@intrinsic
def pair_lines(typing, first, second):
    """Return lanes with a pair of bf16 values each: the lane of `first` and the lane of `second`, rounded to even."""

    def code(context, builder, signature, values):
        return _join(builder, values, [each for lane in range(LANES) for each in (lane, lane + LANES)])

    return lanes(lanes, lanes), code


def _join(builder, halves, order):
    """Emit two vectors rounded to bf16, their values in an order, as a vector of pairs."""
    first, second = (builder.fptrunc(half, _BF16_VECTOR) for half in halves)
    both = builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(INT, 2 * LANES), order))
    return builder.bitcast(both, FLOAT_VECTOR)


def multiply_pairs(builder, a, b, summed):
    """Emit `summed` plus the dot product of two bf16 pairs, lane by lane (AVX512_BF16)."""
    name = "llvm.x86.avx512bf16.dpbf16ps.512"
    function = _declare(builder, name, FLOAT_VECTOR, [FLOAT_VECTOR, _BF16_PAIRS, _BF16_PAIRS])
    return builder.call(function, [summed, *(builder.bitcast(pairs, _BF16_PAIRS) for pairs in (a, b))])


# ---- arithmetic on vectors, and on vectors and numbers


@intrinsic
def broadcast(typing, value):
    """Return a vector with a number in all lanes."""

    def code(context, builder, signature, values):
        return _to_lanes(context, builder, signature.args[0], values[0])

    return lanes(value), code


@intrinsic
def multiply_add(typing, a, b, c):
    """Return a · b + c."""

    def code(context, builder, signature, values):
        return call_on_lanes(builder, "llvm.fmuladd", FLOAT_VECTOR, *values)

    return lanes(lanes, lanes, lanes), code


@intrinsic
def reduce_sum(typing, value):
    """Return the sum of all lanes."""

    def code(context, builder, signature, values):
        name = f"llvm.vector.reduce.fadd.v{LANES}f32"
        function = _declare(builder, name, FLOAT, [FLOAT, FLOAT_VECTOR])
        return builder.call(function, [FLOAT(0.0), values[0]], fastmath=("reassoc",))

    return types.float32(lanes), code


@intrinsic
def reduce_max(typing, value):
    """Return the maximum of all lanes."""

    def code(context, builder, signature, values):
        function = _declare(builder, f"llvm.vector.reduce.fmax.v{LANES}f32", FLOAT, [FLOAT_VECTOR])
        return builder.call(function, values, fastmath=("nnan",))

    return types.float32(lanes), code


@intrinsic
def sums_of_four(typing, a, b, c, d):
    """Return a vector whose lane i is the sum of the lanes of the vector i mod 4, in the order of `reduce_sum`."""

    def shuffled(builder, a, b, lanes):
        return builder.shuffle_vector(a, b, ir.Constant(INT_VECTOR, lanes))

    def halves(builder, a, b, size):
        """Emit the sums of the halves of each block of `size` lanes, those of `a` beside those of `b`."""
        half, lanes = size // 2, range(LANES)
        lower = [lane if lane % size < half else lane - half + LANES for lane in lanes]
        upper = [lane + half if lane % size < half else lane + LANES for lane in lanes]
        return builder.fadd(shuffled(builder, a, b, lower), shuffled(builder, a, b, upper))

    def code(context, builder, signature, values):
        a, b, c, d = values
        summed = halves(
            builder, halves(builder, a, b, 16), halves(builder, c, d, 16), 8
        )  # of a, c, b, d, four lanes each
        for distance in (2, 1):
            moved = shuffled(builder, summed, summed, [lane ^ distance for lane in range(LANES)])
            summed = builder.fadd(summed, moved)
        return shuffled(builder, summed, summed, [(0, 8, 4, 12)[lane % 4] for lane in range(LANES)])

    return lanes(lanes, lanes, lanes, lanes), code


@intrinsic
def replace_four(typing, value, begin, other):
    """Return `value` with the four lanes from `begin`, a multiple of 4, replaced by those of `other`."""

    def code(context, builder, signature, values):
        value, begin, other = values
        groups = ir.Constant(INT_VECTOR, [lane // 4 * 4 for lane in range(LANES)])
        is_replaced = builder.icmp_signed("==", groups, splat(builder, builder.trunc(begin, INT)))
        return builder.select(is_replaced, other, value)

    return lanes(lanes, types.int64, lanes), code


@intrinsic
def maximum(typing, a, b):
    """Return the larger of two values, lane by lane."""

    def code(context, builder, signature, values):
        return call_on_lanes(builder, "llvm.maxnum", FLOAT_VECTOR, *values, flags=("nnan", "nsz"))

    return lanes(lanes, lanes), code


@intrinsic
def at_least(typing, value, bound):
    """Return the larger of a value and a bound, lane by lane; unlike `maximum`, NaN stays NaN, at the same cost."""

    def code(context, builder, signature, values):
        value, bound = values
        return builder.select(builder.fcmp_ordered(">", bound, value), bound, value)

    return lanes(lanes, lanes), code


@intrinsic
def any_above(typing, value, limit):
    """Return whether any lane exceeds a number."""

    def code(context, builder, signature, values):
        above = builder.fcmp_ordered(">", values[0], splat(builder, values[1]))
        return builder.icmp_unsigned("!=", builder.bitcast(above, ir.IntType(LANES)), ir.IntType(LANES)(0))

    return types.boolean(lanes, types.float32), code


@intrinsic
def round_half_even(typing, value):
    """Round each lane to the nearest integer, ties to even."""

    def code(context, builder, signature, values):
        return call_on_lanes(builder, "llvm.rint", FLOAT_VECTOR, *values)

    return lanes(lanes), code


@intrinsic
def log(typing, value):
    """Return the natural logarithm of one fp32 value."""

    def code(context, builder, signature, values):
        function = _declare(builder, "llvm.log.f32", FLOAT, [FLOAT])
        return builder.call(function, values)

    return types.float32(types.float32), code


@intrinsic
def power_of_two(typing, value):
    """Return 2 to the power of each lane, an integer between -126 and 127."""

    def code(context, builder, signature, values):
        exponent = builder.add(builder.fptosi(values[0], INT_VECTOR), ir.Constant(INT_VECTOR, [127] * LANES))
        return builder.bitcast(builder.shl(exponent, ir.Constant(INT_VECTOR, [23] * LANES)), FLOAT_VECTOR)

    return lanes(lanes), code


@intrinsic
def select_first(typing, count, value, other):
    """Return the first `count` lanes of `value`, and the remaining lanes of `other`."""

    def code(context, builder, signature, values):
        numbers = ir.Constant(INT_VECTOR, list(range(LANES)))
        limit = splat(builder, builder.trunc(values[0], INT))
        return builder.select(builder.icmp_signed("<", numbers, limit), *values[1:])

    return lanes(types.int64, lanes, lanes), code


@intrinsic
def dropout_mask(typing, key, index, threshold):
    """Return 1 or 0 at random in each lane: 0 with probability threshold / 2³².

    A lane's random number is a hash of `key` and of the element's index, so that a mask can be recomputed instead of
    stored: two rounds of the 32-bit mixer "lowbias32" by C. Wellons, with the upper half of the key added in between.
    """

    def code(context, builder, signature, values):
        key, index, threshold = values
        numbers = ir.Constant(INT_VECTOR, list(range(LANES)))
        x = builder.add(splat(builder, builder.trunc(index, INT)), numbers)
        x = builder.xor(x, splat(builder, builder.trunc(key, INT)))
        x = _mix(builder, x)
        x = builder.add(x, splat(builder, builder.trunc(builder.lshr(key, LONG(32)), INT)))
        x = _mix(builder, x)
        keep = builder.icmp_unsigned(">=", x, splat(builder, builder.trunc(threshold, INT)))
        return builder.uitofp(keep, FLOAT_VECTOR)

    return lanes(types.int64, types.int64, types.int64), code


def _mix(builder, x):
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, None)):
        x = builder.xor(x, builder.lshr(x, ir.Constant(INT_VECTOR, [shift] * LANES)))
        if factor is not None:
            x = builder.mul(x, ir.Constant(INT_VECTOR, [factor] * LANES))
    return x


def _define_operator(function, name):
    """Define an operator for two vectors, or a vector and a number."""

    @infer_global(function)
    class Operator(AbstractTemplate):
        def generic(self, args, kws):
            has_lanes = len(args) == 2 and lanes in args
            return signature(lanes, *args) if has_lanes and all(_is_operand(kind) for kind in args) else None

    def code(context, builder, signature, values):
        kinds = zip(signature.args, values, strict=True)
        return getattr(builder, name)(*(_to_lanes(context, builder, kind, value) for kind, value in kinds))

    for kinds in ((_Lanes, _Lanes), (_Lanes, types.Number), (types.Number, _Lanes)):
        lower_builtin(function, *kinds)(code)


def _is_operand(kind):
    return kind is lanes or isinstance(kind, types.Number)


def _to_lanes(context, builder, kind, value):
    return value if kind is lanes else splat(builder, context.cast(builder, value, kind, types.float32))


for _function, _name in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _define_operator(_function, _name)


@kernel_function
def exp(x):
    """Return e to the power of each lane, within 2 units in the last place; 0 or a denormal below -87; NaN for NaN.

    The polynomial is from the Cephes library.
    """
    x = at_least(x, broadcast(-87.0))
    whole = round_half_even(x * 1.44269504088896341)
    part = multiply_add(whole, broadcast(-0.693359375), x)
    part = multiply_add(whole, broadcast(2.12194440e-4), part)
    p = broadcast(1.9875691500e-4)
    p = multiply_add(p, part, broadcast(1.3981999507e-3))
    p = multiply_add(p, part, broadcast(8.3334519073e-3))
    p = multiply_add(p, part, broadcast(4.1665795894e-2))
    p = multiply_add(p, part, broadcast(1.6666665459e-1))
    p = multiply_add(p, part, broadcast(5.0000001201e-1))
    return multiply_add(p, part * part, part + 1.0) * power_of_two(whole)


def prefetch(builder, pointer, locality=3):
    """Emit a prefetch into the L1 cache, with `locality` 2 into the L2 cache; the address need not be valid."""
    kinds = [pointer.type, INT, INT, INT]
    function = _declare(builder, "llvm.prefetch.p0", ir.VoidType(), kinds)
    builder.call(function, [pointer, INT(0), INT(locality), INT(1)])  # for reading, from the data cache


def relu(builder, value):
    """Emit the larger of a vector and 0, lane by lane; NaN stays NaN, so that it reaches the loss."""
    zero = ir.Constant(FLOAT_VECTOR, [0.0] * LANES)
    return builder.select(builder.fcmp_ordered(">", zero, value), zero, value)


def splat(builder, value):
    """Emit a vector with a number, of any type, in all lanes."""
    kind = ir.VectorType(value.type, LANES)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, INT(0))
    return builder.shuffle_vector(one, one, ir.Constant(INT_VECTOR, [0] * LANES))


def _declare(builder, name, returned, taken):
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(returned, taken), name)


def call_on_lanes(builder, name, kind, *values, flags=()):
    """Emit a call of LLVM's intrinsic `name` for sixteen fp32 values, which returns `kind`."""
    function = _declare(builder, f"{name}.v{LANES}f32", kind, [value.type for value in values])
    return builder.call(function, values, fastmath=flags)


@register_jitable
def pad_to_lanes(count: int) -> int:
    """Round up to a multiple of 16."""
    return -(-count // LANES) * LANES
