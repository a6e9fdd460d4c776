"""Scaled dot-product attention within packed sequences, without padding (section 3.2.1, equation 1).

Shapes: queries [queries, heads · d_k], keys [keys, heads · d_k], values [keys, heads · d_v], which may be columns of
wider matrices; sequence s has the rows from starts[s] up to starts[s + 1].

Queries are processed four at a time against all keys of their sequence. Keys are transposed first, so that one vector
accumulates the scores of sixteen keys. Attention weights are not stored: the backward pass recomputes them from the
log-normalisers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from allyouneed.kernels import LANES
from allyouneed.kernels.attention_rows import (
    ROWS,
    Columns,
    Span,
    add_outer_products,
    clear,
    dot,
    four_mixtures,
    four_products,
    four_rows,
    four_softmaxes,
    indices_of,
    store_four,
    transpose_rows,
    visible_keys,
)
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.records import Floats, Longs, Record
from allyouneed.kernels.simd import broadcast, exp, pad_to_lanes, select_first, store


class Layout(NamedTuple):
    """Boundaries of the sequences in packed matrices.

    Attributes:
        starts: int64 [sequences + 1], first query row of each sequence, then the number of query rows.
        key_starts: int64 [sequences + 1], the same for the keys.
        max_keys: Length of the longest sequence of keys.
        causal: Mask keys after a query's own position (section 3.2.3).
    """

    starts: Tensor
    key_starts: Tensor
    max_keys: int
    causal: bool


class Inputs(Record):
    """Queries, keys and values in the form that kernels read."""

    queries: Floats
    keys: Floats
    values: Floats
    query_stride: int  # elements from one row to the next
    key_stride: int
    value_stride: int
    heads: int
    d_k: int
    d_v: int
    scale: float  # 1 / √d_k
    causal: int
    max_keys: int  # padded to a multiple of 16: columns of scratch rows


def attend(queries: Tensor, keys: Tensor, values: Tensor, heads: int, layout: Layout) -> tuple[Tensor, Tensor]:
    """Compute softmax(queries · keysᵀ / √d_k) · values in every head and sequence.

    Args:
        queries: fp32 [queries, heads · d_k]. The rows of queries, keys and values are contiguous.
        keys: fp32 [keys, heads · d_k], d_k a multiple of 16.
        values: fp32 [keys, heads · d_v], d_v a multiple of 16.
        heads: Number of heads.
        layout: Boundaries of the sequences.

    Returns:
        The result [queries, heads · d_v], and the log-normalisers [queries, heads] that `attend_backward` needs.
    """
    out = torch.empty(len(queries), values.shape[1])
    log_normalisers = torch.empty(len(queries), heads)
    inputs = _inputs((queries, keys, values), heads, layout)
    sequences = len(layout.starts) - 1
    scratch = torch.empty(sequences, (inputs.d_k + ROWS) * inputs.max_keys)
    _attend(sequences, inputs, layout.starts, layout.key_starts, scratch, out, log_normalisers)
    return out, log_normalisers


def attend_backward(
    grad: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    heads: int,
    layout: Layout,
    out: Tensor,
    log_normalisers: Tensor,
    grads: Sequence[Tensor],
) -> None:
    """Compute the gradients of `attend`.

    Args:
        grad: Gradient of `out` [queries, heads · d_v], contiguous.
        queries: Queries passed to `attend`.
        keys: Keys passed to `attend`.
        values: Values passed to `attend`.
        heads: Number of heads.
        layout: Layout passed to `attend`.
        out: The result of `attend`.
        log_normalisers: The log-normalisers that `attend` returned.
        grads: Outputs for the gradients of queries, keys and values, each with the row stride of its input.
    """
    inputs = _inputs((queries, keys, values), heads, layout)
    sequences = len(layout.starts) - 1
    scratch = torch.empty(sequences, (inputs.d_k + inputs.d_v + 2 * ROWS) * inputs.max_keys)
    query_grads, key_grads, value_grads = grads
    backward = _Backward(
        inputs=inputs,
        starts=layout.starts,
        key_starts=layout.key_starts,
        scratch=scratch,
        out=out,
        log_normalisers=log_normalisers,
        grad=grad,
        query_grads=query_grads,
        key_grads=key_grads,
        value_grads=value_grads,
    )
    _attend_backward(sequences, backward)


def _inputs(sides: Sequence[Tensor], heads: int, layout: Layout) -> Inputs:
    queries, keys, values = sides
    d_k, d_v = keys.shape[1] // heads, values.shape[1] // heads
    return Inputs(
        queries=queries,
        keys=keys,
        values=values,
        query_stride=queries.stride(0),
        key_stride=keys.stride(0),
        value_stride=values.stride(0),
        heads=heads,
        d_k=d_k,
        d_v=d_v,
        scale=1 / math.sqrt(d_k),
        causal=layout.causal,
        max_keys=pad_to_lanes(layout.max_keys),
    )


@kernel_function
def _span(sequence, starts, key_starts):
    key_begin = key_starts[sequence]
    return Span(starts[sequence], starts[sequence + 1], key_begin, key_starts[sequence + 1] - key_begin)


@kernel_function
def attend_sequence(inputs, span, scratch, out, log_normalisers):
    """Compute attention in one sequence.

    scratch: fp32 [d_k + 4, max_keys]; out: fp32 [queries, heads · d_v]; log_normalisers: fp32 [queries, heads].
    """
    heads, d_k, d_v, stride = inputs.heads, inputs.d_k, inputs.d_v, inputs.max_keys
    transposed, scores = scratch, scratch + d_k * stride
    for head in range(heads):
        first_key = span.key_begin * inputs.key_stride + head * d_k
        transpose_rows(inputs.keys, first_key, inputs.key_stride, span.num_keys, d_k, transposed, stride)
        for query in range(span.begin, span.end, ROWS):
            rows = four_rows(query, span.end)
            counts = visible_keys(rows, span, inputs.causal)
            _four_scores(inputs, indices_of(rows, inputs.query_stride, head * d_k), transposed, counts.d, scores)
            sums = four_softmaxes(scores, stride, counts, pad_to_lanes(counts.d))
            (z0, l0), (z1, l1), (z2, l2), (z3, l3) = sums
            log_normalisers[rows.a * heads + head] = l0
            log_normalisers[rows.b * heads + head] = l1
            log_normalisers[rows.c * heads + head] = l2
            log_normalisers[rows.d * heads + head] = l3
            to = indices_of(rows, heads * d_v, head * d_v)
            for c in range(0, d_v, LANES):
                value = span.key_begin * inputs.value_stride + head * d_v + c
                o0, o1, o2, o3 = four_mixtures(scores, stride, inputs.values, value, inputs.value_stride, counts.d)
                store(out, to.a + c, o0 * (1 / z0))
                store(out, to.b + c, o1 * (1 / z1))
                store(out, to.c + c, o2 * (1 / z2))
                store(out, to.d + c, o3 * (1 / z3))


@kernel_function
def _four_scores(inputs, at, transposed, count, scores):
    """Compute the scaled scores of four queries for `count` keys, rounded up to a multiple of 16."""
    stride, scale = inputs.max_keys, inputs.scale
    for j in range(0, pad_to_lanes(count), LANES):
        s0, s1, s2, s3 = four_products(inputs.queries, at, transposed, inputs.d_k, stride, j)
        store_four(scores, stride, j, s0 * scale, s1 * scale, s2 * scale, s3 * scale)


@kernel
def _attend(
    sequence, inputs: Inputs, starts: Longs, key_starts: Longs, scratch: Floats, out: Floats, log_normalisers: Floats
):
    scratch += sequence * (inputs.d_k + ROWS) * inputs.max_keys
    attend_sequence(inputs, _span(sequence, starts, key_starts), scratch, out, log_normalisers)


class _Backward(Record):
    """Arguments of the backward kernel: see `attend_backward`."""

    inputs: Inputs
    starts: Longs
    key_starts: Longs
    scratch: Floats  # [sequences, d_k + d_v + 8, max_keys]
    out: Floats
    log_normalisers: Floats
    grad: Floats
    query_grads: Floats
    key_grads: Floats
    value_grads: Floats


class _Scratch(NamedTuple):
    """Temporary memory of the backward pass for one sequence: matrices with `max_keys` columns."""

    keys: Floats  # transposed, [d_k]
    values: Floats  # transposed, [d_v]
    weights: Floats  # [4]
    score_grads: Floats  # [4]


@kernel
def _attend_backward(sequence, backward: _Backward):
    inputs, span = backward.inputs, _span(sequence, backward.starts, backward.key_starts)
    d_k, d_v, stride = inputs.d_k, inputs.d_v, inputs.max_keys
    keys = backward.scratch + sequence * (d_k + d_v + 2 * ROWS) * stride
    values = keys + d_k * stride
    weights = values + d_v * stride
    scratch = _Scratch(keys, values, weights, weights + ROWS * stride)
    for head in range(inputs.heads):
        first_key = span.key_begin * inputs.key_stride + head * d_k
        first_value = span.key_begin * inputs.value_stride + head * d_v
        key_grads = Columns(backward.key_grads, first_key, inputs.key_stride)
        value_grads = Columns(backward.value_grads, first_value, inputs.value_stride)
        clear(key_grads.rows, first_key, inputs.key_stride, span.num_keys, d_k)
        clear(value_grads.rows, first_value, inputs.value_stride, span.num_keys, d_v)
        transpose_rows(inputs.keys, first_key, inputs.key_stride, span.num_keys, d_k, keys, stride)
        transpose_rows(inputs.values, first_value, inputs.value_stride, span.num_keys, d_v, values, stride)
        for query in range(span.begin, span.end, ROWS):
            rows = four_rows(query, span.end)
            counts = visible_keys(rows, span, inputs.causal)
            at = indices_of(rows, inputs.query_stride, head * d_k)
            at_out = indices_of(rows, inputs.heads * d_v, head * d_v)
            _score_grads(backward, scratch, head, rows, counts)
            for c in range(0, d_k, LANES):
                first = first_key + c
                grads = four_mixtures(scratch.score_grads, stride, inputs.keys, first, inputs.key_stride, counts.d)
                store(backward.query_grads, at.d + c, grads[3])  # last row first: rows past the end repeat it
                store(backward.query_grads, at.c + c, grads[2])
                store(backward.query_grads, at.b + c, grads[1])
                store(backward.query_grads, at.a + c, grads[0])
                add_outer_products(scratch.score_grads, stride, inputs.queries, at, c, key_grads, counts.d)
            for c in range(0, d_v, LANES):
                add_outer_products(scratch.weights, stride, backward.grad, at_out, c, value_grads, counts.d)


@kernel_function
def _score_grads(backward, scratch, head, rows, counts):
    """Recompute four rows of attention weights, and compute the gradients of their scores."""
    inputs, grad, out = backward.inputs, backward.grad, backward.out
    heads, d_k, d_v, stride, scale = inputs.heads, inputs.d_k, inputs.d_v, inputs.max_keys, inputs.scale
    at = indices_of(rows, inputs.query_stride, head * d_k)
    at_out = indices_of(rows, heads * d_v, head * d_v)
    at_normaliser = indices_of(rows, heads, head)
    n0, n1 = backward.log_normalisers[at_normaliser.a], backward.log_normalisers[at_normaliser.b]
    n2, n3 = backward.log_normalisers[at_normaliser.c], backward.log_normalisers[at_normaliser.d]
    d0, d1 = dot(grad, out, at_out.a, d_v), dot(grad, out, at_out.b, d_v)
    d2, d3 = dot(grad, out, at_out.c, d_v), dot(grad, out, at_out.d, d_v)
    # 0 for rows past the end, which repeat the last row: its gradient must count only once
    c1, c2, c3 = min(rows.b - rows.a, 1), min(rows.c - rows.b, 1), min(rows.d - rows.c, 1)
    for j in range(0, pad_to_lanes(counts.d), LANES):
        s0, s1, s2, s3 = four_products(inputs.queries, at, scratch.keys, d_k, stride, j)
        w0 = _weights(s0 * scale, counts.a - j, n0, 1)
        w1 = _weights(s1 * scale, counts.b - j, n1, c1)
        w2 = _weights(s2 * scale, counts.c - j, n2, c2)
        w3 = _weights(s3 * scale, counts.d - j, n3, c3)
        store_four(scratch.weights, stride, j, w0, w1, w2, w3)
        g0, g1, g2, g3 = four_products(grad, at_out, scratch.values, d_v, stride, j)
        g0, g1 = w0 * (g0 - d0) * scale, w1 * (g1 - d1) * scale
        g2, g3 = w2 * (g2 - d2) * scale, w3 * (g3 - d3) * scale
        store_four(scratch.score_grads, stride, j, g0, g1, g2, g3)


@kernel_function
def _weights(scores, visible, log_normaliser, factor):
    """Turn sixteen scores into attention weights times a factor; only the first `visible` keys are unmasked."""
    return select_first(visible, exp(scores - log_normaliser) * factor, broadcast(0.0))
