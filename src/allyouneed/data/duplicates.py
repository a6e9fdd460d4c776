"""Detection of duplicate pairs by 64-bit hashes, in about 9 bytes of memory for each different pair.

Hashes are kept in sorted arrays of increasing sizes, which are merged as they fill (a log-structured merge tree, O'Neil
et al. 1996): a lookup is a binary search in each of a few arrays, for all pairs of a block at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from allyouneed.data.files.formats import RawPair

DUPLICATE, IN_EARLIER = "duplicate", "duplicate of a pair in an earlier corpus"
_BORDERS = np.arange(1, 16, dtype=np.uint64) << np.uint64(60)  # between the parts of a set
_MOST_BANDS = 1 << 26  # that are remembered, in at most 1 GB of memory: those of 11 million pairs


def pair_keys(pairs: Sequence[RawPair]) -> np.ndarray:
    """Return a 64-bit hash of each pair, by which duplicates are recognised, shape [pairs]."""
    contents = (f"{pair.source}\t{pair.target}".encode("utf-8", "surrogatepass") for pair in pairs)
    return np.frombuffer(b"".join(hashlib.blake2b(each, digest_size=8).digest() for each in contents), dtype="<u8")


class SeenPairs:
    """The pairs of a corpus, and of those before it, as hashes."""

    def __init__(self) -> None:
        self._seen, self._earlier = _Keys(), _Keys()

    def next_corpus(self) -> None:
        """Begin with another corpus: the pairs so far are those of earlier corpora."""
        for run in self._seen.taken():
            self._earlier.add(run)

    def duplicates(self, keys: np.ndarray) -> list[str | None]:
        """Return the reason why each of the next pairs is a duplicate, or None, and remember the new ones.

        Args:
            keys: Hashes of the pairs in their order, shape [pairs].
        """
        different, first, of = np.unique(keys, return_index=True, return_inverse=True)
        in_earlier, in_seen = self._earlier.contain(different), self._seen.contain(different)
        is_repeated = in_seen[of] | (first[of] != np.arange(len(keys)))
        self._seen.add(different[~in_earlier & ~in_seen])
        reasons: list[str | None] = [None] * len(keys)
        for index in np.flatnonzero(is_repeated | in_earlier[of]):
            reasons[index] = IN_EARLIER if in_earlier[of[index]] else DUPLICATE
        return reasons


class SeenBands:
    """The pairs so far as hashes of the bands of their MinHash signatures, for near duplicates."""

    def __init__(self) -> None:
        self._seen = _Keys()

    def near_duplicates(self, bands: np.ndarray) -> np.ndarray:
        """Return which of the next pairs share a band with an earlier one, and remember the others.

        Among tens of millions of pairs, the longest known ones are forgotten.

        Args:
            bands: Hashes of the bands of each pair in their order, shape [pairs, bands]; 0 for none.

        Returns:
            Whether each pair is a near duplicate, shape [pairs].
        """
        different, of = np.unique(bands, return_inverse=True)
        of = of.reshape(bands.shape)
        is_near = ((self._seen.contain(different))[of] & (bands != 0)).any(axis=1)
        taken = different == 0
        for index, row in enumerate(of):
            if not is_near[index]:
                is_near[index] = bool((taken[row] & (bands[index] != 0)).any())
                if not is_near[index]:
                    taken[row] = True
        self._seen.add(different[taken & (different != 0) & ~self._seen.contain(different)])
        self._seen.forget(_MOST_BANDS)
        return is_near


class _Keys:
    """A set of integers from 0 to 2⁶⁴ - 1, divided by their highest bits, so that merging takes little memory."""

    def __init__(self) -> None:
        self._parts = [_SortedKeys() for _ in range(len(_BORDERS) + 1)]

    def taken(self) -> Iterator[np.ndarray]:
        """Remove all keys, and yield sorted arrays of them."""
        for part in self._parts:
            while part.runs:
                yield part.runs.pop()

    def contain(self, keys: np.ndarray) -> np.ndarray:
        """Return which of the sorted keys are in the set, shape [keys]."""
        return np.concatenate([part.contain(some) for part, some in zip(self._parts, _divided(keys), strict=True)])

    def add(self, keys: np.ndarray) -> None:
        """Add sorted keys that are not in the set."""
        for part, some in zip(self._parts, _divided(keys), strict=True):
            part.add(some)

    def forget(self, most: int) -> None:
        """Remove the oldest keys if there are more than the given number."""
        if sum(len(run) for part in self._parts for run in part.runs) > most:
            for part in self._parts:
                part.forget()


def _divided(keys: np.ndarray) -> list[np.ndarray]:
    return np.split(keys, np.searchsorted(keys, _BORDERS))


class _SortedKeys:
    """A set of integers as sorted arrays, each more than twice as long as the next one."""

    def __init__(self) -> None:
        self.runs: list[np.ndarray] = []

    def contain(self, keys: np.ndarray) -> np.ndarray:
        found = np.zeros(len(keys), dtype=bool)
        for run in self.runs:
            found |= run[np.minimum(np.searchsorted(run, keys), len(run) - 1)] == keys
        return found

    def add(self, keys: np.ndarray) -> None:
        keys = keys.copy()  # a view would keep the whole array in memory
        while self.runs and len(self.runs[-1]) <= 2 * len(keys):
            keys = np.concatenate([self.runs.pop(), keys])
            keys.sort(kind="stable")  # recognises that both parts are sorted
        if len(keys):
            self.runs.append(keys)

    def forget(self) -> None:
        """Remove the oldest array, unless it is the only one."""
        if len(self.runs) > 1:
            del self.runs[0]
