"""Sentences that are translated already, in a file next to an unfinished translation, so that it can be resumed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType

from pydantic import BaseModel, RootModel, StrictStr

from allyouneed.documents.document_translation import Memory
from allyouneed.errors import UserError
from allyouneed.files import cannot_write
from allyouneed.json_text import json_line
from allyouneed.translation.resuming import digest_of, note_path
from allyouneed.translation.sentence import Sentence, TranslatedSentence
from allyouneed.translation.translator import Translator
from allyouneed.untrusted import cannot_read, checked, open_regular, parse_json

_REMEDY = "Translate without --resume."
_LONGEST_LINE = 1 << 24  # bytes


class _Head(BaseModel):
    """The first line of the file."""

    digest: StrictStr


class _Line(RootModel[tuple[Sentence, bool, TranslatedSentence]]):
    """Another line: a sentence, whether its words are aligned, and its translation."""


class FinishedSentences:
    """Translations of sentences, kept in a file if the translation of their document is interrupted.

    Args:
        translator: The translator.
        output: Path of the translated document; None, a device or a pipe keeps nothing.
        settings: What the translations depend on besides the model.
        resume: Whether to begin with the sentences that an interrupted call has kept.

    Attributes:
        memory: The translations.
        path: The file; None if nothing is kept.
        is_begun: Whether the file holds all sentences up to the last call of `save`.

    Raises:
        UserError: If the file cannot be read, or belongs to another model or other settings.
    """

    def __init__(self, translator: Translator, output: Path | None, settings: Sequence[object], resume: bool):
        self.memory: Memory = {}
        self.path = note_path(output) if output and (output.is_file() or not output.exists()) else None
        self._translator, self._settings = translator, settings
        self._saved, self.is_begun = 0, False
        if resume and self.path and self.path.exists():
            self._read(self.path)

    def __enter__(self) -> FinishedSentences:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            self.save()

    def save(self) -> None:
        """Append the sentences that were translated since the last call.

        Raises:
            UserError: If the file cannot be written.
        """
        if self.path is None or len(self.memory) == self._saved:
            return
        new = list(islice(self.memory.items(), self._saved, None))
        lines = [json_line([*key, found]) for key, found in new]
        if not self.is_begun:
            lines.insert(0, json_line({"digest": digest_of(self._translator, self._settings)}))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a" if self.is_begun else "w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._saved, self.is_begun = len(self.memory), True

    def remove(self) -> None:
        """Remove the file, once the document is written."""
        if self.path:
            self.path.unlink(missing_ok=True)

    def _read(self, path: Path) -> None:
        line = b""
        try:
            with open_regular(path) as file:
                head = checked(parse_json(file.readline(_LONGEST_LINE)), _Head, path, _REMEDY)
                if head.digest != digest_of(self._translator, self._settings):
                    raise UserError(f"--resume: {path} is of another model or other settings. {_REMEDY}")
                while line := file.readline(_LONGEST_LINE):
                    if not line.endswith(b"\n"):
                        break  # the process was killed while it wrote
                    sentence, links, found = checked(parse_json(line), _Line, path, _REMEDY).root
                    self.memory[sentence, links] = found
        except OSError as error:
            raise cannot_read(path, error, _REMEDY) from error
        except ValueError as error:
            raise UserError(f"--resume: cannot read {path}. {_REMEDY}") from error
        self.is_begun = not line  # else it is written anew
        self._saved = len(self.memory) if self.is_begun else 0
