"""Rows times a matrix that is always the same: weights laid out once, so that each product reads them front to back.

A tile of the result, so many rows by one or two times 16 columns, stays in registers while it is summed over the depth,
one position after another: what a row gives does not depend on which rows stand beside it, bit by bit.

In 8 bits one position is four: each column of weights is rounded to bytes by a scale of its own, and so is each row
when it comes. The processor multiplies four bytes by four and sums them (AVX-512 VNNI), exactly; it takes bytes without
a sign on one side, so rows have 128 added, which the sums begin without.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable
from torch import Tensor
from torch.nn.functional import pad

from allyouneed.kernels import LANES, Mode
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.simd import (
    FLOAT,
    FLOATS,
    INTS,
    call_lanes,
    each,
    larger,
    largest,
    load,
    pointer_to,
    put,
    put_bytes,
    rounded,
    splat,
)
from allyouneed.kernels.target import has_avx512, has_vnni

# Rows and vectors of a tile: 16 of 32 registers of 16 lanes, or 12 of 16 of 8 lanes.
_TALL, _VECTORS = (8, 2) if has_avx512() else (6, 1)
PANEL = _VECTORS * LANES  # columns that stand together
_ROWS = 96  # a part


class Matrix(NamedTuple):
    """columns: their number, filled up to 16s. packed: panels of 32-bit words [depth, PANEL], of one number or of four
    bytes. facts: of each column the bias, and of bytes also their scale, and what their sums begin with (int32)."""

    packed: Tensor
    facts: Tensor
    columns: int


def pack(weight: Tensor, bias: Tensor, in_bytes: bool = False) -> Matrix:
    """weight [n, depth], depth a multiple of 16; bias [n]."""
    bias, missing = bias.detach(), (0, -len(weight) % LANES)
    if not in_bytes:
        return Matrix(panels(weight), pad(bias, missing), len(weight) + missing[1])
    whole, scale = to_bytes(weight.detach())
    begin = (-128 * whole.sum(1, dtype=torch.int32)).view(torch.float32)
    facts = torch.cat([pad(fact, missing) for fact in (bias, scale, begin)])
    return Matrix(panels(whole.view(torch.int32)), facts, len(weight) + missing[1])


def to_bytes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """[n, depth] -> whole numbers from -127 to 127 as int8, and the scale of each row, which makes weights of them."""
    scale = weight.abs().amax(1).clamp(min=1e-30) / 127
    return (weight / scale[:, None]).round().to(torch.int8), scale


def panels(words: Tensor) -> Tensor:
    """[n, depth] -> panels [n / PANEL, depth, PANEL], at the end perhaps one of 16 columns; n is filled up to 16s."""
    n, depth = words.shape
    words = words.detach()
    if n % LANES:
        words = torch.cat([words, words.new_zeros(-n % LANES, depth)])
    whole = len(words) // PANEL * PANEL
    standing = words[:whole].view(-1, PANEL, depth).transpose(1, 2)
    return torch.cat([standing.reshape(-1), words[whole:].t().reshape(-1)])


def multiply_packed(a: Tensor, matrix: Matrix, mode: Mode = Mode.SET, onto: Tensor | None = None) -> Tensor:
    """a [rows, depth] times a matrix [depth, n], plus its bias -> [rows, n]; ADD: onto another."""
    (rows, depth), (packed, facts, n) = a.shape, matrix
    out = torch.empty(rows, n) if onto is None else onto
    parts, in_bytes = -(-rows // _ROWS), packed.dtype == torch.int32
    scratch = torch.empty(parts, bytes_size(_ROWS, depth)) if in_bytes else 0
    _multiply(parts, a, rows, packed, facts, n, depth, out, mode, scratch)
    return out


@kernel
def _multiply(part, a, rows, packed, facts, n, depth, out, mode, scratch):
    begin = part * _ROWS
    here, a, out = min(_ROWS, rows - begin), a + 4 * begin * depth, out + 4 * begin * n
    in_bytes = round_rows(a, here, depth, scratch and scratch + 4 * part * bytes_size(_ROWS, depth))
    multiply_rows(a, in_bytes, here, depth, packed, facts, n, n, out, n, mode)


@register_jitable
def bytes_size(rows: int, depth: int) -> int:
    """32-bit words that rows take in bytes, each with its scale after it."""
    return rows * (depth // 4 + 1)


@njit
def round_row(a, depth, out):
    """a fp32 [depth] -> out: bytes a / scale + 128, and the scale."""
    top = each(0.0)
    for c in range(0, depth, LANES):
        top = larger(top, larger(load(a, c), each(0.0) - load(a, c)))
    scale = max(largest(top), 1e-30) / 127
    for c in range(0, depth, LANES):
        put_bytes(out, c, rounded(load(a, c) * (1 / scale)) + 128.0)
    put(out, depth // 4, scale)


@njit
def round_rows(a, rows, depth, out):
    """[rows, depth] in bytes -> out; nothing where `out` is 0, since the matrices are not in bytes."""
    if out:
        for row in range(rows):
            round_row(a + 4 * row * depth, depth, out + 4 * bytes_size(row, depth))
    return out


def _sum_of_four(builder, vnni, summed, four, columns):
    """summed + in each lane the products of four bytes without a sign (all lanes the same four) with four with one."""
    if vnni:
        name, kind = "llvm.x86.avx512.vpdpbusd.512", ir.FunctionType(INTS, [INTS] * 3)
        product = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(product, [summed, splat(builder, four), columns])
    for byte in range(4):
        one = builder.and_(builder.lshr(four, four.type(8 * byte)), four.type(255))
        shifts = (ir.Constant(INTS, [bits] * LANES) for bits in (24 - 8 * byte, 24))
        column = builder.ashr(builder.shl(columns, next(shifts)), next(shifts))
        summed = builder.add(summed, builder.mul(splat(builder, one), column))
    return summed


def make_tile(rows: int, vectors: int, in_bytes: bool, vnni: bool = has_vnni()):
    """Code for `rows` rows of `a` by 16 · vectors columns of a panel. Addresses in bytes, all else in 32-bit words.

    facts: of the panel's first column; n: of one kind of facts to the next.
    """

    @intrinsic
    def tile(typing, a, a_stride, panel, depth, facts, n, out, out_stride, mode):
        def code(context, builder, signature, values):
            a, a_stride, panel, depth, facts, n, out, out_stride, mode = values
            whole, zero = a.type, ir.Constant(FLOATS, [0.0] * LANES)
            element, kind = (INTS.element, INTS) if in_bytes else (FLOAT, FLOATS)
            places = [(row, vector) for row in range(rows) for vector in range(vectors)]

            def lanes_at(address, stride, line, vector):
                place = builder.add(builder.mul(stride, line), whole(LANES * vector))
                return pointer_to(builder, FLOAT, address, place)

            def load(pointer, kind=FLOATS):
                return builder.load(pointer, typ=kind, align=4)

            def one_at(row, place, kind):
                place = builder.add(builder.mul(a_stride, whole(row)), place)
                return load(pointer_to(builder, FLOAT, a, place), kind)

            def facts_at(which, kind=FLOATS):
                return [load(lanes_at(facts, n, whole(which), v), kind) for v in range(vectors)]

            first = facts_at(2, INTS) if in_bytes else facts_at(0)
            sums = [cgutils.alloca_once_value(builder, first[v]) for _, v in places]
            with cgutils.for_range(builder, depth) as loop:
                columns = [load(lanes_at(panel, whole(LANES * vectors), loop.index, v), kind) for v in range(vectors)]
                for row in range(rows):
                    one = one_at(row, loop.index, element)
                    for summed, column in zip(sums[row * vectors : (row + 1) * vectors], columns, strict=True):
                        before = builder.load(summed)
                        if in_bytes:
                            value = _sum_of_four(builder, vnni, before, one, column)
                        else:
                            value = call_lanes(builder, "llvm.fmuladd", FLOATS, splat(builder, one), column, before)
                        builder.store(value, summed)
            values = [builder.load(summed) for summed in sums]
            if in_bytes:
                bias, scales = facts_at(0), facts_at(1)
                of_rows = [splat(builder, one_at(row, depth, FLOAT)) for row in range(rows)]
                values = [
                    call_lanes(
                        builder,
                        "llvm.fmuladd",
                        FLOATS,
                        builder.sitofp(value, FLOATS),
                        builder.fmul(of_rows[row], scales[v]),
                        bias[v],
                    )
                    for value, (row, v) in zip(values, places, strict=True)
                ]
            for value, (row, v) in zip(values, places, strict=True):
                place = lanes_at(out, out_stride, whole(row), v)
                positive = builder.select(builder.fcmp_ordered(">", value, zero), value, zero)
                value = builder.select(builder.icmp_signed("==", mode, whole(Mode.RELU.value)), positive, value)
                with builder.if_then(builder.icmp_signed("==", mode, whole(Mode.ADD.value))):
                    builder.store(builder.fadd(value, load(place)), place, align=4)
                with builder.if_then(builder.icmp_signed("!=", mode, whole(Mode.ADD.value))):
                    builder.store(value, place, align=4)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9), code

    return tile


def _columns(vectors: int, in_bytes: bool):
    """All rows by a panel: tiles as tall as possible, then smaller ones."""
    tall, four, one = (make_tile(rows, vectors, in_bytes) for rows in (_TALL, 4, 1))

    @njit
    def columns(a, a_stride, rows, panel, depth, facts, n, out, out_stride, mode):
        row = 0
        while row + _TALL <= rows:
            tall(a + 4 * row * a_stride, a_stride, panel, depth, facts, n, out + 4 * row * out_stride, out_stride, mode)
            row += _TALL
        while row + 4 <= rows:
            four(a + 4 * row * a_stride, a_stride, panel, depth, facts, n, out + 4 * row * out_stride, out_stride, mode)
            row += 4
        while row < rows:
            one(a + 4 * row * a_stride, a_stride, panel, depth, facts, n, out + 4 * row * out_stride, out_stride, mode)
            row += 1

    return columns


def _rows_by(in_bytes: bool):
    whole_panel, last_panel = _columns(_VECTORS, in_bytes), _columns(1, in_bytes)

    @njit
    def multiply(a, a_stride, rows, packed, depth, facts, n, width, out, out_stride, mode):
        """The first `width` columns of a matrix from here on; all else as a tile has it."""
        whole = width // PANEL * PANEL
        for place in range(0, whole, PANEL):
            panel = packed + 4 * place * depth
            whole_panel(a, a_stride, rows, panel, depth, facts + 4 * place, n, out + 4 * place, out_stride, mode)
        if whole < width:
            panel = packed + 4 * whole * depth
            last_panel(a, a_stride, rows, panel, depth, facts + 4 * whole, n, out + 4 * whole, out_stride, mode)

    return multiply


multiply_floats, _multiply_bytes = _rows_by(False), _rows_by(True)


@njit
def multiply_rows(a, rounded_rows, rows, depth, packed, facts, n, width, out, out_stride, mode):
    """a [rows, depth] by the first `width` columns of a matrix from here on, of n -> out [rows, width]: addresses.

    rounded_rows: of the same rows, as `round_rows` made them, if the matrix is in bytes; else 0. Strides in elements.
    """
    if rounded_rows:
        _multiply_bytes(rounded_rows, depth // 4 + 1, rows, packed, depth // 4, facts, n, width, out, out_stride, mode)
    else:
        multiply_floats(a, depth, rows, packed, depth, facts, n, width, out, out_stride, mode)
