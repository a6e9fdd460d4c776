"""Tables of text: tab-separated values (TSV), CSV, and JSON lines (JSONL).

The first lines decide the form: the separator, whether cells are quoted, the usual number of columns, and whether the
first row is a header. A row with another number of columns is not used: a tab inside a sentence would pair its first
half with its second half.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path

from allyouneed.data.files.encoding import MAX_BAD_SHARE
from allyouneed.data.files.headers import side_of
from allyouneed.data.files.json_fields import names_of
from allyouneed.data.files.lines import read_lines
from allyouneed.data.files.nested_cells import NestedTable, find_nested
from allyouneed.data.files.rows import Row, csv_rows, json_object, json_rows, tsv_rows
from allyouneed.data.files.selection import DEFAULT, Columns
from allyouneed.data.files.tables import Counted, RawPair, Table, named_columns
from allyouneed.errors import UserError

_SAMPLE = 10_000  # lines from which the form of a file is recognised
_SEPARATORS = "\t,;|"
_LONGEST_RECORD = 100_000  # bytes
_MOST_RECORDS = 100  # JSON objects from which the names of columns are taken
_COMPRESSION = (".gz", ".bz2", ".xz", ".zst")


@dataclass(frozen=True)
class Layout:
    """The form of a table.

    Attributes:
        form: "TSV", "CSV" or "JSON lines".
        separator: Character between cells; empty for JSON lines.
        quoted: Whether cells may be in quotation marks, as CSV defines it.
        width: Usual number of columns.
        names: Names of the columns, from the header or the keys of the objects; empty without a header.
        header: Number of lines of the header.
        nested: How objects in cells are read, if there are any.
    """

    form: str
    separator: str
    quoted: bool
    width: int
    names: tuple[str, ...] = ()
    header: int = 0
    nested: NestedTable | None = None

    @property
    def is_plain(self) -> bool:
        """Whether tabs, and nothing else, separate texts."""
        return self.form == "TSV" and not self.quoted and self.nested is None


def decoded_pair(number: int, source: bytes, target: bytes) -> RawPair:
    """Return a pair of lines or cells; one that is not UTF-8 has a fault."""
    try:
        return RawPair(number, source.decode("utf-8").strip(), target.decode("utf-8").strip())
    except UnicodeDecodeError:
        return RawPair(number, source.decode("utf-8", "replace"), target.decode("utf-8", "replace"), "not UTF-8")


def is_table(path: Path) -> bool:
    """Return whether a file has both sides of a corpus; an empty file may have.

    Raises:
        UserError: As for `read_lines`.
    """
    sample = list(islice(read_lines(path), _SAMPLE))
    try:
        _find_layout(sample, path)
    except UserError:
        return False
    return True


def is_csv(sample: Sequence[bytes]) -> bool:
    """Return whether lines are CSV with several columns, by a header or by their quotation marks."""
    lines = [line for line in sample if line.strip()]
    if find_nested(sample):
        return True
    if not lines or not (_is_possible_header(lines[0]) or any(b'"' in line for line in lines)):
        return False
    try:
        return _find_csv(sample, lines, Path()).form == "CSV"
    except UserError:
        return False


def _is_possible_header(line: bytes) -> bool:
    """Return whether a line separates two names of sides or languages."""
    cells = re.split("[,;|]", line.decode("utf-8", "replace"))
    return sum(side_of(cell) is not None for cell in cells) >= 2


class TextTable(Table):
    """A table of text, opened for one pass over its pairs.

    Args:
        path: The file.
        wanted: The columns that were chosen.

    Attributes:
        layout: Its form.

    Raises:
        UserError: As for `read_lines`, or if the file is not a table.
    """

    is_text = True

    def __init__(self, path: Path, wanted: Columns = DEFAULT):
        self.path, self.wanted = path, wanted
        lines = read_lines(path)
        self._sample = list(islice(lines, _SAMPLE))
        self._lines = chain(self._sample, lines)
        self.layout = layout = _find_layout(self._sample, path, wanted.names)
        self.form, self.width, self.names = layout.form, layout.width, layout.names

    def sample(self) -> Iterator[Row]:
        """Yield the first rows, below a header."""
        return _rows(iter(self._sample), self.layout)

    def notes(self) -> list[str]:
        """Describe how the file is read, where users may not expect it.

        Raises:
            UserError: As for `select`.
        """
        layout, notes = self.layout, []
        if layout.nested:
            column = layout.nested.columns[layout.nested.column]
            notes.append(f"{self.path}: column {column!r} has objects, whose texts are read as columns")
        elif layout.header:
            names = ", ".join(layout.names)
            notes.append(f"{self.path}: the first row is a header ({names}) and not used as a pair")
        if layout.quoted and layout.form == "TSV":
            notes.append(f"{self.path}: cells are in quotation marks, which are removed, as in CSV")
        if layout.form == "CSV" and not layout.nested:
            notes.append(f"{self.path}: read as CSV, separated by {layout.separator!r}")
        is_usual = layout.header and layout.width == 2 and self.select() == (0, 1)
        return notes if is_usual else [*notes, *super().notes()]

    def pairs(self) -> Iterator[RawPair]:
        """Yield the sentence pairs of the chosen columns, in one pass.

        Raises:
            UserError: As for `select`.
        """
        source, target = self.select()
        if self.layout.is_plain:
            yield from self._plain_pairs(source, target)
            return
        for row in _rows(self._lines, self.layout):
            if row.fault:
                yield RawPair(row.line, " ".join(row.cells), "", row.fault)
            else:
                yield RawPair(row.line, row.cells[source].strip(), row.cells[target].strip())

    def _plain_pairs(self, source: int, target: int) -> Iterator[RawPair]:
        """Yield pairs of a plain TSV file, without an object for each row."""
        width, header = self.layout.width, self.layout.header
        for number, line in enumerate(islice(self._lines, header, None), start=header + 1):
            cells = line.split(b"\t")
            if len(cells) == width or (len(cells) > width and not b"".join(cells[width:]).strip()):
                yield decoded_pair(number, cells[source], cells[target])
            else:
                fault = f"{'fewer' if len(cells) < width else 'more'} than {width} columns"
                yield RawPair(number, line.decode("utf-8", "replace"), "", fault)

    def count(self, counted: Counted = iter) -> int:
        """Count the rows below the header, in one pass.

        Raises:
            UserError: If many rows have another number of columns than the others.
        """
        layout = self.layout
        if layout.is_plain:
            tabs = Counter(map(bytes.count, self._lines, repeat(b"\t")))
            total = sum(tabs.values()) - layout.header
            irregular = total + layout.header - tabs[layout.width - 1]
            if irregular <= max(1, MAX_BAD_SHARE * total):
                return total
            table = TextTable(self.path)  # a tab at the end of a row does no harm
        else:
            table = self
        faults = Counter(row.fault is None for row in counted(_rows(table._lines, layout)))
        total, irregular = sum(faults.values()), faults[False]
        if irregular > max(1, MAX_BAD_SHARE * total):
            self._refuse_irregular(total, irregular)
        return total

    def _refuse_irregular(self, total: int, irregular: int) -> None:
        row = next(row for row in _rows(TextTable(self.path)._lines, self.layout) if row.fault)
        cells = " | ".join(row.cells)[:100]
        if self.layout.form == "JSON lines" or self.layout.nested:
            raise UserError(
                f"{self.path}: {irregular:,} of {total:,} lines cannot be used; the first is line {row.line} "
                f"({row.fault}: {cells!r}). Each line must be an object with both texts: correct the file."
            )
        raise UserError(
            f"{self.path}: {irregular:,} of {total:,} rows do not have {self.layout.width} columns as the others; the "
            f"first is line {row.line} ({row.fault}: {cells!r}). A separator inside a sentence splits it: remove it, "
            "or quote the cells as CSV does."
        )


def _find_layout(sample: Sequence[bytes], path: Path, wanted: frozenset[str] = frozenset()) -> Layout:
    lines = [line for line in sample if line.strip()]
    if not lines:
        return Layout("TSV", "\t", False, 2)
    if json_object(lines[0]):
        records = [record for line in lines[:_MOST_RECORDS] if (record := json_object(line))]
        return _json_layout(names_of(records), path)
    if nested := find_nested(sample):
        form = "TSV" if nested.separator == "\t" else "CSV"
        names = nested.names
        return Layout(form, nested.separator, nested.quoted, len(names), names, nested.header, nested)
    widths = Counter(line.count(b"\t") + 1 for line in lines)
    if widths[1] * 2 > len(lines):
        return _find_csv(sample, lines, path, wanted)
    quoted = _is_quoted(lines)
    if quoted:
        rows = islice(csv_rows(iter(sample), "\t"), len(lines))
        widths = Counter(len(row.cells) for row in rows if not row.fault) or widths
    return _with_header(Layout("TSV", "\t", quoted, _usual(widths)), sample, wanted)


def _json_layout(names: tuple[str, ...], path: Path) -> Layout:
    if len(names) < 2:
        raise UserError(
            f"{path}: JSON lines whose first object has {len(names)} keys with text. Two are needed, for example "
            '{"source": "...", "target": "..."} or {"translation": {"de": "...", "en": "..."}}.'
        )
    is_array = names == tuple(map(str, range(1, len(names) + 1)))  # columns have numbers
    return Layout("JSON lines", "", False, len(names), () if is_array else names)


def _find_csv(
    sample: Sequence[bytes], lines: Sequence[bytes], path: Path, wanted: frozenset[str] = frozenset()
) -> Layout:
    """Recognise CSV by its regularity: with a header or quoted cells, or in a file named `.csv`."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix not in _COMPRESSION]
    by_name = suffixes[-1:] == [".csv"]
    for separator in _SEPARATORS:
        rows = list(csv_rows(iter(sample), separator))
        widths = Counter(len(row.cells) for row in rows if not row.fault)
        width = _usual(widths)
        if width == 1:
            continue
        form = "TSV" if separator == "\t" else "CSV"
        layout = _with_header(Layout(form, separator, True, width), sample, wanted)
        regular = widths[width] > (1 - MAX_BAD_SHARE) * len(rows)
        if (regular and (layout.header or _is_quoted(lines, separator))) or (by_name and widths[width] * 2 > len(rows)):
            return layout
    tabless = sum(b"\t" not in line for line in lines)
    raise UserError(
        f"{path}: {tabless:,} of {len(lines):,} lines have no tab, so this is one side of a corpus and not a table. "
        "Give both sides, SOURCE TARGET, or one file with source and target separated by a tab."
    )


def _usual(widths: Counter[int]) -> int:
    """Return the most frequent number of columns from 2; of several, the lowest."""
    return min((-count, width) for width, count in widths.items() if width > 1)[1] if any(w > 1 for w in widths) else 1


def _is_quoted(lines: Sequence[bytes], separator: str = "\t") -> bool:
    """Return whether cells are quoted as in CSV: all, or those that need it, with quotation marks inside doubled."""
    if not any(b'"' in line for line in lines):
        return False
    s = re.escape(separator.encode())
    cell = re.compile(rb'(?:^|(?<=%s))(?: *"([^"]*(?:""[^"]*)*)" *|([^"%s]*))(?:%s|$)' % (s, s, s))
    all_quoted, needed, record = True, False, b""
    for line in lines:
        record = record + b"\n" + line if record else line
        if record.count(b'"') % 2:  # a cell continues in the next line
            if len(record) > _LONGEST_RECORD:
                return False
            continue
        end = 0
        for match in cell.finditer(record):
            if match.start() != end:
                return False
            end = match.end()
            quoted, plain = match.groups()
            all_quoted = all_quoted and not plain
            needed = needed or (quoted is not None and any(c in quoted for c in (b'"', separator.encode(), b"\n")))
        if end != len(record):
            return False
        record = b""
    return not record and (all_quoted or needed)


def _with_header(layout: Layout, sample: Sequence[bytes], wanted: frozenset[str]) -> Layout:
    """Recognise a header: a first row whose cells name a source and a target, two languages, or the chosen columns."""
    first = next((row for row in _rows(iter(sample), layout) if not row.fault), None)
    if first is None or first.line != 1 or layout.width != len(first.cells):
        return layout
    names = tuple(cell.strip() for cell in first.cells)
    if not named_columns(names) and not (wanted and wanted <= {*names}):
        return layout
    return Layout(layout.form, layout.separator, layout.quoted, layout.width, names, 1)


def _rows(lines: Iterator[bytes], layout: Layout) -> Iterator[Row]:
    if layout.form == "JSON lines":
        return json_rows(lines, layout.names or tuple(map(str, range(1, layout.width + 1))))
    if layout.nested:
        return layout.nested.rows(lines)
    rows = csv_rows(lines, layout.separator) if layout.quoted else tsv_rows(lines)
    return islice(_checked(rows, layout.width), layout.header, None)


def _checked(rows: Iterator[Row], width: int) -> Iterator[Row]:
    fewer, more = f"fewer than {width} columns", f"more than {width} columns"
    for row in rows:
        if row.fault is None and len(row.cells) != width:
            if len(row.cells) > width and not any(map(str.strip, row.cells[width:])):  # separators at the end
                yield Row(row.line, row.cells[:width])
            else:
                yield Row(row.line, row.cells, fewer if len(row.cells) < width else more)
        else:
            yield row
