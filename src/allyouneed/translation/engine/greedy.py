"""A decoding step, or several steps of a greedy search, in one call: each thread takes blocks of rows."""

from __future__ import annotations

from numba import njit

from allyouneed.kernels.launch import kernel
from allyouneed.kernels.records import Floats, Longs, Record
from allyouneed.translation.engine.decoder import DecoderState, Workspace, advance, begin_step
from allyouneed.translation.engine.screen import screen_top_tokens
from allyouneed.translation.engine.top_tokens import NextTokens, find_top_tokens
from allyouneed.translation.engine.weights import DecoderWeights


class GreedyState(Record):
    """A greedy search. Finished rows are removed by moving the later rows of a part forward, as in `DecoderState`."""

    rows: int  # number of unfinished rows
    limits: Longs  # [rows]: maximum number of tokens, the end not counted
    sentences: Longs  # [rows]: index of the sentence
    active: Longs  # [parts], output: number of unfinished rows
    max_length: int  # columns of the results
    ids: Longs  # [sentences, max_length]: tokens generated
    log_p: Floats  # fp32 [sentences, max_length]
    lengths: Longs  # [sentences]: tokens generated, the end included


@njit
def _find(model, top, work, part, first, count):
    """Find the top tokens; without scores, screen in 8 bits where possible, with the same result."""
    if top.with_scores:
        find_top_tokens(model, top, work, part, first, count)
    elif model.screen:
        screen_top_tokens(model, top, work, first, count)
        for row in range(first, first + count):
            top.normalisers[row] = 0.0
            if work.screen.is_exact[row] == 0:
                find_top_tokens(model, top, work, part, row, 1)
    else:
        find_top_tokens(model, top, work, part, first, count)


@kernel
def step(part, rows, model: DecoderWeights, state: DecoderState, work: Workspace, top: NextTokens):
    """Advance all rows by one position, and find `top.count` tokens if it is not 0."""
    first = part * state.part_rows
    count = min(state.part_rows, rows - first)
    advance(model, state, work, part, first, count, begin_step(model, state, part, 0, first, count))
    if top.count:
        _find(model, top, work, part, first, count)


@kernel
def greedy(part, model: DecoderWeights, state: DecoderState, work: Workspace, top: NextTokens, search: GreedyState):
    """Advance rows by up to `state.steps` positions, always choosing the most likely token."""
    first = part * state.part_rows
    count, taken = min(state.part_rows, search.rows - first), 0
    while taken < state.steps and count > 0:
        position = begin_step(model, state, part, taken, first, count)
        advance(model, state, work, part, first, count, position)
        _find(model, top, work, part, first, count)
        count, taken = _append(model, state, top, search, first, count, position.length), taken + 1
    search.active[part] = count


@njit
def _append(model, state, top, search, first, count, length):
    """Append the token at position `length` to each row, and return the number of unfinished rows."""
    to = first
    for row in range(first, first + count):
        sentence, token, logit = search.sentences[row], top.tokens[row], top.logits[row]
        if length > search.limits[row]:
            token, logit = model.end, top.end_logits[row]
        search.ids[sentence * search.max_length + length - 1] = token
        search.log_p[sentence * search.max_length + length - 1] = logit - top.normalisers[row]
        if token == model.end:
            search.lengths[sentence] = length
        else:
            state.tokens[to] = token
            state.sources[to] = state.sources[row]
            state.source_lengths[to] = state.source_lengths[row]
            search.limits[to] = search.limits[row]
            search.sentences[to] = sentence
            if to < row:
                for j in range(length):
                    state.seen[to * state.seen_stride + j] = state.seen[row * state.seen_stride + j]
            to += 1
    return to - first
