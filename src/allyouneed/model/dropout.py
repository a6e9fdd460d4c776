"""Dropout (section 5.4)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from allyouneed import kernels


class Dropout(nn.Module):
    """Zeroes elements with probability p and scales the rest, in training only, like `torch.nn.Dropout`.

    On a CPU PyTorch draws one random number after another, which took a quarter of a training step. A kernel hashes the
    element's place with a key instead, drawn once a call; the backward pass makes the mask again. `plain = True` is
    PyTorch's own.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.plain = False

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """Dropout(x), or onto + Dropout(x): the sum of a residual connection, in the same pass."""
        if not self.training or self.p == 0:
            return x if onto is None else onto + x
        if not self.plain and kernels.usable(x, *([] if onto is None else [onto])):
            return _Dropout.apply(x, onto, self.p, int(torch.randint(2**63 - 1, ())))  # type: ignore[no-untyped-call]
        dropped = F.dropout(x, self.p)
        return dropped if onto is None else onto + dropped

    def extra_repr(self) -> str:
        return f"p={self.p}"


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, onto: Tensor | None, p: float, key: int) -> Tensor:
        ctx.mask = key, p
        return kernels.dropout.drop(x.contiguous(), key, p, None if onto is None else onto.contiguous())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return kernels.dropout.drop(grad.contiguous(), *ctx.mask), grad if ctx.needs_input_grad[1] else None, None, None
