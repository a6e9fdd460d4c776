"""Zero padding of attention heads, for systems whose heads are all d_model / num_heads wide."""

from __future__ import annotations

import torch
from torch import Tensor

from allyouneed.config.model_config import StackSizes
from allyouneed.errors import UserError


def head_width(d_model: int, sizes: StackSizes) -> int:
    """Compute the width of the other system's heads, d_model / num_heads.

    Args:
        d_model: Width of the model.
        sizes: Sizes of the encoder or the decoder.

    Returns:
        The width in units.

    Raises:
        UserError: If the quotient is not an integer, or if d_k or d_v is larger.
    """
    if d_model % sizes.heads:
        raise UserError(
            f"model.d_model = {d_model} is not divisible by model.num_heads = {sizes.heads}: this format requires "
            "heads of d_model / num_heads."
        )
    width = d_model // sizes.heads
    if sizes.d_k > width or sizes.d_v > width:
        raise UserError(
            f"d_k = {sizes.d_k} and d_v = {sizes.d_v}: this format allows at most d_model / num_heads = {width}."
        )
    return width


def pad_heads(rows: Tensor, heads: int, width: int) -> Tensor:
    """Append zero rows to every head, which leave all products unchanged.

    Args:
        rows: Weights or biases of a projection, shape [heads · d, ...].
        heads: Number of heads.
        width: Rows per head in the result, at least d.

    Returns:
        The padded rows, shape [heads · width, ...].
    """
    by_head = rows.detach().unflatten(0, (heads, -1))
    zeros = by_head.new_zeros(heads, width - by_head.shape[1], *by_head.shape[2:])
    return torch.cat([by_head, zeros], dim=1).flatten(0, 1)
