"""Attention masks: True where a query may attend to a key."""

from __future__ import annotations

import torch
from torch import Tensor


def padding_mask(ids: Tensor, pad_id: int) -> Tensor:
    """Mask padding: ids [batch, key] -> [batch, 1, 1, key]."""
    return (ids != pad_id)[:, None, None, :]


def future_mask(length: int, device: torch.device | None = None) -> Tensor:
    """Mask later positions: position i attends to positions 0..i (section 3.2.3). -> [length, length]."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()
