"""Histograms of lengths and of their ratio, for kept and dropped pairs, as the report shows them."""

from __future__ import annotations

from typing import Any

import numpy as np

LENGTHS = "characters of the source", "characters of the target"
RATIO = "target characters for each source character"
SCORES = "log probability per token"
_EDGES = {
    **{name: np.round(np.geomspace(1, 2048, 23)).astype(int) for name in LENGTHS},
    RATIO: np.round(np.geomspace(1 / 8, 8, 25), 3),
    SCORES: np.linspace(-12, 0, 25),
}


class Histograms:
    """Counts of kept and dropped pairs by length, ratio and score; the outermost bins include what is beyond."""

    def __init__(self) -> None:
        self._counts: dict[str, np.ndarray] = {}

    def add(self, lengths: np.ndarray, is_kept: np.ndarray) -> None:
        """Count pairs by their lengths.

        Args:
            lengths: Characters of each source and target, shape [2, pairs].
            is_kept: Whether each pair is kept, shape [pairs].
        """
        for name, side in zip(LENGTHS, lengths, strict=True):
            self.add_values(name, side, is_kept)
        both = (lengths > 0).all(axis=0)
        self.add_values(RATIO, lengths[1, both] / lengths[0, both], is_kept[both])

    def add_values(self, name: str, values: np.ndarray, is_kept: np.ndarray) -> None:
        """Count values of any of the quantities."""
        edges = _EDGES[name]
        counts = self._counts.setdefault(name, np.zeros((2, len(edges) - 1), dtype=np.int64))
        bins = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
        for row, chosen in enumerate((is_kept, ~is_kept)):
            counts[row] += np.bincount(bins[chosen], minlength=len(edges) - 1)

    def as_dict(self) -> dict[str, Any]:
        """Convert to a dictionary for JSON: edges, and the counts of kept and of dropped pairs, by name."""
        return {
            name: {"edges": _EDGES[name].tolist(), "kept": kept.tolist(), "dropped": dropped.tolist()}
            for name, (kept, dropped) in self._counts.items()
        }


def summed(all_histograms: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums of histograms as dictionaries."""
    total: dict[str, Any] = {}
    for histograms in all_histograms:
        for name, each in histograms.items():
            if name not in total:
                total[name] = {key: list(values) for key, values in each.items()}
                continue
            for key in ("kept", "dropped"):
                total[name][key] = [a + b for a, b in zip(total[name][key], each[key], strict=True)]
    return total
