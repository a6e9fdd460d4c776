"""Checks of a block of pairs without a tokenizer: a pure function, which runs in worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allyouneed.data.cleaning.block import CleanedBlock, CleaningRules, clean_block
from allyouneed.data.corpus import PairChecks
from allyouneed.data.duplicates import pair_keys
from allyouneed.data.files.formats import RawPair


@dataclass(frozen=True)
class CheckedBlock:
    """What `check_block` found.

    Attributes:
        cleaned: The repaired pairs.
        reasons: Why each pair is dropped, or None, unless it is a duplicate.
        keys: Hash of each pair, by which duplicates are recognised, shape [pairs].
    """

    cleaned: CleanedBlock
    reasons: list[str | None]
    keys: np.ndarray


def check_block(pairs: Sequence[RawPair], rules: CleaningRules, code: str = "") -> CheckedBlock:
    """Repair and check a block of pairs.

    Args:
        pairs: The pairs, as in their files.
        rules: Checks to apply.
        code: Code of the target language, so that equal pairs of different directions are not duplicates.
    """
    cleaned, checks = clean_block(pairs, rules), PairChecks(1, 1)
    found = zip(cleaned.pairs, cleaned.reasons, strict=True)
    reasons = [checks.text_fault(pair) or reason for pair, reason in found]
    named = [pair._replace(source=f"{code} {pair.source}") for pair in cleaned.pairs] if code else cleaned.pairs
    return CheckedBlock(cleaned, reasons, pair_keys(named))
