"""Minimum Bayes risk (Kumar and Byrne 2004): prefer the hypothesis that resembles the other likely ones most.

The best hypothesis has the highest expected BLEU, if the reference is one of the beam's hypotheses. Their probabilities
are proportional to exp(score · lp), where the score is the log probability divided by the length penalty, and lp is the
length penalty of the hypothesis with the highest score: log probabilities alone would prefer short references. BLEU is
computed on subwords, with one added to the counts of n-grams longer than 1 (Lin and Och 2004).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from allyouneed.translation.search import Hypothesis, LengthPenalty

_ORDERS = range(1, 5)  # lengths of n-grams


def by_expected_bleu(hypotheses: Sequence[Hypothesis], penalty: LengthPenalty) -> list[Hypothesis]:
    """Sort the hypotheses of a sentence by their expected BLEU, best first; their scores are unchanged.

    Args:
        hypotheses: Hypotheses, best first by their scores.
        penalty: The length penalty of their scores.
    """
    if len(hypotheses) < 2:
        return list(hypotheses)
    scores = np.array([each.score for each in hypotheses])
    weights = np.exp((scores - scores.max()) * penalty.at(len(hypotheses[0].ids) + 1))
    expected = pairwise_bleu([each.ids for each in hypotheses]) @ (weights / weights.sum())
    return [hypotheses[i] for i in np.argsort(-expected, kind="stable")]


def pairwise_bleu(sentences: Sequence[Sequence[int]]) -> np.ndarray:
    """Compute the BLEU of each sentence with each as its reference, from 0 to 1, [hypothesis, reference].

    Args:
        sentences: Tokens of each sentence.
    """
    lengths = np.array([len(sentence) for sentence in sentences], dtype=np.float64)
    log_bleu = np.minimum(0.0, 1.0 - lengths[None, :] / np.maximum(lengths[:, None], 1.0))  # brevity penalty
    with np.errstate(divide="ignore"):
        for order in _ORDERS:
            counts, added = _ngram_counts(sentences, order), float(order > 1)
            matches = np.stack([np.minimum(row, counts).sum(axis=1) for row in counts])
            total = np.maximum(lengths - order + 1, 0.0)[:, None]
            log_bleu += np.log((matches + added) / np.maximum(total + added, 1.0)) / len(_ORDERS)
    return np.exp(log_bleu)


def _ngram_counts(sentences: Sequence[Sequence[int]], order: int) -> np.ndarray:
    """Count the n-grams of each sentence, [sentence, different n-gram]."""
    indices: dict[tuple[int, ...], int] = {}
    found = [
        [indices.setdefault(tuple(ids[i : i + order]), len(indices)) for i in range(len(ids) - order + 1)]
        for ids in sentences
    ]
    return np.array([np.bincount(np.array(row, dtype=np.int64), minlength=len(indices)) for row in found])
