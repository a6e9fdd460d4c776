"""The usual ratio of the lengths of both sides, learned from the corpus.

Of two languages, one needs more characters than the other, and the difference varies with the square root of the
length (Gale and Church 1993). Both are estimated from the corpus itself with medians, which bad pairs hardly affect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from allyouneed.data.files.formats import RawPair

_FEWEST = 200  # pairs; fewer do not show what is usual
_NORMAL = 1.4826  # standard deviations in a median absolute deviation
_MOST_DEVIATIONS = 6.0
_FREE = 15  # characters by which any two texts may differ


class UsualRatio(NamedTuple):
    """Distribution of the target's length given the source's, in characters.

    Attributes:
        slope: Target characters for each source character.
        spread: Standard deviation of the difference, divided by the square root of the source's length.
    """

    slope: float
    spread: float

    def unusual(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Return which pairs have unusual lengths.

        Args:
            source: Characters of each source, shape [pairs].
            target: Characters of each target, shape [pairs].
        """
        difference = np.abs(target - self.slope * source)
        longer = np.maximum(source, target / self.slope)
        far = difference > _MOST_DEVIATIONS * self.spread * np.sqrt(np.maximum(longer, 1))
        return far & (difference > _FREE * max(1.0, self.slope))


def learn_ratio(pairs: Sequence[RawPair]) -> UsualRatio | None:
    """Estimate the usual ratio from a sample; None if it is too small.

    Args:
        pairs: Pairs of the corpus.
    """
    usable = [(len(pair.source), len(pair.target)) for pair in pairs if not pair.fault and pair.source and pair.target]
    if len(usable) < _FEWEST:
        return None
    source, target = np.array(usable, dtype=float).T
    slope = float(np.exp(np.median(np.log(target) - np.log(source))))
    differences = np.abs(target - slope * source) / np.sqrt(source)
    return UsualRatio(slope, float(max(_NORMAL * np.median(differences), 0.3)))
