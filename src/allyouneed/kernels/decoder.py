"""One position of every hypothesis through the whole decoder (section 3.1), and the likeliest words after it.

A part is a block of rows, which goes through all layers while its numbers are in the cache. What a position leaves for
later ones, its keys and values, is never copied: a row has a list of the addresses of all that it has seen, and when
hypotheses change places only these lists do.
"""

from __future__ import annotations

import math

import torch
from numba import njit
from torch import Tensor

from allyouneed.kernels import LANES
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.product import ADD, RELU, SET, multiply_rows
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
_ROWS = 64  # a part of a normalisation alone
CHUNK = 512  # words whose logits are looked at while they are in the cache

# Places of a layer's addresses: of norms (weight, bias), and of matrices (packed, bias).
NORMS, QUERY, KEY_VALUE, OUTPUT, CROSS_QUERY, CROSS_OUTPUT, INNER, OUTER, LAYER = 0, 6, 8, 10, 12, 14, 16, 18, 20


@njit
def norm_rows(x, rows, width, weight, bias, out):
    """Layer normalisation of rows [rows, width], as PyTorch's: biased variance, ε = 10⁻⁵ inside the root."""
    for row in range(rows):
        line, to = x + 4 * row * width, out + 4 * row * width
        summed = each(0.0)
        for c in range(0, width, LANES):
            summed = summed + load(line, c)
        mean = total(summed) / width
        squares = each(0.0)
        for c in range(0, width, LANES):
            centred = load(line, c) - mean
            squares = multiply_add(centred, centred, squares)
        scale = 1 / math.sqrt(total(squares) / width + 1e-5)
        for c in range(0, width, LANES):
            store(to, c, multiply_add((load(line, c) - mean) * scale, load(weight, c), load(bias, c)))


def normalise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [rows, width] -> the same, normed."""
    out = torch.empty_like(x)
    _normalise(-(-len(x) // _ROWS), x, len(x), x.shape[1], weight, bias, out)
    return out


@kernel
def _normalise(part, x, rows, width, weight, bias, out):
    begin = part * _ROWS
    norm_rows(x + 4 * begin * width, min(_ROWS, rows - begin), width, weight, bias, out + 4 * begin * width)


def embed(tokens: Tensor, embedding: Tensor, places: Tensor, positions: Tensor, scale: float) -> Tensor:
    """tokens [rows] at their places -> embedding · scale + position [rows, d_model] (sections 3.4 and 3.5)."""
    out = torch.empty(len(tokens), embedding.shape[1])
    parts = -(-len(tokens) // _ROWS)
    _embed(parts, tokens, embedding, places, positions, len(tokens), embedding.shape[1], out, scale)
    return out


@kernel
def _embed(part, tokens, embedding, places, positions, rows, d_model, out, scale: float):
    for row in range(part * _ROWS, min(rows, (part + 1) * _ROWS)):
        position = positions + 4 * get_long(places, row) * d_model
        embed_row(get_long(tokens, row), embedding, position, d_model, scale, out + 4 * row * d_model)


@njit
def embed_row(token, embedding, position, d_model, scale, out):
    line = embedding + 4 * token * d_model
    for c in range(0, d_model, LANES):
        store(out, c, multiply_add(load(line, c), each(scale), load(position, c)))


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


@njit
def _product(a, depth, rows, weights, place, n, out, stride, mode):
    multiply_rows(a, depth, rows, get_long(weights, place), get_long(weights, place + 1), n, depth, out, stride, mode)


@njit
def _before(norm_first, x, rows, d_model, weights, number, normed):
    """What a sub-layer works on: x, or x normed."""
    if not norm_first:
        return x
    norm_rows(x, rows, d_model, get_long(weights, 2 * number), get_long(weights, 2 * number + 1), normed)
    return normed


@njit
def _after(norm_first, x, rows, d_model, weights, number):
    if not norm_first:
        norm_rows(x, rows, d_model, get_long(weights, 2 * number), get_long(weights, 2 * number + 1), x)


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
    scratch,
    out,  # fp32 [rows, d_model]
    embedding_scale: float,
):
    begin = part * block
    count = min(block, rows - begin)
    kv = heads * (d_k + d_v)
    scale = 1 / math.sqrt(d_k)
    scores_room = -(-max(length, longest) // LANES) * LANES
    x = out + 4 * begin * d_model
    normed = scratch + 4 * part * (block * (d_model + heads * (d_k + d_v) + d_ff) + scores_room)
    query = normed + 4 * block * d_model
    mixed = query + 4 * block * heads * d_k
    inner = mixed + 4 * block * heads * d_v
    scores = inner + 4 * block * d_ff
    for row in range(count):
        token, line = get_long(tokens, begin + row), x + 4 * row * d_model
        embed_row(token, embedding, position, d_model, embedding_scale, line)
    for layer in range(layers):
        w = weights + 8 * layer * LAYER
        shift = 4 * layer * kv
        a = _before(norm_first, x, count, d_model, w, 0, normed)
        _product(a, d_model, count, w, QUERY, heads * d_k, query, heads * d_k, SET)
        _product(a, d_model, count, w, KEY_VALUE, kv, kept + 4 * begin * layers * kv + shift, layers * kv, SET)
        for row in range(count):
            q, m = query + 4 * row * heads * d_k, mixed + 4 * row * heads * d_v
            attend_row(q, seen + 8 * (begin + row) * room, length, shift, heads, d_k, d_v, scale, scores, m)
        _product(mixed, heads * d_v, count, w, OUTPUT, d_model, x, d_model, ADD)
        _after(norm_first, x, count, d_model, w, 0)
        a = _before(norm_first, x, count, d_model, w, 1, normed)
        _product(a, d_model, count, w, CROSS_QUERY, heads * d_k, query, heads * d_k, SET)
        for row in range(count):
            q, m = query + 4 * row * heads * d_k, mixed + 4 * row * heads * d_v
            source, width = get_long(memory, begin + row), get_long(sources, begin + row)
            attend_row(q, source, width, shift, heads, d_k, d_v, scale, scores, m)
        _product(mixed, heads * d_v, count, w, CROSS_OUTPUT, d_model, x, d_model, ADD)
        _after(norm_first, x, count, d_model, w, 1)
        a = _before(norm_first, x, count, d_model, w, 2, normed)
        _product(a, d_model, count, w, INNER, d_ff, inner, d_ff, RELU)
        _product(inner, d_ff, count, w, OUTER, d_model, x, d_model, ADD)
        _after(norm_first, x, count, d_model, w, 2)
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
    bias,  # fp32 [vocabulary, filled up to 16s]
    vocabulary,
    never,  # int64 [nevers]: words that are not said
    nevers,
    end,  # the word whose logit is wanted besides
    count,
    tops,  # fp32 [rows, count]: the largest logits
    words,  # int64 [rows, count]
    ends,  # fp32 [rows]
    normalisers,  # fp32 [rows]
    scratch,
):
    begin_row = part * block
    here = min(block, rows - begin_row)
    logits = scratch + 4 * part * block * CHUNK
    for row in range(here):
        put(normalisers, begin_row + row, 0.0)
        for place in range(count):
            put(tops, (begin_row + row) * count + place, _NEVER)
            put_long(words, (begin_row + row) * count + place, 0)
    for begin in range(0, vocabulary, CHUNK):
        width = min(CHUNK, vocabulary - begin)
        padded = -(-width // LANES) * LANES
        panel, x = packed + 4 * begin * d_model, hidden + 4 * begin_row * d_model
        multiply_rows(x, d_model, here, panel, bias + 4 * begin, padded, d_model, logits, CHUNK, SET)
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
