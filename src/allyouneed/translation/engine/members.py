"""The models of a search: one, or an ensemble whose probabilities are averaged at each step."""

from __future__ import annotations

from allyouneed.kernels import LANES, MASKED, Mode
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.lanes import pad_to_lanes
from allyouneed.kernels.product import Rows, multiply_columns, round_rows
from allyouneed.kernels.records import Floats, Longs, Record
from allyouneed.kernels.simd import any_above, broadcast, exp, log, maximum, reduce_max, reduce_sum
from allyouneed.kernels.simd_memory import load, store
from allyouneed.translation.engine.decoder import DecoderState, Workspace, advance, begin_step
from allyouneed.translation.engine.screen import LEAST_SCORED, screen_top_tokens
from allyouneed.translation.engine.top_tokens import CHUNK, find_top_tokens, insert_token
from allyouneed.translation.engine.weights import DecoderWeights

_LEAST = 1e-37  # a positive probability, for the logarithm of the end of sentence


class Member(Record):
    """A model and its state in a search."""

    model: DecoderWeights
    state: DecoderState
    work: Workspace
    sources: Longs | None  # in beam search: `DecoderState.sources` of each sentence
    source_lengths: Longs | None  # [sentences]
    seen: Longs | None  # [rows, seen_stride]: temporary memory for reordering `DecoderState.seen`


class Members(Record):
    """The models of a search. All have the same vocabulary."""

    members: Member  # [count]
    count: int
    padded_vocab: int
    logits: Floats | None  # fp32 [rows, padded_vocab], of an ensemble
    average: Floats | None  # fp32 [rows, padded_vocab]: sums of probabilities


@kernel_function
def advance_all(models, part, number, first, count):
    """Advance `count` rows of all models, starting at `first`; return the new number of positions."""
    length = 0
    for index in range(models.count):
        member = models.members[index]
        position = begin_step(member.model, member.state, part, number, first, count)
        advance(member.model, member.state, member.work, part, first, count, position)
        length = position.length
    return length


@kernel_function
def find_next(models, top, part, first, count):
    """Find the top tokens of `count` rows; those of one model may be screened, with the same tokens."""
    member = models.members[0]
    if models.count > 1:
        _find_average(models, top, part, first, count)
    elif member.work.screen and (not top.with_scores or top.count >= LEAST_SCORED):
        screen_top_tokens(member.model, top, member.work, first, count)
        for row in range(first, first + count):
            if member.work.screen.is_exact[row] == 0:
                find_top_tokens(member.model, top, member.work, part, row, 1)
    else:
        find_top_tokens(member.model, top, member.work, part, first, count)


@kernel_function
def _find_average(models, top, part, first, count):
    """Find the tokens with the greatest average probability; `top.logits` are their log probabilities."""
    padded, end = models.padded_vocab, models.members[0].model.end
    average, log_count = models.average + first * padded, log(models.count)
    for index in range(models.count):
        _add_probabilities(models.members[index], models, part, first, count, index == 0)
    for row in range(first, first + count):
        line, logits, tokens = (
            average + (row - first) * padded,
            top.logits + row * top.count,
            top.tokens + row * top.count,
        )
        for j in range(top.count):
            logits[j] = 0.0
            tokens[j] = 0
        for begin in range(0, padded, LANES):
            if any_above(load(line, begin), logits[top.count - 1]):
                for token in range(begin, begin + LANES):
                    if line[token] > logits[top.count - 1]:
                        insert_token(line[token], token, logits, tokens, top.count)
        for j in range(top.count):
            logits[j] = log(logits[j]) - log_count if logits[j] > 0.0 else MASKED
        top.end_logits[row] = log(max(line[end], _LEAST)) - log_count
        top.normalisers[row] = 0.0


@kernel_function
def _add_probabilities(member, models, part, first, count, is_first):
    """Add a model's probabilities of every token to `models.average`."""
    model, work, padded = member.model, member.work, models.padded_vocab
    hidden, logits, average = (
        work.hidden + first * model.d_model,
        models.logits + first * padded,
        models.average + first * padded,
    )
    rounded = round_rows(hidden, count, model.output, work.rounded + part * work.rounded_size)
    for begin in range(0, model.vocab_size, CHUNK):
        width = pad_to_lanes(min(CHUNK, model.vocab_size - begin))
        multiply_columns(hidden, rounded, count, model.output, begin, width, Rows(logits + begin, padded), Mode.SET)
    for row in range(count):
        line, to = logits + row * padded, average + row * padded
        for token in range(model.vocab_size, padded):
            line[token] = MASKED
        for j in range(model.num_forbidden):
            line[model.forbidden[j]] = MASKED
        top = broadcast(MASKED)
        for j in range(0, padded, LANES):
            top = maximum(top, load(line, j))
        highest, summed = reduce_max(top), broadcast(0.0)
        for j in range(0, padded, LANES):
            probabilities = exp(load(line, j) - highest)
            store(line, j, probabilities)
            summed = summed + probabilities
        share = 1 / reduce_sum(summed)
        for j in range(0, padded, LANES):
            if is_first:
                store(to, j, load(line, j) * share)
            else:
                store(to, j, load(to, j) + load(line, j) * share)
