"""Endless repetition ("the the the ..."): recognised in a translation's tokens, and translated again without it.

A model may repeat itself until the maximum length, above all for text unlike that of its training (Holtzman et al.
2020, "The Curious Case of Neural Text Degeneration"). Such a translation is searched again with repeated n-grams
forbidden. Others are not changed: the check counts repeated pairs of tokens, which takes microseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from allyouneed.translation.batch_search import BatchSearch
from allyouneed.translation.search import Hypothesis

_WINDOWS = (16, 32, 64)  # tokens; a phrase of a third of a window is found when it occurs for the third time
_FEWEST_REPEATS = 10  # pairs of tokens that occurred before
_REPETITIVE = 2 / 3  # share of such pairs in a window
_REPETITIVE_SOURCE = 1 / 2
_NGRAM_SIZES = (3, 2)  # forbidden n-grams of the first and the second attempt
SEARCHED_AGAIN = "The model repeated itself; this translation was made with repetitions forbidden."
REPETITIVE = "The translation repeats itself."

Search = Callable[[list[list[int]], BatchSearch], list[list[Hypothesis]]]


class GuardedSearch(NamedTuple):
    """Results of a search without endless repetition.

    Attributes:
        found: The hypotheses of each sentence, best first.
        problems: For each sentence, what should be known about its translation, or "".
    """

    found: list[list[Hypothesis]]
    problems: list[str]


def search_guarded(sentences: list[list[int]], search: BatchSearch, run: Search) -> GuardedSearch:
    """Search sentences; those whose best translation repeats itself, again with repeated n-grams forbidden.

    Args:
        sentences: Token ids of each sentence with the end of sentence.
        search: Options and constraints. If they forbid n-grams themselves, nothing is searched again.
        run: Runs a search.
    """
    found = run(sentences, search)
    problems = [""] * len(sentences)
    if not search.options.repetition_guard:
        return GuardedSearch(found, problems)

    def is_repetitive(index: int) -> bool:
        prefix = search.constraints.prefixes[index] if search.constraints and search.constraints.prefixes else ()
        generated = found[index][0].ids
        is_forced = len(generated) <= max(search.options.min_decoding_length, len(prefix))
        return not is_forced and repeats_itself(generated, sentences[index][:-1], prefix)

    remaining = [index for index in range(len(sentences)) if is_repetitive(index)]
    sizes = () if search.options.no_repeat_ngram_size else _NGRAM_SIZES
    for index in remaining:
        problems[index] = SEARCHED_AGAIN if sizes else REPETITIVE
    for size in sizes:
        if not remaining:
            break
        again = run([sentences[index] for index in remaining], search.without_repeats(remaining, size))
        for index, hypotheses in zip(remaining, again, strict=True):
            found[index] = hypotheses
        remaining = [index for index in remaining if is_repetitive(index)]
    for index in remaining:
        problems[index] = REPETITIVE
    for index, (best, *_) in enumerate(found):  # a source that repeats itself may be repeated, but not without an end
        longest = search.options.longest_output(len(sentences[index]) - 1, search.positions)
        is_cut = len(best.ids) >= longest > len(sentences[index]) - 1
        if is_cut and not problems[index] and repeats_itself(best.ids):
            problems[index] = REPETITIVE
    return GuardedSearch(found, problems)


def repeats_itself(generated: Sequence[int], source: Sequence[int] = (), prefix: Sequence[int] = ()) -> bool:
    """Return whether a translation repeats itself much more than its source.

    Args:
        generated: Token ids of the translation.
        source: Token ids of the source.
        prefix: Token ids that the translation had to begin with.
    """
    repeats = _repeats(generated)
    if repeats < _FEWEST_REPEATS or not _is_repetitive(generated, _REPETITIVE):
        return False
    allowed = _FEWEST_REPEATS + _repeats(prefix)
    if _is_repetitive(source, _REPETITIVE_SOURCE):
        allowed += 3 * _repeats(source)  # a word that is one token may become three
    return repeats >= allowed


def _repeats(tokens: Sequence[int]) -> int:
    """Return the number of pairs of tokens that occurred before."""
    return max(0, len(tokens) - 1 - len(set(pairwise(tokens))))


def _is_repetitive(tokens: Sequence[int], share: float) -> bool:
    """Return whether the share of repeated pairs in some window, or in a shorter text, is at least `share`."""
    pairs = list(pairwise(tokens))
    if not pairs:
        return False
    for width in {min(window - 1, len(pairs)) for window in _WINDOWS}:
        inside: Counter[tuple[int, int]] = Counter()
        for index, pair in enumerate(pairs):
            inside[pair] += 1
            if index >= width:
                left = pairs[index - width]
                inside[left] -= 1
                if not inside[left]:
                    del inside[left]
            if index + 1 >= width and width - len(inside) >= share * width:
                return True
    return False
