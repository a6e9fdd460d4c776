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
        updates = []
        for matrix, gradient in matrices:
            buffer = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
            buffer.lerp_(gradient, 1 - momentum)
            updates.append(gradient.lerp(buffer, momentum))
        rows, columns = matrices[0][0].shape
        scale = rate * max(1.0, rows / columns) ** 0.5
        for (matrix, _), update in zip(matrices, orthogonalise(torch.stack(updates)), strict=True):
            matrix.mul_(1 - rate * decay).sub_(update, alpha=scale)


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Singular values to about 1 by Newton-Schulz's quintic iteration. [count, rows, columns] -> the same shape.

    Within 0.7 to 1.2, but for the smallest beside the norm of all: they grow by a factor `a` an iteration.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(iterations):  # x = a·x + (b·gram + c·gram²)·x, the sums within the products
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _by_shape(parameters: Iterable[Tensor]) -> list[list[tuple[Tensor, Tensor]]]:
    """Parameters and gradients, of those that have one."""
    groups: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            groups.setdefault(parameter.shape, []).append((parameter, parameter.grad))
    return list(groups.values())
