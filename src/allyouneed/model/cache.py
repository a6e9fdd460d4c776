"""Keys and values cached during decoding, so that a step computes only one position.

Dimensions: batch: sentences; rows: batch · beam; source, position; heads; d_k, d_v: widths.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class LayerCache:
    """Cache of one decoder layer.

    Attributes:
        memory_keys: Keys of the encoder's output, once per sentence, shape [batch, heads, source, d_k].
        memory_values: Values of the encoder's output, shape [batch, heads, source, d_v].
        keys: Keys of the positions decoded so far, shape [rows, heads, position, d_k]; None before the first.
        values: Values of the positions decoded so far, shape [rows, heads, position, d_v]; None before the first.
    """

    memory_keys: Tensor
    memory_values: Tensor
    keys: Tensor | None = None
    values: Tensor | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add one position [rows, heads, 1, d_k or d_v] and return the keys and values of all positions."""
        self.keys = keys if self.keys is None else torch.cat([self.keys, keys], dim=2)
        self.values = values if self.values is None else torch.cat([self.values, values], dim=2)
        return self.keys, self.values


@dataclass
class DecoderCache:
    """Cache of all decoder layers.

    Attributes:
        layers: One cache per layer.
        source_mask: Padding mask of the sources, shape [batch, 1, 1, source].
        length: Number of positions decoded so far.
    """

    layers: list[LayerCache]
    source_mask: Tensor
    length: int = 0

    def select(self, rows: Tensor) -> None:
        """Reorder hypotheses: row i becomes the former row rows[i], of the same sentence."""
        for layer in self.layers:
            if layer.keys is not None and layer.values is not None:
                layer.keys, layer.values = layer.keys[rows], layer.values[rows]

    def keep_sentences(self, sentences: Tensor) -> None:
        """Drop the encoder's keys, values and masks of all other sentences; `select` drops their rows."""
        self.source_mask = self.source_mask[sentences]
        for layer in self.layers:
            layer.memory_keys, layer.memory_values = layer.memory_keys[sentences], layer.memory_values[sentences]
