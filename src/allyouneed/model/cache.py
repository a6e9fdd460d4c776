"""What decoding keeps, so that a step computes one position only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class LayerCache:
    """Of one decoder layer. rows = batch · beam; the encoder's side is stored once a sentence, not once a beam.

    keys, values: of the positions decoded so far [rows, heads, position, d_k or d_v], None before the first.
    memory_keys, memory_values: of the encoder's output [batch, heads, source, d_k or d_v].
    """

    memory_keys: Tensor
    memory_values: Tensor
    keys: Tensor | None = None
    values: Tensor | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Adds one position [rows, heads, 1, d_k or d_v] and returns all positions."""
        self.keys = keys if self.keys is None else torch.cat([self.keys, keys], dim=2)
        self.values = values if self.values is None else torch.cat([self.values, values], dim=2)
        return self.keys, self.values


@dataclass
class DecoderCache:
    """layers: one cache a layer; source_mask [batch, 1, 1, source]; length: positions decoded so far."""

    layers: list[LayerCache]
    source_mask: Tensor
    length: int = 0

    def select(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was: hypotheses change places within their sentence."""
        for layer in self.layers:
            if layer.keys is not None and layer.values is not None:
                layer.keys, layer.values = layer.keys[rows], layer.values[rows]

    def keep_sentences(self, sentences: Tensor) -> None:
        """Drops all sentences but these; rows are dropped by `select`."""
        self.source_mask = self.source_mask[sentences]
        for layer in self.layers:
            layer.memory_keys, layer.memory_values = layer.memory_keys[sentences], layer.memory_values[sentences]
