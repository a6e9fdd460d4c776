"""Packed batches: sentences are concatenated without padding, so that no computation is spent on padding.

Only attention needs the sentence boundaries: all other operations act on each position separately.
Dimensions: sentences; tokens: all tokens of a batch; heads; d_model, d_k, d_v: widths.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from allyouneed import kernels


class Packed(NamedTuple):
    """A packed batch.

    Attributes:
        ids: Token ids, shape [tokens].
        positions: Position of each token in its sentence, shape [tokens].
        starts: Index of each sentence's first token, then the total number of tokens, shape [sentences + 1].
        max_length: Length of the longest sentence.
    """

    ids: Tensor
    positions: Tensor
    starts: Tensor
    max_length: int

    def to(self, device: torch.device) -> Packed:
        """Copy to another device."""
        ids, positions, starts = (x.to(device, non_blocking=True) for x in self[:3])
        return Packed(ids, positions, starts, self.max_length)


class PackedMask(NamedTuple):
    """Mask of packed attention: a query sees the keys of its sentence, with `causal` only up to its own position."""

    queries: Packed
    keys: Packed
    causal: bool = False


def pack(ids: Tensor, real: Tensor) -> Packed:
    """Pack a padded batch of at least one sentence.

    Args:
        ids: Token ids, shape [sentences, length].
        real: False for padding, which follows the tokens of a sentence, shape [sentences, length]. Every sentence must
            have at least one token.

    Returns:
        The packed batch, on the device of `ids`.
    """
    lengths = real.sum(1)
    starts = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    return Packed(ids[real], positions[real], starts, int(lengths.max()))


def packed_attention(projected: Tensor, memory: Tensor | None, num_heads: int, d_k: int, mask: PackedMask) -> Tensor:
    """Compute equation 1 for every head on a CPU.

    Args:
        projected: Queries, keys and values, concatenated, shape [tokens, heads · (2 · d_k + d_v)]; with `memory` the
            queries alone, shape [tokens, heads · d_k].
        memory: Keys and values, concatenated, shape [memory tokens, heads · (d_k + d_v)], or None.
        num_heads: Number of heads.
        d_k: Width of a query or key of one head.
        mask: Sentences of queries and keys.

    Returns:
        Concatenated output of the heads, shape [tokens, heads · d_v].
    """
    return _PackedAttention.apply(projected, memory, num_heads, d_k, mask)  # type: ignore[no-untyped-call]


def flash_attention(queries: Tensor, keys: Tensor, values: Tensor, num_heads: int, mask: PackedMask) -> Tensor:
    """Compute equation 1 for every head with PyTorch's FlashAttention, on CUDA in half precision with d_k = d_v.

    Args:
        queries: Shape [tokens, heads · d_k].
        keys: Shape [memory tokens, heads · d_k].
        values: Shape [memory tokens, heads · d_v].
        num_heads: Number of heads.
        mask: Sentences of queries and keys.

    Returns:
        Concatenated output of the heads, shape [tokens, heads · d_v].
    """
    from torch.nn.attention.varlen import varlen_attn  # absent in older versions of PyTorch

    queries, keys, values = (x.view(len(x), num_heads, -1) for x in (queries, keys, values))
    query_starts, key_starts = (packed.starts.to(torch.int32) for packed in (mask.queries, mask.keys))
    max_lengths = mask.queries.max_length, mask.keys.max_length
    window = (-1, 0) if mask.causal else (-1, -1)
    out = varlen_attn(queries, keys, values, query_starts, key_starts, *max_lengths, window_size=window)
    assert isinstance(out, Tensor)  # a tuple only if more outputs are requested
    return out.flatten(1)


@cache
def flash_attention_works(device: torch.device, d_k: int) -> bool:
    """Check, with one forward and backward pass, whether this PyTorch has FlashAttention for the device and width.

    The first call happens during a training step or a validation. It draws no random numbers, because they would change
    a resumed run, and it enables gradients even if the caller disables them.
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
        layout = kernels.attention.Layout(mask.queries.starts, mask.keys.starts, mask.keys.max_length, mask.causal)
        ctx.sizes = num_heads, d_k, layout
        out, normalisers = kernels.attention.attend(*_split(projected, memory, num_heads * d_k), num_heads, layout)
        ctx.save_for_backward(projected, memory, normalisers)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        projected, memory, normalisers = ctx.saved_tensors
        num_heads, d_k, layout = ctx.sizes
        grads = torch.empty_like(projected), None if memory is None else torch.empty_like(memory)
        inputs, input_grads = _split(projected, memory, num_heads * d_k), _split(*grads, num_heads * d_k)
        grad = grad.contiguous()
        kernels.attention_backward.attend_backward(grad, *inputs, num_heads, layout, normalisers, input_grads)
        return *grads, None, None, None


def _split(projected: Tensor, memory: Tensor | None, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values as views of the concatenated matrices. width: heads · d_k."""
    if memory is None:
        return projected[:, :width], projected[:, width : 2 * width], projected[:, 2 * width :]
    return projected, memory[:, :width], memory[:, width:]
