"""Compiled helpers of `attention.py` that process four rows at a time."""

from __future__ import annotations

from typing import NamedTuple

from allyouneed.kernels import LANES, MASKED
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.simd import broadcast, exp, log, maximum, multiply_add, reduce_max, reduce_sum, select_first
from allyouneed.kernels.simd_memory import load, prefetch_line, store, transpose

ROWS = 4  # queries processed together
_MAX_PREFETCHED = 64  # rows of a sequence


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
def share_of(span, number, total):
    """Return one of `total` equal shares of a sequence, up to its 64th row: more might not fit into the cache."""
    count, num_keys = min(span.end - span.begin, _MAX_PREFETCHED), min(span.num_keys, _MAX_PREFETCHED)
    begin, end = span.begin + count * number // total, span.begin + count * (number + 1) // total
    key_begin = span.key_begin + num_keys * number // total
    return Span(begin, end, key_begin, span.key_begin + num_keys * (number + 1) // total - key_begin)


@kernel_function
def prefetch_rows(rows, stride, width, begin, end):
    """Prefetch `width` columns of the rows from `begin` up to `end`."""
    for row in range(begin, end):
        for c in range(0, width, LANES):
            prefetch_line(rows, row * stride + c)


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
def copy_rows(rows, first, stride, width, count, factor, out):
    """Copy `width` columns of `count` rows, times a factor, to out [count rounded up to 4, width].

    Rows past the end repeat the last row.
    """
    for row in range(-(-count // ROWS) * ROWS):
        for c in range(0, width, LANES):
            store(out, row * width + c, load(rows, first + min(row, count - 1) * stride + c) * factor)


@kernel_function
def add_mixtures(weights, stride, column, rows, width, count, out):
    """Add mixtures of `count` rows [count, width] to four rows of `out`, by four columns of weights [count, stride]."""
    for c in range(0, width, LANES):
        to = column * width + c
        o0, o1 = load(out, to), load(out, to + width)
        o2, o3 = load(out, to + 2 * width), load(out, to + 3 * width)
        for i in range(count):
            row, at = load(rows, i * width + c), i * stride + column
            o0 = multiply_add(broadcast(weights[at]), row, o0)
            o1 = multiply_add(broadcast(weights[at + 1]), row, o1)
            o2 = multiply_add(broadcast(weights[at + 2]), row, o2)
            o3 = multiply_add(broadcast(weights[at + 3]), row, o3)
        store_four(out, width, to, o0, o1, o2, o3)
