"""Adam as in section 5.3; Muon for the matrices as the alternative (Jordan et al. 2024).

Muon replaces a matrix's momentum by its nearest orthogonal matrix (Newton-Schulz iteration), so that all directions
learn at one rate. Here in fp32: `torch.optim.Muon` iterates in bf16, which many CPUs do slowly.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from allyouneed.config import TrainingConfig


def make_optimizers(model: nn.Module, training: TrainingConfig, learning_rate: float) -> list[Optimizer]:
    """One optimizer with the paper's Adam, or two: Muon for the matrices and Adam for the rest.

    Each group's `peak` is the learning rate that the schedule scales. Weight decay is decoupled; with Muon only the
    matrices decay.
    """
    fused = not training.plain
    betas, epsilon, decay = (training.beta1, training.beta2), training.epsilon, training.weight_decay
    parameters = dict(model.named_parameters())
    if training.optimizer == "adam":
        optimizers: list[Optimizer] = [AdamW(parameters.values(), learning_rate, betas, epsilon, decay, fused=fused)]
        peaks = [learning_rate]
    else:
        matrices = {name: p for name, p in parameters.items() if p.dim() == 2 and not is_of_words(name)}
        rest = [p for name, p in parameters.items() if name not in matrices]
        adam = AdamW(rest, learning_rate, betas, epsilon, weight_decay=0.0, fused=fused)
        optimizers = [adam, Muon(matrices.values(), training.matrix_learning_rate, weight_decay=decay)]
        peaks = [learning_rate, training.matrix_learning_rate]
    for optimizer, peak in zip(optimizers, peaks, strict=True):
        for group in optimizer.param_groups:
            group["peak"] = peak
    return optimizers


def is_of_words(name: str) -> bool:
    """Embeddings, positions and the pre-softmax linear: rows that stand each for itself."""
    return "tokens" in name or "positions" in name or name == "output.weight"


class Muon(Optimizer):
    """Nesterov momentum, orthogonalised; weight decay is decoupled. Only for matrices."""

    def __init__(
        self, parameters: Iterable[Tensor], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # without a closure: the gradients are there
        """One update of all matrices that have a gradient."""
        for group in self.param_groups:
            for same_shape in _by_shape(group["params"]):
                self._step(same_shape, group["lr"], group["momentum"], group["weight_decay"])

    def _step(self, matrices: list[tuple[Tensor, Tensor]], rate: float, momentum: float, decay: float) -> None:
        """matrices: with their gradients, all of one shape."""
        weights, gradients = map(list, zip(*matrices, strict=True))
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["momentum"] = torch.zeros_like(weight)
        buffers = [self.state[weight]["momentum"] for weight in weights]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        updates = orthogonalise(torch.stack(torch._foreach_lerp(gradients, buffers, momentum)))
        rows, columns = weights[0].shape
        torch._foreach_mul_(weights, 1 - rate * decay)
        torch._foreach_add_(weights, updates.unbind(), alpha=-rate * max(1.0, rows / columns) ** 0.5)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Singular values to about 1. [count, rows, columns], of any count: 16 at a time, that they stay in the cache.

    Each is divided by its Frobenius norm, so that the largest singular value is at most 1; those above 0.003 end
    between 0.8 and 1.2, smaller ones below.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT.contiguous() if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    x = torch.cat([_iterate(part) for part in x.split(16)])
    return x.mT if tall else x


# The four quintics a·s + b·s³ + c·s⁵ that together bring [0.003, 1] closest to 1, each the best for what the one before
# left (Amsel et al. 2025, "The Polar Express"); Muon's own, one quintic five times, leaves 0.7 to 1.2.
_QUINTICS = (
    (8.383673612923, -24.765905857975, 18.357081892888),
    (4.043420433700, -3.011404993842, 0.569512150319),
    (3.505570617244, -2.626653835618, 0.525719404820),
    (2.490115939444, -1.834275082753, 0.436834706895),
)


def _iterate(x: Tensor) -> Tensor:
    """x <- a·x + (b·gram + c·gram²)·x, the sums within the products; two places are written in turn."""
    gram, sums, other = (
        x.new_empty(len(x), x.shape[1], x.shape[1]),
        x.new_empty(len(x), x.shape[1], x.shape[1]),
        torch.empty_like(x),
    )
    for a, b, c in _QUINTICS:
        torch.bmm(x, x.mT, out=gram)
        torch.baddbmm(gram, gram, gram, beta=b, alpha=c, out=sums)
        torch.baddbmm(x, sums, x, beta=a, out=other)
        x, other = other, x
    return x


def _by_shape(parameters: Iterable[Tensor]) -> list[list[tuple[Tensor, Tensor]]]:
    """Parameters and gradients, of those that have one."""
    groups: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            groups.setdefault(parameter.shape, []).append((parameter, parameter.grad))
    return list(groups.values())
