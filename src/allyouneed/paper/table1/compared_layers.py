"""The layers that Table 1 compares; each maps a sequence to one of the same length and width (section 4).

Shapes: x [batch, n, d] -> [batch, n, d]; n: length, d: width, k: width of the kernel, r: size of the neighbourhood.
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
    """softmax(X Xᵀ / √d) X, step by step, one head without projections: the products that Table 1 counts as n² · d."""

    def forward(self, x: Tensor) -> Tensor:
        return scaled_dot_product_attention(x, x, x)


class FusedSelfAttention(nn.Module):
    """`SelfAttention` with PyTorch's fused kernel, which recomputes the n x n weights instead of storing them."""

    def forward(self, x: Tensor) -> Tensor:
        head = x[:, None]  # the fused kernels require a dimension for heads
        return F.scaled_dot_product_attention(head, head, head)[:, 0]


class ProjectedSelfAttention(nn.Module):
    """The layer of section 3.2.2 with W^Q, W^K, W^V and W^O, with one head, like `SelfAttention`."""

    def __init__(self, d: int):
        super().__init__()
        self.attention = MultiHeadAttention(d, 1, d, d, plain=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x)


class RestrictedSelfAttention(nn.Module):
    """Self-attention in which each position attends to r = 2 · REACH + 1 positions; no projections (section 4)."""

    def forward(self, x: Tensor) -> Tensor:
        return restricted_attention(x, x, x, REACH)


class Recurrent(nn.Module):
    """An LSTM, which processes positions sequentially."""

    def __init__(self, d: int):
        super().__init__()
        self.lstm = nn.LSTM(d, d, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


class Convolutional(nn.Module):
    """A convolution of k positions, not separable, padded with zeros."""

    def __init__(self, d: int):
        super().__init__()
        self.convolution = nn.Conv1d(d, d, KERNEL, padding=KERNEL // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x.transpose(1, 2)).transpose(1, 2)


def restricted_attention(query: Tensor, key: Tensor, value: Tensor, reach: int) -> Tensor:
    """Compute attention of each position i to positions i - reach to i + reach only.

    Queries are processed in blocks of `reach` positions, with the keys of the same and the two adjacent blocks, so that
    the cost is 3 · reach · n · d and there is no n x n matrix.

    Args:
        query: Queries, shape [batch, n, d].
        key: Keys, shape [batch, n, d].
        value: Values, shape [batch, n, d].
        reach: Positions to each side.

    Returns:
        Weighted values, shape [batch, n, d].
    """
    n = query.shape[-2]
    blocks = -(-n // reach)
    padding = blocks * reach - n  # completes the last block
    queries = F.pad(query, (0, 0, 0, padding)).unflatten(-2, (blocks, reach))
    keys, values = (_windows(F.pad(x, (0, 0, reach, reach + padding)), reach) for x in (key, value))
    heads = scaled_dot_product_attention(queries, keys, values, _band(n, blocks, reach, query.device))
    return heads.flatten(-3, -2)[..., :n, :]


def _windows(padded: Tensor, reach: int) -> Tensor:
    """View [batch, (blocks + 2) · reach, d] as overlapping windows [batch, blocks, 3 · reach, d]."""
    return padded.unfold(-2, 3 * reach, reach).transpose(-2, -1)


def _band(n: int, blocks: int, reach: int, device: torch.device) -> Tensor:
    """Mask the keys that each query attends to, [blocks, reach, 3 · reach]; every row has at least one."""
    block = torch.arange(blocks, device=device)[:, None, None] * reach
    query = block + torch.arange(reach, device=device)[:, None]
    key = block - reach + torch.arange(3 * reach, device=device)
    return (key >= 0) & (key < n) & ((query - key).abs() <= reach)


class ComparedLayer(NamedTuple):
    """A row of Table 1 and a layer that implements it.

    Attributes:
        name: Name on the page.
        order: Complexity per layer in Table 1.
        in_n: Exponent of n in the complexity.
        in_d: Exponent of d in the complexity.
        sequential: Number of sequential operations in Table 1.
        path: Maximum path length in Table 1.
        operations: Floating-point operations of a forward pass at (n, d), two per multiply-add.
        build: Constructor from d.
    """

    name: str
    order: str
    in_n: int
    in_d: int
    sequential: str
    path: str
    operations: Callable[[int, int], int]
    build: Callable[[int], nn.Module]


def _restricted_operations(n: int, d: int) -> int:
    return 4 * -(-n // REACH) * REACH * 3 * REACH * d  # as computed in blocks: about 1.5 times r · n · d


_ATTENTION = ("O(n² · d)", 2, 1, "O(1)", "O(1)")

SELF_ATTENTION = ComparedLayer("self-attention", *_ATTENTION, lambda n, d: 4 * n * n * d, lambda d: SelfAttention())
PROJECTED = ComparedLayer(
    "self-attention with projections",
    *_ATTENTION,
    lambda n, d: 4 * n * n * d + 8 * n * d * d,
    ProjectedSelfAttention,
)
FUSED = ComparedLayer("self-attention, fused", *_ATTENTION, lambda n, d: 4 * n * n * d, lambda d: FusedSelfAttention())
RECURRENT = ComparedLayer("recurrent (LSTM)", "O(n · d²)", 1, 2, "O(n)", "O(n)", lambda n, d: 16 * n * d * d, Recurrent)
CONVOLUTIONAL = ComparedLayer(
    f"convolutional (k = {KERNEL})",
    "O(k · n · d²)",
    1,
    2,
    "O(1)",
    "O(log_k n)",
    lambda n, d: 2 * KERNEL * n * d * d,
    Convolutional,
)
RESTRICTED = ComparedLayer(
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
