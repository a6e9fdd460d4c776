"""Sentences one after another instead of side by side, so that nothing is computed on padding.

Only attention has to know where a sentence ends: all else in a layer works on each position by itself (section 3.3).
"""

from __future__ import annotations

from functools import cache
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

    def to(self, device: torch.device) -> Packed:
        ids, places, starts = (x.to(device, non_blocking=True) for x in self[:3])
        return Packed(ids, places, starts, self.longest)


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
    if queries.is_cuda:
        return flash_attention(queries, keys, values, num_heads, mask)
    return _PackedAttention.apply(queries, keys, values, num_heads, mask)


def flash_attention(queries: Tensor, keys: Tensor, values: Tensor, num_heads: int, mask: PackedMask) -> Tensor:
    """The same by PyTorch's FlashAttention for sentences of various lengths, on CUDA, in half precision, d_k = d_v."""
    from torch.nn.attention.varlen import varlen_attn

    of_heads = [x.view(len(x), num_heads, -1) for x in (queries, keys, values)]
    starts = [packed.starts.to(torch.int32) for packed in (mask.queries, mask.keys)]
    window = (-1, 0) if mask.causal else (-1, -1)
    out = varlen_attn(*of_heads, *starts, mask.queries.longest, mask.keys.longest, window_size=window)
    return out.flatten(1)


@cache
def flash_attention_works() -> bool:
    """Whether this PyTorch has it, for this device: tried once, forward and backward."""
    ids = torch.ones(2, 3, dtype=torch.long)
    packed = pack(ids, ids > 0).to(torch.device("cuda"))
    x = torch.randn(6, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    try:
        flash_attention(x, x, x, 2, PackedMask(packed, packed, causal=True)).sum().backward()
    except (ImportError, TypeError, RuntimeError):
        return False
    return True


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
