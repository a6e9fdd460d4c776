"""When heads take on a role during training: alignment, a neighbouring position, or separators.

A head has a role if its score in the last snapshot is at least `LEAST`, which the page can change. The role emerges at
the first snapshot from which on the score stays above the midpoint between chance, the score of uniform attention, and
its last value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from allyouneed.insight.statistics.aligner import Links
from allyouneed.insight.words import Sentence
from allyouneed.model.probe import KINDS

LEAST = 0.5
ROLES = {  # for each role the kinds of attention in which it is defined
    "alignment": ("cross",),
    "previous": ("encoder", "decoder"),
    "next": ("encoder",),
    "same": ("encoder", "decoder"),
    "separator": KINDS,
}
_SEPARATORS = ("start", "end", "period")  # measures of `heads.py`: <s>, </s> and punctuation


class Emergence(NamedTuple):
    """A role of a head, and the first snapshot with it.

    Attributes:
        role: One of `ROLES`.
        kind: Kind of attention.
        layer: Layer, from 0.
        head: Head, from 0.
        score: Score in the last snapshot.
        threshold: Midpoint between chance and the score.
        frame: Index of the first snapshot from which on the score stays above the threshold.
    """

    role: str
    kind: str
    layer: int
    head: int
    score: float
    threshold: float
    frame: int


def role_score(role: str, row: Mapping[str, float | None]) -> float | None:
    """Compute the score of a role, 0 to 1.

    Args:
        role: One of `ROLES`.
        row: Statistics of a head, as in `heads.head_row`.

    Returns:
        alignment: 1 - alignment error rate; previous, next, same: share of attention on that position; separator: share
        on <s>, </s> and punctuation. None if a statistic is undefined.
    """
    if role == "alignment":
        return None if row.get("aer") is None else 1 - (row["aer"] or 0)
    if role == "separator":
        return sum(row.get(name) or 0.0 for name in _SEPARATORS)
    return row.get(role)


def first_stable(scores: Sequence[float], threshold: float) -> int:
    """Return the first index from which on all scores exceed the threshold; their number if the last does not."""
    first = len(scores)
    while first and scores[first - 1] > threshold:
        first -= 1
    return first


def emergences(
    rows: Sequence[Mapping[str, Any]],
    snapshots: Sequence[Sequence[Mapping[str, float | None]]],
    chance: Mapping[str, Mapping[str, float]],
) -> list[Emergence]:
    """Find when the roles of heads emerge.

    Args:
        rows: kind, layer and head of each head.
        snapshots: For each head its statistics in each snapshot.
        chance: Score of uniform attention by role and kind.

    Returns:
        For each head the roles with a last score above chance: by role, then by descending score.
    """
    found = []
    for row, statistics in zip(rows, snapshots, strict=True):
        for role, kinds in ROLES.items():
            scores = [role_score(role, each) for each in statistics]
            known = [score for score in scores if score is not None]
            if row["kind"] not in kinds or len(known) < len(scores) or known[-1] <= chance[role][row["kind"]]:
                continue
            threshold = (known[-1] + chance[role][row["kind"]]) / 2
            frame = first_stable(known, threshold)
            found.append(Emergence(role, row["kind"], row["layer"], row["head"], known[-1], threshold, frame))
    return sorted(found, key=lambda each: (list(ROLES).index(each.role), -each.score))


def chance_alignment(pairs: Sequence[tuple[Sentence, Sentence]], gold: Sequence[Links]) -> float:
    """Compute the expected value of 1 - AER if each target word is linked to a source word drawn uniformly.

    Args:
        pairs: Sentence pairs.
        gold: Reference alignment of each pair.

    Returns:
        A number from 0 to 1; 0 if there are no words.
    """
    hits = total = 0.0
    for (source, target), reference in zip(pairs, gold, strict=True):
        words, links = len(source.words) - 1, len(target.words) - 1  # without </s>
        if words and links:
            hits += (len(reference.sure) + len(reference.possible)) / words
            total += links + len(reference.sure)
    return hits / total if total else 0.0
