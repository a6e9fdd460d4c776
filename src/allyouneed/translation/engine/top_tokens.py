"""The most likely next tokens of every row, from logits that stay in registers, or in chunks in the cache."""

from __future__ import annotations

from allyouneed.kernels import LANES, MASKED, Mode
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.lanes import pad_to_lanes
from allyouneed.kernels.packed_matrix import PANEL
from allyouneed.kernels.product import Rows, find_largest, multiply_columns, round_rows, uses_byte_tiles
from allyouneed.kernels.records import Floats, Longs, Record
from allyouneed.kernels.simd import any_above, broadcast, exp, log, reduce_max, reduce_sum
from allyouneed.kernels.simd_memory import load

CHUNK = 512  # tokens whose logits are computed and compared at a time
CHUNK_STRIDE = CHUNK + LANES  # from row to row; at a power of two, all rows would compete for a few lines of the cache


class NextTokens(Record):
    """The most likely next tokens of every row."""

    count: int
    with_scores: int  # whether normalisers are computed
    logits: Floats  # fp32 [rows, count], largest first
    tokens: Longs  # [rows, count]
    end_logits: Floats  # fp32 [rows], logit of the end of sentence
    normalisers: Floats  # fp32 [rows]: logit - normaliser = log probability; 0 without scores


@kernel_function
def insert_token(logit, token, logits, tokens, count):
    """Insert a token into a list sorted by descending logit, dropping the last entry; equal logits keep their order."""
    index = count - 1
    while index > 0 and logit > logits[index - 1]:
        logits[index] = logits[index - 1]
        tokens[index] = tokens[index - 1]
        index -= 1
    logits[index] = logit
    tokens[index] = token


@kernel_function
def _merge(top, row, line, begin, width):
    """Merge the logits [width] of the tokens that start at `begin` into a row's top tokens and sum of exponentials."""
    count, logits, tokens = top.count, top.logits + row * top.count, top.tokens + row * top.count
    earlier_top = logits[0]
    for index in range(0, width, LANES):
        if any_above(load(line, index), logits[count - 1]):
            for j in range(index, index + LANES):
                if line[j] > logits[count - 1]:
                    insert_token(line[j], begin + j, logits, tokens, count)
    if top.with_scores:
        highest, summed = logits[0], broadcast(0.0)
        for index in range(0, width, LANES):
            summed = summed + exp(load(line, index) - highest)
        earlier = top.normalisers[row] * reduce_max(exp(broadcast(earlier_top - highest)))
        top.normalisers[row] = earlier + reduce_sum(summed)


@kernel_function
def _find_in_chunks(model, top, work, part, first, count):
    """Find top tokens as `find_top_tokens` does, by writing all logits."""
    vocab_size, d_model, end = model.vocab_size, model.d_model, model.end
    hidden, logits = work.hidden + first * d_model, work.logits + first * CHUNK_STRIDE
    rounded = round_rows(hidden, count, model.output, work.rounded + part * work.rounded_size)
    for row in range(first, first + count):
        top.normalisers[row] = 0.0
        for index in range(row * top.count, (row + 1) * top.count):
            top.logits[index] = MASKED
            top.tokens[index] = 0
    for begin in range(0, vocab_size, CHUNK):
        width = min(CHUNK, vocab_size - begin)
        padded = pad_to_lanes(width)
        multiply_columns(hidden, rounded, count, model.output, begin, padded, Rows(logits, CHUNK_STRIDE), Mode.SET)
        for row in range(count):
            line = logits + row * CHUNK_STRIDE
            for j in range(width, padded):
                line[j] = MASKED
            for j in range(model.num_forbidden):
                if begin <= model.forbidden[j] < begin + width:
                    line[model.forbidden[j] - begin] = MASKED
            if begin <= end < begin + width:
                top.end_logits[first + row] = line[end - begin]
            _merge(top, first + row, line, begin, padded)
    if top.with_scores:
        for row in range(first, first + count):
            top.normalisers[row] = top.logits[row * top.count] + log(top.normalisers[row])


@kernel_function
def _find_one(model, top, work, part, first, count):
    """Find the most likely next token of rows in bytes, without normalisers; its logits never leave the registers."""
    depth, matrix, begin = model.d_model, model.output, model.end // PANEL * PANEL
    hidden, logits = work.hidden + first * depth, work.logits + first * CHUNK_STRIDE
    rounded = round_rows(hidden, count, matrix, work.rounded + part * work.rounded_size)
    width, out = min(PANEL, matrix.columns - begin), Rows(logits, CHUNK_STRIDE)
    multiply_columns(hidden, rounded, count, matrix, begin, width, out, Mode.SET)
    for row in range(count):
        top.end_logits[first + row] = logits[row * CHUNK_STRIDE + model.end - begin]
        top.normalisers[first + row] = 0.0
        top.logits[first + row] = MASKED
        top.tokens[first + row] = 0
    find_largest(rounded, count, matrix, model.vocab_size, top.logits + first, top.tokens + first)
    for row in range(first, first + count):
        for j in range(model.num_forbidden):
            if top.tokens[row] == model.forbidden[j]:
                _find_in_chunks(model, top, work, part, row, 1)
                break


@kernel_function
def find_top_tokens(model, top, work, part, first, count):
    """Find the most likely next tokens of `count` rows of `work.hidden`, starting at row `first`."""
    if top.count == 1 and not top.with_scores and uses_byte_tiles(model.output, count):
        _find_one(model, top, work, part, first, count)
    else:
        _find_in_chunks(model, top, work, part, first, count)
