"""Preparation of one corpus: its blocks are checked and tokenised, duplicates removed, and all drops reported."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import numpy as np

from allyouneed.data.blocks import PreparedBlock, in_blocks
from allyouneed.data.cleaning.histograms import Histograms
from allyouneed.data.cleaning.listing import Listing
from allyouneed.data.cleaning.registry import CHECKS
from allyouneed.data.corpora import Corpus
from allyouneed.data.corpus import CorpusReport
from allyouneed.data.duplicates import SeenBands, SeenPairs
from allyouneed.data.files.formats import RawPair
from allyouneed.data.tokens.token_ids import TokenIds
from allyouneed.data.tokens.tokenizer import UNK

PrepareBlocks: TypeAlias = Callable[[Iterable[list[RawPair]]], Iterator[PreparedBlock]]


class CorpusEncoder:
    """Encodes one corpus, collects its statistics and lists dropped pairs.

    Args:
        corpus: The corpus.
        prepare_blocks: Applies `prepare_block` to blocks, and yields the results in the same order.
        listing: Lists dropped and repaired pairs.
        seen: The pairs so far, which are duplicates if they occur again; None to keep duplicates.
        near: The pairs so far, for near duplicates; None to keep near duplicates.
    """

    def __init__(
        self,
        corpus: Corpus,
        prepare_blocks: PrepareBlocks,
        listing: Listing,
        seen: SeenPairs | None = None,
        near: SeenBands | None = None,
    ):
        self.corpus, self.prepare_blocks, self.listing = corpus, prepare_blocks, listing
        self.seen, self.near = seen, near
        self.report = CorpusReport([str(path) for path in corpus.paths])
        self.unknown = 0, 0  # tokens of source and target that the vocabulary lacks
        self._histograms = Histograms()

    def encoded(
        self, raw: Iterable[RawPair], texts: list[tuple[str, str]] | None = None
    ) -> Iterator[tuple[TokenIds, TokenIds]]:
        """Yield the token ids of pairs that pass all checks, block by block.

        Args:
            raw: Pairs of the corpus, as in its files.
            texts: Receives the texts of these pairs, if given.
        """
        waiting: deque[list[RawPair]] = deque()
        for block in self.prepare_blocks(_remembered(in_blocks(map(self.corpus.presented, raw)), waiting)):
            yield self._accepted(self._repaired(waiting.popleft(), block), block, texts)
        self.report.histograms = self._histograms.as_dict()

    def _accepted(
        self, pairs: list[RawPair], block: PreparedBlock, texts: list[tuple[str, str]] | None
    ) -> tuple[TokenIds, TokenIds]:
        """Return the token ids of the pairs to keep, and report the others."""
        reasons = self._reasons(block)
        for pair, reason in zip(pairs, reasons, strict=True):
            self.drops(pair, reason)
        is_kept = np.array([reason is None for reason in reasons], dtype=bool)
        self._histograms.add(block.lengths, is_kept)
        source, target = block.source.selected(is_kept), block.target.selected(is_kept)
        report = self.report
        report.pairs += len(pairs)
        report.kept += len(source.lengths)
        report.source_tokens += len(source.ids)
        report.target_tokens += len(target.ids)
        if len(source.lengths):
            report.longest_source = max(report.longest_source, int(source.lengths.max()) + 1)
        source_unknown, target_unknown = (int(np.count_nonzero(side.ids == UNK)) for side in (source, target))
        self.unknown = self.unknown[0] + source_unknown, self.unknown[1] + target_unknown
        if texts is not None:
            texts += [(pairs[index].source, pairs[index].target) for index in np.flatnonzero(is_kept)]
        return source, target

    def _repaired(self, pairs: list[RawPair], block: PreparedBlock) -> list[RawPair]:
        """Return the pairs as they are after repairs, which are reported."""
        pairs = list(pairs)
        for index, repair in block.repairs.items():
            for check in repair.checks:
                self.report.repair(pairs[index], CHECKS[check].finds)
            self.listing.repair(self.report.files[0], pairs[index], repair)
            pairs[index] = repair.pair
        return pairs

    def _reasons(self, block: PreparedBlock) -> list[str | None]:
        """Return why each pair is dropped, or None: a duplicate before what else is wrong with a usable text."""
        reasons = list(block.faults)
        if self.seen is not None:
            usable = np.flatnonzero(block.is_text)
            for index, duplicate in zip(usable, self.seen.duplicates(block.keys[usable]), strict=True):
                reasons[index] = duplicate or reasons[index]
        if self.near is not None and block.bands is not None:
            usable = np.array([index for index, reason in enumerate(reasons) if reason is None], dtype=np.int64)
            for index in usable[self.near.near_duplicates(block.bands[usable])]:
                reasons[index] = CHECKS["near_duplicates"].finds
        return reasons

    def drops(self, pair: RawPair, reason: str | None) -> bool:
        """Report a pair as dropped if there is a reason; return whether there is."""
        if reason is None:
            return False
        self.report.drop(pair, reason)
        self.listing.drop(self.report.files[0], pair, reason)
        return True


def _remembered(blocks: Iterable[list[RawPair]], waiting: deque[list[RawPair]]) -> Iterator[list[RawPair]]:
    """Yield blocks, and append them to those that wait for their results."""
    for block in blocks:
        waiting.append(block)
        yield block
