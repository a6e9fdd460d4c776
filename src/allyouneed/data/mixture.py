"""Weights of corpora: how often an epoch contains the pairs of each.

A pair of a corpus with weight w occurs w times in an epoch on average. The whole part of w are complete passes over the
corpus; for the fraction, pairs are drawn anew in each epoch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np


@dataclass(frozen=True)
class Mixture:
    """Corpora that are next to each other in a store, with weights.

    Attributes:
        sizes: Number of pairs of each corpus.
        weights: Occurrences of each pair of a corpus in an epoch, on average.
    """

    sizes: tuple[int, ...]
    weights: tuple[float, ...]

    @property
    def drawn(self) -> list[int]:
        """Number of pairs that an epoch contains of each corpus, at least one."""
        return [max(1, round(size * weight)) for size, weight in zip(self.sizes, self.weights, strict=True)]

    def rounds(self, random: np.random.Generator) -> list[np.ndarray]:
        """Draw the pairs of an epoch, divided into rounds with the same shares of all corpora.

        Batches are made in each round separately, so that copies of a pair are in different batches: a pair occurs more
        than once in a round only where one pass over its corpus ends and the next begins.

        Args:
            random: Source of random numbers, which determines the epoch.

        Returns:
            Pair indices of each round.
        """
        count = math.ceil(max(self.weights))
        starts = accumulate(self.sizes, initial=0)
        parts = []
        for start, size, drawn in zip(starts, self.sizes, self.drawn, strict=False):
            passes = [random.permutation(size) for _ in range(math.ceil(drawn / size))]
            parts.append(np.array_split(start + np.concatenate(passes)[:drawn], count))
        return [np.concatenate(part) for part in zip(*parts, strict=True)]


def mixture_of(sizes: Sequence[int], weights: Sequence[float]) -> Mixture | None:
    """Return the mixture of corpora, or None if each pair occurs once."""
    return None if all(weight == 1 for weight in weights) else Mixture(tuple(sizes), tuple(weights))
