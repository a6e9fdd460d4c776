"""A decoding step, or several steps of a greedy search, in one call: each thread takes blocks of rows."""

from __future__ import annotations

from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.records import Floats, Longs, Record
from allyouneed.translation.engine.members import Members, advance_all, find_next
from allyouneed.translation.engine.top_tokens import NextTokens


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


@kernel
def step(part, rows, models: Members, top: NextTokens):
    """Advance all rows by one position, and find `top.count` tokens if it is not 0."""
    part_rows = models.members[0].state.part_rows
    first = part * part_rows
    count = min(part_rows, rows - first)
    advance_all(models, part, 0, first, count)
    if top.count:
        find_next(models, top, part, first, count)


@kernel
def greedy(part, models: Members, top: NextTokens, search: GreedyState):
    """Advance rows by up to `state.steps` positions, always choosing the most likely token."""
    state = models.members[0].state
    first = part * state.part_rows
    count, taken = min(state.part_rows, search.rows - first), 0
    while taken < state.steps and count > 0:
        length = advance_all(models, part, taken, first, count)
        find_next(models, top, part, first, count)
        count, taken = _append(models, top, search, first, count, length), taken + 1
    search.active[part] = count


@kernel_function
def _append(models, top, search, first, count, length):
    """Append the token at position `length` to each row, and return the number of unfinished rows."""
    to, end = first, models.members[0].model.end
    for row in range(first, first + count):
        sentence, token, logit = search.sentences[row], top.tokens[row], top.logits[row]
        if length > search.limits[row]:
            token, logit = end, top.end_logits[row]
        search.ids[sentence * search.max_length + length - 1] = token
        search.log_p[sentence * search.max_length + length - 1] = logit - top.normalisers[row]
        if token == end:
            search.lengths[sentence] = length
        else:
            search.limits[to] = search.limits[row]
            search.sentences[to] = sentence
            for index in range(models.count):
                _move_row(models.members[index].state, row, to, token, length)
            to += 1
    return to - first


@kernel_function
def _move_row(state, row, to, token, length):
    """Move an unfinished row of a model to the row `to`, and append its next token."""
    state.tokens[to] = token
    state.sources[to] = state.sources[row]
    state.source_lengths[to] = state.source_lengths[row]
    if to < row:
        for j in range(length):
            state.seen[to * state.seen_stride + j] = state.seen[row * state.seen_stride + j]
