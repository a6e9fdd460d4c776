"""Where tensors live."""

from __future__ import annotations

import os

import torch

from allyouneed.errors import UserError


def choose_device(name: str) -> torch.device:
    """ "cpu", "cuda", or "auto": CUDA where there is one. Under torchrun each rank of a machine has a GPU of its own.

    Errors: `UserError` for another name, for CUDA where there is none, and for more ranks than GPUs.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"device {name}: choose cpu, cuda or auto.")
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise UserError("device cuda: this machine or this build of PyTorch has no CUDA; choose cpu or auto.")
    if name == "cpu" or not has_cuda:
        return torch.device("cpu")
    place, there = os.environ.get("LOCAL_RANK", "0"), torch.cuda.device_count()
    if not place.isdecimal() or int(place) >= there:
        raise UserError(
            f"LOCAL_RANK is {place} in the environment, and there are {there} GPUs here, one for each process: give "
            "torchrun as many for --nproc-per-node, or unset LOCAL_RANK."
        )
    return torch.device("cuda", int(place))
