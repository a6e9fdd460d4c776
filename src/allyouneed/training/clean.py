"""Cleaning of a corpus without training: a report, and the cleaned text on request.

With a translation model, the least likely pairs are dropped too; with a model of each direction, those on which the
two agree least (dual conditional cross-entropy, Junczys-Dowmunt 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

import numpy as np

from allyouneed.config import Config
from allyouneed.data.blocks import in_blocks
from allyouneed.data.cleaning.block import CleanedBlock, CleaningRules, clean_block
from allyouneed.data.cleaning.histograms import SCORES, Histograms
from allyouneed.data.cleaning.listing import Listing, open_listing
from allyouneed.data.cleaning.registry import CHECKS, UNLIKELY, chosen_checks
from allyouneed.data.corpora import Corpus, located, total
from allyouneed.data.corpus import CorpusReport, PairChecks, count_pairs
from allyouneed.data.duplicates import SeenBands, SeenPairs, pair_keys
from allyouneed.data.files.formats import RawPair, read_pairs, reading_notes
from allyouneed.data.inspection.inspect_text import inspect_text
from allyouneed.errors import UserError
from allyouneed.files import new_folder
from allyouneed.languages import describe_language, language_code, primary
from allyouneed.progress import RateLines
from allyouneed.training.reporting.report import write_report
from allyouneed.translation.scoring import score_pairs
from allyouneed.translation.translator import Translator

CLEANED, DROPPED, REPAIRED, REPORT = "cleaned.tsv", "dropped.tsv", "repaired.tsv", "report.html"
_SCORED = "scored.tsv"  # pairs with their lines and files, before the least likely ones are dropped
_OF_TOKENS = ("source_tokens", "target_tokens", "longest_source")
_BATCH = 1000  # pairs scored at a time


@dataclass(frozen=True)
class CleaningRequest:
    """What to clean, and how.

    Attributes:
        corpora: The text.
        languages: Source and target language: codes or names.
        out: Folder for the cleaned text, the lists and the report; None to show the report alone.
        settings: Overrides `SECTION.NAME=VALUE`; `data.cleaning` is `web` by default.
        model: RUN or bundle that translates in the direction of the corpus.
        backward_model: RUN or bundle of the opposite direction.
        least_likely: Percent of the remaining pairs that are dropped as the least likely, with a model.
    """

    corpora: Sequence[Corpus]
    languages: tuple[str, str]
    out: Path | None = None
    settings: Sequence[str] = ()
    model: Path | None = None
    backward_model: Path | None = None
    least_likely: float = 5.0


def clean(request: CleaningRequest, say: Callable[[str], None]) -> CorpusReport:
    """Clean corpora and report on them.

    Args:
        request: What to clean, and how.
        say: Receives progress messages and the report.

    Returns:
        The statistics of all corpora.

    Raises:
        UserError: If a file cannot be read or written, a setting or a language is invalid, or a model is of another
            direction.
    """
    languages = language_code(request.languages[0]), language_code(request.languages[1])
    data = Config().override(["data.cleaning=web", "data.faults=warn", *request.settings]).data
    chosen_checks(data.cleaning)
    score = _scorer(request, languages)
    with ExitStack() as stack:
        if request.out is None:
            folder = Path(stack.enter_context(TemporaryDirectory()))
        else:
            folder = stack.enter_context(new_folder(request.out))
        corpora = located(request.corpora, data.columns, languages)
        for note in dict.fromkeys(note for each in corpora for note in reading_notes(each.paths, each.columns)):
            say(note)
        counts = [count_pairs(corpus.paths, corpus.columns) for corpus in corpora]
        inspection = inspect_text(corpora, (), counts, data, languages)
        listing = stack.enter_context(open_listing(folder / DROPPED, folder / REPAIRED))
        cleaner = _Cleaner(listing, score, "duplicates" in inspection.rules[0].checks)
        progress = RateLines(say, "cleaning the text", sum(counts), "pairs")
        written = folder / (_SCORED if score else CLEANED)
        with _writing(written) as cleaned:
            for corpus, rules, findings in zip(corpora, inspection.rules, inspection.train, strict=True):
                cleaner.add(corpus, rules, progress.counted(read_pairs(corpus.paths, corpus.columns)), cleaned)
                cleaner.reports[-1].findings = [finding.as_dict() for finding in findings]
        if score:
            cleaner.drop_least_likely(written, folder / CLEANED, request.least_likely)
        for report in cleaner.reports:
            for line in report.lines():
                say(line)
        whole = total(cleaner.reports)
        if request.out is not None:
            title = f"{describe_language(languages[0])} → {describe_language(languages[1])}"
            _write_page(folder / REPORT, title, cleaner.reports, whole)
    if request.out is not None:
        say(f"cleaned text: {request.out / CLEANED}\nreport: {request.out / REPORT}")
    return whole


def _scorer(
    request: CleaningRequest, languages: tuple[str, str]
) -> Callable[[list[str], list[str]], np.ndarray] | None:
    """Return a function that scores pairs with the models, or None without models."""
    if request.model is None:
        if request.backward_model is not None:
            raise UserError("--backward-model needs --model, the translator in the direction of the corpus.")
        return None
    forward = _load(request.model, languages)
    backward = None if request.backward_model is None else _load(request.backward_model, languages[::-1])

    def score(sources: list[str], targets: list[str]) -> np.ndarray:
        found = _per_token(forward, sources, targets)
        if backward is None:
            return found
        opposite = _per_token(backward, targets, sources)
        return (found + opposite) / 2 - np.abs(found - opposite)

    return score


def _load(path: Path, languages: Sequence[str]) -> Translator:
    translator = Translator.load(path)
    found = translator.bundle.languages
    if [primary(code) for code in found] != [primary(code) for code in languages]:
        raise UserError(
            f"{path} translates {found[0]} → {found[1]}, but {languages[0]} → {languages[1]} is needed. Give a model "
            "of this direction."
        )
    return translator


def _per_token(translator: Translator, sources: list[str], targets: list[str]) -> np.ndarray:
    """Return the log probability of each target given its source, per token, shape [pairs]."""
    return np.array([float(np.mean(each.log_probs)) for each in score_pairs(translator, sources, targets)])


class _Cleaner:
    """Cleans corpora one after the other, and remembers pairs, scores and reports."""

    def __init__(self, listing: Listing, score: Callable[[list[str], list[str]], np.ndarray] | None, unique: bool):
        self.listing, self.score = listing, score
        self.seen, self.near = SeenPairs() if unique else None, SeenBands()
        self.reports: list[CorpusReport] = []
        self.histograms: list[Histograms] = []
        self.scores: list[np.ndarray] = []
        self.kept: list[int] = []  # of each corpus, before the least likely pairs are dropped

    def add(self, corpus: Corpus, rules: CleaningRules, pairs: Iterator[RawPair], cleaned: TextIO) -> None:
        """Clean a corpus and write the pairs that are kept."""
        if self.reports and self.seen:
            self.seen.next_corpus()
        report, histograms = CorpusReport([str(path) for path in corpus.paths]), Histograms()
        self.reports.append(report)
        self.histograms.append(histograms)
        for block in in_blocks(pairs):
            found = clean_block(block, rules)
            for index, repair in found.repairs.items():
                for check in repair.checks:
                    report.repair(block[index], CHECKS[check].finds)
                self.listing.repair(report.files[0], block[index], repair)
            reasons = self._reasons(found)
            kept = [pair for pair, reason in zip(found.pairs, reasons, strict=True) if reason is None]
            for pair, reason in zip(found.pairs, reasons, strict=True):
                if reason is not None:
                    self._drop(report, pair, reason)
            histograms.add(found.lengths, np.array([reason is None for reason in reasons], dtype=bool))
            report.pairs += len(block)
            report.kept += len(kept)
            self._keep(kept, cleaned)
        self.kept.append(report.kept)
        report.histograms = histograms.as_dict()

    def drop_least_likely(self, scored: Path, path: Path, percent: float) -> None:
        """Write the scored pairs without the given share of them that has the lowest scores."""
        scores = np.concatenate([np.zeros(0), *self.scores])
        is_dropped = np.zeros(len(scores), dtype=bool)
        is_dropped[np.argsort(scores, kind="stable")[: int(len(scores) * percent / 100)]] = True
        ends = np.cumsum(self.kept)
        with open(scored, encoding="utf-8", newline="\n") as lines, _writing(path) as cleaned:
            for index, line in enumerate(lines):
                source, target, number, file = line.removesuffix("\n").split("\t")
                if is_dropped[index]:
                    report = self.reports[int(np.searchsorted(ends, index, side="right"))]
                    self._drop(report, RawPair(int(number), source, target, file=file), UNLIKELY)
                    report.kept -= 1
                else:
                    cleaned.write(f"{source}\t{target}\n")
        scored.unlink()
        for report, histograms, start, end in zip(self.reports, self.histograms, ends - self.kept, ends, strict=True):
            histograms.add_values(SCORES, scores[start:end], ~is_dropped[start:end])
            report.histograms = histograms.as_dict()

    def _keep(self, pairs: list[RawPair], cleaned: TextIO) -> None:
        texts = [[" ".join(text.split()) for text in (pair.source, pair.target)] for pair in pairs]
        if not self.score:
            cleaned.writelines(f"{source}\t{target}\n" for source, target in texts)
        else:
            origins = [f"{pair.line}\t{' '.join(pair.file.split())}" for pair in pairs]
            rows = zip(texts, origins, strict=True)
            cleaned.writelines(f"{source}\t{target}\t{origin}\n" for (source, target), origin in rows)
            for start in range(0, len(texts), _BATCH):
                part = texts[start : start + _BATCH]
                self.scores.append(self.score([source for source, _ in part], [target for _, target in part]))

    def _drop(self, report: CorpusReport, pair: RawPair, reason: str) -> None:
        report.drop(pair, reason)
        self.listing.drop(report.files[0], pair, reason)

    def _reasons(self, found: CleanedBlock) -> list[str | None]:
        checks = PairChecks(1, 1)
        reasons = [checks.text_fault(pair) or reason for pair, reason in zip(found.pairs, found.reasons, strict=True)]
        if self.seen is not None:
            usable = _without(reasons)
            keys = pair_keys([found.pairs[index] for index in usable])
            for index, duplicate in zip(usable, self.seen.duplicates(keys), strict=True):
                reasons[index] = duplicate
        if found.bands is not None:
            usable = _without(reasons)
            for index in usable[self.near.near_duplicates(found.bands[usable])]:
                reasons[index] = CHECKS["near_duplicates"].finds
        return reasons


def _without(reasons: Sequence[str | None]) -> np.ndarray:
    return np.array([index for index, reason in enumerate(reasons) if reason is None], dtype=np.int64)


def _writing(path: Path) -> TextIO:
    return open(path, "w", encoding="utf-8", errors="replace", newline="\n")  # JSON may contain lone surrogates


def _write_page(path: Path, title: str, reports: list[CorpusReport], whole: CorpusReport) -> None:
    several = {f"train {number}": _facts(each) for number, each in enumerate(reports, 1)} if len(reports) > 1 else {}
    corpus = {**several, "train in all" if several else "train": _facts(whole)}
    write_report(path, title=title, log=[], corpus=corpus, settings={}, scores={}, status="cleaned", is_text=True)


def _facts(report: CorpusReport) -> dict[str, Any]:
    """Return what a report has without tokens, of which nothing is known before there is a tokenizer."""
    return {name: value for name, value in report.as_dict().items() if name not in _OF_TOKENS}
