"""Sheets of Excel workbooks (XLSX) as tables of sentence pairs."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from zipfile import BadZipFile

from openpyxl import load_workbook

from allyouneed.data.files.json_fields import one_line
from allyouneed.data.files.opening import open_seekable
from allyouneed.data.files.rows import Row
from allyouneed.data.files.selection import Columns
from allyouneed.data.files.tables import Counted, RawPair, RowTable, named_columns
from allyouneed.errors import UserError
from allyouneed.zip_files import ZipLimits, open_zip

_EXAMINED = 100  # rows from which the form of a sheet is recognised
_MOST_COLUMNS = 1000
_LARGEST = 1 << 32  # bytes of an unpacked workbook, whose sheets are streamed


def open_pairs(path: Path, columns: Columns) -> Workbook:
    """Open a workbook.

    Raises:
        UserError: If it is damaged, or no sheet has two columns with text.
    """
    names = _sheets(path)
    sheets = {name: sheet for name in names if (sheet := _open_sheet(path, name, columns))}
    if not sheets:
        raise UserError(f"{path}: no sheet has two columns with text. The sheets are {', '.join(names) or 'none'}.")
    return Workbook(path, sheets)


class Workbook:
    """The sheets of a workbook that have sentence pairs."""

    def __init__(self, path: Path, sheets: dict[str, RowTable]):
        self.path, self._sheets = path, sheets

    @property
    def name(self) -> str:
        """Name of the file."""
        return str(self.path)

    def notes(self) -> list[str]:
        """Describe which columns of which sheets are read."""
        notes = [note for sheet in self._sheets.values() for note in sheet.notes()]
        return [*notes, f"{self.path}: {len(self._sheets)} sheets are read"] if len(self._sheets) > 1 else notes

    def pairs(self) -> Iterator[RawPair]:
        """Yield the pairs of all sheets, in one pass; the line of a pair is the row of its sheet."""
        for name, sheet in self._sheets.items():
            where = f"{self.path}, sheet {name}" if len(self._sheets) > 1 else ""
            for pair in sheet.pairs():
                yield pair._replace(file=where)

    def count(self, counted: Counted = iter) -> int:
        """Count the pairs of all sheets, in one pass."""
        return sum(sheet.count(counted) for sheet in self._sheets.values())


def _open_sheet(path: Path, name: str, columns: Columns) -> RowTable | None:
    """Open a sheet; None if it has fewer than two columns with text."""
    first = list(islice(_cells(path, name), _EXAMINED))
    texts = Counter(index for _, cells in first for index, cell in enumerate(cells) if cell.strip())
    width = 1 + max(texts, default=0)
    if len(texts) < 2:
        return None
    header = tuple(cell.strip() for cell in (*first[0][1], *[""] * width)[:width])
    names = header if named_columns(header) or (columns.names and columns.names <= {*header}) else ()
    return RowTable(path, "XLSX", names, width, partial(_rows, path, name, bool(names)), columns)


def _rows(path: Path, name: str, has_header: bool, chosen: Sequence[int]) -> Iterator[Row]:
    for number, cells in islice(_cells(path, name), int(has_header), None):
        if any(cells):
            yield Row(number, [cells[index] if index < len(cells) else "" for index in chosen])


def _sheets(path: Path) -> list[str]:
    with open_seekable(path) as file, open_zip(file, str(path), ZipLimits(unpacked=_LARGEST)):
        try:
            workbook = load_workbook(file, read_only=True)
            names = [sheet.title for sheet in workbook.worksheets if sheet.sheet_state == "visible"]
            workbook.close()
        except _DAMAGE as error:
            raise _damaged(path, error) from error
    return names


def _cells(path: Path, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a sheet that are not empty, with their numbers, from 1."""
    with open_seekable(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of openpyxl, about styles and extensions
        try:
            workbook = load_workbook(file, read_only=True, data_only=True)
            sheet = workbook[name]
            sheet.reset_dimensions()  # which some programs write wrongly
            for number, row in enumerate(sheet.iter_rows(max_col=_MOST_COLUMNS, values_only=True), 1):
                cells = ["" if value is None else one_line(str(value)) for value in row]
                if any(cells):
                    yield number, cells
            workbook.close()
        except _DAMAGE as error:
            raise _damaged(path, error) from error


_DAMAGE = (BadZipFile, KeyError, ValueError, TypeError, AttributeError, SyntaxError, OSError, EOFError, IndexError)


def _damaged(path: Path, error: Exception) -> UserError:
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:200].removesuffix(".")
    return UserError(f"{path}: a damaged workbook ({reason}). Save it again, or save its sheet as CSV in UTF-8.")
