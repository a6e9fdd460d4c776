"""Sentences through the whole encoder (section 3.1), and what all decoder layers look at of them (3.2.3).

A part is a group of sentences, which goes through all layers while its numbers are in the cache.
"""

from __future__ import annotations

import math

from allyouneed.kernels import Mode
from allyouneed.kernels.attention import attend_sentence
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.product import round_rows
from allyouneed.kernels.simd import get_long
from allyouneed.translation.engine.layers import after, before, embed_row, feed_forward, norm_rows, product

# Places of a layer's addresses: see `decoder.py`.
PROJECTION, OUTPUT, INNER, LAYER = 4, 6, 8, 12


@kernel
def encode(
    group,
    groups,  # int64 [groups + 1]: of sentences
    starts,  # int64 [sentences + 1]: of tokens
    ids,  # int64 [tokens]
    places,  # int64 [tokens]: within the sentences
    embedding,  # fp32 [vocabulary, d_model]
    positions,  # fp32 [longest, d_model]
    layers,
    weights,  # int64 [layers, LAYER]: addresses
    last,  # int64 [4]: addresses of the norm of the end, where norm_first, and of the matrix for all decoder layers
    norm_first,
    d_model,
    d_ff,
    heads,
    d_k,
    d_v,
    memory_width,
    room,  # of the longest sentence, in whole lanes
    in_bytes,  # whether matrices are
    scratch,
    scratch_size,  # bytes of a part
    most,  # tokens of a part
    memory,  # fp32 [tokens, memory_width]
    embedding_scale: float,
):
    """A group of sentences -> memory: of each token keys and values for every decoder layer, side by side."""
    first_sentence, last_sentence = get_long(groups, group), get_long(groups, group + 1)
    begin = get_long(starts, first_sentence)
    count = get_long(starts, last_sentence) - begin
    keys, values, width = heads * d_k, 2 * heads * d_k, heads * (2 * d_k + d_v)
    x = scratch + group * scratch_size
    normed = x + 4 * most * d_model
    projected = normed + 4 * most * d_model
    mixed = projected + 4 * most * width
    inner = mixed + 4 * most * heads * d_v
    normalisers = inner + 4 * most * d_ff
    attending = normalisers + 4 * most * heads
    rounded = in_bytes and attending + 4 * (d_k + 4) * room
    for row in range(count):
        position = positions + 4 * get_long(places, begin + row) * d_model
        embed_row(get_long(ids, begin + row), embedding, position, d_model, embedding_scale, x + 4 * row * d_model)
    for layer in range(layers):
        w = weights + 8 * layer * LAYER
        a = before(norm_first, x, count, d_model, w, 0, normed)
        r = round_rows(a, count, d_model, rounded)
        product(a, r, count, d_model, w, PROJECTION, width, projected, width, Mode.SET)
        for sentence in range(first_sentence, last_sentence):
            row, end = get_long(starts, sentence) - begin, get_long(starts, sentence + 1) - begin
            attend_sentence(
                projected, row, end, projected + 4 * keys, projected + 4 * values, row, end - row, heads, d_k, d_v,
                width, width, width, room, 0, 1 / math.sqrt(d_k), attending, mixed, normalisers,
            )  # fmt: skip
        r = round_rows(mixed, count, heads * d_v, rounded)
        product(mixed, r, count, heads * d_v, w, OUTPUT, d_model, x, d_model, Mode.ADD)
        after(norm_first, x, count, d_model, w, 0)
        feed_forward(norm_first, x, count, d_model, d_ff, w, 1, INNER, normed, inner, rounded)
    if norm_first:
        norm_rows(x, count, d_model, get_long(last, 0), get_long(last, 1), x)
    r = round_rows(x, count, d_model, rounded)
    product(x, r, count, d_model, last, 2, memory_width, memory + 4 * begin * memory_width, memory_width, Mode.SET)
