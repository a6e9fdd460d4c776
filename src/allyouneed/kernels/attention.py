"""Scaled dot-product attention within sentences that stand one after another, without padding (section 3.2.1).

queries [tokens, heads · d_k], keys [tokens, heads · d_k], values [tokens, heads · d_v], which may be columns of wider
matrices; sentence s has the rows from starts[s] up to starts[s + 1]. Four queries at a time, each against all keys of
its sentence; keys are transposed first, so that sixteen scores come out of one sum. Weights are never kept: the
backward pass makes them again from the logarithm of their normaliser.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from numba import njit
from torch import Tensor

from allyouneed.kernels import IMPOSSIBLE, LANES
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.simd import (
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
    store,
    total,
    transpose,
    whole_lanes,
)

_ROWS = 4  # queries at a time


class Within(NamedTuple):
    """Which rows belong together. starts, key_starts: int64 [sentences + 1] of queries and of keys; longest: of the
    keys' sentences; causal: a query sees no key after its own place."""

    starts: Tensor
    key_starts: Tensor
    longest: int
    causal: bool


def attend(queries: Tensor, keys: Tensor, values: Tensor, heads: int, within: Within) -> tuple[Tensor, Tensor]:
    """-> [tokens, heads · d_v], and the logarithms of the normalisers [tokens, heads] for `attend_backward`.

    All fp32 with contiguous rows, d_k and d_v multiples of 16.
    """
    out = torch.empty(len(queries), values.shape[1])
    normalisers = torch.empty(len(queries), heads)
    given = _given((queries, keys, values), heads, within, _ROWS)
    _attend(len(within.starts) - 1, *given, out, normalisers)
    return out, normalisers


def attend_backward(
    grad: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    heads: int,
    within: Within,
    out: Tensor,
    normalisers: Tensor,
    grads: Sequence[Tensor],
) -> None:
    """Writes the gradients of queries, keys and values, from that of `out`, into `grads`, of which rows are as far
    apart as theirs."""
    given = _given((queries, keys, values), heads, within, values.shape[1] // heads + 2 * _ROWS)
    _attend_backward(len(within.starts) - 1, *given, out, normalisers, grad, *grads)


def _given(sides: Sequence[Tensor], heads: int, within: Within, rows_of_scratch: int) -> tuple[Any, ...]:
    """What both kernels are given first. rows_of_scratch: of a sentence, besides its transposed keys."""
    queries, keys, values = sides
    d_k, d_v, room = keys.shape[1] // heads, values.shape[1] // heads, whole_lanes(within.longest)
    strides = [x.stride(0) for x in sides]
    sizes = (heads, d_k, d_v, *strides, room, within.causal, 1 / math.sqrt(d_k))
    scratch = torch.empty(len(within.starts) - 1, (d_k + rows_of_scratch) * room)
    return queries, keys, values, within.starts, within.key_starts, *sizes, scratch


@njit
def _four_rows(query, end):
    """A row and the three after it; the last stands in for those that are not there."""
    return query, min(query + 1, end - 1), min(query + 2, end - 1), min(query + 3, end - 1)


@njit
def _four_counts(q0, q1, q2, q3, begin, count, causal):
    """How many of its sentence's keys each may see; the last row sees the most."""
    if causal:
        return q0 - begin + 1, q1 - begin + 1, q2 - begin + 1, q3 - begin + 1
    return count, count, count, count


@njit
def _transpose(rows, first_row, stride, count, width, room, out):
    """`width` columns of `count` rows, the first of which begins at a place -> out [width, room]. What stands behind
    the count is finite and means nothing."""
    for c in range(0, width, LANES):
        last = first_row + (count - 1) * stride + c
        for j in range(0, count, LANES):
            transpose(rows, first_row + j * stride + c, stride, last, out, c * room + j, room)


@njit
def _four_products(a, a0, a1, a2, a3, transposed, width, room, place):
    """Of four rows of `a`, which begin at a0 ... a3, with sixteen columns of `transposed`."""
    s0 = s1 = s2 = s3 = each(0.0)
    for c in range(width):
        column = load(transposed, c * room + place)
        s0 = multiply_add(each(get(a, a0 + c)), column, s0)
        s1 = multiply_add(each(get(a, a1 + c)), column, s1)
        s2 = multiply_add(each(get(a, a2 + c)), column, s2)
        s3 = multiply_add(each(get(a, a3 + c)), column, s3)
    return s0, s1, s2, s3


@njit
def _four_softmaxes(scores, room, count0, count1, count2, count3, end):
    """Of four rows in place, side by side to keep the processor busy; what stands from a row's count up to `end`
    becomes 0. -> the rows' sums, and the logarithms of their normalisers."""
    t0 = t1 = t2 = t3 = each(IMPOSSIBLE)
    for j in range(0, end, LANES):
        t0 = larger(t0, first(count0 - j, load(scores, j), each(IMPOSSIBLE)))
        t1 = larger(t1, first(count1 - j, load(scores, room + j), each(IMPOSSIBLE)))
        t2 = larger(t2, first(count2 - j, load(scores, 2 * room + j), each(IMPOSSIBLE)))
        t3 = larger(t3, first(count3 - j, load(scores, 3 * room + j), each(IMPOSSIBLE)))
    m0, m1, m2, m3 = largest(t0), largest(t1), largest(t2), largest(t3)
    z0 = z1 = z2 = z3 = each(0.0)
    for j in range(0, end, LANES):
        w0 = first(count0 - j, exp(load(scores, j) - m0), each(0.0))
        w1 = first(count1 - j, exp(load(scores, room + j) - m1), each(0.0))
        w2 = first(count2 - j, exp(load(scores, 2 * room + j) - m2), each(0.0))
        w3 = first(count3 - j, exp(load(scores, 3 * room + j) - m3), each(0.0))
        store(scores, j, w0)
        store(scores, room + j, w1)
        store(scores, 2 * room + j, w2)
        store(scores, 3 * room + j, w3)
        z0, z1, z2, z3 = z0 + w0, z1 + w1, z2 + w2, z3 + w3
    n0, n1, n2, n3 = total(z0), total(z1), total(z2), total(z3)
    return (n0, m0 + log(n0)), (n1, m1 + log(n1)), (n2, m2 + log(n2)), (n3, m3 + log(n3))


@njit
def _four_mixtures(weights, room, values, first_value, stride, count):
    """Of sixteen columns of `values`, by four rows of weights."""
    o0 = o1 = o2 = o3 = each(0.0)
    for j in range(count):
        value = load(values, first_value + j * stride)
        o0 = multiply_add(each(get(weights, j)), value, o0)
        o1 = multiply_add(each(get(weights, room + j)), value, o1)
        o2 = multiply_add(each(get(weights, 2 * room + j)), value, o2)
        o3 = multiply_add(each(get(weights, 3 * room + j)), value, o3)
    return o0, o1, o2, o3


@njit
def attend_sentence(
    queries,
    begin,
    end,
    keys,
    values,
    key_begin,
    count,
    heads,
    d_k,
    d_v,
    query_stride,
    key_stride,
    value_stride,
    room,
    causal,
    scale,
    scratch,  # fp32 [d_k + 4, room]
    out,
    normalisers,
):
    """Rows from `begin` up to `end` of queries over `count` rows of keys and values from `key_begin` on."""
    transposed, scores = scratch, scratch + 4 * d_k * room
    for head in range(heads):
        _transpose(keys, key_begin * key_stride + head * d_k, key_stride, count, d_k, room, transposed)
        for query in range(begin, end, _ROWS):
            q0, q1, q2, q3 = _four_rows(query, end)
            k0, k1, k2, k3 = _four_counts(q0, q1, q2, q3, begin, count, causal)
            a0, a1 = q0 * query_stride + head * d_k, q1 * query_stride + head * d_k
            a2, a3 = q2 * query_stride + head * d_k, q3 * query_stride + head * d_k
            stop = -(-k3 // LANES) * LANES
            for j in range(0, stop, LANES):
                s0, s1, s2, s3 = _four_products(queries, a0, a1, a2, a3, transposed, d_k, room, j)
                store(scores, j, s0 * scale)
                store(scores, room + j, s1 * scale)
                store(scores, 2 * room + j, s2 * scale)
                store(scores, 3 * room + j, s3 * scale)
            (z0, l0), (z1, l1), (z2, l2), (z3, l3) = _four_softmaxes(scores, room, k0, k1, k2, k3, stop)
            put(normalisers, q0 * heads + head, l0)
            put(normalisers, q1 * heads + head, l1)
            put(normalisers, q2 * heads + head, l2)
            put(normalisers, q3 * heads + head, l3)
            for c in range(0, d_v, LANES):
                place = key_begin * value_stride + head * d_v + c
                o0, o1, o2, o3 = _four_mixtures(scores, room, values, place, value_stride, k3)
                store(out, (q0 * heads + head) * d_v + c, o0 * (1 / z0))
                store(out, (q1 * heads + head) * d_v + c, o1 * (1 / z1))
                store(out, (q2 * heads + head) * d_v + c, o2 * (1 / z2))
                store(out, (q3 * heads + head) * d_v + c, o3 * (1 / z3))


@kernel
def _attend(
    sentence,
    queries,
    keys,
    values,
    starts,
    key_starts,
    heads,
    d_k,
    d_v,
    query_stride,
    key_stride,
    value_stride,
    room,
    causal,
    scale: float,
    scratch,
    out,
    normalisers,
):
    begin, end = get_long(starts, sentence), get_long(starts, sentence + 1)
    key_begin = get_long(key_starts, sentence)
    count = get_long(key_starts, sentence + 1) - key_begin
    attend_sentence(
        queries, begin, end, keys, values, key_begin, count, heads, d_k, d_v, query_stride, key_stride, value_stride,
        room, causal, scale, scratch + 4 * sentence * (d_k + _ROWS) * room, out, normalisers,
    )  # fmt: skip


@njit
def _clear(rows, first_place, stride, count, width):
    """`width` columns of `count` rows become 0."""
    for j in range(count):
        for c in range(0, width, LANES):
            store(rows, first_place + j * stride + c, each(0.0))


@njit
def _add_outer(weights, room, rows, r0, r1, r2, r3, out, first_place, stride, count):
    """Adds to sixteen columns of `count` rows of `out` four rows of `rows`, each by its own row of weights."""
    v0, v1, v2, v3 = load(rows, r0), load(rows, r1), load(rows, r2), load(rows, r3)
    for j in range(count):
        place = first_place + j * stride
        grown = multiply_add(each(get(weights, j)), v0, load(out, place))
        grown = multiply_add(each(get(weights, room + j)), v1, grown)
        grown = multiply_add(each(get(weights, 2 * room + j)), v2, grown)
        grown = multiply_add(each(get(weights, 3 * room + j)), v3, grown)
        store(out, place, grown)


@njit
def _product(a, b, place, width):
    """The dot product of two rows that begin at the same place."""
    summed = each(0.0)
    for c in range(place, place + width, LANES):
        summed = multiply_add(load(a, c), load(b, c), summed)
    return total(summed)


@njit
def _to_weights(scores, seen, j, normaliser, counted):
    """Sixteen scores, from place j of a row of which `seen` may be seen -> weights; 0 for a row that does not count."""
    return first(seen - j, exp(scores - normaliser) * counted, each(0.0))


@kernel
def _attend_backward(
    sentence,
    queries,
    keys,
    values,
    starts,
    key_starts,
    heads,
    d_k,
    d_v,
    query_stride,
    key_stride,
    value_stride,
    room,
    causal,
    scale: float,
    scratch,
    out,
    normalisers,
    grad,
    query_grads,
    key_grads,
    value_grads,
):
    begin, end = get_long(starts, sentence), get_long(starts, sentence + 1)
    key_begin = get_long(key_starts, sentence)
    count = get_long(key_starts, sentence + 1) - key_begin
    keys_turned = scratch + 4 * sentence * (d_k + d_v + 2 * _ROWS) * room
    values_turned = keys_turned + 4 * d_k * room
    weights = values_turned + 4 * d_v * room
    grads = weights + 4 * _ROWS * room
    for head in range(heads):
        _clear(key_grads, key_begin * key_stride + head * d_k, key_stride, count, d_k)
        _clear(value_grads, key_begin * value_stride + head * d_v, value_stride, count, d_v)
        _transpose(keys, key_begin * key_stride + head * d_k, key_stride, count, d_k, room, keys_turned)
        _transpose(values, key_begin * value_stride + head * d_v, value_stride, count, d_v, room, values_turned)
        for query in range(begin, end, _ROWS):
            q0, q1, q2, q3 = _four_rows(query, end)
            k0, k1, k2, k3 = _four_counts(q0, q1, q2, q3, begin, count, causal)
            a0, a1 = q0 * query_stride + head * d_k, q1 * query_stride + head * d_k
            a2, a3 = q2 * query_stride + head * d_k, q3 * query_stride + head * d_k
            b0, b1 = (q0 * heads + head) * d_v, (q1 * heads + head) * d_v
            b2, b3 = (q2 * heads + head) * d_v, (q3 * heads + head) * d_v
            n0, n1 = get(normalisers, q0 * heads + head), get(normalisers, q1 * heads + head)
            n2, n3 = get(normalisers, q2 * heads + head), get(normalisers, q3 * heads + head)
            d0, d1 = _product(grad, out, b0, d_v), _product(grad, out, b1, d_v)
            d2, d3 = _product(grad, out, b2, d_v), _product(grad, out, b3, d_v)
            c1, c2, c3 = min(q1 - q0, 1), min(q2 - q1, 1), min(q3 - q2, 1)  # 0 for a row that stands for two
            for j in range(0, -(-k3 // LANES) * LANES, LANES):
                s0, s1, s2, s3 = _four_products(queries, a0, a1, a2, a3, keys_turned, d_k, room, j)
                w0 = _to_weights(s0 * scale, k0, j, n0, 1.0)
                w1 = _to_weights(s1 * scale, k1, j, n1, c1)
                w2 = _to_weights(s2 * scale, k2, j, n2, c2)
                w3 = _to_weights(s3 * scale, k3, j, n3, c3)
                store(weights, j, w0)
                store(weights, room + j, w1)
                store(weights, 2 * room + j, w2)
                store(weights, 3 * room + j, w3)
                g0, g1, g2, g3 = _four_products(grad, b0, b1, b2, b3, values_turned, d_v, room, j)
                store(grads, j, w0 * (g0 - d0) * scale)
                store(grads, room + j, w1 * (g1 - d1) * scale)
                store(grads, 2 * room + j, w2 * (g2 - d2) * scale)
                store(grads, 3 * room + j, w3 * (g3 - d3) * scale)
            for c in range(0, d_k, LANES):
                place = key_begin * key_stride + head * d_k + c
                o0, o1, o2, o3 = _four_mixtures(grads, room, keys, place, key_stride, k3)
                store(query_grads, a3 + c, o3)  # the last first: where a row stands for two, what it is stays
                store(query_grads, a2 + c, o2)
                store(query_grads, a1 + c, o1)
                store(query_grads, a0 + c, o0)
                _add_outer(grads, room, queries, a0 + c, a1 + c, a2 + c, a3 + c, key_grads, place, key_stride, k3)
            for c in range(0, d_v, LANES):
                place = key_begin * value_stride + head * d_v + c
                _add_outer(weights, room, grad, b0 + c, b1 + c, b2 + c, b3 + c, value_grads, place, value_stride, k3)
