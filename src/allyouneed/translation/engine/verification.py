"""Greedy search of one sentence that verifies drafted tokens: several positions in one step of the decoder.

A step with one row takes nearly as long as one with a few rows, since it is limited by reading the weights and by fixed
costs. The rows of a step are the last token and the drafted tokens after it. The decoder's token after each row is what
greedy search generates, as long as the drafted tokens before it were generated too (Stern et al. 2018, "Blockwise
Parallel Decoding"; Leviathan et al. 2023; Yang et al. 2023). A row's sums do not depend on the other rows, so the
result is bitwise that of `greedy`.
"""

from __future__ import annotations

from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.records import Floats, Longs, Record
from allyouneed.translation.engine.decoder import advance, begin_sequence
from allyouneed.translation.engine.drafts import DraftTables, DraftWork, begin_drafts, draft, mark_translated
from allyouneed.translation.engine.members import Members, find_next
from allyouneed.translation.engine.top_tokens import NextTokens


class DraftedSearch(Record):
    """The search of one sentence."""

    tables: DraftTables
    work: DraftWork
    count: int  # maximum number of drafted tokens in a step
    begin: int  # the start-of-sentence token
    limit: int  # maximum number of tokens, the end not counted
    ids: Longs  # [limit + 1]: tokens generated
    log_p: Floats  # fp32 [limit + 1]
    progress: Longs  # [2]: number of tokens generated, 0 if unfinished; number of steps


@kernel
def search_drafted(part, models: Members, top: NextTokens, search: DraftedSearch):
    """Advance a sentence by `state.steps` positions, or to its end."""
    state, number = models.members[0].state, 0
    if state.length == 0:
        begin_drafts(search.work)
    while number < state.steps and search.progress[0] == 0:
        length = state.length + number
        count = _draft(search, state, length, min(search.count, state.steps - number - 1, search.limit - length))
        for index in range(models.count):
            member = models.members[index]
            position = begin_sequence(member.model, member.state, number)
            advance(member.model, member.state, member.work, part, 0, count, position)
        find_next(models, top, part, 0, count)
        search.progress[1] += 1
        number += _accept(models, top, search, length, count)


@kernel_function
def _draft(search, state, length, count):
    """Write the tokens of the next rows to `state.tokens`: the last of `length` tokens, and at most `count` drafts."""
    previous = last = search.begin
    if length > 0:
        last = search.ids[length - 1]
    if length > 1:
        previous = search.ids[length - 2]
    state.tokens[0] = last
    return 1 + draft(search.tables, search.work, previous, last, count, state.tokens + 1)


@kernel_function
def _accept(models, top, search, length, count):
    """Append the tokens after the rows whose tokens were generated, and return their number."""
    tokens, end, row, is_next = models.members[0].state.tokens, models.members[0].model.end, 0, True
    while is_next:
        token, logit = top.tokens[row], top.logits[row]
        if length + row >= search.limit:
            token, logit = end, top.end_logits[row]
        search.ids[length + row] = token
        search.log_p[length + row] = logit - top.normalisers[row]
        mark_translated(search.tables, search.work, token, 0)
        row += 1
        if token == end:
            search.progress[0] = length + row
        is_next = token != end and row < count and tokens[row] == token
    return row
