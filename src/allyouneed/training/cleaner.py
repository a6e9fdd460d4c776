"""Cleaning of corpora one after the other: reports, lists, and a text of the pairs that are left for each direction."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np

from allyouneed.data.blocks import in_blocks
from allyouneed.data.cleaning.block import CleaningRules
from allyouneed.data.cleaning.checked_block import CheckedBlock, check_block
from allyouneed.data.cleaning.histograms import SCORES, Histograms
from allyouneed.data.cleaning.listing import Listing
from allyouneed.data.cleaning.registry import CHECKS, UNLIKELY
from allyouneed.data.corpora import Corpus
from allyouneed.data.corpus import CorpusReport
from allyouneed.data.directions import Direction, code_of
from allyouneed.data.duplicates import SeenBands, SeenPairs
from allyouneed.data.files.formats import RawPair
from allyouneed.training.likelihood import Score

_BATCH = 1000  # pairs scored at a time


def cleaned_name(direction: Direction, directions: Sequence[Direction]) -> str:
    """Return the name of the file with the cleaned text of a direction."""
    return "cleaned.tsv" if len(directions) == 1 else f"cleaned.{'-'.join(direction)}.tsv"


def check_function(corpus: Corpus, rules: CleaningRules) -> Callable[[list[RawPair]], CheckedBlock]:
    """Return the function that checks blocks of a corpus, for worker processes."""
    code = code_of(corpus.direction[1]) if corpus.direction else ""
    return partial(check_block, rules=replace(rules, prefix=""), code=code)


@dataclass
class _Found:
    """What is known of a corpus: its report, and the scores of the pairs that its checks keep."""

    direction: Direction
    report: CorpusReport
    histograms: Histograms = field(default_factory=Histograms)
    scores: list[np.ndarray] = field(default_factory=list)


class Cleaner:
    """Cleans corpora, and remembers pairs, scores and reports.

    Args:
        folder: Folder of the cleaned texts.
        directions: All directions.
        listing: Lists dropped and repaired pairs.
        scores: Scores pairs of each direction; empty to score none.
        unique: Whether duplicates are dropped.
    """

    def __init__(
        self,
        folder: Path,
        directions: Sequence[Direction],
        listing: Listing,
        scores: Mapping[Direction, Score],
        unique: bool,
    ):
        self._paths = {each: folder / cleaned_name(each, directions) for each in directions}
        self._listing, self._scores = listing, scores
        self._seen, self._near = SeenPairs() if unique else None, SeenBands()
        self._found: list[_Found] = []
        self._texts: dict[Direction, TextIO] = {}

    @property
    def reports(self) -> list[CorpusReport]:
        """Statistics of the corpora so far."""
        return [each.report for each in self._found]

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Open the cleaned texts, or with scores, temporary ones with the line and file of each pair."""
        with ExitStack() as stack:
            for direction, path in self._paths.items():
                self._texts[direction] = stack.enter_context(_writing(_scored(path) if self._scores else path))
            yield

    def add(
        self,
        corpus: Corpus,
        pairs: Iterable[RawPair],
        check_blocks: Callable[[Iterable[list[RawPair]]], Iterator[CheckedBlock]],
    ) -> None:
        """Clean a corpus and write the pairs that are kept.

        Args:
            corpus: The corpus.
            pairs: Its pairs.
            check_blocks: Applies `check_function` to blocks, and yields the results in the same order.
        """
        if self._found and self._seen:
            self._seen.next_corpus()
        direction = corpus.direction or next(iter(self._paths))
        found = _Found(direction, CorpusReport([str(path) for path in corpus.paths]))
        self._found.append(found)
        waiting: deque[list[RawPair]] = deque()

        def blocks() -> Iterator[list[RawPair]]:
            for block in in_blocks(pairs):
                waiting.append(block)
                yield block

        for checked in check_blocks(blocks()):
            self._add_block(found, waiting.popleft(), checked)
        found.report.histograms = found.histograms.as_dict()

    def _add_block(self, found: _Found, block: list[RawPair], checked: CheckedBlock) -> None:
        report, cleaned = found.report, checked.cleaned
        for index, repair in cleaned.repairs.items():
            for check in repair.checks:
                report.repair(block[index], CHECKS[check].finds)
            self._listing.repair(report.files[0], block[index], repair)
        reasons = self._reasons(checked)
        for pair, reason in zip(cleaned.pairs, reasons, strict=True):
            if reason is not None:
                self._drop(report, pair, reason)
        kept = [pair for pair, reason in zip(cleaned.pairs, reasons, strict=True) if reason is None]
        found.histograms.add(cleaned.lengths, np.array([reason is None for reason in reasons], dtype=bool))
        report.pairs += len(block)
        report.kept += len(kept)
        self._keep(found, kept)

    def _keep(self, found: _Found, pairs: list[RawPair]) -> None:
        text = self._texts[found.direction]
        texts = [[" ".join(text.split()) for text in (pair.source, pair.target)] for pair in pairs]
        if not self._scores:
            text.writelines(f"{source}\t{target}\n" for source, target in texts)
            return
        origins = [f"{pair.line}\t{' '.join(pair.file.split())}" for pair in pairs]
        rows = zip(texts, origins, strict=True)
        text.writelines(f"{source}\t{target}\t{origin}\n" for (source, target), origin in rows)
        for start in range(0, len(texts), _BATCH):
            part = texts[start : start + _BATCH]
            score = self._scores[found.direction]
            found.scores.append(score([source for source, _ in part], [target for _, target in part]))

    def drop_least_likely(self, percent: float) -> None:
        """Write the pairs without the given share of each direction that has the lowest scores."""
        for direction, path in self._paths.items():
            with open(_scored(path), encoding="utf-8", newline="\n") as lines, _writing(path) as cleaned:
                corpora = [each for each in self._found if each.direction == direction]
                scores = [np.concatenate([np.zeros(0), *each.scores]) for each in corpora]
                order = np.argsort(np.concatenate([np.zeros(0), *scores]), kind="stable")
                is_dropped = np.zeros(len(order), dtype=bool)
                is_dropped[order[: int(len(order) * percent / 100)]] = True
                starts = np.cumsum([0, *map(len, scores)])
                for found, its, start in zip(corpora, scores, starts, strict=False):
                    self._write_likely(found, lines, is_dropped[start : start + len(its)], cleaned)
                    found.histograms.add_values(SCORES, its, ~is_dropped[start : start + len(its)])
                    found.report.histograms = found.histograms.as_dict()
            _scored(path).unlink()

    def _write_likely(self, found: _Found, lines: Iterator[str], is_dropped: np.ndarray, cleaned: TextIO) -> None:
        for drops, line in zip(is_dropped, lines, strict=False):
            source, target, number, file = line.removesuffix("\n").split("\t")
            if drops:
                self._drop(found.report, RawPair(int(number), source, target, file=file), UNLIKELY)
                found.report.kept -= 1
            else:
                cleaned.write(f"{source}\t{target}\n")

    def _drop(self, report: CorpusReport, pair: RawPair, reason: str) -> None:
        report.drop(pair, reason)
        self._listing.drop(report.files[0], pair, reason)

    def _reasons(self, checked: CheckedBlock) -> list[str | None]:
        reasons = list(checked.reasons)
        if self._seen is not None:
            usable = _without(reasons)
            for index, duplicate in zip(usable, self._seen.duplicates(checked.keys[usable]), strict=True):
                reasons[index] = duplicate
        if checked.cleaned.bands is not None:
            usable = _without(reasons)
            for index in usable[self._near.near_duplicates(checked.cleaned.bands[usable])]:
                reasons[index] = CHECKS["near_duplicates"].finds
        return reasons


def _without(reasons: Sequence[str | None]) -> np.ndarray:
    return np.array([index for index, reason in enumerate(reasons) if reason is None], dtype=np.int64)


def _scored(path: Path) -> Path:
    return path.with_name(f"scored.{path.name}")


def _writing(path: Path) -> TextIO:
    return open(path, "w", encoding="utf-8", errors="replace", newline="\n")  # JSON may contain lone surrogates
