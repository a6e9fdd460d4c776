"""Beam search without a word of Python between its steps: blocks of sentences, each by one thread.

The twin of `BeamSearch` in `translation/search.py`, whose decisions these are, in the same order and precision. What a
hypothesis has said is not copied from step to step: of each place in the beam, at each step, there is the word and the
place that it came from, and a sentence that is finished reads its best hypotheses from their ends.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from allyouneed.kernels import UNSAID
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.simd import get, get_double, get_long, put, put_double, put_long
from allyouneed.translation.engine.decoder import D_MODEL, END, advance, likeliest, width_of

# Places of a candidate, eight bytes each: its total, the place that it came from, its word and what that added.
_TOTAL, _PARENT, _WORD, _ADDED, CANDIDATE = range(5)
# Places of a finished hypothesis: its score, how many words it has, the end included, and as a candidate.
_SCORE, _LENGTH, _FROM, _END_ADDED, FINISHED = range(5)


@njit
def _insert(value, found, most, size, records):
    """Room for a record of that value, its first number, among `found` that are sorted from the largest, of equals the
    first first: its place, or `most` if there is none. The last makes way."""
    if found == most:
        if not value > get_double(records, (most - 1) * size):
            return most
        found -= 1
    place = found
    while place > 0 and value > get_double(records, (place - 1) * size):
        for j in range(size):
            put_long(records, place * size + j, get_long(records, (place - 1) * size + j))
        place -= 1
    return place


@njit
def _candidates(width, count, scores, tops, words, ends, normalisers, end, at_limit, most, out):
    """The best `most` continuations of a sentence's `width` hypotheses, of each of which `count` words are known. ->
    how many there are."""
    found = 0
    for parent in range(width):
        score, normaliser = get_double(scores, parent), get(normalisers, parent)
        for j in range(count):
            top, word = get(tops, parent * count + j), get_long(words, parent * count + j)
            added = -math.inf if at_limit or top <= UNSAID else np.float64(top - normaliser)
            if at_limit and j == 0:  # as long as it may be: only the end is left
                added, word = np.float64(get(ends, parent) - normaliser), end
            place = _insert(score + added, found, most, CANDIDATE, out)
            if place < most:
                put_double(out, place * CANDIDATE + _TOTAL, score + added)
                put_long(out, place * CANDIDATE + _PARENT, parent)
                put_long(out, place * CANDIDATE + _WORD, word)
                put_double(out, place * CANDIDATE + _ADDED, added)
                found = min(found + 1, most)
    return found


@njit
def _finish(candidates, count, length, penalty, end, wanted, known, finished):
    """Those of the first `count` candidates that end are hypotheses: the best `wanted` of all are kept. -> how many."""
    for i in range(count):
        total = get_double(candidates, i * CANDIDATE + _TOTAL)
        if get_long(candidates, i * CANDIDATE + _WORD) == end and total > -math.inf:
            place = _insert(total / penalty, known, wanted, FINISHED, finished)
            if place < wanted:
                put_double(finished, place * FINISHED + _SCORE, total / penalty)
                put_long(finished, place * FINISHED + _LENGTH, length)
                put_long(finished, place * FINISHED + _FROM, get_long(candidates, i * CANDIDATE + _PARENT))
                put_double(finished, place * FINISHED + _END_ADDED, get_double(candidates, i * CANDIDATE + _ADDED))
                known = min(known + 1, wanted)
    return known


@njit
def _go_on(candidates, count, beam, end, said, came_from, added, scores):
    """The best `beam` of the others go on; where there are not so many, places whose score is -inf. -> the best score.

    said, came_from: int64 [beam]; added: fp32 [beam]: of this step; scores: fp64 [beam].
    """
    place, best = 0, -math.inf
    for ending in range(2):
        for i in range(count):
            word = get_long(candidates, i * CANDIDATE + _WORD)
            if place < beam and (word == end) == (ending == 1):
                total = -math.inf if ending else get_double(candidates, i * CANDIDATE + _TOTAL)
                put_long(said, place, word)
                put_long(came_from, place, get_long(candidates, i * CANDIDATE + _PARENT))
                put(added, place, get_double(candidates, i * CANDIDATE + _ADDED))
                put_double(scores, place, total)
                best = max(best, total)
                place += 1
    return best


@njit
def _write_out(known, finished, end, beam, most, said, came_from, added, ids, log_p, lengths):
    """The best hypotheses of a sentence, from their ends: as `search` has them, of one sentence."""
    for i in range(known):
        length, place = get_long(finished, i * FINISHED + _LENGTH), get_long(finished, i * FINISHED + _FROM)
        put_long(lengths, i, length)
        put_long(ids, i * most + length - 1, end)
        put(log_p, i * most + length - 1, get_double(finished, i * FINISHED + _END_ADDED))
        for step in range(length - 2, -1, -1):
            put_long(ids, i * most + step, get_long(said, step * beam + place))
            put(log_p, i * most + step, get(added, step * beam + place))
            place = get_long(came_from, step * beam + place)


@kernel
def search(
    part, block,  # sentences of a part
    sentences_left,  # that are going on; those of a block that end give way to those after them, in what is marked by *
    model,
    beam,
    tokens,  # int64 [sentences_left, beam]*: what was said last
    scores,  # fp64 [sentences_left, beam]*
    positions,  # fp32 [steps, d_model]
    kept,  # fp32 [parts, steps, block · beam, layers, heads · (d_k + d_v)]
    seen,  # int64 [sentences_left, beam, room]*
    room, length,  # positions seen before; before the first, each sentence has but one hypothesis
    memory,  # int64 [sentences_left]*
    sources,  # int64 [sentences_left]*
    longest,
    limits,  # int64 [sentences_left]*: words that a hypothesis may say, its end not counted
    sentences,  # int64 [sentences_left]*: which one it is
    steps,  # at most
    more_is_kinder,  # whether the penalty of the longest hypothesis helps most, else that of the next
    penalties,  # fp64 [most + 2]: of each length, its end counted
    wanted,  # hypotheses of each sentence
    going_on,  # int64 [parts]: sentences left
    said, came_from, added,  # int64, int64, fp32 [sentences, most, beam]: of each place, at each step
    known,  # int64 [sentences]: hypotheses that are finished, at most `wanted`
    finished,  # [sentences, wanted, FINISHED], eight bytes each
    ids, log_p,  # int64, fp32 [sentences, wanted, most]: of finished sentences, ends included
    lengths,  # int64 [sentences, wanted]
    most,
    scratch,  # a part: as `scratch_longs` says, fp32 [block · beam, d_model], and what else `Engine` counts
    scratch_size,
):  # fmt: skip
    """Up to `steps` positions more."""
    begin = part * block
    count = min(block, sentences_left - begin)
    end, d_model, most_rows, looked_at = get_long(model, END), get_long(model, D_MODEL), block * beam, 2 * beam
    width_kept = 4 * width_of(model)  # in bytes
    tokens, scores, seen = tokens + 8 * begin * beam, scores + 8 * begin * beam, seen + 8 * begin * beam * room
    memory, sources, limits = memory + 8 * begin, sources + 8 * begin, limits + 8 * begin
    sentences += 8 * begin
    kept += part * steps * most_rows * width_kept
    candidates = scratch + part * scratch_size
    row_memory = candidates + 8 * looked_at * CANDIDATE
    row_sources = row_memory + 8 * most_rows
    words = row_sources + 8 * most_rows
    seen_next = words + 8 * most_rows * looked_at
    tops = seen_next + 8 * most_rows * room
    ends = tops + 4 * most_rows * looked_at
    normalisers = ends + 4 * most_rows
    hidden = normalisers + 4 * most_rows
    rest = hidden + 4 * most_rows * d_model
    taken = 0
    while taken < steps and count > 0:
        place, here = length + taken, kept + taken * most_rows * width_kept
        width = beam if place else 1
        rows = count * width
        for row in range(rows):
            put_long(seen, row * room + place, here + row * width_kept)
            put_long(row_memory, row, get_long(memory, row // width))
            put_long(row_sources, row, get_long(sources, row // width))
        position = positions + 4 * taken * d_model
        advance(
            model, rows, most_rows, tokens, position, here, seen, room, place + 1, row_memory, row_sources, longest,
            rest, hidden,
        )  # fmt: skip
        likeliest(model, rows, most_rows, hidden, looked_at, True, tops, words, ends, normalisers, rest)
        left = 0
        for i in range(count):
            sentence, limit, row = get_long(sentences, i), get_long(limits, i), i * width
            history, own = (sentence * most + place) * beam, finished + 8 * sentence * wanted * FINISHED
            found = _candidates(
                width, looked_at, scores + 8 * i * beam, tops + 4 * row * looked_at, words + 8 * row * looked_at,
                ends + 4 * row, normalisers + 4 * row, end, place + 1 > limit, looked_at, candidates,
            )  # fmt: skip
            done = _finish(
                candidates, min(beam, found), place + 1, get_double(penalties, place + 1), end, wanted,
                get_long(known, sentence), own,
            )  # fmt: skip
            put_long(known, sentence, done)
            best = _go_on(
                candidates, found, beam, end, said + 8 * history, came_from + 8 * history, added + 4 * history,
                scores + 8 * left * beam,
            )  # fmt: skip
            kindest = get_double(penalties, limit + 1 if more_is_kinder else place + 2)
            surpassed = done == wanted and get_double(own, (wanted - 1) * FINISHED + _SCORE) >= best / kindest
            if place + 1 > limit or best == -math.inf or surpassed:
                first = sentence * most * beam
                out = sentence * wanted * most
                _write_out(
                    done, own, end, beam, most, said + 8 * first, came_from + 8 * first, added + 4 * first,
                    ids + 8 * out, log_p + 4 * out, lengths + 8 * sentence * wanted,
                )  # fmt: skip
            else:
                put_long(memory, left, get_long(memory, i))
                put_long(sources, left, get_long(sources, i))
                put_long(limits, left, limit)
                put_long(sentences, left, sentence)
                for j in range(beam):
                    put_long(tokens, left * beam + j, get_long(said, history + j))
                    parent = row + get_long(came_from, history + j)
                    for k in range(place + 1):
                        put_long(seen_next, (left * beam + j) * room + k, get_long(seen, parent * room + k))
                left += 1
        for row in range(left * beam):
            for k in range(place + 1):
                put_long(seen, row * room + k, get_long(seen_next, row * room + k))
        count, taken = left, taken + 1
    put_long(going_on, part, count)


def scratch_longs(rows: int, beam: int, room: int) -> int:
    """Numbers of eight bytes that `search` needs for a part of so many rows, with the fp32s of words and ends."""
    return 2 * beam * CANDIDATE + rows * (2 + 2 * beam + room + (2 * beam + 2) // 2)
