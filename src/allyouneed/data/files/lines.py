"""Readers of text files as lines: compressed or not, in UTF-8, UTF-16 or UTF-32, with any kind of line ends.

Lines end at LF or CR LF, not at U+2028, U+0085 and the like; in a file without LF, at CR. Byte-order marks are removed
wherever they are, as in concatenated files. Control characters, which broken conversions leave behind, are removed
(NUL) or become spaces (others below U+0020 except tab and CR, and U+007F). All other characters are text: zero-width
joiners and spaces, for example, are part of words in Persian, Hindi or Khmer.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from allyouneed.data.files.compression import damage_reported, decompressed
from allyouneed.data.files.encoding import (
    advice,
    check_beginning,
    escape_encoding,
    guess_encoding,
    is_utf8,
    transcode,
    wide_encoding,
)
from allyouneed.data.files.kinds import Kind, recognise
from allyouneed.data.files.opening import CHUNK as _CHUNK
from allyouneed.data.files.opening import open_content, open_file
from allyouneed.errors import UserError

_HEAD = 1 << 16  # bytes from which the kind and the encoding of a file are recognised
_LONGEST_LINE = 1 << 24  # bytes
_LF, _CR = np.uint8(10), np.uint8(13)
SPACES = bytes(32 if (byte < 32 and byte not in b"\t\n\r") or byte == 127 else byte for byte in range(256))


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a text file in UTF-8, without line ends.

    Raises:
        UserError: If the file is missing, unreadable, damaged, not text, or in an encoding other than UTF-8, UTF-16 and
            UTF-32.
    """
    with open_file(path) as file:
        yield from _lines_of(file, path)


def kind_of(path: Path) -> Kind | None:
    """Return what a file is if it is not lines of text; None for text, for pipes, and for unknown binary data.

    Raises:
        UserError: If the file is missing, unreadable or damaged.
    """
    if path.exists() and not path.is_file():  # a pipe can be read only once
        return None
    with open_content(path) as stream:
        head = stream.peek(_HEAD)[:_HEAD]
        if code := wide_encoding(head):
            head = b"".join(transcode([head[: len(head) // 4 * 4]], code, path, is_whole=False))
        return recognise(head)


def read_text(path: Path) -> Iterator[str]:
    """Yield the decoded lines of a file.

    Raises:
        UserError: As for `read_lines`, and at the first line that is not UTF-8.
    """
    return _decoded(read_lines(path), path)


def decode_lines(stream: BinaryIO, name: Path) -> Iterator[str]:
    """Yield the decoded lines of an open stream, like `read_text`; `name` is used in error messages."""
    return _decoded(_lines_of_stream(stream, name), name)


def _lines_of_stream(stream: BinaryIO, name: Path) -> Iterator[bytes]:
    with damage_reported(name):
        if isinstance(stream, io.BufferedReader):  # a buffer of our own would wait for more than a line of a terminal
            yield from _lines_of(stream, name)
            return
        buffered = io.BufferedReader(cast(io.RawIOBase, stream))
        try:
            yield from _lines_of(buffered, name)
        finally:
            buffered.detach()  # else it closes the caller's stream when it is deleted


def _lines_of(stream: Any, name: Path) -> Iterator[bytes]:
    stream = decompressed(stream, name)
    head = stream.peek(_HEAD)[:_HEAD]
    chunks = iter(lambda: stream.read1(_CHUNK), b"")
    if code := wide_encoding(head):
        chunks = transcode(chunks, code, name)
        first = next(chunks, b"")
        head, chunks = first[:_HEAD], chain([first], chunks)
        _check_kind(head, name)
    else:
        _check_text(head, name)
    if b"\r" in head and b"\n" not in head:
        chunks = (chunk.replace(b"\r", b"\n") for chunk in chunks)
    return _split(chunks, name)


def _check_kind(head: bytes, name: Path) -> None:
    if kind := recognise(head):
        raise UserError(f"{name}: this is {kind.name}, not lines of text. {kind.remedy}")


def _check_text(head: bytes, name: Path) -> None:
    _check_kind(head, name)
    if head.count(0) > 2 + len(head) // 100:
        raise UserError(f"{name}: not text (binary data of an unknown kind). Give a text file in UTF-8.")
    if guess := escape_encoding(head):
        raise UserError(f"{name}: not UTF-8; {advice(name, guess)}")
    lines = head.split(b"\n")
    check_beginning(lines[:-1] or lines, name)


def _split(chunks: Iterable[bytes], name: Path) -> Iterator[bytes]:
    """Yield the cleaned lines of a stream of chunks."""
    for line in io.BufferedReader(_Chunks(_whole_lines(chunks, name)), _CHUNK):
        yield line.removesuffix(b"\n")


def _whole_lines(chunks: Iterable[bytes], name: Path) -> Iterator[bytes]:
    """Yield cleaned chunks that end where a line ends."""
    rest, number = b"", 1
    for chunk in chunks:
        first, last = chunk.find(b"\n") + 1, chunk.rfind(b"\n") + 1
        if last:
            yield _clean(rest + chunk[:first])
            yield _clean(chunk[first:last])
            number += int(np.count_nonzero(np.frombuffer(chunk, np.uint8) == _LF))
            rest = b""
        rest += chunk[last:]
        if len(rest) > _LONGEST_LINE:
            size = f"{_LONGEST_LINE >> 20} MiB"
            raise UserError(f"{name}:{number}: a line of more than {size}. Give text with one sentence per line.")
    if rest:
        yield _clean(rest + b"\n")


class _Chunks(io.RawIOBase):
    """A stream of the bytes in chunks, whose lines `io.BufferedReader` finds in compiled code."""

    def __init__(self, chunks: Iterator[bytes]):
        self._chunks, self._chunk = chunks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._chunk:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._chunk = memoryview(chunk)
        count = min(len(buffer), len(self._chunk))
        buffer[:count], self._chunk = self._chunk[:count], self._chunk[count:]
        return count


def _clean(text: bytes) -> bytes:
    """Remove carriage returns before line feeds, byte-order marks and control characters."""
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    if b"\xef" in text:  # a fast test
        text = text.replace(codecs.BOM_UTF8, b"")
    data = np.frombuffer(text, np.uint8)
    if (data < 9).any() or (data - _CR - np.uint8(1) < 18).any() or any(c in text for c in (b"\v", b"\f", b"\x7f")):
        text = text.translate(SPACES, b"\0")
    return text


def _decoded(lines: Iterator[bytes], name: Path) -> Iterator[str]:
    is_ascii = True
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            if not is_ascii:
                raise UserError(f"{name}:{number}: not UTF-8, unlike the lines before it. Correct the line.") from error
            bad = (each for each in islice(lines, 10_000) if not is_utf8(each))
            raise UserError(
                f"{name}:{number}: not UTF-8; {advice(name, guess_encoding([line, *islice(bad, 100)]))}"
            ) from error
        is_ascii = is_ascii and text.isascii()
        yield text
