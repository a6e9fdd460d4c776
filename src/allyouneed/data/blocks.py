"""Preparation of a block of sentence pairs: checks and tokenisation.

`prepare_block` is a pure function. `allyouneed train` calls it in its worker processes; Ray, Spark and the like can
call it on other machines (docs/howto/large-corpora.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from allyouneed.config import DataConfig
from allyouneed.data.cleaning.block import CleaningRules, Repair, clean_block, cleaning_rules
from allyouneed.data.corpus import PairChecks
from allyouneed.data.duplicates import pair_keys
from allyouneed.data.files.formats import RawPair
from allyouneed.data.inspection.overlap import ValidationOverlap
from allyouneed.data.tokens.token_ids import TokenIds, token_ids
from allyouneed.data.tokens.vocabulary import AnyTokenizer

_PAIRS, _CHARACTERS = 10_000, 4_000_000  # maximum size of a block; a longer pair forms its own block


@dataclass(frozen=True)
class PreparedBlock:
    """What `prepare_block` returns for a block of pairs.

    Attributes:
        faults: Why each pair is dropped, or None for pairs that are kept, unless they are duplicates.
        keys: Hash of each pair, by which duplicates are recognised, shape [pairs].
        is_text: Whether a pair's text is usable; others are no duplicates of anything, shape [pairs].
        repairs: Repaired pairs by index.
        bands: Hashes by which near duplicates are recognised, shape [pairs, bands]; None without that check.
        lengths: Characters of each source and target, shape [2, pairs].
        source: Source ids of each pair, without start and end tokens; none for pairs with a fault.
        target: Target ids of each pair.
    """

    faults: list[str | None]
    keys: np.ndarray
    is_text: np.ndarray
    repairs: dict[int, Repair]
    bands: np.ndarray | None
    lengths: np.ndarray
    source: TokenIds
    target: TokenIds

    @property
    def kept(self) -> int:
        """Number of pairs without a fault."""
        return self.faults.count(None)

    @property
    def dropped(self) -> Counter[str]:
        """Number of dropped pairs by reason."""
        return Counter(fault for fault in self.faults if fault)


def prepare_block(
    pairs: Sequence[RawPair],
    data: DataConfig,
    tokenizer: AnyTokenizer,
    excluded: ValidationOverlap | None = None,
    rules: CleaningRules | None = None,
) -> PreparedBlock:
    """Clean, check and tokenise a block of sentence pairs.

    The result depends on nothing but the arguments, and each pair's part of it on that pair alone. Duplicates are
    recognised later, when the blocks are written in their order.

    Args:
        pairs: The pairs, as `read_pairs` yields them. Sources of a multilingual model begin with its code.
        data: Settings of the data: cleaning, maximum length and ratio.
        tokenizer: Tokenizer of source and target.
        excluded: Validation pairs, which are dropped from the training text; None to drop none.
        rules: What the pairs are checked for, see `cleaning_rules`; None for the checks of `data` that need to know
            neither the languages nor the corpus.

    Returns:
        Token ids, and why pairs are dropped.
    """
    cleaned = clean_block(pairs, cleaning_rules(data, ("und", "und")) if rules is None else rules)
    pairs, checks = cleaned.pairs, PairChecks(data.max_length, data.max_ratio)
    faults = [checks.text_fault(pair) or reason for pair, reason in zip(pairs, cleaned.reasons, strict=True)]
    is_text = np.array([fault is None for fault in faults], dtype=bool)
    if excluded:
        for index, pair in enumerate(pairs):
            if faults[index] is None and excluded.has(pair):
                faults[index] = "in the validation text"
    usable = [index for index, fault in enumerate(faults) if fault is None]
    sources = tokenizer.encode_all([pairs[index].source for index in usable])
    targets = tokenizer.target.encode_all([pairs[index].target for index in usable])
    for index, source, target in zip(usable, sources, targets, strict=True):
        faults[index] = checks.length_fault(len(source), len(target))
    is_kept = np.array([fault is None for fault in faults], dtype=bool)
    sides = (_token_ids(side, usable, is_kept) for side in (sources, targets))
    return PreparedBlock(faults, pair_keys(pairs), is_text, cleaned.repairs, cleaned.bands, cleaned.lengths, *sides)


def _token_ids(encoded: Sequence[Sequence[int]], usable: Sequence[int], is_kept: np.ndarray) -> TokenIds:
    """Concatenate the ids of the pairs that are kept, of those that are usable."""
    kept = token_ids([ids for index, ids in zip(usable, encoded, strict=True) if is_kept[index]])
    lengths = np.zeros(len(is_kept), dtype=np.int64)
    lengths[is_kept] = kept.lengths
    return TokenIds(kept.ids, lengths)


def usable_text(pairs: Sequence[RawPair], data: DataConfig, rules: CleaningRules) -> list[RawPair]:
    """Return the pairs of a block whose text is usable, repaired; duplicates are kept."""
    cleaned, checks = clean_block(pairs, rules), PairChecks(data.max_length, data.max_ratio)
    found = zip(cleaned.pairs, cleaned.reasons, strict=True)
    return [pair for pair, reason in found if (checks.text_fault(pair) or reason) is None]


def in_blocks(pairs: Iterable[RawPair]) -> Iterator[list[RawPair]]:
    """Divide pairs into blocks of at most 10,000, and fewer if they are long."""
    block: list[RawPair] = []
    characters = 0
    for pair in pairs:
        block.append(pair)
        characters += len(pair.source) + len(pair.target)
        if len(block) == _PAIRS or characters >= _CHARACTERS:
            yield block
            block, characters = [], 0
    if block:
        yield block
