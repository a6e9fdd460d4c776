"""A note beside the output of a long translation, by which the same command goes on after Ctrl-C.

It holds how many lines are translated, how many bytes they take, and a digest of what was asked: model, input and
settings. An output is touched only if all of it agrees; whatever was written after the note is cut off.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allyouneed.bundle import weights_of
from allyouneed.errors import UserError
from allyouneed.translation.translator import Translator


@dataclass(frozen=True)
class Note:
    """asked: a digest of model, settings and the input's path, size and time of change."""

    output: Path
    asked: str

    @classmethod
    def of(cls, translator: Translator, source: Path, output: Path, options: dict[str, Any]) -> Note:
        """Of what is asked now. options: with `Translator.translate`'s names. Errors: `OSError` for no such source."""
        digest = hashlib.sha256()
        for name, tensor in weights_of(translator.model).items():
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        status = source.stat()
        facts = [str(source.resolve()), status.st_size, status.st_mtime_ns, translator.bundle.config.model_dump_json()]
        digest.update(json.dumps([*facts, translator.compute_type, sorted(options.items())], default=str).encode())
        return cls(output, digest.hexdigest())

    @property
    def path(self) -> Path:
        """Where it stands."""
        return note_beside(self.output)

    def done(self) -> int:
        """Lines of the input that the output has already; what it has besides is cut off.

        Errors: `UserError` when the note is missing or is another command's, or the output is shorter than it says.
        """
        try:
            note = json.loads(self.path.read_text(encoding="utf-8"))
            asked, lines, size = note["asked"], int(note["lines"]), int(note["bytes"])
            there = self.output.stat().st_size
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"--resume: {self.path} is not there or not readable: translate without it.") from error
        if asked != self.asked:
            raise UserError(f"--resume: {self.output} was begun with another model, input or settings: leave it out.")
        if there < size:
            raise UserError(f"--resume: {self.output} is shorter than {self.path} says: translate without it.")
        os.truncate(self.output, size)
        return lines

    def write(self, lines: int) -> None:
        """After the output is flushed: so many lines of the input are done."""
        note = {"asked": self.asked, "lines": lines, "bytes": self.output.stat().st_size}
        partial = self.path.with_name(f"{self.path.name}.partial")
        partial.write_text(json.dumps(note), encoding="utf-8")
        partial.replace(self.path)

    def remove(self) -> None:
        """When all lines are done."""
        self.path.unlink(missing_ok=True)


def note_beside(output: Path) -> Path:
    """Where an output's note stands."""
    return output.with_name(f"{output.name}.resume")
