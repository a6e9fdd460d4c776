"""Sentences one after another instead of side by side, so that nothing is computed on padding.

Only attention has to know where a sentence ends: all else in a layer works on each position by itself (section 3.3).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Packed(NamedTuple):
    """ids [tokens] of all sentences; sentence s begins at starts[s] and ends before starts[s + 1]; places [tokens]:
    of each id within its sentence; longest: the number of ids of the longest sentence."""

    ids: Tensor
    places: Tensor
    starts: Tensor
    longest: int


class PackedMask(NamedTuple):
    """A query sees the keys of its own sentence; with `causal` only those up to its own place."""

    queries: Packed
    keys: Packed
    causal: bool = False


def pack(ids: Tensor, real: Tensor) -> Packed:
    """ids [sentences, length], real [sentences, length]: True where there is a token, False for padding after it."""
    lengths = real.sum(1)
    starts = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    places = torch.arange(ids.shape[1]).expand_as(ids)
    return Packed(ids[real], places[real], starts, int(lengths.max()))


def packed_attention(queries: Tensor, keys: Tensor, values: Tensor, num_heads: int, mask: PackedMask) -> Tensor:
    """Equation 1 for every head. queries, keys [tokens, heads · d_k], values [tokens, heads · d_v] -> like queries."""
    return _PackedAttention.apply(queries, keys, values, num_heads, mask)


class _PackedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries: Tensor, keys: Tensor, values: Tensor, num_heads: int, mask: PackedMask) -> Tensor:
        from allyouneed.kernels.attention import attend

        where = (mask.queries.starts, mask.keys.starts, num_heads, mask.keys.longest, mask.causal)
        out, normalisers = attend(queries, keys, values, *where)
        ctx.where = where
        ctx.save_for_backward(queries, keys, values, out, normalisers)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        from allyouneed.kernels.attention import attend_backward

        queries, keys, values, out, normalisers = ctx.saved_tensors
        return *attend_backward(grad.contiguous(), queries, keys, values, *ctx.where, out, normalisers), None, None
