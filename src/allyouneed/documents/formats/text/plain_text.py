"""Plain text: each line is a segment, or each paragraph; line ends, encoding and byte-order mark are kept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from textwrap import TextWrapper

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.text.encoded_text import EncodedText, decode
from allyouneed.documents.formats.text.segmented_text import Copy, SegmentedText, TextBlock
from allyouneed.documents.segments import Parts, Segment, plain_text

_LINE = re.compile(r"[^\r\n]+")
_ITEM = re.compile(r"\s*(?:[-*•+–]|\d{1,3}[.)]|[a-z]\))\s+(?=\S)")  # a list item
_SLACK = 15  # characters by which a line is shorter than its paragraph if its end is meant


class PlainText(SegmentedText):
    """Plain text that was read.

    Args:
        text: The text.
        paragraphs: Whether the lines of a paragraph are joined.
    """

    def __init__(self, text: str, paragraphs: bool):
        super().__init__(text)
        lines = [match for match in _LINE.finditer(text) if match[0].strip()]
        for group in _paragraphs(lines) if paragraphs else ([line] for line in lines):
            self.units.append(self._block(group))

    def write_text(self, block: TextBlock, translation: Parts, copied: Copy) -> str:
        text, source = plain_text(translation), self.text[block.start : block.end]
        lines = _LINE.findall(source)
        if len(lines) == 1:
            return text
        begin = block.start - (self.text.rfind("\n", 0, block.start) + 1)  # the indentation of the first line
        width = max(begin + len(lines[0]), *map(len, lines[1:]))
        indentation = lines[1][: len(lines[1]) - len(lines[1].lstrip())]
        wrapper = TextWrapper(width, " " * begin, indentation, break_long_words=False, break_on_hyphens=False)
        end = source[len(lines[0]) : source.index(lines[1], len(lines[0]))]
        return end.join(wrapper.wrap(text))[begin:]

    def _block(self, lines: Sequence[re.Match[str]]) -> TextBlock:
        first, last = lines[0], lines[-1]
        item = _ITEM.match(first[0])
        start = first.start() + (item.end() if item else len(first[0]) - len(first[0].lstrip()))
        text = ""
        for line in lines:
            content = self.text[max(start, line.start()) : line.end()].strip()
            is_divided = text[-1:] == "-" and text[-2:-1].isalpha() and content[:1].islower()
            text += content if is_divided or not text else f" {content}"
        number, end = self.line(first.start()), self.line(last.start())
        where = f"line {number:,}" if len(lines) == 1 else f"lines {number:,} to {end:,}"
        return TextBlock(start, last.end() - len(last[0]) + len(last[0].rstrip()), Segment((text,), where))


def _paragraphs(lines: Sequence[re.Match[str]]) -> Iterator[list[re.Match[str]]]:
    """Yield the lines of each paragraph, and of each list item."""
    group: list[re.Match[str]] = []
    for line in lines:
        if group and (_ends_between(group[-1], line) or _ITEM.match(line[0])):
            yield from _without_meant_ends(group)
            group = []
        group.append(line)
    yield from _without_meant_ends(group)


def _ends_between(before: re.Match[str], line: re.Match[str]) -> bool:
    """Return whether a blank line is between two lines, or one of them has neither letters nor digits."""
    distance = line.start() - before.end()
    between = before.string[before.end() : line.start()]
    is_rule = not all(any(character.isalnum() for character in each[0]) for each in (before, line))
    return is_rule or distance > 2 or (distance == 2 and between != "\r\n")


def _without_meant_ends(group: Sequence[re.Match[str]]) -> Iterator[list[re.Match[str]]]:
    """Divide lines where the next word would have fitted, as in addresses and verse."""
    width = max((len(line[0].rstrip()) for line in group), default=0)
    out: list[re.Match[str]] = []
    for line in group:
        if out and len(out[-1][0].rstrip()) + 1 + len(line[0].split(maxsplit=1)[0]) < width - _SLACK:
            yield out
            out = []
        out.append(line)
    if out:
        yield out


class PlainTextFile:
    """A text file.

    Attributes:
        segments: See `Document`.
        notes: See `Document`.
    """

    suffix: str | None = None

    def __init__(self, encoded: EncodedText, paragraphs: bool):
        self.notes: Sequence[str] = encoded.notes
        self._encoded, self._text = encoded, PlainText(encoded.text, paragraphs)
        self.segments: list[Segment] = self._text.segments

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the text with each line or paragraph translated."""
        return self._encoded.encode(self._text.write(translations))


def read(data: bytes, options: ReadOptions) -> PlainTextFile:
    """Read a text file."""
    return PlainTextFile(decode(data, options.name), options.paragraphs)
