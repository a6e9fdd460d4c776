"""Tables of text (CSV and TSV): the cells of columns with text are segments; everything else stays as it is.

Which columns are translated is an option. Without it, these are the columns whose cells are sentences or several words;
if there are none, those whose cells are words. Column names are not translated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import PurePath
from typing import NamedTuple

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.text.encoded_text import decode
from allyouneed.documents.formats.text.json_text import is_identifier
from allyouneed.documents.formats.text.patching import PatchedDocument, Slot
from allyouneed.documents.segments import Parts, Segment, plain_text
from allyouneed.errors import UserError

_PROBE = 200  # rows from which columns and column names are recognised
_NAMED = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*+(?:""[^"]*+)*+"')
_FORMULA = re.compile(r"=[\w(+$'\"-]")
_NAME = re.compile(r"[\w .()/#%&-]{1,40}")


class Cell(NamedTuple):
    """A cell: its position without quotation marks, and whether it has them."""

    start: int
    end: int
    is_quoted: bool


def read(data: bytes, options: ReadOptions) -> PatchedDocument:
    """Read a table.

    Raises:
        UserError: If a requested column does not exist.
    """
    content = decode(data, options.name)
    text = content.text
    named = _NAMED.match(text)
    is_tsv = PurePath(options.name).suffix.lower() in (".tsv", ".tab")
    delimiter = named[1] if named else "\t" if is_tsv else _delimiter(text)
    begin = named.end() if named else 0
    probe = [[_value(text, cell) for cell in row] for row in islice(_rows(text, begin, delimiter), _PROBE)]
    chosen, has_names = _columns(probe, options)
    segments, slots = [], []
    line, position = 1, 0
    order = sorted(chosen)
    for row in islice(_rows(text, begin, delimiter), int(has_names), None):
        for index in order:
            if index >= len(row):
                break
            cell = row[index]
            value = _value(text, cell)
            if any(map(str.isalpha, value)) and not _FORMULA.match(value):
                line += text.count("\n", position, cell.start)
                position = cell.start
                segments.append(Segment((value,), f"line {line:,}, column {index + 1}"))
                slots.append(Slot(cell.start, cell.end, '"' if cell.is_quoted else ""))
    names = [probe[0][index] if has_names and index < len(probe[0]) else str(index + 1) for index in order]
    translated = f"Translated columns: {', '.join(names)}" if names else "No column is translated"
    width = max(map(len, probe), default=0)
    is_said = bool(options.columns) or (len(chosen) == width and not (has_names and width == 1))
    notes = () if is_said else (f"{translated}. Choose others with --columns.",)

    def render(parts: Parts, slot: Slot) -> str:
        return _written(plain_text(parts), slot, delimiter, is_tsv)

    return PatchedDocument(content, segments, slots, render, notes)


def _rows(text: str, position: int, delimiter: str) -> Iterator[list[Cell]]:
    """The cells of each row. A quotation mark counts if it begins a cell and its partner ends it."""
    bare = re.compile(rf"[^\r\n{re.escape(delimiter)}]*+")
    row: list[Cell] = []
    last_quote = text.rfind('"')
    while position < len(text):
        quoted = _QUOTED.match(text, position) if text[position] == '"' and position < last_quote else None
        if quoted and text[quoted.end() : quoted.end() + 1] in ("", delimiter, "\r", "\n"):
            row.append(Cell(position + 1, quoted.end() - 1, True))
            position = quoted.end()
        else:
            plain = bare.match(text, position)
            end = plain.end() if plain else position
            row.append(Cell(position, end, False))
            position = end
        if text[position : position + 1] == delimiter:
            position += 1
            if position == len(text):
                row.append(Cell(position, position, False))
        else:
            position += 2 if text.startswith("\r\n", position) else 1
            yield row
            row = []
    if row:
        yield row


def _value(text: str, cell: Cell) -> str:
    value = text[cell.start : cell.end]
    return value.replace('""', '"') if cell.is_quoted else value


def _delimiter(text: str) -> str:
    """The delimiter that most of the first lines have equally often."""

    def agreement(delimiter: str) -> tuple[int, int]:
        lengths = [len(row) for row in islice(_rows(text[:20_000], 0, delimiter), 50)]
        usual = max(set(lengths), key=lengths.count, default=1)
        return (lengths.count(usual) if usual > 1 else 0, usual)

    return max(";\t|,", key=agreement)  # a tie is of decimal commas


def _columns(probe: list[list[str]], options: ReadOptions) -> tuple[set[int], bool]:
    """The columns to translate, and whether the first row has column names."""
    width = max(map(len, probe), default=0)
    names = probe[0] if probe else []
    if options.columns is not None:
        chosen, named = set(), False
        for column in options.columns:
            if column in names:
                chosen.add(names.index(column))
                named = True
            elif column.isdecimal() and 0 < int(column) <= width:
                chosen.add(int(column) - 1)
            else:
                known = ", ".join(names[:20]) or "none"
                raise UserError(f"{options.name}: no column {column}. Columns are 1 to {width}, or by name: {known}.")
        return chosen, named or _has_names(probe)
    has_names = _has_names(probe)
    cells = [
        [row[index] for row in probe[has_names:] if index < len(row) and row[index].strip()] for index in range(width)
    ]
    words = {index for index in range(width) if _share(cells[index], _is_word) >= 0.5}
    prose = {index for index in words if _share(cells[index], _is_prose) >= 0.3}
    return prose or words, has_names


def _share(cells: Sequence[str], test: Callable[[str], bool]) -> float:
    return sum(map(test, cells)) / len(cells) if cells else 0.0


def _is_word(cell: str) -> bool:
    return any(map(str.isalpha, cell)) and not is_identifier(cell)


def _is_prose(cell: str) -> bool:
    """Whether a cell has several words, or a script without spaces."""
    words = [word for word in cell.split() if any(map(str.isalpha, word))]
    return len(words) > 1 or (len(cell) > 3 and not cell.isascii() and any(char >= "\u0e00" for char in cell))


def _has_names(probe: list[list[str]]) -> bool:
    """Whether the first row has column names: short, all different, unlike sentences, and none of them numbers."""
    names = [name.strip() for name in probe[0]] if probe else []
    are_identifiers = all(name.islower() and " " not in name for name in names)
    if len(probe) + len(names) < 3 or (min(len(probe), len(names)) < 2 and not are_identifiers):
        return False
    if len(set(names)) < len(names) or not all(_NAME.fullmatch(name) and any(map(str.isalpha, name)) for name in names):
        return False
    if any(len(name.split()) > 3 or name.endswith((".", "!", "?")) for name in names):
        return False
    rows = [row for row in probe[1:] if len(row) == len(names)]
    longer = any(
        sum(len(row[index]) for row in rows) > 2.5 * len(names[index]) * len(rows) for index in range(len(names))
    )
    numeric = any(
        rows and not any(map(str.isalpha, "".join(row[index] for row in rows))) for index in range(len(names))
    )
    return longer or numeric or (are_identifiers and len(names) > 1)


def _written(value: str, slot: Slot, delimiter: str, is_tsv: bool) -> str:
    """A value as the table has it: with quotation marks as before, or if it needs them."""
    if slot.style:
        return value.replace('"', '""')
    if is_tsv:
        return re.sub(r"[\t\r\n]+", " ", value)
    if any(char in value for char in (delimiter, '"', "\n", "\r")):
        return '"' + value.replace('"', '""') + '"'
    return value
