"""From lines of printed pages to paragraphs: lines are joined, page numbers and repeated headers are left out."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple
from unicodedata import normalize

from allyouneed.documents.formats.pdf.layout import Line

_HYPHENS = ("-", "\u00ad", "\u2010")
_SENTENCE_END = re.compile(r"[.!?:;。！？…][\"'”’»)\]]*$")
_ITEM = re.compile(r"(?:[•‣◦▪●○■□–—*-]|\(?\d{1,3}(?:\.\d{1,3})*[.)]|\(?[a-zA-Z][.)])\s")
_NO_SPACES = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uff00-\uffef\u3000-\u303f]")
_NUMBER = re.compile(r"\(?(?:\d+\.?)+\)?|[A-Z]\.?|[IVX]+\.")  # of a heading, apart from its text
_LEADERS = re.compile(r"\s*(?:\.\s?){4,}")  # dots of a table of contents
_LIGATURES = re.compile("[\ufb00-\ufb06]")
_DIGITS = re.compile(r"\d+")
_HEADING = 1.12  # times the size of the text
_MAX_HEADING = 200  # characters
_SHORT_LINE = 0.9  # of the width of its block: the line ends a paragraph
_LEVELS = 3
_NEAR = 6  # paragraphs back, past footnotes, in which a paragraph may have begun


class Paragraph(NamedTuple):
    """A paragraph.

    Attributes:
        text: Its text.
        page: Number of the page on which it begins.
        level: Level of a heading from 1; 0 for text.
        is_bold: Whether it is in bold type.
    """

    text: str
    page: int
    level: int = 0
    is_bold: bool = False


def paragraphs(lines: Sequence[Line]) -> list[Paragraph]:
    """Join the lines of a document into paragraphs."""
    kept = _without_repeated([line for line in lines if line.text.strip(" .")])
    if not kept:
        return []
    sizes: Counter[float] = Counter()
    for line in kept:
        sizes[line.size] += len(line.text)
    body = sizes.most_common(1)[0][0]
    found: list[list[Line]] = []
    for _, block in groupby(kept, key=lambda line: (line.page, line.block)):
        for piece in _split(list(block)):
            before = next((each for each in reversed(found[-_NEAR:]) if abs(_size(each) - _size(piece)) <= 0.5), None)
            if before is not None and _continues(before, piece):
                before += piece
            else:
                found.append(piece)
    larger = sorted({_size(each) for each in found if _is_heading(each, body)}, reverse=True)
    return [
        Paragraph(
            _joined(each),
            each[0].page,
            min(larger.index(_size(each)) + 1, _LEVELS) if _is_heading(each, body) else 0,
            all(line.is_bold for line in each),
        )
        for each in found
    ]


def _without_repeated(lines: Sequence[Line]) -> list[Line]:
    """Leave out what stands in the same position on most pages, such as page numbers and running titles."""
    pages = len({line.page for line in lines})
    seen: dict[tuple[str, int], set[int]] = {}
    for line in lines:
        seen.setdefault(_position(line), set()).add(line.page)
    least = max(3, pages / 3)
    return [line for line in lines if len(seen[_position(line)]) < least]


def _position(line: Line) -> tuple[str, int]:
    return _DIGITS.sub("0", line.text), round(line.bottom)


def _split(block: list[Line]) -> Iterator[list[Line]]:
    """Split the lines of a block into paragraphs."""
    left, right = min(line.left for line in block), max(line.right for line in block)
    current = [block[0]]
    for before, line in pairwise(block):
        is_end = before.right - left < _SHORT_LINE * (right - left) and _SENTENCE_END.search(before.text)
        is_other = abs(line.size - before.size) > 0.1 * before.size or line.is_bold != before.is_bold
        is_indented = line.left - left > line.size and abs(before.left - left) < 1 and _SENTENCE_END.search(before.text)
        if is_end or is_other or is_indented or _ITEM.match(line.text):
            yield current
            current = []
        current.append(line)
    yield current


def _continues(one: list[Line], other: list[Line]) -> bool:
    """Return whether a paragraph goes on in another block, in the next column or on the next page."""
    before, after = one[-1], other[0]
    if (before.page, before.block) == (after.page, after.block):
        return False
    if before.page == after.page and abs(before.bottom - after.bottom) < 1:
        return _NUMBER.fullmatch(before.text) is not None
    return after.text[0].islower() and not _SENTENCE_END.search(before.text) and after.page - before.page <= 1


def _size(lines: list[Line]) -> float:
    return statistics.median(line.size for line in lines)


def _is_heading(lines: list[Line], body: float) -> bool:
    return _size(lines) > _HEADING * body and sum(len(line.text) for line in lines) <= _MAX_HEADING


def _joined(lines: list[Line]) -> str:
    """Join lines: without a hyphen that divides a word, and without spaces in scripts that have none."""
    text = ""
    for line in lines:
        piece = _LIGATURES.sub(lambda match: normalize("NFKC", match[0]), " ".join(line.text.split()))
        if text.endswith(_HYPHENS) and text[-2:-1].isalpha() and piece[:1].islower():
            text = text[:-1] + piece
        elif text and not (_NO_SPACES.match(text[-1]) and _NO_SPACES.match(piece)):
            text += f" {piece}"
        else:
            text += piece
    return _LEADERS.sub(" ", text).strip()
