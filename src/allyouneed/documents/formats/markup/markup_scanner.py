"""Lossless scanner for HTML and XML: every piece of markup with its position, in time linear in the length.

Any text can be scanned. It follows the tokenization of HTML (https://html.spec.whatwg.org/#tokenization), with two
exceptions for the sake of readers: a tag that never ends is text or is kept as it is, and the attribute value whose
quotation mark is never closed ends with the tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from html import unescape
from itertools import pairwise

from allyouneed.translation.stopping import check_needed

# fmt: off
VOID = frozenset((
    "area", "base", "basefont", "bgsound", "br", "col", "embed", "frame", "hr", "img", "input", "keygen", "link",
    "meta", "param", "source", "track", "wbr",
))
# fmt: on
_ESCAPABLE_TEXT = frozenset(("textarea", "title"))  # text with references, but without tags
RAW_TEXT = frozenset(("script", "style", "xmp", "iframe", "noembed", "noframes")) | _ESCAPABLE_TEXT

_ATTRIBUTES = (  # with possessive quantifiers, so that the time is linear
    r"(?:[\s/]++|[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|(?![\"'])[^\s>]++)?+)?+)*+"
)
_HTML_NAME, _XML_NAME = r"[A-Za-z][^\s/>]*+", r"(?:[^\W\d]|[_:])[^\s/>]*+"
_ATTRIBUTE = re.compile(r"([^\s/>][^\s/>=]*+)(?:\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|((?![\"'])[^\s>]++)))?+")
_DOCTYPE = re.compile(
    r"<!DOCTYPE(?:[^\[\"'>]|\"[^\"]*+\"|'[^']*+')*+"
    r"(?:\[(?:<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z)|\"[^\"]*+\"|'[^']*+'|[^\]\"'])*+\]\s*+)?+>",
    re.DOTALL | re.IGNORECASE,
)
_CUT_TAG = re.compile(
    r"</[^\s<>]++\s*+\Z|<[^\s<>]++\s++[^\s<>=]++\s*+=\s*+[\"']"
)  # at the end of a text that is cut off
_EMPTY_COMMENT = re.compile(r"<!---?>")
_REFERENCE = re.compile(r"&(?:#0*+(\d{1,7})|#[xX]0*+([0-9a-fA-F]{1,6})|([^\W\d][\w.\-:]*));")
_LONG_NUMBER = re.compile(r"&#(?:0*+(\d*+)|[xX]0*+([0-9a-fA-F]*+));?")
_LONGEST_NUMBER = 7  # digits of a code point
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PREDEFINED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


class PieceKind(Enum):
    """Kind of a piece of markup; `OTHER` is a comment, declaration, instruction or raw text."""

    START = "start"
    END = "end"
    EMPTY = "empty"
    TEXT = "text"
    REFERENCE = "reference"
    OTHER = "other"


@dataclass(eq=False, slots=True)
class Piece:
    """A piece of markup.

    Attributes:
        kind: Its kind.
        start: Position in the text.
        end: Position in the text.
        name: Name of the tag; in HTML in lower case.
        text: Text as readers see it.
        partner: Index of the matching start or end tag; -1 if there is none.
        splits: Whether the tag separates segments.
        keeps: Whether the element is kept as it is.
        asks: Whether its attributes ask for translation or against it; None if they do not say.
        parent: Index of the start tag of the element around it; -1 if there is none.
    """

    kind: PieceKind
    start: int
    end: int
    name: str = ""
    text: str = ""
    partner: int = -1
    splits: bool = False
    keeps: bool = False
    asks: bool | None = None
    parent: int = -1


def scan(text: str, is_xml: bool = False, is_xhtml: bool = False) -> list[Piece]:
    """Scan HTML or XML.

    Args:
        text: The text.
        is_xml: Whether to scan XML: names are case-sensitive, elements end with `/>`, and entities stay references.
        is_xhtml: Whether it is HTML written as XML: elements end with `/>`, and scripts are ordinary elements.
    """
    return list(_Scanner(text, is_xml, is_xhtml).pieces())


class _Scanner:
    def __init__(self, text: str, is_xml: bool, is_xhtml: bool):
        self.text, self.is_xml, self.is_html = text, is_xml, not is_xml and not is_xhtml
        name = _XML_NAME if is_xml else _HTML_NAME
        self._begin_of_tag, self._tag = re.compile(f"</?{name}"), re.compile(f"<(/?)({name}){_ATTRIBUTES}>")
        self._has_doctype = False
        self._last_end = text.rfind(">")  # of a tag

    def pieces(self) -> Iterator[Piece]:
        text, position, begin = self.text, 0, 0  # `begin`: of text that is not yet a piece
        while (at := text.find("<", position)) >= 0:
            check_needed()
            if found := self._markup(at):
                yield from self._text(begin, at)
                yield from found
                position = begin = found[-1].end
            else:
                position = at + 1
        yield from self._text(begin, len(text))

    def _markup(self, at: int) -> list[Piece]:
        """Return the pieces of the markup at a `<`; none if it is text."""
        text, following = self.text, self.text[at + 1 : at + 2]
        if following == "!":
            return [Piece(PieceKind.OTHER, at, self._declaration_end(at))]
        if following == "?":
            return [Piece(PieceKind.OTHER, at, self._instruction_end(at))]
        if match := self._tag.match(text, at):
            return self._tag_pieces(match)
        if self._begin_of_tag.match(text, at):  # a tag that does not end
            if at < self._last_end or _CUT_TAG.match(text, at):
                return [Piece(PieceKind.OTHER, at, len(text))]
            return [Piece(PieceKind.TEXT, at, len(text), text=text[at:])]
        if following == "/" and self.is_html and at < self._last_end:  # a comment, to browsers
            return [Piece(PieceKind.OTHER, at, self._after(">", at))]
        return []

    def _tag_pieces(self, match: re.Match[str]) -> list[Piece]:
        text, name = self.text, match[2] if self.is_xml else match[2].lower()
        start, end = match.span()
        if match[1]:
            return [Piece(PieceKind.END, start, end, name)]
        is_empty = name in VOID if self.is_html else text[end - 2] == "/" or (not self.is_xml and name in VOID)
        pieces = [Piece(PieceKind.EMPTY if is_empty else PieceKind.START, start, end, name)]
        if self.is_html and name in RAW_TEXT:
            closing = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE).search(text, end)
            stop = closing.start() if closing else len(text)
            if name in _ESCAPABLE_TEXT:
                pieces += self._text(end, stop)
            elif stop > end:
                pieces.append(Piece(PieceKind.OTHER, end, stop))
        return pieces

    def _declaration_end(self, at: int) -> int:
        text = self.text
        if text.startswith("<!--", at):
            if self.is_html and (short := _EMPTY_COMMENT.match(text, at)):
                return short.end()
            end = self._after("-->", at + 4)
            other = text.find("--!>", at + 4, end) if self.is_html else -1
            return other + len("--!>") if other >= 0 else end
        if text.startswith("<![CDATA[", at):
            return self._after("]]>", at)
        match = None if self._has_doctype else _DOCTYPE.match(text, at)
        self._has_doctype = self._has_doctype or text[at : at + len("<!DOCTYPE")].upper() == "<!DOCTYPE"
        return match.end() if match else self._after(">", at)

    def _instruction_end(self, at: int) -> int:
        is_code = not self.is_html or self.text.startswith(("<?php", "<?=", "<?xml"), at)
        return self._after("?>" if is_code else ">", at)

    def _after(self, end: str, at: int) -> int:
        found = self.text.find(end, at)
        return found + len(end) if found >= 0 else len(self.text)

    def _unescape(self, text: str) -> str:
        return unescape_xml(text) if self.is_xml else unescape_html(text)

    def _text(self, start: int, end: int) -> Iterator[Piece]:
        if start == end:
            return
        text = self.text[start:end]
        if "&" not in text:
            yield Piece(PieceKind.TEXT, start, end, text=text)
            return
        named = own_references(text, self.is_xml)
        cuts = [0, *(position for match in named for position in match.span()), len(text)]
        for index, (first, last) in enumerate(pairwise(cuts)):
            if first < last:
                kind = PieceKind.REFERENCE if index % 2 else PieceKind.TEXT
                content = text[first:last] if index % 2 else self._unescape(text[first:last])
                yield Piece(kind, start + first, start + last, text=content)


def own_references(text: str, is_xml: bool) -> list[re.Match[str]]:
    """Return references to entities that the document itself declares."""
    named = (match for match in _REFERENCE.finditer(text) if match[3])
    return [each for each in named if (each[3] not in _PREDEFINED if is_xml else unescape(each[0]) == each[0])]


def allowed_in_xml(text: str) -> str:
    """Replace characters that no XML document may contain, such as control characters, by U+FFFD."""
    return _FORBIDDEN.sub("\ufffd", text)


def unescape_html(text: str) -> str:
    """Replace the references of HTML, as browsers do; numbers beyond Unicode are replacement characters."""
    return unescape(_LONG_NUMBER.sub(_shortened, text)) if "&#" in text else unescape(text)


def _shortened(match: re.Match[str]) -> str:
    """Return a numeric reference without zeros in front; `int` refuses numbers of thousands of digits."""
    if len(match[0]) < 3 * _LONGEST_NUMBER:
        return match[0]
    digits = match[1] or match[2] or "0"
    prefix = "&#x" if match[2] is not None else "&#"
    return f"{prefix}{digits};" if len(digits) <= _LONGEST_NUMBER else "\ufffd"


def unescape_xml(text: str) -> str:
    """Replace character references and the five predefined entities of XML."""
    return _REFERENCE.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    if match[3]:
        return _PREDEFINED.get(match[3], match[0])
    number = int(match[1]) if match[1] else int(match[2], 16)
    return chr(number) if 0 < number < 0x110000 and not 0xD800 <= number < 0xE000 else match[0]


def attributes(text: str, tag: Piece) -> dict[str, tuple[int, int]]:
    """Return the positions of the values of a tag's attributes, by names in lower case; the first of each name counts.

    The positions are without quotation marks.
    """
    found: dict[str, tuple[int, int]] = {}
    start = tag.start + 1 + len(tag.name)
    for match in _ATTRIBUTE.finditer(text, start, tag.end - 1):
        group = next((group for group in (2, 3, 4) if match[group] is not None), None)
        span = match.span(group) if group else (match.end(), match.end())
        found.setdefault(match[1].lower(), span)
    return found
