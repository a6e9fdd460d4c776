"""Training cost in floating-point operations, by the paper's rule and from the size of the model."""

from __future__ import annotations

from typing import NamedTuple

from allyouneed.model.transformer import Transformer
from allyouneed.training.optimizer import is_embedding


class PaperRun(NamedTuple):
    """A training run of the paper (section 5.2).

    Attributes:
        hours: Wall-clock time.
        devices: Number of GPUs.
        sustained: FLOP/s of each GPU (footnote 5).
        steps: Number of updates.
        batch_tokens: Target tokens per update.
    """

    hours: float
    devices: int
    sustained: float
    steps: int
    batch_tokens: int


P100 = 9.5e12  # sustained single-precision FLOP/s, as the paper estimates
BASE = PaperRun(hours=12, devices=8, sustained=P100, steps=100_000, batch_tokens=25_000)
BIG = PaperRun(hours=84, devices=8, sustained=P100, steps=300_000, batch_tokens=25_000)


def hardware_flops(seconds: float, devices: int, sustained: float) -> float:
    """Compute the cost as the paper does: training time × number of GPUs × sustained capacity (section 6.1).

    Args:
        seconds: Training time.
        devices: Number of devices.
        sustained: FLOP/s of each device.

    Returns:
        Floating-point operations.
    """
    return seconds * devices * sustained


def flops_per_token(model: Transformer) -> float:
    """Count operations of the forward and backward pass per target token: six per weight of a matrix.

    A sentence pair is assumed to have as many source as target tokens. Every matrix is applied to every token once, in
    the RNN as in the Transformer; the embedding matrix is applied only before the softmax. The products within
    attention and element-wise operations are not counted; they are a few percent for sequences as short as sentences.

    Args:
        model: A Transformer, or a model with the same interface.

    Returns:
        Floating-point operations per target token.
    """
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and not is_embedding(name)]
    return 6.0 * sum(matrix.numel() for matrix in [*matrices, model.output.weight])


def paper_flops(run: PaperRun) -> float:
    """Compute the training cost that table 2 prints.

    Args:
        run: A training run of the paper.

    Returns:
        Floating-point operations.
    """
    return hardware_flops(3600 * run.hours, run.devices, run.sustained)
