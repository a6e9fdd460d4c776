"""Attention masks: True where a query may attend to a key."""

from __future__ import annotations

import torch
from torch import Tensor


def padding_mask(ids: Tensor, pad_id: int) -> Tensor:
    """Mask padding: ids [batch, key] -> [batch, 1, 1, key]."""
    return (ids != pad_id)[:, None, None, :]


def without_last(is_token: Tensor) -> Tensor:
    """Leave out the last token of each sentence, unless it is the only one: bool [batch, length] -> [batch, length]."""
    kept = is_token & torch.nn.functional.pad(is_token[:, 1:], (0, 1))
    kept[:, :1] = is_token[:, :1]
    return kept


def future_mask(length: int, device: torch.device | None = None) -> Tensor:
    """Mask later positions: position i attends to positions 0..i (section 3.2.3). -> [length, length]."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()
