"""What the parser reads: a token a word, so that the k-th XX of a tree is the k-th token of its sentence.

Words that training had once or never are replaced by their shape, as parsers have done since Petrov et al. 2006:
whether they begin with a capital, hold a digit or a hyphen, and how they end, tells a verb from a name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from allyouneed.paper.table4.treebank import Tree

_NUMBER = re.compile(r"[\d.,/:-]*\d[\d.,/:-]*")
_ENDINGS = (
    *("ing", "ed", "ly", "ion", "ions", "er", "est", "al"),
    *("ity", "able", "ous", "ive", "ies", "s", "y"),
)


def frequent_words(trees: Iterable[Tree]) -> set[str]:
    """Those that stand there at least twice."""
    count = Counter(word for tree in trees for word in tree.words())
    return {word for word, times in count.items() if times > 1}


def readable(words: Sequence[str], known: Collection[str]) -> str:
    """The words, a space between each; unknown ones by their shape."""
    return " ".join(word if word in known else shape(word) for word in words)


def shape(word: str) -> str:
    """Arthritis -> «Capital-s», 12.5 -> «number»."""
    if _NUMBER.fullmatch(word):
        return "«number»"
    parts = ["Capital" if word[0].isupper() else "lower"]
    parts += [name for name, found in (("digit", any(map(str.isdigit, word))), ("hyphen", "-" in word)) if found]
    parts += [ending for ending in _ENDINGS if word.lower().endswith(ending)][:1]
    return f"«{'-'.join(parts)}»"
