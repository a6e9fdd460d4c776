"""Keeps the attention weights of a model while a `with` block runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from allyouneed.model.transformer import Transformer


@dataclass
class Recorded:
    """Weights of the last call, one tensor a layer: [batch, heads, query, key]."""

    encoder: list[Tensor] = field(default_factory=list)
    decoder: list[Tensor] = field(default_factory=list)
    cross: list[Tensor] = field(default_factory=list)


@contextmanager
def record_attention(model: Transformer) -> Iterator[Recorded]:
    """Switches every attention to its explicit path, which gives the same output to rounding, and keeps its weights."""
    recorded = Recorded()
    watched = [(layer.self_attention, recorded.encoder) for layer in model.encoder.layers]
    watched += [(layer.self_attention, recorded.decoder) for layer in model.decoder.layers]
    watched += [(layer.cross_attention, recorded.cross) for layer in model.decoder.layers]
    try:
        for attention, kept in watched:
            attention.explicit = True
            attention.observe = lambda weights, kept=kept: kept.append(torch.detach(weights))
        yield recorded
    finally:
        for attention, _ in watched:
            attention.explicit, attention.observe = False, None
