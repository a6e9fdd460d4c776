"""Section 3.2: scaled dot-product attention, and multi-head attention.

Dimensions: batch; query, key: positions; heads; d_model, d_k, d_v: widths.
A mask is boolean, True where a query may attend to a key, and broadcasts to [batch, heads, query, key].
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allyouneed.model.linear import Linear, apply_linears
from allyouneed.model.packing import PackedMask, flash_attention, packed_attention

if TYPE_CHECKING:
    from allyouneed.model.probe import Probe, Site


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None = None, divisor: float | None = None) -> Tensor:
    """Compute softmax(Q Kᵀ / √d_k), the attention weights of equation 1.

    The dot product of d_k components of unit variance has variance d_k. Without the division by √d_k, large products
    push the softmax into regions with vanishing gradients (section 3.2.1). The mask is optional ("opt." in figure 2):
    all attention masks padding, and only the decoder's self-attention masks later positions.

    Args:
        query: Queries, shape [batch, heads, query, d_k].
        key: Keys, shape [batch, heads, key, d_k].
        mask: Keys that each query may attend to; None for all.
        divisor: Divisor of the scores; None for √d_k.

    Returns:
        Weights, shape [batch, heads, query, key]; rows sum to 1, except rows without a visible key, which are 0.
    """
    scores = query @ key.transpose(-2, -1) / (math.sqrt(query.shape[-1]) if divisor is None else divisor)
    if mask is None:
        return scores.softmax(dim=-1)
    lowest = torch.finfo(scores.dtype).min  # instead of the paper's -∞, which gives NaN in a row without a visible key
    return scores.masked_fill(~mask, lowest).softmax(dim=-1).masked_fill(~mask, 0)


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, fused: bool = False
) -> Tensor:
    """Compute Attention(Q, K, V) = softmax(Q Kᵀ / √d_k) V, equation 1.

    Args:
        query: Queries, shape [batch, heads, query, d_k].
        key: Keys, shape [batch, heads, key, d_k].
        value: Values, shape [batch, heads, key, d_v].
        mask: Keys that each query may attend to; None for all.
        fused: Use PyTorch's fused kernel, which does not store the weights. The results agree up to rounding.

    Returns:
        Output of each head, shape [batch, heads, query, d_v].
    """
    if fused:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return attention_weights(query, key, mask) @ value


class MultiHeadAttention(nn.Module):
    """Concat(head_1, ..., head_h) W^O, with head_i = Attention(Q W_i^Q, K W_i^K, V W_i^V) (section 3.2.2).

    `query`, `key` and `value` each hold the projections of all heads in one matrix; `output` is W^O.

    Args:
        d_model: Width of inputs and outputs.
        num_heads: Number of heads.
        d_k: Width of a query or key of one head.
        d_v: Width of a value of one head.
        bias: Whether the projections have a bias; the paper's have none.
        plain: Compute equation 1 step by step instead of by fused kernels (the reference implementation).
        site: Key of this attention in a probe: kind and layer.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_k: int,
        d_v: int,
        bias: bool = False,
        plain: bool = False,
        site: Site = ("attention", 0),
    ):
        super().__init__()
        self.num_heads, self.plain, self.site = num_heads, plain, site
        self.query = Linear(d_model, num_heads * d_k, bias, plain)
        self.key = Linear(d_model, num_heads * d_k, bias, plain)
        self.value = Linear(d_model, num_heads * d_v, bias, plain)
        self.output = Linear(num_heads * d_v, d_model, bias, plain)

    def forward(
        self, x: Tensor, memory: Tensor, mask: Tensor | PackedMask | None = None, probe: Probe | None = None
    ) -> Tensor:
        """Attend from x to memory.

        Args:
            x: Input of the queries, shape [batch, query, d_model]; with a `PackedMask`, [tokens, d_model].
            memory: Input of the keys and values, shape [batch, key, d_model]; with a `PackedMask`, [tokens, d_model].
            mask: Keys that each query may attend to; None for all.
            probe: Probe that observes or changes equation 1; ignored with a `PackedMask`.

        Returns:
            Output after W^O, with the shape of x.
        """
        if isinstance(mask, PackedMask):
            return self.output(self._packed_heads(x, memory, mask))
        return self.attend(x, *self.keys_and_values(memory, probe), mask, probe)

    def keys_and_values(self, memory: Tensor, probe: Probe | None = None) -> tuple[Tensor, Tensor]:
        """Project memory [batch, key, d_model] to keys [batch, heads, key, d_k] and values [batch, heads, key, d_v]."""
        if probe is not None:
            probe.observe(self.site, memory=memory)
        return self._split(self.key(memory)), self._split(self.value(memory))

    def attend(
        self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, probe: Probe | None = None
    ) -> Tensor:
        """Attend from x [batch, query, d_model] to projected keys and values; the result has the shape of x."""
        queries = self._split(self.query(x))
        if probe is None:
            heads = scaled_dot_product_attention(queries, keys, values, mask, fused=not self.plain)
        else:
            heads = probe.attention(self.site, queries, keys, values, mask)
        output = self.output(heads.transpose(1, 2).flatten(2))
        if probe is not None:
            output = probe.replace(self.site, "output", output)
            probe.observe(self.site, x=x, output=output)
        return output

    def _packed_heads(self, x: Tensor, memory: Tensor, mask: PackedMask) -> Tensor:
        """Compute equation 1 with the packed kernels: x, memory [tokens, d_model] -> [tokens, heads · d_v]."""
        if x.is_cuda:
            return flash_attention(self.query(x), self.key(memory), self.value(memory), self.num_heads, mask)
        d_k = self.query.out_features // self.num_heads
        if memory is x:
            return packed_attention(apply_linears(x, self.query, self.key, self.value), None, self.num_heads, d_k, mask)
        return packed_attention(self.query(x), apply_linears(memory, self.key, self.value), self.num_heads, d_k, mask)

    def _split(self, x: Tensor) -> Tensor:
        """Split heads: [batch, length, heads · width] -> [batch, heads, length, width]."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
