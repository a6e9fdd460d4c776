"""OpenDocument text, presentations, spreadsheets and drawings, in a zip container or as one XML file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from lxml import etree

from allyouneed.documents.document import Document, ReadOptions
from allyouneed.documents.formats.office.container_document import ContainerDocument
from allyouneed.documents.formats.office.odf_paragraphs import OFFICE, TEXT, odf_paragraph, plain_styles
from allyouneed.documents.formats.office.office_language import localize_odf
from allyouneed.documents.formats.office.run_paragraph import Dialect, RunParagraph
from allyouneed.documents.formats.office.worksheets import SHEET_NAMES, column_letters, kept_notes
from allyouneed.documents.formats.office.xml_entry import Unit, XmlEntry, has_words, parse_xml, text_unit
from allyouneed.documents.formats.office.zip_container import ZipContainer
from allyouneed.documents.segments import Parts, Segment
from allyouneed.errors import UserError

_TABLE = "urn:oasis:names:tc:opendocument:xmlns:table:1.0"
_DRAW = "urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"
_SVG = "urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0"
_PRESENTATION = "urn:oasis:names:tc:opendocument:xmlns:presentation:1.0"
_DC = "http://purl.org/dc/elements/1.1/"
_META = "urn:oasis:names:tc:opendocument:xmlns:meta:1.0"
_PARAGRAPHS = (f"{{{TEXT}}}p", f"{{{TEXT}}}h")
_PLAIN_TEXTS = {
    f"{{{_SVG}}}title": "description",
    f"{{{_SVG}}}desc": "description",
    f"{{{_META}}}keyword": "document property keyword",
    **{f"{{{_DC}}}{name}": f"document property {name}" for name in ("title", "subject", "description")},
}
_PAGE, _SHEET, _ROW = f"{{{_DRAW}}}page", f"{{{_TABLE}}}table", f"{{{_TABLE}}}table-row"
_CELLS = (f"{{{_TABLE}}}table-cell", f"{{{_TABLE}}}covered-table-cell")
_VALUE_TYPE, _STRING_VALUE = f"{{{OFFICE}}}value-type", f"{{{OFFICE}}}string-value"
_FORMULA, _CONDITION = f"{{{_TABLE}}}formula", f"{{{_TABLE}}}condition"
_LITERAL = re.compile(r'"((?:[^"]|"")*)"')
_NOT_SHOWN = (f"{{{TEXT}}}deletion", f"{{{OFFICE}}}annotation")
_PLACEHOLDER = f"{{{_PRESENTATION}}}placeholder"
_MIME_TYPE = b"application/vnd.oasis.opendocument."
_ENTRY = re.compile(r"(?:[^/]+/)*(?:content|styles|meta)\.xml")


def read(data: bytes, options: ReadOptions) -> Document:
    """Read a document.

    Raises:
        UserError: If the file is damaged, encrypted or something else.
    """
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return _flat(data, options)
    container = ZipContainer(data, options.name, options.limits)
    unnamed = _MIME_TYPE if "content.xml" in container else b""
    mime_type = container.read("mimetype") if "mimetype" in container else unnamed
    if not mime_type.startswith(_MIME_TYPE):
        raise UserError(
            f"{options.name}: a zip archive, but not an OpenDocument file. Give the file the suffix of its format."
        )
    manifest = "META-INF/manifest.xml"
    if manifest in container and b"encryption-data" in container.read(manifest):
        raise UserError(f"{options.name}: protected by a password. Save the document without a password.")
    names = sorted(filter(_ENTRY.fullmatch, container.names), key=lambda name: (name != "content.xml", name))
    readers = {name: _TreeReader(options) for name in names}
    entries = {name: _entry(container.read(name), f"{options.name}, {name}", readers[name]) for name in names}
    notes = _notes(list(readers.values()), "META-INF/documentsignatures.xml" in container)
    return ContainerDocument(container, entries, notes)


def _entry(data: bytes, name: str, reader: _TreeReader) -> XmlEntry:
    return XmlEntry(data, name, reader.units, partial(localize_odf, options=reader.options), keeps_entities=True)


def _flat(data: bytes, options: ReadOptions) -> Document:
    """Read a document that is one XML file."""
    reader = _TreeReader(options)
    entry = _entry(data, options.name, reader)
    root = parse_xml(data, options.name, keeps_entities=True).getroot()
    if root.tag != f"{{{OFFICE}}}document":
        raise UserError(
            f"{options.name}: an XML file, but not an OpenDocument file. Give the file the suffix of its format."
        )
    return _FlatDocument(entry, _notes([reader], False))


class _FlatDocument:
    """A document that is one XML file."""

    def __init__(self, entry: XmlEntry, notes: Sequence[str]):
        self._entry = entry
        self.segments: Sequence[Segment] = entry.segments
        self.notes = notes
        self.suffix: str | None = None

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the document with translations."""
        pairs = zip(translations, self.segments, strict=True)
        changes = [None if translation == segment.source else translation for translation, segment in pairs]
        return self._entry.write(changes) if any(changes) else self._entry.data


def _notes(readers: Sequence[_TreeReader], is_signed: bool) -> list[str]:
    notes = []
    if comments := sum(reader.comments for reader in readers):
        notes.append(f"comments are not translated ({comments:,})")
    notes += kept_notes(text for reader in readers for text in reader.kept)
    notes += [SHEET_NAMES] if any(reader.has_sheets for reader in readers) else []
    if is_signed:
        notes.append("the digital signature does not hold for the translation")
    return notes


class _TreeReader:
    """Finds the text of a tree.

    Attributes:
        options: Options of reading.
        comments: Number of comments.
        kept: Texts of cells that are kept because formulas compare with them.
        has_sheets: Whether the document is a spreadsheet.
    """

    def __init__(self, options: ReadOptions):
        self.options = options
        self.comments, self.has_sheets = 0, False
        self.kept: dict[str, None] = {}

    def units(self, root: etree._Element) -> list[Unit]:
        """Return the units of a tree in document order."""
        self.comments = sum(1 for _ in root.iter(f"{{{OFFICE}}}annotation"))
        self.has_sheets = next(root.iter(f"{{{OFFICE}}}spreadsheet"), None) is not None
        dialect, literals = odf_paragraph(plain_styles(root)), _literals(root)
        position, units = _Position(self.has_sheets), []
        for element in root.iter(_PAGE, _SHEET, _ROW, *_CELLS, *_PARAGRAPHS, *_PLAIN_TEXTS):
            position.pass_by(element)
            if element.tag in _PLAIN_TEXTS:
                if (element.text or "").strip() and not len(element):
                    units.append(text_unit(element, position.where(_PLAIN_TEXTS[element.tag])))
            elif element.tag in _PARAGRAPHS and (len(element) or element.text) and _is_shown(element):
                units += self._paragraph(element, dialect, literals, position)
        return units

    def _paragraph(
        self, element: etree._Element, dialect: Dialect, literals: set[str], position: _Position
    ) -> list[Unit]:
        paragraph = RunParagraph(element, dialect)
        cell = element.getparent()
        text = "".join(element.itertext())
        if cell.tag in _CELLS and text.lower() in literals:
            self.kept |= {text: None} if has_words(paragraph.parts) else {}
            return []

        def finish() -> None:
            paragraph.rebuild()
            if cell.tag in _CELLS and cell.get(_STRING_VALUE) is not None:
                lines = ("".join(each.itertext()) for each in cell if each.tag in _PARAGRAPHS)
                cell.set(_STRING_VALUE, "\n".join(lines))

        return paragraph.units(position.where(), finish)


class _Position:
    """Position in a document, for messages: paragraph, slide or cell."""

    def __init__(self, in_sheets: bool):
        self._in_sheets = in_sheets
        self._paragraph = self._page = self._row = self._column = 0
        self._next_row = self._next_column = 1
        self._sheet = ""

    def pass_by(self, element: etree._Element) -> None:
        """Count an element."""
        if element.tag in _PARAGRAPHS:
            self._paragraph += 1
        elif element.tag == _PAGE:
            self._page += 1
            self._paragraph = 0
        elif element.tag == _SHEET:
            self._sheet, self._next_row = element.get(f"{{{_TABLE}}}name", ""), 1
        elif element.tag == _ROW:
            self._row, self._next_column = self._next_row, 1
            self._next_row += _repeated(element, "rows")
        elif element.tag in _CELLS:
            self._column = self._next_column
            self._next_column += _repeated(element, "columns")

    def where(self, what: str = "") -> str:
        """Return the current position."""
        if self._in_sheets and self._column and not what:
            return f"sheet {self._sheet}, cell {column_letters(self._column)}{self._row}"
        page = f"slide {self._page}, " if self._page else ""
        return page + (what or f"paragraph {self._paragraph}")


def _repeated(element: etree._Element, what: str) -> int:
    number = element.get(f"{{{_TABLE}}}number-{what}-repeated", "1")
    return int(number) if number.isdecimal() and len(number) < 8 else 1


def _literals(root: etree._Element) -> set[str]:
    """Return the texts that formulas and lists of permitted values contain, in lower case."""
    found: set[str] = set()
    for element in root.iter(*_CELLS, f"{{{_TABLE}}}content-validation"):
        formula = element.get(_FORMULA) or element.get(_CONDITION) or ""
        found.update(literal.replace('""', '"').lower() for literal in _LITERAL.findall(formula))
    return found


def _is_shown(paragraph: etree._Element) -> bool:
    """Return whether readers see a paragraph as text: no comment, deletion, prompt, number or result of a formula."""
    for each in paragraph.iterancestors():
        if each.tag in _NOT_SHOWN or each.get(_PLACEHOLDER) == "true":
            return False
        if each.tag in _CELLS:
            return each.get(_VALUE_TYPE, "string") == "string" and each.get(_FORMULA) is None
    return True
