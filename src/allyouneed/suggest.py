"""Suggestions for misspelt names, at the end of an error message."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

_NEAR = 0.75  # similarity from which a suggestion helps: `heads` and `num_heads` have 0.77, `wandb` and `plain` 0.2


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Find the known name that was most likely meant.

    Letter case, hyphens and underscores do not count. Dotted names are compared by their last part, so that a setting
    is also found where its section is missing or wrong; a similar section decides between equal names.

    Args:
        name: The name that does not exist.
        known: The names that do.

    Returns:
        The most similar known name, or None where no name is near.
    """
    section, _, last = name.rpartition(".")
    best, best_rank = None, (0.0, 0.0)
    for candidate in known:
        other_section, _, other_last = candidate.rpartition(".")
        rank = _similarity(last, other_last), _similarity(section, other_section)
        if rank[0] >= _NEAR and rank > best_rank:
            best, best_rank = candidate, rank
    return best


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: `; did you mean tiny?`, or a full stop."""
    found = nearest(name, known)
    return f"; did you mean {found}?" if found else "."


def _similarity(one: str, other: str) -> float:
    return SequenceMatcher(None, _letters(one), _letters(other)).ratio()


def _letters(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
