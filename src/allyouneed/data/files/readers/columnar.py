"""Parquet and Arrow files, with one column for each side or a column of translations by language.

A column of type struct, such as `translation` in data sets of Hugging Face, has its fields as columns. Batches of rows
are read one after the other, so that memory does not depend on the size of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from allyouneed.data.files.json_fields import as_record, names_of, one_line, texts_of
from allyouneed.data.files.opening import open_seekable
from allyouneed.data.files.rows import Row, is_encodable
from allyouneed.data.files.selection import Columns
from allyouneed.data.files.tables import RowTable
from allyouneed.errors import UserError

_ROWS = 10_000  # rows of a batch
_EXAMINED = 100  # rows from which the names of nested texts are taken
_PARQUET = b"PAR1"
_ARROW_FILE = b"ARROW1"


class _Column(NamedTuple):
    """A column with text: its name, and the names by which it is found in nested columns."""

    name: str
    path: tuple[str, ...]


def open_pairs(path: Path, columns: Columns) -> RowTable:
    """Open a Parquet or an Arrow file.

    Raises:
        UserError: If it is damaged or has fewer than two columns with text.
    """
    schema = next(_read(path, None)).schema
    for is_text in (_is_text, _may_be_text):
        found = [column for field in schema for column in _text_columns((field.name,), field.type, is_text)]
        if len(found) >= 2:
            break
    if len(found) >= 2:
        names = [column.name for column in found]
        return RowTable(path, "Parquet", names, len(names), partial(_column_rows, path, found), columns)
    records = islice((record for _, record in _records(path)), _EXAMINED)  # lists of texts with their languages
    nested = names_of([record for record in records if record])
    if len(nested) < 2:
        raise UserError(
            f"{path}: the columns are {', '.join(schema.names) or 'none'}. Two with text are needed, for example "
            "source and target, or translation with a text for each language."
        )
    return RowTable(path, "Parquet", nested, len(nested), partial(_nested_rows, path, nested), columns)


def _text_columns(
    path: tuple[str, ...], kind: pa.DataType, is_text: Callable[[pa.DataType], bool]
) -> Iterator[_Column]:
    """Yield a column with text, or the fields of a struct that have text."""
    if pa.types.is_struct(kind):
        for field in kind:
            yield from _text_columns((*path, field.name), field.type, is_text)
    elif is_text(kind.value_type if pa.types.is_dictionary(kind) else kind):
        yield _Column(".".join(path), path)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _may_be_text(kind: pa.DataType) -> bool:
    """Return whether a column can have text: some programs write it without its type."""
    return _is_text(kind) or bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _column_rows(path: Path, found: Sequence[_Column], chosen: tuple[int, ...]) -> Iterator[Row]:
    selected = [found[index] for index in chosen]
    number = 0
    for batch in _read(path, [column.name for column in selected]):
        with _damage_reported(path):
            columns = [batch.column(first) for _, (first, *_) in selected]
            inner = [column.path[1:] for column in selected]
            cells = [_texts(pc.struct_field(c, names) if names else c) for c, names in zip(columns, inner, strict=True)]
        for row in zip(*cells, strict=True):
            number += 1
            texts = [one_line(cell or "") for cell in row]
            yield Row(number, texts, None if is_encodable(texts) else "not UTF-8")


def _texts(column: pa.Array) -> list[str | None]:
    """Return the texts of a column; bytes that are not UTF-8 as halves of surrogate pairs.

    Raises:
        ArrowInvalid: If the column is damaged.
    """
    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    if not _is_text(column.type):  # what is not UTF-8 fails below
        column = column.cast(pa.large_binary()).view(pa.large_string())
    try:
        column.validate(full=True)  # before texts are made of it, which trusts its offsets
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise
        column = column.cast(pa.large_binary())
        column.validate(full=True)
        return [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in column.to_pylist()]
    texts: list[str | None] = column.to_pylist()
    return texts


def _nested_rows(path: Path, names: Sequence[str], chosen: tuple[int, ...]) -> Iterator[Row]:
    selected = [names[index] for index in chosen]
    for number, record in _records(path):
        rows, fault = texts_of(record or {}, selected)
        for cells in rows:
            yield Row(number, cells, fault)


def _records(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    number = 0
    for batch in _read(path, None):
        with _damage_reported(path):
            batch.validate(full=True)
            rows = batch.to_pylist()
        for row in rows:
            number += 1
            yield number, as_record(row)


@contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    """Convert exceptions of pyarrow in the block to a `UserError`.

    Raises:
        UserError: If the file is damaged.
    """
    try:
        yield
    except (pa.ArrowException, ValueError, KeyError, OSError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200].removesuffix(".") or type(error).__name__
        raise UserError(f"{path}: damaged or incomplete ({reason}). Get or write the file again.") from error


def _read(path: Path, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """Yield batches of rows, at least one; of a Parquet file only some columns.

    Raises:
        UserError: If the file is damaged.
    """
    with open_seekable(path) as file, _damage_reported(path):
        is_empty = True
        for batch in _batches(file, columns):
            is_empty = False
            for start in range(0, max(1, batch.num_rows), _ROWS):
                yield batch.slice(start, _ROWS)
        if is_empty:
            file.seek(0)
            yield pa.RecordBatch.from_pylist([], schema=_schema(file))


def _batches(file: BinaryIO, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    magic = file.read(len(_ARROW_FILE))
    file.seek(0)
    if magic.startswith(_PARQUET):
        yield from pq.ParquetFile(file).iter_batches(_ROWS, columns=columns)
    elif magic == _ARROW_FILE:
        reader = pa.ipc.open_file(file)
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
    else:
        yield from pa.ipc.open_stream(file)


def _schema(file: BinaryIO) -> pa.Schema:
    magic = file.read(len(_ARROW_FILE))
    file.seek(0)
    if magic.startswith(_PARQUET):
        return pq.read_schema(file)
    return (pa.ipc.open_file(file) if magic == _ARROW_FILE else pa.ipc.open_stream(file)).schema
