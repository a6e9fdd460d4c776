"""Where tensors live."""

from __future__ import annotations

import os

import torch

from allyouneed.errors import UserError


def choose_device(name: str) -> torch.device:
    """ "cpu", "cuda", or "auto": CUDA where there is one. Under torchrun each rank of a machine has a GPU of its own.

    Errors: `UserError` for another name, or for CUDA where there is none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"device {name}: choose cpu, cuda or auto.")
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise UserError("device cuda: this machine or this build of PyTorch has no CUDA; choose cpu or auto.")
    if name == "cpu" or not has_cuda:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
