"""PyTorch's engines of data parallelism: DistributedDataParallel (DDP), or FSDP2 with `training.sharding = full`.

DDP keeps the whole model on every rank, and sums the gradients of one bucket of parameters while the backward pass
computes those of the next. FSDP2 keeps 1/N of the weights, gradients and optimizer state on each of N ranks, as
`DTensor`s. It gathers the weights of a layer before the layer computes, and frees them afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from allyouneed.model.transformer import Transformer
from allyouneed.training.distributed.ranks import Ranks, is_sharded, whole
from allyouneed.training.optimizer import Optimizer

Value = TypeVar("Value")


class Computation(nn.Module):
    """The module that the engines wrap: their hooks run around `forward`, whichever parts of the model a loss calls.

    Args:
        model: The model that is trained.
    """

    def __init__(self, model: Transformer):
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[Transformer], Value]) -> Value:
        """Return the function's value for the model."""
        return function(self.model)


def parallelise(model: Transformer, ranks: Ranks, sharding: str | None) -> nn.Module:
    """Connect the models of all ranks, so that each rank has the mean of their gradients after a backward pass.

    Args:
        model: The model, with the same weights on all ranks. With sharding, its parameters are replaced by `DTensor`s:
            make the optimizers afterwards.
        ranks: Processes of the run. A single process needs no engine.
        sharding: See `training.sharding`.

    Returns:
        A module that is called like `Computation`.
    """
    computation = Computation(model)
    if ranks.count == 1:
        return computation
    if sharding == "full":
        return _shard(computation, ranks)
    return DistributedDataParallel(
        computation,
        gradient_as_bucket_view=True,
        find_unused_parameters=type(model) is not Transformer,  # a user's own model may have parameters without use
    )


def accumulating(engine: nn.Module, is_last: bool) -> AbstractContextManager[None]:
    """Let DDP add up the gradients of micro-batches without communication, except in the last one.

    FSDP2 reduces the gradients of each micro-batch, because a rank that adds them up would need memory for all of them.
    """
    return engine.no_sync() if isinstance(engine, DistributedDataParallel) and not is_last else nullcontext()


def clear_gradients(engine: nn.Module, optimizers: Iterable[Optimizer]) -> None:
    """Forget all gradients. DDP keeps their memory, its buckets, to which backward passes add without a copy."""
    if isinstance(engine, DistributedDataParallel):
        engine.zero_grad(set_to_none=False)
        return
    for optimizer in optimizers:
        optimizer.clear_gradients()


@torch.no_grad()
def gather_weights(model: nn.Module, copy: nn.Module, ranks: Ranks) -> None:
    """Update rank 0's whole copy of a sharded model; all ranks call this. A model that is not sharded has no copy."""
    parameters = dict(copy.named_parameters())
    for name, parameter in model.named_parameters():
        if is_sharded(parameter):
            values = whole(parameter)
            if ranks.is_first:
                parameters[name].copy_(values)


def _shard(computation: Computation, ranks: Ranks) -> nn.Module:
    """Shard each layer and, as the last group, all other parameters."""
    from torch.distributed.device_mesh import init_device_mesh  # a second of imports that other runs do not need
    from torch.distributed.fsdp import FSDPModule, fully_shard

    model = computation.model
    mesh = init_device_mesh("cuda" if torch.distributed.get_backend() == "nccl" else "cpu", (ranks.count,))
    for layer in (*model.encoder.layers, *model.decoder.layers):
        fully_shard(layer, mesh=mesh)
    fully_shard(computation, mesh=mesh)
    if mesh.device_type == "cpu":  # gloo has no mean
        for module in computation.modules():
            if isinstance(module, FSDPModule):
                module.set_force_sum_reduction_for_comms(True)
    return computation
