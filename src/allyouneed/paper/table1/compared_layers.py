"""Section 4: the layers of Table 1, each turning one sequence of vectors into another of the same length and width.

Shapes: x [batch, n, d] -> [batch, n, d]; n: length, d: width, k: the kernel's width, r: the neighbourhood.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allyouneed.model.attention import MultiHeadAttention, scaled_dot_product_attention

KERNEL = 3  # k
REACH = 32  # positions to each side
NEIGHBOURHOOD = 2 * REACH + 1  # r


class SelfAttention(nn.Module):
    """softmax(X Xᵀ / √d) X, step by step: the products that Table 1 counts as n² · d, without projections, one head."""

    def forward(self, x: Tensor) -> Tensor:
        return scaled_dot_product_attention(x, x, x)


class FusedSelfAttention(nn.Module):
    """The same by PyTorch's fused kernel, which does not keep the n x n weights but computes them again."""

    def forward(self, x: Tensor) -> Tensor:
        head = x[:, None]  # the fused kernels want a dimension of heads
        return F.scaled_dot_product_attention(head, head, head)[:, 0]


class ProjectedSelfAttention(nn.Module):
    """The whole layer of section 3.2.2: W^Q, W^K, W^V and W^O too. One head, so that the n x n weights are as above."""

    def __init__(self, d: int):
        super().__init__()
        self.attention = MultiHeadAttention(d, 1, d, d, plain=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x)


class RestrictedSelfAttention(nn.Module):
    """Section 4: each position sees only its neighbourhood of r = 2 · reach + 1 positions; no projections."""

    def forward(self, x: Tensor) -> Tensor:
        return restricted_attention(x, x, x, REACH)


class Recurrent(nn.Module):
    """An LSTM: each position waits for the one before it."""

    def __init__(self, d: int):
        super().__init__()
        self.lstm = nn.LSTM(d, d, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


class Convolutional(nn.Module):
    """A full convolution (not a separable one) of k positions, padded with zeros."""

    def __init__(self, d: int):
        super().__init__()
        self.convolution = nn.Conv1d(d, d, KERNEL, padding=KERNEL // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x.transpose(1, 2)).transpose(1, 2)


def restricted_attention(query: Tensor, key: Tensor, value: Tensor, reach: int) -> Tensor:
    """Attention in which position i sees positions i - reach to i + reach; costs 3 · reach · n · d, no n x n.

    query, key, value [batch, n, d] -> [batch, n, d]. Queries go in blocks of `reach`: those of one block see nothing
    beyond the block before and the one after, so three blocks of keys suffice, of which a band is seen.
    """
    n = query.shape[-2]
    blocks = -(-n // reach)
    missing = blocks * reach - n  # to fill the last block
    queries = F.pad(query, (0, 0, 0, missing)).unflatten(-2, (blocks, reach))
    keys, values = (_windows(F.pad(x, (0, 0, reach, reach + missing)), reach) for x in (key, value))
    heads = scaled_dot_product_attention(queries, keys, values, _band(n, blocks, reach, query.device))
    return heads.flatten(-3, -2)[..., :n, :]


def _windows(padded: Tensor, reach: int) -> Tensor:
    """[batch, (blocks + 2) · reach, d] -> [batch, blocks, 3 · reach, d], overlapping, a view."""
    return padded.unfold(-2, 3 * reach, reach).transpose(-2, -1)


def _band(n: int, blocks: int, reach: int, device: torch.device) -> Tensor:
    """Which of its three blocks' keys a query sees. -> [blocks, reach, 3 · reach]. Every row sees a key."""
    block = torch.arange(blocks, device=device)[:, None, None] * reach
    query = block + torch.arange(reach, device=device)[:, None]
    key = block - reach + torch.arange(3 * reach, device=device)
    return (key >= 0) & (key < n) & ((query - key).abs() <= reach)


class Layer(NamedTuple):
    """A line of Table 1, and its layer."""

    name: str
    order: str  # complexity in Table 1
    in_n: int  # the exponent of n in it
    in_d: int  # of d
    sequential: str
    path: str
    operations: Callable[[int, int], int]  # of a forward pass at (n, d): two for each multiplication and addition
    build: Callable[[int], nn.Module]  # from d


def _restricted_operations(n: int, d: int) -> int:
    return 4 * -(-n // REACH) * REACH * 3 * REACH * d  # what the blocks compute, about one and a half times r · n · d


_ATTENTION = ("O(n² · d)", 2, 1, "O(1)", "O(1)")

SELF_ATTENTION = Layer("self-attention", *_ATTENTION, lambda n, d: 4 * n * n * d, lambda d: SelfAttention())
PROJECTED = Layer(
    "self-attention with projections",
    *_ATTENTION,
    lambda n, d: 4 * n * n * d + 8 * n * d * d,
    ProjectedSelfAttention,
)
FUSED = Layer("self-attention, fused", *_ATTENTION, lambda n, d: 4 * n * n * d, lambda d: FusedSelfAttention())
RECURRENT = Layer("recurrent (LSTM)", "O(n · d²)", 1, 2, "O(n)", "O(n)", lambda n, d: 16 * n * d * d, Recurrent)
CONVOLUTIONAL = Layer(
    f"convolutional (k = {KERNEL})",
    "O(k · n · d²)",
    1,
    2,
    "O(1)",
    "O(log_k n)",
    lambda n, d: 2 * KERNEL * n * d * d,
    Convolutional,
)
RESTRICTED = Layer(
    f"self-attention (restricted, r = {NEIGHBOURHOOD})",
    "O(r · n · d)",
    1,
    1,
    "O(1)",
    "O(n/r)",
    _restricted_operations,
    lambda d: RestrictedSelfAttention(),
)
LAYERS = (SELF_ATTENTION, PROJECTED, FUSED, RECURRENT, CONVOLUTIONAL, RESTRICTED)
