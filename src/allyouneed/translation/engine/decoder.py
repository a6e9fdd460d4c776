"""The decoder (section 3.1), computed for one position of every hypothesis.

A part is a block of rows that passes through all layers while its activations are in the cache. The keys and values of
a position are never copied: each row has a list of the addresses of its positions, and reordering hypotheses reorders
only these lists.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from allyouneed.kernels import LANES, MASKED, Mode
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.product import Rows, multiply_rows, round_rows
from allyouneed.kernels.records import Floats, Longs, Record, address_of, floats_at, longs_at
from allyouneed.kernels.simd import (
    broadcast,
    exp,
    load,
    maximum,
    multiply_add,
    pad_to_lanes,
    reduce_max,
    reduce_sum,
    select_first,
    store,
)
from allyouneed.translation.engine.layers import (
    embed_row,
    feed_forward,
    norm_rows,
    norm_sublayer,
    offset,
    project,
    sublayer_input,
)
from allyouneed.translation.engine.screen import ScreenWorkspace


class DecoderState(Record):
    """References to the sources and the previous positions, one row per hypothesis.

    Rows are divided among parts, `part_rows` each. Keys and values of a position are fp32
    [layers, heads · d_k | heads · d_v].
    """

    tokens: Longs  # [rows]: last token of each row
    seen: Longs  # [rows, seen_stride], addresses of the keys and values of each position
    seen_stride: int
    sources: Longs  # [rows], address of int64 [source length]: the addresses of each source token's keys and values
    source_lengths: Longs  # [rows]
    length: int  # number of positions before the next one
    steps: int  # number of new positions for which there is memory
    part_rows: int
    key_values: Floats  # [parts, steps, part_rows, layers · heads · (d_k + d_v)]
    encodings: Floats  # fp32 [steps, d_model]


class Workspace(Record):
    """Memory for intermediate results; rows are those of all parts."""

    hidden: Floats  # fp32 [rows, d_model]: the decoder's result
    normed: Floats  # fp32 [rows, d_model]
    query: Floats  # fp32 [rows, heads · d_k]
    mixed: Floats  # fp32 [rows, heads · d_v]
    inner: Floats  # fp32 [rows, d_ff]
    scores: Floats  # fp32 [parts, scores_size]: attention scores of a row
    scores_size: int
    rounded: Floats | None  # [parts, rounded_size]: rows in bytes
    rounded_size: int
    logits: Floats  # fp32 [rows, CHUNK]: of some tokens at a time
    screen: ScreenWorkspace | None


class Step(NamedTuple):
    """A part's next position: its encoding, the memory for its keys and values, and the new number of positions."""

    encoding: Floats
    key_values: Floats
    length: int


@kernel_function
def key_value_size(model):
    """Return the number of values in the keys and values of a position."""
    return model.num_layers * model.heads * (model.d_k + model.d_v)


@kernel_function
def begin_step(model, state, part, number, first, count):
    """Return a part's next position, and append it to the address lists of `count` rows, starting at `first`."""
    size, length = key_value_size(model), state.length + number + 1
    key_values = state.key_values + (part * state.steps + number) * state.part_rows * size
    for row in range(count):
        state.seen[(first + row) * state.seen_stride + length - 1] = address_of(key_values + row * size)
    return Step(state.encodings + number * model.d_model, key_values, length)


@kernel_function
def _attend_row(model, query, seen, count, layer, scores, out):
    """Attend with one query to the keys and values of a layer, at `count` addresses (equation 1)."""
    heads, d_k, d_v, scale = model.heads, model.d_k, model.d_v, 1 / math.sqrt(model.d_k)
    first, padded = layer * heads * (d_k + d_v), pad_to_lanes(count)
    for head in range(heads):
        store(scores, padded - LANES, broadcast(MASKED))
        for j in range(count):
            key = floats_at(seen[j]) + first
            summed = broadcast(0.0)
            for c in range(head * d_k, (head + 1) * d_k, LANES):
                summed = multiply_add(load(query, c), load(key, c), summed)
            scores[j] = reduce_sum(summed) * scale
        top = broadcast(MASKED)
        for j in range(0, padded, LANES):
            top = maximum(top, load(scores, j))
        highest, summed = reduce_max(top), broadcast(0.0)
        for j in range(0, padded, LANES):
            weights = select_first(count - j, exp(load(scores, j) - highest), broadcast(0.0))
            store(scores, j, weights)
            summed = summed + weights
        share = 1 / reduce_sum(summed)
        for c in range(head * d_v, (head + 1) * d_v, LANES):
            mixture = broadcast(0.0)
            for j in range(count):
                value = load(floats_at(seen[j]) + first, heads * d_k + c)
                mixture = multiply_add(broadcast(scores[j]), value, mixture)
            store(out, c, mixture * share)


@kernel_function
def advance(model, state, work, part, first, count, step):
    """Apply all layers to `count` rows, starting at `first`; the result is in `work.hidden`."""
    d_model, queries, values = model.d_model, model.heads * model.d_k, model.heads * model.d_v
    x, normed = work.hidden + first * d_model, work.normed + first * d_model
    query, mixed, inner = work.query + first * queries, work.mixed + first * values, work.inner + first * model.d_ff
    scores, rounded = work.scores + part * work.scores_size, offset(work.rounded, part * work.rounded_size)
    for row in range(count):
        embed_row(model, state.tokens[first + row], step.encoding, x + row * d_model)
    for number in range(model.num_layers):
        layer = model.layers[number]
        a = sublayer_input(model, x, count, layer.norm, normed)
        a_rounded = round_rows(a, count, d_model, rounded)
        multiply_rows(a, a_rounded, count, layer.query, Rows(query, queries), Mode.SET)
        key_values = Rows(step.key_values + number * (queries + values), key_value_size(model))
        multiply_rows(a, a_rounded, count, layer.key_value, key_values, Mode.SET)
        for row in range(count):
            seen, to = state.seen + (first + row) * state.seen_stride, mixed + row * values
            _attend_row(model, query + row * queries, seen, step.length, number, scores, to)
        project(mixed, count, layer.output, rounded, x, Mode.ADD)
        norm_sublayer(model, x, count, layer.norm)
        a = sublayer_input(model, x, count, layer.cross_norm, normed)
        project(a, count, layer.cross_query, rounded, query, Mode.SET)
        for row in range(count):
            source, length = longs_at(state.sources[first + row]), state.source_lengths[first + row]
            _attend_row(model, query + row * queries, source, length, number, scores, mixed + row * values)
        project(mixed, count, layer.cross_output, rounded, x, Mode.ADD)
        norm_sublayer(model, x, count, layer.cross_norm)
        feed_forward(model, layer.feed_forward, x, count, normed, inner, rounded)
    if model.norm_first:
        norm_rows(x, count, d_model, model.last_norm, x)
