"""Decompression of text files: gzip, bzip2, xz and Zstandard, recognised by content and not by name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from allyouneed.errors import UserError

_BUFFER = 1 << 20
_LONGEST_MAGIC = 10
_ZSTD_MODULES = ("compression.zstd", "backports.zstd")  # Python's own since 3.14, and the same for earlier versions


def decompressed(stream: io.BufferedReader, name: Path) -> io.BufferedReader:
    """Return a stream of the decompressed content; the stream itself if it is not compressed.

    Args:
        stream: The content, which need not be seekable.
        name: Path of the file, for messages.

    Raises:
        UserError: If the file is compressed with Zstandard, and no package that reads it is installed.
    """
    compression = compression_of(stream.peek(_LONGEST_MAGIC))
    if compression is None:
        return stream
    openers: dict[str, Callable[[io.BufferedReader], Any]] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
    reader = openers[compression](stream) if compression in openers else _zstd_reader(stream, name)
    return io.BufferedReader(reader, _BUFFER)


def compression_of(head: bytes) -> str | None:
    """Return the compression that the first bytes of a file announce: gzip, bzip2, xz, Zstandard or None."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head[:3] == b"BZh" and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        return "bzip2"
    if head.startswith((b"\xfd7zXZ\0", b"\x5d\0\0\x80\0", b"\x5d\0\0\0\x04")):  # or .lzma, without magic
        return "xz"
    if head.startswith(b"\x28\xb5\x2f\xfd") or (0x50 <= (head or b"\0")[0] <= 0x5F and head[1:4] == b"\x2a\x4d\x18"):
        return "Zstandard"
    return None


@contextmanager
def damage_reported(name: Path) -> Iterator[None]:
    """Convert exceptions of decompression in the block to a `UserError`.

    Raises:
        UserError: If the compressed data is truncated or damaged.
    """
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise _damaged(name, error) from error
    except OSError as error:
        if error.errno is None:  # bz2 raises OSError without a number for invalid data
            raise _damaged(name, error) from error
        raise
    except Exception as error:
        if type(error).__name__ == "ZstdError":
            raise _damaged(name, error) from error
        raise


def _damaged(name: Path, error: Exception) -> UserError:
    reason = str(error).removesuffix(".").lower()
    return UserError(f"{name}: the compressed data is damaged or incomplete ({reason}). Download or compress it again.")


def _zstd_reader(stream: BinaryIO, name: Path) -> Any:
    for module in _ZSTD_MODULES:
        try:
            return import_module(module).ZstdFile(stream)
        except ImportError:
            continue
    try:
        return _ZstandardFrames(stream, import_module("zstandard").ZstdDecompressor)
    except ImportError:
        raise UserError(
            f"{name}: compressed with Zstandard. Decompress it with unzstd, or: pip install zstandard."
        ) from None


class _ZstandardFrames(io.RawIOBase):
    """Reader of concatenated frames with the `zstandard` package, whose own stream does not report truncation."""

    def __init__(self, stream: BinaryIO, decompressor: Any):
        self._stream, self._decompressor = stream, decompressor
        self._frame: Any = None
        self._compressed, self._content = b"", b""

    def readable(self) -> bool:
        """Return True: the stream can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with decompressed bytes; 0 at the end.

        Raises:
            EOFError: If the last frame is incomplete.
        """
        while not self._content and self._more():
            pass
        count = min(len(buffer), len(self._content))
        buffer[:count], self._content = self._content[:count], self._content[count:]
        return count

    def _more(self) -> bool:
        """Decompress some input; False at the end."""
        self._compressed = self._compressed or self._stream.read(_BUFFER >> 3)
        if not self._compressed:
            if self._frame is not None:
                raise EOFError("the last frame is incomplete")
            return False
        self._frame = self._frame or self._decompressor().decompressobj()
        self._content = self._frame.decompress(self._compressed)
        self._compressed = self._frame.unused_data if self._frame.eof else b""
        if self._frame.eof:
            self._frame = None
        return True
