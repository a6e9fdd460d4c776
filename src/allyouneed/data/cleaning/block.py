"""Cleaning of a block of sentence pairs: a pure function of the pairs and the rules of their corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from allyouneed.config import DataConfig
from allyouneed.data.cleaning import pair_checks
from allyouneed.data.cleaning.characters import (
    Characters,
    letter_table,
    letters_of,
    script_table,
    without_placeholders,
)
from allyouneed.data.cleaning.ratio import UsualRatio, learn_ratio
from allyouneed.data.cleaning.registry import CHECKS, chosen_checks
from allyouneed.data.cleaning.repairs import has_controls, remove_controls, unescape_entities
from allyouneed.data.files.formats import RawPair
from allyouneed.languages import primary

_FEWEST_LETTERS = 10  # of a text in the wrong script
_EXPENSIVE = ("language", "near_duplicates")
_IN_SCRIPT = 0.05  # share of letters in the right script; names and terms are in Latin letters in every language


@dataclass(frozen=True)
class CleaningRules:
    """What pairs of a corpus are checked for.

    Attributes:
        checks: Names of the checks, see `CHECKS`.
        languages: Codes of the source and the target language.
        ratio: The corpus's usual ratio of lengths, or None if it is not known.
        prefix: Text with which the sources begin, such as the code of a multilingual model; it is not checked.
    """

    checks: tuple[str, ...] = ()
    languages: tuple[str, str] = ("und", "und")
    ratio: UsualRatio | None = None
    prefix: str = ""

    @property
    def cheap(self) -> CleaningRules:
        """The rules without the checks that take long."""
        return replace(self, checks=tuple(name for name in self.checks if name not in _EXPENSIVE))

    @property
    def repairs(self) -> CleaningRules:
        """The repairs of what the inspection reports; control characters show it in which encoding text was read."""
        return replace(self, checks=tuple(name for name in self.checks if name in ("encoding", "entities")))


def cleaning_rules(
    data: DataConfig, languages: tuple[str, str], sample: Sequence[RawPair] = (), prefix: str = ""
) -> CleaningRules:
    """Return the rules of a corpus for the settings.

    Args:
        data: Settings of the data: `data.cleaning`.
        languages: Codes of the source and the target language.
        sample: Pairs of the corpus, from which its usual ratio of lengths is learned.
        prefix: Text with which the sources begin, see `CleaningRules`.

    Raises:
        UserError: If a check needs a library that is not installed.
    """
    checks = chosen_checks(data.cleaning)
    texts = [pair._replace(source=pair.source.removeprefix(prefix)) for pair in sample] if prefix else sample
    return CleaningRules(checks, languages, learn_ratio(texts) if "ratio" in checks else None, prefix)


class Repair(NamedTuple):
    """A repaired pair.

    Attributes:
        pair: The pair after the repair.
        checks: Names of the checks that changed it.
    """

    pair: RawPair
    checks: tuple[str, ...]


@dataclass(frozen=True)
class CleanedBlock:
    """What `clean_block` found.

    Attributes:
        pairs: The pairs, repaired.
        reasons: Why each pair is dropped, or None.
        repairs: The repaired pairs by index.
        lengths: Characters of each source and target, shape [2, pairs].
        bands: Hashes by which near duplicates are recognised, shape [pairs, bands]; None without that check.
    """

    pairs: list[RawPair]
    reasons: list[str | None]
    repairs: dict[int, Repair]
    lengths: np.ndarray
    bands: np.ndarray | None = field(default=None)


def clean_block(pairs: Sequence[RawPair], rules: CleaningRules) -> CleanedBlock:
    """Repair and check a block of pairs.

    Pairs with a fault of the file, or with an empty side, are left to the caller. Duplicates are recognised by the
    caller too, which sees the blocks in their order.

    Args:
        pairs: The pairs.
        rules: Checks to apply.
    """
    repairs = _repairs(pairs, rules)
    cleaned = [repairs[index].pair if index in repairs else pair for index, pair in enumerate(pairs)]
    start = len(rules.prefix)
    sources = [pair.source[start:] if pair.source.startswith(rules.prefix) else pair.source for pair in cleaned]
    targets = [pair.target for pair in cleaned]
    characters = Characters(sources), Characters(targets)
    reasons: list[str | None] = [None] * len(cleaned)
    for name in rules.checks:
        check = _CHECKS.get(name)
        if check is not None:
            for index in np.flatnonzero(check(_Block(sources, targets, characters, rules))):
                reasons[index] = reasons[index] or CHECKS[name].finds
    bands = None
    if "near_duplicates" in rules.checks:
        bands = _with_extra("near").band_hashes(sources, targets)
    return CleanedBlock(cleaned, reasons, repairs, np.stack([side.lengths for side in characters]), bands)


class _Block(NamedTuple):
    """The texts of a block, as the checks see them."""

    sources: list[str]
    targets: list[str]
    characters: tuple[Characters, Characters]
    rules: CleaningRules


def _repairs(pairs: Sequence[RawPair], rules: CleaningRules) -> dict[int, Repair]:
    """Apply the repairs to the pairs that may need one."""
    repairs: dict[int, Repair] = {}
    for name in rules.checks:
        if name not in _REPAIRS:
            continue
        may_need, make = _REPAIRS[name]
        if not any(may_need(text) for side in ("source", "target") for text in _joined(pairs, side)):
            continue
        repair = make()
        for index, original in enumerate(pairs):
            if original.fault:
                continue
            pair, before = repairs.get(index, Repair(original, ()))
            source, target = repair(pair.source), repair(pair.target)
            if (source, target) != (pair.source, pair.target):
                repairs[index] = Repair(pair._replace(source=source, target=target), (*before, name))
    return repairs


def _joined(pairs: Sequence[RawPair], side: str) -> list[str]:
    return ["".join(getattr(pair, side) for pair in pairs)]


_REPAIRS: dict[str, tuple[Callable[[str], bool], Callable[[], Callable[[str], str]]]] = {
    "encoding": (lambda text: not text.isascii(), lambda: _with_extra("encoding").repair_encoding),
    "entities": (lambda text: "&" in text, lambda: unescape_entities),
    "control": (has_controls, lambda: remove_controls),
}


def _in_wrong_script(block: _Block) -> np.ndarray:
    """Return the pairs one side of which is not in the script of its language."""
    failed = np.zeros(len(block.sources), dtype=bool)
    for texts, side, language in zip(
        (block.sources, block.targets), block.characters, block.rules.languages, strict=True
    ):
        letters = letters_of(language)
        if letters is None:
            continue
        table, own, has_ideographs = letter_table(), script_table(letters), "\U00020000" in letters
        total, right = side.count(table, beyond=True), side.count(own, beyond=has_ideographs)
        for index in np.flatnonzero((total >= _FEWEST_LETTERS) & (right < _IN_SCRIPT * total)):
            rest = Characters([without_placeholders(texts[index])])
            total_left, right_left = rest.count(table, beyond=True)[0], rest.count(own, beyond=has_ideographs)[0]
            failed[index] |= bool(total_left >= _FEWEST_LETTERS and right_left < _IN_SCRIPT * total_left)
    return failed


def _in_wrong_language(block: _Block) -> np.ndarray:
    checks = [_language_check(code) for code in block.rules.languages]
    sides = zip(checks, (block.sources, block.targets), block.characters, strict=True)
    source, target = (check.foreign(texts, characters) for check, texts, characters in sides)
    return source | target


@cache
def _language_check(code: str) -> Any:
    return _with_extra("language").LanguageCheck(code)


def _with_extra(name: str) -> Any:
    """Import a module of this package whose library is in the extra `corpora`; see `chosen_checks`."""
    return import_module(f"allyouneed.data.cleaning.{name}")


def _copies(block: _Block) -> np.ndarray:
    first, second = map(primary, block.rules.languages)
    if first == second:  # as for correction, where nothing may be to correct
        return np.zeros(len(block.sources), dtype=bool)
    return pair_checks.copies(block.sources, block.targets)


def _with_unusual_ratio(block: _Block) -> np.ndarray:
    if block.rules.ratio is None:
        return np.zeros(len(block.sources), dtype=bool)
    return block.rules.ratio.unusual(*(side.lengths for side in block.characters))


_CHECKS: dict[str, Callable[[_Block], np.ndarray]] = {
    "script": _in_wrong_script,
    "language": _in_wrong_language,
    "copies": _copies,
    "ratio": _with_unusual_ratio,
    "numbers": lambda block: pair_checks.different_numbers(block.sources, block.targets, block.characters),
    "letters": lambda block: pair_checks.few_letters(*block.characters),
    "repetition": lambda block: pair_checks.repetitions(block.sources, block.targets),
}
