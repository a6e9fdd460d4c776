"""The innermost part of `matmul`: a tile of the left matrix times a panel of the right one, in registers.

A tile has ROWS rows, a panel 16 or 32 columns, and both have up to DEPTH words of 4 bytes per row or column: an fp32
value, or a pair of adjacent bf16 values. The product is summed in fp32 over the depth, in order, so that a row's result
is bitwise independent of the rows computed with it.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from allyouneed.kernels import LANES
from allyouneed.kernels.bf16 import multiply_pairs
from allyouneed.kernels.lanes import FLOAT_VECTOR, call_on_lanes, prefetch, relu, splat, vectors_on_stack
from allyouneed.kernels.records import FLOAT, Floats, pointer_to
from allyouneed.kernels.target import has_avx512

# Rows and vectors of a tile: it uses 24 of the 32 AVX-512 registers (16 lanes), or 12 of the 16 AVX2 ones (8 lanes).
ROWS, _VECTORS = (12, 2) if has_avx512() else (6, 1)
PANEL = _VECTORS * LANES  # columns of a panel
DEPTH = 512  # maximum words of a panel's column; 64 KB with 32 columns
_AHEAD = 32  # prefetch distance, in words of a row
panel_on_stack = vectors_on_stack(DEPTH * _VECTORS)


def _write_vector(builder, summed, bias, add, cut, address):
    """Emit code that writes sum + bias: added to the output if `add`, through ReLU if `cut`."""
    with builder.if_then(add):
        there = builder.load(address, typ=FLOAT_VECTOR, align=4)
        builder.store(builder.fadd(builder.load(summed), there), summed)
    value = builder.fadd(builder.load(summed), builder.load(bias))
    builder.store(builder.select(cut, relu(builder, value), value), address, align=4)


def _make_tile(vectors: int, is_bf16: bool = False):
    """Make an intrinsic that multiplies a tile [depth, ROWS] by a panel [depth, 16 · vectors].

    The arguments are pointers, and sizes in words. bias: bias of the panel's columns, or null; valid: number of rows
    to write.
    """

    @intrinsic
    def tile(typing, a, panel, depth, bias, add, cut, out, out_stride, valid):
        def code(context, builder, signature, values):
            a, panel, depth, bias, add, cut, out, out_stride, valid = values
            whole, zero = depth.type, ir.Constant(FLOAT_VECTOR, [0.0] * LANES)
            rows, columns = range(ROWS), range(vectors)

            def at(pointer, line, index):
                return pointer_to(builder, FLOAT, pointer, builder.add(line, whole(index)))

            def read(pointer, align=4):
                return builder.load(pointer, typ=FLOAT_VECTOR, align=align)

            sums = [[cgutils.alloca_once_value(builder, zero) for _ in columns] for _ in rows]
            with cgutils.for_range(builder, depth) as loop:
                line = builder.mul(loop.index, whole(LANES * vectors))
                lines = [read(at(panel, line, LANES * v), align=4 * LANES) for v in columns]
                line = builder.mul(loop.index, whole(ROWS))
                prefetch(builder, at(a, line, _AHEAD * ROWS))
                for row in rows:
                    one = splat(builder, builder.load(at(a, line, row), typ=FLOAT, align=4))
                    for summed, column in zip(sums[row], lines, strict=True):
                        before = builder.load(summed)
                        if is_bf16:
                            value = multiply_pairs(builder, one, column, before)
                        else:
                            value = call_on_lanes(builder, "llvm.fmuladd", FLOAT_VECTOR, one, column, before)
                        builder.store(value, summed)
            biases = [cgutils.alloca_once_value(builder, zero) for _ in columns]
            with builder.if_then(builder.icmp_signed("!=", bias, whole(0))):
                for v in columns:
                    builder.store(read(at(bias, whole(0), LANES * v)), biases[v])
            for row in rows:
                with builder.if_then(builder.icmp_signed("<", whole(row), valid)):
                    for v in columns:
                        address = at(out, builder.mul(out_stride, whole(row)), LANES * v)
                        _write_vector(builder, sums[row][v], biases[v], add, cut, address)
            return context.get_dummy_value()

        size, flag = types.int64, types.boolean
        return types.void(Floats, Floats, size, Floats, flag, flag, Floats, size, size), code

    return tile


wide, narrow = _make_tile(_VECTORS), _make_tile(1)
wide_bf16, narrow_bf16 = _make_tile(_VECTORS, is_bf16=True), _make_tile(1, is_bf16=True)
