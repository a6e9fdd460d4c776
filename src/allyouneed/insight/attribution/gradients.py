"""Integrated gradients of a log-probability difference (Sundararajan, Taly & Yan 2017).

The baseline is a sentence pair whose tokens have no content: embedding · √d_model is zero, positional encodings stay.
On the straight line from it to the pair, the content of every token is multiplied by the same factor α from 0 to 1. The
attribution of a token is the integral over α of the derivative with respect to its own factor: this equals the sum over
the components of its embedding. By the completeness axiom, attributions sum to the difference minus the difference of
the baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from allyouneed.insight.attribution.removal import PartialInputs, Question

STEPS = 12  # of the first approximation; each refinement has three times as many
TOLERANCE = 0.01


class IntegratedGradients(NamedTuple):
    """Attributions of several questions.

    Attributes:
        values: Attributions in nats, shape [questions, source + target]; 0 after a question's position.
        full: Log-probability difference of the pair, shape [questions].
        baseline: Difference of the baseline, shape [questions].
        steps: Number of points of the integral, shape [questions].
    """

    values: np.ndarray
    full: np.ndarray
    baseline: np.ndarray
    steps: np.ndarray

    @property
    def gap(self) -> np.ndarray:
        """Error of the sum of attributions, relative to the sum of their magnitudes, shape [questions]."""
        error = np.abs(self.values.sum(axis=1) - (self.full - self.baseline))
        return error / np.maximum(np.abs(self.values).sum(axis=1), 1e-9)


def integrated_gradients(
    inputs: PartialInputs,
    questions: Sequence[Question],
    steps: int = STEPS,
    max_steps: int = 81 * STEPS,
    tolerance: float = TOLERANCE,
) -> IntegratedGradients:
    """Integrate by the midpoint rule; questions whose gap exceeds the tolerance get three times as many points.

    Args:
        inputs: Sentence pair.
        questions: Questions about it.
        steps: Number of points to begin with.
        max_steps: Number of points at which refinement stops.
        tolerance: Largest acceptable gap, see `IntegratedGradients.gap`.

    Returns:
        Attributions of all questions.
    """
    full, baseline = inputs.evaluate(np.repeat([[1.0], [0.0]], inputs.length, axis=1), questions)
    points = (np.arange(steps) + 0.5) / steps
    values, counts = _sums(inputs, questions, points) / steps, np.full(len(questions), steps)
    found = IntegratedGradients(values, full, baseline, counts)
    while True:
        coarse = np.flatnonzero((found.gap > tolerance) & (found.steps * 3 <= max_steps))
        if not len(coarse):
            return found
        finer = 3 * int(found.steps[coarse[0]])
        points = np.delete((np.arange(finer) + 0.5) / finer, np.s_[1::3])  # every third point is known already
        new = _sums(inputs, [questions[int(i)] for i in coarse], points)
        found.values[coarse] = found.values[coarse] / 3 + new / finer
        found.steps[coarse] = finer


def _sums(inputs: PartialInputs, questions: Sequence[Question], points: np.ndarray) -> np.ndarray:
    """Sum the derivatives at all points. -> [questions, source + target]."""
    sums = np.zeros((len(questions), inputs.length))
    with torch.inference_mode(False), torch.enable_grad():
        for batch in inputs.batches(np.repeat(points[:, None], inputs.length, axis=1)):
            batch.requires_grad_()
            states = inputs.states(batch)
            for number, question in enumerate(questions):
                difference = inputs.differences(states, question).sum()
                last = number == len(questions) - 1
                [slopes] = torch.autograd.grad(difference, batch, retain_graph=not last)
                sums[number] += slopes.double().sum(dim=0).cpu().numpy()
    return sums
