"""One position of every hypothesis through the whole decoder (section 3.1), and the likeliest words after it.

A part is a block of rows, which goes through all layers while its numbers are in the cache. What a position leaves for
later ones, its keys and values, is never copied: a row has a list of the addresses of all that it has seen, and when
hypotheses change places only these lists do.
"""

from __future__ import annotations

import math

from numba import njit

from allyouneed.kernels import IMPOSSIBLE, LANES, Mode
from allyouneed.kernels.product import multiply_rows, round_rows
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
    whole_lanes,
)
from allyouneed.translation.engine.layers import after, before, embed_row, feed_forward, norm_rows, product

CHUNK = 512  # words whose logits are looked at while they are in the cache

# Places of what a decoder is, int64 each: numbers, and addresses (those of `screen.py` and of norms may be 0).
LAYERS, WEIGHTS, NORM_FIRST, LAST_NORM, LAST_NORM_BIAS, D_MODEL, D_FF, HEADS, D_K, D_V, IN_BYTES = range(11)
EMBEDDING, SCALE = 11, 12  # the scale is an fp32
WORDS, OUTPUT_PACKED, OUTPUT_FACTS, NEVER, NEVERS, END = range(13, 19)  # end: the word whose logit is wanted besides
OUTPUT_WEIGHT, SCREEN_PACKED, SCREEN_FACTS, SCREEN_ERRORS, MODEL = range(19, 24)

# Places of a layer's addresses: from 0 on those of its norms (weight, bias), then of its matrices (packed, facts), of
# which both of the feed-forward network's begin at INNER.
QUERY, KEY_VALUE, OUTPUT, CROSS_QUERY, CROSS_OUTPUT, INNER, LAYER = 6, 8, 10, 12, 14, 16, 20


@njit
def attend_row(query, seen, count, shift, heads, d_k, d_v, scale, scores, out):
    """One query over keys and values [heads · d_k | heads · d_v], `shift` bytes after each of `count` addresses."""
    for head in range(heads):
        padded = -(-count // LANES) * LANES
        store(scores, padded - LANES, each(IMPOSSIBLE))
        for j in range(count):
            key = get_long(seen, j) + shift
            summed = each(0.0)
            for c in range(head * d_k, (head + 1) * d_k, LANES):
                summed = multiply_add(load(query, c), load(key, c), summed)
            put(scores, j, total(summed) * scale)
        top = each(IMPOSSIBLE)
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


@njit
def advance(model, count, block, tokens, position, kept, seen, room, length, memory, sources, longest, scratch, x):
    """`count` rows, of at most `block`, through all layers -> x fp32 [rows, d_model]. All but numbers are addresses.

    model: as the places above say. tokens: int64 [rows]; position: fp32 [d_model]; kept: fp32 [rows, layers,
    heads · (d_k + d_v)], where this position's keys and values go; seen: int64 [rows, room], the addresses of what each
    row has seen, `length` of them, this position last; memory: int64 [rows], for each row the address of the addresses
    of what stands for its source, of which there are `sources`, int64 [rows], and at most `longest`.
    """
    layers, weights, norm_first = get_long(model, LAYERS), get_long(model, WEIGHTS), get_long(model, NORM_FIRST)
    d_model, d_ff, heads = get_long(model, D_MODEL), get_long(model, D_FF), get_long(model, HEADS)
    d_k, d_v, embedding = get_long(model, D_K), get_long(model, D_V), get_long(model, EMBEDDING)
    kv, scale = heads * (d_k + d_v), 1 / math.sqrt(d_k)
    normed = scratch
    query = normed + 4 * block * d_model
    mixed = query + 4 * block * heads * d_k
    inner = mixed + 4 * block * heads * d_v
    scores = inner + 4 * block * d_ff
    rounded = get_long(model, IN_BYTES) and scores + 4 * whole_lanes(max(length, longest))
    for row in range(count):
        line = x + 4 * row * d_model
        embed_row(get_long(tokens, row), embedding, position, d_model, get(model, 2 * SCALE), line)
    for layer in range(layers):
        w = weights + 8 * layer * LAYER
        shift = 4 * layer * kv
        a = before(norm_first, x, count, d_model, w, 0, normed)
        r = round_rows(a, count, d_model, rounded)
        product(a, r, count, d_model, w, QUERY, heads * d_k, query, heads * d_k, Mode.SET)
        product(a, r, count, d_model, w, KEY_VALUE, kv, kept + shift, layers * kv, Mode.SET)
        for row in range(count):
            q, m = query + 4 * row * heads * d_k, mixed + 4 * row * heads * d_v
            attend_row(q, seen + 8 * row * room, length, shift, heads, d_k, d_v, scale, scores, m)
        r = round_rows(mixed, count, heads * d_v, rounded)
        product(mixed, r, count, heads * d_v, w, OUTPUT, d_model, x, d_model, Mode.ADD)
        after(norm_first, x, count, d_model, w, 0)
        a = before(norm_first, x, count, d_model, w, 1, normed)
        r = round_rows(a, count, d_model, rounded)
        product(a, r, count, d_model, w, CROSS_QUERY, heads * d_k, query, heads * d_k, Mode.SET)
        for row in range(count):
            q, m = query + 4 * row * heads * d_k, mixed + 4 * row * heads * d_v
            source, width = get_long(memory, row), get_long(sources, row)
            attend_row(q, source, width, shift, heads, d_k, d_v, scale, scores, m)
        r = round_rows(mixed, count, heads * d_v, rounded)
        product(mixed, r, count, heads * d_v, w, CROSS_OUTPUT, d_model, x, d_model, Mode.ADD)
        after(norm_first, x, count, d_model, w, 1)
        feed_forward(norm_first, x, count, d_model, d_ff, w, 2, INNER, normed, inner, rounded)
    if norm_first:
        norm_rows(x, count, d_model, get_long(model, LAST_NORM), get_long(model, LAST_NORM_BIAS), x)


@njit
def width_of(model):
    """Numbers that a position leaves for later ones."""
    return get_long(model, LAYERS) * get_long(model, HEADS) * (get_long(model, D_K) + get_long(model, D_V))


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
def _look(line, begin, width, tops, words, count, scores, sums, row):
    """Takes the logits [width] of the words from `begin` on into a row's best, and, if `scores`, into its sum of
    exponentials."""
    earlier_top = get(tops, 0)
    for place in range(0, width, LANES):
        if any_above(load(line, place), get(tops, count - 1)):
            for j in range(place, place + LANES):
                if get(line, j) > get(tops, count - 1):
                    insert(get(line, j), begin + j, tops, words, count)
    if scores:
        highest, summed = get(tops, 0), each(0.0)
        for place in range(0, width, LANES):
            summed = summed + exp(load(line, place) - highest)
        earlier = get(sums, row) * largest(exp(each(earlier_top - highest)))
        put(sums, row, earlier + total(summed))


@njit
def likeliest(model, rows, block, hidden, count, scores, tops, words, ends, normalisers, scratch):
    """After hidden fp32 [rows, d_model]: the largest logits, fp32 [rows, count], and their words, int64; the logit of
    the end, fp32 [rows]; and, if `scores`, what to take from each to make it a log probability, fp32 [rows], else 0.

    scratch: fp32 [block, CHUNK], and room for the rows in bytes.
    """
    d_model, vocabulary, end = get_long(model, D_MODEL), get_long(model, WORDS), get_long(model, END)
    packed, facts, in_bytes = get_long(model, OUTPUT_PACKED), get_long(model, OUTPUT_FACTS), get_long(model, IN_BYTES)
    never, nevers, columns = get_long(model, NEVER), get_long(model, NEVERS), whole_lanes(vocabulary)
    depth = d_model // 4 if in_bytes else d_model  # of a panel
    rounded = round_rows(hidden, rows, d_model, in_bytes and scratch + 4 * block * CHUNK)
    for row in range(rows):
        put(normalisers, row, 0.0)
        for place in range(row * count, (row + 1) * count):
            put(tops, place, IMPOSSIBLE)
            put_long(words, place, 0)
    for begin in range(0, vocabulary, CHUNK):
        width = min(CHUNK, vocabulary - begin)
        padded, panel = whole_lanes(width), packed + 4 * begin * depth
        multiply_rows(
            hidden, rounded, rows, d_model, panel, facts + 4 * begin, columns, padded, scratch, CHUNK, Mode.SET
        )
        for row in range(rows):
            line = scratch + 4 * row * CHUNK
            for j in range(width, padded):
                put(line, j, IMPOSSIBLE)
            for j in range(nevers):
                if begin <= get_long(never, j) < begin + width:
                    put(line, get_long(never, j) - begin, IMPOSSIBLE)
            if begin <= end < begin + width:
                put(ends, row, get(line, end - begin))
            top, word = tops + 4 * row * count, words + 8 * row * count
            _look(line, begin, padded, top, word, count, scores, normalisers, row)
    for row in range(rows):
        if scores:
            put(normalisers, row, get(tops, row * count) + log(get(normalisers, row)))
