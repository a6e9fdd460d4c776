"""Choice of training pairs that are held out for validation if no validation text is given."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from allyouneed.data.corpora import Corpus
from allyouneed.data.directions import Direction
from allyouneed.data.files.formats import RawPair

_HELD_OUT = 1000  # approximate number of pairs for validation if no files are given
_LEAST_STRIDE, _FEW_HELD_OUT = 4, 10  # of a few hundred pairs, about 10 are held out, but no more than a quarter
_USUAL_STRIDE = 20


class HeldOut:
    """Choice of the pairs that are held out for validation.

    Args:
        strides: For the first corpus of each direction: one in how many of its sources, as in the file, is held out.
    """

    def __init__(self, strides: dict[Corpus, int]):
        self.strides = strides
        self._sources: set[str] = set()

    def chosen(self, corpus: Corpus, pair: RawPair) -> bool:
        """Return whether a pair is held out of one of the first corpora."""
        if corpus not in self.strides or _hash(pair.source) % self.strides[corpus]:
            return False
        self._sources.add(corpus.presented(pair).source)
        return True

    def has_source(self, corpus: Corpus, pair: RawPair) -> bool:
        """Return whether the source of a pair of another corpus is also held out, after the first corpora were read."""
        return corpus not in self.strides and corpus.presented(pair).source in self._sources


def held_out_strides(train: Sequence[Corpus], counts: Sequence[int]) -> dict[Corpus, int]:
    """Return the strides of the first corpus of each direction, so that about `_HELD_OUT` pairs are held out in all.

    A twentieth of a small corpus is less. As a hash chooses the pairs, a twentieth of fifty pairs might be none.

    Args:
        train: The training corpora.
        counts: Number of pairs of each.
    """
    first: dict[Direction | None, tuple[Corpus, int]] = {}
    for corpus, count in zip(train, counts, strict=True):
        first.setdefault(corpus.direction, (corpus, count))
    return {
        corpus: max(len(first) * count // _HELD_OUT, min(_USUAL_STRIDE, max(_LEAST_STRIDE, count // _FEW_HELD_OUT)))
        for corpus, count in first.values()
    }


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
