"""JSON documents with many records: an array of objects, which is streamed, or an object that contains the records."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from allyouneed.data.files.encoding import wide_encoding
from allyouneed.data.files.json_fields import as_record, names_of, texts_of
from allyouneed.data.files.json_records import contained_records
from allyouneed.data.files.opening import CHUNK, open_content
from allyouneed.data.files.rows import Row, is_encodable
from allyouneed.data.files.selection import Columns
from allyouneed.data.files.tables import RowTable
from allyouneed.errors import UserError

_LONGEST_ELEMENT = 1 << 24  # characters
_LARGEST = 1 << 28  # characters of a document that is not an array
_EXAMINED = 100  # records from which the names of columns are taken
_SPACES = re.compile(r"[ \t\r\n]*")


def open_pairs(path: Path, columns: Columns) -> RowTable:
    """Open a JSON document."""
    records = [record for _, value in islice(_records(path), _EXAMINED) if (record := as_record(value))]
    names = names_of(records)
    if len(names) < 2:
        raise UserError(
            f"{path}: a JSON document whose records have {len(names)} fields with text. Two are needed, for example "
            '[{"source": "...", "target": "..."}, ...].'
        )
    is_array = names == tuple(map(str, range(1, len(names) + 1)))
    width = len(names)
    return RowTable(path, "JSON", () if is_array else names, width, lambda chosen: _rows(path, names, chosen), columns)


def _rows(path: Path, names: tuple[str, ...], chosen: tuple[int, ...]) -> Iterator[Row]:
    selected = [names[index] for index in chosen]
    for line, value in _records(path):
        record = as_record(value)
        if record is None:
            yield Row(line, [""] * len(chosen), "not a JSON object")
            continue
        rows, fault = texts_of(record, selected)
        for cells in rows:
            yield Row(line, cells, fault if is_encodable(cells) else "not UTF-8")


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the records of a document with the line where each begins."""
    with open_content(path) as stream:
        chunks = _decoded(iter(lambda: stream.read1(CHUNK), b""), path)
        head = ""
        while not head.strip() and (chunk := next(chunks, "")):
            head += chunk
        chunks = chain([head], chunks)
        if head.lstrip().startswith("["):
            yield from _unpacked(_elements(chunks, path))
            return
        text = "".join(islice(chunks, _LARGEST // CHUNK))
        if next(chunks, ""):
            raise UserError(
                f"{path}: a JSON object of more than {_LARGEST >> 20} MiB. Write one object per line (JSONL), for "
                "example with jq: jq -c '.NAME[]' FILE."
            )
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, getattr(error, "lineno", 1), error) from error
    for value in contained_records(document):
        yield 1, value


def _unpacked(elements: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """Yield the elements of an array, or what is within them if the first one is not a record itself."""
    first = next(elements, None)
    if first is None:
        return
    yield_inner = isinstance(first[1], dict) and len(names_of([as_record(first[1]) or {}])) < 2
    for line, value in chain([first], elements):
        for record in contained_records(value) if yield_inner else [value]:
            yield line, record


def _elements(chunks: Iterator[str], path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the elements of an array, of which only a part is in memory, with the line where each begins."""
    decoder, window = json.JSONDecoder(), _Window(chunks)
    position = window.move(0)
    position = window.text.index("[") + 1
    while True:
        text = window.text
        position = _skip(text, position)
        if text.startswith("]", position):
            following = _next_array(window, position + 1, path)
            if following is None:
                return
            position = following
            continue
        try:
            value, end = decoder.raw_decode(text, position)
            end = _skip(text, end)
            if text[end : end + 1] not in (",", "]"):
                raise json.JSONDecodeError("Expecting ',' delimiter", text, end)
        except json.JSONDecodeError as error:  # or the element is not complete
            if window.is_complete or len(text) - position > _LONGEST_ELEMENT:
                raise _damaged(path, window.line_of(position) + text.count("\n", position, error.pos), error) from error
            position = window.move(position)
            continue
        except RecursionError as error:
            raise _damaged(path, window.line_of(position), error) from error
        yield window.line_of(position), value
        position = end + text.startswith(",", end)


def _next_array(window: _Window, position: int, path: Path) -> int | None:
    """Return the position in the array that follows the end of another, as in joined files; None at the end.

    Raises:
        UserError: If something else follows.
    """
    while True:
        rest = window.text[position:].lstrip(" \t\r\n\ufeff")
        if rest or window.is_complete:
            break
        position = window.move(position)
    if not rest:
        return None
    start = len(window.text) - len(rest)
    if rest.startswith("["):
        return start + 1
    raise _damaged(path, window.line_of(start), ValueError("text after the end of the array"))


class _Window:
    """The part of a text that is in memory."""

    def __init__(self, chunks: Iterator[str]):
        self._chunks = chunks
        self.text, self.is_complete = "", False
        self._line, self._counted = 1, 0

    def move(self, start: int) -> int:
        """Forget the text before a position, read at least as much as is left, and return the position's new index."""
        self.line_of(start)
        parts = [self.text[start:]]
        size = max(CHUNK, len(parts[0]))
        while size > 0 and (chunk := next(self._chunks, "")):
            parts.append(chunk)
            size -= len(chunk)
        self.is_complete = size > 0
        self.text, self._counted = "".join(parts), 0
        return 0

    def line_of(self, position: int) -> int:
        """Return the line of a position, from 1; positions must not decrease."""
        self._line += self.text.count("\n", self._counted, position)
        self._counted = position
        return self._line


def _skip(text: str, start: int) -> int:
    """Return the position of the next character that is not a space."""
    match = _SPACES.match(text, start)
    return match.end() if match else start


def _damaged(path: Path, line: int, error: Exception) -> UserError:
    reason = getattr(error, "msg", str(error) if isinstance(error, ValueError) else "too deeply nested").lower()
    return UserError(
        f"{path}:{line}: not valid JSON ({reason}). Correct the file, or write one object per line (JSONL)."
    )


def _decoded(chunks: Iterator[bytes], path: Path) -> Iterator[str]:
    head = next(chunks, b"")
    code = wide_encoding(head[:1000]) or "utf-8-sig"
    decoder = codecs.getincrementaldecoder(code)("surrogateescape" if code == "utf-8-sig" else "replace")
    for chunk in chain([head], chunks):
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)
