"""How faithful an attribution is: remove the tokens that it ranks highest and measure what the model loses.

A removed token keeps its position, but its content, embedding · √d_model, is set to zero, the baseline of
`gradients.py`. A faithful ranking makes the log-probability difference fall early.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from allyouneed.insight.attribution.removal import PartialInputs, Question

RANDOM = "random"
_SEED = 1


@dataclass(frozen=True)
class DeletionTest:
    """Result of removing tokens in the order of several rankings.

    Attributes:
        removed: Numbers of removed tokens, from 0 to all.
        curves: For each ranking, the log-probability difference after these removals, in nats; "random" is the mean
            over random orders.
    """

    removed: list[int]
    curves: dict[str, np.ndarray]

    def drop(self, name: str) -> float:
        """Average the drop of the difference over the share of removed tokens, 0 to 1 (area under the drop), in nats.

        Numbers of tokens between two measured ones are interpolated. Larger means more faithful.
        """
        curve, widths = self.curves[name], np.diff(self.removed) / self.removed[-1]
        return float(curve[0] - (widths * (curve[1:] + curve[:-1]) / 2).sum())

    def until_changed(self, name: str) -> int | None:
        """Return the smallest measured number of removals that changes the sign of the difference, or None."""
        curve = self.curves[name]
        changed = np.flatnonzero(np.sign(curve) != np.sign(curve[0]))
        return self.removed[int(changed[0])] if len(changed) else None


def leave_one_out(inputs: PartialInputs, questions: list[Question]) -> np.ndarray:
    """Measure how much the difference falls if one token is removed.

    Args:
        inputs: Sentence pair.
        questions: Questions about it.

    Returns:
        Drops in nats, shape [questions, source + target]; 0 for the decoder's inputs after a question's position.
    """
    rows = np.concatenate([np.ones((1, inputs.length)), 1 - np.eye(inputs.length)])
    found = inputs.evaluate(rows, questions).T
    return found[:, :1] - found[:, 1:]


def deletion_test(
    inputs: PartialInputs,
    question: Question,
    rankings: Mapping[str, np.ndarray],
    samples: int = 4,
    every: bool = False,
    hidden: bool = False,
    removable: int | None = None,
) -> DeletionTest:
    """Remove tokens from the highest ranked one to the last.

    Args:
        inputs: Sentence pair; the decoder's inputs after the question's position are ignored.
        question: The question.
        rankings: For each ranking, a value per token, shape [source + position + 1]; the largest is removed first.
        samples: Number of random orders.
        every: Measure after every removal, instead of after 0, 1, 2, 3, 5, 8, 13, ... and all.
        hidden: Also hide removed tokens from every attention.
        removable: Remove only the first ones, for example the source tokens; None for all.

    Returns:
        The curves of all rankings and of random orders.
    """
    inputs = inputs.up_to(question.position)
    size = removable or inputs.length
    removed = list(range(size + 1)) if every else _counts(size)
    rng = np.random.default_rng(_SEED)
    orders = [np.argsort(-values[:size], kind="stable") for values in rankings.values()]
    orders += [rng.permutation(size) for _ in range(samples)]
    rows = np.ones((len(orders), len(removed), inputs.length))
    for order, block in zip(orders, rows, strict=True):
        for count, row in zip(removed, block, strict=True):
            row[order[:count]] = 0
    values = inputs.evaluate(rows.reshape(-1, inputs.length), [question], hidden)[:, 0].reshape(
        len(orders), len(removed)
    )
    curves = dict(zip(rankings, values, strict=False))
    return DeletionTest(removed, {**curves, RANDOM: values[len(rankings) :].mean(axis=0)} if samples else curves)


def _counts(size: int) -> list[int]:
    """Return 0, 1, 2, 3, 5, 8, ... (Fibonacci numbers) below `size`, and `size`."""
    counts, following = [0], (1, 2)
    while following[0] < size:
        counts.append(following[0])
        following = following[1], sum(following)
    return [*counts, size]
