"""Changes to files that survive a loss of power: names and contents are on the disk when a function returns."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EACCES}  # folders on some file systems, or without read permission


def create_folder(folder: Path) -> None:
    """Create a folder and those above it, if they do not exist, so that a power failure does not undo it.

    Raises:
        OSError: If it cannot be created.
    """
    if not folder.exists():
        create_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def rename(temporary: Path, path: Path) -> None:
    """Rename a file or a folder, replacing a file, so that a power failure does not undo it; raises `OSError`."""
    os.replace(temporary, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Write a file, or the names in a folder, from memory to the disk; raises `OSError` if that fails."""
    try:
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
    except OSError as error:
        if not path.is_dir() or error.errno not in _CANNOT_SYNC:
            raise
