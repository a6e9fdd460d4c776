"""Section 3.2: scaled dot-product attention, and several of them in parallel.

Shapes: batch; query, key: positions; heads; d_model, d_k, d_v: widths.
A mask is boolean, True where a query may look at a key, and broadcasts to [batch, heads, query, key].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allyouneed.model.linear import Linear, side_by_side
from allyouneed.model.packing import PackedMask, flash_attention, packed_attention


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(Q Kᵀ / √d_k), the weights of equation 1.

    For components of unit variance a dot product of d_k of them has variance d_k; without the division by √d_k large
    products push the softmax to where its gradients vanish (3.2.1). The mask is optional ("opt." in figure 2): padding
    is hidden everywhere, the future only in the decoder's self-attention.

    query [batch, heads, query, d_k], key [batch, heads, key, d_k] -> [batch, heads, query, key], rows sum to 1.
    """
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1)


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention(Q, K, V) = softmax(Q Kᵀ / √d_k) V, equation 1, step by step.

    value [batch, heads, key, d_v] -> [batch, heads, query, d_v]. The plain twin of PyTorch's fused function.
    """
    return attention_weights(query, key, mask) @ value


@dataclass(frozen=True)
class Twist:
    """What the explicit path does otherwise than the paper, to see what it is for.

    divisor: of the scores instead of √d_k; masked: whether the mask holds; silent [sentences or 1, heads]: true for
    heads whose output is zero, in every row of a sentence, which stand side by side.
    """

    divisor: float | None = None
    masked: bool = True
    silent: Tensor | None = None


class Steps(NamedTuple):
    """Equation 1 of every head: queries [batch, heads, query, d_k], keys [batch, heads, key, d_k], values [batch,
    heads, key, d_v], scores (Q Kᵀ) and weights [batch, heads, query, key], heads [batch, heads, query, d_v]; mask: the
    one used, None for none."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    scores: Tensor
    weights: Tensor
    heads: Tensor
    mask: Tensor | None


def attention_steps(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, twist: Twist) -> Steps:
    """Equation 1, nothing thrown away. With `Twist()` its heads are those of `scaled_dot_product_attention`."""
    mask = mask if twist.masked else None
    divisor = math.sqrt(query.shape[-1]) if twist.divisor is None else twist.divisor
    scores = query @ key.transpose(-2, -1)
    scaled = scores / divisor
    weights = (scaled if mask is None else scaled.masked_fill(~mask, -torch.inf)).softmax(dim=-1)
    heads = weights @ value
    if twist.silent is not None:
        silent = twist.silent.repeat_interleave(len(heads) // len(twist.silent), dim=0)
        heads = heads.masked_fill(silent[..., None, None], 0)
    return Steps(query, key, value, scores, weights, heads, mask)


class MultiHeadAttention(nn.Module):
    """Section 3.2.2: `num_heads` attentions with projections of their own, concatenated, then W^O.

    `explicit = True` computes attention step by step instead of by PyTorch's fused kernel: the same to rounding, but
    for `twist`, and then `observe`, when set, is called with its `Steps`. Not of packed sentences: `Transformer.plain`
    keeps training from packing them.
    """

    def __init__(self, d_model: int, num_heads: int, d_k: int, d_v: int, bias: bool = False):
        super().__init__()
        self.num_heads = num_heads
        self.query = Linear(d_model, num_heads * d_k, bias)
        self.key = Linear(d_model, num_heads * d_k, bias)
        self.value = Linear(d_model, num_heads * d_v, bias)
        self.output = Linear(num_heads * d_v, d_model, bias)
        self.explicit = False
        self.observe: Callable[[Steps], None] | None = None
        self.twist = Twist()

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | PackedMask | None = None) -> Tensor:
        """Queries from x [batch, query, d_model], keys and values from memory [batch, key, d_model] -> like x.

        With a `PackedMask` x and memory are [tokens, d_model].
        """
        if isinstance(mask, PackedMask):
            return self.output(self._packed(x, memory, mask))
        return self.attend(x, *self.keys_and_values(memory), mask)

    def keys_and_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """memory [batch, key, d_model] -> [batch, heads, key, d_k] and [batch, heads, key, d_v]."""
        return self._split(self.key(memory)), self._split(self.value(memory))

    def attend(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Queries from x [batch, query, d_model] over keys and values already projected -> like x."""
        queries = self._split(self.query(x))
        if self.explicit:
            steps = attention_steps(queries, keys, values, mask, self.twist)
            if self.observe is not None:
                self.observe(steps)
            heads = steps.heads
        else:
            heads = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return self.output(heads.transpose(1, 2).flatten(2))

    def _packed(self, x: Tensor, memory: Tensor, mask: PackedMask) -> Tensor:
        """x, memory [tokens, d_model] -> what the heads say, [tokens, heads · d_v]."""
        inner = (self.query, self.key, self.value)
        if x.is_cuda:
            return flash_attention(self.query(x), self.key(memory), self.value(memory), self.num_heads, mask)
        d_k = self.query.out_features // self.num_heads
        if memory is x:
            return packed_attention(side_by_side(x, *inner), None, self.num_heads, d_k, mask)
        return packed_attention(self.query(x), side_by_side(memory, *inner[1:]), self.num_heads, d_k, mask)

    def _split(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        return x.view(batch, length, self.num_heads, -1).transpose(1, 2)
