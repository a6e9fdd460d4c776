"""Placement of kept parts in a translation: they replace the words that translate their stand-ins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from allyouneed.translation.protection.masking import needs_space
from allyouneed.translation.word_alignment import AlignedWords, Span

_CERTAIN = 0.35  # minimum attention to a stand-in for its translation to be recognised by attention alone
_PUNCTUATION = ",;:、，；："  # what follows a kept part in the source, and hence in the translation
_ENDS = ".!?…。！？"
_OPENING = "([{<\"'“„«‘¿¡"


class Wanted(NamedTuple):
    """What a translation must contain in place of the translation of some source words.

    Attributes:
        source: Position of the words in the model's text.
        text: What replaces their translation.
        targets: Known translations of these words, in small letters.
        shown: What the model sees, if it is copied and not translated.
        before: The character before the part in the source; "" at the beginning.
        after: The two characters after it.
        is_mark: Whether it is inserted between words, and not in place of one.
        opens: Whether a mark belongs to the text after it.
    """

    source: Span
    text: str
    targets: frozenset[str] = frozenset()
    shown: str = ""
    before: str = ""
    after: str = ""
    is_mark: bool = False
    opens: bool = False


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


def place(target: str, words: AlignedWords, wanted: Sequence[Wanted], taken: Sequence[Span] = ()) -> Placed:
    """Replace the translations of stand-ins by what must be in the translation.

    Args:
        target: The model's translation.
        words: Its alignment with the model's text.
        wanted: What must be in the translation, in the order of the source.
        taken: Positions in the translation that must stay, such as those of terms.
    """
    positions = _positions(target, words, wanted, taken)
    order = sorted(range(len(wanted)), key=lambda i: (positions[i].span, i))
    text, at, pieces = "", 0, []
    spans: list[Span] = [(0, 0)] * len(wanted)
    for i in order:
        (start, end), one = positions[i].span, wanted[i]
        start = max(start, at)
        pieces.append((at, start, len(text)))
        text += target[at:start]
        at = max(at, end)
        text += _space_before(text, one, is_insertion=start >= end)
        spans[i] = len(text), len(text) + len(one.text)
        if one.is_mark and one.before.isalnum() and one.after[:1].isalnum() and target[at : at + 1] == " ":
            at += 1  # the source has no space at this mark
        text += one.text + _after(target[at:], one, is_insertion=start >= end)
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


def _space_before(text: str, one: Wanted, is_insertion: bool) -> str:
    left = text[-1:]
    if not left or left.isspace():
        return ""
    if one.is_mark:
        return " " * one.before.isspace()
    if is_insertion:
        return " " * (left not in _OPENING and not one.before.isalnum())
    is_apart = not one.before or one.before.isspace()
    return " " * (is_apart and needs_space(left, "a"))


def _after(right: str, one: Wanted, is_insertion: bool) -> str:
    """Return what follows a part: punctuation that the model lost, and a space if words would be joined."""
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
    is_joined = right[:1].isalnum() if lost and lost.isascii() else needs_space("a", right[:1])
    return lost + " " * (is_joined and not following.isalnum())


def _is_punctuation(character: str) -> bool:
    return bool(character) and not character.isalnum() and not character.isspace() and character not in "([{<\"'“„«‘-"
