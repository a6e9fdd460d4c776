"""Translation of numbered lines in blocks, and reports of its progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import TypeAlias

from allyouneed.progress import time_left
from allyouneed.translation.line_blocks import Pace, blocks_of_file, blocks_of_stream
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.protection.letters import has_letters
from allyouneed.translation.requirements import Requirements
from allyouneed.translation.results import Translation
from allyouneed.translation.sentence import TranslatedSentence
from allyouneed.translation.sentence_translation import translate_sentences
from allyouneed.translation.translator import Translator

_SILENT_SECONDS = 10  # no progress output before this time
_REPORT_SECONDS = 2  # between reports
_MOST_PROBLEMS = 20  # that are reported of a line
Result = tuple[Translation, tuple[str, ...]]  # a translation and its problems
NumberedTranslation: TypeAlias = tuple[int, Translation]  # with the number of its line, from 1


def translate_lines(
    translator: Translator,
    lines: Iterator[tuple[int, str]],
    file: Path,
    options: SearchOptions,
    report: Callable[[str], None],
    force: Sequence[str] = (),
    pace: Pace | None = None,
    requirements: Requirements | None = None,
    done: int = 0,
) -> Iterator[tuple[int, list[NumberedTranslation]]]:
    """Translate lines in blocks: of increasing size, or of a bounded delay.

    Args:
        translator: The translator.
        lines: Pairs of line number, from 1, and text.
        file: Name of the file in reports.
        options: Search options.
        report: Called with a message for each line that is longer than the model allows.
        force: Words and phrases that every translation must contain.
        pace: For a stream, how long lines may wait for each other.
        requirements: What translations must contain; None for the bare model.
        done: Number of lines of the file before the first.

    Yields:
        For each block, the number of its last line, and pairs of line number and translation.
    """
    for block in blocks_of_stream(lines, pace) if pace else blocks_of_file(lines, done):
        yield block[-1][0], translate_block(translator, block, file, options, report, force, requirements)


def translate_block(
    translator: Translator,
    block: Sequence[tuple[int, str]],
    file: Path,
    options: SearchOptions,
    report: Callable[[str], None],
    force: Sequence[str] = (),
    requirements: Requirements | None = None,
) -> list[NumberedTranslation]:
    """Translate numbered lines together, and report their problems; see `translate_lines`."""
    texts = [line for _, line in block]
    if requirements is None:
        found = [_with_problems(each) for each in translator.translate(texts, options, force_words=force)]
    else:
        found = _with_requirements(translator, texts, options, requirements, force)
    numbered = []
    for (number, _), (translation, problems) in zip(block, found, strict=True):
        numbered.append((number, translation))
        for problem in problems[:_MOST_PROBLEMS]:
            report(f"{file}:{number}: {problem}")
        if (more := len(problems) - _MOST_PROBLEMS) > 0:
            report(f"{file}:{number}: {more:,} more problems")
        if translation.pieces > 1:
            report(f"{file}:{number}: too long, translated in {translation.pieces} parts")
    return numbered


def _with_requirements(
    translator: Translator,
    texts: Sequence[str],
    options: SearchOptions,
    requirements: Requirements,
    force: Sequence[str],
) -> list[Result]:
    """Translate lines, and return each translation with its problems; lines without requirements are not changed."""
    sentences = [requirements.sentence(text) for text in texts]
    is_plain = [has_letters(each.text) and not (each.kept or each.terms) for each in sentences]
    plain = iter(translator.translate(list(compress(texts, is_plain)), options, force_words=force))
    others = [sentence for sentence, plain_one in zip(sentences, is_plain, strict=True) if not plain_one]
    protected = iter(translate_sentences(translator, others, options, force_words=force))
    return [
        _with_problems(next(plain)) if plain_one else _as_translation(translator, text, next(protected))
        for text, plain_one in zip(texts, is_plain, strict=True)
    ]


def _with_problems(translation: Translation) -> Result:
    return translation, translation.problems


def _as_translation(translator: Translator, source: str, found: TranslatedSentence) -> Result:
    pieces = int(bool(found.text.strip()))
    translation = Translation(source, found.text, found.score, [], [], list(found.hypotheses), pieces, translator)
    return translation, found.problems


class LineProgress:
    """Reports lines done, their rate and the time left, once the work has taken some seconds.

    Args:
        report: Called with each message.
        count: Counts all lines; called at most once, when there is something to report. None if the number is unknown.
        done: Lines that were done earlier, which do not count for the rate.
    """

    def __init__(self, report: Callable[[str], None], count: Callable[[], int] | None = None, done: int = 0):
        self.done = done
        self._report, self._count, self._start = report, count, time.monotonic()
        self._reported = -math.inf

    @cached_property
    def _total(self) -> int | None:
        return self._count() if self._count else None

    def update(self, number: int) -> None:
        """Update the progress to `number` lines done."""
        seconds = time.monotonic() - self._start
        if seconds <= _SILENT_SECONDS or seconds - self._reported < _REPORT_SECONDS:
            return
        self._reported = seconds
        translated = max(1, number - self.done)
        rate = f"{translated / seconds:,.0f} lines/s"
        if self._total is None:
            self._report(f"{number:,} lines  {rate}")
        else:
            remaining = time_left((self._total - number) * seconds / translated)
            self._report(f"{number:,}/{self._total:,} lines  {rate}  {remaining}")
