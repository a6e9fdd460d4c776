"""A step of a search, or a whole greedy one, without a word of Python between: blocks of rows, each by one thread."""

from __future__ import annotations

from numba import njit

from allyouneed.kernels.launch import kernel
from allyouneed.kernels.simd import get, get_long, put, put_long
from allyouneed.translation.engine.decoder import D_MODEL, END, SCREEN_PACKED, advance, likeliest, width_of
from allyouneed.translation.engine.screen import screen


@njit
def _best(model, rows, block, hidden, count, scores, tops, words, ends, normalisers, fits, scratch):
    """`likeliest`, or without scores, where there is one, the look in 8 bits that gives the same words."""
    if scores or get_long(model, SCREEN_PACKED) == 0:
        likeliest(model, rows, block, hidden, count, scores, tops, words, ends, normalisers, scratch)
    else:
        screen(model, rows, block, hidden, count, tops, words, ends, fits, scratch)
        d_model = get_long(model, D_MODEL)
        for row in range(rows):
            put(normalisers, row, 0.0)
            if get_long(fits, row) == 0:
                h, t, w = hidden + 4 * row * d_model, tops + 4 * row * count, words + 8 * row * count
                likeliest(model, 1, block, h, count, scores, t, w, ends + 4 * row, normalisers + 4 * row, scratch)


@kernel
def step(
    part, block, rows, model, tokens, position, kept, seen, room, length, memory, sources, longest,  # as `advance`
    hidden,  # fp32 [rows, d_model]
    count,  # of words; 0: none are looked for
    scores, tops, words, ends, normalisers,  # as `likeliest`
    scratch,  # a part: int64 [block], and what else `Engine` counts
    scratch_size,  # bytes of a part
):  # fmt: skip
    """One position more, and the likeliest words after it."""
    begin, here = part * block, min(block, rows - part * block)
    fits = scratch + part * scratch_size
    rest = fits + 8 * block
    hidden += 4 * begin * get_long(model, D_MODEL)
    advance(
        model, here, block, tokens + 8 * begin, position, kept + 4 * begin * width_of(model), seen + 8 * begin * room,
        room, length, memory + 8 * begin, sources + 8 * begin, longest, rest, hidden,
    )  # fmt: skip
    if count:
        t, w = tops + 4 * begin * count, words + 8 * begin * count
        _best(model, here, block, hidden, count, scores, t, w, ends + 4 * begin, normalisers + 4 * begin, fits, rest)


@kernel
def greedy(
    part, block,
    rows,  # that are going on; those of a block that end give way to those after them, in what is marked by *
    model,
    tokens,  # int64 [rows]*: what was said last
    positions,  # fp32 [steps, d_model]
    kept,  # fp32 [parts, steps, block, layers, heads · (d_k + d_v)]
    seen,  # int64 [rows, room]*
    room, length,  # positions seen before
    memory,  # int64 [rows]*
    sources,  # int64 [rows]*
    longest,
    limits,  # int64 [rows]*: words that a row may say, its end not counted
    sentences,  # int64 [rows]*: which one it is
    steps,  # at most
    scores,
    going_on,  # int64 [parts]: rows left
    said,  # int64 [sentences, most]: from place `length` on
    log_p,  # fp32 [sentences, most]
    most,
    counts,  # int64 [sentences]: words said, when the end comes
    scratch,  # a part: int64 [2, block], fp32 [3, block], fp32 [block, d_model], and what else `Engine` counts
    scratch_size,
):  # fmt: skip
    """Up to `steps` positions more, of each row the likeliest word each time."""
    begin, d_model, end = part * block, get_long(model, D_MODEL), get_long(model, END)
    count = min(block, rows - begin)
    width = 4 * width_of(model)  # in bytes
    tokens, seen, memory, sources = tokens + 8 * begin, seen + 8 * begin * room, memory + 8 * begin, sources + 8 * begin
    limits, sentences, kept = limits + 8 * begin, sentences + 8 * begin, kept + part * steps * block * width
    words = scratch + part * scratch_size
    fits = words + 8 * block
    tops = fits + 8 * block
    ends = tops + 4 * block
    normalisers = ends + 4 * block
    hidden = normalisers + 4 * block
    rest = hidden + 4 * block * d_model
    taken = 0
    while taken < steps and count > 0:
        place, here = length + taken, kept + taken * block * width
        for row in range(count):
            put_long(seen, row * room + place, here + row * width)
        position = positions + 4 * taken * d_model
        advance(
            model, count, block, tokens, position, here, seen, room, place + 1, memory, sources, longest, rest, hidden
        )
        _best(model, count, block, hidden, 1, scores, tops, words, ends, normalisers, fits, rest)
        left = 0
        for row in range(count):
            sentence, token, value = get_long(sentences, row), get_long(words, row), get(tops, row)
            if place + 1 > get_long(limits, row):
                token, value = end, get(ends, row)
            put_long(said, sentence * most + place, token)
            put(log_p, sentence * most + place, value - get(normalisers, row))
            if token == end:
                put_long(counts, sentence, place + 1)
            else:
                put_long(tokens, left, token)
                put_long(memory, left, get_long(memory, row))
                put_long(sources, left, get_long(sources, row))
                put_long(limits, left, get_long(limits, row))
                put_long(sentences, left, sentence)
                if left < row:
                    for j in range(place + 1):
                        put_long(seen, left * room + j, get_long(seen, row * room + j))
                left += 1
        count, taken = left, taken + 1
    put_long(going_on, part, count)
