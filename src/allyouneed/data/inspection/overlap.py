"""Validation pairs that are also in the training text, equal up to case, spaces and final punctuation.

Scores on such pairs show what the model has memorised, and decide on the best checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

from allyouneed.data.files.formats import RawPair
from allyouneed.data.inspection.findings import Finding, examples_of

_FINAL = ".!?…。！？।؟ "
_COMPARED_FIRST = slice(6, 22)  # characters; folding the whole text takes longer
_SHARE_OF_SIDES = 0.1  # of validation pairs; short sentences occur in every text
_REMEDY = (
    "Scores on them show memory: give another validation set, or remove them from the training text: "
    "--set data.drop_overlap=true."
)


class ValidationOverlap:
    """Counts the validation pairs, sources and targets that occur in the training text.

    Args:
        valid: The validation pairs.
    """

    def __init__(self, valid: Sequence[RawPair]):
        self.valid = [pair for pair in valid if not pair.fault]
        self._pairs = {_folded(pair) for pair in self.valid}
        self._parts = {_part(pair) for pair in self.valid}
        self._sources = {pair.source for pair in self.valid}
        self._targets = {pair.target for pair in self.valid}
        self._found: tuple[set[tuple[str, str]], set[str], set[str]] = (set(), set(), set())

    def has(self, pair: RawPair) -> bool:
        """Return whether a training pair is also a validation pair."""
        return _part(pair) in self._parts and _folded(pair) in self._pairs

    def add(self, pair: RawPair) -> None:
        """Count a training pair."""
        pairs, sources, targets = self._found
        if self.has(pair):
            pairs.add(_folded(pair))
        if pair.source in self._sources:
            sources.add(pair.source)
        if pair.target in self._targets:
            targets.add(pair.target)

    def findings(self) -> list[Finding]:
        """Report the validation pairs that were found in the training text."""
        pairs, sources, targets = self._found
        whole, source_only, target_only = [], [], []
        for pair in self.valid:
            if _folded(pair) in pairs:
                whole.append(pair)
            elif pair.source in sources:
                source_only.append(pair)
            elif pair.target in targets:
                target_only.append(pair)
        findings = []
        if whole:
            findings.append(self._finding("also in the training text", whole, True))
        for name, affected in (("source", source_only), ("target", target_only)):
            if len(affected) > _SHARE_OF_SIDES * len(self.valid):
                findings.append(self._finding(f"the {name} is also in the training text", affected, False))
        return findings

    def _finding(self, fault: str, affected: list[RawPair], refused: bool) -> Finding:
        remedy = _REMEDY if refused else ""
        return Finding(fault, len(affected), len(self.valid), examples_of(affected), remedy, refused)


def _part(pair: RawPair) -> tuple[str, str]:
    source, target = pair.source[_COMPARED_FIRST], pair.target[_COMPARED_FIRST]
    return source.lower().rstrip(_FINAL), target.lower().rstrip(_FINAL)


def _folded(pair: RawPair) -> tuple[str, str]:
    source, target = (" ".join(text.lower().split()).rstrip(_FINAL) for text in (pair.source, pair.target))
    return source, target
