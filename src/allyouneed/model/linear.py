"""Linear layers, x Wᵀ + b, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from allyouneed import kernels


class Linear(nn.Linear):
    """`torch.nn.Linear` that uses the package's own matrix product where it is faster.

    Under bf16 autocast on a CPU with AMX or AVX512_BF16, the package's products round both factors to bf16 and sum in
    fp32. Input, output, weights and gradients remain fp32.

    Args:
        in_features: Width of the input.
        out_features: Width of the output.
        bias: Whether to add a bias.
        plain: Always use PyTorch's product (the reference implementation).
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, plain: bool = False):
        super().__init__(in_features, out_features, bias)
        self.plain = plain

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        """Compute x Wᵀ + b, or max(0, x Wᵀ + b) with `relu`.

        Args:
            x: Input, shape [..., in_features].
            relu: Whether to apply ReLU, in the same pass over memory.

        Returns:
            Output, shape [..., out_features].
        """
        return apply_linears(x, self, relu=relu)


def apply_linears(x: Tensor, *linears: Linear, relu: bool = False) -> Tensor:
    """Apply several linear layers to the same input and concatenate their outputs.

    Args:
        x: Input, shape [..., in_features].
        linears: Layers, either all with a bias or all without.
        relu: Whether to apply ReLU.

    Returns:
        Outputs, shape [..., sum of the layers' out_features].
    """
    weights: list[Tensor] = [linear.weight for linear in linears]
    biases: list[Tensor] = [linear.bias for linear in linears if linear.bias is not None]
    rows = x.numel() // x.shape[-1]
    bf16 = kernels.multiplies_in_bf16()
    if not any(linear.plain for linear in linears) and kernels.multiplies(rows, x, *weights, bf16=bf16):
        if bf16 and len(linears) > 1:  # one product, so that the input is rounded once; in fp32, copies cost more
            weights, biases = [torch.cat(weights)], [torch.cat(biases)] if biases else []
        y = _Linear.apply(x.reshape(rows, -1).contiguous(), relu, bf16, len(weights), *weights, *biases)  # type: ignore[no-untyped-call]
        return y if x.dim() == 2 else y.view(*x.shape[:-1], -1)  # a view could not be overwritten by dropout
    if len(linears) == 1:
        y = F.linear(x, weights[0], linears[0].bias)
    else:
        y = F.linear(x, torch.cat(weights), torch.cat(biases) if biases else None)
    return y.relu_() if relu else y


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, relu: bool, bf16: bool, count: int, *parameters: Tensor) -> Tensor:
        """Multiply x [rows, in_features]; parameters: `count` weights, then as many biases or none."""
        weights, biases = parameters[:count], parameters[count:] or [None] * count
        widths = [len(weight) for weight in weights]
        y = x.new_empty(len(x), sum(widths))
        mode = kernels.Mode.RELU if relu else kernels.Mode.SET
        for weight, bias, out in zip(weights, biases, y.split(widths, 1), strict=True):
            kernels.matmul.matmul(x, weight.T, bias, mode, out, bf16)
        ctx.save_for_backward(x, y if relu else None, *weights)
        ctx.biases, ctx.bf16 = len(parameters) - count, bf16
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, *weights = ctx.saved_tensors
        grad = grad.contiguous() if y is None else torch.ops.aten.threshold_backward(grad, y, 0)
        needed = ctx.needs_input_grad[4:]  # False for frozen weights
        grads = grad.split([len(weight) for weight in weights], 1)
        if ctx.bf16:
            needs_x, needs_weight, [weight] = ctx.needs_input_grad[0], needed[0], weights
            grad_x, *weight_grads = kernels.matmul.gradients(grad, x, weight, needs_x, needs_weight)
        else:
            grad_x = _gradient_of_input(x, grads, weights) if ctx.needs_input_grad[0] else None
            pairs = zip(grads, needed, strict=False)
            weight_grads = [kernels.matmul.matmul(part.T, x) if needs else None for part, needs in pairs]
        has_bias = any(needed[len(weights) :])
        bias_grads = grad.sum(0).split([len(weight) for weight in weights]) if has_bias else [None] * ctx.biases
        return grad_x, None, None, None, *weight_grads, *bias_grads


def _gradient_of_input(x: Tensor, grads: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Return the sum of the products of gradients [rows, width] and weights [width, in_features]."""
    total = torch.empty_like(x)
    for number, (grad, weight) in enumerate(zip(grads, weights, strict=True)):
        mode = kernels.Mode.ADD if number else kernels.Mode.SET
        kernels.matmul.matmul(grad, weight, mode=mode, out=total)
    return total
