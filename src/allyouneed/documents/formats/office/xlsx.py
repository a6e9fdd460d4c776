"""Excel workbooks: text of cells, drawings, charts, page headers; numbers, dates and formulas are not touched.

Text that formulas, tables or pivot tables refer to is kept, or changed together with the reference: a workbook whose
table has other column names than its cells counts as damaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from lxml import etree

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.office.container_document import ContainerDocument
from allyouneed.documents.formats.office.ooxml import Package, has_text, text_units
from allyouneed.documents.formats.office.ooxml_paragraphs import CELL
from allyouneed.documents.formats.office.page_texts import page_text_units
from allyouneed.documents.formats.office.run_paragraph import RunParagraph
from allyouneed.documents.formats.office.worksheets import SHEET_NAMES, Sheets, TableLabel, kept_notes
from allyouneed.documents.formats.office.xml_entry import Unit, XmlEntry, serialize_xml, xml_text
from allyouneed.documents.segments import Code, CodeKind, Part, Parts


def read(data: bytes, options: ReadOptions) -> ContainerDocument:
    """Read a workbook.

    Raises:
        UserError: If the file is damaged, encrypted or something else.
    """
    package = Package(data, options, "spreadsheetml", "ms-excel", "Excel workbook")
    texts = _CellTexts(Sheets(package, package.parts[0].name))
    entries: dict[str, XmlEntry] = {}
    for part in package.parts:
        if part.kind == "sharedStrings":
            entries[part.name] = package.xml_entry(part.name, partial(texts.shared, part.name))
        elif part.name in texts.sheets.with_text:
            entries[part.name] = package.xml_entry(part.name, partial(texts.own, part.name))
    for part in package.parts:
        if has_text(part.kind, frozenset()):
            entries[part.name] = package.xml_entry(part.name, partial(texts.shown, part.label))
    return _Workbook(package, package.with_properties(entries), texts)


class _CellTexts:
    """The text of cells: shared by all cells with the same text, or of one cell.

    Attributes:
        sheets: What refers to it.
        keys: For each entry, the key (see `Sheets.fixed`) of each segment that is the text of cells.
        kept: Texts that are kept because something refers to them, by their form in lower case.
    """

    def __init__(self, sheets: Sheets):
        self.sheets = sheets
        self.keys: dict[str, list[int | str]] = {}
        self.kept: dict[str, str] = {}

    def shared(self, entry: str, root: etree._Element) -> list[Unit]:
        """Return the shared strings that cells use."""
        uses = self.sheets.first_uses
        items = enumerate(root.iterchildren("{*}si"))
        return self._units(entry, ((number, item, uses[number]) for number, item in items if number in uses))

    def own(self, entry: str, root: etree._Element) -> list[Unit]:
        """Return the text that a worksheet contains itself: cells with their own text, headers and footers."""
        sheet = self.sheets.with_text[entry]
        cells = (cell for cell in root.iter("{*}c") if cell.get("t") == "inlineStr")
        found = ((cell.get("r", ""), cell.find("{*}is")) for cell in cells)
        units = self._units(
            entry,
            ((f"{entry} {r}", item, f"sheet {sheet}, cell {r}") for r, item in found if item is not None),
        )
        return units + page_text_units(root, sheet)

    def shown(self, label: str, root: etree._Element) -> list[Unit]:
        """Return the text of a drawing or chart; charts show cells, which are kept here if they are kept there."""
        return [unit for unit in text_units(root, label) if cell_text(unit.source).lower() not in self.kept]

    def _units(self, entry: str, items: Iterable[tuple[int | str, etree._Element, str]]) -> list[Unit]:
        units: list[Unit] = []
        self.keys[entry] = []
        for key, item, where in items:
            for unit in RunParagraph(item, CELL).units(where):
                text = cell_text(unit.source)
                if key in self.sheets.fixed or text.lower() in self.sheets.literals:
                    self.kept[text.lower()] = text
                else:
                    units.append(unit)
                    self.keys[entry].append(key)
        return units


class _Workbook(ContainerDocument):
    """A workbook, whose tables change together with the cells that label their columns."""

    def __init__(self, package: Package, entries: Mapping[str, XmlEntry], texts: _CellTexts):
        notes = [SHEET_NAMES]
        notes += kept_notes(texts.kept.values())
        super().__init__(package.container, entries, [*notes, *package.notes()])
        self._package, self._labels = package, texts.sheets.labels
        self._segments_of: dict[int | str, int] = {}
        start = 0
        for name, entry in entries.items():
            self._segments_of |= {key: start + index for index, key in enumerate(texts.keys.get(name, ()))}
            start += len(entry.segments)

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the workbook with translations; labels of a table stay if two would become equal."""
        used = list(translations)
        while clashing := self._clashing(used):
            for segment in clashing:
                used[segment] = None
        return super().write(used)

    def _contents(self, translations: Sequence[Parts | None]) -> dict[str, bytes]:
        contents = super()._contents(translations)
        for part in dict.fromkeys(label.part for label in self._labels):
            data = self._package.container.read(part)
            root = self._package.parse(part)
            columns = list(root.iter("{*}tableColumn"))
            for label, text in self._translated_labels(translations).items():
                if label.part == part:
                    columns[label.column].set(label.attribute, text)
            contents[part] = serialize_xml(root.getroottree(), data)
        return contents

    def _translated_labels(self, translations: Sequence[Parts | None]) -> dict[TableLabel, str]:
        """Return the text of each label that has a translation."""
        found = {}
        for label, key in self._labels.items():
            translation = translations[self._segments_of[key]] if key in self._segments_of else None
            if translation is not None:
                found[label] = xml_text(cell_text(translation)).replace("\n", "_x000a_")
        return found

    def _clashing(self, translations: Sequence[Parts | None]) -> set[int]:
        """Return the segments of translated column names that a table would have twice, or that would be empty."""
        translated = self._translated_labels(translations)
        names: dict[tuple[str, str], list[TableLabel]] = {}
        for part in {label.part for label in translated}:
            for index, column in enumerate(self._package.parse(part).iter("{*}tableColumn")):
                label = TableLabel(part, index, "name")
                names.setdefault((part, translated.get(label, column.get("name", "")).lower()), []).append(label)
        return {
            self._segments_of[self._labels[label]]
            for (_, name), labels in names.items()
            for label in labels
            if label in translated and (len(labels) > 1 or not name)
        }


def cell_text(parts: Parts) -> str:
    """Return the text of a cell with its line breaks."""
    return "".join(part if isinstance(part, str) else part.raw for part in parts if not _is_formatting(part))


def _is_formatting(part: Part) -> bool:
    return isinstance(part, Code) and part.kind is not CodeKind.ALONE
