"""Packages of Office Open XML: their parts in reading order, and the text of parts (ECMA-376 part 2)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from lxml import etree

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.office.container_document import ContainerDocument
from allyouneed.documents.formats.office.office_language import localize
from allyouneed.documents.formats.office.ooxml_paragraphs import DRAWING, DRAWING_PARAGRAPH, WORD, WORD_PARAGRAPH
from allyouneed.documents.formats.office.run_paragraph import RunParagraph
from allyouneed.documents.formats.office.xml_entry import (
    Unit,
    XmlEntry,
    attribute_unit,
    local_name,
    parse_xml,
    text_unit,
)
from allyouneed.documents.formats.office.zip_container import ZipContainer
from allyouneed.errors import UserError

_CONTENT_TYPES = "[Content_Types].xml"
_PARAGRAPHS = {f"{{{uri}}}p": WORD_PARAGRAPH for uri in WORD} | {f"{{{uri}}}p": DRAWING_PARAGRAPH for uri in DRAWING}
_CACHES = frozenset(("strCache", "strLit", "tx"))  # of charts: text of cells, and names of series
_DESCRIBED = {
    "docPr": ("title", "descr"),
    "cNvPr": ("title", "descr"),
    "hlinkClick": ("tooltip",),
    "hyperlink": ("tooltip",),
    "textpath": ("string",),  # watermarks
}
_PROPERTIES = frozenset(("title", "subject", "description", "keywords"))
_FILE_NAME = re.compile(r"\S+\.\w{2,4}|[A-Za-z]:\\.*")  # what programs write as a description of a picture
_EMBEDDED = frozenset(("sheet", "document", "presentation", "oleObject", "text/html", "application/rtf"))
_PLAIN_KINDS = {"notesSlide": "notes", "diagramData": "diagram", "diagramDrawing": "diagram", "chartshapes": "chart"}
_SPREAD = frozenset(
    ("chart", "chartex", "chartshapes", "diagramData", "diagramDrawing", "drawing")
)  # text of these is translated in all kinds of documents


class Part(NamedTuple):
    """A part of a package.

    Attributes:
        name: Name of its entry.
        kind: Kind by its content type, such as "header" or "slide".
        label: What it is called in messages; "" for the main part.
    """

    name: str
    kind: str
    label: str


class Package:
    """A package: its parts, found along their relationships.

    Args:
        data: The file.
        options: Options of reading.
        family: Vocabulary of the main part in its content type, such as "wordprocessingml".
        alias: The same in content types of Microsoft, such as "ms-word".
        title: What such a document is called, for messages.
    """

    def __init__(self, data: bytes, options: ReadOptions, family: str, alias: str, title: str):
        self.container = ZipContainer(data, options.name, options.limits)
        self.options = options
        self._types = self._content_types()
        self._names = {name.lower(): name for name in self.container.names}
        roots = list(self.related(""))
        main = next((part for kind, part in roots if kind == "officeDocument"), None)
        content_type = self._type_of(main) if main else ""
        if main is None or not (family in content_type or alias in content_type):
            raise UserError(
                f"{options.name}: a zip archive, but not a {title}. Give the file the suffix of its format."
            )
        self.parts = list(self._walk(main))
        self.properties = next((part for kind, part in roots if kind == "core-properties"), None)

    def related(self, part: str) -> Iterator[tuple[str, str]]:
        """Yield kind of relationship and name of each part that a part relates to, in order of their mention."""
        content = self.container.read(part) if part else b""
        found = [
            (content.find(f'"{identifier}"'.encode()), kind, name)
            for identifier, (kind, name) in self.relationships(part).items()
        ]
        for _, kind, name in sorted(found, key=lambda each: each[0] if each[0] >= 0 else len(content)):
            yield kind, name

    def relationships(self, part: str) -> dict[str, tuple[str, str]]:
        """Return the kind and the part of each internal relationship of a part, by its identifier."""
        folder, _, file = part.rpartition("/")
        entry = self._names.get(posixpath.join(folder, "_rels", f"{file}.rels").lower())
        found = {}
        for each in self.parse(entry) if entry else ():
            target = posixpath.normpath(posixpath.join("/", folder, each.get("Target", "")))
            name = self._names.get(target.lstrip("/").lower())
            if name is not None and each.get("TargetMode") != "External":
                found[each.get("Id", "")] = (each.get("Type", "").rpartition("/")[2], name)
        return found

    def parse(self, entry: str) -> etree._Element:
        """Return the root element of an entry."""
        return parse_xml(self.container.read(entry), f"{self.options.name}, {entry}").getroot()

    def text_entry(self, part: Part, skipped: Callable[[etree._Element], bool] = lambda element: False) -> XmlEntry:
        """Return the paragraphs and descriptions of a part as a document.

        Args:
            part: The part.
            skipped: Returns whether a paragraph is not translated.
        """
        return self.xml_entry(part.name, lambda root: text_units(root, part.label, skipped))

    def xml_entry(self, entry: str, units: Callable[[etree._Element], list[Unit]]) -> XmlEntry:
        """Return an entry as a document; its language becomes the target language."""
        name = f"{self.options.name}, {entry}"
        return XmlEntry(self.container.read(entry), name, units, lambda root: localize(root, self.options))

    def document(self, entries: Mapping[str, XmlEntry]) -> ContainerDocument:
        """Return the document with entries, the document's properties and its styles."""
        return ContainerDocument(self.container, self.with_properties(entries), self.notes())

    def with_properties(self, entries: Mapping[str, XmlEntry]) -> dict[str, XmlEntry]:
        """Return entries, followed by the document's properties and its styles."""
        found = dict(entries)
        if self.properties:
            found[self.properties] = self.xml_entry(self.properties, _property_units)
        for part in self.parts:
            if part.kind in ("styles", "presentation") and part.name not in found:
                found[part.name] = self.xml_entry(part.name, lambda root: [])
        return found

    def notes(self) -> list[str]:
        """Return what the user should know about any package."""
        return list(self._notes())

    def _notes(self) -> Iterator[str]:
        comments = [part.name for part in self.parts if part.kind in ("comments", "comment")]
        number = sum(local_name(each) in ("comment", "cm") for name in comments for each in self.parse(name).iter("*"))
        if number:
            yield f"comments are not translated ({number:,})"
        if embedded := sum(part.kind in _EMBEDDED for part in self.parts):
            yield f"embedded documents, such as the tables of charts, are not translated ({embedded:,})"
        if any(name.startswith("_xmlsignatures/") for name in self.container.names):
            yield "the digital signature does not hold for the translation"

    def _walk(self, main: str) -> Iterator[Part]:
        """Yield the main part and what it relates to, directly or not, depth first."""
        stack, seen, slides = [(main, "")], {main}, 0
        while stack:
            name, parent = stack.pop()
            kind = "main" if name == main else self._kind_of(name)
            stem = re.sub(r"(?<=\D)(\d+)$", r" \1", posixpath.splitext(posixpath.basename(name))[0])
            if kind == "slide":
                slides += 1
                label = f"slide {slides}"
            elif name == main:
                label = ""
            else:
                label = ", ".join(filter(None, (parent, _PLAIN_KINDS.get(kind, stem))))
            yield Part(name, kind, label)
            new = [each for _, each in self.related(name) if each not in seen]
            seen.update(new)
            stack += [(each, label) for each in reversed(new)]

    def _content_types(self) -> dict[str, str]:
        """Return content types by part name, and by suffix with a dot."""
        if _CONTENT_TYPES not in self.container:
            raise UserError(
                f"{self.options.name}: a zip archive, but no Office document: it lacks [Content_Types].xml."
            )
        found = {}
        for each in self.parse(_CONTENT_TYPES):
            name = each.get("PartName", "").lstrip("/") or f".{each.get('Extension', '')}"
            found[name.lower()] = each.get("ContentType", "")
        return found

    def _type_of(self, name: str) -> str:
        return self._types.get(name.lower()) or self._types.get(posixpath.splitext(name)[1].lower(), "")

    def _kind_of(self, name: str) -> str:
        """Return the last word of a content type, such as "header" or "chart"."""
        return self._type_of(name).removesuffix("+xml").rpartition(".")[2]


def has_text(kind: str, kinds: frozenset[str]) -> bool:
    """Return whether parts of a kind have translatable text: the given kinds, charts, diagrams and drawings."""
    return kind in kinds or kind in _SPREAD


def text_units(
    root: etree._Element, label: str, skipped: Callable[[etree._Element], bool] = lambda element: False
) -> list[Unit]:
    """Return paragraphs, cached text of charts, and descriptions of pictures, in document order.

    Args:
        root: The root element of a part.
        label: What the part is called in messages.
        skipped: Returns whether a paragraph is not translated.
    """
    units, number = [], 0
    start = f"{label}, " if label else ""
    for element in root.iter("{*}p", "{*}v", *(f"{{*}}{name}" for name in _DESCRIBED)):
        name = local_name(element)
        if name == "p" and element.tag in _PARAGRAPHS:
            number += 1
            if len(element) and not skipped(element):
                paragraph = RunParagraph(element, _PARAGRAPHS[element.tag])
                units += paragraph.units(f"{start}paragraph {number}")
        elif name == "v":
            if _is_cached_text(element):
                units.append(text_unit(element, f"{start}data"))
        elif name in _DESCRIBED:  # not a p of another namespace
            units += _descriptions(element, start)
    return units


def _is_cached_text(element: etree._Element) -> bool:
    parent = element.getparent()
    outer = parent.getparent() if local_name(parent) == "pt" else parent
    return local_name(outer) in _CACHES and bool((element.text or "").strip())


def _descriptions(element: etree._Element, start: str) -> Iterator[Unit]:
    names = _DESCRIBED[local_name(element)]
    for name in element.attrib:
        value = element.get(name)
        if name.rpartition("}")[2] in names and value.strip() and not _FILE_NAME.fullmatch(value.strip()):
            yield attribute_unit(element, name, f"{start}description of a picture or link")


def _property_units(root: etree._Element) -> list[Unit]:
    return [
        text_unit(each, f"document property {local_name(each)}")
        for each in root
        if local_name(each) in _PROPERTIES and (each.text or "").strip()
    ]
