"""A small word aligner, the reference for heads: IBM model 1 with fast_align's diagonal prior (Dyer et al. 2013).

The aligner is trained in both directions by a few iterations of EM on the corpus itself. Links found in both directions
are sure, links found in only one are possible (Och and Ney 2003). With a thousand sentence pairs, the reference is
rough; manual alignments are better.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from allyouneed.data.files.lines import read_text
from allyouneed.errors import UserError
from allyouneed.insight.words import Sentence

_ITERATIONS = 6
_TENSION = 4.0  # fast_align's initial value
_LINK = re.compile(r"(\d{1,9})([-?])(\d{1,9})")

Link = tuple[int, int]


class Links(NamedTuple):
    """Links (source word, target word) of a sentence pair, counted from 0; `possible` includes `sure`."""

    sure: frozenset[Link]
    possible: frozenset[Link]


def align_words(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> list[Links]:
    """Align sentence pairs, given as words of source and target."""
    forward = _model_1([(source, target) for source, target in pairs])
    backward = [{(i, j) for j, i in links} for links in _model_1([(target, source) for source, target in pairs])]
    return [Links(frozenset(a & b), frozenset(a | b)) for a, b in zip(forward, backward, strict=True)]


def read_alignments(path: Path, sentences: int) -> list[Links]:
    """Read alignments in Pharaoh format, one sentence pair per line: `0-0 1-2`, with `1?3` for a possible link.

    Args:
        path: The file.
        sentences: Minimum number of lines.

    Returns:
        Links of each line.

    Raises:
        UserError: If a link is malformed or lines are missing.
    """
    alignments = []
    for number, line in enumerate(read_text(path), start=1):
        sure, possible = set(), set()
        for text in line.split():
            link = _LINK.fullmatch(text)
            if not link:
                raise UserError(
                    f"{path}:{number}: {text!r} is not a link. Write links as 0-1: source word first, counted from 0."
                )
            possible.add((int(link[1]), int(link[3])))
            sure |= {(int(link[1]), int(link[3]))} if link[2] == "-" else set()
        alignments.append(Links(frozenset(sure), frozenset(possible)))
    if len(alignments) < sentences:
        raise UserError(f"{path}: {len(alignments)} lines for {sentences} sentence pairs. Add one line per pair.")
    return alignments


def links_of_pairs(path: Path, numbered: Sequence[tuple[int, tuple[Sentence, Sentence]]]) -> list[Links]:
    """Read the alignments of sentence pairs.

    Args:
        path: File in Pharaoh format, see `read_alignments`.
        numbered: Sentence pairs, each with the index of its line.

    Returns:
        Links of each pair.

    Raises:
        UserError: If a link is malformed or names a word that its pair does not have, or lines are missing.
    """
    lines = read_alignments(path, numbered[-1][0] + 1)
    for line, pair in numbered:
        counts = [len(side.words) - 1 for side in pair]
        for link in sorted(lines[line].possible):
            if any(word >= count for word, count in zip(link, counts, strict=True)):
                raise UserError(
                    f"{path}:{line + 1}: the link {link[0]}-{link[1]} needs more words than the pair has, {counts[0]} "
                    f"and {counts[1]}. Separate the words of the text by spaces, as in the aligned text."
                )
    return [lines[line] for line, _ in numbered]


def alignment_error(found: Sequence[set[Link]], gold: Sequence[Links]) -> float | None:
    """Compute the alignment error rate, 1 - (|A ∩ S| + |A ∩ P|) / (|A| + |S|), over all sentence pairs.

    Args:
        found: Links A of each pair.
        gold: Sure links S and possible links P of each pair.

    Returns:
        A number from 0 to 1; None if there are no links.
    """
    pairs = list(zip(found, gold, strict=True))
    hits = sum(len(links & reference.sure) + len(links & reference.possible) for links, reference in pairs)
    total = sum(len(links) + len(reference.sure) for links, reference in pairs)
    return 1 - hits / total if total else None


def _model_1(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> list[set[Link]]:
    """Find the most likely source word of each target word; vectorised over the word pairs of all sentences."""
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
        prior = np.exp(-_TENSION * np.abs(i / n - j / m))
        index = np.stack([np.full(n * m, sentence), i, j], axis=1)
        parts.append((number(source)[i], number(target)[j], groups + j, prior, index))
        groups += m
    links: list[set[Link]] = [set() for _ in pairs]
    if not parts:
        return links
    e, f, group, prior, indices = (np.concatenate(x) for x in zip(*parts, strict=True))
    word_pairs, entry = np.unique(e * len(names) + f, return_inverse=True)
    probability = np.ones(len(word_pairs))
    for _ in range(_ITERATIONS):
        weight = probability[entry] * prior
        weight /= np.bincount(group, weight, groups)[group]
        counts = np.bincount(entry, weight, len(word_pairs))
        probability = counts / np.bincount(word_pairs // len(names), counts, len(names))[word_pairs // len(names)]
    best = np.lexsort((-weight, group))
    first = best[np.unique(group[best], return_index=True)[1]]
    for sentence, i, j in indices[first].tolist():
        links[sentence].add((i, j))
    return links
