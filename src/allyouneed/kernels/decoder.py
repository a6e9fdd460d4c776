"""One position of every hypothesis through the whole decoder (section 3.1), and the likeliest words after it.

A part is a block of rows, which goes through all layers while its numbers are in the cache. What a position leaves for
later ones, its keys and values, is never copied: a row has a list of the addresses of all that it has seen, and when
hypotheses change places only these lists do.
"""

from __future__ import annotations

import math

from numba import njit

from allyouneed.kernels import LANES
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.layers import after, before, embed_row, feed_forward, norm_rows, product, whole_lanes
from allyouneed.kernels.product import ADD, SET, multiply_rows, round_rows
from allyouneed.kernels.simd import (
    any_above,
    each,
    exp,
    first,
    get,
    get_long,
    larger,
    largest,
    load,
    log,
    multiply_add,
    put,
    put_long,
    store,
    total,
)

_NEVER = -1e30
CHUNK = 512  # words whose logits are looked at while they are in the cache

# Places of a layer's addresses: of norms (weight, bias), and of matrices (packed, facts).
NORMS, QUERY, KEY_VALUE, OUTPUT, CROSS_QUERY, CROSS_OUTPUT, INNER, OUTER, LAYER = 0, 6, 8, 10, 12, 14, 16, 18, 20


@njit
def attend_row(query, seen, count, shift, heads, d_k, d_v, scale, scores, out):
    """One query over keys and values [heads · d_k | heads · d_v], `shift` bytes after each of `count` addresses."""
    for head in range(heads):
        padded = -(-count // LANES) * LANES
        store(scores, padded - LANES, each(_NEVER))
        for j in range(count):
            key = get_long(seen, j) + shift
            summed = each(0.0)
            for c in range(head * d_k, (head + 1) * d_k, LANES):
                summed = multiply_add(load(query, c), load(key, c), summed)
            put(scores, j, total(summed) * scale)
        top = each(_NEVER)
        for j in range(0, padded, LANES):
            top = larger(top, load(scores, j))
        highest, summed = largest(top), each(0.0)
        for j in range(0, padded, LANES):
            weights = first(count - j, exp(load(scores, j) - highest), each(0.0))
            store(scores, j, weights)
            summed = summed + weights
        share = 1 / total(summed)
        for c in range(head * d_v, (head + 1) * d_v, LANES):
            mixture = each(0.0)
            for j in range(count):
                value = load(get_long(seen, j) + shift, heads * d_k + c)
                mixture = multiply_add(each(get(scores, j)), value, mixture)
            store(out, c, mixture * share)


@kernel
def step(
    part,
    block,
    rows,
    tokens,  # int64 [rows]
    embedding,  # fp32 [vocabulary, d_model]
    position,  # fp32 [d_model]
    layers,
    weights,  # int64 [layers, LAYER]: addresses
    last_norm,  # int64 [2]: addresses, where norm_first
    norm_first,
    d_model,
    d_ff,
    heads,
    d_k,
    d_v,
    kept,  # fp32 [rows, layers, heads · (d_k + d_v)]: where this position's keys and values go
    seen,  # int64 [rows, room]: addresses of what each row has seen, this position last
    room,
    length,  # positions seen, this one included
    memory,  # int64 [rows]: the address, for each row, of the addresses of what stands for its source
    sources,  # int64 [rows]: lengths of sources
    longest,
    in_bytes,  # whether matrices are
    scratch,
    scratch_size,  # bytes of a part
    out,  # fp32 [rows, d_model]
    embedding_scale: float,
):
    begin = part * block
    count = min(block, rows - begin)
    kv = heads * (d_k + d_v)
    scale = 1 / math.sqrt(d_k)
    x = out + 4 * begin * d_model
    normed = scratch + part * scratch_size
    query = normed + 4 * block * d_model
    mixed = query + 4 * block * heads * d_k
    inner = mixed + 4 * block * heads * d_v
    scores = inner + 4 * block * d_ff
    rounded = in_bytes and scores + 4 * whole_lanes(max(length, longest))
    for row in range(count):
        token, line = get_long(tokens, begin + row), x + 4 * row * d_model
        embed_row(token, embedding, position, d_model, embedding_scale, line)
    for layer in range(layers):
        w = weights + 8 * layer * LAYER
        shift = 4 * layer * kv
        a = before(norm_first, x, count, d_model, w, 0, normed)
        r = round_rows(a, count, d_model, rounded)
        product(a, r, count, d_model, w, QUERY, heads * d_k, query, heads * d_k, SET)
        product(a, r, count, d_model, w, KEY_VALUE, kv, kept + 4 * begin * layers * kv + shift, layers * kv, SET)
        for row in range(count):
            q, m = query + 4 * row * heads * d_k, mixed + 4 * row * heads * d_v
            attend_row(q, seen + 8 * (begin + row) * room, length, shift, heads, d_k, d_v, scale, scores, m)
        r = round_rows(mixed, count, heads * d_v, rounded)
        product(mixed, r, count, heads * d_v, w, OUTPUT, d_model, x, d_model, ADD)
        after(norm_first, x, count, d_model, w, 0)
        a = before(norm_first, x, count, d_model, w, 1, normed)
        r = round_rows(a, count, d_model, rounded)
        product(a, r, count, d_model, w, CROSS_QUERY, heads * d_k, query, heads * d_k, SET)
        for row in range(count):
            q, m = query + 4 * row * heads * d_k, mixed + 4 * row * heads * d_v
            source, width = get_long(memory, begin + row), get_long(sources, begin + row)
            attend_row(q, source, width, shift, heads, d_k, d_v, scale, scores, m)
        r = round_rows(mixed, count, heads * d_v, rounded)
        product(mixed, r, count, heads * d_v, w, CROSS_OUTPUT, d_model, x, d_model, ADD)
        after(norm_first, x, count, d_model, w, 1)
        feed_forward(norm_first, x, count, d_model, d_ff, w, 2, INNER, normed, inner, rounded)
    if norm_first:
        norm_rows(x, count, d_model, get_long(last_norm, 0), get_long(last_norm, 1), x)


@njit
def insert(value, word, tops, words, count):
    """Into a list sorted from the largest; of equals the first stays first."""
    place = count - 1
    while place > 0 and value > get(tops, place - 1):
        put(tops, place, get(tops, place - 1))
        put_long(words, place, get_long(words, place - 1))
        place -= 1
    put(tops, place, value)
    put_long(words, place, word)


@njit
def _look(line, begin, width, tops, words, count, sums, row):
    """Takes the logits [width] of the words from `begin` on into a row's best, and into its sum of exponentials."""
    before = get(tops, 0)
    for place in range(0, width, LANES):
        if any_above(load(line, place), get(tops, count - 1)):
            for j in range(place, place + LANES):
                if get(line, j) > get(tops, count - 1):
                    insert(get(line, j), begin + j, tops, words, count)
    highest = get(tops, 0)
    summed = each(0.0)
    for place in range(0, width, LANES):
        summed = summed + exp(load(line, place) - highest)
    earlier = get(sums, row) * largest(exp(each(before - highest)))
    put(sums, row, earlier + total(summed))


@kernel
def choose(
    part,
    block,
    rows,
    hidden,  # fp32 [rows, d_model]
    d_model,
    packed,
    facts,
    vocabulary,
    never,  # int64 [nevers]: words that are not said
    nevers,
    end,  # the word whose logit is wanted besides
    count,
    tops,  # fp32 [rows, count]: the largest logits
    words,  # int64 [rows, count]
    ends,  # fp32 [rows]
    normalisers,  # fp32 [rows]
    in_bytes,  # whether the matrix is
    scratch,
    scratch_size,  # bytes of a part
):
    begin_row = part * block
    here = min(block, rows - begin_row)
    logits = scratch + part * scratch_size
    x, columns = hidden + 4 * begin_row * d_model, whole_lanes(vocabulary)
    rounded = round_rows(x, here, d_model, in_bytes and logits + 4 * block * CHUNK)
    depth = d_model // 4 if in_bytes else d_model  # of a panel
    for row in range(here):
        put(normalisers, begin_row + row, 0.0)
        for place in range(count):
            put(tops, (begin_row + row) * count + place, _NEVER)
            put_long(words, (begin_row + row) * count + place, 0)
    for begin in range(0, vocabulary, CHUNK):
        width = min(CHUNK, vocabulary - begin)
        padded, panel = whole_lanes(width), packed + 4 * begin * depth
        multiply_rows(x, rounded, here, d_model, panel, facts + 4 * begin, columns, padded, logits, CHUNK, SET)
        for row in range(here):
            line, place = logits + 4 * row * CHUNK, (begin_row + row) * count
            for j in range(width, padded):
                put(line, j, _NEVER)
            for j in range(nevers):
                if begin <= get_long(never, j) < begin + width:
                    put(line, get_long(never, j) - begin, _NEVER)
            if begin <= end < begin + width:
                put(ends, begin_row + row, get(line, end - begin))
            _look(line, begin, padded, tops + 4 * place, words + 8 * place, count, normalisers, begin_row + row)
    for row in range(here):
        highest = get(tops, (begin_row + row) * count)
        put(normalisers, begin_row + row, highest + log(get(normalisers, begin_row + row)))
