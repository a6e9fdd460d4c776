"""Choice of training pairs that are held out for validation if no validation text is given."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

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

    def choice(self, corpus: Corpus) -> Callable[[RawPair], bool]:
        """Return a function that decides whether a pair is held out of a corpus."""
        stride = self.strides.get(corpus)

        def is_chosen(pair: RawPair) -> bool:
            if stride is None or _hash(pair.source) % stride:
                return False
            self._sources.add(corpus.presented(pair).source)
            return True

        return is_chosen

    def leak(self, corpus: Corpus) -> Callable[[RawPair], bool]:
        """Return a function that decides whether the source of a pair that is not held out is, in another corpus.

        It holds after the first corpora were read.
        """
        is_first = corpus in self.strides

        def leaks(pair: RawPair) -> bool:
            return not is_first and corpus.presented(pair).source in self._sources

        return leaks


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
