"""Scaled dot-product attention within packed sequences, without padding (section 3.2.1, equation 1).

Shapes: queries [queries, heads · d_k], keys [keys, heads · d_k], values [keys, heads · d_v], which may be columns of
wider matrices; sequence s has the rows from starts[s] up to starts[s + 1].

Queries are processed four at a time against all keys of their sequence. Keys are transposed first, so that one vector
accumulates the scores of sixteen keys. Attention weights are not stored: the backward pass (`attention_backward.py`)
recomputes them from the log-normalisers. While a sequence is processed, the rows of the next one are prefetched, a few
for each four queries: many prefetches at once would wait for each other, and the queries for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from allyouneed.kernels import LANES
from allyouneed.kernels.attention_rows import (
    ROWS,
    Span,
    four_mixtures,
    four_products,
    four_rows,
    four_softmaxes,
    indices_of,
    prefetch_rows,
    share_of,
    store_four,
    transpose_rows,
    visible_keys,
)
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.lanes import pad_to_lanes
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.records import Floats, Longs, Record
from allyouneed.kernels.simd_memory import store

if TYPE_CHECKING:
    from torch import Tensor

_MAX_GROUP, _MIN_PARTS = 8, 8  # sequences of a part, parts of a batch


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
    part_heads: int  # heads that a part computes


def attend(queries: Tensor, keys: Tensor, values: Tensor, heads: int, layout: Layout) -> tuple[Tensor, Tensor]:
    """Compute softmax(queries · keysᵀ / √d_k) · values in every head and sequence.

    Args:
        queries: fp32 [queries, heads · d_k]. The rows of queries, keys and values are contiguous.
        keys: fp32 [keys, heads · d_k], d_k a multiple of 16.
        values: fp32 [keys, heads · d_v], d_v a multiple of 16.
        heads: Number of heads.
        layout: Boundaries of the sequences.

    Returns:
        The result [queries, heads · d_v], and the log-normalisers [queries, heads] that the backward pass needs.
    """
    out = torch.empty(len(queries), values.shape[1])
    log_normalisers = torch.empty(len(queries), heads)
    inputs = make_inputs((queries, keys, values), heads, layout)
    sequences, group = len(layout.starts) - 1, group_size(layout)
    parts = -(-sequences // group) * (heads // inputs.part_heads)
    scratch = torch.empty(parts, (inputs.d_k + ROWS) * inputs.max_keys)
    _attend(parts, inputs, sequences, group, layout.starts, layout.key_starts, scratch, out, log_normalisers)
    return out, log_normalisers


def group_size(layout: Layout) -> int:
    """Return the number of consecutive sequences in a part: few enough to distribute the work evenly over threads."""
    return max(1, min(_MAX_GROUP, (len(layout.starts) - 1) // _MIN_PARTS))


def make_inputs(sides: Sequence[Tensor], heads: int, layout: Layout) -> Inputs:
    """Describe queries, keys and values; in a batch of few, long sequences, each head of a sequence is a part."""
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
        part_heads=heads if len(layout.starts) > _MIN_PARTS else 1,
    )


@kernel_function
def span_of(sequence, starts, key_starts):
    key_begin = key_starts[sequence]
    return Span(starts[sequence], starts[sequence + 1], key_begin, key_starts[sequence + 1] - key_begin)


@kernel_function
def heads_of(part, inputs):
    """Return the index of a part's group of sequences, and its first head."""
    splits = inputs.heads // inputs.part_heads
    return part // splits, part % splits * inputs.part_heads


@kernel_function
def prefetch_inputs(inputs, span):
    """Prefetch the queries, keys and values of some rows."""
    heads, key_end = inputs.heads, span.key_begin + span.num_keys
    prefetch_rows(inputs.queries, inputs.query_stride, heads * inputs.d_k, span.begin, span.end)
    prefetch_rows(inputs.keys, inputs.key_stride, heads * inputs.d_k, span.key_begin, key_end)
    prefetch_rows(inputs.values, inputs.value_stride, heads * inputs.d_v, span.key_begin, key_end)


@kernel_function
def attend_sequence(inputs, span, next_span, first_head, scratch, out, log_normalisers):
    """Compute attention in one sequence, in `part_heads` heads.

    next_span: the sequence to prefetch; scratch: fp32 [d_k + 4, max_keys]; out: fp32 [queries, heads · d_v];
    log_normalisers: fp32 [queries, heads].
    """
    heads, d_k, d_v, stride = inputs.heads, inputs.d_k, inputs.d_v, inputs.max_keys
    transposed, scores = scratch, scratch + d_k * stride
    groups, group = inputs.part_heads * (-(-(span.end - span.begin) // ROWS)), 0
    for head in range(first_head, first_head + inputs.part_heads):
        first_key = span.key_begin * inputs.key_stride + head * d_k
        transpose_rows(inputs.keys, first_key, inputs.key_stride, span.num_keys, d_k, transposed, stride)
        for query in range(span.begin, span.end, ROWS):
            prefetch_inputs(inputs, share_of(next_span, group, groups))
            group += 1
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
    part,
    inputs: Inputs,
    sequences,
    group,
    starts: Longs,
    key_starts: Longs,
    scratch: Floats,
    out: Floats,
    log_normalisers: Floats,
):
    scratch += part * (inputs.d_k + ROWS) * inputs.max_keys
    number, first_head = heads_of(part, inputs)
    end = min(sequences, (number + 1) * group)
    for sequence in range(number * group, end):
        span, next_span = span_of(sequence, starts, key_starts), span_of(min(sequence + 1, end - 1), starts, key_starts)
        attend_sequence(inputs, span, next_span, first_head, scratch, out, log_normalisers)
