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

import torch
from numba import njit
from torch import Tensor

from allyouneed.kernels import IMPOSSIBLE, LANES, Mode
from allyouneed.kernels.product import bytes_size, multiply_rows, pack, round_rows, to_bytes
from allyouneed.kernels.simd import (
    any_above,
    each,
    get,
    get_long,
    load,
    multiply_add,
    put,
    put_long,
    rounded,
    store,
    total,
    whole_lanes,
)
from allyouneed.translation.engine.decoder import (
    CHUNK,
    D_MODEL,
    END,
    OUTPUT_WEIGHT,
    SCREEN_ERRORS,
    SCREEN_FACTS,
    SCREEN_PACKED,
    WORDS,
    insert,
)

_MORE = 1.001  # on bounds, for what rounding in fp32 adds to them
ROOM = 512  # words of a row that may be looked at again; a row that would need more is left to fp32


class Words(NamedTuple):
    """weight fp32 [words, depth]; packed and facts: in bytes (see `product.py`), words filled up to 16s; errors
    fp32 [2, words]: |w - ŵ| and |ŵ| of each."""

    weight: Tensor
    packed: Tensor
    facts: Tensor
    errors: Tensor


def round_words(weight: Tensor, bias: Tensor) -> Words:
    """weight fp32 [words, depth], depth a multiple of 16; bias [words]."""
    weight = weight.detach().contiguous()
    missing = -len(weight) % LANES
    full = torch.cat([weight, weight.new_zeros(missing, weight.shape[1])])
    packed, facts, _ = pack(full, torch.cat([bias, bias.new_full((missing,), IMPOSSIBLE)]), in_bytes=True)
    whole, scale = to_bytes(full)
    near = whole * scale[:, None]
    errors = torch.stack([(full - near).norm(dim=1), near.norm(dim=1)])
    return Words(weight, packed, facts, errors)


@njit
def _lengths(hidden, depth, scale):
    """-> |h|, |h - ĥ| of hidden fp32 [depth], rounded to bytes of that scale."""
    squares = lost = each(0.0)
    for c in range(0, depth, LANES):
        h = load(hidden, c)
        error = h - rounded(h * (1 / scale)) * scale
        squares, lost = multiply_add(h, h, squares), multiply_add(error, error, lost)
    return math.sqrt(total(squares)), math.sqrt(total(lost))


@njit
def _dot(a, b, depth):
    summed = each(0.0)
    for c in range(0, depth, LANES):
        summed = multiply_add(load(a, c), load(b, c), summed)
    return total(summed)


@njit
def _look(line, begin, width, padded, errors, state, tops, count, again):
    """Logits [width] of the words from `begin` on; those that may be among the best are put down in `again`.

    state: fp32 [3]: |h|, |h - ĥ|, and how many words are put down, -1 if too many. tops [count]: the best lower bounds.
    """
    length, lost, found = get(state, 0), get(state, 1), int(get(state, 2))
    limit = get(tops, count - 1)
    for j in range(0, width, LANES):
        logits = load(line, j)
        error = load(errors, begin + j) * length + load(errors, padded + begin + j) * lost
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
                        off = get(errors, begin + i) * length + get(errors, padded + begin + i) * lost
                        if upper - 2 * off > limit:
                            _insert_value(upper - 2 * off, tops, count)
                            limit = get(tops, count - 1)
    put(state, 2, found)


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


@njit
def screen(model, rows, block, hidden, count, tops, words, ends, fits, scratch):
    """As `decoder.likeliest` without scores. fits: int64 [rows]: 0 where a row is left to that. scratch: as
    `scratch_size` says."""
    depth, padded, weight = (
        get_long(model, D_MODEL),
        whole_lanes(get_long(model, WORDS)),
        get_long(model, OUTPUT_WEIGHT),
    )
    packed, facts, errors = (
        get_long(model, SCREEN_PACKED),
        get_long(model, SCREEN_FACTS),
        get_long(model, SCREEN_ERRORS),
    )
    end, again_size, lower_size = get_long(model, END), 4 * 3 * ROOM, 4 * (count + 3)
    again = scratch
    lowers = again + block * again_size
    logits = lowers + block * lower_size
    in_bytes = round_rows(hidden, rows, depth, logits + 4 * block * CHUNK)
    for row in range(rows):
        lower = lowers + row * lower_size
        state, scale = lower + 4 * count, get(in_bytes, bytes_size(row, depth) + depth // 4)
        length, lost = _lengths(hidden + 4 * row * depth, depth, scale)
        put(state, 0, length * _MORE)
        put(state, 1, lost * _MORE)
        put(state, 2, 0.0)
        for j in range(count):
            put(lower, j, IMPOSSIBLE)
            put(tops, row * count + j, IMPOSSIBLE)
            put_long(words, row * count + j, 0)
    for begin in range(0, padded, CHUNK):
        width, panel, first_facts = min(CHUNK, padded - begin), packed + begin * depth, facts + 4 * begin
        multiply_rows(hidden, in_bytes, rows, depth, panel, first_facts, padded, width, logits, CHUNK, Mode.SET)
        for row in range(rows):
            lower, line, more = lowers + row * lower_size, logits + 4 * row * CHUNK, again + row * again_size
            _look(line, begin, width, padded, errors, lower + 4 * count, lower, count, more)
    for row in range(rows):
        lower, h, place = lowers + row * lower_size, hidden + 4 * row * depth, row * count
        found, limit, more = int(get(lower, count + 2)), get(lower, count - 1), again + row * again_size
        put_long(fits, row, min(1, found + 1))
        _decide(h, depth, weight, facts, found, limit, more, tops + 4 * place, words + 8 * place, count)
        put(ends, row, _dot(h, weight + 4 * end * depth, depth) + get(facts, end))


def scratch_size(block: int, depth: int, count: int) -> int:
    """fp32 numbers that `screen` needs."""
    return block * (3 * ROOM + count + 3 + bytes_size(1, depth) + CHUNK)
