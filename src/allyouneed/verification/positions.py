"""The positional encodings of section 3.5, and known variations of them."""

from __future__ import annotations

import torch
from torch import Tensor


def position_encodings(kind: str, shape: torch.Size, d_model: int, learned: Tensor | None) -> Tensor:
    """Compute the encodings of section 3.5, or a known variation, in float64.

    Args:
        kind: See `Plan.positions`.
        shape: Shape of the ids, [batch, length].
        d_model: Width.
        learned: Learned encodings, shape [positions, d_model].

    Returns:
        Encodings, shape [length, d_model]; for "batch", [batch, 1, d_model].
    """
    batch, length = shape
    if kind == "none":
        return torch.zeros(length, d_model, dtype=torch.float64)
    if kind == "learned":
        if learned is None:
            raise ValueError("there are no learned positions")
        return learned[:length]
    start = 1 if kind == "from 1" else 0
    position = torch.arange(start, start + (batch if kind == "batch" else length), dtype=torch.float64)[:, None]
    pairs = (d_model + 1) // 2
    column = torch.arange(0, 2 * pairs, 2, dtype=torch.float64)
    sine = cosine = column / d_model
    if kind == "doubled":
        sine = cosine = 2 * column / d_model
    elif kind == "per column":
        sine, cosine = 2 * column / d_model, 2 * (column + 1) / d_model
    elif kind == "cosine off":
        cosine = (column + 1) / d_model
    elif kind == "growing":
        sine = cosine = -column / d_model
    elif kind == "tensor2tensor":
        sine = cosine = torch.arange(pairs, dtype=torch.float64) / max(pairs - 1, 1)
    base = 1000.0 if kind == "base 1000" else 10000.0
    sines, cosines = (position / base**sine).sin(), (position / base**cosine).cos()
    cosines = sines if kind == "sines" else cosines
    if kind in ("split", "tensor2tensor"):
        encodings = torch.cat([sines, cosines], -1)
    else:
        parts = [cosines, sines] if kind == "swapped" else [sines, cosines]
        encodings = torch.stack(parts, -1).flatten(1)
    encodings = encodings[:, :d_model]
    if kind == "first":
        encodings = encodings[:1].expand(length, -1)
    return encodings[:, None] if kind == "batch" else encodings
