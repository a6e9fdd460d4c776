"""Suggestions for misspelt names, at the end of an error message."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

_LONGEST = 100  # characters of a name; comparing longer ones, from files of other people, takes quadratic time
_NEAR = 0.75  # minimum similarity of a suggestion: `heads` and `num_heads` have 0.77, `wandb` and `plain` 0.2


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Find the known name that was most likely meant.

    Case, hyphens and underscores are ignored. Dotted names are compared by their last part, so that a setting is found
    even if its section is missing or wrong; the similarity of the sections breaks ties.

    Args:
        name: The unknown name.
        known: The existing names.

    Returns:
        The most similar known name, or None if no name is similar enough.
    """
    if len(name) > _LONGEST:
        return None
    section, _, last = name.rpartition(".")
    best, best_rank = None, (0.0, 0.0)
    for candidate in known:
        other_section, _, other_last = candidate.rpartition(".")
        rank = _similarity(last, other_last), _similarity(section, other_section)
        if rank[0] >= _NEAR and rank > best_rank:
            best, best_rank = candidate, rank
    return best


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message about an unknown name: `; did you mean tiny?`, or a full stop."""
    found = nearest(name, known)
    return f"; did you mean {found}?" if found else "."


def _similarity(one: str, other: str) -> float:
    return SequenceMatcher(None, _letters(one), _letters(other)).ratio()


def _letters(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
