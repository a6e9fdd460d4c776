"""Beam search in compiled code: each thread searches blocks of sentences.

The search makes the same decisions as `BeamSearch` in `translation/beam_search.py`, in the same order and precision.
Hypotheses are not copied from step to step: each step stores, for each slot of the beam, its token and its parent slot.
The hypotheses of a finished sentence are read backwards from their ends.
"""

from __future__ import annotations

import math

import numpy as np

from allyouneed.kernels import MASKED_BELOW
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.records import Doubles, Float64, Floats, Longs, Record, copy_record
from allyouneed.translation.engine.members import Members, advance_all, find_next
from allyouneed.translation.engine.top_tokens import NextTokens


class Candidate(Record):
    """A continuation of a hypothesis."""

    score: Float64  # log probability of the whole hypothesis
    parent: int  # slot of the continued hypothesis
    token: int
    log_p: Float64  # log probability of the token


class FinishedHypothesis(Record):
    """A hypothesis that has ended."""

    score: Float64  # log probability divided by the length penalty
    length: int  # number of tokens, the end included
    parent: int  # slot of the hypothesis before the end
    end_log_p: Float64


class BeamTask(Record):
    """A whole beam search: its options, its history and its results."""

    beam: int
    num_hypotheses: int  # per sentence
    max_length: int  # maximum length of a hypothesis, the end included
    penalties: Doubles  # fp64 [max_length + 2]: length penalty of each length, the end included
    favours_long: int  # whether the penalty helps longer hypotheses
    history_tokens: Longs  # [sentences, max_length, beam]: token of each slot at each step
    history_parents: Longs  # [sentences, max_length, beam]: parent slot of each slot
    history_log_p: Floats  # fp32 [sentences, max_length, beam]
    num_finished: Longs  # [sentences]
    finished: FinishedHypothesis  # [sentences, num_hypotheses], best first
    ids: Longs  # [sentences, num_hypotheses, max_length]: tokens of finished sentences, ends included
    log_p: Floats  # fp32 [sentences, num_hypotheses, max_length]
    lengths: Longs  # [sentences, num_hypotheses]


class BeamState(Record):
    """The unfinished sentences. A finished sentence is removed by moving the later sentences of its part forward."""

    task: BeamTask
    part_sentences: int
    sentences_left: int
    scores: Doubles  # fp64 [sentences_left, beam]: log probabilities
    limits: Longs  # [sentences_left]: maximum number of tokens of a hypothesis, its end not counted
    sentences: Longs  # [sentences_left]: index of the sentence in the task
    active: Longs  # [parts], output: number of unfinished sentences
    candidates: Candidate  # [parts, 2 · beam]: temporary memory for one sentence


@kernel_function
def _insert(score, count, limit, records):
    """Make space for a record in a list sorted by descending score, equal scores in order of insertion.

    Return the index of the new record, or `limit` if the list is full of better ones. A full list drops its last one.
    """
    if count == limit:
        if not score > records[limit - 1].score:
            return limit
        count -= 1
    index = count
    while index > 0 and score > records[index - 1].score:
        copy_record(records[index - 1], records[index])
        index -= 1
    return index


@kernel_function
def _find_candidates(task, top, model, row, width, scores, at_limit, candidates):
    """Find the best continuations of a sentence's `width` hypotheses, starting at `row`; return their number."""
    found, limit = 0, 2 * task.beam
    for parent in range(width):
        score, normaliser = scores[parent], top.normalisers[row + parent]
        for j in range((row + parent) * top.count, (row + parent + 1) * top.count):
            logit, token = top.logits[j], top.tokens[j]
            log_p = -math.inf if at_limit or logit <= MASKED_BELOW else np.float64(logit - normaliser)
            if at_limit and j == (row + parent) * top.count:  # only the end of sentence may follow
                log_p, token = np.float64(top.end_logits[row + parent] - normaliser), model.end
            index = _insert(score + log_p, found, limit, candidates)
            if index < limit:
                candidate = candidates[index]
                candidate.score = score + log_p
                candidate.parent = parent
                candidate.token = token
                candidate.log_p = log_p
                found = min(found + 1, limit)
    return found


@kernel_function
def _finish(task, candidates, count, length, end, known, finished):
    """Add those of the first `count` candidates that end to the finished hypotheses; return how many are finished."""
    penalty, limit = task.penalties[length], task.num_hypotheses
    for i in range(count):
        candidate = candidates[i]
        if candidate.token == end and candidate.score > -math.inf:
            score = candidate.score / penalty
            index = _insert(score, known, limit, finished)
            if index < limit:
                hypothesis = finished[index]
                hypothesis.score = score
                hypothesis.length = length
                hypothesis.parent = candidate.parent
                hypothesis.end_log_p = candidate.log_p
                known = min(known + 1, limit)
    return known


@kernel_function
def _continue(task, candidates, count, end, history, scores):
    """Fill the beam with the best candidates that do not end, then with slots of score -inf; return the best score.

    history: index of this step in the history; scores: output, fp64 [beam].
    """
    slot, best = 0, -math.inf
    for ending in range(2):
        for i in range(count):
            candidate = candidates[i]
            if slot < task.beam and (candidate.token == end) == (ending == 1):
                score = -math.inf if ending else candidate.score
                task.history_tokens[history + slot] = candidate.token
                task.history_parents[history + slot] = candidate.parent
                task.history_log_p[history + slot] = candidate.log_p
                scores[slot] = score
                best = max(best, score)
                slot += 1
    return best


@kernel_function
def _write_results(task, sentence, known, finished, end):
    """Write the hypotheses of a finished sentence, following their parent slots backwards."""
    first = sentence * task.max_length * task.beam
    for i in range(known):
        hypothesis, row = finished[i], sentence * task.num_hypotheses + i
        length, slot, to = hypothesis.length, hypothesis.parent, row * task.max_length
        task.lengths[row] = length
        task.ids[to + length - 1] = end
        task.log_p[to + length - 1] = hypothesis.end_log_p
        for number in range(length - 2, -1, -1):
            index = first + number * task.beam + slot
            task.ids[to + number] = task.history_tokens[index]
            task.log_p[to + number] = task.history_log_p[index]
            slot = task.history_parents[index]


@kernel_function
def _decide(search, top, model, part, i, to, row, width, length):
    """Choose the continuations of the sentence at index `i` of a part; return whether it is unfinished.

    to: new index of the sentence in the part; row, width: first row and number of its hypotheses.
    """
    task, first = search.task, part * search.part_sentences
    sentence, limit = search.sentences[first + i], search.limits[first + i]
    candidates = search.candidates[part * 2 * task.beam]
    finished = task.finished[sentence * task.num_hypotheses]
    scores, at_limit = search.scores + (first + i) * task.beam, length > limit
    found = _find_candidates(task, top, model, row, width, scores, at_limit, candidates)
    known = task.num_finished[sentence]
    known = _finish(task, candidates, min(task.beam, found), length, model.end, known, finished)
    task.num_finished[sentence] = known
    history = (sentence * task.max_length + length - 1) * task.beam
    new_scores = search.scores + (first + to) * task.beam
    best = _continue(task, candidates, found, model.end, history, new_scores)
    penalty = task.penalties[limit + 1 if task.favours_long else length + 1]
    worst = task.num_hypotheses - 1
    surpassed = known == task.num_hypotheses and finished[worst].score >= best / penalty
    if at_limit or best == -math.inf or surpassed:
        _write_results(task, sentence, known, finished, model.end)
        return False
    return True


@kernel_function
def _move(search, models, part, i, to, row, length):
    """Move a sentence of a part from index `i` to `to`, and reorder the address lists of its hypotheses."""
    task, first = search.task, part * search.part_sentences
    beam, sentence = task.beam, search.sentences[first + i]
    search.limits[first + to] = search.limits[first + i]
    search.sentences[first + to] = sentence
    history = (sentence * task.max_length + length - 1) * beam
    for index in range(models.count):
        member, state = models.members[index], models.members[index].state
        stride = state.seen_stride
        member.sources[first + to] = member.sources[first + i]
        member.source_lengths[first + to] = member.source_lengths[first + i]
        for slot in range(beam):
            new_row = (first + to) * beam + slot
            state.tokens[new_row] = task.history_tokens[history + slot]
            parent = row + task.history_parents[history + slot]
            for k in range(length):
                member.seen[new_row * stride + k] = state.seen[parent * stride + k]


@kernel_function
def _expand_sources(models, first_row, first, rows, width):
    """Give each row of all models its sentence's source; `width` rows belong to a sentence."""
    for index in range(models.count):
        member, state = models.members[index], models.members[index].state
        for row in range(rows):
            state.sources[first_row + row] = member.sources[first + row // width]
            state.source_lengths[first_row + row] = member.source_lengths[first + row // width]


@kernel_function
def _reorder(models, first_row, rows, length):
    """Replace the address lists of all rows by the reordered ones."""
    for index in range(models.count):
        member, state = models.members[index], models.members[index].state
        for row in range(first_row, first_row + rows):
            for k in range(length):
                state.seen[row * state.seen_stride + k] = member.seen[row * state.seen_stride + k]


@kernel
def search_beam(part, models: Members, top: NextTokens, search: BeamState):
    """Advance the hypotheses of all sentences by up to `state.steps` positions."""
    model, state = models.members[0].model, models.members[0].state
    first_row, first, taken, beam = part * state.part_rows, part * search.part_sentences, 0, search.task.beam
    count = min(search.part_sentences, search.sentences_left - first)
    while taken < state.steps and count > 0:
        width = beam if state.length + taken else 1  # before the first position a sentence has one hypothesis
        rows = count * width
        _expand_sources(models, first_row, first, rows, width)
        length = advance_all(models, part, taken, first_row, rows)
        find_next(models, top, part, first_row, rows)
        left = 0
        for i in range(count):
            row = first_row + i * width
            if _decide(search, top, model, part, i, left, row, width, length):
                _move(search, models, part, i, left, row, length)
                left += 1
        _reorder(models, first_row, left * beam, length)
        count, taken = left, taken + 1
    search.active[part] = count
