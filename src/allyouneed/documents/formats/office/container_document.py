"""Documents that are zip containers of other documents, such as office documents and e-books."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from allyouneed.documents.formats.office.zip_container import ZipContainer
from allyouneed.documents.segments import Parts, Segment


class EntryDocument(Protocol):
    """An entry with text: its segments, and the entry with translations in place of them."""

    @property
    def segments(self) -> Sequence[Segment]:
        """Segments in order."""

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the entry with translations; None leaves a segment as it is."""


class ContainerDocument:
    """A document in a zip container.

    Args:
        container: The container.
        entries: Entries with text, in reading order.
        notes: What the user should know.
    """

    def __init__(self, container: ZipContainer, entries: Mapping[str, EntryDocument], notes: Sequence[str] = ()):
        self._container, self._entries = container, entries
        self.segments: Sequence[Segment] = [segment for entry in entries.values() for segment in entry.segments]
        self.notes: Sequence[str] = list(notes)
        self.suffix: str | None = None

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the document with translations; entries without changes are copied."""
        pairs = zip(translations, self.segments, strict=True)
        if all(translation is None or translation == segment.source for translation, segment in pairs):
            return self._container.replace({})
        return self._container.replace(self._contents(translations))

    def _contents(self, translations: Sequence[Parts | None]) -> dict[str, bytes]:
        """Return the entries with text by name, with translations."""
        contents, start = {}, 0
        for name, entry in self._entries.items():
            end = start + len(entry.segments)
            contents[name] = entry.write(translations[start:end])
            start = end
        return contents
