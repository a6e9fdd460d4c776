"""Translation of document files and of folders of them, as `allyouneed translate` does."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from allyouneed.documents.document import ReadOptions, format_of, is_document
from allyouneed.documents.document_translation import (
    DocumentOptions,
    DocumentTranslation,
    translate_document,
)
from allyouneed.documents.finished_sentences import FinishedSentences
from allyouneed.errors import UserError
from allyouneed.files import cannot_write, check_output, write_file
from allyouneed.json_text import json_line
from allyouneed.progress import print_line, track_progress
from allyouneed.translation.resuming import note_path
from allyouneed.translation.translator import Translator

_MOST_LISTED = 20  # remarks of a kind on standard error, for each file
_PDF_OUTPUTS = (".docx", ".html", ".htm")
_MOST_SHOWN = 80  # characters of a segment


@dataclass(frozen=True)
class FileOptions:
    """Options of the translation of files.

    Attributes:
        reading: Options of reading each file; the name and the languages are filled in.
        translation: Options of the translation.
        resume: Whether to continue what an earlier call began, and to skip files of a folder that are done.
        remarks: File to which all problems and unchanged segments are written, as JSON lines.
    """

    reading: ReadOptions = field(default_factory=lambda: ReadOptions(""))
    translation: DocumentOptions = field(default_factory=DocumentOptions)
    resume: bool = False
    remarks: Path | None = None


class Outcome:
    """What happened to the files: the number of problems, and of files that could not be read.

    Attributes:
        problems: Number of problems in the translated files.
        refused: Number of files that could not be translated.
    """

    problems = 0
    refused = 0

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 2 if a file could not be translated, 1 if there are problems, else 0."""
        return 2 if self.refused else 1 if self.problems else 0


def translate_documents(
    translator: Translator,
    source: Path | str,
    output: Path | str | None = None,
    options: FileOptions | None = None,
    console: Console | None = None,
) -> Outcome:
    """Translate a document, or all documents in a folder and its subfolders.

    A file is written when it is translated as a whole. Sentences that were translated before an interruption are kept
    next to it, so that the same call with `resume` continues.

    Args:
        translator: The translator.
        source: A document or a folder.
        output: Output file, or output folder for a folder; None for standard output.
        options: Options; None for the defaults.
        console: Where to report progress, problems, and a summary of each file; None for standard error.

    Raises:
        UserError: If the document or the folder cannot be read, or an output cannot be written. In a folder, documents
            that cannot be read are reported, and the others are translated.

    Example:
        >>> documents.translate_documents(translator, "page.html", "page.en.html").exit_code  # doctest: +SKIP
        0
    """
    source, output = Path(source), None if output is None else Path(output)
    options, console = options or FileOptions(), console or Console(stderr=True, markup=False, emoji=False)
    outcome = Outcome()
    report = partial(print_line, console)
    files = _Files(translator, options, console)
    if not source.is_dir():
        if output:
            output = _output_of(source, output)
            check_output(output, source)
            _check_suffix(source, output)
        files.begin_remarks([source, *([output] if output else [])])
        outcome.problems += files.translate(source, output)
        return outcome
    if output is None:
        raise UserError(f"{source} is a folder: give the folder of the translations with -o FOLDER.")
    paths = list(_files_in(source, output))
    found = [path for path in paths if is_document(path.name)]
    if not found:
        raise UserError(
            f"{source}: the folder contains no documents. Give a folder with files such as a.txt or a.docx."
        )
    targets = [_folder_output(path, output / path.relative_to(source)) for path in found]
    same = {path.resolve() for path in found} & {target.resolve() for target in targets}
    if same or (output.exists() and not output.is_dir()):
        raise UserError(f"{output}: not a folder, or the same as the input. Give another folder.")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(output, error) from error
    files.begin_remarks([*found, *targets])
    for path, target in zip(found, targets, strict=True):
        if options.resume and target.exists() and not note_path(target).exists():
            report(f"{target}: done already")
            continue
        try:
            outcome.problems += files.translate(path, target)
        except UserError as error:
            report(f"error: {error}")
            outcome.refused += 1
    if others := len(paths) - len(found):
        report(f"{source}: {others:,} files of other types were left out")
    return outcome


def _output_of(source: Path, output: Path) -> Path:
    """Return the output file, under another suffix for a PDF document, which is written as a Word document.

    Raises:
        UserError: If there is a file of that name already.
    """
    if (
        source.suffix.lower() != ".pdf"
        or output.suffix.lower() in _PDF_OUTPUTS
        or (output.exists() and not output.is_file())
    ):
        return output
    word = output.with_suffix(".docx")
    if word.exists():
        raise UserError(f"{word}: a PDF document is written as a Word document, and this one exists. Name it with -o.")
    return word


def _check_suffix(source: Path, output: Path) -> None:
    """Check that the name of an output file does not promise another format, which no program could open.

    Raises:
        UserError: If the suffixes differ, and one of them is that of a format which is not text.
    """
    old, new = source.suffix.lower(), output.suffix.lower()
    if old in (new, ".pdf") or not (is_document(source.name) and is_document(output.name)):
        return
    if not (format_of(source.name).is_text and format_of(output.name).is_text):
        raise UserError(f"{output}: a document keeps its format. Name the output with the suffix {source.suffix}.")


def _folder_output(source: Path, output: Path) -> Path:
    """Return the output file of a file in a folder, which no other file there has."""
    if source.suffix.lower() != ".pdf":
        return output
    word = output.with_suffix(".docx")
    return word.with_name(f"{output.name}.docx") if source.with_suffix(".docx").exists() else word


def _files_in(folder: Path, output: Path) -> Iterator[Path]:
    """Yield the files in a folder in alphabetical order, without hidden ones and those in the output folder."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (Path(parent) / name).resolve() != output.resolve()
        )
        yield from (Path(parent) / name for name in sorted(names) if not name.startswith("."))


class _Files:
    def __init__(self, translator: Translator, options: FileOptions, console: Console):
        self.translator, self.options, self.console = translator, options, console
        self.report = partial(print_line, console)

    def begin_remarks(self, others: Sequence[Path]) -> None:
        """Create the file for remarks, or empty it, unless it is one of the documents."""
        if remarks := self.options.remarks:
            check_output(remarks)
            if remarks.resolve() in {path.resolve() for path in others}:
                raise UserError(f"--remarks {remarks}: this is one of the documents. Give another file.")
            write_file(remarks, "")

    def translate(self, source: Path, output: Path | None) -> int:
        """Translate one document and return the number of problems."""
        data = _read(source)
        languages = self.translator.bundle.languages
        reading = replace(
            self.options.reading,
            name=str(source),
            source=languages[0],
            target=languages[1],
            output_suffix=output.suffix.lower() if output else "",
        )
        if output is None and sys.stdout.isatty() and not format_of(str(source), data).is_text:
            raise UserError(f"{source}: its translation is not text for a terminal. Give -o FILE.")
        settings = [languages, str(self.options.translation.search), reading]
        finished = FinishedSentences(self.translator, output, settings, self.options.resume)
        try:
            with finished, track_progress(self.console, source.name) as update:

                def progress(done: int, total: int) -> None:
                    if done < total:
                        finished.save()
                        update(done, total)

                result = translate_document(
                    self.translator, data, reading, self.options.translation, finished.memory, progress
                )
        except KeyboardInterrupt:
            if finished.is_begun:
                self.report(f"finished sentences are in {finished.path}; the same command with --resume continues")
            raise
        written = _write(result, output)
        finished.remove()
        self._report(result, source, written)
        return len(result.problems)

    def _report(self, result: DocumentTranslation, source: Path, output: Path | None) -> None:
        for note in result.notes:
            self.report(f"{source}: {note}")
        for remarks in (result.problems, result.unchanged):
            for remark in remarks[:_MOST_LISTED]:
                message = remark.message.removesuffix(".")
                self.report(f"{source}, {_printable(remark.where)}: {message}: {_shortened(remark.source)}")
            if (more := len(remarks) - _MOST_LISTED) > 0:
                self.report(f"{source}: {more:,} more: {remarks[-1].message} (list them with --remarks FILE)")
        counts = [f"{_counted(result.translated, 'segment')} translated"]
        counts += [f"{result.finished:,} were finished and are kept"] if result.finished else []
        counts += [f"{len(result.unchanged):,} unchanged"] if result.unchanged else []
        counts += [_counted(len(result.problems), "problem")] if result.problems else []
        self.report(f"{source} → {output or 'standard output'}: {', '.join(counts)}")
        if self.options.remarks:
            with open(self.options.remarks, "a", encoding="utf-8") as file:
                for remark in (*result.problems, *result.unchanged):
                    file.write(json_line({"file": str(source), **remark._asdict()}) + "\n")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}.") from error


def _write(result: DocumentTranslation, output: Path | None) -> Path | None:
    """Write a document, under another suffix if its format has changed, and return its path."""
    if output is None:
        sys.stdout.buffer.write(result.data)
        sys.stdout.flush()
        return None
    path = output.with_suffix(result.suffix) if result.suffix else output
    write_file(path, result.data)
    return path


def _printable(text: str) -> str:
    """Replace characters that could control a terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _shortened(text: str) -> str:
    text = _printable(" ".join(text.split()))
    return f'"{text}"' if len(text) <= _MOST_SHOWN else f'"{text[: _MOST_SHOWN - 1]}…"'
