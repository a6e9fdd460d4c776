"""Data parallelism over several processes: `torchrun --nproc-per-node N -m allyouneed train ...`.

Every rank reads its share of each global batch. Losses are divided by the number of tokens of the global batch and
gradients are summed over ranks (`parallel.py`), so that N ranks compute the same update as one process. Rank 0 writes
files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import torch
import torch.distributed
from torch import Tensor

from allyouneed.training.distributed.launch import announced_ranks
from allyouneed.training.distributed.lifeline import Lifeline
from allyouneed.training.distributed.rendezvous import meet

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

Value = TypeVar("Value")
_TIMEOUT = timedelta(hours=12)  # the other ranks wait while rank 0 prepares a large corpus


@dataclass(frozen=True)
class Ranks:
    """Rank and number of processes, with collective operations that need no communication for a single process.

    Attributes:
        rank: Index of this process, from 0.
        count: Number of processes.
        lifeline: Heartbeats of the processes; None for a single process, or in a group that the caller made.
    """

    rank: int = 0
    count: int = 1
    lifeline: Lifeline | None = field(default=None, compare=False)

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes files and prints."""
        return self.rank == 0

    def sum(self, *numbers: float | Tensor) -> list[float]:
        """Sum each number over the ranks, in double precision."""
        total = torch.tensor([float(number) for number in numbers], dtype=torch.float64)
        if self.count > 1:
            on_device = total.cuda() if torch.distributed.get_backend() == "nccl" else total
            torch.distributed.all_reduce(on_device)
            total = on_device.cpu()
        return total.tolist()

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any rank."""
        return self.any_of(flag)[0]

    def any_of(self, *flags: bool) -> list[bool]:
        """Return for each flag whether it is set on any rank, with one message."""
        return list(flags) if self.count == 1 else [total > 0 for total in self.sum(*flags)]

    def wait(self) -> None:
        """Wait until all ranks have called this."""
        if self.count > 1:
            torch.distributed.barrier()

    def share(self, value: Value | None) -> Value:
        """Return rank 0's value on every rank; the values of other ranks are ignored."""
        values: list[Any] = [value]
        if self.count > 1:
            torch.distributed.broadcast_object_list(values)
        return values[0]

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks, in their order."""
        values: list[Any] = [value] * self.count
        if self.count > 1:
            torch.distributed.all_gather_object(values, value)
        return values

    def leave(self) -> None:
        """Leave the process group, after which the end or the loss of another process does not end this one."""
        leave_ranks(self)


def join_ranks(device: str) -> Ranks:
    """Join the process group that torchrun announces in the environment, if any.

    Args:
        device: Type of the device, "cpu" or "cuda".

    Raises:
        UserError: See `announced_ranks` and `meet`.
    """
    count = announced_ranks()
    if count == 1:
        return Ranks()
    lifeline = None
    if not torch.distributed.is_initialized():
        backend = "nccl" if device == "cuda" else "gloo"
        if backend == "nccl":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        rank = int(os.environ["RANK"])
        store, lifeline = meet(rank, count)
        torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=_TIMEOUT)
    return Ranks(torch.distributed.get_rank(), count, lifeline)


def leave_ranks(ranks: Ranks) -> None:
    """Leave the process group, which notifies the other processes of an error that ends this one."""
    failed = ranks.lifeline is not None and ranks.lifeline.ending is not None
    is_member = ranks.count > 1 and torch.distributed.is_initialized()
    if is_member and not (failed and torch.distributed.get_backend() == "nccl"):  # it would wait for lost processes
        torch.distributed.destroy_process_group()
    if ranks.lifeline is not None:
        ranks.lifeline.close()


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Return whether a tensor is a `DTensor`, whose values are divided among the ranks (`training.sharding`)."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """Return all values of a tensor; if it is sharded, all ranks call this."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """Return this rank's values of a tensor, without a copy: its rows of a sharded tensor, or all values."""
    return tensor.to_local() if is_sharded(tensor) else tensor


@torch.no_grad()
def assign(target: Tensor, values: Tensor) -> None:
    """Copy whole values, which all ranks have, into a tensor that may be sharded."""
    if is_sharded(target):
        from torch.distributed.tensor import distribute_tensor  # needs half a second, and only sharded runs need it

        values = distribute_tensor(values.to(target.device), target.device_mesh, target.placements, src_data_rank=None)
    target.copy_(values)
