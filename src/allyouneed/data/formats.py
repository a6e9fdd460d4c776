"""Readers of parallel text: two plain files or one file of tab-separated values, optionally compressed (`.gz`).

Lines end at LF only, not at U+2028, U+0085 and the like. A carriage return before LF and a byte-order mark at the start
of the file are removed.
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

_OTHER_MARKS = {  # UTF-32 first, since its little-endian mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16",
}  # fmt: skip


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


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, without line ends.

    Raises:
        UserError: If the file is missing, unreadable, damaged, not text, or encoded as UTF-16 or UTF-32.
    """
    try:
        with _open(path) as file:
            yield from _without_ends(file, path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file.") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        remedy = "Download the file again, or remove .gz from its name."
        raise UserError(f"{path}: damaged, or not a gzip file ({error}). {remedy}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()}).") from error


def read_text(path: Path) -> Iterator[str]:
    """Yield the decoded lines of a file.

    Raises:
        UserError: As for `read_lines`, and at the first line that is not UTF-8.
    """
    return _decoded_lines(read_lines(path), path)


def decode_lines(stream: BinaryIO, name: Path) -> Iterator[str]:
    """Yield the decoded lines of an open stream, like `read_text`; `name` is used in error messages."""
    return _decoded_lines(_without_ends(stream, name), name)


def _without_ends(lines: Iterable[bytes], name: Path) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        if number == 0:
            if code := next((code for mark, code in _OTHER_MARKS.items() if line.startswith(mark)), None):
                raise UserError(f"{name}:1: encoded as {code}, not UTF-8. Convert it: iconv -f {code} -t UTF-8.")
            if b"\0" in line:  # valid UTF-8, but typical of UTF-16 without a byte-order mark and of binary formats
                raise UserError(f"{name}:1: not text (zero bytes). If it is UTF-16: iconv -f UTF-16LE -t UTF-8.")
            line = line.removeprefix(codecs.BOM_UTF8)
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def _decoded_lines(lines: Iterable[bytes], name: Path) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{name}:{number}: not UTF-8. Convert it: iconv -f latin1 -t UTF-8.") from error


def check_file_count(paths: Sequence[Path]) -> None:
    """Check that a corpus is one TSV file or two parallel files.

    Raises:
        UserError: If the number of files is not one or two.
    """
    if len(paths) not in (1, 2):
        raise UserError("give two parallel text files, or one TSV file.")


def read_pairs(paths: Sequence[Path], columns: tuple[int, int] = (1, 2)) -> Iterator[RawPair]:
    """Yield the sentence pairs of one TSV file or of two parallel files.

    Args:
        paths: The files.
        columns: TSV columns of source and target, from 1.

    Raises:
        UserError: As for `read_lines`, or if one file ends before the other; `count_pairs` checks this in advance.
    """
    check_file_count(paths)
    if len(paths) == 1:
        yield from _read_tsv(paths[0], columns)
    else:
        source, target = paths
        for number, (left, right) in enumerate(zip_longest(read_lines(source), read_lines(target)), start=1):
            if left is None or right is None:
                ended, other = paths if left is None else (target, source)
                raise UserError(f"{ended} ends before line {number:,}, {other} does not: the files are not parallel.")
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
