"""Reads parallel text: two plain files, or one of tab-separated values; `.gz` directly.

A line ends at LF only (never at U+2028, U+0085 and their like); a carriage return before it and a byte-order mark at
the start of the file do not belong to the text.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedIOBase
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO, NamedTuple

from allyouneed.errors import UserError

_OTHER_MARKS = {  # UTF-32's in the order of Intel begins as UTF-16's does
    codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16",
}  # fmt: skip


class RawPair(NamedTuple):
    """A pair as it stands in the file. `fault` tells why it cannot be used, None if it can."""

    line: int
    source: str
    target: str
    fault: str | None = None


def read_lines(path: Path) -> Iterator[bytes]:
    """Lines of a file without their ends.

    Errors: `UserError` when it is missing, unreadable, damaged, UTF-16 or UTF-32, or no text.
    """
    try:
        with _open(path) as file:
            yield from _without_ends(file, path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file.") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        remedy = "Get the file again, or drop .gz from its name."
        raise UserError(f"{path}: damaged or not gzip ({error}). {remedy}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()}).") from error


def read_text(path: Path) -> Iterator[str]:
    """Decoded lines. Errors: as `read_lines`, and `UserError` at the first line that is not UTF-8."""
    return _decoded_lines(read_lines(path), path)


def decoded(stream: BinaryIO, name: Path) -> Iterator[str]:
    """As `read_text`, from an open stream that is called `name`."""
    return _decoded_lines(_without_ends(stream, name), name)


def _without_ends(lines: Iterable[bytes], name: Path) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        if number == 0:
            if found := next((code for mark, code in _OTHER_MARKS.items() if line.startswith(mark)), None):
                raise UserError(f"{name}:1: this is {found}, not UTF-8. Convert it: iconv -f {found} -t UTF-8.")
            if b"\0" in line:  # valid UTF-8, and yet UTF-16's every second byte, or a program's own format
                raise UserError(f"{name}:1: no text, it has zero bytes. If it is UTF-16: iconv -f UTF-16LE -t UTF-8.")
            line = line.removeprefix(codecs.BOM_UTF8)
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def _decoded_lines(lines: Iterable[bytes], name: Path) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{name}:{number}: not UTF-8. Convert it: iconv -f latin1 -t UTF-8.") from error


def check_file_count(paths: Sequence[Path]) -> None:
    """Errors: `UserError` for any other number of files."""
    if len(paths) not in (1, 2):
        raise UserError("give two files of parallel text, or one TSV file.")


def read_pairs(paths: Sequence[Path], columns: tuple[int, int] = (1, 2)) -> Iterator[RawPair]:
    """Pairs of one TSV file, or of two plain files. columns: of the source and of the target, from 1.

    Errors: `UserError` as `read_lines`, and where one of two files ends before the other. `count_pairs` says that
    before the work, and where the two part.
    """
    check_file_count(paths)
    if len(paths) == 1:
        yield from _read_tsv(paths[0], columns)
    else:
        source, target = paths
        for number, (left, right) in enumerate(zip_longest(read_lines(source), read_lines(target)), start=1):
            if left is None or right is None:
                ended, other = paths if left is None else (target, source)
                raise UserError(f"{ended} ends before line {number:,}, {other} does not: they are not parallel.")
            yield _decoded(number, left, right)


def _read_tsv(path: Path, columns: tuple[int, int]) -> Iterator[RawPair]:
    for number, line in enumerate(read_lines(path), start=1):
        cells = line.split(b"\t")
        if len(cells) < max(columns):
            yield RawPair(number, line.decode("utf-8", "replace"), "", f"fewer than {max(columns)} columns")
        else:
            yield _decoded(number, cells[columns[0] - 1], cells[columns[1] - 1])


def _decoded(number: int, source: bytes, target: bytes) -> RawPair:
    try:
        return RawPair(number, source.decode("utf-8").strip(), target.decode("utf-8").strip())
    except UnicodeDecodeError:
        return RawPair(number, source.decode("utf-8", "replace"), target.decode("utf-8", "replace"), "not UTF-8")


def _open(path: Path) -> BufferedIOBase:
    return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")
