"""Dropout (section 5.4), optionally added to a residual.

The mask is a function of its key, so that the backward pass can recompute it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from allyouneed.kernels import LANES
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.records import Floats
from allyouneed.kernels.simd import dropout_mask, multiply_add
from allyouneed.kernels.simd_memory import load, store

if TYPE_CHECKING:
    from torch import Tensor

_PART = 2048 * LANES  # elements


def drop(x: Tensor, key: int, p: float, onto: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """Compute x · mask / (1 - p), plus `onto` if it is given.

    Args:
        x: Contiguous fp32 tensor of any shape, its number of elements a multiple of 16.
        key: Key of the mask, from 0 to 2⁶³ - 1; the same key gives the same mask.
        p: Probability that an element of the mask is 0. It is rounded to a multiple of 2⁻³², and so is the scale.
        onto: The residual: a contiguous fp32 tensor with the shape of x.
        out: Output with the shape of x, which may be x; by default a new tensor.

    Returns:
        The output.
    """
    out = torch.empty_like(x) if out is None else out
    threshold = round(p * 2**32)
    arguments = (x, out, x.numel(), key, threshold, 1 / (1 - threshold / 2**32))
    parts = -(-x.numel() // _PART)
    if onto is None:
        _drop(parts, *arguments)
    else:
        _drop_onto(parts, *arguments, onto)
    return out


@kernel
def _drop(part, x: Floats, out: Floats, count, key, threshold, scale: float):
    for index in range(part * _PART, min(count, (part + 1) * _PART), LANES):
        store(out, index, load(x, index) * dropout_mask(key, index, threshold) * scale)


@kernel
def _drop_onto(part, x: Floats, out: Floats, count, key, threshold, scale: float, onto: Floats):
    for index in range(part * _PART, min(count, (part + 1) * _PART), LANES):
        mask = dropout_mask(key, index, threshold) * scale
        store(out, index, multiply_add(load(x, index), mask, load(onto, index)))
