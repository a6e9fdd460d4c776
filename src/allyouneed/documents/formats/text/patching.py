"""Documents that are written by replacing pieces of their text, so that all other bytes stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from allyouneed.documents.formats.text.encoded_text import EncodedText
from allyouneed.documents.segments import Parts, Segment


class Edit(NamedTuple):
    """A replacement of text[start:end]; an insertion if both are equal."""

    start: int
    end: int
    text: str


class Slot(NamedTuple):
    """Where the text of a segment is.

    Attributes:
        start: Its first character.
        end: The position after its last character.
        style: How the format writes it there, such as its quotation mark.
    """

    start: int
    end: int
    style: str = ""


@dataclass
class PatchedDocument:
    """A document each of whose segments is one piece of its text.

    Attributes:
        content: The text and its encoding.
        segments: The segments, in document order.
        slots: The position of each segment.
        render: Returns a translation as the format writes it at a slot.
        notes: What the user should know.
        suffix: Suffix of the written file if it differs.
    """

    content: EncodedText
    segments: Sequence[Segment]
    slots: Sequence[Slot]
    render: Callable[[Parts, Slot], str]
    notes: Sequence[str] = ()
    suffix: str | None = None

    def __post_init__(self) -> None:
        self.notes = (*self.content.notes, *self.notes)

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the document with translations in place of its segments."""
        edits = (
            Edit(self.slots[index].start, self.slots[index].end, self.render(translation, self.slots[index]))
            for index, translation in changed(self.segments, translations).items()
        )
        return self.content.encode(patched(self.content.text, edits))


def changed(segments: Sequence[Segment], translations: Sequence[Parts | None]) -> dict[int, Parts]:
    """Return the translations that differ from their source, by the index of the segment."""
    pairs = enumerate(zip(segments, translations, strict=True))
    return {index: new for index, (segment, new) in pairs if new is not None and new != segment.source}


def patched(text: str, edits: Iterable[Edit]) -> str:
    """Return a text with edits, which must not overlap."""
    pieces, position = [], 0
    for edit in sorted(edits, key=attrgetter("start")):
        pieces += [text[position : edit.start], edit.text]
        position = edit.end
    return "".join((*pieces, text[position:]))
