"""Placement of kept parts in a translation: they replace the words that translate their stand-ins."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from allyouneed.translation.protection.masking import needs_space
from allyouneed.translation.word_alignment import AlignedWords, Span

_CERTAIN = 0.35  # minimum attention to a stand-in for its translation to be recognised by attention alone
_PUNCTUATION = ",;:、，；："  # what follows a kept part in the source, and hence in the translation
_ENDS = ".!?…。！？"
_OPENING = "([{<\"'“„«‘¿¡"
# Marks that precede a kept part in the source, and hence in the translation; the latter may use those of its script.
_MARKS = r"[:：;；,，、،=–—→|]|(?<=\s)-(?=\s)"
_MARK, _LEAD = re.compile(_MARKS), re.compile(rf"(\s*(?:{_MARKS}))?(\s*)$")
_SAME = str.maketrans("：；，、،", ":;,,,")
_BETWEEN_NEIGHBOURS = ",;"  # without meaning if the words on both sides are not neighbours in the translation
LONGEST_LEAD = 6  # characters


class Wanted(NamedTuple):
    """What a translation must contain in place of the translation of some source words.

    Attributes:
        source: Position of the words in the model's text.
        text: What replaces their translation.
        targets: Known translations of these words, in small letters.
        shown: What the model sees, if it is copied and not translated.
        before: The characters before the part in the source, at most `LONGEST_LEAD`; "" at the beginning.
        after: The two characters after it.
        is_mark: Whether it is inserted between words, and not in place of one.
        opens: Whether a mark belongs to the text after it.
        capital: What replaces the translation at the beginning of a sentence; "" if it is the same.
    """

    source: Span
    text: str
    targets: frozenset[str] = frozenset()
    shown: str = ""
    before: str = ""
    after: str = ""
    is_mark: bool = False
    opens: bool = False
    capital: str = ""


class Placed(NamedTuple):
    """A translation with its parts.

    Attributes:
        text: The translation.
        spans: Position of each part, in the order given.
        uncertain: Indices of the parts whose position is uncertain.
        attention: The lowest attention of a replaced word to what it translates; 1 if none was replaced.
        pieces: (start in the model's translation, its end, start in `text`) of the text that was kept.
    """

    text: str
    spans: tuple[Span, ...]
    uncertain: tuple[int, ...]
    attention: float
    pieces: tuple[tuple[int, int, int], ...]


class _Position(NamedTuple):
    span: Span  # in the model's translation; empty for an insertion
    is_certain: bool
    attention: float


def place(
    target: str, words: AlignedWords, wanted: Sequence[Wanted], taken: Sequence[Span] = (), source: str = ""
) -> Placed:
    """Replace the translations of stand-ins by what must be in the translation.

    Args:
        target: The model's translation.
        words: Its alignment with the model's text.
        wanted: What must be in the translation, in the order of the source.
        taken: Positions in the translation that must stay, such as those of terms.
        source: The model's text, whose punctuation before a part must be in the translation too.
    """
    positions = _positions(target, words, wanted, taken)
    order = sorted(range(len(wanted)), key=lambda i: (positions[i].span, i))
    lacking = _marks(source) - _marks(target)
    text, at, last, pieces = "", 0, 0, []
    spans: list[Span] = [(0, 0)] * len(wanted)
    for i in order:
        (start, end), one = positions[i].span, wanted[i]
        start = max(start, at)
        pieces.append((at, start, len(text)))
        text += target[at:start]
        at = max(at, end)
        if one.is_mark and one.text.isspace():  # it replaces the white space of the translation
            text = text[:last] + text[last:].rstrip()
            at += len(target[at:]) - len(target[at:].lstrip())
            last = len(text) + len(one.text)
            spans[i] = len(text), last
            text += one.text
            continue
        mark = _lost_mark(text, one, lacking, partial(_are_neighbours, source, target, words, one, start))
        lead = None if one.is_mark else _led(text, last, one, mark)
        text = lead or text + _space_before(text, one, is_insertion=start >= end)
        shown = one.text if any(map(str.isalnum, text)) else one.capital or one.text
        last = len(text) + len(shown)
        spans[i] = len(text), last
        if _separates(one) and target[at : at + 1] == " ":
            at += 1  # the source has no space at this mark
        text += shown + _after(target[at:], one, start >= end, "" if lead else mark)
    pieces.append((at, len(target), len(text)))
    uncertain = tuple(i for i, position in enumerate(positions) if not position.is_certain)
    attention = min((position.attention for position in positions), default=1.0)
    return Placed(text + target[at:], tuple(spans), uncertain, attention, tuple(pieces))


def _positions(target: str, words: AlignedWords, wanted: Sequence[Wanted], taken: Sequence[Span]) -> list[_Position]:
    """Choose a position for each part: a known translation if there is one, else the word with the most attention."""
    free = [
        any(map(str.isalnum, target[start:end])) and not any(a < end and start < b for a, b in taken)
        for start, end in words.target
    ]
    columns = [_attention(words, one.source) for one in wanted]
    marks = [i for i, one in enumerate(wanted) if one.is_mark]
    # Marks stay in order, hence tags nested.
    starts = sorted(_outside(_mark_position(words, wanted[i], target), taken) for i in marks)
    found = {i: _Position((start, start), True, 1.0) for i, start in zip(marks, starts, strict=True)}
    for i in sorted(set(range(len(wanted))) - found.keys(), key=lambda i: (-columns[i].max(initial=0), i)):
        one, column = wanted[i], columns[i]
        known = [
            j for j, span in enumerate(words.target) if _is_known(target[slice(*span)], one) and _is_free(j, one, free)
        ]
        best = max(known or np.flatnonzero(free).tolist(), key=lambda j: column[j], default=None)
        if best is None or (one.shown and not known):
            found[i] = _Position((_outside(_insertion(words, one, target), taken),) * 2, False, 0.0)
            continue
        free[best] = False
        attention = float(column[best])
        certain = len(known) == 1 or (not known and attention >= _CERTAIN)
        found[i] = _Position(words.target[best], certain, attention)
    return [found[i] for i in range(len(wanted))]


def _is_free(j: int, one: Wanted, free: Sequence[bool]) -> bool:
    return free[j] or bool(one.shown and not one.shown.isalnum())


def _is_known(word: str, one: Wanted) -> bool:
    return word == one.shown if one.shown else word.lower() in one.targets


def _attention(words: AlignedWords, source: Span) -> np.ndarray:
    """Return each target word's attention to the source words in a span, [target words]."""
    inside = [i for i, (start, end) in enumerate(words.source) if start < source[1] and source[0] < end]
    return words.weights[:, inside].sum(axis=1)


def _mark_position(words: AlignedWords, one: Wanted, target: str) -> int:
    return (_insertion_before if one.opens else _insertion_after)(words, one.source[0], target)


def _outside(position: int, taken: Sequence[Span]) -> int:
    """Move a position that is within a part that must stay to its end."""
    return next((end for start, end in taken if start < position < end), position)


def _insertion(words: AlignedWords, one: Wanted, target: str) -> int:
    """Return the position after the translation of the previous source word; the beginning if there is none."""
    return _insertion_after(words, one.source[0], target)


def _insertion_after(words: AlignedWords, source: int, target: str) -> int:
    """Return the position in a translation that corresponds to the end of the word before a position in the source."""
    before = [i for i, (_, end) in enumerate(words.source) if end <= source]
    if not before or not words.target:
        return 0
    if before[-1] == len(words.source) - 1:
        return len(target)
    return words.target[int(words.weights[:, before[-1]].argmax())][1]


def _insertion_before(words: AlignedWords, source: int, target: str) -> int:
    """Return the position in a translation that corresponds to the beginning of the word after one in the source."""
    after = [i for i, (start, _) in enumerate(words.source) if start >= source]
    if not after or not words.target:
        return len(target)
    if after[0] == 0:
        return 0
    return words.target[int(words.weights[:, after[0]].argmax())][0]


def _separates(one: Wanted) -> bool:
    """Return whether a mark stands between two words instead of a space; zero-width characters are within words."""
    is_between = one.before[-1:].isalnum() and one.after[:1].isalnum()
    return one.is_mark and is_between and unicodedata.category(one.text[0]) != "Cf"


def _marks(text: str) -> Counter[str]:
    return Counter(mark.translate(_SAME) for mark in _MARK.findall(text))


def _lost_mark(text: str, one: Wanted, lacking: Counter[str], are_neighbours: Callable[[], bool]) -> str:
    """Return the mark before a part in the source, with white space, if the translation lacks it; else ""."""
    found = _LEAD.search(one.before)
    mark = found[1].strip().translate(_SAME) if found and found[1] else ""
    if not mark or one.is_mark or lacking[mark] <= 0 or text.rstrip()[-1:] in (*_PUNCTUATION, *_ENDS):
        return ""
    if mark in _BETWEEN_NEIGHBOURS and not are_neighbours():
        return ""
    lacking[mark] -= 1
    return found[1] if found else ""


def _are_neighbours(source: str, target: str, words: AlignedWords, one: Wanted, start: int) -> bool:
    """Return whether the word before a part in the source is translated by the word before it in the translation."""
    ones = [i for i, (a, b) in enumerate(words.source) if b <= one.source[0] and source[a:b].isalnum()]
    others = [j for j, (a, b) in enumerate(words.target) if b <= start and target[a:b].isalnum()]
    if not (ones and others):
        return False
    row, column = words.weights[others[-1]], words.weights[:, ones[-1]]
    return int(row.argmax()) == ones[-1] or int(column.argmax()) == others[-1]


def _led(text: str, last: int, one: Wanted, mark: str) -> str | None:
    """Return the text before a part with the mark and the white space that the source has there; None for neither.

    Args:
        text: The text before the part.
        last: End of the previous part, which does not change.
        one: The part.
        mark: The mark that the text lacks.
    """
    content, found = text[:last] + text[last:].rstrip(), _LEAD.search(one.before)
    if not (content and found):
        return None
    if mark or (found[1] and content.endswith(found[1].strip())):
        return content + mark + found[2]
    has_own_space = not found[1] and found[2] and found[2] != " " and content != text
    return content + found[2] if has_own_space else None


def _space_before(text: str, one: Wanted, is_insertion: bool) -> str:
    left, before = text[-1:], one.before[-1:]
    if not left or left.isspace():
        return ""
    if one.is_mark:
        return " " * before.isspace()
    if is_insertion:
        return " " * (left not in _OPENING and not before.isalnum())
    is_apart = not before or before.isspace()
    return " " * (is_apart and needs_space(left, "a"))


def _after(right: str, one: Wanted, is_insertion: bool, mark: str) -> str:
    """Return what follows a part: punctuation that the model lost, and a space if words would be joined.

    Args:
        right: The rest of the translation.
        one: The part.
        is_insertion: Whether it replaces no word.
        mark: The mark before it in the source, if it is at the beginning of the translation.
    """
    following = one.after[:1]
    lost = ""
    if one.is_mark:
        return " " * bool(following.isspace() and right[:1].isalnum())
    next_character = right.lstrip()[:1]
    if following and following in _PUNCTUATION and not _is_punctuation(next_character):
        is_last = not next_character
        lost = following if not is_last or following in ":：" else ""
    elif following and following in _ENDS and len(one.after) == 1 and not next_character:
        lost = following
    if mark and not lost and not _is_punctuation(next_character):
        lost = mark
    is_joined = right[:1].isalnum() if lost and lost.isascii() else needs_space("a", right[:1])
    return lost + " " * (is_joined and not following.isalnum())


def _is_punctuation(character: str) -> bool:
    return bool(character) and not character.isalnum() and not character.isspace() and character not in "([{<\"'“„«‘-"
