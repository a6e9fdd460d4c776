"""Opening of files: those on disk, and entries of ZIP archives by a path that goes on within the archive.

`corpus.zip/train.de` is the entry `train.de` of `corpus.zip`. Entries are streamed, never unpacked to disk.
"""

from __future__ import annotations

import io
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast
from zipfile import BadZipFile, ZipFile

from allyouneed.data.files.compression import damage_reported, decompressed
from allyouneed.errors import UserError
from allyouneed.untrusted import cannot_read
from allyouneed.zip_files import open_zip

CHUNK = 1 << 17  # larger blocks of memory take longer to get
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


@contextmanager
def open_file(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file or an entry of a ZIP archive; what the block reads is as stored, not decompressed.

    Raises:
        UserError: If the file is missing, unreadable or damaged.
    """
    try:
        with damage_reported(path), _opened(path) as file:
            yield file
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file.") from error
    except OSError as error:
        raise cannot_read(path, error, "Give a file.") from error


@contextmanager
def open_content(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file or an entry like `open_file`, and decompress it.

    Raises:
        UserError: As for `open_file`.
    """
    with open_file(path) as file:
        yield decompressed(file, path)


@contextmanager
def open_seekable(path: Path) -> Iterator[BinaryIO]:
    """Open the decompressed content of a file for reading at any position, if need be through a temporary file.

    Raises:
        UserError: As for `open_file`.
    """
    with open_file(path) as file:
        content = decompressed(file, path)
        if content is file and path.is_file():
            yield file
            return
        with tempfile.TemporaryFile() as copy:
            while block := content.read(CHUNK):
                copy.write(block)
            copy.seek(0)
            yield cast(BinaryIO, copy)


def stored_in(path: Path) -> Path:
    """Return the file on disk that has the content of a path: an archive for a path within it, else the path."""
    return path if path.exists() else next((parent for parent in path.parents if parent.is_file()), path)


def is_zip(path: Path) -> bool:
    """Return whether a regular file is a ZIP archive."""
    if not path.is_file():  # a pipe can be read only once
        return False
    try:
        with open(path, "rb") as file:
            return file.read(4) in _ZIP
    except OSError:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    try:
        file = cast(io.BufferedReader, open(path, "rb", CHUNK))  # noqa: SIM115 (closed below)
    except NotADirectoryError:
        archive = stored_in(path)
        if archive == path or not is_zip(archive):
            raise
        with _entry(path, archive) as entry:
            yield entry
        return
    with file:
        yield file


@contextmanager
def _entry(path: Path, archive: Path) -> Iterator[io.BufferedReader]:
    name = path.relative_to(archive).as_posix()
    state = archive.stat()
    opened = _archive(archive, state.st_mtime_ns, state.st_size, os.getpid())
    try:
        with opened.open(name) as entry:
            yield io.BufferedReader(cast(io.RawIOBase, entry), CHUNK)
    except KeyError as error:
        raise UserError(f"{path}: no such file in the archive.") from error
    except (BadZipFile, NotImplementedError, zlib.error) as error:
        reason = str(error).removesuffix(".").lower()
        raise UserError(f"{path}: the archive is damaged or cannot be unpacked ({reason}).") from error


@lru_cache(4)
def _archive(path: Path, modified: int, size: int, process: int) -> ZipFile:
    """Open an archive; its directory is read once, not for each entry, and not shared by processes."""
    return open_zip(path, str(path))
