"""Word documents: body, headers and footers, notes, text boxes, charts, diagrams, descriptions of pictures."""

from __future__ import annotations

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.office.container_document import ContainerDocument
from allyouneed.documents.formats.office.ooxml import Package, has_text

_KINDS = frozenset(("main", "header", "footer", "footnotes", "endnotes"))


def read(data: bytes, options: ReadOptions) -> ContainerDocument:
    """Read a Word document.

    Raises:
        UserError: If the file is damaged, encrypted or something else.
    """
    package = Package(data, options, "wordprocessingml", "ms-word", "Word document")
    entries = {part.name: package.text_entry(part) for part in package.parts if has_text(part.kind, _KINDS)}
    return package.document(entries)
