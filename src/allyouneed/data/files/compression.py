"""Compression of text files: gzip, bzip2, xz and Zstandard, in inputs recognised by content, in outputs by name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, cast

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
    if compression == "gzip":
        return io.BufferedReader(cast(io.RawIOBase, gzip.open(stream)), _BUFFER)
    makers: dict[str, Callable[[], Any]] = {"bzip2": bz2.BZ2Decompressor, "xz": lzma.LZMADecompressor}
    make = makers[compression] if compression in makers else _zstd_decompressor(name)
    return io.BufferedReader(_Frames(stream, make), _BUFFER)


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


def compressor(path: Path) -> Callable[[bytes], bytes] | None:
    """Return the function that compresses for a file's suffix, .gz, .bz2, .xz or .zst; None for any other suffix.

    The concatenated results of several calls are a valid file.

    Raises:
        UserError: If Zstandard is required, and no package that writes it is installed.
    """
    makers: dict[str, Callable[[bytes], bytes]] = {
        ".gz": partial(gzip.compress, mtime=0),  # without the time, the same content gives the same bytes
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
    }
    return _zstd_compressor(path) if path.suffix == ".zst" else makers.get(path.suffix)


class CompressedText(io.StringIO):
    """Text for a compressed file, which is valid after each flush.

    Args:
        file: The file, opened for writing or appending.
        compress: Compresses the text of a flush; see `compressor`.
    """

    def __init__(self, file: BinaryIO, compress: Callable[[bytes], bytes]):
        super().__init__(newline="")
        self._file, self._compress = file, compress

    def fileno(self) -> int:
        """Return the descriptor of the file."""
        return self._file.fileno()

    def flush(self) -> None:
        """Compress the text since the last flush; an empty file gets an empty content."""
        text = self.getvalue()
        if text or not self._file.tell():
            self._file.write(self._compress(text.encode("utf-8")))
            self._file.flush()
        self.seek(0)
        self.truncate()


def _zstd_compressor(path: Path) -> Callable[[bytes], bytes]:
    for module in _ZSTD_MODULES:
        try:
            return cast(Callable[[bytes], bytes], import_module(module).compress)
        except ImportError:
            continue
    try:
        return cast(Callable[[bytes], bytes], import_module("zstandard").ZstdCompressor().compress)
    except ImportError:
        raise UserError(f"{path}: Zstandard is not installed. Choose .gz, or: pip install zstandard.") from None


def _zstd_decompressor(name: Path) -> Callable[[], Any]:
    """Return what makes a decompressor of a Zstandard frame."""
    for module in _ZSTD_MODULES:
        try:
            return cast(Callable[[], Any], import_module(module).ZstdDecompressor)
        except ImportError:
            continue
    try:
        decompressor = import_module("zstandard").ZstdDecompressor
    except ImportError:
        raise UserError(
            f"{name}: compressed with Zstandard. Decompress it with unzstd, or: pip install zstandard."
        ) from None
    return lambda: decompressor().decompressobj()


class _Frames(io.RawIOBase):
    """Reader of concatenated streams or frames.

    The readers of `bz2`, `lzma` and `zstandard` ignore what follows the first frame if it is something else, as in
    `cat a.bz2 b.txt`, and the last one does not report truncation.

    Args:
        stream: The compressed data.
        make: Makes a decompressor of one frame.
    """

    def __init__(self, stream: BinaryIO, make: Callable[[], Any]):
        self._stream, self._make = stream, make
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
        frame, data = self._frame, b""
        if frame is None or getattr(frame, "needs_input", True):
            data = self._compressed or self._stream.read(_BUFFER >> 3)
            self._compressed = b""
            if not data and frame is not None:
                raise EOFError("the last frame is incomplete")
            if not data:
                return False
            if frame is None and not (data := data.lstrip(b"\0")):  # padding between streams
                return True
        frame = self._frame = frame or self._make()
        # The package `zstandard` cannot limit what it decompresses at once.
        self._content = frame.decompress(data, _BUFFER) if hasattr(frame, "needs_input") else frame.decompress(data)
        if frame.eof:
            self._compressed, self._frame = frame.unused_data, None
        return True
