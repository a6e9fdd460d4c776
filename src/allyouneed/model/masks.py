"""The only place that makes masks. True: the query may look at the key."""

from __future__ import annotations

import torch
from torch import Tensor


def padding_mask(ids: Tensor, pad_id: int) -> Tensor:
    """Hides padding. ids [batch, key] -> [batch, 1, 1, key]."""
    return (ids != pad_id)[:, None, None, :]


def future_mask(length: int, device: torch.device | None = None) -> Tensor:
    """Hides the future: position i sees positions 0..i (3.2.3). -> [length, length]."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()
