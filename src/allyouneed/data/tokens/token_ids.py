"""Token ids of several sentences as arrays, as blocks of them are passed between processes and stored."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np


class TokenIds(NamedTuple):
    """Token ids of one side of a block of pairs.

    Attributes:
        ids: Concatenated ids of all sentences, shape [tokens].
        lengths: Tokens of each sentence, shape [pairs].
    """

    ids: np.ndarray
    lengths: np.ndarray

    def selected(self, chosen: np.ndarray) -> TokenIds:
        """Return the sentences that are marked in an array of shape [pairs]."""
        return TokenIds(self.ids[np.repeat(chosen, self.lengths)], self.lengths[chosen])


def token_ids(sentences: Sequence[Sequence[int]]) -> TokenIds:
    """Concatenate the ids of sentences."""
    lengths = np.fromiter(map(len, sentences), dtype=np.int64, count=len(sentences))
    return TokenIds(np.fromiter(chain.from_iterable(sentences), dtype=np.int32, count=int(lengths.sum())), lengths)


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Concatenate the ranges from each start of each length."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)
