"""The encoder (section 3.1), and the keys and values of its output for all decoder layers (section 3.2.3).

A part is a group of sentences that passes through all layers while its rows are in the cache.
"""

from __future__ import annotations

from allyouneed.kernels import Mode
from allyouneed.kernels.attention import Inputs, attend_sequence
from allyouneed.kernels.attention_rows import Span
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.product import Rows, round_rows
from allyouneed.kernels.records import Floats, Longs, Record
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
from allyouneed.translation.engine.weights import EncoderWeights


class SourceBatch(Record):
    """Source sentences without padding, and the output for their keys and values."""

    groups: Longs  # [groups + 1], first sentence of each group
    starts: Longs  # [sentences + 1], first token of each sentence
    sentences: int
    ids: Longs  # [tokens]
    positions: Longs  # [tokens], position in the sentence
    encodings: Floats  # fp32 [positions, d_model]
    memory: Floats  # [decoder layers, tokens, position_words of the decoder]
    memory_words: int  # `DecoderWeights.position_words`


class EncoderWorkspace(Record):
    """Memory for intermediate results: `part_rows` rows for each part."""

    x: Floats  # fp32 [rows, d_model]
    normed: Floats  # fp32 [rows, d_model]
    attention: Inputs  # of projected rows [rows, heads · (2 d_k + d_v)]
    mixed: Floats  # fp32 [rows, heads · d_v]
    log_normalisers: Floats  # fp32 [rows, heads]
    inner: Floats  # fp32 [rows, d_ff]
    scratch: Floats  # fp32 [parts, d_k + 4, longest sentence]
    key_values: Floats | None  # fp32 [rows, heads · (d_k + d_v) of the decoder]: before they are rounded to bf16
    rounded: Floats  # [parts, rounded_size]: rows after `round_rows`
    rounded_size: int
    part_rows: int


@kernel
def encode(group, model: EncoderWeights, batch: SourceBatch, work: EncoderWorkspace):
    """Encode a group of sentences, and write the keys and values for every decoder layer to `batch.memory`."""
    first_sentence, last_sentence = batch.groups[group], batch.groups[group + 1]
    begin, first, d_model = batch.starts[first_sentence], group * work.part_rows, model.d_model
    count = batch.starts[last_sentence] - begin
    attention, words, tokens = work.attention, batch.memory_words, batch.starts[batch.sentences]
    x, normed = work.x + first * d_model, work.normed + first * d_model
    projected = attention.queries + first * attention.query_stride
    mixed, inner = work.mixed + first * model.heads * model.d_v, work.inner + first * model.d_ff
    scratch = work.scratch + group * (model.d_k + 4) * attention.max_keys
    rounded = work.rounded + group * work.rounded_size
    key_values = offset(work.key_values, first * model.memory[0].columns)
    for row in range(count):
        encoding = batch.encodings + batch.positions[begin + row] * d_model
        embed_row(model, batch.ids[begin + row], encoding, x + row * d_model)
    if model.embedding_norm:
        norm_rows(x, count, d_model, model.embedding_norm, x)
    for number in range(model.num_layers):
        layer = model.layers[number]
        a = sublayer_input(model, x, count, layer.norm, normed)
        project(a, count, layer.projection, rounded, projected, Mode.SET)
        for sentence in range(first_sentence, last_sentence):
            row, end = batch.starts[sentence] - begin + first, batch.starts[sentence + 1] - begin + first
            span, none = Span(row, end, row, end - row), Span(0, 0, 0, 0)  # all rows are in the cache
            attend_sequence(attention, span, none, 0, scratch, work.mixed, work.log_normalisers)
        project(mixed, count, layer.output, rounded, x, Mode.ADD)
        norm_sublayer(model, x, count, layer.norm)
        feed_forward(model, layer.feed_forward, x, count, normed, inner, rounded)
    if model.last_norm:
        norm_rows(x, count, d_model, model.last_norm, x)
    x_rounded = round_rows(x, count, model.memory[0], rounded)
    for number in range(model.num_memories):
        memory = Rows(batch.memory + (number * tokens + begin) * words, words)
        project_key_values(x, x_rounded, count, model.memory[number], key_values, memory)
