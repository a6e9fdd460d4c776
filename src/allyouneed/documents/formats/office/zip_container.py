"""Zip containers of office documents and e-books: checked and bounded when read, faithful when written.

Nothing is extracted to disk. Entries that do not change are copied with their names, order, dates, compression methods
and attributes.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import IO

from allyouneed.errors import UserError
from allyouneed.zip_files import IN_MEMORY, ZipLimits, check_contents, damage_reported, open_zip, read_entry

_OLE_SIGNATURE = bytes.fromhex("d0cf11e0a1b11ae1")


class ZipContainer:
    """A zip container.

    Args:
        data: The file.
        name: Its name, for messages.
        limits: Limits on its contents.

    Raises:
        UserError: If the file is no zip archive or is refused, see `open_zip`.
    """

    def __init__(self, data: bytes, name: str, limits: ZipLimits = IN_MEMORY):
        if data.startswith(_OLE_SIGNATURE):
            raise UserError(
                f"{name}: protected by a password, or in an old binary format. Save it without a password in the"
                " current format."
            )
        self.data, self.name, self._limits = data, name, limits
        self._archive = open_zip(BytesIO(data), name, limits)
        check_contents(self._archive, name)  # now, not when the translation is written
        self._entries = {info.filename: info for info in self._archive.infolist()}

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
        return read_entry(self._archive, entry, self.name, self._limits)

    @contextmanager
    def open(self, entry: str) -> Iterator[IO[bytes]]:
        """Open an entry that may be larger than memory.

        Raises:
            UserError: If the entry is missing or damaged.
        """
        self._require(entry)
        with damage_reported(self.name), self._archive.open(entry) as file:
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
        with damage_reported(self.name), zipfile.ZipFile(file, "w") as archive:
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


def _copy_of(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Copy what describes an entry, without its sizes and position."""
    copy = zipfile.ZipInfo(info.filename, info.date_time)
    for attribute in ("compress_type", "comment", "create_system", "internal_attr", "external_attr"):
        setattr(copy, attribute, getattr(info, attribute))
    copy.file_size = info.file_size
    return copy
