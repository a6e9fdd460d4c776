"""Memory of a training process: allocator settings, and a check that a model fits."""

from __future__ import annotations

import ctypes
import os

import torch

from allyouneed.config import Config
from allyouneed.errors import UserError

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # M_... of glibc's malloc.h
_MEBIBYTE = 2**20
BYTES_PER_WEIGHT = {"adam": 16, "muon": 12}  # weight, gradient and the optimizer's moments, in fp32
_COPY = 4  # bytes of a weight in fp32


def keep_freed_memory() -> None:
    """Make glibc keep freed tensor memory in the process; do nothing with other C libraries.

    A training step frees and allocates hundreds of tensors of several megabytes. By default, their memory is returned
    to the kernel, which zeroes every page again on first access (measured in docs/experiments.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 32 * _MEBIBYTE)  # the largest value that glibc accepts
        mallopt(_TRIM_THRESHOLD, 2047 * _MEBIBYTE)
        mallopt(_TOP_PAD, 64 * _MEBIBYTE)


def refuse_oversized(config: Config, vocab_size: int, device: torch.device, ranks: int = 1) -> None:
    """Reject a model whose weights, gradients and optimizer state exceed the device's memory.

    Args:
        config: The settings of the run.
        vocab_size: Number of tokens in the vocabulary.
        device: Device of the training.
        ranks: Number of processes, which divide these with `training.sharding`. The first also has a copy of the
            weights, with which it translates.

    Raises:
        UserError: If the model is too large.
    """
    weights = config.model.count_weights(vocab_size)
    needed, available = weights * BYTES_PER_WEIGHT[config.training.optimizer], _memory(device)
    if config.training.sharding and ranks > 1:
        needed = needed // ranks + weights * _COPY
    if needed > available:
        raise UserError(
            f"training {weights / 1e9:.2f} billion parameters needs at least {needed / 1e9:.0f} GB of memory, and "
            f"{device.type} has {available / 1e9:.0f} GB. Lower model.d_model, model.d_ff, the number of layers or "
            "data.vocab_size, or divide the model among more processes on several devices with training.sharding=full."
        )


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
