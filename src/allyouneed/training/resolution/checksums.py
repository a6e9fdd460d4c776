"""Checksums of files that have not changed, so that resuming a run does not read a large corpus again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from allyouneed.files import sha256

_SETTLED = 2.0  # seconds since the last change of a file after which another change has another time


class KnownChecksums:
    """Checksums of files by path, size, inode and time of the last change.

    Args:
        stored: What `as_dict` returned when the run was started.
    """

    def __init__(self, stored: Mapping[str, str] | None = None):
        self._known = dict(stored or {})

    def of(self, path: Path, compute: Callable[[Path], str]) -> str:
        """Return the checksums of a file: those that are known if it has not changed since, else computed ones.

        They are remembered, unless the file was changed just now and could change again unnoticed.
        """
        state = _state(path)
        if found := self._known.get(state):
            return found
        computed = compute(path)
        if time.time() - path.stat().st_mtime > _SETTLED and _state(path) == state:
            self._known[state] = computed
        return computed

    def of_file(self, path: Path) -> str:
        """Return the SHA-256 of a file, of a compressed one that of the compressed file; see `of`."""
        return self.of(path, sha256).split()[0]

    def as_dict(self) -> dict[str, str]:
        """Return all that is known, as `run.json` stores it."""
        return dict(self._known)


def _state(path: Path) -> str:
    found = path.stat()
    return f"{path.absolute()} {found.st_size} {found.st_ino} {found.st_mtime_ns}"
