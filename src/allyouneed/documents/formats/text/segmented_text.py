"""Text of a document with the stretches that are translated; everything between them is copied."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeGuard

from allyouneed.documents.flat_text import joined
from allyouneed.documents.segments import Code, CodeKind, Part, Parts, Segment, plain_text

Span = tuple[int, int]
Copy = Callable[[int, int], str]


_SPACES = " \t\n\r\f"


@dataclass(eq=False)
class TextBlock:
    """A stretch of text with inline markup.

    Attributes:
        start: Position in the text of the document.
        end: Position in the text of the document.
        segment: The segment.
        tags: Positions of the markup, by kind and number of its code.
        owner: Writes the block, if it is within text of another format.
    """

    start: int
    end: int
    segment: Segment
    tags: dict[tuple[CodeKind, int], Span] = field(default_factory=dict)
    owner: SegmentedText | None = None


@dataclass(eq=False)
class AttributeValue:
    """The value of an attribute, without its quotation marks.

    Attributes:
        start: Position in the text of the document.
        end: Position in the text of the document.
        segment: The segment.
        quote: Quotation mark around it, or "".
        owner: Writes the value, if it is within text of another format.
    """

    start: int
    end: int
    segment: Segment
    quote: str = ""
    owner: SegmentedText | None = None


class SegmentedText:
    """Text whose units are translated in place.

    Attributes:
        text: The text.
        first_line: Number of its first line, for positions.
        units: Text blocks and values within codes, in document order.
        on_change: What else changes if a unit does: for a position, the end and the new text.
        offset: Position of this text in the one in which it is embedded.
    """

    def __init__(self, text: str, first_line: int = 1):
        self.text, self.first_line = text, first_line
        self.units: list[TextBlock | AttributeValue] = []
        self.on_change: dict[int, tuple[int, str]] = {}
        self.offset = 0

    @property
    def segments(self) -> list[Segment]:
        """The segments, in document order."""
        return [unit.segment for unit in self.units]

    def write_text(self, block: TextBlock, translation: Parts, copied: Copy) -> str:
        """Return the text of a translated block; `copied(start, end)` returns other text with translated values."""
        raise NotImplementedError

    def write_value(self, value: AttributeValue, text: str) -> str:
        """Return the text of a translated value."""
        raise NotImplementedError

    def write(self, translations: Sequence[Parts | None]) -> str:
        """Return the text with translations in place of its segments."""
        changed = [
            (unit, translation)
            for unit, translation in zip(self.units, translations, strict=True)
            if translation is not None and translation != unit.segment.source
        ]
        edits = {
            unit.start: (unit.end, (unit.owner or self).write_value(unit, plain_text(translation)))
            for unit, translation in changed
            if isinstance(unit, AttributeValue)
        }
        edits |= self.on_change if changed else {}
        starts = sorted(edits)

        def copied(start: int, end: int) -> str:
            out, position = [], start
            for at in starts[bisect_left(starts, start) : bisect_left(starts, end)]:
                out += [self.text[position:at], edits[at][1]]
                position = edits[at][0]
            return "".join([*out, self.text[position:end]])

        out, position = [], 0
        for unit, translation in changed:
            if isinstance(unit, TextBlock):
                out += [copied(position, unit.start), (unit.owner or self).write_text(unit, translation, copied)]
                position = unit.end
        return "".join([*out, copied(position, len(self.text))])

    def line(self, position: int) -> int:
        """Return the number of the line of a position."""
        return bisect_right(self._line_starts, position) - 1 + self.first_line

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", self.text))]

    def embed(self, inner: SegmentedText, start: int) -> list[TextBlock | AttributeValue]:
        """Return the units of text that begins at a position of this one."""
        inner.offset += start
        for unit in inner.units:
            unit.start, unit.end, unit.owner = unit.start + start, unit.end + start, inner
            if isinstance(unit, TextBlock):
                unit.tags = {code: (first + start, last + start) for code, (first, last) in unit.tags.items()}
        return inner.units

    def block(self, parts: Iterable[tuple[Part, Span]], where: str, fixed: str | None = None) -> TextBlock | None:
        """Make a block of text and codes with their positions; None if there is no text.

        White space and codes at both ends are left out, and are thus copied.

        Args:
            parts: Text and codes, in order.
            where: Position for messages.
            fixed: Codes that are never left out.
        """
        trimmed = list(_trimmed(parts, fixed))
        if not any(isinstance(part, str) and part.strip() for part, _ in trimmed):
            return None
        for at, strip in ((0, str.lstrip), (-1, str.rstrip)):
            part, (start, end) = trimmed[at]
            if isinstance(part, str):
                raw = self.text[start:end]
                start += 0 if at else len(raw) - len(raw.lstrip(_SPACES))
                end -= len(raw) - len(raw.rstrip(_SPACES)) if at else 0
                trimmed[at] = strip(part, _SPACES), (start, end)
        source = joined(part for part, _ in trimmed)
        tags = {(part.kind, part.pair): span for part, span in trimmed if isinstance(part, Code)}
        return TextBlock(trimmed[0][1][0], trimmed[-1][1][1], Segment(source, where), tags)


def _trimmed(parts: Iterable[tuple[Part, Span]], fixed: str | None) -> deque[tuple[Part, Span]]:
    remaining = deque(parts)
    while remaining:
        first, last = remaining[0][0], remaining[-1][0]
        if _is_blank(first):
            remaining.popleft()
        elif _is_blank(last):
            remaining.pop()
        elif _is_pair(first, last) and first.raw != fixed:
            remaining.popleft()
            remaining.pop()
        else:
            break
    return remaining


def _is_blank(part: Part) -> bool:
    if isinstance(part, str):
        return not part.strip(_SPACES)
    return part.kind is CodeKind.ALONE and not part.text.strip()


def _is_pair(first: Part, last: Part) -> TypeGuard[Code]:
    if isinstance(first, str) or isinstance(last, str):
        return False
    return (first.kind, last.kind) == (CodeKind.OPEN, CodeKind.CLOSE) and first.pair == last.pair
