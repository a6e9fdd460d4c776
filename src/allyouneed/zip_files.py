"""Opening of ZIP archives that come from outside: damaged ones and bombs are refused before anything is unpacked."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile, ZipInfo

from allyouneed.errors import UserError

_MOST_ENTRIES = 100_000
_MOST_RATIO = 250  # of unpacked to packed size; text is rarely packed to less than a thirtieth
_UNSUSPICIOUS = 1 << 26  # bytes; archives that unpack to less are harmless
_LOCAL_HEADER = 30  # bytes, at least, before the data of an entry
_ENCRYPTED = 1


def open_zip(file: Path | IO[bytes], name: str, largest: int | None = None) -> ZipFile:
    """Open a ZIP archive for reading.

    Args:
        file: The archive.
        name: Its name, for messages.
        largest: Maximum size of all unpacked entries in bytes, for a reader that holds them in memory; None if entries
            are streamed.

    Raises:
        UserError: If the archive is damaged, encrypted, unpacks to much more than its size, or its entries overlap.
    """
    try:
        archive = ZipFile(file)
    except (BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        reason = str(error).removesuffix(".").lower()
        raise UserError(
            f"{name}: the archive is damaged or incomplete ({reason}). Download or save it again."
        ) from error
    try:
        _check(archive.infolist(), name, largest)
    except UserError:
        archive.close()
        raise
    return archive


def _check(entries: list[ZipInfo], name: str, largest: int | None) -> None:
    if len(entries) > _MOST_ENTRIES:
        raise UserError(f"{name}: an archive of {len(entries):,} files; at most {_MOST_ENTRIES:,} are read.")
    if encrypted := next((entry for entry in entries if entry.flag_bits & _ENCRYPTED), None):
        raise UserError(f"{name}: {encrypted.filename} is encrypted. Save the archive without a password.")
    packed, unpacked = sum(entry.compress_size for entry in entries), sum(entry.file_size for entry in entries)
    if largest is not None and unpacked > largest:
        raise UserError(f"{name}: unpacks to {unpacked >> 20:,} MiB; at most {largest >> 20:,} MiB are read.")
    if unpacked > max(_UNSUSPICIOUS, _MOST_RATIO * packed):
        raise UserError(
            f"{name}: unpacks to {unpacked // max(1, packed):,} times its size, as archives made to exhaust a computer "
            "do. It is not read."
        )
    starts = sorted((entry.header_offset, entry.compress_size) for entry in entries)
    for (start, size), (following, _) in pairwise(starts):
        if start + _LOCAL_HEADER + size > following:
            raise UserError(f"{name}: entries of the archive overlap, as in a malicious one. It is not read.")
