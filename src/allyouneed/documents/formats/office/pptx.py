"""PowerPoint presentations: slides, notes, tables, charts, diagrams, and text that masters show on every slide."""

from __future__ import annotations

from lxml import etree

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.office.container_document import ContainerDocument
from allyouneed.documents.formats.office.ooxml import Package, has_text
from allyouneed.documents.formats.office.xml_entry import local_name

_SLIDES = frozenset(("slide", "notesSlide"))
_MASTERS = frozenset(("slideLayout", "slideMaster", "notesMaster", "handoutMaster"))


def read(data: bytes, options: ReadOptions) -> ContainerDocument:
    """Read a presentation.

    Raises:
        UserError: If the file is damaged, encrypted or something else.
    """
    package = Package(data, options, "presentationml", "ms-powerpoint", "PowerPoint presentation")
    shown = [part for part in package.parts if has_text(part.kind, _SLIDES)]
    masters = [part for part in package.parts if part.kind in _MASTERS]
    entries = {part.name: package.text_entry(part) for part in shown}
    entries |= {part.name: package.text_entry(part, _is_prompt) for part in masters}
    return package.document(entries)


def _is_prompt(paragraph: etree._Element) -> bool:
    """Return whether a paragraph of a master is a prompt such as "Click to edit", which slides do not show."""
    shape = next((each for each in paragraph.iterancestors() if local_name(each) in ("sp", "graphicFrame")), None)
    return shape is not None and next(shape.iter("{*}ph"), None) is not None
