"""Characters that each key translated in the current month, and the charges of requests that are being answered.

A request reserves its characters before it is translated. The reservation becomes usage once the request has succeeded,
and is released otherwise, so that concurrent requests cannot exceed a quota together.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, StrictInt, StrictStr

from allyouneed.durable import rename, sync
from allyouneed.files import cannot_write
from allyouneed.serving.api_errors import ApiError
from allyouneed.untrusted import read_typed

_QUOTA_EXCEEDED = 456


class _Usage(BaseModel):
    """Content of the file: characters by the name of the key."""

    month: StrictStr
    used: dict[str, Annotated[StrictInt, Field(ge=0, le=10**18)]]


class Charge:
    """The reserved characters of a request or a document.

    Args:
        usage: Where they are counted.
        name: Name of the key.
        characters: Number of source characters.
    """

    def __init__(self, usage: MonthlyUsage, name: str, characters: int):
        self._usage, self._name, self._characters, self._is_open = usage, name, characters, True

    def settle(self, succeeded: bool) -> None:
        """Count the characters as used if the work succeeded, or release them; later calls have no effect."""
        if self._is_open:
            self._is_open = False
            self._usage.settle(self._name, self._characters, succeeded)


class MonthlyUsage:
    """Characters used per key and calendar month (UTC), stored in a file that processes may share.

    Args:
        file: Where usage is stored.

    Raises:
        UserError: If the file cannot be read.
    """

    def __init__(self, file: Path):
        self._file = file
        self._month = current_month()
        self._stored = self._read()
        self._unsaved: Counter[str] = Counter()
        self._reserved: Counter[str] = Counter()

    def used(self, name: str) -> int:
        """Return the characters that a key has used in the current month."""
        self._begin_month()
        return self._stored[name] + self._unsaved[name]

    def reserve(self, name: str, characters: int, limit: int | None) -> Charge:
        """Reserve characters for a request.

        Args:
            name: Name of the key.
            characters: Number of source characters.
            limit: Quota of the key per month, or None.

        Raises:
            ApiError: 456 if they exceed what is left of the quota.
        """
        used = self.used(name)
        if limit is not None and characters and used + self._reserved[name] + characters > limit:
            raise ApiError(_QUOTA_EXCEEDED, f"quota exceeded: {used:,} of {limit:,} characters used this month")
        self._reserved[name] += characters
        return Charge(self, name, characters)

    def settle(self, name: str, characters: int, succeeded: bool) -> None:
        """End a reservation; see `Charge.settle`."""
        self._begin_month()
        self._reserved[name] -= characters
        if succeeded:
            self._unsaved[name] += characters

    def save(self) -> None:
        """Add the usage since the last call to the file, and learn what other processes have added.

        Raises:
            UserError: If the file cannot be read or written.
        """
        self._begin_month()
        if not +self._unsaved:
            return
        with self._locked():
            total = self._read() + self._unsaved
            write_private_json(self._file, {"month": self._month, "used": total})
        self._stored, self._unsaved = total, Counter()

    def _begin_month(self) -> None:
        if self._month != (month := current_month()):
            self._month, self._stored, self._unsaved = month, Counter(), Counter()

    def _read(self) -> Counter[str]:
        """Return the stored usage of the current month."""
        if not self._file.exists():
            return Counter()
        content = read_typed(self._file, _Usage, "Delete the file to restart this month's count.")
        return Counter(content.used) if content.month == self._month else Counter()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from changing the file at the same time.

        Raises:
            UserError: If the folder of the file is missing or cannot be read.
        """
        try:
            folder = os.open(self._file.parent, os.O_RDONLY)
        except OSError as error:
            raise cannot_write(self._file, error) from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)  # releases the lock


def current_month() -> str:
    """Return the current month (UTC), such as 2026-11."""
    return datetime.now(UTC).strftime("%Y-%m")


def write_private_json(file: Path, content: object) -> None:
    """Replace a file atomically; only its owner can read it.

    Raises:
        UserError: If it cannot be written.
    """
    new = file.with_name(f"{file.name}.new-{os.getpid()}")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            json.dump(content, out, indent=1)
        sync(new)
        rename(new, file)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        raise cannot_write(file, error) from error
