"""Rows of tables: cells of tab-separated values, CSV and JSON lines, with the line where each row begins."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from allyouneed.data.files.json_fields import as_record, texts_of

_LINE_ENDS = re.compile(r"[\r\n]+")


class Row(NamedTuple):
    """A row of a table: the number of its first line, from 1, its cells, and why it cannot be used, or None."""

    line: int
    cells: Sequence[str]
    fault: str | None = None


def tsv_rows(lines: Iterator[bytes]) -> Iterator[Row]:
    """Yield rows of tab-separated values without quotation."""
    for number, line in enumerate(lines, start=1):
        try:
            yield Row(number, line.decode("utf-8").split("\t"))
        except UnicodeDecodeError:
            yield Row(number, line.decode("utf-8", "replace").split("\t"), "not UTF-8")


def csv_rows(lines: Iterator[bytes], separator: str) -> Iterator[Row]:
    """Yield rows of CSV; a cell with several lines becomes one line."""
    decoded = (line.decode("utf-8", "surrogateescape") + "\n" for line in lines)
    reader = csv.reader(decoded, delimiter=separator, skipinitialspace=True, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = [_LINE_ENDS.sub(" ", cell) for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error:  # the reader continues with the next line
            yield Row(line, [], "unbalanced quotation marks")
            continue
        if any("\udc80" <= c <= "\udcff" for cell in cells if not cell.isascii() for c in cell):
            clean = [cell.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for cell in cells]
            yield Row(line, clean, "not UTF-8")
        else:
            yield Row(line, cells)


def json_rows(lines: Iterator[bytes], names: Sequence[str]) -> Iterator[Row]:
    """Yield the texts of some fields of each object; a list of texts gives several rows."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        fields = json_object(line)
        if fields is None:
            yield Row(number, [line.decode("utf-8", "replace")], "not a JSON object")
            continue
        rows, fault = texts_of(fields, names)
        for cells in rows:
            yield Row(number, cells, fault if is_encodable(cells) else "not UTF-8")


def is_encodable(cells: Sequence[str]) -> bool:
    """Return whether text has no half of a surrogate pair, which JSON can contain."""
    return all(cell.isascii() or cell.encode("utf-8", "ignore").decode("utf-8") == cell for cell in cells)


def json_object(line: bytes) -> Mapping[str, Any] | None:
    """Parse a line with a JSON object, or with an array of texts, as `as_record` reads it; None for another line."""
    if not line.lstrip().startswith((b"{", b"[")):
        return None
    try:
        value = json.loads(line)
        line.decode("utf-8")
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and not (len(value) > 1 and isinstance(value[0], str | dict)):
        return None
    return as_record(value) or None
