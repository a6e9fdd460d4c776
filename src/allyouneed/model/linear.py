"""Linear maps, on a CPU by the quicker of the two libraries for products that PyTorch has there."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Linear(nn.Linear):
    """x Wᵀ + b, like `torch.nn.Linear`, and max(0, ·) of that where it is wanted, in the same pass.

    PyTorch multiplies fp32 matrices by MKL, and has oneDNN beside it, whose products with weights are up to a fifth
    faster (docs/experiments.md); gradients of weights stay with MKL. `plain = True` is PyTorch's own.
    """

    plain = False

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        if not self.plain:
            return linear(x, self.weight, self.bias, relu)
        out = F.linear(x, self.weight, self.bias)
        return out.relu_() if relu else out


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool = False) -> Tensor:
    """x [..., in], weight [out, in], bias [out] -> [..., out].

    oneDNN is for packed tokens, [tokens, in] in fp32, the shape of training.
    """
    fp32 = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type)
    if x.dim() == 2 and x.device.type == "cpu" and fp32 and _has_onednn():
        return _Linear.apply(x, weight, bias, relu)  # type: ignore[no-untyped-call]
    out = F.linear(x, weight, bias)
    return out.relu_() if relu else out


@cache
def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """As `linear`. PyTorch's compiler calls the same function; it has no public name."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "relu" if relu else "none", [], "")
    return out


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
        out = _product(x, weight, bias, relu)
        ctx.save_for_backward(x, weight, out if relu else None)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, out = ctx.saved_tensors
        wanted_x, wanted_weight, wanted_bias, _ = ctx.needs_input_grad
        if out is not None:
            grad = torch.ops.aten.threshold_backward(grad, out, 0)
        grad_x = _product(grad, weight.t(), None, False) if wanted_x else None
        return grad_x, grad.t() @ x if wanted_weight else None, grad.sum(0) if wanted_bias else None, None
