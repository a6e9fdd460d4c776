"""Translation of text files, one output line per input line."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, TextIO, TypeAlias

from pydantic import BaseModel, Field, StrictInt

from allyouneed.data.files.compression import CompressedText, compressor
from allyouneed.data.files.formats import have_columns
from allyouneed.data.files.lines import decode_lines, read_lines, read_text
from allyouneed.data.tokens.tokenizer import to_nfc
from allyouneed.errors import UserError
from allyouneed.files import cannot_write, check_output, write_file
from allyouneed.json_text import json_line
from allyouneed.translation.line_blocks import INTERACTIVE, PIPE, Pace, blocks_of_file, blocks_of_stream
from allyouneed.translation.line_translation import LineProgress, NumberedTranslation, translate_block
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.protection.letters import has_letters, without_spans
from allyouneed.translation.requirements import Requirements
from allyouneed.translation.results import Translation
from allyouneed.translation.resuming import ResumeNote, lock_output, note_path
from allyouneed.translation.shared_blocks import ALONE, Block, Processes, SharedBlocks
from allyouneed.translation.stored_parts import Part, parts_folder, remove_parts
from allyouneed.translation.translator import Translator

_Count: TypeAlias = Annotated[StrictInt, Field(ge=0, le=10**12)]
_STANDARD_INPUT, _STANDARD_OUTPUT = Path("standard input"), Path("standard output")


class _Facts(BaseModel):
    """What the note next to an unfinished output says besides the number of lines."""

    unchanged: tuple[_Count, _Count]


def translate_file(
    translator: Translator,
    source: Path | None,
    output: Path | None,
    options: SearchOptions,
    scores: bool,
    report: Callable[[str], None],
    resume: bool = False,
    force: Sequence[str] = (),
    resume_with: str = "the same command with --resume",
    as_json: bool = False,
    interactive: bool = False,
    requirements: Requirements | None = None,
    processes: Processes | None = None,
) -> None:
    """Translate a file line by line, as `allyouneed translate` does.

    Lines from a terminal are translated as they are typed, and those from a pipe in blocks of a bounded delay.

    With `num_hypotheses` above 1, each input line gives up to that many lines `id ||| text ||| score`. An existing
    output is replaced only when the first block is translated. An interrupted output ends with a complete line, and a
    note next to it makes it possible to resume. An output whose name ends with .gz, .bz2, .xz or .zst is compressed.

    Args:
        translator: The translator.
        source: Input file; None for standard input.
        output: Output file; None for standard output.
        options: Search options.
        scores: Whether to precede each translation with its score and a tab.
        report: Called with messages about progress and about lines that are too long.
        resume: Whether to continue an interrupted output.
        force: Words and phrases that every translation must contain.
        resume_with: Description of the command that resumes, for the message after an interruption.
        as_json: Whether to write a JSON object for each line, with scores.
        interactive: Whether to translate lines as they arrive, from any input.
        requirements: What translations must contain besides `force`; None for the bare model.
        processes: Processes that share the work and call this function, and continue it without `resume`; None for one
            process. See `shared_blocks.py`.

    Raises:
        UserError: If a file cannot be read or written, an option is invalid, or the output cannot be resumed.
    """
    if output:
        check_output(output, *([source] if source else []))
        compressor(output)  # a missing package is reported before the work
    is_shared, processes = processes is not None, processes or ALONE
    is_stream = source is None or (source.exists() and not source.is_file())
    if processes.count > 1 and (is_stream or output is None or (output.exists() and not output.is_file())):
        raise UserError("several processes need an input FILE and an output file (-o FILE), which they share.")
    if processes.count > 1 and interactive:
        raise UserError("--interactive: only one process can answer lines as they arrive. Start without torchrun.")
    options = options.replace({"return_scores": scores or as_json or options.num_hypotheses > 1})
    settings = {**options.model_dump(), "force": list(force), "as_json": as_json}
    settings["requirements"] = requirements and requirements.digest
    note = _note(translator, source, output, settings)
    if resume and note is None:
        raise UserError("--resume needs an input FILE and an output file (-o FILE).")
    file = source or _STANDARD_INPUT
    form = partial(_as_json if as_json else _as_text, several=options.num_hypotheses > 1, scores=scores)

    def translate(block: Block) -> Part:
        found = translate_block(translator, block, file, options, report, force, requirements)
        return _as_part(found, form, requirements)

    pace = INTERACTIVE if interactive or (source is None and _is_terminal()) else _pace(source)

    def finish(parts: Iterator[Part], done: int) -> None:
        count = partial(_count_lines, source) if source and source.is_file() else None  # a pipe can be read only once
        progress = LineProgress(_ignore if pace is INTERACTIVE else report, count, done)
        try:
            unchanged, first = _write(parts, output, note, progress)
        except KeyboardInterrupt:
            if note and (note.path.exists() or parts_folder(note.output).exists()):
                report(f"finished lines are in {output}; {resume_with} continues after them")
            raise
        if unchanged:
            lines_are = f"{unchanged:,} lines are" if unchanged > 1 else "1 line is"
            report(f"{file}: {lines_are} unchanged in the translation; first: line {first:,}")

    if note and source and (is_shared or (resume and parts_folder(note.output).exists())):
        shared = SharedBlocks(source, translate, note, processes)
        with shared.begin(resume, report) as done:
            if processes.rank > 0:
                return shared.work(done)
            _remark_columns(source, report)
            return finish(shared.in_order(done), done)
    done = note.truncate_output() if resume and note else 0
    lines = islice(enumerate(_read(source, report), start=1), done, None)
    finish(map(translate, blocks_of_stream(lines, pace) if pace else blocks_of_file(lines, done)), done)


def _as_part(
    block: Sequence[NumberedTranslation],
    form: Callable[[int, Translation], list[str]],
    requirements: Requirements | None,
) -> Part:
    """Return the lines of a translated block, and which of them with text besides kept parts are unchanged."""
    same = ((n, each.source) for n, each in block if to_nfc(each.source).split() == to_nfc(each.text).split())
    unchanged = []
    for number, source in same:
        kept = requirements.find_kept(source) if requirements else ()
        unchanged += [number] * has_letters(without_spans(source, kept))
    text = "".join(line for each in block for line in form(*each))
    return Part(block[-1][0], text, len(unchanged), unchanged[0] if unchanged else 0)


def _note(
    translator: Translator, source: Path | None, output: Path | None, settings: Mapping[str, object]
) -> ResumeNote | None:
    """Return a note if both input and output are given, and the output is a file, not a device or a pipe."""
    if source and output and (output.is_file() or not output.exists()):
        return ResumeNote.create(translator, source, output, settings)
    return None


def _write(
    parts: Iterator[Part], output: Path | None, note: ResumeNote | None, progress: LineProgress
) -> tuple[int, int]:
    """Write translated blocks, appending to the output if lines are already done.

    Returns:
        Number of unchanged lines, and number of the first of them.
    """
    unchanged, first_unchanged = note.facts(_Facts).unchanged if note and progress.done else (0, 0)
    begin = list(islice(parts, 1))  # an existing output is unchanged until this is done
    with open_output(output, "a" if progress.done else "w") as out:
        if note and progress.done:
            note.check_end(out)
        for part in chain(begin, parts):
            out.write(part.text)
            out.flush()
            unchanged += part.unchanged
            first_unchanged = first_unchanged or part.first_unchanged
            if note:
                note.write(out, part.last, unchanged=[unchanged, first_unchanged])
            progress.update(part.last)
    if note:
        remove_parts(note.output)
        note.remove()
    return unchanged, first_unchanged


@contextmanager
def open_output(path: Path | None, mode: Literal["a", "w"] = "w") -> Iterator[TextIO]:
    """Open an output file, or standard output for None, as UTF-8; compressed if its name ends with .gz, for example.

    Raises:
        UserError: If the file cannot be opened, a write in the block fails, or no package compresses the file.
    """
    try:
        if path is None:
            if isinstance(sys.stdout, TextIOWrapper):
                sys.stdout.reconfigure(encoding="utf-8")
            yield sys.stdout
            sys.stdout.flush()
        else:
            with _open_locked(path, mode) as file:
                compress = compressor(path)
                with CompressedText(file, compress) if compress else TextIOWrapper(file, encoding="utf-8") as text:
                    yield text
                    text.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if path is None and error.errno == errno.EBADF:
            raise UserError("standard output is closed: give -o FILE.") from error
        raise cannot_write(path or _STANDARD_OUTPUT, error) from error


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write an output file, whole or not at all; compressed if its name ends with .gz, for example.

    Raises:
        UserError: If it cannot be written, or no package compresses it.
    """
    compress = compressor(path)
    note_path(path).unlink(missing_ok=True)  # a note about the previous content is no longer valid
    content = "".join(f"{line}\n" for line in lines).encode("utf-8")
    write_file(path, compress(content) if compress else content)


def _open_locked(path: Path, mode: Literal["a", "w"]) -> BinaryIO:
    """Open a file, which is emptied only if no other command is writing it."""
    file = open(path, "ab")  # noqa: SIM115 (the caller closes it)
    try:
        if path.is_file():  # not a device or a pipe
            lock_output(file, path)
            if mode == "w":
                note_path(path).unlink(missing_ok=True)  # it describes the previous content
                file.seek(0)
                file.truncate()
    except BaseException:
        file.close()
        raise
    return file


def _remark_columns(source: Path, report: Callable[[str], None]) -> None:
    if source.is_file() and have_columns(list(islice(read_lines(source), 100))):
        report(f"{source}: lines have several columns, separated by tabs; whole lines are translated. See cut -f1")


def _read(source: Path | None, report: Callable[[str], None]) -> Iterator[str]:
    if source:
        _remark_columns(source, report)
        return read_text(source)
    if sys.stdin is None:
        raise UserError("standard input is closed: give a FILE, or pipe text into the command.")
    if _is_terminal():
        report("type a line and press Enter to translate it; Ctrl-D ends")
    descriptor = _descriptor()
    if descriptor is None:
        return decode_lines(sys.stdin.buffer, _STANDARD_INPUT)
    # Not `sys.stdin.buffer`: a thread that waits in it would prevent the interpreter from exiting after Ctrl-C.
    return decode_lines(io.BufferedReader(io.FileIO(descriptor, closefd=False)), _STANDARD_INPUT)


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _descriptor() -> int | None:
    """Return the file descriptor of standard input, if it has one."""
    try:
        return sys.stdin.fileno()
    except (OSError, AttributeError):
        return None


def _pace(source: Path | None) -> Pace | None:
    """Return the pace of an input that is not a regular file, None for a file."""
    if source is not None:
        return PIPE if source.exists() and not source.is_file() else None
    descriptor = _descriptor() if sys.stdin is not None else None
    return None if descriptor is None or stat.S_ISREG(os.fstat(descriptor).st_mode) else PIPE


def _ignore(message: str) -> None:
    pass


def _count_lines(path: Path) -> int:
    return sum(1 for _ in read_lines(path))


def _as_json(number: int, translation: Translation, several: bool, scores: bool) -> list[str]:
    fields = {
        "line": number,
        "source": translation.source,
        "text": translation.text,
        "score": translation.score,
        "tokens": translation.tokens,
        "log_probs": translation.log_probs,
        "hypotheses": [{"text": text, "score": score} for text, score in translation.hypotheses],
        "pieces": translation.pieces,
    }
    return [json_line(fields) + "\n"]


def _as_text(number: int, translation: Translation, several: bool, scores: bool) -> list[str]:
    if several:
        hypotheses = translation.hypotheses or [("", 0.0)]
        return [f"{number - 1} ||| {text} ||| {score:.4f}\n" for text, score in hypotheses]
    return [f"{translation.score:.4f}\t{translation.text}\n" if scores else f"{translation.text}\n"]
