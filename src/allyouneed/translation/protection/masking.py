"""What the model sees of a sentence with kept parts, and what each part is replaced by.

Kept parts become slots: with symbols and brackets directly around them, which the model need not know, and with kept
parts next to them. Tags, emoji, white space and zero-width characters are removed from the model's text instead, and
inserted afterwards.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from allyouneed.translation.protection.finding import find_parts
from allyouneed.translation.word_alignment import UNSPACED, Span

_BRACKETS = {
    "(": ")",
    "[": "]",
    "{": "}",
    "<": ">",
    '"': '"',
    "'": "'",
    "“": "”",
    "„": "“",
    "«": "»",
    "‹": "›",
    "‘": "’",
}
_BRACKETS |= {"「": "」", "『": "』", "（": "）", "【": "】", "《": "》", "`": "`", "*": "*", "_": "_"}
_SYMBOLS = frozenset("#@/\\_*&%+=~|^$€£¥°§-")
_SUFFIX = re.compile(r"[A-Za-z]{1,3}(?![^\W\d_]|['’-])")  # as in {n}x, %dms, {n}th
_GLUE = re.compile(r"[^\w.,;:!?…。、，；：！？\n]{0,5}")  # between kept parts that form one slot
_NUMBER_FORMAT = re.compile(r"%[^a-zA-Z(<{]*(?:hh|h|ll|l|L|q|j|z|t)?[diuxXoeEfFgG]")
_NUMBER_NAME = re.compile(
    r"(?:^|[^a-z])(?:n|i|num|number|count|total|size|amount|index|length|percent|quantity|qty|days?|hours?|minutes?|"
    r"seconds?|years?|points?|page|pages|limit|max|min)(?:$|[^a-z])",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[^<>]{0,1000}+>")
_ESCAPE = re.compile(r"\\[nrt]")
# Other white space separates words as a space does, which models know. In numbers and beside punctuation, as in French,
# it is left as it is.
_OTHER_SPACE = re.compile(
    "(?<!«)[\v\f\x1c-\x1f\x85\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f](?![?!:;»%‰])(?!(?<=\\d.)\\d)", re.DOTALL
)
_SOFT_HYPHEN = "\u00ad"  # where a word of the source may be divided
_FIRST_MASK, _LAST_MASK = 0xF0000, 0xFFFFD  # a private use area; each slot is one character of the masked text


class SlotKind(Enum):
    """What replaces a slot in the model's text."""

    WORD = "word"
    NUMBER = "number"
    ITSELF = "itself"


class Slot(NamedTuple):
    """Kept parts that are replaced together.

    Attributes:
        span: Position in the sentence.
        kept: Indices of the kept parts.
        kind: What replaces it.
        shown: For `ITSELF`, what the model sees, for example "&" for "&amp;".
    """

    span: Span
    kept: tuple[int, ...]
    kind: SlotKind
    shown: str = ""


class Mark(NamedTuple):
    """A kept part that is removed from the model's text.

    Attributes:
        kept: Index of the kept part.
        position: Position in the masked text.
        space_before: Whether white space precedes it.
        space_after: Whether white space follows it.
        opens: Whether it belongs to the text after it, as an opening tag does.
    """

    kept: int
    position: int
    space_before: bool
    space_after: bool
    opens: bool


class MaskedText(NamedTuple):
    """A sentence with one character for each slot, and without marks.

    Attributes:
        text: The masked text.
        slots: Slots by their characters.
        marks: Marks in order.
        origins: Position in the sentence of each character, and the length of the sentence.
    """

    text: str
    slots: dict[str, Slot]
    marks: tuple[Mark, ...]
    origins: list[int]


class _Kind(NamedTuple):
    is_mark: bool
    kind: SlotKind = SlotKind.WORD
    shown: str = ""
    opens: bool = False


def mask(text: str, kept: Sequence[Span]) -> MaskedText:
    """Replace the kept parts of a sentence."""
    kinds = [_kind(text[start:end]) for start, end in kept]
    slots = _slots(text, kept, kinds)
    names = _unused_characters(text, len(slots))
    removed = [(kept[i], None, i) for i, kind in enumerate(kinds) if kind.is_mark]
    replaced = [(slot.span, name, -1) for slot, name in zip(slots, names, strict=True)]
    masked, origins, marks, position = "", list[int](), list[Mark](), 0
    spaced = _OTHER_SPACE.sub(" ", text)
    for (start, end), name, index in sorted([*removed, *replaced], key=lambda each: each[0]):
        indices = _without_soft_hyphens(text, position, start)
        masked += "".join(spaced[i] for i in indices)
        origins += indices
        position = end
        if name is not None:
            masked += name
            origins.append(start)
            continue
        before, after = text[start - 1 : start].isspace(), text[end : end + 1].isspace()
        marks.append(Mark(index, len(masked), before, after, kinds[index].opens))
        if text[start:end].isspace() and masked and not before and not after:
            masked += " "  # instead of a run of spaces
            origins.append(start)
        if before and after:  # one of the two spaces is enough
            position += 1
    indices = _without_soft_hyphens(text, position, len(text))
    masked += "".join(spaced[i] for i in indices)
    origins += [*indices, len(text)]
    return MaskedText(masked, dict(zip(names, slots, strict=True)), tuple(marks), origins)


def seen_by_model(text: str) -> str:
    """Return a text without kept parts as the model sees it: words separated by spaces, without soft hyphens."""
    return text if text.isprintable() else _OTHER_SPACE.sub(" ", text).replace(_SOFT_HYPHEN, "")


def _without_soft_hyphens(text: str, start: int, end: int) -> list[int]:
    return [index for index in range(start, end) if text[index] != _SOFT_HYPHEN]


@lru_cache(maxsize=4096)
def _kind(kept: str) -> _Kind:
    parts = find_parts(kept)
    kind = parts[0].kind if len(parts) == 1 and (parts[0].start, parts[0].end) == (0, len(kept)) else ""
    if not kept.strip() or kind in ("emoji", "invisible") or _ESCAPE.fullmatch(kept):
        return _Kind(True)
    if kind == "tag":
        return _Kind(True, opens=not (kept.startswith(("</", "<!")) or kept.endswith("/>")))
    if kind == "entity":
        character = html.unescape(kept)
        if len(character) == 1 and not character.isalnum():
            return _Kind(character.isspace(), SlotKind.ITSELF, character)
    if kept == "%%":
        return _Kind(False, SlotKind.ITSELF, "%")
    inside = _TAG.sub("", kept) if kind == "element" else kept
    is_number = not re.search(r"[^\W\d_]", inside) and any(map(str.isdigit, inside)) and inside[0] not in "{%$"
    is_named = kind == "placeholder" or (kind == "element" and inside.startswith(("{", "%", "$")))
    if is_number or _NUMBER_FORMAT.fullmatch(inside) or (is_named and _NUMBER_NAME.search(inside)):
        return _Kind(False, SlotKind.NUMBER)
    if not any(map(str.isalnum, kept)) and not kind:
        return _Kind(True)
    return _Kind(False)


def _slots(text: str, kept: Sequence[Span], kinds: Sequence[_Kind]) -> list[Slot]:
    """Extend the kept parts that are not marks, and join those with only symbols between them."""
    slots: list[Slot] = []
    free = _free_ranges(text, kept)
    previous_mark = -1
    for index, (span, kind) in enumerate(zip(kept, kinds, strict=True)):
        if kind.is_mark:
            previous_mark = index
            continue
        start, end = span if kind.kind is SlotKind.ITSELF else _extended(text, span, free[index])
        slot = Slot((start, end), (index,), kind.kind, kind.shown)
        adjacent = slots and previous_mark < slots[-1].kept[-1] and SlotKind.ITSELF not in (slots[-1].kind, kind.kind)
        if adjacent and _joins(text[slots[-1].span[1] : start]):
            first = slots.pop()
            kept_indices = (*first.kept, index)
            both = kind.kind if kind.kind is first.kind is SlotKind.NUMBER else SlotKind.WORD
            slots.append(Slot((first.span[0], end), kept_indices, both))
        else:
            slots.append(slot)
    return slots


def _joins(between: str) -> bool:
    return _GLUE.fullmatch(between) is not None or not re.search(r"[\s\w]", between)


def _free_ranges(text: str, kept: Sequence[Span]) -> list[Span]:
    """Return for each kept part the range around it that no other kept part occupies."""
    starts = [start for start, _ in kept[1:]] + [len(text)]
    ends = [0] + [end for _, end in kept[:-1]]
    return list(zip(ends, starts, strict=True))


def _extended(text: str, span: Span, free: Span) -> Span:
    """Extend a span by symbols, digits and short suffixes attached to it, and by brackets and quotes around it."""
    (start, end), (first, last) = span, free
    while True:
        before, after = text[max(first, start - 1) : start], text[end : min(last, end + 1)]
        suffix = _SUFFIX.match(text, end, last) if (start, end) == span else None
        if before and after and _BRACKETS.get(before) == after:
            start, end = start - 1, end + 1
        elif before and _attaches(before) and not _is_hyphen(text, start - 1):
            start -= 1
        elif after and _attaches(after) and not _is_hyphen(text, end):
            end += 1
        elif suffix:
            end = suffix.end()
        else:
            return start, end


def _attaches(character: str) -> bool:
    return character in _SYMBOLS or character.isdigit() or unicodedata.category(character) in ("Sm", "Sc", "So")


def _is_hyphen(text: str, position: int) -> bool:
    """Return whether a hyphen joins words, as in {n}-year-old."""
    around = text[max(0, position - 1)], text[position + 1 : position + 2]
    return text[position] == "-" and any(each.isalpha() for each in around)


def _unused_characters(text: str, count: int) -> list[str]:
    used, found, code = set(text), list[str](), _FIRST_MASK
    while len(found) < count and code <= _LAST_MASK:
        if chr(code) not in used:
            found.append(chr(code))
        code += 1
    return found


def needs_space(left: str, right: str) -> bool:
    """Return whether two characters would join two words of a script that separates words by spaces."""
    unspaced = re.compile(rf"[{UNSPACED}\uac00-\ud7af]")
    return left.isalnum() and right.isalnum() and not unspaced.match(left) and not unspaced.match(right)
