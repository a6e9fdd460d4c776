"""Text of a translatable element without its inline codes, collected while an XML document is streamed."""

from __future__ import annotations

from allyouneed.data.files.xml_stream import LONGEST_TEXT

TOO_LONG = f"longer than {LONGEST_TEXT:,} characters"
TOO_MANY_LANGUAGES = "too many texts"


class InlineText:
    """Text between the start and the end of an element, without the content of codes.

    Args:
        codes: Elements whose content is native code of the document, such as `<ph>` of TMX.
        markers: Elements that stand for something visible, so that a space separates the words on both sides.
    """

    def __init__(self, codes: frozenset[str], markers: frozenset[str]):
        self._codes, self._markers = codes, markers
        self._parts: list[str] = []
        self._length = self._code_depth = 0
        self.is_open = False
        self.fault: str | None = None

    @property
    def reads_text(self) -> bool:
        """Whether text at the current position belongs to the element."""
        return self.is_open and not self._code_depth

    def open(self) -> None:
        """Begin an element."""
        self._parts.clear()
        self._length = self._code_depth = 0
        self.is_open, self.fault = True, None

    def start(self, name: str) -> None:
        """Receive the start tag of an element within."""
        if name in self._markers and not self._code_depth:
            self._parts.append("\0")
        if self._code_depth or name in self._codes:
            self._code_depth += 1

    def end(self) -> None:
        """Receive the end tag of an element within."""
        if self._code_depth:
            self._code_depth -= 1

    def characters(self, text: str) -> None:
        """Receive text of the element; what exceeds the maximum is forgotten, and makes the text unusable."""
        self._length += len(text)
        if self._length > LONGEST_TEXT:
            self.fault = TOO_LONG
        else:
            self._parts.append(text)

    def entity(self, name: str) -> None:
        """Receive a reference to an entity, which makes the text unusable."""
        self.fault = f"refers to the entity {name[:40]}, which is not expanded"

    def close(self) -> str:
        """End the element and return its text."""
        self.is_open = False
        text = self._parts[0] if len(self._parts) == 1 else "".join(self._parts)
        return _without_markers(text) if "\0" in text else text


def _without_markers(text: str) -> str:
    """Replace markers by a space between two letters or digits, and by nothing elsewhere."""
    before, *rest = text.split("\0")
    for part in rest:
        joins_words = before[-1:].isalnum() and part[:1].isalnum()
        before += f" {part}" if joins_words else part
    return before
