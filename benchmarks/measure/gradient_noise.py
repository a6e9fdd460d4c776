"""Gradient noise scale of a run: the batch at which doubling it begins to pay less (McCandlish et al. 2018).

The gradient of a batch of B tokens is that of the whole corpus plus noise of variance tr(Σ) / B. The noise scale
tr(Σ) / |G|² is the batch at which both are equal. It is estimated from the squared norms of the gradients of small
batches and of their mean (appendix A.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from allyouneed.bundle import Bundle, load_bundle, load_weights
from allyouneed.data.batches import collate
from allyouneed.data.prepared import PreparedData
from allyouneed.data.store import PairStore, open_store
from allyouneed.data.tokens.tokenizer import PAD
from allyouneed.snapshots import KEPT, Snapshots
from allyouneed.training.step import batch_loss


class Noise(NamedTuple):
    """Noise scale in target tokens after a number of steps, and its estimates on both halves of the batches."""

    step: int
    scale: float
    halves: tuple[float, float]


def measure_noise(run: Path, sentences: int = 64, batches: int = 64, snapshots: int = 4) -> list[Noise]:
    """Estimate the noise scale with the weights of a run's kept snapshots, and with those of its bundle.

    Args:
        run: Folder of the run, with its prepared text.
        sentences: Pairs of a small batch.
        batches: Number of small batches.
        snapshots: Number of kept snapshots (`training.keep_snapshots`), evenly spaced, without the initial weights.

    Returns:
        Estimates by step.
    """
    bundle, store = load_bundle(run), open_store(PreparedData(run / "data").train)
    kept = Snapshots(run / KEPT)
    steps = [step for step in kept.steps() if step]
    chosen = sorted({steps[round(index)] for index in np.linspace(0, len(steps) - 1, min(snapshots, len(steps)))})
    found = []
    for step in chosen:
        load_weights(bundle.model, kept.load(step), run)
        found.append(_estimate(bundle, store, sentences, batches, step))
    if not chosen:
        found.append(_estimate(bundle, store, sentences, batches, int(bundle.notes.get("steps", 0))))
    return found


def _estimate(bundle: Bundle, store: PairStore, sentences: int, batches: int, step: int) -> Noise:
    random = np.random.default_rng(1)
    torch.manual_seed(1)
    halves = [_Sums(), _Sums()]
    for index in range(batches):
        batch = collate(store, random.integers(len(store), size=sentences))
        tokens = int((batch.target_output != PAD).sum())
        halves[2 * index // batches].add(_gradient(bundle, batch) / tokens, tokens)
    scales = sorted(half.noise_scale() for half in halves)
    return Noise(step, halves[0].joined(halves[1]).noise_scale(), (scales[0], scales[1]))


@dataclass
class _Sums:
    """Sums over small batches: mean gradients per token, their squared norms, tokens, and the number of batches."""

    gradient: Tensor | float = 0.0
    squares: float = 0.0
    tokens: int = 0
    count: int = 0

    def add(self, gradient: Tensor, tokens: int) -> None:
        self.gradient = self.gradient + gradient
        self.squares += float(gradient.square().sum())
        self.tokens += tokens
        self.count += 1

    def joined(self, other: _Sums) -> _Sums:
        count, tokens = self.count + other.count, self.tokens + other.tokens
        return _Sums(self.gradient + other.gradient, self.squares + other.squares, tokens, count)

    def noise_scale(self) -> float:
        """Return tr(Σ) / |G|² in tokens; infinite if the noise hides the gradient."""
        small, large = self.tokens / self.count, self.tokens
        squares = self.squares / self.count  # expectation: |G|² + tr(Σ) / small
        mean = float((torch.as_tensor(self.gradient) / self.count).square().sum())  # |G|² + tr(Σ) / large
        signal = (large * mean - small * squares) / (large - small)
        variance = (squares - mean) / (1 / small - 1 / large)
        return variance / signal if signal > 0 else float("inf")


def _gradient(bundle: Bundle, batch) -> Tensor:
    """Return the gradient of the loss, summed over tokens, with dropout as in training."""
    model = bundle.model.train()
    model.zero_grad(set_to_none=True)
    loss, _ = batch_loss(model, batch, bundle.config.training, torch.device("cpu"))
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
