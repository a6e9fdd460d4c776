"""Tables with objects in cells, such as `{'de': 'Ein Hund.', 'en': 'A dog.'}` in one column named `translation`.

`datasets` and pandas write nested columns so: as Python shows a dictionary, or as JSON.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from allyouneed.data.files.json_fields import as_record, names_of, texts_of
from allyouneed.data.files.rows import Row, csv_rows, is_encodable, tsv_rows

_SEPARATORS = "\t,;|"
_EXAMINED = 100  # rows
_ENOUGH = 0.9  # share of cells that must be objects


class NestedTable(NamedTuple):
    """The form of a table with objects in a column.

    Attributes:
        separator: Character between cells.
        quoted: Whether cells may be in quotation marks.
        columns: Names of the columns; numbers without a header.
        column: Index of the column with objects.
        header: Number of lines of the header.
        names: Names of the texts of a row.
    """

    separator: str
    quoted: bool
    columns: tuple[str, ...]
    column: int
    header: int
    names: tuple[str, ...]

    def rows(self, lines: Iterator[bytes]) -> Iterator[Row]:
        """Yield the texts of each row."""
        cells = csv_rows(lines, self.separator) if self.quoted else tsv_rows(lines)
        for row in islice(cells, self.header, None):
            record = None if row.fault else _record(row.cells, self.columns, self.column)
            if record is None:
                yield Row(row.line, row.cells, row.fault or "not an object with texts, unlike the other rows")
                continue
            rows, fault = texts_of(record, self.names)
            for texts in rows:
                yield Row(row.line, texts, fault if is_encodable(texts) else "not UTF-8")


def find_nested(sample: Sequence[bytes]) -> NestedTable | None:
    """Recognise a table with objects in a column by its first lines; None if it is another one."""
    if not any(b"{" in line and b":" in line for line in sample[:_EXAMINED]):
        return None
    for separator in _SEPARATORS:
        for quoted in (True, False) if separator == "\t" else (True,):
            rows = list(islice(_cells(sample, separator, quoted), _EXAMINED))
            if rows and (found := _nested(rows, separator, quoted)):
                return found
    return None


def _cells(sample: Sequence[bytes], separator: str, quoted: bool) -> Iterator[Sequence[str]]:
    rows = csv_rows(iter(sample), separator) if quoted else tsv_rows(iter(sample))
    return (row.cells for row in rows if not row.fault and any(row.cells))


def _nested(rows: Sequence[Sequence[str]], separator: str, quoted: bool) -> NestedTable | None:
    width = len(rows[0])
    for column in range(width):
        is_header = _object(rows[0][column]) is None
        body = rows[is_header:]
        columns = tuple(rows[0]) if is_header else tuple(map(str, range(1, width + 1)))
        records = [record for cells in body if (record := _record(cells, columns, column))]
        names = names_of(records) if len(records) > _ENOUGH * len(body) else ()
        if len(names) > 1:
            return NestedTable(separator, quoted, columns, column, int(is_header), names)
    return None


def _record(cells: Sequence[str], columns: Sequence[str], column: int) -> Mapping[str, Any] | None:
    """Return the fields of a row, or None if its cell is not an object."""
    if len(cells) != len(columns) or (value := _object(cells[column])) is None:
        return None
    return as_record({**dict(zip(columns, cells, strict=True)), columns[column]: value})


def _object(cell: str) -> dict[str, Any] | None:
    cell = cell.strip()
    if not (cell.startswith("{") and cell.endswith("}")):
        return None
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(cell)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    return value if isinstance(value, dict) and all(isinstance(name, str) for name in value) else None
