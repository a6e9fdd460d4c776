"""Gradients of scaled dot-product attention within packed sequences; see `attention.py` for shapes.

With the attention weights P, the gradient G of the output, and D_i = Σ_j P_ij (G Vᵀ)_ij, the gradient of the scores is
S_ij = P_ij ((G Vᵀ)_ij - D_i). Then the gradients of queries, keys and values are S K / √d_k, Sᵀ Q / √d_k and Pᵀ G.

A head's columns are copied to contiguous memory first. In the wide matrices they are in few sets of the L1 cache,
which could not hold them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from allyouneed.kernels import LANES
from allyouneed.kernels.attention import Inputs, Layout, group_size, heads_of, make_inputs, prefetch_inputs, span_of
from allyouneed.kernels.attention_rows import (
    ROWS,
    Four,
    add_mixtures,
    copy_rows,
    four_mixtures,
    four_products,
    four_rows,
    indices_of,
    prefetch_rows,
    share_of,
    store_four,
    transpose_rows,
)
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.lanes import pad_to_lanes
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.records import Floats, Longs, Record
from allyouneed.kernels.simd import broadcast, exp, multiply_add, reduce_sum, select_first
from allyouneed.kernels.simd_memory import load, store

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = LANES  # queries whose attention weights are kept


def attend_backward(
    grad: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    heads: int,
    layout: Layout,
    log_normalisers: Tensor,
    grads: Sequence[Tensor],
) -> None:
    """Compute the gradients of `attend`.

    Args:
        grad: Gradient of the result of `attend` [queries, heads · d_v], contiguous.
        queries: Queries passed to `attend`.
        keys: Keys passed to `attend`.
        values: Values passed to `attend`.
        heads: Number of heads.
        layout: Layout passed to `attend`.
        log_normalisers: The log-normalisers that `attend` returned.
        grads: Outputs for the gradients of queries, keys and values, each with the row stride of its input.
    """
    inputs = make_inputs((queries, keys, values), heads, layout)
    sequences, group = len(layout.starts) - 1, group_size(layout)
    parts = -(-sequences // group) * (heads // inputs.part_heads)
    size = (3 * inputs.d_k + 2 * inputs.d_v + 2 * _BLOCK) * inputs.max_keys + _BLOCK * (inputs.d_k + inputs.d_v)
    query_grads, key_grads, value_grads = grads
    backward = _Backward(
        inputs=inputs,
        sequences=sequences,
        group=group,
        starts=layout.starts,
        key_starts=layout.key_starts,
        scratch=torch.empty(parts, size),
        scratch_size=size,
        log_normalisers=log_normalisers,
        grad=grad,
        query_grads=query_grads,
        key_grads=key_grads,
        value_grads=value_grads,
    )
    _attend_backward(parts, backward)


class _Backward(Record):
    """Arguments of the kernel: see `attend_backward`."""

    inputs: Inputs
    sequences: int
    group: int  # sequences of a part
    starts: Longs
    key_starts: Longs
    scratch: Floats  # [parts, scratch_size]
    scratch_size: int
    log_normalisers: Floats
    grad: Floats
    query_grads: Floats
    key_grads: Floats
    value_grads: Floats


class _Scratch(NamedTuple):
    """Contiguous matrices of one head: all keys of a sequence, and a block of its queries."""

    transposed_keys: Floats  # [d_k, max_keys]
    transposed_values: Floats  # [d_v, max_keys]
    keys: Floats  # [max_keys, d_k]
    key_grads: Floats  # [max_keys, d_k]
    value_grads: Floats  # [max_keys, d_v]
    weights: Floats  # [_BLOCK, max_keys]
    score_grads: Floats  # [_BLOCK, max_keys]
    queries: Floats  # [_BLOCK, d_k], scaled
    grads: Floats  # of the output, [_BLOCK, d_v]


class _Block(NamedTuple):
    """Queries [begin, end) of a sequence; `position` is that of the first one in its sequence."""

    begin: int
    end: int
    position: int
    num_queries: int  # of the sequence
    num_keys: int


@kernel
def _attend_backward(part, b: _Backward):
    scratch = _divide(b.scratch + part * b.scratch_size, b.inputs.d_k, b.inputs.d_v, b.inputs.max_keys)
    number, first_head = heads_of(part, b.inputs)
    end = min(b.sequences, (number + 1) * b.group)
    for sequence in range(number * b.group, end):
        span = span_of(sequence, b.starts, b.key_starts)
        next_span = span_of(min(sequence + 1, end - 1), b.starts, b.key_starts)
        for head in range(first_head, first_head + b.inputs.part_heads):
            _head_grads(b, scratch, head, span, next_span)


@kernel_function
def _divide(memory, d_k, d_v, max_keys):
    keys = memory + (d_k + d_v) * max_keys
    value_grads = keys + 2 * d_k * max_keys
    weights = value_grads + d_v * max_keys
    queries = weights + 2 * _BLOCK * max_keys
    return _Scratch(
        memory,
        memory + d_k * max_keys,
        keys,
        keys + d_k * max_keys,
        value_grads,
        weights,
        weights + _BLOCK * max_keys,
        queries,
        queries + _BLOCK * d_k,
    )


@kernel_function
def _prefetch(b, span):
    inputs, key_end = b.inputs, span.key_begin + span.num_keys
    k_width, v_width = inputs.heads * inputs.d_k, inputs.heads * inputs.d_v
    prefetch_inputs(inputs, span)
    prefetch_rows(b.grad, v_width, v_width, span.begin, span.end)
    prefetch_rows(b.query_grads, inputs.query_stride, k_width, span.begin, span.end)
    prefetch_rows(b.key_grads, inputs.key_stride, k_width, span.key_begin, key_end)
    prefetch_rows(b.value_grads, inputs.value_stride, v_width, span.key_begin, key_end)


@kernel_function
def _head_grads(b, scratch, head, span, next_span):
    """Compute the gradients of one head in one sequence, and prefetch its share of the next sequence."""
    inputs, count, stride = b.inputs, span.num_keys, b.inputs.max_keys
    d_k, d_v = inputs.d_k, inputs.d_v
    first_key = span.key_begin * inputs.key_stride + head * d_k
    first_value = span.key_begin * inputs.value_stride + head * d_v
    transpose_rows(inputs.keys, first_key, inputs.key_stride, count, d_k, scratch.transposed_keys, stride)
    transpose_rows(inputs.values, first_value, inputs.value_stride, count, d_v, scratch.transposed_values, stride)
    copy_rows(inputs.keys, first_key, inputs.key_stride, d_k, count, 1.0, scratch.keys)
    _clear(scratch.key_grads, d_k, count)
    _clear(scratch.value_grads, d_v, count)
    for begin in range(span.begin, span.end, _BLOCK):
        end, position = min(begin + _BLOCK, span.end), begin - span.begin
        block = _Block(begin, end, position, span.end - span.begin, count)
        _block_grads(b, scratch, head, block, next_span)
    _copy_out(scratch.key_grads, d_k, count, b.key_grads, first_key, inputs.key_stride)
    _copy_out(scratch.value_grads, d_v, count, b.value_grads, first_value, inputs.value_stride)


@kernel_function
def _clear(rows, width, count):
    """Set rows [count rounded up to 4, width] to 0."""
    for index in range(0, -(-count // ROWS) * ROWS * width, LANES):
        store(rows, index, broadcast(0.0))


@kernel_function
def _copy_out(rows, width, count, out, first, stride):
    """Copy rows [count, width] to `width` columns of a wider matrix."""
    for row in range(count):
        for c in range(0, width, LANES):
            store(out, first + row * stride + c, load(rows, row * width + c))


@kernel_function
def _block_grads(b, scratch, head, block, next_span):
    """Compute the gradients of a block of queries, and add to the gradients of keys and values."""
    inputs, stride, count = b.inputs, b.inputs.max_keys, block.end - block.begin
    d_k, d_v, width = inputs.d_k, inputs.d_v, inputs.heads * inputs.d_v
    first_query = block.begin * inputs.query_stride + head * d_k
    copy_rows(inputs.queries, first_query, inputs.query_stride, d_k, count, inputs.scale, scratch.queries)
    copy_rows(b.grad, block.begin * width + head * d_v, width, d_v, count, 1.0, scratch.grads)
    visible, groups = block.num_keys, -(-block.num_queries // ROWS)
    for row in range(0, count, ROWS):
        group = head * groups + (block.position + row) // ROWS
        _prefetch(b, share_of(next_span, group, inputs.heads * groups))
        visible = _score_grads(b, scratch, head, block, row)
        at = indices_of(four_rows(block.begin + row, block.end), inputs.query_stride, head * d_k)
        weights = scratch.score_grads + row * stride
        for c in range(0, d_k, LANES):
            g0, g1, g2, g3 = four_mixtures(weights, stride, scratch.keys, c, d_k, visible)
            store(b.query_grads, at.d + c, g3 * inputs.scale)  # last row first: rows past the end repeat it
            store(b.query_grads, at.c + c, g2 * inputs.scale)
            store(b.query_grads, at.b + c, g1 * inputs.scale)
            store(b.query_grads, at.a + c, g0 * inputs.scale)
    for key in range(0, visible, ROWS):
        add_mixtures(scratch.score_grads, stride, key, scratch.queries, d_k, count, scratch.key_grads)
        add_mixtures(scratch.weights, stride, key, scratch.grads, d_v, count, scratch.value_grads)


@kernel_function
def _score_grads(b, scratch, head, block, row):
    """Compute four rows of attention weights and gradients of scores; return the number of keys the last row sees."""
    inputs, stride, d_k, d_v = b.inputs, b.inputs.max_keys, b.inputs.d_k, b.inputs.d_v
    at_query = Four(row * d_k, (row + 1) * d_k, (row + 2) * d_k, (row + 3) * d_k)
    at_grad = Four(row * d_v, (row + 1) * d_v, (row + 2) * d_v, (row + 3) * d_v)
    at = indices_of(four_rows(block.begin + row, block.end), inputs.heads, head)
    n0, n1 = b.log_normalisers[at.a], b.log_normalisers[at.b]
    n2, n3 = b.log_normalisers[at.c], b.log_normalisers[at.d]
    position, count = block.position + row, block.num_keys
    counts = Four(count, count, count, count)
    if inputs.causal:
        last = min(position + ROWS, count)  # rows past the end see no other keys than the last row
        counts = Four(position + 1, min(position + 2, last), min(position + 3, last), last)
    weights, score_grads = scratch.weights + row * stride, scratch.score_grads + row * stride
    d0 = d1 = d2 = d3 = broadcast(0.0)
    for j in range(0, pad_to_lanes(counts.d), LANES):
        s0, s1, s2, s3 = four_products(scratch.queries, at_query, scratch.transposed_keys, d_k, stride, j)
        g0, g1, g2, g3 = four_products(scratch.grads, at_grad, scratch.transposed_values, d_v, stride, j)
        w0, w1 = _weights(s0, counts.a - j, n0), _weights(s1, counts.b - j, n1)
        w2, w3 = _weights(s2, counts.c - j, n2), _weights(s3, counts.d - j, n3)
        store_four(weights, stride, j, w0, w1, w2, w3)
        store_four(score_grads, stride, j, g0, g1, g2, g3)
        d0, d1 = multiply_add(w0, g0, d0), multiply_add(w1, g1, d1)
        d2, d3 = multiply_add(w2, g2, d2), multiply_add(w3, g3, d3)
    t0, t1, t2, t3 = reduce_sum(d0), reduce_sum(d1), reduce_sum(d2), reduce_sum(d3)
    for j in range(0, pad_to_lanes(counts.d), LANES):
        g0 = load(weights, j) * (load(score_grads, j) - t0)
        g1 = load(weights, stride + j) * (load(score_grads, stride + j) - t1)
        g2 = load(weights, 2 * stride + j) * (load(score_grads, 2 * stride + j) - t2)
        g3 = load(weights, 3 * stride + j) * (load(score_grads, 3 * stride + j) - t3)
        store_four(score_grads, stride, j, g0, g1, g2, g3)
    return counts.d


@kernel_function
def _weights(scores, visible, log_normaliser):
    """Turn sixteen scores into attention weights; only the first `visible` keys are unmasked."""
    return select_first(visible, exp(scores - log_normaliser), broadcast(0.0))
