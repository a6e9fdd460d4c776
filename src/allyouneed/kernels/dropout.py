"""Elements kept at random and scaled, alone or on top of a residual.

A mask is a function of its key: the backward pass makes it again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from allyouneed.kernels import LANES
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.simd import kept, load, multiply_add, store

_PART = 2048 * LANES  # elements


def drop(x: Tensor, key: int, p: float, onto: Tensor | None = None) -> Tensor:
    """x · mask / (1 - p), onto another if there is one; a mask is 0 with probability p, else 1. Contiguous fp32.

    p is rounded to a multiple of 2⁻³², and the scale follows the rounded one.
    """
    out = torch.empty_like(x)
    threshold = round(p * 2**32)
    given = (x, out, x.numel(), key, threshold, 1 / (1 - threshold / 2**32))
    parts = -(-x.numel() // _PART)
    if onto is None:
        _drop(parts, *given)
    else:
        _drop_onto(parts, *given, onto)
    return out


@kernel
def _drop(part, x, out, count, key, threshold, scale: float):
    for place in range(part * _PART, min(count, (part + 1) * _PART), LANES):
        store(out, place, load(x, place) * kept(key, place, threshold) * scale)


@kernel
def _drop_onto(part, x, out, count, key, threshold, scale: float, onto):
    for place in range(part * _PART, min(count, (part + 1) * _PART), LANES):
        mask = kept(key, place, threshold) * scale
        store(out, place, multiply_add(load(x, place), mask, load(onto, place)))
