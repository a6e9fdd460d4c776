"""Text of a segment without its codes, their positions in it, and its words and punctuation marks."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple, cast

import regex

from allyouneed.documents.segments import Code, Part, Parts
from allyouneed.translation.sentence import Span

_TOKEN = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}]\p{M}*|[\p{L}\p{M}\p{N}_]+?(?=[\p{Han}\p{Hiragana}\p{Katakana}])"
    r"|[\p{L}\p{M}\p{N}_]+(?:['’][\p{L}\p{M}\p{N}_]+)*|(?!\s)\X"
)
WORD, PUNCTUATION, KEPT = 2, 1, 6  # weights of tokens when the range of an element is chosen


class FlatCode(NamedTuple):
    """A code in a text.

    Attributes:
        code: The code.
        start: Start of its visible text, or its position if it shows none.
        end: End of its visible text.
        space_before: Whether white space is between the code and the text before it.
        space_after: Whether white space is between the code and the text after it.
    """

    code: Code
    start: int
    end: int
    space_before: bool
    space_after: bool

    @property
    def is_space(self) -> bool:
        """Whether the code shows as white space, such as a line break."""
        return bool(self.code.text) and not self.code.text.strip()


class FlatText(NamedTuple):
    """The text of a segment, with white space that codes separate joined, and its codes in order."""

    text: str
    codes: tuple[FlatCode, ...]


def flatten(parts: Parts) -> FlatText:
    """Separate the text and the codes of a segment."""
    text, codes = "", []
    after = _space_after(parts)
    previous: Part = ""
    for part, space_after in zip(parts, after, strict=True):
        if isinstance(part, str):
            follows_code = isinstance(previous, Code) and not previous.text.strip()
            text += part.lstrip() if follows_code and text[-1:].isspace() else part
        else:
            before, start = text[-1:].isspace(), len(text)
            if part.text.strip():
                text += part.text
            elif part.text and text and not before:
                text += " "
            end = len(text) if part.text.strip() else start
            codes.append(FlatCode(part, start, end, before, space_after))
        previous = part
    return FlatText(text, tuple(codes))


def _space_after(parts: Parts) -> list[bool]:
    """Return for each part whether the text after it, codes without text aside, begins with white space."""
    found, space = [False] * len(parts), False
    for index in reversed(range(len(parts))):
        found[index], part = space, parts[index]
        if isinstance(part, str):
            space = part[:1].isspace() if part else space
        elif part.text.strip():
            space = False
    return found


class Token(NamedTuple):
    """A word, punctuation mark or part of a kept text, with its weight."""

    start: int
    end: int
    weight: int


def tokenise(text: str, kept: Sequence[Span], cuts: Sequence[int]) -> list[Token]:
    """Split a text into words, punctuation marks and kept parts, and these at the given positions."""
    spans, position = [], 0
    for start, end in kept:
        spans += [(*match.span(), False) for match in _TOKEN.finditer(text, position, max(position, start))]
        if end > start:
            spans.append((start, end, True))
        position = end
    spans += [(*match.span(), False) for match in _TOKEN.finditer(text, position)]
    tokens = []
    for start, end, is_kept in spans:
        inside = cuts[bisect_right(cuts, start) : bisect_left(cuts, end)]
        for first, last in pairwise([start, *inside, end]):
            is_word = any(character.isalnum() for character in text[first:last])
            tokens.append(Token(first, last, KEPT if is_kept else WORD if is_word else PUNCTUATION))
    return tokens


def joined(parts: Iterable[Part]) -> Parts:
    """Join adjacent texts."""
    out: list[str | Code] = []
    for is_text, group in groupby(parts, key=lambda part: isinstance(part, str)):
        if is_text:
            text = "".join(cast(Iterable[str], group))
            out += [text] if text else []
        else:
            out += group
    return tuple(out)
