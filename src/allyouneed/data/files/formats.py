"""Readers of parallel text: two files of plain text, or one file with both sides (see `tables.py`).

Files are read as `lines.py` describes: compressed or not, in UTF-8, UTF-16 or UTF-32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import NamedTuple

from allyouneed.data.files.headers import side_of
from allyouneed.data.files.lines import read_lines
from allyouneed.data.files.tables import Table, is_csv
from allyouneed.errors import UserError
from allyouneed.languages import primary

_SAMPLE = 1000  # lines examined to distinguish a table from plain text


class RawPair(NamedTuple):
    """A sentence pair as read from a file.

    Attributes:
        line: Line number, from 1.
        source: Source sentence without surrounding whitespace.
        target: Target sentence without surrounding whitespace.
        fault: Reason why the pair cannot be used; None if it can.
    """

    line: int
    source: str
    target: str
    fault: str | None = None


def check_file_count(paths: Sequence[Path]) -> None:
    """Check that a corpus is one file with both sides or two parallel files.

    Raises:
        UserError: If the number of files is not one or two.
    """
    if len(paths) not in (1, 2):
        raise UserError("give two parallel text files, or one TSV file.")


def read_pairs(paths: Sequence[Path], columns: tuple[int, int] = (1, 2)) -> Iterator[RawPair]:
    """Yield the sentence pairs of one file with both sides or of two parallel files.

    Args:
        paths: The files.
        columns: Columns of source and target if there is one file, from 1.

    Raises:
        UserError: As for `read_lines` and `Table`, if one file ends before the other (`count_pairs` checks this in
            advance), or if one of two files has both sides.
    """
    check_file_count(paths)
    if len(paths) == 1:
        return _read_table(paths[0], columns)
    return _read_sides(*paths)


def reading_notes(paths: Sequence[Path], columns: tuple[int, int] = (1, 2)) -> list[str]:
    """Describe how files are read where users may not expect it: a header, the choice of columns, quotation marks.

    Raises:
        UserError: As for `read_pairs`.
    """
    check_file_count(paths)
    if len(paths) == 1:
        return Table(paths[0]).notes(columns)
    (source, target), is_header = read_sides(*paths)
    if not is_header:
        return []
    names = ", ".join(next(side).decode() for side in (source, target))
    return [f"{paths[0]} and {paths[1]}: the first lines are a header ({names}) and not used as a pair"]


def columns_for(paths: Sequence[Path], columns: tuple[int, int], languages: Sequence[str]) -> tuple[int, int]:
    """Return the columns of two languages: those that a header names after them, otherwise the given ones.

    Args:
        paths: One file with both sides, or two parallel files.
        columns: Columns of source and target, from 1. If they are not the default (1, 2), they are returned.
        languages: Codes of source and target.

    Raises:
        UserError: As for `read_pairs`, or if the headers of two files name the languages in reverse.
    """
    check_file_count(paths)
    codes = [primary(language) for language in languages]
    if len(paths) == 2:
        named = [primary(name) if name else None for name in _names_of_sides(*paths)]
        if named == codes[::-1] and codes[0] != codes[1]:
            raise UserError(f"{paths[0]} and {paths[1]}: their headers are {named[0]} and {named[1]}. Swap the files.")
        return columns
    names = [side_of(name) for name in Table(paths[0]).layout.names]
    found = [[number for number, name in enumerate(names, 1) if name and primary(name) == code] for code in codes]
    if columns != (1, 2) or not all(len(numbers) == 1 for numbers in found) or codes[0] == codes[1]:
        return columns
    return found[0][0], found[1][0]


def _names_of_sides(source: Path, target: Path) -> list[str | None]:
    """Return what the headers of two files stand for; nothing without headers."""
    sides, is_header = read_sides(source, target)
    return [side_of(next(side).decode()) for side in sides] if is_header else []


def read_sides(source: Path, target: Path) -> tuple[tuple[Iterator[bytes], Iterator[bytes]], bool]:
    """Open two parallel files.

    Returns:
        The lines of both files, and whether the first line of each is a header.

    Raises:
        UserError: As for `read_lines`, or if one of the files has both sides.
    """
    left, right = (_checked_side(path) for path in (source, target))
    first = [list(islice(side, 1)) for side in (left, right)]
    names = [side_of(line.decode("utf-8", "replace")) for lines in first for line in lines]
    is_header = len(names) == 2 and None not in names and names[0] != names[1]
    return (chain(first[0], left), chain(first[1], right)), is_header


def _read_sides(source: Path, target: Path) -> Iterator[RawPair]:
    sides, is_header = read_sides(source, target)
    for number, (left, right) in enumerate(zip_longest(*sides), start=1):
        if left is None or right is None:
            ended, other = (source, target) if left is None else (target, source)
            raise UserError(f"{ended} ends before line {number:,}, {other} does not: the files are not parallel.")
        if number > 1 or not is_header:
            yield _decoded(number, left, right)


def have_columns(lines: Sequence[bytes]) -> bool:
    """Return whether lines are rows of tab-separated values, not sentences."""
    filled = [line.strip() for line in lines if line.strip()]
    return sum(b"\t" in line for line in filled) > 0.9 * len(filled)


def _checked_side(path: Path) -> Iterator[bytes]:
    """Yield the lines of one side.

    Raises:
        UserError: If most lines have several columns, or are JSON objects or CSV.
    """
    lines = read_lines(path)
    sample = list(islice(lines, _SAMPLE))
    filled = [line for line in sample if line.strip()]
    if have_columns(sample):
        tabbed = sum(b"\t" in line.strip() for line in filled)
        raise UserError(
            f"{path}: a table ({tabbed:,} of the first {len(filled):,} lines have tabs), not one side of a corpus. "
            "Give it alone, each table with its own --train; or extract one side: cut -f1."
        )
    if filled and all(line.startswith(b"{") and line.rstrip().endswith(b"}") and b'"' in line for line in filled[:10]):
        raise UserError(f"{path}: JSON lines, not one side of a corpus. Give the file alone if it has both sides.")
    if is_csv(sample):
        raise UserError(f"{path}: CSV with several columns, not one side of a corpus. Give the file alone.")
    return chain(sample, lines)


def _read_table(path: Path, columns: tuple[int, int]) -> Iterator[RawPair]:
    table = Table(path)
    source, target = table.select(columns)
    if table.layout.form == "TSV" and not table.layout.quoted:
        yield from _read_tsv(table, source, target)
        return
    for row in table.rows():
        if row.fault:
            yield RawPair(row.line, " ".join(row.cells), "", row.fault)
        else:
            yield RawPair(row.line, row.cells[source].strip(), row.cells[target].strip())


def _read_tsv(table: Table, source: int, target: int) -> Iterator[RawPair]:
    """Yield pairs of a plain TSV file, without an object for each row."""
    width, header = table.layout.width, table.layout.header
    for number, line in enumerate(islice(table.lines(), header, None), start=header + 1):
        cells = line.split(b"\t")
        if len(cells) == width or (len(cells) > width and not b"".join(cells[width:]).strip()):
            yield _decoded(number, cells[source], cells[target])
        else:
            fault = f"{'fewer' if len(cells) < width else 'more'} than {width} columns"
            yield RawPair(number, line.decode("utf-8", "replace"), "", fault)


def _decoded(number: int, source: bytes, target: bytes) -> RawPair:
    try:
        return RawPair(number, source.decode("utf-8").strip(), target.decode("utf-8").strip())
    except UnicodeDecodeError:
        return RawPair(number, source.decode("utf-8", "replace"), target.decode("utf-8", "replace"), "not UTF-8")
