"""Checks of single pairs without knowledge of the languages: copies, numbers, letters and repetition.

Each returns which pairs of a block fail. The thresholds are chosen so that honest text passes; the false positives on
clean corpora are measured in docs/howto/cleaning.md.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from allyouneed.data.cleaning.characters import Characters, digit_table, letter_table, space_table, without_placeholders

_WORD = re.compile(r"\w+")
_FEWEST_COPIED_WORDS, _FEWEST_COPIED_LETTERS = 4, 15  # of a copy; names and terms are the same in both languages
_SHARED_WORDS = 0.8  # share of the words of the longer side that the other side has, from which it is a copy
_LEAST_LETTERS = 0.3  # share of the visible characters
_FEWEST_VISIBLE = 10  # characters of a text whose letters are counted
_FEWEST_DIGITS = 6  # of both sides together, without zeros
_MANY_DIGITS = 8  # of one side, if the other, which may have its numbers in words, has none
_SHARED_NUMBERS, _SHARED_DIGITS = 0.25, 0.7  # shares of both sides, up to which numbers are different
_NUMBER = re.compile(r"\d+(?:[.,'’\u00a0\u202f٬٫]\d+)*")
_MOST_REPEATS = 4  # times that an n-gram may follow itself
_LONGEST_NGRAM = 6
_FEWEST_UNITS = 8  # words, or characters where words have no spaces
_REPEATED_SHARE = 0.5  # of the text that one repeated n-gram covers


def copies(sources: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """Return the pairs whose target is the source, possibly with other punctuation or a few changed words."""
    return np.fromiter(map(_is_copy, sources, targets), dtype=bool, count=len(sources))


def _is_copy(source: str, target: str) -> bool:
    if source != target and 2 * min(len(source), len(target)) < max(len(source), len(target)):
        return False
    if source != target and source[:2].casefold() != target[:2].casefold() and source[-4:-1] != target[-4:-1]:
        return False
    words = [_WORD.findall(without_placeholders(text).casefold()) for text in (source, target)]
    if sum(map(len, words[0])) < _FEWEST_COPIED_LETTERS or not any(map(str.isalpha, words[0])):
        return False
    if words[0] == words[1]:
        return len(words[0]) >= _FEWEST_COPIED_WORDS or _has_few_spaces(source)
    shared = sum((Counter(words[0]) & Counter(words[1])).values())
    return shared >= 2 * _FEWEST_COPIED_WORDS and shared >= _SHARED_WORDS * max(map(len, words))


def few_letters(source: Characters, target: Characters) -> np.ndarray:
    """Return the pairs one side of which is mostly digits, punctuation and symbols."""
    failed = np.zeros(len(source.lengths), dtype=bool)
    for side in (source, target):
        visible = side.lengths - side.count(space_table())
        letters = side.count(letter_table(), beyond=True)
        failed |= (visible >= _FEWEST_VISIBLE) & (letters < _LEAST_LETTERS * visible)
    return failed


def different_numbers(
    sources: Sequence[str], targets: Sequence[str], characters: tuple[Characters, Characters]
) -> np.ndarray:
    """Return the pairs whose numbers are different.

    Numbers are compared without zeros and separators, in the digits of all scripts and in any order: `1,500,000` and
    `1.5 million` are equal. Pairs with a number in common, or with mostly the same digits, pass, as do pairs one side
    of which has a few numbers in words.
    """
    digits = characters[0].count(digit_table()) + characters[1].count(digit_table())
    failed = np.zeros(len(sources), dtype=bool)
    for index in map(int, np.flatnonzero(digits >= _FEWEST_DIGITS)):
        failed[index] = _has_other_numbers(sources[index], targets[index])
    return failed


def _has_other_numbers(source: str, target: str) -> bool:
    digits = [_digits(text) for text in (source, target)]
    total = sum(map(len, digits))
    if not all(digits):
        return total >= _MANY_DIGITS
    numbers = [[number for each in _NUMBER.findall(text) if (number := _digits(each))] for text in (source, target)]
    return total >= _FEWEST_DIGITS and _overlap(*numbers) <= _SHARED_NUMBERS and _overlap(*digits) < _SHARED_DIGITS


def _digits(text: str) -> str:
    """Return the digits of a text in ASCII, without zeros."""
    return "".join(str(digit) for character in text if (digit := unicodedata.decimal(character, 0)))


def _overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """Return the share of items that two lists have in common."""
    return 2 * (Counter(one) & Counter(other)).total() / (len(one) + len(other))


def repetitions(sources: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """Return the pairs one side of which repeats a word or an n-gram many times, and the other does not."""
    repeated = [np.fromiter(map(_is_repetitive, side), dtype=bool, count=len(side)) for side in (sources, targets)]
    return repeated[0] != repeated[1]


def _is_repetitive(text: str) -> bool:
    """Return whether an n-gram follows itself many times in a text and covers most of it."""
    units: Sequence[str] = text.split()
    if _has_few_spaces(text):
        units = text
    if len(units) < _FEWEST_UNITS or 2 * len(set(units)) > len(units):
        return False
    for size in range(1, _LONGEST_NGRAM + 1):
        run = longest = 0
        for unit, later in zip(units, units[size:], strict=False):
            run = run + 1 if unit == later else 0
            longest = max(longest, run)
        if longest >= _MOST_REPEATS * size and longest + size >= _REPEATED_SHARE * len(units):
            return True
    return False


def _has_few_spaces(text: str) -> bool:
    """Return whether a text has no spaces between words, as Chinese or Thai."""
    return len(text) > 15 * (1 + text.count(" ")) and not text.isascii()
