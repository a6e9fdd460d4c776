"""Notes next to the output of a long translation, so that the same command can continue after Ctrl-C.

A note stores the number of translated lines, their size in bytes, and a digest of model, input and settings. An output
is continued only if all of these agree; text written after the note is truncated.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO, TypeVar

from pydantic import BaseModel, Field, StrictInt, StrictStr

from allyouneed import __version__
from allyouneed.bundle import weights_of
from allyouneed.errors import UserError
from allyouneed.files import write_file
from allyouneed.shared_files import lock
from allyouneed.translation.translator import Translator
from allyouneed.untrusted import cannot_read, checked, read_typed

_REMEDY = "Translate without --resume."
T = TypeVar("T")


class _Note(BaseModel):
    """Content of a note."""

    digest: StrictStr
    lines: StrictInt = Field(ge=0, le=10**15)
    bytes: StrictInt = Field(ge=0, le=10**18)
    facts: dict[str, Any] = {}


@dataclass(frozen=True)
class ResumeNote:
    """The note next to an output.

    Attributes:
        output: Path of the output.
        digest: Digests of the model, of the input's path, size and modification time, and of the settings.
    """

    output: Path
    digest: str

    @classmethod
    def create(cls, translator: Translator, source: Path, output: Path, settings: Mapping[str, object]) -> ResumeNote:
        """Make the note for a translation without writing it.

        Raises:
            OSError: If the source does not exist.
        """
        parts = (digest_of(translator, []), _digest(_state(source)), _digest(sorted(settings.items())))
        return cls(output, "-".join(parts))

    @property
    def path(self) -> Path:
        """Path of the note."""
        return note_path(self.output)

    def truncate_output(self) -> int:
        """Truncate the output to the noted size, and return the number of input lines that are done.

        Raises:
            UserError: If the note is missing or belongs to another command, or the output is shorter than noted.
        """
        if self.output.exists() and not self.path.exists():
            raise UserError(
                f"--resume: {self.output} is finished, or was not written by this command: there is no {self.path}. "
                "Without --resume, it is written anew."
            )
        note = self._read()
        if note.digest != self.digest:
            raise UserError(f"--resume: {self.output} was started with another model, input or settings. {_REMEDY}")
        try:
            is_shorter = self.output.stat().st_size < note.bytes
        except OSError as error:
            raise cannot_read(self.output, error, _REMEDY) from error
        if is_shorter:
            raise UserError(f"--resume: {self.output} is shorter than {self.path} records. {_REMEDY}")
        with open(self.output, "r+b") as file:
            lock_output(file, self.output)
            file.truncate(note.bytes)
        return note.lines

    def stored_digest(self) -> str | None:
        """Return the digest in the note; None if there is no readable note."""
        with suppress(UserError):
            return self._read().digest
        return None

    def is_complete(self) -> bool:
        """Return whether the output has all lines that the note counts; False without a readable note."""
        with suppress(OSError, UserError):
            return self._read().bytes <= self.output.stat().st_size
        return False

    def changes(self, digest: str) -> str:
        """Name what differs between this note and another digest: the model, the input or the settings."""
        names, old, new = ("the model", "the input", "the settings"), digest.split("-"), self.digest.split("-")
        return " and ".join(name for name, a, b in zip(names, old, new, strict=False) if a != b)

    def check_input(self, source: Path) -> None:
        """Raise `UserError` if the input has changed since the note was made."""
        with suppress(FileNotFoundError):
            if _digest(_state(source)) == self.digest.split("-")[1]:
                return
        raise UserError(
            f"{source} has changed while it was translated. Translate a file that does not change, into another output."
        )

    def facts(self, kind: type[T]) -> T:
        """Read the facts that were written with the note, of a known type.

        Raises:
            UserError: If the note is damaged, or the facts have another type.
        """
        return checked(self._read().facts, kind, self.path, _REMEDY)

    def _read(self) -> _Note:
        return read_typed(self.path, _Note, _REMEDY)

    def check_end(self, output: TextIO) -> None:
        """Raise `UserError` if another command has written the output since it was truncated to the noted size."""
        with suppress(OSError, UserError):
            note = self._read()
            if (note.digest, note.bytes) == (self.digest, os.fstat(output.fileno()).st_size):
                return
        raise in_use(self.output)

    def write(self, output: TextIO, lines: int, **facts: object) -> None:
        """Write the note with the number of input lines done and other facts.

        Args:
            output: The output, open for writing; it is synced first, so that after a power failure it is not shorter
                than noted.
            lines: Number of input lines done.
            facts: Other facts, for `facts`.

        Raises:
            OSError: If the output cannot be written.
            UserError: If the note cannot be written, for example because the disk is full.
        """
        output.flush()
        os.fsync(output.fileno())
        size = os.fstat(output.fileno()).st_size
        write_file(self.path, json.dumps({"digest": self.digest, "lines": lines, "bytes": size, "facts": facts}))

    def remove(self) -> None:
        """Remove the note, once all lines are done."""
        self.path.unlink(missing_ok=True)


def lock_output(file: IO[Any], output: Path, seconds: float = 0.0) -> None:
    """Keep other commands from writing an output, until a file is closed, if its file system supports locks.

    Args:
        file: The output, or another file for it, open for writing.
        output: The output.
        seconds: How long to wait for another command.

    Raises:
        UserError: If another command is writing it.
    """
    with suppress(OSError):  # the file system does not support locks
        if not lock(file.fileno(), seconds):
            raise in_use(output)


def in_use(output: Path) -> UserError:
    """Return the error to raise if another command is writing an output."""
    return UserError(
        f"{output}: another command is writing this file. Wait until it has ended, or choose another output."
    )


def _state(source: Path) -> list[object]:
    status = source.stat()
    return [str(source.resolve()), status.st_size, status.st_mtime_ns]


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


def digest_of(translator: Translator, facts: Sequence[object]) -> str:
    """Return a digest of a model and of what else a translation depends on."""
    digest = hashlib.sha256()
    for model in translator.models:
        for name, tensor in weights_of(model).items():
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    bundle = translator.bundle
    for content in bundle.tokenizer.files().values():
        digest.update(content)
    settings = [__version__, bundle.config.model_dump_json(), *bundle.languages, translator.longest_source]
    digest.update(json.dumps([*settings, translator.compute_type, *facts], default=str).encode())
    return digest.hexdigest()


def note_path(output: Path) -> Path:
    """Return the path of the note next to an output."""
    return output.with_name(f"{output.name}.resume")
