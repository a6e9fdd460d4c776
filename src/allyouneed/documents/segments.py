"""Segments: the translatable units of a document, such as paragraphs, cells and messages.

Every format reads its documents into segments and puts translations back. What happens between the two (sentence
splitting, protection, translation, placement of codes, checks) is the same for all formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class CodeKind(Enum):
    """Role of a code: it opens an inline element, closes it, or stands alone."""

    OPEN = "open"
    CLOSE = "close"
    ALONE = "alone"


class Code(NamedTuple):
    """Inline markup within a segment, such as the tag `<b>`; it is kept unchanged and placed in the translation.

    Attributes:
        raw: The markup as the document has it.
        kind: Its role.
        pair: Number shared by an opening code and its closing code; unique within the segment.
        text: For a code that stands alone, its untranslatable content as readers see it, such as "Rex" for
            `<span class="notranslate">Rex</span>`, or " " for a line break; "" if it shows no text.
    """

    raw: str
    kind: CodeKind = CodeKind.ALONE
    pair: int = 0
    text: str = ""


Part = str | Code
Parts = tuple[Part, ...]


@dataclass(frozen=True)
class Segment:
    """A translatable unit.

    Attributes:
        source: Text (unescaped, as readers see it) and codes, in order.
        where: Position for messages, such as "line 12", "sheet Prices, cell B3" or "unit greeting".
        target: The existing translation in a bilingual document; None if there is none.
        is_finished: Whether the existing translation is complete and need not be checked; such segments are translated
            only on request.
        longest: Maximum number of characters of the translation, as some formats specify; None for no limit.
    """

    source: Parts
    where: str
    target: Parts | None = None
    is_finished: bool = False
    longest: int | None = None

    @property
    def text(self) -> str:
        """The text without codes, as readers see it."""
        return plain_text(self.source)


def plain_text(parts: Parts) -> str:
    """Join text and the visible text of codes."""
    return "".join(part if isinstance(part, str) else part.text for part in parts)
