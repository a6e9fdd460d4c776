"""Drafts of the next tokens of a translation, from n-grams of the target language and translations of source tokens.

A token's score is the product of its probability after the two tokens before it, and of the probability that a source
token that is not translated yet, near the one translated last, translates to it, relative to the token's frequency.
A draft takes a few microseconds, and has no influence on the result of a search.
"""

from __future__ import annotations

from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.records import Floats, Longs, Record

_TRANSLATED = 0.05  # weight of a source token that is translated already
_DECAY = 0.8  # of the weight of a source token, per token of distance from the one that is expected next
_LIKELY = 0.05  # a token with this probability is a translation of a source token
_UNSEEN = 1e-4  # probability of all other translations
_LEFT = 0.6  # a source token with this weight is not translated
_END_DECAY = 0.14  # of the score of the end of sentence, per source token that is not translated
_END_SUPPORT = 5.0


class DraftTables(Record):
    """What drafts are made from; see `memory.DraftMemory`."""

    pairs: Longs  # [num_pairs]: pairs of tokens, first · vocab_size + second, ascending
    num_pairs: int
    pair_starts: Longs  # [num_pairs + 1]: index of each pair's first continuation
    pair_tokens: Longs
    pair_p: Floats
    pair_backoff: Floats  # [num_pairs]: factor of a token's probability without the first token of the pair
    starts: Longs  # [vocab_size + 1]: index of each token's first continuation
    tokens: Longs
    p: Floats
    backoff: Floats  # [vocab_size]: factor of a token's frequency
    frequency: Floats  # [vocab_size]: relative frequency
    rarity: Floats  # [vocab_size]: factor of a translation's probability
    translation_starts: Longs  # [source_vocab_size + 1]: index of each source token's first translation
    translations: Longs
    translation_p: Floats
    vocab_size: int
    end: int  # the end-of-sentence token


class DraftWork(Record):
    """Memory for the drafts of one sentence. Some fields have two states: of the translation, and of the draft."""

    source: Longs  # [source_length]: token ids
    source_length: int
    left: Floats  # [2, source_length]: 1 for a token that is not translated, near 0 for a translated one
    last: Longs  # [2]: index of the source token that was translated last, or -1
    weights: Floats  # [source_length]: of the source tokens, for the next token
    support: Floats  # [vocab_size]: the highest probability of a translation times its weight; 0 between calls


@kernel_function
def begin_drafts(work):
    """Begin a sentence: nothing is translated."""
    work.last[0] = -1
    for j in range(work.source_length):
        work.left[j] = 1.0


@kernel_function
def draft(tables, work, previous, last, count, drafted):
    """Write at most `count` tokens that may follow the tokens `previous` and `last` to `drafted`; return how many.

    The end of sentence is not written, since nothing follows it.
    """
    for j in range(work.source_length):
        work.left[work.source_length + j] = work.left[j]
    work.last[1] = work.last[0]
    number = 0
    while number < count:
        token = _best_token(tables, work, previous, last)
        if token == tables.end:
            return number
        drafted[number] = token
        number += 1
        mark_translated(tables, work, token, 1)
        previous, last = last, token
    return number


@kernel_function
def mark_translated(tables, work, token, state):
    """Mark the source tokens that a target token translates; state: 0 of the translation, 1 of the draft."""
    left, total, highest, best = work.left + state * work.source_length, 1e-3, 0.0, -1
    for j in range(work.source_length):
        p = _translation_p(tables, work.source[j], token)
        share = p * (_TRANSLATED + left[j])
        total += share
        if p > _LIKELY and share > highest:
            highest, best = share, j
    if best >= 0:
        work.last[state] = best
        for j in range(work.source_length):
            p = _translation_p(tables, work.source[j], token)
            left[j] = min(left[j], 1.0 - p * (_TRANSLATED + left[j]) / total)


@kernel_function
def _translation_p(tables, source, token):
    """Return the probability that a source token translates to a target token."""
    for index in range(tables.translation_starts[source], tables.translation_starts[source + 1]):
        if tables.translations[index] == token:
            return tables.translation_p[index]
    return 0.0


@kernel_function
def _best_token(tables, work, previous, last):
    """Return the token with the highest score after two tokens."""
    end_score = _weigh(tables, work)
    pair, backoff, best, highest = _find_pair(tables, previous * tables.vocab_size + last), 1.0, tables.end, 0.0
    if pair >= 0:
        backoff = tables.pair_backoff[pair]
        for index in range(tables.pair_starts[pair], tables.pair_starts[pair + 1]):
            token = tables.pair_tokens[index]
            score = tables.pair_p[index] * _likelihood(tables, work, token, end_score)
            if score > highest:
                best, highest = token, score
    for index in range(tables.starts[last], tables.starts[last + 1]):
        token = tables.tokens[index]
        score = backoff * tables.p[index] * _likelihood(tables, work, token, end_score)
        if score > highest:
            best, highest = token, score
    backoff *= tables.backoff[last]
    for j in range(work.source_length):
        for index in range(tables.translation_starts[work.source[j]], tables.translation_starts[work.source[j] + 1]):
            token = tables.translations[index]
            score = backoff * tables.frequency[token] * _likelihood(tables, work, token, end_score)
            if score > highest:
                best, highest = token, score
    _clear(tables, work)
    return best


@kernel_function
def _likelihood(tables, work, token, end_score):
    """Return the factor of a token's probability that the source contributes."""
    if token == tables.end:
        return end_score
    return (work.support[token] + _UNSEEN) * tables.rarity[token]


@kernel_function
def _weigh(tables, work):
    """Fill `work.support`, and return the factor of the end of sentence."""
    left, expected, end_score, distance = work.left + work.source_length, work.last[1] + 1, _END_SUPPORT, 1.0
    for j in range(expected, work.source_length):
        work.weights[j] = distance * (_TRANSLATED + left[j])
        distance *= _DECAY
    distance = 1.0
    for before in range(1, expected + 1):
        distance *= _DECAY
        work.weights[expected - before] = distance * (_TRANSLATED + left[expected - before])
    for j in range(work.source_length):
        if left[j] > _LEFT:
            end_score *= _END_DECAY
        for index in range(tables.translation_starts[work.source[j]], tables.translation_starts[work.source[j] + 1]):
            token = tables.translations[index]
            work.support[token] = max(work.support[token], tables.translation_p[index] * work.weights[j])
    return end_score


@kernel_function
def _clear(tables, work):
    for j in range(work.source_length):
        for index in range(tables.translation_starts[work.source[j]], tables.translation_starts[work.source[j] + 1]):
            work.support[tables.translations[index]] = 0.0


@kernel_function
def _find_pair(tables, key):
    """Return the index of a pair of tokens, or -1."""
    low, high = 0, tables.num_pairs
    while low < high:
        middle = (low + high) // 2
        if tables.pairs[middle] < key:
            low = middle + 1
        else:
            high = middle
    if low < tables.num_pairs and tables.pairs[low] == key:
        return low
    return -1
