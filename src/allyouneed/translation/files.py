"""Whole files through a translator: line by line out, as they came in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TextIO

from allyouneed.data.corpus import count_pairs
from allyouneed.data.formats import read_pairs, read_text
from allyouneed.errors import UserError
from allyouneed.files import cannot_write
from allyouneed.translation.evaluate import Scores, score
from allyouneed.translation.translator import Translation, Translator

_LINES_AT_ONCE = 4000  # sorted by length among themselves; memory does not grow with the file


def translate_file(
    translator: Translator,
    source: Path | None,
    output: Path | None,
    options: dict,
    scores: bool,
    say: Callable[[str], None],
) -> None:
    """One line out for each line in. None: standard input, standard output. Long lines cut into pieces are reported.

    With `num_hypotheses` over 1, so many lines `id ||| text ||| score` for each line in. Errors: `UserError`.
    """
    lines = enumerate(read_text(source) if source else _standard_input(), start=1)
    with _opened(output) as out:
        while chunk := list(islice(lines, _LINES_AT_ONCE)):
            translations = translator.translate([line for _, line in chunk], **options)
            for (number, _), translation in zip(chunk, translations, strict=True):
                if translation.pieces > 1:
                    say(f"{source or 'standard input'}:{number}: long, translated in {translation.pieces} pieces")
                for line in _formatted(number, translation, options["num_hypotheses"], scores):
                    out.write(line + "\n")
            out.flush()


def evaluate_files(
    translator: Translator,
    test: Sequence[Path],
    beam_size: int | None = None,
    tokenized: bool = False,
    tokenize: str = "13a",
    output: Path | None = None,
) -> Scores:
    """Translates the source side and scores it against the target side. Errors: `UserError`."""
    if count_pairs(test) == 0:
        raise UserError(f"{test[0]}: the file is empty.")
    pairs = list(read_pairs(test, translator.bundle.config.data.columns))
    for pair in pairs:
        if pair.fault:
            raise UserError(f"{test[0]}:{pair.line}: {pair.fault}. Mend the line: every test sentence counts.")
    translations = [found.text for found in translator.translate([pair.source for pair in pairs], beam_size)]
    if output:
        with _opened(output) as out:
            out.writelines(line + "\n" for line in translations)
    try:
        return score(translations, [pair.target for pair in pairs], tokenized, tokenize)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise UserError(f"--tokenizer {tokenize}: {str(error).splitlines()[0]}") from error


def _formatted(number: int, translation: Translation, hypotheses: int, scores: bool) -> Iterable[str]:
    if hypotheses > 1:
        return [f"{number - 1} ||| {text} ||| {value:.4f}" for text, value in translation.hypotheses]
    return [f"{translation.score:.4f}\t{translation.text}" if scores else translation.text]


def _standard_input() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise UserError(f"standard input:{number}: not UTF-8. Convert it: iconv -f latin1 -t UTF-8.") from error


@contextmanager
def _opened(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        sys.stdout.reconfigure(encoding="utf-8")
        yield sys.stdout
        return
    try:
        with open(path, "w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise cannot_write(path, error) from error
