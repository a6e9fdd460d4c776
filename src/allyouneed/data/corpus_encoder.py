"""Preparation of one corpus: its blocks are checked and tokenised, duplicates removed, and all drops reported."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeAlias

import numpy as np

from allyouneed.data.blocks import PreparedBlock, in_blocks
from allyouneed.data.corpora import Corpus
from allyouneed.data.corpus import CorpusReport
from allyouneed.data.duplicates import SeenPairs
from allyouneed.data.files.formats import RawPair
from allyouneed.data.tokens.token_ids import TokenIds
from allyouneed.data.tokens.tokenizer import UNK

PrepareBlocks: TypeAlias = Callable[[Iterable[list[RawPair]]], Iterator[PreparedBlock]]


class CorpusEncoder:
    """Encodes one corpus, collects its statistics and lists dropped pairs.

    Args:
        corpus: The corpus.
        prepare_blocks: Applies `prepare_block` to blocks, and yields the results in the same order.
        dropped: File in which dropped pairs are listed.
        seen: The pairs so far, which are duplicates if they occur again; None to keep duplicates.
    """

    def __init__(self, corpus: Corpus, prepare_blocks: PrepareBlocks, dropped: TextIO, seen: SeenPairs | None = None):
        self.corpus, self.prepare_blocks, self.dropped, self.seen = corpus, prepare_blocks, dropped, seen
        self.report = CorpusReport([str(path) for path in corpus.paths])
        self.unknown = 0, 0  # tokens of source and target that the vocabulary lacks

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
            yield self._accepted(waiting.popleft(), block, texts)

    def _accepted(
        self, pairs: list[RawPair], block: PreparedBlock, texts: list[tuple[str, str]] | None
    ) -> tuple[TokenIds, TokenIds]:
        """Return the token ids of the pairs to keep, and report the others."""
        reasons = self._reasons(block)
        for pair, reason in zip(pairs, reasons, strict=True):
            self.drops(pair, reason)
        is_kept = np.array([reason is None for reason in reasons], dtype=bool)
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

    def _reasons(self, block: PreparedBlock) -> list[str | None]:
        """Return why each pair is dropped, or None: a duplicate before what else is wrong with a usable text."""
        if self.seen is None:
            return block.faults
        reasons = list(block.faults)
        usable = np.flatnonzero(block.is_text)
        for index, duplicate in zip(usable, self.seen.duplicates(block.keys[usable]), strict=True):
            reasons[index] = duplicate or reasons[index]
        return reasons

    def drops(self, pair: RawPair, reason: str | None) -> bool:
        """Report a pair as dropped if there is a reason; return whether there is."""
        if reason is None:
            return False
        self.report.drop(pair, reason)
        cells = (pair.file or self.report.files[0], str(pair.line), reason, pair.source, pair.target)
        self.dropped.write("\t".join(cell.replace("\t", " ") for cell in cells) + "\n")
        return True


def _remembered(blocks: Iterable[list[RawPair]], waiting: deque[list[RawPair]]) -> Iterator[list[RawPair]]:
    """Yield blocks, and append them to those that wait for their results."""
    for block in blocks:
        waiting.append(block)
        yield block
