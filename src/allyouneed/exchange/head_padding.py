"""Heads of other systems are all d_model / num_heads wide; narrower ones of ours fit in, filled up with zeros."""

from __future__ import annotations

import torch
from torch import Tensor

from allyouneed.config import ModelConfig
from allyouneed.errors import UserError


def head_width(config: ModelConfig) -> int:
    """d_model / num_heads. Errors: `UserError` where that is no whole number, or our heads are wider."""
    if config.d_model % config.num_heads:
        raise UserError(
            f"model.d_model = {config.d_model} is not divisible by model.num_heads = {config.num_heads}: this format "
            "knows only heads of d_model / num_heads."
        )
    width = config.d_model // config.num_heads
    if config.key_size > width or config.value_size > width:
        raise UserError(
            f"heads of d_k = {config.key_size} and d_v = {config.value_size} are wider than d_model / num_heads = "
            f"{width}, the widest that this format knows."
        )
    return width


def filled(rows: Tensor, heads: int, width: int) -> Tensor:
    """[heads · d, ...] -> [heads · width, ...]: every head's rows followed by zeros, which add nothing to a product."""
    by_head = rows.detach().unflatten(0, (heads, -1))
    missing = by_head.new_zeros(heads, width - by_head.shape[1], *by_head.shape[2:])
    return torch.cat([by_head, missing], dim=1).flatten(0, 1)
