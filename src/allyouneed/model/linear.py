"""x Wᵀ + b, and its gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from allyouneed import kernels


class Linear(nn.Linear):
    """As PyTorch's, by our own product where that is the faster one. `plain = True` is PyTorch's own."""

    plain = False

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in_features] -> [..., out_features]."""
        return side_by_side(x, self)


def side_by_side(x: Tensor, *linears: Linear, relu: bool = False) -> Tensor:
    """What several make of x [..., in_features], or its positive part: [..., the sum of their widths].

    All have a bias, or none has.
    """
    weights: list[Tensor] = [one.weight for one in linears]
    biases: list[Tensor] = [one.bias for one in linears if one.bias is not None]
    rows = x.numel() // x.shape[-1]
    if not any(one.plain for one in linears) and kernels.multiplies(rows, x, *weights):
        y = _Linear.apply(x.reshape(rows, -1).contiguous(), relu, len(weights), *weights, *biases)  # type: ignore[no-untyped-call]
        return y.view(*x.shape[:-1], -1)
    if len(linears) == 1:
        y = F.linear(x, weights[0], linears[0].bias)
    else:
        y = F.linear(x, torch.cat(weights), torch.cat(biases) if biases else None)
    return y.relu_() if relu else y


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, relu: bool, count: int, *given: Tensor) -> Tensor:
        """x [rows, in_features]; given: the weights, so many, then the biases, as many or none."""
        weights, biases = given[:count], given[count:] or [None] * count
        widths = [len(weight) for weight in weights]
        y = x.new_empty(len(x), sum(widths))
        for weight, bias, out in zip(weights, biases, y.split(widths, 1), strict=True):
            kernels.matmul.matmul(x, weight.T, bias, kernels.Mode.RELU if relu else kernels.Mode.SET, out)
        ctx.save_for_backward(x, y if relu else None, *weights)
        ctx.has_bias = len(given) > count
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, *weights = ctx.saved_tensors
        grad = grad.contiguous() if y is None else torch.ops.aten.threshold_backward(grad, y, 0)
        grads = grad.split([len(weight) for weight in weights], 1)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.empty_like(x)
            for number, (part, weight) in enumerate(zip(grads, weights, strict=True)):
                mode = kernels.Mode.ADD if number else kernels.Mode.SET
                kernels.matmul.matmul(part, weight, mode=mode, out=grad_x)
        of_weights = [kernels.matmul.matmul(part.T, x) for part in grads]
        of_biases = grad.sum(0).split([len(weight) for weight in weights]) if ctx.has_bias else ()
        return grad_x, None, None, *of_weights, *of_biases
