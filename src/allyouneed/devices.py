"""Selection of the device to compute on."""

from __future__ import annotations

import os

import torch

from allyouneed.errors import UserError


def choose_device(name: str) -> torch.device:
    """Return the device to compute on.

    Args:
        name: "cpu", "cuda", or "auto" (CUDA if available). Under torchrun each process gets the GPU of its local rank.

    Raises:
        UserError: If the name is unknown, CUDA is requested but not available, or there is no GPU for the local rank.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"device {name}: choose cpu, cuda or auto.")
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise UserError("device cuda: this machine or this build of PyTorch has no CUDA; choose cpu or auto.")
    if name == "cpu" or not has_cuda:
        return torch.device("cpu")
    local_rank, gpus = os.environ.get("LOCAL_RANK", "0"), torch.cuda.device_count()
    if not local_rank.isdecimal() or int(local_rank) >= gpus:
        raise UserError(
            f"LOCAL_RANK is {local_rank} in the environment, but this machine has {gpus} GPUs, one for each process. "
            "Set torchrun's --nproc-per-node to the number of GPUs, or unset LOCAL_RANK."
        )
    return torch.device("cuda", int(local_rank))
