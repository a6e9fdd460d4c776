"""Dropout (section 5.4) whose random numbers are cheap on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_VALUES = 2**16


class Dropout(nn.Module):
    """Zeroes elements with probability p and scales the rest, in training only, like `torch.nn.Dropout`.

    On a CPU PyTorch draws one random number an element, which took a quarter of a training step; here one random
    64-bit word decides four elements, 16 bits each. p is rounded to 1/65536 and the scale follows the rounded rate,
    so that the expectation is exact.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.dropped_values = round(p * _VALUES)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.dropped_values == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        return x * keep_mask(x.shape, self.dropped_values).to(x.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def keep_mask(shape: torch.Size, dropped_values: int) -> Tensor:
    """0 where dropped, with probability dropped_values / 65536, else the scale that keeps the mean. float32."""
    count = shape.numel()
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    keep = words.view(torch.int16)[:count] >= dropped_values - _VALUES // 2
    return keep.to(torch.float32).mul_(_VALUES / (_VALUES - dropped_values)).view(shape)
