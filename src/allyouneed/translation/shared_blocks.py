"""Translation of one file by several processes, on one machine or on several with a shared file system.

The file is divided into the same blocks as by one process. Each process claims the next free block, by creating a file
in a folder next to the output, and stores its translation there. The first process appends the stored blocks to the
output in order. What is appended, and what is stored, is kept after a crash, for any number of processes. The first
process locks the folder, so that another command with the same output is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar, cast

from allyouneed.data.files.lines import read_text
from allyouneed.errors import UserError
from allyouneed.shared_files import VISIBLE_SECONDS, wait_until
from allyouneed.translation.line_blocks import blocks_of_file
from allyouneed.translation.resuming import ResumeNote
from allyouneed.translation.stored_parts import Part, StoredParts

_POLL_SECONDS = 0.2
_LEAST_PATIENCE = 180  # seconds in which another process has to finish its last block
_RESTART_SECONDS = 120  # in which a process that was cut off from the others ends, after torchrun restarted them
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

    @contextmanager
    def begin(self, resume: bool, report: Callable[[str], None]) -> Iterator[int]:
        """Agree with the other processes on what is done.

        The first process continues what the same command has begun, and removes what a crash left.

        Args:
            resume: Whether it is an error if there is nothing to continue.
            report: Called with a message if something is continued.

        Yields:
            Number of lines that are in the output.

        Raises:
            UserError: If `resume` is set and there is nothing to continue, the output was begun with another model,
                input or settings, another command is writing it, the folder of the parts cannot be written or is not
                shared, or the processes have different models, inputs or settings.
        """
        with self._recovered(resume, report) if self.processes.rank == 0 else nullcontext(0) as done:
            yield self._agree(done)

    @contextmanager
    def _recovered(self, resume: bool, report: Callable[[str], None]) -> Iterator[int]:
        """Lock the output, and yield the number of lines that are in it."""
        note = self.note
        if resume and note.stored_digest() is None and not self.parts.digests():
            note.truncate_output()  # raises an error: there is nothing to continue
        with self.parts.locked(_RESTART_SECONDS if self.processes != ALONE else 0, report):
            begun = note.stored_digest()
            others = ({begun} if begun else self.parts.digests()) - {note.digest}
            if others:
                raise UserError(
                    f"{note.output}: {note.changes(others.pop())} changed since it was begun. Restore what changed, or "
                    f"delete {note.path} and {self.parts.folder} to translate it anew."
                )
            done = note.truncate_output() if begun and (resume or note.is_complete()) else 0
            stored = self.parts.recover()
            if done or stored:
                report(f"{note.output}: continued; {done:,} lines and {stored:,} later blocks are done")
            yield done

    def _agree(self, done: int) -> int:
        """Return the number of lines that are in the output, which the first process knows."""
        note, rank = self.note, self.processes.rank
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
        """Yield the blocks after a number of lines; a change of the file in the meantime is an error."""
        for block in blocks_of_file(islice(enumerate(read_text(self.source), start=1), done, None), done):
            self.note.check_input(self.source)
            yield block
        self.note.check_input(self.source)

    def _translate_if_free(self, block: Block) -> None:
        first = block[0][0]
        if self.parts.claim(first):
            self.parts.store(first, self.translate(block))


def _ended() -> UserError:
    return UserError("another process ended before the translation began: see its message.")
