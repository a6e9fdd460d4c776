"""Vectors of sixteen fp32 values as a type of Numba, and the code that their operations emit.

A vector is one register of AVX-512, two of AVX2, four of NEON. Numba's loops over arrays check at run time whether the
arrays overlap, which costs more than the work itself when rows have 16 or 32 elements, as in attention. Kernels
therefore use these vectors and the raw pointers of `records.py`: `simd_memory.py` loads and stores them, `simd.py`
computes with them, and `bf16.py` with pairs of bf16 values in their lanes.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_jitable, register_model

from allyouneed.kernels import LANES
from allyouneed.kernels.records import FLOAT, INT, LONG, Floats


class Lanes(types.Type):
    """Numba type of sixteen fp32 values."""

    def __init__(self):
        super().__init__("Lanes")


lanes = Lanes()
FLOAT_VECTOR, INT_VECTOR = ir.VectorType(FLOAT, LANES), ir.VectorType(INT, LANES)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, front_end_type):
        super().__init__(manager, front_end_type, FLOAT_VECTOR)


def prefetch(builder, pointer, locality=3, is_write=False):
    """Emit a prefetch into the L1 cache, with `locality` 2 into the L2 cache; the address need not be valid."""
    kinds = [pointer.type, INT, INT, INT]
    function = declare(builder, "llvm.prefetch.p0", ir.VoidType(), kinds)
    builder.call(function, [pointer, INT(int(is_write)), INT(locality), INT(1)])  # the data cache


def splat(builder, value):
    """Emit a vector with a number, of any type, in all lanes."""
    kind = ir.VectorType(value.type, LANES)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, INT(0))
    return builder.shuffle_vector(one, one, ir.Constant(INT_VECTOR, [0] * LANES))


def all_lanes(value):
    """Return a vector with an integer constant in all lanes."""
    return ir.Constant(INT_VECTOR, [value] * LANES)


def vectors_on_stack(count: int):
    """Make an intrinsic that allocates vectors on the stack, at whole cache lines."""

    @intrinsic
    def allocate(typing):
        def code(context, builder, signature, values):
            with builder.goto_entry_block():
                vectors = builder.alloca(ir.ArrayType(FLOAT_VECTOR, count))
                vectors.align = 4 * LANES
            return builder.ptrtoint(vectors, LONG)

        return Floats(), code

    return allocate


def declare(builder, name, returned, taken):
    """Return the function `name` of the module that is built, or declare it with these types."""
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(returned, taken), name)


def call_on_lanes(builder, name, kind, *values, flags=()):
    """Emit a call of LLVM's intrinsic `name` for sixteen fp32 values, which returns `kind`."""
    function = declare(builder, f"{name}.v{LANES}f32", kind, [value.type for value in values])
    return builder.call(function, values, fastmath=flags)


def relu(builder, value):
    """Emit the larger of a vector and 0, lane by lane; NaN stays NaN, so that it reaches the loss."""
    zero = ir.Constant(FLOAT_VECTOR, [0.0] * LANES)
    return builder.select(builder.fcmp_ordered(">", zero, value), zero, value)


@register_jitable
def pad_to_lanes(count: int) -> int:
    """Round up to a multiple of 16."""
    return -(-count // LANES) * LANES
