"""Input of the parser: one token per word, so that the k-th XX of a tree is the k-th token of its sentence.

Words that occur at most once in training are replaced by their shape, as parsers have done since Petrov et al. 2006:
capitals, digits, hyphens and endings distinguish verbs from names, for example.
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
    """Collect the words that occur at least twice.

    Args:
        trees: Training trees.

    Returns:
        The words.
    """
    count = Counter(word for tree in trees for word in tree.words())
    return {word for word, occurrences in count.items() if occurrences > 1}


def parser_input(words: Sequence[str], known: Collection[str]) -> str:
    """Join words with spaces, unknown ones replaced by their shape.

    Args:
        words: Words of a sentence.
        known: Words to keep.

    Returns:
        The parser's source sentence.
    """
    return " ".join(word if word in known else shape(word) for word in words)


def shape(word: str) -> str:
    """Describe the shape of a word: Arthritis -> «Capital-s», 12.5 -> «number».

    Args:
        word: A word.

    Returns:
        The shape, one token.
    """
    if _NUMBER.fullmatch(word):
        return "«number»"
    parts = ["Capital" if word[0].isupper() else "lower"]
    parts += [name for name, found in (("digit", any(map(str.isdigit, word))), ("hyphen", "-" in word)) if found]
    parts += [ending for ending in _ENDINGS if word.lower().endswith(ending)][:1]
    return f"«{'-'.join(parts)}»"
