"""Sentences one after another instead of side by side, so that nothing is computed on padding.

Only attention has to know where a sentence ends: all else in a layer works on each position by itself (section 3.3).
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from allyouneed import kernels


class Packed(NamedTuple):
    """ids [tokens] of all sentences; sentence s begins at starts[s] and ends before starts[s + 1]; places [tokens]:
    of each id within its sentence; longest: the number of ids of the longest sentence."""

    ids: Tensor
    places: Tensor
    starts: Tensor
    longest: int

    def to(self, device: torch.device) -> Packed:
        """The same on another device."""
        ids, places, starts = (x.to(device, non_blocking=True) for x in self[:3])
        return Packed(ids, places, starts, self.longest)


class PackedMask(NamedTuple):
    """A query sees the keys of its own sentence; with `causal` only those up to its own place."""

    queries: Packed
    keys: Packed
    causal: bool = False


def pack(ids: Tensor, real: Tensor) -> Packed:
    """ids [sentences, length], real [sentences, length]: True where there is a token, False for padding after it.

    There must be a sentence, and a token in each.
    """
    lengths = real.sum(1)
    starts = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    places = torch.arange(ids.shape[1]).expand_as(ids)
    return Packed(ids[real], places[real], starts, int(lengths.max()))


def packed_attention(projected: Tensor, memory: Tensor | None, num_heads: int, d_k: int, mask: PackedMask) -> Tensor:
    """Equation 1 for every head, on a CPU -> [tokens, heads · d_v].

    projected [tokens, heads · (2 · d_k + d_v)]: queries, keys and values side by side, as one product makes them; or,
    with memory [memory tokens, heads · (d_k + d_v)] of keys and values, the queries alone.
    """
    return _PackedAttention.apply(projected, memory, num_heads, d_k, mask)  # type: ignore[no-untyped-call]


def flash_attention(queries: Tensor, keys: Tensor, values: Tensor, num_heads: int, mask: PackedMask) -> Tensor:
    """The same by PyTorch's FlashAttention for sentences of various lengths, on CUDA, in half precision, d_k = d_v.

    queries, keys [tokens, heads · d_k], values [tokens, heads · d_v] -> like queries.
    """
    from torch.nn.attention.varlen import varlen_attn

    queries, keys, values = (x.view(len(x), num_heads, -1) for x in (queries, keys, values))
    of_queries, of_keys = (packed.starts.to(torch.int32) for packed in (mask.queries, mask.keys))
    longest = mask.queries.longest, mask.keys.longest
    window = (-1, 0) if mask.causal else (-1, -1)
    out = varlen_attn(queries, keys, values, of_queries, of_keys, *longest, window_size=window)
    assert isinstance(out, Tensor)  # a tuple only where more is asked for
    return out.flatten(1)


@cache
def flash_attention_works(device: torch.device, d_k: int) -> bool:
    """Whether this PyTorch has it, for this device and heads this wide: tried once, forward and backward.

    Whoever asks first is in the middle of a training step, or of a validation: no random number is drawn, since the
    step would not be the same after resuming, and there are gradients even where there are none outside.
    """
    with torch.inference_mode(False), torch.enable_grad():
        ids = torch.ones(2, 3, dtype=torch.long)
        packed = pack(ids, ids > 0).to(device)
        x = torch.ones(6, 2 * d_k, device=device, dtype=torch.bfloat16, requires_grad=True)
        try:
            flash_attention(x, x, x, 2, PackedMask(packed, packed, causal=True)).sum().backward()
        except (ImportError, TypeError, RuntimeError):
            return False
    return True


class _PackedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, memory: Tensor | None, num_heads: int, d_k: int, mask: PackedMask
    ) -> Tensor:
        within = kernels.attention.Within(mask.queries.starts, mask.keys.starts, mask.keys.longest, mask.causal)
        ctx.sizes = num_heads, d_k, within
        out, normalisers = kernels.attention.attend(*_sides(projected, memory, num_heads * d_k), num_heads, within)
        ctx.save_for_backward(projected, memory, out, normalisers)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        projected, memory, out, normalisers = ctx.saved_tensors
        num_heads, d_k, within = ctx.sizes
        grads = torch.empty_like(projected), None if memory is None else torch.empty_like(memory)
        sides, grads_of_sides = _sides(projected, memory, num_heads * d_k), _sides(*grads, num_heads * d_k)
        grad = grad.contiguous()
        kernels.attention.attend_backward(grad, *sides, num_heads, within, out, normalisers, grads_of_sides)
        return *grads, None, None, None


def _sides(projected: Tensor, memory: Tensor | None, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values: columns of the matrices they stand in side by side. width: heads · d_k."""
    if memory is None:
        return projected[:, :width], projected[:, width : 2 * width], projected[:, 2 * width :]
    return projected, memory[:, :width], memory[:, width:]
