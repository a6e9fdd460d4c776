"""Translated blocks in a folder next to the output, where several processes store them; see `shared_blocks.py`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from allyouneed.errors import UserError
from allyouneed.files import cannot_write
from allyouneed.shared_files import wait_until
from allyouneed.translation.resuming import lock_output
from allyouneed.untrusted import parse_json, read_regular

_CLAIM, _PART, _LOCK = ".claim", ".part", "lock"


@dataclass(frozen=True)
class Part:
    """A translated block.

    Attributes:
        last: Number of its last line.
        text: Its lines in the output.
        unchanged: Number of lines that equal their translation.
        first_unchanged: Number of the first such line; 0 if there is none.
    """

    last: int
    text: str
    unchanged: int = 0
    first_unchanged: int = 0


class StoredParts:
    """Translated blocks in a folder next to the output.

    Args:
        output: The output.
        digest: Digest of model, input and settings; parts with another one are not used.
    """

    def __init__(self, output: Path, digest: str):
        self.folder = parts_folder(output)
        self._output, self._digest = output, digest

    @contextmanager
    def locked(self, seconds: float, report: Callable[[str], None]) -> Iterator[None]:
        """Create the folder and lock it, so that no other command uses it.

        Args:
            seconds: How long to wait for another command.
            report: Called with a message before that.

        Raises:
            UserError: If another command is using the folder, or it cannot be written.
        """
        while True:
            with self._open_lock() as file:
                try:
                    lock_output(file, self._output)
                except UserError:
                    if seconds:
                        report(f"{self._output}: another command is writing this file; waiting for its end")
                    lock_output(file, self._output, seconds)
                if not self._has_lock(file):  # the other command has finished, and removed it
                    continue
                try:
                    yield
                finally:
                    self._remove_if_empty()
                return

    def _open_lock(self) -> BinaryIO:
        try:
            self.folder.mkdir(exist_ok=True)
            return open(self.folder / _LOCK, "ab")
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    def _has_lock(self, file: BinaryIO) -> bool:
        with suppress(OSError):
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self.folder / _LOCK))
        return False

    def _remove_if_empty(self) -> None:
        with suppress(OSError):
            if os.listdir(self.folder) == [_LOCK]:
                (self.folder / _LOCK).unlink()
                self.folder.rmdir()

    def recover(self) -> int:
        """Remove from the folder what is not a part of this translation: claims and damaged parts.

        Returns:
            Number of parts.

        Raises:
            UserError: If the folder cannot be written.
        """
        count = 0
        try:
            for path in self.folder.iterdir():
                if self._read(path) is not None:
                    count += 1
                elif path.name != _LOCK:
                    path.unlink()
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        return count

    def digests(self) -> set[str]:
        """Return the digests of all parts in the folder that are not damaged."""
        return {part[0] for path in self.folder.glob(f"*{_PART}") if (part := _read_part(path))}

    def claim(self, first: int) -> bool:
        """Claim the block that begins with a line; False if it is stored or claimed, or the folder was removed."""
        try:
            os.close(os.open(self._path(first).with_suffix(_CLAIM), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except (FileExistsError, FileNotFoundError):
            return False
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        return not self._path(first).exists()

    def store(self, first: int, part: Part) -> None:
        """Store a part atomically; without effect if the folder was removed, since all parts are in the output.

        Raises:
            UserError: If it cannot be written, for example because the disk is full.
        """
        text = part.text.encode("utf-8")
        facts = [self._digest, hashlib.sha256(text).hexdigest(), part.last, part.unchanged, part.first_unchanged]
        path = self._path(first)
        temporary = path.with_suffix(".unfinished")
        try:
            with open(temporary, "wb") as file:
                file.write(json.dumps(facts).encode() + b"\n" + text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except FileNotFoundError:
            return
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise cannot_write(path, error) from error

    def read(self, first: int) -> Part | None:
        """Read the part that begins with a line; None if it is not stored, or was damaged."""
        return self._read(self._path(first))

    def wait(self, first: int, seconds: float) -> Part | None:
        """Wait for a part that another process translates; None if it is not stored in time."""
        wait_until(lambda: self._path(first).name in os.listdir(self.folder), seconds)  # a listing is not cached
        return self.read(first)

    def discard(self, first: int) -> None:
        """Remove a part that is in the output; its claim remains, for processes that have not come to its block."""
        self.claim(first)
        self._path(first).unlink(missing_ok=True)

    def _path(self, first: int) -> Path:
        return self.folder / f"{first:012}{_PART}"

    def _read(self, path: Path) -> Part | None:
        found = _read_part(path) if path.suffix == _PART else None
        return found[1] if found and found[0] == self._digest else None


def _read_part(path: Path) -> tuple[str, Part] | None:
    """Return a part with the digest of its translation; None if it is missing or damaged."""
    with suppress(OSError, ValueError, TypeError):
        head, _, text = read_regular(path).partition(b"\n")
        digest, checksum, last, unchanged, first_unchanged = parse_json(head)
        if checksum == hashlib.sha256(text).hexdigest():
            return str(digest), Part(int(last), text.decode("utf-8"), int(unchanged), int(first_unchanged))
    return None


def parts_folder(output: Path) -> Path:
    """Return the path of the folder next to an output."""
    return output.with_name(f"{output.name}.parts")


def remove_parts(output: Path) -> None:
    """Remove the folder next to an output; processes that are still working on a block cannot create it again."""
    folder = parts_folder(output)
    removed = folder.with_name(f"{folder.name}.removed")
    shutil.rmtree(removed, ignore_errors=True)
    with suppress(FileNotFoundError):
        folder.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)
