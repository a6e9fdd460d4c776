"""What a training costs in floating-point operations, by the paper's rule and by what the model computes."""

from __future__ import annotations

from typing import NamedTuple

from allyouneed.model.transformer import Transformer
from allyouneed.training.optimizer import is_of_words


class PaperRun(NamedTuple):
    """Section 5.2. hours: wall clock; sustained: FLOP/s of each device (footnote 5); batch_tokens: of the target."""

    hours: float
    devices: int
    sustained: float
    steps: int
    batch_tokens: int


P100 = 9.5e12  # sustained single-precision FLOP/s that the paper assumes
BASE = PaperRun(hours=12, devices=8, sustained=P100, steps=100_000, batch_tokens=25_000)
BIG = PaperRun(hours=84, devices=8, sustained=P100, steps=300_000, batch_tokens=25_000)


def hardware_flops(seconds: float, devices: int, sustained: float) -> float:
    """Section 6.1: "training time × number of GPUs × an estimate of the sustained single-precision capacity"."""
    return seconds * devices * sustained


def flops_per_token(model: Transformer) -> float:
    """Operations a target token, forward and backward, with as many source tokens: six for each weight of a matrix.

    Every matrix meets every token once, so that the RNN and the Transformer are counted alike; that of the words does
    so at the softmax (looking up a row costs nothing). Attention's own products and everything element by element are
    left out: a few percent at the length of sentences.
    """
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and not is_of_words(name)]
    return 6.0 * sum(matrix.numel() for matrix in [*matrices, model.output.weight])


def paper_flops(run: PaperRun) -> float:
    """Training cost as table 2 prints it."""
    return hardware_flops(3600 * run.hours, run.devices, run.sustained)
