"""Sixteen floats at once for Numba: one register of AVX-512, two of AVX2, four of NEON.

Numba's loops over arrays check at each start whether the arrays overlap, which costs more than the work itself when a
row has sixteen or thirty-two elements, as attention's have. Here memory is an address and a place, counted in elements
from it; whoever calls a kernel answers for both.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import njit, types
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_jitable, register_model

from allyouneed.kernels import LANES


class _Lanes(types.Type):
    """The type of sixteen fp32 values."""

    def __init__(self):
        super().__init__("Lanes")


lanes = _Lanes()
FLOAT, _DOUBLE, _BYTE, _INT, _LONG = ir.FloatType(), ir.DoubleType(), ir.IntType(8), ir.IntType(32), ir.IntType(64)
FLOATS, INTS = ir.VectorType(FLOAT, LANES), ir.VectorType(_INT, LANES)


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, front_end_type):
        super().__init__(manager, front_end_type, FLOATS)


# ---- memory: address, place


def _reader(given, kind, element):
    """(address, place) -> what stands there: of type `given`, for LLVM `kind`, made of elements."""

    @intrinsic
    def read(typing, address, place):
        def code(context, builder, signature, values):
            align = 8 if element in (_LONG, _DOUBLE) else 4  # of an element: lanes may begin at any
            return builder.load(pointer_to(builder, element, *values), typ=kind, align=align)

        return given(types.int64, types.int64), code

    return read


def _writer(taken, element=FLOAT):
    """(address, place, value): puts it there, one number or sixteen fp32."""

    @intrinsic
    def write(typing, address, place, value):
        def code(context, builder, signature, values):
            align = 8 if element in (_LONG, _DOUBLE) else 4
            builder.store(values[2], pointer_to(builder, element, *values[:2]), align=align)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, taken), code

    return write


load = _reader(lanes, FLOATS, FLOAT)  # sixteen fp32 from a place on
get = _reader(types.float32, FLOAT, FLOAT)  # one
get_long = _reader(types.int64, _LONG, _LONG)  # one int64
get_double = _reader(types.float64, _DOUBLE, _DOUBLE)  # one fp64
store, put, put_long = _writer(lanes), _writer(types.float32), _writer(types.int64, _LONG)
put_double = _writer(types.float64, _DOUBLE)


@intrinsic
def put_bytes(typing, address, place, value):
    """Sixteen whole numbers from 0 to 255, one byte each; place in bytes."""

    def code(context, builder, signature, values):
        found = builder.fptoui(values[2], ir.VectorType(_BYTE, LANES))
        builder.store(found, pointer_to(builder, _BYTE, *values[:2]), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, lanes), code


@intrinsic
def take_one(typing, address):
    """Adds 1 to the int64 there, and gives what it was: of all threads that ask, each gets its own number."""

    def code(context, builder, signature, values):
        pointer = builder.inttoptr(values[0], _LONG.as_pointer())
        return builder.atomic_rmw("add", pointer, _LONG(1), "monotonic")

    return types.int64(types.int64), code


@intrinsic
def transpose(typing, source, place, stride, last, target, target_place, target_stride):
    """Sixteen rows of sixteen, `stride` apart, become the columns of sixteen others, `target_stride` apart.

    No row begins after `last`: that row stands in for those behind it.
    """

    def code(context, builder, signature, values):
        source, place, stride, last, target, target_place, target_stride = values
        rows = []
        for number in range(LANES):
            at = builder.add(place, builder.mul(stride, _LONG(number)))
            at = builder.select(builder.icmp_signed("<", at, last), at, last)
            rows.append(builder.load(pointer_to(builder, FLOAT, source, at), typ=FLOATS, align=4))
        for bit in (1, 2, 4, 8):  # of two rows whose numbers differ in this bit, the blocks beside the diagonal swap
            for number in (number for number in range(LANES) if not number & bit):
                pair = rows[number], rows[number + bit]
                upper = [lane + LANES - bit if lane & bit else lane for lane in range(LANES)]
                lower = [lane + LANES if lane & bit else lane + bit for lane in range(LANES)]
                rows[number], rows[number + bit] = (
                    builder.shuffle_vector(*pair, ir.Constant(INTS, taken)) for taken in (upper, lower)
                )
        for number, row in enumerate(rows):
            at = builder.add(target_place, builder.mul(target_stride, _LONG(number)))
            builder.store(row, pointer_to(builder, FLOAT, target, at), align=4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), code


# ---- arithmetic: lanes with lanes, lanes with a number


@intrinsic
def each(typing, value):
    """A number in all lanes."""

    def code(context, builder, signature, values):
        return splat(builder, context.cast(builder, values[0], signature.args[0], types.float32))

    return lanes(value), code


@intrinsic
def multiply_add(typing, a, b, c):
    """a · b + c."""

    def code(context, builder, signature, values):
        return call_lanes(builder, "llvm.fmuladd", FLOATS, *values)

    return lanes(lanes, lanes, lanes), code


@intrinsic
def total(typing, value):
    """The sum of all lanes."""

    def code(context, builder, signature, values):
        name = f"llvm.vector.reduce.fadd.v{LANES}f32"
        function = _declare(builder, name, FLOAT, [FLOAT, FLOATS])
        return builder.call(function, [FLOAT(0.0), values[0]], fastmath=("reassoc",))

    return types.float32(lanes), code


@intrinsic
def largest(typing, value):
    """The largest of all lanes."""

    def code(context, builder, signature, values):
        function = _declare(builder, f"llvm.vector.reduce.fmax.v{LANES}f32", FLOAT, [FLOATS])
        return builder.call(function, values, fastmath=("nnan",))

    return types.float32(lanes), code


@intrinsic
def larger(typing, a, b):
    """The larger of two, lane by lane."""

    def code(context, builder, signature, values):
        return call_lanes(builder, "llvm.maxnum", FLOATS, *values, flags=("nnan", "nsz"))

    return lanes(lanes, lanes), code


@intrinsic
def any_above(typing, value, limit):
    """Whether one of the lanes is larger than a number."""

    def code(context, builder, signature, values):
        above = builder.fcmp_ordered(">", values[0], splat(builder, values[1]))
        return builder.icmp_unsigned("!=", builder.bitcast(above, ir.IntType(LANES)), ir.IntType(LANES)(0))

    return types.boolean(lanes, types.float32), code


@intrinsic
def rounded(typing, value):
    """To the nearest whole number."""

    def code(context, builder, signature, values):
        return call_lanes(builder, "llvm.rint", FLOATS, *values)

    return lanes(lanes), code


@intrinsic
def log(typing, value):
    """The natural logarithm of one fp32."""

    def code(context, builder, signature, values):
        function = _declare(builder, "llvm.log.f32", FLOAT, [FLOAT])
        return builder.call(function, values)

    return types.float32(types.float32), code


@intrinsic
def power_of_two(typing, value):
    """2 to a whole number between -126 and 127."""

    def code(context, builder, signature, values):
        exponent = builder.add(builder.fptosi(values[0], INTS), ir.Constant(INTS, [127] * LANES))
        return builder.bitcast(builder.shl(exponent, ir.Constant(INTS, [23] * LANES)), FLOATS)

    return lanes(lanes), code


@intrinsic
def first(typing, count, value, other):
    """The lanes before `count` of one, the others of the other."""

    def code(context, builder, signature, values):
        numbers = ir.Constant(INTS, list(range(LANES)))
        limit = splat(builder, builder.trunc(values[0], _INT))
        return builder.select(builder.icmp_signed("<", numbers, limit), *values[1:])

    return lanes(types.int64, lanes, lanes), code


@intrinsic
def kept(typing, key, place, threshold):
    """1 or 0 in each lane, at random: 0 with probability threshold / 2³².

    The random number of a lane is a hash of `key` and of its place (the 32-bit mixer "lowbias32" of C. Wellons, twice,
    the key coming in between), so that a mask can be made again instead of being kept.
    """

    def code(context, builder, signature, values):
        key, place, threshold = values
        numbers = ir.Constant(INTS, list(range(LANES)))
        x = builder.add(splat(builder, builder.trunc(place, _INT)), numbers)
        x = builder.xor(x, splat(builder, builder.trunc(key, _INT)))
        x = _mixed(builder, x)
        x = builder.add(x, splat(builder, builder.trunc(builder.lshr(key, _LONG(32)), _INT)))
        x = _mixed(builder, x)
        keep = builder.icmp_unsigned(">=", x, splat(builder, builder.trunc(threshold, _INT)))
        return builder.uitofp(keep, FLOATS)

    return lanes(types.int64, types.int64, types.int64), code


def _mixed(builder, x):
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, None)):
        x = builder.xor(x, builder.lshr(x, ir.Constant(INTS, [shift] * LANES)))
        if factor is not None:
            x = builder.mul(x, ir.Constant(INTS, [factor] * LANES))
    return x


def _operator(function, name):
    @intrinsic
    def of_lanes(typing, a, b):
        def code(context, builder, signature, values):
            return getattr(builder, name)(*values)

        return lanes(lanes, lanes), code

    @overload(function)
    def operate(a, b):
        if a is lanes and b is lanes:
            return lambda a, b: of_lanes(a, b)
        if a is lanes and isinstance(b, types.Number):
            return lambda a, b: of_lanes(a, each(b))
        if b is lanes and isinstance(a, types.Number):
            return lambda a, b: of_lanes(each(a), b)
        return None


for _function, _name in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _operator(_function, _name)


@njit
def exp(x):
    """e to the power of each lane, to 2 units in the last place; 0 (or a denormal) below -87. Cephes' polynomial."""
    x = larger(x, each(-87.0))
    whole = rounded(x * 1.44269504088896341)
    part = multiply_add(whole, each(-0.693359375), x)
    part = multiply_add(whole, each(2.12194440e-4), part)
    p = each(1.9875691500e-4)
    p = multiply_add(p, part, each(1.3981999507e-3))
    p = multiply_add(p, part, each(8.3334519073e-3))
    p = multiply_add(p, part, each(4.1665795894e-2))
    p = multiply_add(p, part, each(1.6666665459e-1))
    p = multiply_add(p, part, each(5.0000001201e-1))
    return multiply_add(p, part * part, part + 1.0) * power_of_two(whole)


def pointer_to(builder, kind, address, place):
    """LLVM's pointer to the element of that kind at a place, counted in elements from the address."""
    return builder.gep(builder.inttoptr(address, ir.PointerType()), [place], source_etype=kind)


def prefetch(builder, pointer):
    """Asks for what stands there, which may be nothing, to be in the nearest cache soon."""
    kinds = [pointer.type, _INT, _INT, _INT]
    function = _declare(builder, "llvm.prefetch.p0", ir.VoidType(), kinds)
    builder.call(function, [pointer, _INT(0), _INT(3), _INT(1)])  # to read, to keep, data


def splat(builder, value):
    """A number in all lanes, of its own type."""
    kind = ir.VectorType(value.type, LANES)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, _INT(0))
    return builder.shuffle_vector(one, one, ir.Constant(INTS, [0] * LANES))


def _declare(builder, name, returned, taken):
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(returned, taken), name)


def call_lanes(builder, name, kind, *values, flags=()):
    """Calls LLVM's intrinsic of that name for sixteen fp32, which returns `kind`."""
    function = _declare(builder, f"{name}.v{LANES}f32", kind, [value.type for value in values])
    return builder.call(function, values, fastmath=flags)


@register_jitable
def whole_lanes(count: int) -> int:
    """Round up to a multiple of 16."""
    return -(-count // LANES) * LANES
