"""Plain text: each line is a segment; line ends, encoding and byte-order mark are kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.segments import Parts, Segment, plain_text

_LINES = re.compile(r"[^\r\n]+|\r\n|\r|\n")


@dataclass
class PlainText:
    """A text file.

    Attributes:
        pieces: Lines and line ends, in order; joined, they are the file.
        segments: One per line with text.
    """

    pieces: list[str]
    segments: list[Segment]
    notes: Sequence[str] = ()
    suffix: str | None = None

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the text with each line translated."""
        remaining = iter(translations)
        out = []
        for piece in self.pieces:
            translation = next(remaining) if piece.strip() else None
            out.append(piece if translation is None else plain_text(translation))
        return "".join(out).encode("utf-8")


def read(data: bytes, options: ReadOptions) -> PlainText:
    """Read a text file."""
    pieces = _LINES.findall(data.decode("utf-8"))
    segments, line = [], 1
    for piece in pieces:
        if piece.strip():
            segments.append(Segment((piece,), f"line {line:,}"))
        line += piece in ("\r\n", "\r", "\n")
    return PlainText(pieces, segments)
