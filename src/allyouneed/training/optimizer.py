"""Adam (section 5.3), or Muon for the weight matrices (Jordan et al. 2024).

Muon replaces a matrix's momentum by the nearest orthogonal matrix (Newton-Schulz iteration), so that all directions are
updated at the same rate. It iterates in fp32, or in bf16 if `training.precision` is bf16 and bf16 products are faster.
`torch.optim.Muon` always iterates in bf16, which is slow on many CPUs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from allyouneed import kernels
from allyouneed.config import TrainingConfig
from allyouneed.training.distributed.matrix_owners import transform_on_owners
from allyouneed.training.distributed.ranks import Ranks, is_sharded, local


def make_optimizers(
    model: nn.Module, training: TrainingConfig, learning_rate: float, ranks: Ranks | None = None
) -> list[Optimizer]:
    """Make the paper's Adam, or two optimizers: Muon for the matrices and Adam for the other parameters.

    Frozen parameters belong to no optimizer.

    Args:
        model: The model.
        training: Training settings; weight decay is decoupled, and with Muon it applies to the matrices only.
        learning_rate: Peak learning rate of Adam.
        ranks: Processes of the run; None for a single one.

    Returns:
        Optimizers whose parameter groups have a `peak`, the learning rate that the schedule scales.
    """
    fused = not training.plain
    betas, epsilon, decay = (training.beta1, training.beta2), training.epsilon, training.weight_decay
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    matrices: dict[str, nn.Parameter] = {}
    if training.optimizer == "muon":
        matrices = {name: p for name, p in parameters.items() if p.dim() == 2 and not is_embedding(name)}
        decay = 0.0
    rest = [p for name, p in parameters.items() if name not in matrices]
    optimizers: list[Optimizer] = []
    if rest:
        optimizers.append(AdamW(rest, learning_rate, betas, epsilon, decay, fused))
    if matrices:
        rate = training.matrix_learning_rate
        device = next(iter(matrices.values())).device
        bf16 = training.precision == "bf16" and device.type == "cpu" and kernels.prefers_bf16()
        optimizers.append(Muon(matrices.values(), rate, weight_decay=training.weight_decay, bf16=bf16, ranks=ranks))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def is_embedding(name: str) -> bool:
    """Return whether a parameter, by its name, has one row per token or position: embeddings, output projection."""
    return "tokens" in name or "positions" in name or name == "output.weight"


class Optimizer(ABC):
    """An optimizer with the interface of PyTorch's, whose base class would load torch.compile, which takes a second.

    Args:
        parameters: The parameters.
        settings: Settings by name, among them the learning rate `lr`.

    Attributes:
        param_groups: A dictionary with the parameters as `params` and the settings.
        state: Tensors by parameter and name, which checkpoints contain.
    """

    def __init__(self, parameters: Iterable[Tensor], settings: dict[str, Any]):
        self.param_groups: list[dict[str, Any]] = [{"params": list(parameters), **settings}]
        self.state: dict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    @abstractmethod
    def step(self) -> None:
        """Update all parameters that have a gradient."""

    def clear_gradients(self) -> None:
        """Free the gradients of all parameters."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


class AdamW(Optimizer):
    """Adam with decoupled weight decay, as `torch.optim.AdamW`.

    Args:
        parameters: The parameters.
        lr: Learning rate.
        betas: Decay of the averages of the gradient and of its square.
        epsilon: Added to the root of the second average.
        weight_decay: Decoupled weight decay.
        fused: Update all parameters in one call.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float],
        epsilon: float,
        weight_decay: float,
        fused: bool,
    ):
        settings = {"lr": lr, "betas": betas, "eps": epsilon, "weight_decay": weight_decay, "fused": fused}
        super().__init__(parameters, settings)

    @torch.no_grad()
    def step(self) -> None:
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            changing = [parameter for parameter in group["params"] if parameter.grad is not None]
            states = [self._state_of(parameter, group["fused"]) for parameter in changing]
            adamw(
                [local(parameter) for parameter in changing],
                [local(parameter.grad) for parameter in changing],
                [local(state["exp_avg"]) for state in states],
                [local(state["exp_avg_sq"]) for state in states],
                max_exp_avg_sqs=[],
                state_steps=[state["step"] for state in states],
                fused=group["fused"],
                amsgrad=False,
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                maximize=False,
            )

    def _state_of(self, parameter: Tensor, fused: bool) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device if fused else "cpu")
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state


class Muon(Optimizer):
    """Orthogonalised Nesterov momentum with decoupled weight decay, for matrices only.

    Args:
        parameters: The matrices.
        lr: Learning rate.
        momentum: Decay of the momentum.
        weight_decay: Decoupled weight decay.
        bf16: Whether to iterate in bf16; momentum and weights remain fp32.
        ranks: Processes of the run, each of which orthogonalises a part of the matrices; None for a single one.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        bf16: bool = False,
        ranks: Ranks | None = None,
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._orthogonalise = partial(orthogonalise, bf16=bf16)
        self._ranks = ranks or Ranks()

    @torch.no_grad()
    def step(self) -> None:
        """Update all matrices that have a gradient."""
        for group in self.param_groups:
            for same_shape in _by_shape(group["params"]):
                self._step(same_shape, group["lr"], group["momentum"], group["weight_decay"])

    def _step(self, matrices: list[tuple[Tensor, Tensor]], rate: float, momentum: float, decay: float) -> None:
        """Update matrices of one shape, given as pairs with their gradients."""
        rows, columns = matrices[0][0].shape
        for weight, _ in matrices:
            if not self.state[weight]:
                self.state[weight]["momentum"] = torch.zeros_like(weight)
        buffers = [local(self.state[weight]["momentum"]) for weight, _ in matrices]
        weights, gradients = ([local(each) for each in column] for column in zip(*matrices, strict=True))
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        directions = torch.stack(torch._foreach_lerp(gradients, buffers, momentum))
        sharded_rows = rows if is_sharded(matrices[0][0]) else None
        updates = transform_on_owners(directions, sharded_rows, self._ranks, self._orthogonalise)
        torch._foreach_mul_(weights, 1 - rate * decay)
        torch._foreach_add_(weights, updates.unbind(), alpha=-rate * max(1.0, rows / columns) ** 0.5)


def orthogonalise(matrices: Tensor, bf16: bool = False) -> Tensor:
    """Map the singular values of matrices to about 1, keeping the singular vectors.

    Each matrix is divided by its Frobenius norm, so that its singular values are at most 1. Values above 0.003 are
    mapped to between 0.8 and 1.2; smaller values stay smaller. Batches of 16 matrices stay in the cache.

    Args:
        matrices: Matrices, [count, rows, columns], in fp32.
        bf16: Whether to iterate in bf16.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT.contiguous() if tall else matrices
    margin, quintics = (_MARGIN, _BF16_QUINTICS) if bf16 else (1.0, _QUINTICS)
    x = x / (margin * x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    x = x.bfloat16() if bf16 else x
    x = torch.cat([_iterate(part, quintics) for part in x.split(16)]).float()
    return x.mT if tall else x


# Four quintics a·s + b·s³ + c·s⁵, each optimal for the output range of the previous one, that map [0.003, 1] closest to
# 1 (Amsel et al. 2025, "The Polar Express"). The original Muon applies one quintic five times and gives 0.7 to 1.2.
_QUINTICS = (
    (8.383673612923, -24.765905857975, 18.357081892888),
    (4.043420433700, -3.011404993842, 0.569512150319),
    (3.505570617244, -2.626653835618, 0.525719404820),
    (2.490115939444, -1.834275082753, 0.436834706895),
)
# In bf16, rounding takes singular values past the range of the next quintic, outside of which it diverges. All but the
# last therefore map a range that is wider by a margin, as their authors do.
_MARGIN = 1.01
_BF16_QUINTICS = (*((a / _MARGIN, b / _MARGIN**3, c / _MARGIN**5) for a, b, c in _QUINTICS[:-1]), _QUINTICS[-1])


def _iterate(x: Tensor, quintics: Iterable[tuple[float, float, float]]) -> Tensor:
    """Apply x <- a·x + (b·gram + c·gram²)·x per quintic, alternating between two buffers."""
    gram, sums, other = (
        x.new_empty(len(x), x.shape[1], x.shape[1]),
        x.new_empty(len(x), x.shape[1], x.shape[1]),
        torch.empty_like(x),
    )
    for a, b, c in quintics:
        torch.bmm(x, x.mT, out=gram)
        torch.baddbmm(gram, gram, gram, beta=b, alpha=c, out=sums)
        torch.baddbmm(x, sums, x, beta=a, out=other)
        x, other = other, x
    return x


def _by_shape(parameters: Iterable[Tensor]) -> list[list[tuple[Tensor, Tensor]]]:
    """Group parameters and their gradients by shape; skip parameters without a gradient."""
    groups: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            groups.setdefault(parameter.shape, []).append((parameter, parameter.grad))
    return list(groups.values())
