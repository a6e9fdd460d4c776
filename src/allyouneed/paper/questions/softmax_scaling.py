"""The softmax over dot products and its gradient as d_k grows, with and without scaling (section 3.2.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from allyouneed.model.attention import attention_weights

WIDTHS = tuple(2**power for power in range(11))
KEYS = 64
VANISHING = 1e-3  # norm of the Jacobian below which a gradient counts as vanishing


def scale_by_width(widths: Sequence[int] = WIDTHS, keys: int = KEYS, seed: int = 1) -> list[dict[str, Any]]:
    """Measure the softmax over dot products of vectors whose components are independent with variance 1.

    Args:
        widths: Values of d_k.
        keys: Number of keys.
        seed: Seed of the random vectors.

    Returns:
        A row per d_k: the variance of the dot products, and for each scale ("none", "√d_k", and "d_k", a common
        misreading) the mean entropy in nats, the mean largest weight, the mean Frobenius norm of the softmax's Jacobian
        ("gradient"), the median of p(1 - p), the derivative of a weight with respect to its own score ("slope"), and
        the share of queries whose gradient is below 0.001 ("saturated").
    """
    rows = []
    for d_k in widths:
        generator = torch.Generator().manual_seed(seed)
        query = torch.randn(64, 1, 16, d_k, generator=generator, dtype=torch.float64)
        key = torch.randn(64, 1, keys, d_k, generator=generator, dtype=torch.float64)
        row: dict[str, Any] = {"d_k": d_k, "keys": keys, "variance": float((query @ key.mT).var())}
        for scale, factor in (("none", math.sqrt(d_k)), ("√d_k", 1.0), ("d_k", 1 / math.sqrt(d_k))):
            weights = attention_weights(query * factor, key)
            gradient = torch.linalg.matrix_norm(softmax_jacobian(weights))
            row |= {
                f"entropy, {scale}": float(torch.special.entr(weights).sum(-1).mean()),
                f"largest, {scale}": float(weights.amax(-1).mean()),
                f"gradient, {scale}": float(gradient.mean()),
                f"slope, {scale}": float((weights * (1 - weights)).median()),
                f"saturated, {scale}": float((gradient < VANISHING).double().mean()),
            }
        rows.append(row)
    return rows


def softmax_jacobian(weights: Tensor) -> Tensor:
    """Compute diag(p) - p pᵀ, the derivatives of the weights with respect to the scores.

    Args:
        weights: Weights p, shape [..., key].

    Returns:
        The Jacobian, shape [..., key, key].
    """
    return torch.diag_embed(weights) - weights[..., :, None] * weights[..., None, :]
