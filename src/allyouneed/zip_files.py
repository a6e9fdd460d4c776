"""ZIP archives that come from outside: damaged ones, bombs and unsafe names are refused before anything is unpacked.

Corpora, office documents, e-books and uploads are all opened here. Nothing is extracted to disk.
"""

from __future__ import annotations

import lzma
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile, ZipInfo

from allyouneed.errors import UserError

_MOST_RATIO = 250  # of unpacked to packed size; text is rarely packed to less than a thirtieth
_UNSUSPICIOUS = 1 << 26  # bytes; archives that unpack to less are harmless
_BLOCK = 1 << 20
_LOCAL_HEADER = 30  # bytes, at least, before the data of an entry
_ENCRYPTED = 1
_UNSAFE_NAME = re.compile(r"^[/\\]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)")


@dataclass(frozen=True)
class ZipLimits:
    """Limits on an archive.

    Attributes:
        entries: Maximum number of entries.
        unpacked: Maximum size of all unpacked entries in bytes, for readers that hold them in memory; None if entries
            are streamed.
        entry: Maximum size in bytes of an entry that is read as a whole.
    """

    entries: int = 100_000
    unpacked: int | None = None
    entry: int = 1 << 28


STREAMED = ZipLimits()
IN_MEMORY = ZipLimits(entries=65_535, unpacked=1 << 31)


def open_zip(file: Path | IO[bytes], name: str, limits: ZipLimits = STREAMED) -> ZipFile:
    """Open a ZIP archive for reading.

    Args:
        file: The archive.
        name: Its name, for messages.
        limits: Limits on its contents.

    Raises:
        UserError: If the archive is damaged, encrypted or too large, unpacks to much more than its size, or its entries
            overlap, have the same name or one outside the archive.
    """
    with damage_reported(name):
        archive = ZipFile(file)
    try:
        _check(archive.infolist(), name, limits)
    except UserError:
        archive.close()
        raise
    return archive


def read_entry(archive: ZipFile, entry: str, name: str, limits: ZipLimits) -> bytes:
    """Return the content of an entry.

    Args:
        archive: The archive.
        entry: Name of the entry, which the archive has.
        name: Name of the archive, for messages.
        limits: Limits on its contents.

    Raises:
        UserError: If the entry is damaged or too large.
    """
    size = archive.getinfo(entry).file_size
    if size > limits.entry:
        raise UserError(
            f"{name}: {entry} has {size >> 20:,} MiB; at most {limits.entry >> 20:,} MiB are read. Divide the document."
        )
    with damage_reported(name):
        return archive.read(entry)


def check_contents(archive: ZipFile, name: str) -> None:
    """Check that all entries can be unpacked.

    Raises:
        UserError: If an entry is damaged.
    """
    with damage_reported(name):
        for entry in archive.infolist():
            with archive.open(entry) as file:
                while file.read(_BLOCK):
                    pass


@contextmanager
def damage_reported(name: str) -> Iterator[None]:
    """Report errors of reading an archive as errors of the user.

    Raises:
        UserError: If the archive is damaged or is none.
    """
    try:
        yield
    except (BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the file itself cannot be read
            raise
        reason = " ".join(str(error).split()).removesuffix(".") or type(error).__name__
        raise UserError(
            f"{name}: the archive is damaged, incomplete or of another type ({reason}). Download or save it again."
        ) from error


def _check(entries: list[ZipInfo], name: str, limits: ZipLimits) -> None:
    if len(entries) > limits.entries:
        raise UserError(f"{name}: an archive of {len(entries):,} files; at most {limits.entries:,} are read.")
    packed, unpacked = sum(entry.compress_size for entry in entries), sum(entry.file_size for entry in entries)
    if limits.unpacked is not None and unpacked > limits.unpacked:
        raise UserError(f"{name}: unpacks to {unpacked:,} bytes; at most {limits.unpacked:,} are read. Divide it.")
    if unpacked > max(_UNSUSPICIOUS, _MOST_RATIO * packed):
        raise UserError(
            f"{name}: unpacks to {unpacked // max(1, packed):,} times its size, as archives made to exhaust a computer "
            "do. It is not read."
        )
    for entry in entries:
        if entry.flag_bits & _ENCRYPTED:
            raise UserError(f"{name}: {entry.filename!r} is encrypted. Save the file without a password.")
        if _UNSAFE_NAME.search(entry.filename):
            raise UserError(
                f"{name}: the entry {entry.filename!r} has a name outside the archive. Save the file again."
            )
    if twice := [each for each, count in Counter(entry.filename for entry in entries).items() if count > 1]:
        raise UserError(f"{name}: the archive has {twice[0]!r} twice. It is damaged: save it again.")
    starts = sorted((entry.header_offset, entry.compress_size) for entry in entries)
    for (start, size), (following, _) in pairwise(starts):
        if start + _LOCAL_HEADER + size > following:
            raise UserError(f"{name}: entries of the archive overlap, as in a malicious one. It is not read.")
