"""Compiled helpers of `attention.py` that process four rows at a time."""

from __future__ import annotations

from typing import NamedTuple

from allyouneed.kernels import LANES, MASKED
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.records import Floats
from allyouneed.kernels.simd import (
    broadcast,
    exp,
    load,
    log,
    maximum,
    multiply_add,
    reduce_max,
    reduce_sum,
    select_first,
    store,
    transpose,
)

ROWS = 4  # queries processed together


class Span(NamedTuple):
    """Rows of a sequence: queries in [begin, end), and `num_keys` keys starting at `key_begin`."""

    begin: int
    end: int
    key_begin: int
    num_keys: int


class Four(NamedTuple):
    """A value for each of four queries."""

    a: int
    b: int
    c: int
    d: int


class Columns(NamedTuple):
    """A head's columns of a matrix; `first` is the index of their first element."""

    rows: Floats
    first: int
    stride: int


@kernel_function
def four_rows(query, end):
    """Return a row and the three rows after it; rows past the end are replaced by the last row."""
    return Four(query, min(query + 1, end - 1), min(query + 2, end - 1), min(query + 3, end - 1))


@kernel_function
def visible_keys(rows, span, causal):
    """Return how many of its sequence's keys each row may attend to; the last row has the most."""
    if causal:
        begin = span.begin
        return Four(rows.a - begin + 1, rows.b - begin + 1, rows.c - begin + 1, rows.d - begin + 1)
    return Four(span.num_keys, span.num_keys, span.num_keys, span.num_keys)


@kernel_function
def indices_of(rows, stride, offset):
    """Return the indices at which a head's columns begin in four rows."""
    return Four(rows.a * stride + offset, rows.b * stride + offset, rows.c * stride + offset, rows.d * stride + offset)


@kernel_function
def transpose_rows(rows, first_row, stride, count, width, out, out_stride):
    """Write `width` columns of `count` rows to out [width, out_stride]; padding past `count` is finite."""
    for c in range(0, width, LANES):
        last = first_row + (count - 1) * stride + c
        for j in range(0, count, LANES):
            transpose(rows, first_row + j * stride + c, stride, last, out, c * out_stride + j, out_stride)


@kernel_function
def four_products(a, at, transposed, width, stride, column):
    """Multiply four rows of `a` by sixteen columns of `transposed` [width, stride]."""
    s0 = s1 = s2 = s3 = broadcast(0.0)
    for c in range(width):
        keys = load(transposed, c * stride + column)
        s0 = multiply_add(broadcast(a[at.a + c]), keys, s0)
        s1 = multiply_add(broadcast(a[at.b + c]), keys, s1)
        s2 = multiply_add(broadcast(a[at.c + c]), keys, s2)
        s3 = multiply_add(broadcast(a[at.d + c]), keys, s3)
    return s0, s1, s2, s3


@kernel_function
def four_softmaxes(scores, stride, counts, end):
    """Exponentiate four rows of scores in place, after subtracting each row's maximum.

    The rows are interleaved to keep the processor busy. Scores from a row's count up to `end` become 0. Return each
    row's sum and its log-normaliser.
    """
    t0 = t1 = t2 = t3 = broadcast(MASKED)
    for j in range(0, end, LANES):
        t0 = maximum(t0, select_first(counts.a - j, load(scores, j), broadcast(MASKED)))
        t1 = maximum(t1, select_first(counts.b - j, load(scores, stride + j), broadcast(MASKED)))
        t2 = maximum(t2, select_first(counts.c - j, load(scores, 2 * stride + j), broadcast(MASKED)))
        t3 = maximum(t3, select_first(counts.d - j, load(scores, 3 * stride + j), broadcast(MASKED)))
    m0, m1, m2, m3 = reduce_max(t0), reduce_max(t1), reduce_max(t2), reduce_max(t3)
    z0 = z1 = z2 = z3 = broadcast(0.0)
    for j in range(0, end, LANES):
        w0 = select_first(counts.a - j, exp(load(scores, j) - m0), broadcast(0.0))
        w1 = select_first(counts.b - j, exp(load(scores, stride + j) - m1), broadcast(0.0))
        w2 = select_first(counts.c - j, exp(load(scores, 2 * stride + j) - m2), broadcast(0.0))
        w3 = select_first(counts.d - j, exp(load(scores, 3 * stride + j) - m3), broadcast(0.0))
        store_four(scores, stride, j, w0, w1, w2, w3)
        z0, z1, z2, z3 = z0 + w0, z1 + w1, z2 + w2, z3 + w3
    n0, n1, n2, n3 = reduce_sum(z0), reduce_sum(z1), reduce_sum(z2), reduce_sum(z3)
    return (n0, m0 + log(n0)), (n1, m1 + log(n1)), (n2, m2 + log(n2)), (n3, m3 + log(n3))


@kernel_function
def store_four(rows, stride, column, v0, v1, v2, v3):
    store(rows, column, v0)
    store(rows, stride + column, v1)
    store(rows, 2 * stride + column, v2)
    store(rows, 3 * stride + column, v3)


@kernel_function
def four_mixtures(weights, stride, values, first_value, value_stride, count):
    """Sum sixteen columns of `values`, weighted by four rows of weights."""
    o0 = o1 = o2 = o3 = broadcast(0.0)
    for j in range(count):
        value = load(values, first_value + j * value_stride)
        o0 = multiply_add(broadcast(weights[j]), value, o0)
        o1 = multiply_add(broadcast(weights[stride + j]), value, o1)
        o2 = multiply_add(broadcast(weights[2 * stride + j]), value, o2)
        o3 = multiply_add(broadcast(weights[3 * stride + j]), value, o3)
    return o0, o1, o2, o3


@kernel_function
def clear(rows, first, stride, count, width):
    """Set `width` columns of `count` rows to 0."""
    for j in range(count):
        for c in range(0, width, LANES):
            store(rows, first + j * stride + c, broadcast(0.0))


@kernel_function
def add_outer_products(weights, weights_stride, rows, at, column, out, count):
    """Add the outer products of four rows of weights and four rows of `rows` to sixteen columns of `out`.

    at: indices at which the four rows begin; out: a `Columns`, of which `count` rows are updated.
    """
    v0, v1 = load(rows, at.a + column), load(rows, at.b + column)
    v2, v3 = load(rows, at.c + column), load(rows, at.d + column)
    for j in range(count):
        index = out.first + column + j * out.stride
        summed = multiply_add(broadcast(weights[j]), v0, load(out.rows, index))
        summed = multiply_add(broadcast(weights[weights_stride + j]), v1, summed)
        summed = multiply_add(broadcast(weights[2 * weights_stride + j]), v2, summed)
        summed = multiply_add(broadcast(weights[3 * weights_stride + j]), v3, summed)
        store(out.rows, index, summed)


@kernel_function
def dot(a, b, begin, width):
    """Return the dot product of two rows that begin at the same index."""
    summed = broadcast(0.0)
    for c in range(begin, begin + width, LANES):
        summed = multiply_add(load(a, c), load(b, c), summed)
    return reduce_sum(summed)
