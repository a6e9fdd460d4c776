"""Translation of one file by several processes, on one machine or on several with a shared file system.

The file is divided into the same blocks as by one process. Each process claims the next free block, by creating a file
in a folder next to the output, and stores its translation there. The first process appends the stored blocks to the
output in order. What is appended, and what is stored, is kept after a crash, for any number of processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar, cast

from allyouneed.data.files.lines import read_text
from allyouneed.errors import UserError
from allyouneed.files import cannot_write
from allyouneed.shared_files import VISIBLE_SECONDS, wait_until
from allyouneed.translation.line_blocks import blocks_of_file
from allyouneed.translation.resuming import ResumeNote
from allyouneed.untrusted import parse_json, read_regular

_POLL_SECONDS = 0.2
_LEAST_PATIENCE = 180  # seconds in which another process has to finish its last block
_CLAIM, _PART = ".claim", ".part"
Block: TypeAlias = list[tuple[int, str]]  # lines with their numbers, from 1
Value = TypeVar("Value")


class Processes(Protocol):
    """The processes of one command, see `allyouneed.training.distributed.Ranks`."""

    @property
    def rank(self) -> int:
        """Index of this process, from 0."""

    @property
    def count(self) -> int:
        """Number of processes."""

    def share(self, value: Value | None) -> Value:
        """Return the first process's value in every process."""

    def wait(self) -> None:
        """Wait until all processes have called this."""

    def leave(self) -> None:
        """End the communication: the loss of another process does not end this one."""


@dataclass(frozen=True)
class _Alone:
    rank: int = 0
    count: int = 1

    def share(self, value: Value | None) -> Value:
        return cast(Value, value)

    def wait(self) -> None:
        return

    def leave(self) -> None:
        return


ALONE: Processes = _Alone()


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
        self._digest = digest

    def recover(self) -> int:
        """Create the folder, or remove from it what is not a part of this translation: claims and damaged parts.

        Returns:
            Number of parts.

        Raises:
            UserError: If the folder cannot be written.
        """
        try:
            self.folder.mkdir(exist_ok=True)
            for path in self.folder.iterdir():
                if path.suffix != _PART or self._read(path) is None:
                    path.unlink()
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        return self.count()

    def count(self) -> int:
        """Return the number of stored parts of this translation."""
        return sum(self._read(path) is not None for path in self.folder.glob(f"*{_PART}"))

    def claim(self, first: int) -> bool:
        """Claim the block that begins with a line; False if it is stored or claimed, or the folder was removed."""
        try:
            os.close(os.open(self._path(first).with_suffix(_CLAIM), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
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
        try:
            head, _, text = read_regular(path).partition(b"\n")
            digest, checksum, last, unchanged, first_unchanged = parse_json(head)
            if digest == self._digest and checksum == hashlib.sha256(text).hexdigest():
                return Part(int(last), text.decode("utf-8"), int(unchanged), int(first_unchanged))
        except (OSError, ValueError, TypeError):
            pass
        return None


@dataclass(frozen=True)
class SharedBlocks:
    """The blocks of a file, which several processes translate.

    Attributes:
        source: The file.
        translate: Translates a block.
        note: The note next to the output.
        processes: The processes that translate.
    """

    source: Path
    translate: Callable[[Block], Part]
    note: ResumeNote
    processes: Processes

    @cached_property
    def parts(self) -> StoredParts:
        """The translations that are not in the output yet."""
        return StoredParts(self.note.output, self.note.digest)

    def begin(self, resume: bool, report: Callable[[str], None]) -> int:
        """Agree with the other processes on what is done, and return the number of lines that are in the output.

        The first process continues what the same command has begun, and removes what a crash left.

        Args:
            resume: Whether it is an error if there is nothing to continue.
            report: Called with a message if something is continued.

        Raises:
            UserError: If `resume` is set and there is nothing to continue, the folder of the parts cannot be written or
                is not shared, or the processes have different models, inputs or settings.
        """
        note, rank, done = self.note, self.processes.rank, 0
        if rank == 0:
            if note.is_current() or (resume and not self.parts.count()):
                done = note.truncate_output()
            elif note.path.exists():
                report(f"{note.output}: begun with another model, input or settings; it is translated anew")
            stored = self.parts.recover()
            if done or stored:
                report(f"{note.output}: continued; {done:,} lines and {stored:,} later blocks are done")
        try:
            digest, done = self.processes.share((note.digest, done))
        except RuntimeError as error:
            raise _ended() from error
        if digest != note.digest:
            raise UserError(
                f"process {rank} has another model, input or settings than process 0. Start all with the same command, "
                "with RUN and FILE on a file system that they share."
            )
        if not wait_until(self.parts.folder.is_dir, VISIBLE_SECONDS):
            raise UserError(
                f"{self.parts.folder}: process 0 created it, but process {rank} cannot see it. Write the output to a "
                "file system that all machines share."
            )
        try:
            self.processes.wait()  # blocks are claimed only after the claims of a crash are removed
        except RuntimeError as error:
            raise _ended() from error
        self.processes.leave()  # from now on, files suffice
        return done

    def work(self, done: int) -> None:
        """Translate free blocks after a number of lines; then wait until the blocks of all are in the output."""
        for block in self._blocks(done):
            self._translate_if_free(block)
        while self.parts.folder.exists():
            time.sleep(_POLL_SECONDS)

    def in_order(self, done: int) -> Iterator[Part]:
        """Translate free blocks after a number of lines, and yield those of all processes in order.

        A part is removed when the next one is requested. A block that another process does not finish is translated
        again, for example if its machine was cut off.
        """
        longest = 0.0
        for block in self._blocks(done):
            started = time.monotonic()
            self._translate_if_free(block)
            longest = max(longest, time.monotonic() - started)
            while part := self.parts.read(done + 1):
                yield part
                self.parts.discard(done + 1)
                done = part.last
        for block in self._blocks(done):  # which other processes are still translating
            yield self.parts.wait(done + 1, _LEAST_PATIENCE + 4 * longest) or self.translate(block)
            self.parts.discard(done + 1)
            done = block[-1][0]

    def _blocks(self, done: int) -> Iterator[Block]:
        return blocks_of_file(islice(enumerate(read_text(self.source), start=1), done, None), done)

    def _translate_if_free(self, block: Block) -> None:
        first = block[0][0]
        if self.parts.claim(first):
            self.parts.store(first, self.translate(block))


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


def _ended() -> UserError:
    return UserError("another process ended before the translation began: see its message.")
