"""Labelled precision, recall and F1 of brackets by EVALB's rules (Sekine and Collins 1997) with its COLLINS.prm.

Punctuation is removed before spans are computed; it is recognised by its part of speech (, : `` '' .). Constituents
without other words are removed too. Parts of speech are not brackets; ADVP and PRT are one label; brackets are a
multiset, so X over X counts twice. EVALB's later new.prm differs only in tags that the Penn Treebank does not have.

The only Python package for it (PYEVALB 0.1.3 of 2017, alpha) counts differently: it keeps punctuation and TOP,
distinguishes ADVP and PRT, treats brackets as a set, keeps function tags, and splits words at "_". This module was
compared with EVALB itself (`evalb.c` of 2006) on 4,814 damaged, flat and right-branching parses of the Penn Treebank
sample: all three counts agree for every sentence, with and without labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from allyouneed.paper.table4.treebank import Span, Tree

_PUNCTUATION = frozenset((",", ":", "``", "''", "."))
_EQUIVALENT = {"PRT": "ADVP"}


class BracketScores(NamedTuple):
    """Counts of brackets and sentences, and scores in percent; a score whose denominator is 0 is 0.

    Attributes:
        matched: Brackets in both trees.
        gold: Brackets of the gold trees.
        parsed: Brackets of the parser's trees.
        exact: Sentences in which all brackets are equal.
        sentences: Number of sentences.
    """

    matched: int
    gold: int
    parsed: int
    exact: int
    sentences: int

    @property
    def recall(self) -> float:
        """Share of the gold brackets that the parser found."""
        return _percent(self.matched, self.gold)

    @property
    def precision(self) -> float:
        """Share of the parser's brackets that are correct."""
        return _percent(self.matched, self.parsed)

    @property
    def f1(self) -> float:
        """F1 over all sentences together, as in EVALB's summary."""
        return _percent(2 * self.matched, self.gold + self.parsed)

    @property
    def exact_match(self) -> float:
        """Share of sentences in which all brackets are equal, EVALB's complete match."""
        return _percent(self.exact, self.sentences)


def score(pairs: Iterable[tuple[Tree, Tree]], labelled: bool = True) -> BracketScores:
    """Score trees.

    Args:
        pairs: Gold and parsed tree of each sentence.
        labelled: Whether labels must agree too, not only spans.

    Returns:
        The counts of all sentences.

    Raises:
        ValueError: If two trees have different words (EVALB's errors 1 and 2).
    """
    scored = [_score_sentence(gold, parsed, labelled) for gold, parsed in pairs]
    return (
        BracketScores(*(sum(counts) for counts in zip(*scored, strict=True)))
        if scored
        else BracketScores(0, 0, 0, 0, 0)
    )


def flat(leaves: Sequence[Tree]) -> Tree:
    """Make a baseline parse: one S over all words.

    Args:
        leaves: Leaves of the sentence.

    Returns:
        The tree.
    """
    return Tree("S", tuple(leaves))


def right_branching(leaves: Sequence[Tree]) -> Tree:
    """Make a baseline parse: S over the sentence, and a VP from each word but the first and last to the end.

    Args:
        leaves: Leaves of the sentence.

    Returns:
        The tree.
    """
    nodes: tuple[Tree, ...] = ()
    words = 0
    for leaf in reversed(leaves):
        if leaf.label in _PUNCTUATION:
            nodes = (leaf, *nodes)
            continue
        nodes = (leaf, Tree("VP", nodes)) if words > 1 else (leaf, *nodes)
        words += 1
    return Tree("S", nodes)


def _score_sentence(gold: Tree, parsed: Tree, labelled: bool) -> BracketScores:
    leaves = gold.leaves()
    if [leaf.word for leaf in leaves] != parsed.words():
        raise ValueError(f"two trees of different words: {gold.sentence()!r}, {parsed.sentence()!r}")
    counted = [leaf.label not in _PUNCTUATION for leaf in leaves]
    expected, found = (_brackets(tree, counted, labelled) for tree in (gold, parsed))
    matched = (expected & found).total()
    return BracketScores(matched, expected.total(), found.total(), int(expected == found), 1)


def _brackets(tree: Tree, counted: Sequence[bool], labelled: bool) -> Counter[Span]:
    """Count brackets that have counted words; the spans are indices among those words."""
    index = [0, *accumulate(counted)]
    return Counter(
        Span(_EQUIVALENT.get(label, label) if labelled else "", index[start], index[end])
        for label, start, end in tree.spans()
        if index[start] < index[end]
    )


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0
