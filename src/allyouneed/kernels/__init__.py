"""What PyTorch does in many passes over memory, in one: kernels for the CPU, compiled by Numba at their first use.

Each has a plain twin in PyTorch, which is used on other devices, for other types and sizes, and where Numba is missing.
Nothing here knows of autograd: who calls it does, `model/dropout.py`, `model/packing.py` and `training/loss.py`, or
needs none, `translation/engine/engine.py`.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.kernels import attention, dropout, launch, loss, matmul, memory, product, simd, target

__all__ = [
    "LANES",
    "MASKED",
    "MASKED_BELOW",
    "Mode",
    "attention",
    "dropout",
    "installed",
    "launch",
    "loss",
    "matmul",
    "memory",
    "multiplies",
    "product",
    "simd",
    "target",
    "usable",
]
__getattr__ = lazy.attach(
    __name__, {}, ("attention", "dropout", "launch", "loss", "matmul", "memory", "product", "simd", "target")
)

LANES = 16  # floats at once
MASKED = -1e30  # score or logit of what is masked: finite, unlike -inf, so that differences are not NaN
MASKED_BELOW = -1e29  # a logit at or below this counts as masked
_FEWEST_ROWS, _NARROWEST = 64, 256  # for which laying matrices out is worth it


class Mode(IntEnum):
    """How a matrix product is written to memory: stored, added to what is there, or its positive part stored."""

    SET = 0
    ADD = 1
    RELU = 2


def usable(*tensors: Tensor) -> bool:
    """Whether the kernels can work on these: fp32 on the CPU, sizes of a row a multiple of 16."""
    return installed() and all(
        x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[-1] % LANES == 0 for x in tensors
    )


def multiplies(rows: int, x: Tensor, *weights: Tensor) -> bool:
    """Whether x, of so many rows, is better multiplied with these weights, and they with gradients, by `matmul` than by
    PyTorch: measured on AMD's processors with AVX-512, for which PyTorch's library was not made."""
    sizes = [size for weight in weights for size in weight.shape]
    fit = rows >= _FEWEST_ROWS and min(sizes) >= _NARROWEST and all(size % LANES == 0 for size in sizes)
    return fit and usable(x, *weights) and not torch.is_autocast_enabled("cpu") and _is_amd_with_avx512()


@cache
def _is_amd_with_avx512() -> bool:
    from allyouneed.kernels import target  # loads Numba, which is optional

    return target.is_amd() and target.has_avx512()


@cache
def installed() -> bool:
    """Whether there is Numba, which is not loaded for that."""
    return find_spec("numba") is not None
