"""Compiled CPU kernels for operations that take PyTorch several passes over memory.

Numba is optional and compiles a kernel at its first use. Each kernel has a reference implementation in PyTorch, which
is used on other devices, for other types and sizes, without Numba or if it fails a test (`capabilities.py`), and until
kernels that another process compiles are there (`background.py`). Kernels do not use autograd: `model/dropout.py`,
`model/linear.py`, `model/packing.py` and `training/loss.py` define the gradients; `translation/engine` needs none.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from allyouneed import lazy
from allyouneed.kernels import background, capabilities, choice, disk_cache

if TYPE_CHECKING:
    from torch import Tensor

    from allyouneed.kernels import (
        attention,
        attention_backward,
        dropout,
        launch,
        loss,
        loss_amx,
        matmul,
        precompile,
        product,
        records,
        simd,
        target,
        tiles,
    )

__all__ = [
    "LANES",
    "MASKED",
    "MASKED_BELOW",
    "Mode",
    "attention",
    "attention_backward",
    "available",
    "background",
    "capabilities",
    "choice",
    "disk_cache",
    "dropout",
    "has_amx",
    "has_bf16",
    "has_vnni",
    "installed",
    "launch",
    "loss",
    "loss_amx",
    "matmul",
    "multiplies",
    "multiplies_in_bf16",
    "precompile",
    "prefers_bf16",
    "product",
    "records",
    "simd",
    "target",
    "tiles",
    "usable",
    "work",
]
__getattr__ = lazy.attach(
    __name__,
    {},
    (
        "attention",
        "attention_backward",
        "dropout",
        "launch",
        "loss",
        "loss_amx",
        "matmul",
        "precompile",
        "product",
        "records",
        "simd",
        "target",
        "tiles",
    ),
)

LANES = 16  # fp32 values in a vector
MASKED = -1e30  # score or logit of a masked position or token; finite, unlike -inf, so that differences are not NaN
MASKED_BELOW = -1e29  # a logit at or below this counts as masked
_MIN_ROWS = 64  # for fewer, packing costs more than it saves


class Mode(IntEnum):
    """How a matrix product is written: overwrite the output, add to it, or apply ReLU and overwrite it."""

    SET = 0
    ADD = 1
    RELU = 2


def usable(*tensors: Tensor) -> bool:
    """Return whether kernels are compiled and can work on these tensors: fp32, CPU, last dimension a multiple of 16."""
    return available() and all(
        x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[-1] % LANES == 0 for x in tensors
    )


def multiplies(rows: int, x: Tensor, *weights: Tensor, bf16: bool = False) -> bool:
    """Return whether to use `matmul`, rather than PyTorch, for x and its gradients.

    In fp32, that depends on the width and the processor (`choice.py`). In bf16 it is always faster than PyTorch's.

    Args:
        rows: Number of rows of x.
        x: Input [..., in_features].
        weights: Weights [out_features, in_features] that x is multiplied with.
        bf16: The result of `multiplies_in_bf16`.
    """
    sizes = [size for weight in weights for size in weight.shape]
    if any(size % LANES for size in sizes) or not usable(x, *weights):
        return False
    if bf16 or torch.is_autocast_enabled("cpu"):
        return bf16
    return rows >= _MIN_ROWS and choice.is_faster(min(sizes))


def multiplies_in_bf16() -> bool:
    """Return whether `matmul` is to multiply in bf16: under bf16 autocast, on a processor with AMX or AVX512_BF16."""
    if not torch.is_autocast_enabled("cpu") or torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return False
    return available() and has_bf16()


def prefers_bf16() -> bool:
    """Return whether kernels multiply in bf16 faster than in fp32; the first call may wait for a test and measure."""
    return has_bf16() and choice.bf16_is_faster()


@cache
def has_bf16() -> bool:
    """Return whether kernels work and can multiply in bf16 (AMX or AVX512_BF16); the first call may wait for a test."""
    return has_amx() or (work() and _target().has_bf16() and capabilities.supports(capabilities.BF16))


@cache
def has_amx() -> bool:
    """Return whether kernels work and can multiply in bf16 by AMX; the first call may wait for a test."""
    if not (work() and _target().has_amx()):
        return False
    from allyouneed.kernels import amx  # loads Numba

    return amx.request() and capabilities.supports(capabilities.AMX)


@cache
def has_vnni() -> bool:
    """Return whether kernels work and can multiply bytes, with AVX-512 VNNI; the first call may wait for a test."""
    return work() and _target().has_vnni() and capabilities.supports(capabilities.BYTES)


def _target() -> ModuleType:
    from allyouneed.kernels import target  # loads Numba, which is optional

    return target


def available() -> bool:
    """Return whether kernels can be called now: they work, and no other process is compiling them."""
    return not background.pending() and work()


def work() -> bool:
    """Return whether Numba is installed and everything that kernels need of it works here; see `capabilities.py`."""
    return installed() and capabilities.work()


@cache
def installed() -> bool:
    """Return whether Numba is installed, without importing it."""
    return find_spec("numba") is not None
