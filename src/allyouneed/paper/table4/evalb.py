"""Labelled precision, recall and F1 of brackets, by EVALB's rules (Sekine and Collins 1997) with its COLLINS.prm.

Punctuation goes before spans are counted, known by its part of speech (, : `` '' .), and with it constituents of
nothing else; parts of speech are no brackets; ADVP and PRT are one label; brackets are a multiset, so that X over X
counts twice. EVALB's later new.prm differs in tags that the Penn Treebank does not have (S1 ? !).

Written here, since the one package for it (PYEVALB 0.1.3 of 2017, an alpha) counts another thing: it keeps punctuation
and TOP, tells ADVP from PRT, takes brackets as a set, leaves function tags on, and cuts words at "_". Compared once
with EVALB itself (`evalb.c` of 2006) on 4,814 damaged, flat and right-branching parses of the Penn Treebank's sample:
the same three counts for every sentence, with labels and without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from allyouneed.paper.table4.treebank import Span, Tree

_PUNCTUATION = frozenset((",", ":", "``", "''", "."))
_EQUAL = {"PRT": "ADVP"}


class Scores(NamedTuple):
    """Counts of brackets and sentences; shares in percent, 0 of nothing."""

    matched: int
    gold: int
    parsed: int
    exact: int
    sentences: int

    @property
    def recall(self) -> float:
        """The share of the gold brackets that were found."""
        return _percent(self.matched, self.gold)

    @property
    def precision(self) -> float:
        """The share of the parsed brackets that are right."""
        return _percent(self.matched, self.parsed)

    @property
    def f1(self) -> float:
        """Of precision and recall over all sentences together, as EVALB's summary has it."""
        return _percent(2 * self.matched, self.gold + self.parsed)

    @property
    def exact_match(self) -> float:
        """EVALB's complete match: the share of sentences all of whose brackets are right, and no other."""
        return _percent(self.exact, self.sentences)


def score(pairs: Iterable[tuple[Tree, Tree]], labelled: bool = True) -> Scores:
    """Of (gold, parsed) trees over the same words. Errors: `ValueError` where the words differ (EVALB's error 1, 2)."""
    scored = [_score_sentence(gold, parsed, labelled) for gold, parsed in pairs]
    return Scores(*(sum(counts) for counts in zip(*scored, strict=True))) if scored else Scores(0, 0, 0, 0, 0)


def flat(leaves: Sequence[Tree]) -> Tree:
    """One S over all words: what knowing nothing scores."""
    return Tree("S", tuple(leaves))


def right_branching(leaves: Sequence[Tree]) -> Tree:
    """S over the sentence, a VP from every other word to the end: English branches to the right."""
    nodes: tuple[Tree, ...] = ()
    words = 0
    for leaf in reversed(leaves):
        if leaf.label in _PUNCTUATION:
            nodes = (leaf, *nodes)
            continue
        nodes = (leaf, Tree("VP", nodes)) if words > 1 else (leaf, *nodes)
        words += 1
    return Tree("S", nodes)


def _score_sentence(gold: Tree, parsed: Tree, labelled: bool) -> Scores:
    leaves, other = gold.leaves(), parsed.leaves()
    if [leaf.word for leaf in leaves] != [leaf.word for leaf in other]:
        raise ValueError(f"two trees of different words: {gold.sentence()!r}, {parsed.sentence()!r}")
    counted = [leaf.label not in _PUNCTUATION for leaf in leaves]
    expected, found = (_brackets(tree, counted, labelled) for tree in (gold, parsed))
    matched = (expected & found).total()
    return Scores(matched, expected.total(), found.total(), int(expected == found), 1)


def _brackets(tree: Tree, counted: Sequence[bool], labelled: bool) -> Counter[Span]:
    """Over the words that count, where there are any: the spans are places among them."""
    place = [0, *accumulate(counted)]
    return Counter(
        Span(_EQUAL.get(label, label) if labelled else "", place[start], place[end])
        for label, start, end in tree.spans()
        if place[start] < place[end]
    )


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0
