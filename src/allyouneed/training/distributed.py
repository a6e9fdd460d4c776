"""Data parallelism over several processes: `torchrun --nproc-per-node N -m allyouneed train ...`.

Every rank reads its share of each global batch. Losses are divided by the number of tokens of the global batch and
gradients are summed over ranks, so that N ranks compute the same update as one process. Rank 0 writes files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed
from torch import Tensor

from allyouneed.errors import UserError

Value = TypeVar("Value")
_TIMEOUT = timedelta(hours=12)  # the other ranks wait while rank 0 prepares a large corpus
_NUMBERS = ("RANK", "LOCAL_RANK", "MASTER_PORT")  # numeric environment variables of torchrun


@dataclass(frozen=True)
class Ranks:
    """Rank and number of processes, with collective operations that need no communication for a single process.

    Attributes:
        rank: Index of this process, from 0.
        count: Number of processes.
    """

    rank: int = 0
    count: int = 1

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
        return flag if self.count == 1 else self.sum(float(flag))[0] > 0

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Sum all gradients over the ranks, in one all-reduce."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

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


def announced_ranks() -> int:
    """Return the number of processes that torchrun announces in the environment; 1 without torchrun.

    Raises:
        UserError: If WORLD_SIZE is set, as on some clusters, but torchrun's other variables are not.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if count == "1":
        return 1
    wrong = [] if count.isdecimal() and int(count) else ["WORLD_SIZE"]
    wrong += [name for name in _NUMBERS if not os.environ.get(name, "").isdecimal()]
    wrong += [] if os.environ.get("MASTER_ADDR") else ["MASTER_ADDR"]
    if not wrong and int(os.environ["RANK"]) >= int(count):
        wrong = ["RANK"]
    if wrong:
        raise UserError(
            f"WORLD_SIZE is {count} in the environment, but these variables are missing or invalid: "
            f"{', '.join(wrong)}. Start several processes with torchrun, or unset WORLD_SIZE."
        )
    return int(count)


def join_ranks(device: str) -> Ranks:
    """Join the process group that torchrun announces in the environment, if any.

    Args:
        device: Type of the device, "cpu" or "cuda".

    Raises:
        UserError: See `announced_ranks`.
    """
    count = announced_ranks()
    if count == 1:
        return Ranks()
    if not torch.distributed.is_initialized():
        backend = "nccl" if device == "cuda" else "gloo"
        if backend == "nccl":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.distributed.init_process_group(backend, timeout=_TIMEOUT)
    return Ranks(torch.distributed.get_rank(), count)


def leave_ranks(ranks: Ranks) -> None:
    """Leave the process group."""
    if ranks.count > 1 and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
