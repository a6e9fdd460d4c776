"""HTML and XHTML: text with inline tags is translated; code, scripts, styles and what asks for it are kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.markup.markup_document import MarkupText
from allyouneed.documents.formats.markup.markup_structure import MarkupRules
from allyouneed.documents.formats.text.encoded_text import EncodedText, decode
from allyouneed.documents.segments import Parts, Segment

_DECLARED = re.compile(rb"<meta[^>]{0,500}?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_XML_DECLARED = re.compile(rb"^\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]+)", re.IGNORECASE)
_BEGINNING = 4096  # bytes in which browsers expect the declaration of the encoding
_LATIN = ("iso-8859-1", "iso8859-1", "latin-1", "latin1", "us-ascii", "ascii")  # browsers read Windows-1252


class MarkupFile:
    """A file of markup: HTML or XML.

    Args:
        encoded: Its text.
        rules: How it is interpreted.

    Attributes:
        segments: See `Document`.
        notes: See `Document`.
    """

    suffix: str | None = None

    def __init__(self, encoded: EncodedText, rules: MarkupRules):
        self._encoded, self._markup = encoded, MarkupText(encoded.text, rules, encoded.referring)
        self.segments: list[Segment] = self._markup.segments
        self.notes: Sequence[str] = encoded.notes
        if unread := self._markup.unread_line:
            self.notes = (
                *self.notes,
                f"line {unread:,}: a tag does not end; the rest of the document is kept as it is",
            )

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the markup with translations in place of its segments."""
        return self._encoded.encode(self._markup.write(translations))


def read(data: bytes, options: ReadOptions) -> MarkupFile:
    """Read an HTML or XHTML file."""
    rules = MarkupRules(
        is_xhtml=_is_xhtml(data, options.name), ignored=options.ignored, source=options.source, target=options.target
    )
    return MarkupFile(decode(data, options.name, _declared(data)), rules)


def _is_xhtml(data: bytes, name: str) -> bool:
    return PurePath(name).suffix.lower() in (".xhtml", ".xht") or data[:_BEGINNING].lstrip().startswith(b"<?xml")


def _declared(data: bytes) -> str | None:
    beginning = data[:_BEGINNING]
    match = _XML_DECLARED.search(beginning) or _DECLARED.search(beginning)
    name = match[1].decode("ascii") if match else None
    return "windows-1252" if name and name.lower() in _LATIN else name
