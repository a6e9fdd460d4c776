"""Arithmetic on vectors of sixteen fp32 values, and on vectors and numbers; see `lanes.py`."""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from allyouneed.kernels import LANES
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.lanes import FLOAT_VECTOR, INT_VECTOR, Lanes, call_on_lanes, declare, lanes, splat
from allyouneed.kernels.records import FLOAT, INT, LONG


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
        function = declare(builder, name, FLOAT, [FLOAT, FLOAT_VECTOR])
        return builder.call(function, [FLOAT(0.0), values[0]], fastmath=("reassoc",))

    return types.float32(lanes), code


@intrinsic
def reduce_max(typing, value):
    """Return the maximum of all lanes."""

    def code(context, builder, signature, values):
        function = declare(builder, f"llvm.vector.reduce.fmax.v{LANES}f32", FLOAT, [FLOAT_VECTOR])
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
        function = declare(builder, "llvm.log.f32", FLOAT, [FLOAT])
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

    for kinds in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(function, *kinds)(code)


def _is_operand(kind):
    return kind is lanes or isinstance(kind, types.Number)


def _to_lanes(context, builder, kind, value):
    return value if kind is lanes else splat(builder, context.cast(builder, value, kind, types.float32))


for _function, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
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
