"""Back-translation: a synthetic corpus from monolingual text (Sennrich et al. 2016).

A translator for the opposite direction translates text of the future target language. The targets are real text, the
sources are translations. A tag in front of each source marks it as synthetic (Caswell et al. 2019, "Tagged
Back-Translation"), so that the model learns from the targets without taking the sources for real text.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, StrictInt

from allyouneed.data.corpus import PairChecks
from allyouneed.data.files.lines import read_lines, read_text
from allyouneed.errors import UserError
from allyouneed.files import check_output
from allyouneed.translation.line_translation import LineProgress, translate_lines
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.results import Translation
from allyouneed.translation.resuming import ResumeNote
from allyouneed.translation.text_files import open_output
from allyouneed.translation.translator import Translator

TAG = "<bt>"
_VALID_TAG = re.compile(r"<[^<>\s]+>")
_COMPRESSED = {".gz", ".bz2", ".xz", ".zst"}


class _Facts(BaseModel):
    """What the note next to an unfinished corpus says besides the number of lines."""

    dropped: dict[str, Annotated[StrictInt, Field(ge=0, le=10**12)]]


@dataclass
class SyntheticCorpus:
    """A corpus made by back-translation.

    Attributes:
        path: TSV file of synthetic sources and real targets.
        languages: Codes of its source and target language, the direction to train.
        tag: Text in front of each source; empty for none.
        real_pairs: Number of pairs that the translator was trained on; 0 if unknown.
        lines: Number of monolingual lines.
        dropped: Number of lines without a pair, by reason.
    """

    path: Path
    languages: tuple[str, str]
    tag: str = TAG
    real_pairs: int = 0
    lines: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def pairs(self) -> int:
        """Number of pairs in the file."""
        return self.lines - self.dropped.total()

    def training_command(self) -> str:
        """Return the arguments of a command that trains on this corpus and on parallel text, each half of an epoch."""
        source, target = self.languages
        weight = max(1, round(self.pairs / self.real_pairs)) if self.real_pairs else 1
        parallel = f"--train TRAIN.{source} TRAIN.{target} --train {shlex.quote(str(self.path))} --weights {weight},1"
        return f"train --from {source} --to {target} {parallel} --valid VALID.{source} VALID.{target} --out RUN"

    def report_lines(self) -> Iterator[str]:
        """Yield the lines of a readable report."""
        yield f"{self.path}: {self.pairs:,} pairs from {self.lines:,} lines"
        for reason, count in self.dropped.most_common():
            yield f"  dropped {count:,}: {reason}"


def back_translate(
    translator: Translator,
    text: Path,
    output: Path | None = None,
    options: SearchOptions | None = None,
    *,
    tag: str | None = None,
    resume: bool = False,
    report: Callable[[str], None],
) -> SyntheticCorpus:
    """Translate monolingual text and write a TSV file with the translations as sources.

    Lines are dropped and counted if they are empty, repeat an earlier line, have more tokens than the longest sentence
    that the translator was trained on, or if their translation is empty, equal to the line, or much longer or shorter
    (`data.max_ratio`). An interrupted output can be resumed.

    Args:
        translator: Translates from the language of the text.
        text: One sentence per line.
        output: The TSV file. Default: next to the text, with the direction to train in its name.
        options: Search options; None means the bundle's settings.
        tag: Tag of the sources, in angle brackets; None for `<bt>`, empty for none.
        resume: Whether to continue an interrupted output.
        report: Called with messages about progress.

    Raises:
        UserError: If the tag is not valid, a file cannot be read or written, or the output cannot be resumed.
    """
    tag = TAG if tag is None else tag
    if tag and not _VALID_TAG.fullmatch(tag):
        raise UserError(f"tag {tag!r}: give one word in angle brackets, for example {TAG}.")
    languages = translator.bundle.languages[::-1]
    real_pairs = int(translator.bundle.notes.get("training pairs", 0))
    corpus = SyntheticCorpus(output or default_output(text, languages), languages, tag, real_pairs)
    check_output(corpus.path, text)
    next(read_lines(text), None)  # a missing file is reported before the model is read
    options = (options or SearchOptions()).replace({"return_scores": False, "num_hypotheses": 1})
    note = ResumeNote.create(translator, text, corpus.path, {**options.model_dump(), "tag": tag})
    done = note.truncate_output() if resume else 0
    if done:
        corpus.dropped.update(note.facts(_Facts).dropped)
    checks = _LineChecks(translator)
    lines = checks.usable(text, corpus, done)
    blocks = translate_lines(translator, lines, text, options, report)
    first = next(blocks, (done, []))  # an existing output is unchanged until this is done
    progress = LineProgress(report, partial(_count_lines, text), done)
    try:
        with open_output(corpus.path, "a" if done else "w") as out:
            for number, block in chain([first], blocks):
                out.writelines(checks.rows(block, corpus))
                note.write(out, number, dropped=corpus.dropped)
                progress.update(number)
    except KeyboardInterrupt:
        report(f"finished pairs are in {corpus.path}; the same command with --resume continues after them")
        raise
    note.remove()
    if not corpus.pairs:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in corpus.dropped.items())
        raise UserError(f"{text}: no usable lines ({reasons or 'the file is empty'}).")
    return corpus


def default_output(text: Path, languages: tuple[str, str]) -> Path:
    """Return the path of the corpus next to the text: `mono.de-en.tsv` for `mono.en.gz`."""
    name = text.with_suffix("") if text.suffix in _COMPRESSED else text
    return name.with_suffix(f".{'-'.join(languages)}.tsv")


class _LineChecks:
    """Checks of lines before their translation, and of the pairs after it."""

    def __init__(self, translator: Translator):
        data = translator.bundle.config.data
        self.tokenizer, self.longest = translator.tokenizer, translator.longest_source - 1
        self.lengths = PairChecks(data.max_length, data.max_ratio)
        self.seen: set[bytes] = set()

    def usable(self, text: Path, corpus: SyntheticCorpus, done: int) -> Iterator[tuple[int, str]]:
        """Yield the numbered lines to translate after the first `done`, and count the others."""
        for corpus.lines, line in enumerate(map(_clean, read_text(text)), start=1):
            fault = self._fault(line)
            if corpus.lines <= done:
                continue
            if fault:
                corpus.dropped[fault] += 1
            else:
                yield corpus.lines, line

    def rows(self, block: list[tuple[int, Translation]], corpus: SyntheticCorpus) -> Iterator[str]:
        """Yield the rows of usable pairs, and count the others."""
        for _, translation in block:
            source, target = _clean(translation.text), translation.source
            if fault := self._pair_fault(source, translation):
                corpus.dropped[fault] += 1
            else:
                yield f"{corpus.tag} {source}\t{target}\n".lstrip()

    def _fault(self, line: str) -> str | None:
        if not line:
            return "empty"
        key = hashlib.blake2b(line.encode(), digest_size=8).digest()
        if key in self.seen:
            return "duplicate"
        self.seen.add(key)
        if len(self.tokenizer.encode(line)) > self.longest:
            return f"too long (over {self.longest} tokens, the longest sentence in training)"
        return None

    def _pair_fault(self, source: str, translation: Translation) -> str | None:
        if not source:
            return "empty translation"
        if "\ufffd" in source and "\ufffd" not in translation.source:
            return "bytes that are no character in the translation"
        if source.casefold() == translation.source.casefold():
            return "copied, not translated"
        return self.lengths.length_fault(len(translation.tokens), len(self.tokenizer.encode(translation.source)))


def _clean(line: str) -> str:
    """Return a line as a cell of a TSV file."""
    return " ".join(line.split("\t")).strip()


def _count_lines(path: Path) -> int:
    return sum(1 for _ in read_lines(path))
