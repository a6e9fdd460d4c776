"""Notes next to the output of a long translation, so that the same command can continue after Ctrl-C.

A note stores the number of translated lines, their size in bytes, and a digest of model, input and settings. An output
is continued only if all of these agree; text written after the note is truncated.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from allyouneed import __version__
from allyouneed.bundle import weights_of
from allyouneed.errors import UserError
from allyouneed.files import write_file
from allyouneed.translation.translator import Translator


@dataclass(frozen=True)
class ResumeNote:
    """The note next to an output.

    Attributes:
        output: Path of the output.
        digest: Digest of the model, the settings, and the input's path, size and modification time.
    """

    output: Path
    digest: str

    @classmethod
    def create(cls, translator: Translator, source: Path, output: Path, settings: Mapping[str, object]) -> ResumeNote:
        """Make the note for a translation without writing it.

        Raises:
            OSError: If the source does not exist.
        """
        status = source.stat()
        facts = [str(source.resolve()), status.st_size, status.st_mtime_ns, sorted(settings.items())]
        return cls(output, digest_of(translator, facts))

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
        try:
            note = json.loads(self.path.read_text(encoding="utf-8"))
            digest, lines, size = note["digest"], int(note["lines"]), int(note["bytes"])
            actual_size = self.output.stat().st_size
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"--resume: cannot read {self.path}. Translate without --resume.") from error
        if digest != self.digest:
            raise UserError(
                f"--resume: {self.output} was started with another model, input or settings. "
                "Translate without --resume."
            )
        if actual_size < size:
            raise UserError(f"--resume: {self.output} is shorter than {self.path} records. Translate without --resume.")
        os.truncate(self.output, size)
        return lines

    def is_current(self) -> bool:
        """Return whether the output was started with the same model, input and settings, and can be continued."""
        try:
            note = json.loads(self.path.read_text(encoding="utf-8"))
            return note["digest"] == self.digest and note["bytes"] <= self.output.stat().st_size
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def facts(self) -> dict[str, Any]:
        """Read the facts that were written with the note, once `truncate_output` has checked it."""
        return json.loads(self.path.read_text(encoding="utf-8"))["facts"]

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
