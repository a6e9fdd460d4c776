"""A small word aligner, to compare heads with: IBM model 1 with fast_align's pull to the diagonal (Dyer et al. 2013).

Learned by a few rounds of EM on the text itself, in both directions. A link that both give is sure, one of either
possible (Och and Ney 2003). On a thousand sentences it is a rough judge; alignments made by people are a better one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from allyouneed.data.formats import read_text
from allyouneed.errors import UserError

_ROUNDS = 6
_PULL = 4.0  # fast_align's initial tension
_LINK = re.compile(r"(\d+)([-?])(\d+)")

Link = tuple[int, int]


class Links(NamedTuple):
    """Of a sentence pair, (source word, target word) from 0. possible includes sure."""

    sure: frozenset[Link]
    possible: frozenset[Link]


def align_words(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> list[Links]:
    """Pairs of words, source and target."""
    forward = _model_1([(source, target) for source, target in pairs])
    backward = [{(i, j) for j, i in links} for links in _model_1([(target, source) for source, target in pairs])]
    return [Links(frozenset(a & b), frozenset(a | b)) for a, b in zip(forward, backward, strict=True)]


def read_alignments(path: Path, sentences: int) -> list[Links]:
    """Pharaoh's form, a sentence a line: `0-0 1-2`, `1?3` for a possible link. Errors: `UserError`, with the line."""
    found = []
    for number, line in enumerate(read_text(path), start=1):
        sure, possible = set(), set()
        for text in line.split():
            link = _LINK.fullmatch(text)
            if not link:
                raise UserError(f"{path}:{number}: {text!r} is no link. Write 0-1, source word first, from 0.")
            possible.add((int(link[1]), int(link[3])))
            sure |= {(int(link[1]), int(link[3]))} if link[2] == "-" else set()
        found.append(Links(frozenset(sure), frozenset(possible)))
    if len(found) < sentences:
        raise UserError(f"{path}: {len(found)} lines for {sentences} sentences. Give a line for each.")
    return found


def alignment_error(found: Sequence[set[Link]], gold: Sequence[Links]) -> float | None:
    """AER = 1 - (|A ∩ S| + |A ∩ P|) / (|A| + |S|) over all sentences, 0 to 1; None where there is no link at all."""
    hits = sum(len(links & of.sure) + len(links & of.possible) for links, of in zip(found, gold, strict=True))
    total = sum(len(links) + len(of.sure) for links, of in zip(found, gold, strict=True))
    return 1 - hits / total if total else None


def _model_1(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> list[set[Link]]:
    """Each target word's likeliest source word. All pairings of all sentences are rows of a few long arrays."""
    names: dict[str, int] = {}

    def number(words: Sequence[str]) -> np.ndarray:
        return np.array([names.setdefault(word.lower(), len(names)) for word in words], dtype=np.int64)

    parts: list[tuple[np.ndarray, ...]] = []
    groups = 0
    for sentence, (source, target) in enumerate(pairs):
        n, m = len(source), len(target)
        if not n or not m:
            continue
        j, i = np.divmod(np.arange(n * m), n)
        near = np.exp(-_PULL * np.abs(i / n - j / m))
        place = np.stack([np.full(n * m, sentence), i, j], axis=1)
        parts.append((number(source)[i], number(target)[j], groups + j, near, place))
        groups += m
    links: list[set[Link]] = [set() for _ in pairs]
    if not parts:
        return links
    e, f, group, prior, places = (np.concatenate(x) for x in zip(*parts, strict=True))
    words, entry = np.unique(e * len(names) + f, return_inverse=True)
    chance = np.ones(len(words))
    for _ in range(_ROUNDS):
        weight = chance[entry] * prior
        weight /= np.bincount(group, weight, groups)[group]
        counts = np.bincount(entry, weight, len(words))
        chance = counts / np.bincount(words // len(names), counts, len(names))[words // len(names)]
    best = np.lexsort((-weight, group))
    first = best[np.unique(group[best], return_index=True)[1]]
    for sentence, i, j in places[first].tolist():
        links[sentence].add((i, j))
    return links
