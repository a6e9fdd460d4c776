"""What worksheets refer to: the cells of shared strings, texts that formulas compare with, and columns of tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lxml import etree

from allyouneed.documents.formats.office.ooxml import Package
from allyouneed.documents.formats.office.xml_entry import local_name, xml_reason
from allyouneed.errors import UserError

_LITERAL = re.compile(r'"((?:[^"]|"")*)"')
_TABLE_REFERENCE = re.compile(r"([^\W\d][\w.]*)\[")
_CELL = re.compile(r"\$?([A-Z]{1,3})\$?(\d+)")
_FORMULAS = ("f", "formula", "formula1", "formula2")


SHEET_NAMES = "names of sheets are not translated, because formulas refer to them"
_MOST_LISTED = 5  # texts in a note


def kept_notes(texts: Iterable[str]) -> list[str]:
    """Return a note about texts that are kept because something refers to them, if there are any."""
    kept = list(texts)
    listed = ", ".join(f'"{text}"' for text in kept[:_MOST_LISTED])
    more = f" and {len(kept) - _MOST_LISTED:,} more" if len(kept) > _MOST_LISTED else ""
    return [f"texts that formulas or tables refer to are not translated: {listed}{more}"] if kept else []


class TableLabel(NamedTuple):
    """An attribute of a table that must equal the text of a cell.

    Attributes:
        part: The table.
        column: Index of the column of the table.
        attribute: "name" or "totalsRowLabel".
    """

    part: str
    column: int
    attribute: str


class Sheets:
    """What the sheets of a workbook refer to.

    Attributes:
        first_uses: Position of the first cell of each shared string, such as "sheet Prices, cell B3".
        literals: Texts in formulas and lists of permitted values, in lower case: cells with such text are compared.
        labels: The text of each label of a table: the number of a shared string, or the worksheet and cell that contain
            it.
        with_text: Worksheets that contain text themselves, with the name of the sheet.
        fixed: Texts that formulas name as columns of tables.
    """

    def __init__(self, package: Package, workbook: str):
        self._package = package
        self.first_uses: dict[int, str] = {}
        self.literals: set[str] = set()
        self.labels: dict[TableLabel, int | str] = {}
        self.with_text: dict[str, str] = {}
        self.fixed: set[int | str] = set()
        self._referenced: set[str] = set()
        self._pending: list[tuple[str, TableLabel, int | str]] = []  # name of the table, label, string or position
        self._read_workbook(workbook)
        for table, label, text in self._pending:
            if table in self._referenced:
                self.fixed.add(text)
            else:
                self.labels[label] = text

    def _read_workbook(self, workbook: str) -> None:
        root = self._package.parse(workbook)
        related = self._package.relationships(workbook)
        for name in root.iter("{*}definedName"):
            self._add_formula(name.text or "")
        for sheet in root.iter("{*}sheet"):
            identifier = next((v for k, v in sheet.attrib.items() if k.endswith("}id")), "")
            kind, part = related.get(identifier, ("", ""))
            if kind == "worksheet":
                self._read_sheet(part, sheet.get("name", ""))
        for cache in self._package.parts:
            if cache.kind == "pivotCacheDefinition":
                fields = self._package.parse(cache.name).iter("{*}cacheField")
                self.literals.update(field.get("name", "").lower() for field in fields)

    def _read_sheet(self, part: str, sheet: str) -> None:
        labels = dict(self._labels(part))
        with self._package.container.open(part) as file:
            try:
                for element in _streamed(file, ("c", *_FORMULAS, "headerFooter")):
                    name = local_name(element)
                    if name == "c":
                        self._read_cell(element, part, sheet, labels)
                    elif name == "headerFooter":
                        if any((child.text or "").strip() for child in element):
                            self.with_text[part] = sheet
                    else:
                        self._add_formula(element.text or "")
            except etree.XMLSyntaxError as error:
                name = f"{self._package.options.name}, {part}"
                raise UserError(
                    f"{name}: malformed or excessive XML ({xml_reason(error)}). Save the document again, or split it."
                ) from error

    def _read_cell(
        self, cell: etree._Element, part: str, sheet: str, labels: dict[str, tuple[str, TableLabel]]
    ) -> None:
        kind, position = cell.get("t"), cell.get("r", "")
        text: int | str | None = None
        if kind == "inlineStr":
            self.with_text[part] = sheet
            text = f"{part} {position}"
        elif kind == "s":
            value = (cell.findtext("{*}v") or "").strip()
            if value.isdecimal() and len(value) < 10:
                text = int(value)
                self.first_uses.setdefault(text, f"sheet {sheet}, cell {position}")
        if text is not None and position in labels:
            self._pending.append((*labels[position], text))

    def _add_formula(self, formula: str) -> None:
        for literal in _LITERAL.findall(formula):
            text = literal.replace('""', '"').lower()
            self.literals.update((text, *(each.strip() for each in text.split(","))))
        self._referenced.update(name.lower() for name in _TABLE_REFERENCE.findall(formula))

    def _labels(self, sheet: str) -> Iterator[tuple[str, tuple[str, TableLabel]]]:
        """Yield the cells that label columns of tables, with the name of the table."""
        for kind, part in self._package.relationships(sheet).values():
            corners = _CELL.findall(self._package.parse(part).get("ref", "")) if kind == "table" else ()
            if len(corners) != 2:
                continue
            table = self._package.parse(part)
            self._referenced.update(
                name.lower()
                for formula in table.iter("{*}calculatedColumnFormula", "{*}totalsRowFormula")
                for name in _TABLE_REFERENCE.findall(formula.text or "")
            )
            first = column_number(corners[0][0])
            rows = {"name": int(corners[0][1])} if table.get("headerRowCount", "1") != "0" else {}
            rows |= {"totalsRowLabel": int(corners[1][1])} if table.get("totalsRowCount", "0") != "0" else {}
            name = table.get("displayName", "").lower()
            for index, column in enumerate(table.iter("{*}tableColumn")):
                for attribute, row in rows.items():
                    if column.get(attribute):
                        yield f"{column_letters(first + index)}{row}", (name, TableLabel(part, index, attribute))


def column_number(letters: str) -> int:
    """Return the number of a column from 1: 28 for "AB"."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def column_letters(number: int) -> str:
    """Return the letters of a column: "AB" for 28."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _streamed(file: object, names: tuple[str, ...]) -> Iterator[etree._Element]:
    """Yield elements of a file of any size, freeing what was read."""
    tags = [f"{{*}}{name}" for name in (*names, "row")]
    for _, element in etree.iterparse(file, tag=tags, resolve_entities=False, no_network=True, load_dtd=False):
        if local_name(element) == "row":
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
        else:
            yield element
