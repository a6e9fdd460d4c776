"""Dropout (section 5.4)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from allyouneed import kernels


class Dropout(nn.Module):
    """Dropout with probability p, during training only, like `torch.nn.Dropout`.

    On a CPU, PyTorch draws random numbers sequentially, which took a quarter of a training step. The kernel instead
    hashes the index of each element with one random key per call, and the backward pass recomputes the mask.

    Args:
        p: Probability of zeroing an element; the other elements are scaled by 1 / (1 - p).
        plain: Use PyTorch's dropout (the reference implementation).
    """

    def __init__(self, p: float, plain: bool = False):
        super().__init__()
        self.p, self.plain = p, plain

    def forward(self, x: Tensor, onto: Tensor | None = None, overwrite: bool = False) -> Tensor:
        """Compute Dropout(x), or onto + Dropout(x) for a residual connection, in one pass over memory.

        Args:
            x: Input of any shape.
            onto: The residual, with the shape of x.
            overwrite: Whether x may be overwritten, because nothing else needs it. The memory allocator cannot use a
                freed x again for a matrix of the same size, so that a step without it needs a fifth less memory.
        """
        if not self.training or self.p == 0:
            return x if onto is None else onto + x
        if not self.plain and kernels.usable(x, *([] if onto is None else [onto])):
            return _Dropout.apply(x, onto, self.p, int(torch.randint(2**63 - 1, ())), overwrite)  # type: ignore[no-untyped-call]
        dropped = F.dropout(x, self.p)
        return dropped if onto is None else onto + dropped

    def extra_repr(self) -> str:
        return f"p={self.p}"


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, onto: Tensor | None, p: float, key: int, overwrite: bool) -> Tensor:
        ctx.mask = key, p
        if overwrite and x.is_contiguous():
            ctx.mark_dirty(x)
        else:
            x, overwrite = x.contiguous(), False
        onto = None if onto is None else onto.contiguous()
        return kernels.dropout.drop(x, key, p, onto, out=x if overwrite else None)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_x = kernels.dropout.drop(grad.contiguous(), *ctx.mask)
        return grad_x, grad if ctx.needs_input_grad[1] else None, None, None, None
