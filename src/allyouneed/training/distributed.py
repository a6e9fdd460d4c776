"""Several processes as one: `torchrun --nproc-per-node N -m allyouneed train ...`.

Every rank reads its share of each global batch; gradients are summed over ranks and divided by the tokens of the global
batch, so that N ranks compute what one process computes. Rank 0 writes.
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
_PATIENCE = timedelta(hours=12)  # of the other ranks, while the first prepares a large corpus or validates
_NUMBERS = ("RANK", "LOCAL_RANK", "MASTER_PORT")  # that torchrun puts into the environment, with MASTER_ADDR


@dataclass(frozen=True)
class Ranks:
    """This process among all of them. With one process every method does nothing."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    def sum(self, *numbers: float | Tensor) -> list[float]:
        """Each number's sum over the ranks, in double precision."""
        total = torch.tensor([float(number) for number in numbers], dtype=torch.float64)
        if self.count > 1:
            on_device = total.cuda() if torch.distributed.get_backend() == "nccl" else total
            torch.distributed.all_reduce(on_device)
            total = on_device.cpu()
        return total.tolist()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        return flag if self.count == 1 else self.sum(float(flag))[0] > 0

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Sums every gradient over the ranks, all of them in one message."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.count > 1:
            torch.distributed.barrier()

    def share(self, value: Value | None) -> Value:
        """Rank 0's value, on every rank; what the others give, None for example, does not count."""
        values: list[Any] = [value]
        if self.count > 1:
            torch.distributed.broadcast_object_list(values)
        return values[0]


def announced_ranks() -> int:
    """How many processes torchrun announces in the environment; 1 without it.

    Errors: `UserError` where the environment has a WORLD_SIZE, as clusters set it, but not what else torchrun sets.
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
    """Joins the group that torchrun announces in the environment; alone without one. device: "cpu" or "cuda".

    Errors: `UserError` as `announced_ranks`.
    """
    count = announced_ranks()
    if count == 1:
        return Ranks()
    if not torch.distributed.is_initialized():
        backend = "nccl" if device == "cuda" else "gloo"
        if backend == "nccl":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.distributed.init_process_group(backend, timeout=_PATIENCE)
    return Ranks(torch.distributed.get_rank(), count)


def leave_ranks(ranks: Ranks) -> None:
    """Ends the group that was joined; alone there is nothing to end."""
    if ranks.count > 1 and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
