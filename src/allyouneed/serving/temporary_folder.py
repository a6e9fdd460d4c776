"""A temporary folder for clients' files, which the next server deletes if this one is killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

_PREFIX = "allyouneed-documents-"


class TemporaryFolder:
    """A private folder that is deleted by `close`, at the end of the program, or else when the next one is made.

    It is locked while it is in use. The lock ends with the process, so a folder without one was left by a process that
    was killed. systemd-tmpfiles does not clean locked folders either.

    Attributes:
        path: The folder.
    """

    def __init__(self) -> None:
        _delete_abandoned()
        self.path, descriptor = _locked_folder()
        self.close = weakref.finalize(self, _delete, self.path, descriptor)


def _locked_folder() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        with suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if folder.exists():
                return folder, descriptor
            os.close(descriptor)  # another process deleted the folder before it was locked


def _delete_abandoned() -> None:
    """Delete folders of this user that no process has locked."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(descriptor).st_uid == os.getuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _delete(folder: Path, descriptor: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(descriptor)
