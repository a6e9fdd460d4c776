"""Zip containers of office documents and e-books: checked and bounded when read, faithful when written.

Nothing is extracted to disk. Entries that do not change are copied with their names, order, dates, compression methods
and attributes.
"""

from __future__ import annotations

import re
import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import IO

from allyouneed.errors import UserError

MAX_ENTRIES = 65_535
MAX_TOTAL_SIZE = 2 * 1024**3  # bytes, of all entries together
MAX_ENTRY_SIZE = 256 * 1024**2  # bytes, of an entry that is read as a whole
_OLE_SIGNATURE = bytes.fromhex("d0cf11e0a1b11ae1")
_ENCRYPTED = 0x1
_UNSAFE_NAME = re.compile(r"^[/\\]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)")


class ZipContainer:
    """A zip container.

    Args:
        data: The file.
        name: Its name, for messages.

    Raises:
        UserError: If the file is no zip archive, is damaged, encrypted or too large, or has duplicate or unsafe names.
    """

    def __init__(self, data: bytes, name: str):
        if data.startswith(_OLE_SIGNATURE):
            raise UserError(
                f"{name}: protected by a password, or in an old binary format. Save it without a password in the"
                " current format."
            )
        self.data, self.name = data, name
        with self._reporting_damage():
            self._archive = zipfile.ZipFile(BytesIO(data))
        self._entries = {info.filename: info for info in self._archive.infolist()}
        self._check_entries()

    @property
    def names(self) -> list[str]:
        """Names of the entries, in their order in the container."""
        return list(self._entries)

    def __contains__(self, entry: str) -> bool:
        return entry in self._entries

    def read(self, entry: str) -> bytes:
        """Return the content of an entry.

        Raises:
            UserError: If the entry is missing, damaged or too large.
        """
        self._require(entry)
        size = self._entries[entry].file_size
        if size > MAX_ENTRY_SIZE:
            raise UserError(
                f"{self.name}: {entry} has {size / 1024**2:,.0f} MiB, more than the limit of"
                f" {MAX_ENTRY_SIZE // 1024**2} MiB. Split the document."
            )
        with self._reporting_damage():
            return self._archive.read(entry)

    @contextmanager
    def open(self, entry: str) -> Iterator[IO[bytes]]:
        """Open an entry that may be larger than memory.

        Raises:
            UserError: If the entry is missing or damaged.
        """
        self._require(entry)
        with self._reporting_damage(), self._archive.open(entry) as file:
            yield file

    def replace(self, contents: Mapping[str, bytes]) -> bytes:
        """Return the container with the contents of some entries replaced.

        Raises:
            UserError: If an entry is damaged.
        """
        changed = {entry: content for entry, content in contents.items() if content != self.read(entry)}
        if not changed:
            return self.data
        file = BytesIO()
        with self._reporting_damage(), zipfile.ZipFile(file, "w") as archive:
            archive.comment = self._archive.comment
            for entry, info in self._entries.items():
                copy = _copy_of(info)
                if entry in changed:
                    archive.writestr(copy, changed[entry])
                else:
                    with self._archive.open(info) as source, archive.open(copy, "w") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
        return file.getvalue()

    def _require(self, entry: str) -> None:
        if entry not in self._entries:
            raise UserError(f"{self.name}: the document lacks {entry}. It is damaged: copy or save it again.")

    def _check_entries(self) -> None:
        infos = self._archive.infolist()
        if len(infos) > MAX_ENTRIES or sum(info.file_size for info in infos) > MAX_TOTAL_SIZE:
            raise UserError(
                f"{self.name}: unpacked, the document is larger than {MAX_TOTAL_SIZE // 1024**3} GiB or has more than"
                f" {MAX_ENTRIES:,} entries. Split it."
            )
        for info in infos:
            if info.flag_bits & _ENCRYPTED:
                raise UserError(f"{self.name}: {info.filename} is encrypted. Save the document without a password.")
            if _UNSAFE_NAME.search(info.filename):
                raise UserError(
                    f"{self.name}: the entry {info.filename!r} has a name outside the document. Save the document"
                    " again."
                )
        twice = [entry for entry, count in Counter(info.filename for info in infos).items() if count > 1]
        if twice:
            raise UserError(f"{self.name}: the document has {twice[0]} twice. It is damaged: save it again.")

    @contextmanager
    def _reporting_damage(self) -> Iterator[None]:
        try:
            yield
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
            raise UserError(
                f"{self.name}: not a complete zip container ({error}). The file is damaged or of another type: copy or"
                " save it again."
            ) from error


def _copy_of(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Copy what describes an entry, without its sizes and position."""
    copy = zipfile.ZipInfo(info.filename, info.date_time)
    for attribute in ("compress_type", "comment", "create_system", "internal_attr", "external_attr"):
        setattr(copy, attribute, getattr(info, attribute))
    copy.file_size = info.file_size
    return copy
