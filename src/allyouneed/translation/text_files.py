"""Whole files through a translator: line by line out, as they came in."""

from __future__ import annotations

import errno
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import Literal, TextIO

from allyouneed.data.corpus import count_pairs
from allyouneed.data.formats import decoded, read_lines, read_pairs, read_text
from allyouneed.errors import UserError
from allyouneed.files import cannot_write, check_output
from allyouneed.progress import time_left
from allyouneed.translation.evaluate import Scores, bleu_metric, score
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.resuming import Note, note_beside
from allyouneed.translation.scoring import score_pairs
from allyouneed.translation.translator import Translation, Translator

_FEWEST_LINES, _MOST_LINES = 250, 4000  # at once, sorted by length among themselves; the first come soon
_SILENT_SECONDS = 10  # short work says nothing of its progress
_STANDARD_INPUT, _STANDARD_OUTPUT = Path("standard input"), Path("standard output")


def translate_file(
    translator: Translator,
    source: Path | None,
    output: Path | None,
    options: SearchOptions,
    scores: bool,
    say: Callable[[str], None],
    resume: bool = False,
    force: Sequence[str] = (),
    again: str = "the same command with --resume",
    as_json: bool = False,
) -> None:
    """One line out for each line in. None: standard input, standard output. Long lines cut into pieces are reported.

    force: words and phrases that each line's translation contains; again: what goes on, for people. With
    `num_hypotheses` over 1, up to so many lines `id ||| text ||| score` for each line in; `as_json`: a JSON object for
    each line in, with scores in both cases. What is at `output` is replaced only once there is a translation. An
    interrupted output has whole lines, whose number and settings are in a note beside it; `resume` goes on after them.
    Errors: `UserError`.
    """
    if output:
        check_output(output, *([source] if source else []))
    options = options.replace({"return_scores": scores or as_json or options.num_hypotheses > 1})
    asked = {**options.model_dump(), "force": list(force), "as_json": as_json}
    is_file = output is not None and (output.is_file() or not output.exists())  # not a device or a pipe
    note = Note.of(translator, source, output, asked) if source and output and is_file else None
    done = note.done() if resume and note else 0
    if resume and note is None:
        raise UserError("--resume needs a FILE to read and -o FILE to write: it goes on in the middle of both.")
    if source is None and sys.stdin is None:
        raise UserError("standard input is closed: give a FILE, or text by a pipe.")
    if source is None and sys.stdin.isatty():
        say("reading lines from the terminal; they are translated after the last one, which Ctrl-D ends")
    lines = read_text(source) if source else decoded(sys.stdin.buffer, _STANDARD_INPUT)
    numbered = islice(enumerate(lines, start=1), done, None)
    form: Callable[[int, Translation], list[str]]
    form = _as_json if as_json else partial(_as_text, hypotheses=options.num_hypotheses, scores=scores)
    blocks = _translated(translator, numbered, source or _STANDARD_INPUT, options, form, say, force)
    first = next(blocks, (done, []))
    count = partial(_count_lines, source) if source and source.is_file() else None  # a pipe is read once
    progress = _Progress(say, count, done)
    try:
        with _opened(output, "a" if done else "w") as out:
            for number, block in chain([first], blocks):
                out.writelines(block)
                out.flush()
                if note:
                    note.write(number)
                progress.tell(number)
    except KeyboardInterrupt:
        if note:
            say(f"finished lines are in {output}; {again} goes on after them")
        raise
    if note:
        note.remove()


def score_files(
    translator: Translator, test: Sequence[Path], tokens: bool = False, as_json: bool = False
) -> Iterator[str]:
    """A line for each pair: the log probability, and with `tokens` each subword and its own. Errors: `UserError`.

    as_json: a JSON object for each pair, subwords included.
    """
    count_pairs(test)
    pairs = list(read_pairs(test, translator.bundle.config.data.columns))
    for pair in pairs:
        if pair.fault:
            raise UserError(f"{test[0]}:{pair.line}: {pair.fault}. Mend the line, or leave it out on both sides.")
    found = score_pairs(translator, [pair.source for pair in pairs], [pair.target for pair in pairs])
    for pair, scored in zip(pairs, found, strict=True):
        if as_json:
            said = {"line": pair.line, "source": pair.source, "target": pair.target, "score": sum(scored.log_probs)}
            yield json.dumps({**said, **scored._asdict()}, ensure_ascii=False)
        else:
            each = [f"{token} {value:.4f}" for token, value in zip(scored.tokens, scored.log_probs, strict=True)]
            yield "\t".join([f"{sum(scored.log_probs):.4f}", *(each if tokens else [])])


def evaluate_files(
    translator: Translator,
    test: Sequence[Path],
    options: SearchOptions | None = None,
    tokenized: bool = False,
    tokenize: str = "13a",
    output: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Scores:
    """Translates the source side and scores it against the target side. Errors: `UserError`.

    say: hears of progress, when there is much to translate, and of lines too long for the model.
    """
    bleu_metric(tokenized, tokenize)  # a mistake shows before the work
    if output:
        check_output(output, *test)
    if count_pairs(test) == 0:
        raise UserError(f"{test[0]}: the file is empty.")
    pairs = list(read_pairs(test, translator.bundle.config.data.columns))
    for pair in pairs:
        if pair.fault:
            raise UserError(f"{test[0]}:{pair.line}: {pair.fault}. Mend the line: every test sentence counts.")
    numbered = ((pair.line, pair.source) for pair in pairs)
    options = (options or SearchOptions()).replace({"return_scores": False})
    progress, translations = _Progress(say, lambda: len(pairs)), []
    for _, block in _translated(translator, numbered, test[0], options, lambda _, found: [found.text], say, ()):
        translations += block
        progress.tell(len(translations))
    if output:
        with _opened(output) as out:
            out.writelines(line + "\n" for line in translations)
    return score(translations, [pair.target for pair in pairs], tokenized, tokenize)


class _Progress:
    """Lines done, their rate and the time left, told when the work is not short.

    count: how many there are, asked once, if that can be known; `done` at the beginning does not count for the rate.
    """

    def __init__(self, say: Callable[[str], None], count: Callable[[], int] | None = None, done: int = 0):
        self._say, self._count, self._done, self._begun = say, count, done, time.monotonic()

    @cached_property
    def _of(self) -> int | None:
        return self._count() if self._count else None

    def tell(self, number: int) -> None:
        seconds = time.monotonic() - self._begun
        if seconds <= _SILENT_SECONDS:
            return
        now = max(1, number - self._done)
        rate = f"{now / seconds:,.0f} a second"
        if self._of is None:
            self._say(f"{number:,} lines  {rate}")
        else:
            remaining = time_left((self._of - number) * seconds / now)
            self._say(f"{number:,}/{self._of:,} lines  {rate}  {remaining}")


def _count_lines(path: Path) -> int:
    return sum(1 for _ in read_lines(path))


def _translated(
    translator: Translator,
    numbered: Iterator[tuple[int, str]],
    where: Path,
    options: SearchOptions,
    form: Callable[[int, Translation], list[str]],
    say: Callable[[str], None],
    force: Sequence[str],
) -> Iterator[tuple[int, list[str]]]:
    """Lines to write, in blocks, with the number of the last line that was read for them."""
    count = _FEWEST_LINES
    while chunk := list(islice(numbered, count)):
        count, block = min(2 * count, _MOST_LINES), []
        translations = translator.translate([line for _, line in chunk], options, force_words=list(force))
        for (number, _), translation in zip(chunk, translations, strict=True):
            if translation.pieces > 1:
                say(f"{where}:{number}: long, translated in {translation.pieces} pieces")
            block += form(number, translation)
        yield chunk[-1][0], block


def _as_json(number: int, translation: Translation) -> list[str]:
    said = {
        "line": number,
        "source": translation.source,
        "text": translation.text,
        "score": translation.score,
        "tokens": translation.tokens,
        "log_probs": translation.log_probs,
        "hypotheses": [{"text": text, "score": score} for text, score in translation.hypotheses],
        "pieces": translation.pieces,
    }
    return [json.dumps(said, ensure_ascii=False) + "\n"]


def _as_text(number: int, translation: Translation, hypotheses: int, scores: bool) -> list[str]:
    if hypotheses > 1:
        found = translation.hypotheses or [("", 0.0)]
        return [f"{number - 1} ||| {text} ||| {value:.4f}\n" for text, value in found]
    return [f"{translation.score:.4f}\t{translation.text}\n" if scores else f"{translation.text}\n"]


@contextmanager
def _opened(path: Path | None, mode: Literal["a", "w"] = "w") -> Iterator[TextIO]:
    try:
        if path is None:
            if isinstance(sys.stdout, TextIOWrapper):
                sys.stdout.reconfigure(encoding="utf-8")
            yield sys.stdout
            sys.stdout.flush()
        else:
            if mode == "w":  # a note of what stood there before says nothing of what comes now
                note_beside(path).unlink(missing_ok=True)
            with open(path, mode, encoding="utf-8") as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        if path is None and error.errno == errno.EBADF:
            raise UserError("standard output is closed: give -o FILE.") from error
        raise cannot_write(path or _STANDARD_OUTPUT, error) from error
