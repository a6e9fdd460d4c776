"""The likeliest words without all logits in fp32: a look at the whole vocabulary in 8 bits, and fp32 where it counts.

Words and hidden states are rounded to 8 bits; the processor multiplies four of those at once (AVX-512 VNNI). How far a
rounded logit can be from the exact one is bounded (Cauchy-Schwarz): |h · w - ĥ · ŵ| ≤ |h| |w - ŵ| + |h - ĥ| |ŵ|. A word
whose upper bound is below the lower bounds of `count` others is not among the best; all others are looked at again in
fp32. So the words found are exactly the best. There is no normaliser, and so no probability: of a text smoothed labels
make the far tail of ten thousand words a tenth of the sum, which 8 bits do not give to five digits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import llvmlite.binding
import torch
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from allyouneed.kernels import LANES
from allyouneed.kernels.decoder import insert
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.simd import (
    INTS,
    any_above,
    each,
    get,
    get_long,
    lanes,
    larger,
    largest,
    load,
    multiply_add,
    pointer_to,
    put,
    put_long,
    rounded,
    splat,
    store,
    total,
)

CHUNK = 512  # words looked at while their logits are in the cache
_NEVER = -1e30
_MORE = 1.001  # on bounds, for what rounding in fp32 adds to them
ROOM = 512  # words of a row that may be looked at again; a row that would need more is left to fp32
_PANEL = 2 * LANES
_INT, _BYTE = ir.IntType(32), ir.IntType(8)


def works() -> bool:
    return bool(llvmlite.binding.get_host_cpu_features().get("avx512vnni"))


class Words(NamedTuple):
    """weight fp32 [words, depth]; panels int8 [padded / 32, depth / 4, 32, 4]; of each word, fp32 [4, padded]: the
    scale of its bytes, what the offset of the states' bytes adds to its logit, |w - ŵ| and |ŵ|; bias fp32 [padded]."""

    weight: Tensor
    panels: Tensor
    facts: Tensor
    bias: Tensor


def round_words(weight: Tensor, bias: Tensor) -> Words:
    """weight fp32 [words, depth], depth a multiple of 16; bias [words]."""
    weight = weight.detach().contiguous()
    words, depth = weight.shape
    missing = -words % _PANEL
    full = torch.cat([weight, weight.new_zeros(missing, depth)])
    scale = full.abs().amax(1).clamp(min=1e-30) / 127
    whole = (full / scale[:, None]).round()
    near = whole * scale[:, None]
    facts = torch.stack([scale, 128 * whole.sum(1) * scale, (full - near).norm(dim=1), near.norm(dim=1)])
    panels = whole.to(torch.int8).view(-1, _PANEL, depth // 4, 4).transpose(1, 2).contiguous()
    return Words(weight, panels, facts.contiguous(), torch.cat([bias, bias.new_full((missing,), _NEVER)]))


def _tile(rows: int):
    """rows of bytes [rows, depth] by a panel of 32 words -> int32 sums. Addresses and strides in bytes."""

    @intrinsic
    def tile(typing, a, a_stride, panel, quarter, out, out_stride):
        def code(context, builder, signature, values):
            a, a_stride, panel, quarter, out, out_stride = values
            whole = a.type

            def place(address, *offsets):
                at = address
                for offset in offsets:
                    at = builder.add(at, offset)
                return builder.inttoptr(at, ir.PointerType())

            product = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(INTS, [INTS] * 3), "llvm.x86.avx512.vpdpbusd.512"
            )
            sums = [cgutils.alloca_once_value(builder, ir.Constant(INTS, [0] * LANES)) for _ in range(2 * rows)]
            with cgutils.for_range(builder, quarter) as loop:
                line = builder.mul(loop.index, whole(4 * _PANEL))
                columns = [builder.load(place(panel, line, whole(64 * v)), typ=INTS, align=4) for v in range(2)]
                for row in range(rows):
                    four = place(a, builder.mul(a_stride, whole(row)), builder.mul(loop.index, whole(4)))
                    one = splat(builder, builder.load(four, typ=_INT, align=4))
                    for v in range(2):
                        kept = sums[2 * row + v]
                        builder.store(builder.call(product, [builder.load(kept), one, columns[v]]), kept)
            for row in range(rows):
                for v in range(2):
                    to = place(out, builder.mul(out_stride, whole(row)), whole(64 * v))
                    builder.store(builder.load(sums[2 * row + v]), to, align=4)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), code

    return tile


_eight, _four, _one = _tile(8), _tile(4), _tile(1)


@intrinsic
def _load_whole(typing, address, place):
    """Sixteen int32 as fp32."""

    def code(context, builder, signature, values):
        found = builder.load(pointer_to(builder, _INT, *values), typ=INTS, align=4)
        return builder.sitofp(found, ir.VectorType(ir.FloatType(), LANES))

    return lanes(types.int64, types.int64), code


@intrinsic
def _put_bytes(typing, address, place, value):
    """Sixteen numbers from 0 to 255, one byte each."""

    def code(context, builder, signature, values):
        found = builder.fptoui(values[2], ir.VectorType(_BYTE, LANES))
        builder.store(found, pointer_to(builder, _BYTE, *values[:2]), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, lanes), code


@njit
def _round_row(hidden, depth, out):
    """hidden fp32 [depth] -> bytes h / scale + 128. -> scale, |h|, |h - ĥ|."""
    top, squares = each(0.0), each(0.0)
    for c in range(0, depth, LANES):
        h = load(hidden, c)
        top, squares = larger(top, larger(h, each(0.0) - h)), multiply_add(h, h, squares)
    scale = max(largest(top), 1e-30) / 127
    lost = each(0.0)
    for c in range(0, depth, LANES):
        whole = rounded(load(hidden, c) * (1 / scale))
        error = load(hidden, c) - whole * scale
        lost = multiply_add(error, error, lost)
        _put_bytes(out, c, whole + 128.0)
    return scale, math.sqrt(total(squares)), math.sqrt(total(lost))


@njit
def _sums(bytes_, rows, depth, panels, width, out):
    """bytes [rows, depth] by `width` words of panels -> int32 [rows, CHUNK]."""
    for place in range(0, width, _PANEL):
        panel, to = panels + place * depth, out + 4 * place
        row = 0
        while row + 8 <= rows:
            _eight(bytes_ + row * depth, depth, panel, depth // 4, to + 4 * row * CHUNK, 4 * CHUNK)
            row += 8
        while row + 4 <= rows:
            _four(bytes_ + row * depth, depth, panel, depth // 4, to + 4 * row * CHUNK, 4 * CHUNK)
            row += 4
        while row < rows:
            _one(bytes_ + row * depth, depth, panel, depth // 4, to + 4 * row * CHUNK, 4 * CHUNK)
            row += 1


@njit
def _dot(a, b, depth):
    summed = each(0.0)
    for c in range(0, depth, LANES):
        summed = multiply_add(load(a, c), load(b, c), summed)
    return total(summed)


@njit
def _look(line, begin, width, padded, facts, bias, state, tops, count, again):
    """Sums [width] of the words from `begin` on; those that may be among the best are put down in `again`.

    state: fp32 [4]: the scale of the row's bytes, |h|, |h - ĥ|, and how many words are put down, -1 if too many.
    tops [count]: the best lower bounds.
    """
    scale, length, lost, found = get(state, 0), get(state, 1), get(state, 2), int(get(state, 3))
    limit = get(tops, count - 1)
    for j in range(0, width, LANES):
        w = begin + j
        logits = (_load_whole(line, j) * load(facts, w) - load(facts, padded + w)) * scale + load(bias, w)
        error = load(facts, 2 * padded + w) * length + load(facts, 3 * padded + w) * lost
        if found >= 0 and any_above(logits + error, limit):
            store(line, j, logits + error)
            for i in range(j, j + LANES):
                upper = get(line, i)
                if upper > limit and found >= 0:
                    if found == ROOM:
                        found = -1
                    else:
                        put_long(again, found, begin + i)
                        put(again, 2 * ROOM + found, upper)
                        found += 1
                        off = get(facts, 2 * padded + begin + i) * length + get(facts, 3 * padded + begin + i) * lost
                        if upper - 2 * off > limit:
                            _insert_value(upper - 2 * off, tops, count)
                            limit = get(tops, count - 1)
    put(state, 3, found)


@njit
def _insert_value(value, tops, count):
    place = count - 1
    while place > 0 and value > get(tops, place - 1):
        put(tops, place, get(tops, place - 1))
        place -= 1
    put(tops, place, value)


@njit
def _decide(hidden, depth, weight, bias, found, limit, again, tops, words, count):
    """The words put down, in fp32."""
    for j in range(found):
        if get(again, 2 * ROOM + j) >= limit:
            word = get_long(again, j)
            logit = _dot(hidden, weight + 4 * word * depth, depth) + get(bias, word)
            if logit > get(tops, count - 1):
                insert(logit, word, tops, words, count)


@kernel
def choose(
    part,
    block,
    rows,
    hidden,  # fp32 [rows, depth]
    depth,
    weight,  # as in `Words`
    panels,
    facts,
    bias,
    padded,
    end,  # the word whose logit is wanted besides
    count,
    tops,  # fp32 [rows, count]: the largest logits
    words,  # int64 [rows, count]
    ends,  # fp32 [rows]
    fits,  # int64 [rows]: 1, or 0 where the row is left to fp32
    scratch,  # as `scratch_size` says
):
    begin = part * block
    here = min(block, rows - begin)
    again_size, lower_size = 4 * 3 * ROOM, 4 * (count + 4)
    again = scratch + part * block * (again_size + lower_size + depth + 4 * CHUNK)
    lowers = again + block * again_size
    bytes_ = lowers + block * lower_size
    sums = bytes_ + block * depth
    for row in range(here):
        lower = lowers + row * lower_size
        state = lower + 4 * count
        scale, length, lost = _round_row(hidden + 4 * (begin + row) * depth, depth, bytes_ + row * depth)
        put(state, 0, scale)
        put(state, 1, length * _MORE)
        put(state, 2, lost * _MORE)
        put(state, 3, 0.0)
        for j in range(count):
            put(lower, j, _NEVER)
            put(tops, (begin + row) * count + j, _NEVER)
            put_long(words, (begin + row) * count + j, 0)
    for from_word in range(0, padded, CHUNK):
        width = min(CHUNK, padded - from_word)
        _sums(bytes_, here, depth, panels + from_word * depth, width, sums)
        for row in range(here):
            lower, line, more = lowers + row * lower_size, sums + 4 * row * CHUNK, again + row * again_size
            _look(line, from_word, width, padded, facts, bias, lower + 4 * count, lower, count, more)
    for row in range(here):
        lower, h, place = lowers + row * lower_size, hidden + 4 * (begin + row) * depth, (begin + row) * count
        found, limit, more = int(get(lower, count + 3)), get(lower, count - 1), again + row * again_size
        put_long(fits, begin + row, min(1, found + 1))
        _decide(h, depth, weight, bias, found, limit, more, tops + 4 * place, words + 8 * place, count)
        put(ends, begin + row, _dot(h, weight + 4 * end * depth, depth) + get(bias, end))


def scratch_size(block: int, depth: int, count: int) -> int:
    """fp32 numbers that a part needs."""
    return block * (3 * ROOM + count + 4 + depth // 4 + CHUNK)
