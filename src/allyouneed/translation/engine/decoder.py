"""The decoder (section 3.1), computed for one position of every hypothesis.

A part is a block of rows that passes through all layers while its activations are in the cache. The keys and values of
a position are never copied: each row has a list of the addresses of its positions, and reordering hypotheses reorders
only these lists. In each layer, those of a source, and those of a row's positions, follow each other in memory, so that
the processor can read ahead.
"""

from __future__ import annotations

from typing import NamedTuple

from allyouneed.kernels import Mode
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.product import Rows, multiply_rows, round_rows
from allyouneed.kernels.records import Floats, Longs, Record, address_of
from allyouneed.translation.engine.layers import (
    embed_row,
    feed_forward,
    norm_rows,
    norm_sublayer,
    offset,
    project,
    project_key_values,
    sublayer_input,
)
from allyouneed.translation.engine.row_attention import attend_row
from allyouneed.translation.engine.screen import ScreenWorkspace


class DecoderState(Record):
    """References to the sources and the previous positions, one row per hypothesis.

    Rows are divided among parts, `part_rows` each. Keys and values of a position are [heads · d_k | heads · d_v] in
    each layer, in fp32 or bf16, which takes `DecoderWeights.position_words` 32-bit words.
    """

    tokens: Longs  # [rows]: last token of each row
    seen: Longs  # [rows, seen_stride], addresses of the keys and values of each position in the first layer
    seen_stride: int
    strides: Longs  # [positions]: bytes from a position's keys and values in a layer to those in the next layer
    sources: Longs  # [rows], address of the keys and values of each source's first token in the first layer
    source_lengths: Longs  # [rows]
    source_stride: int  # bytes from a source's keys and values in a layer to those in the next layer
    length: int  # number of positions before the next one
    steps: int  # number of new positions for which there is memory
    part_rows: int
    key_values: Floats  # [parts, layers, part_rows, steps, position_words]
    encodings: Floats  # fp32 [steps, d_model]


class Workspace(Record):
    """Memory for intermediate results; rows are those of all parts."""

    hidden: Floats  # fp32 [rows, d_model]: the decoder's result
    normed: Floats  # fp32 [rows, d_model]
    query: Floats  # fp32 [rows, heads · d_k]
    mixed: Floats  # fp32 [rows, heads · d_v]
    inner: Floats  # fp32 [rows, d_ff]
    projected: Floats | None  # fp32 [rows, heads · (d_k + d_v)]: keys and values before they are rounded to bf16
    scores: Floats  # fp32 [parts, heads · scores_size]: attention scores of a row
    scores_size: int
    addresses: Longs  # [parts, scores_size]: addresses of a row's keys and values in a layer
    rounded: Floats  # [parts, rounded_size]: rows after `round_rows`
    rounded_size: int
    logits: Floats  # fp32 [rows, CHUNK_STRIDE]: of some tokens at a time
    screen: ScreenWorkspace | None


class Step(NamedTuple):
    """A part's next position: its encoding, the memory for its keys and values, and the new number of positions.

    If `is_sequence` is 1 instead of 0, the rows are consecutive positions of one hypothesis, and this is the first.
    """

    encoding: Floats
    key_values: Floats  # of the first layer
    row_stride: int  # values from a row to the next
    layer_stride: int  # values from a layer to the next
    length: int
    is_sequence: int


@kernel_function
def begin_step(model, state, part, number, first, count):
    """Return a part's next position, and append it to the address lists of `count` rows, starting at `first`."""
    length, row_stride = state.length + number + 1, state.steps * model.position_words
    layer_stride = state.part_rows * row_stride
    key_values = state.key_values + part * model.num_layers * layer_stride + number * model.position_words
    for row in range(count):
        state.seen[(first + row) * state.seen_stride + length - 1] = address_of(key_values + row * row_stride)
    return Step(state.encodings + number * model.d_model, key_values, row_stride, layer_stride, length, 0)


@kernel_function
def begin_sequence(model, state, number):
    """Return the next position of the only hypothesis, and append it and all later positions to its address list."""
    length, size = state.length + number + 1, model.position_words
    key_values = state.key_values + number * size
    for later in range(state.steps - number):
        state.seen[length - 1 + later] = address_of(key_values + later * size)
    return Step(state.encodings + number * model.d_model, key_values, size, state.steps * size, length, 1)


@kernel_function
def _attend_to_target(model, state, row, layer, query, length, scores, addresses, out):
    """Attend with a row's query to its `length` positions."""
    seen = state.seen + row * state.seen_stride
    for j in range(length):
        addresses[j] = seen[j] + layer * state.strides[j]
    attend_row(model, query, addresses, length, scores, out)


@kernel_function
def _attend_to_source(model, state, row, layer, query, scores, addresses, out):
    """Attend with a row's query to its source."""
    first, length = state.sources[row] + layer * state.source_stride, state.source_lengths[row]
    for j in range(length):
        addresses[j] = first + j * 4 * model.position_words
    attend_row(model, query, addresses, length, scores, out)


@kernel_function
def advance(model, state, work, part, first, count, step):
    """Apply all layers to `count` rows, starting at `first`; the result is in `work.hidden`."""
    d_model, queries, values = model.d_model, model.heads * model.d_k, model.heads * model.d_v
    x, normed = work.hidden + first * d_model, work.normed + first * d_model
    query, mixed, inner = work.query + first * queries, work.mixed + first * values, work.inner + first * model.d_ff
    projected = offset(work.projected, first * (queries + values))
    scores, addresses = work.scores + part * model.heads * work.scores_size, work.addresses + part * work.scores_size
    rounded = work.rounded + part * work.rounded_size
    for row in range(count):
        encoding = step.encoding + row * step.is_sequence * d_model
        embed_row(model, state.tokens[first + row], encoding, x + row * d_model)
    if model.embedding_norm:
        norm_rows(x, count, d_model, model.embedding_norm, x)
    for number in range(model.num_layers):
        layer = model.layers[number]
        a = sublayer_input(model, x, count, layer.norm, normed)
        a_rounded = round_rows(a, count, layer.query, rounded)
        multiply_rows(a, a_rounded, count, layer.query, Rows(query, queries), Mode.SET)
        key_values = Rows(step.key_values + number * step.layer_stride, step.row_stride)
        project_key_values(a, a_rounded, count, layer.key_value, projected, key_values)
        for row in range(count):
            q, to, later = query + row * queries, mixed + row * values, row * step.is_sequence
            hypothesis, length = first + row - later, step.length + later
            _attend_to_target(model, state, hypothesis, number, q, length, scores, addresses, to)
        project(mixed, count, layer.output, rounded, x, Mode.ADD)
        norm_sublayer(model, x, count, layer.norm)
        a = sublayer_input(model, x, count, layer.cross_norm, normed)
        project(a, count, layer.cross_query, rounded, query, Mode.SET)
        for row in range(count):
            q, to = query + row * queries, mixed + row * values
            hypothesis = first + row - row * step.is_sequence
            _attend_to_source(model, state, hypothesis, number, q, scores, addresses, to)
        project(mixed, count, layer.cross_output, rounded, x, Mode.ADD)
        norm_sublayer(model, x, count, layer.cross_norm)
        feed_forward(model, layer.feed_forward, x, count, normed, inner, rounded)
    if model.last_norm:
        norm_rows(x, count, d_model, model.last_norm, x)
