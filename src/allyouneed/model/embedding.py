"""Sections 3.4 and 3.5: what a token is and where it stands."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from allyouneed.model.dropout import Dropout


def sinusoids(length: int, d_model: int) -> Tensor:
    """PE(pos, 2i) = sin(pos / 10000^(2i/d_model)), PE(pos, 2i+1) = cos of the same. -> [length, d_model].

    Interleaved as in the paper. Hugging Face's Marian puts all sines before all cosines, a permutation of d_model;
    tensor2tensor and Marian too, but their exponents go in steps of 1 / (d_model/2 - 1): other frequencies.
    """
    position = torch.arange(length, dtype=torch.float64)[:, None]
    even = torch.arange(0, d_model, 2, dtype=torch.float64)
    angle = position / 10000 ** (even / d_model)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()


class Embedding(nn.Module):
    """Dropout(embedding · √d_model + position): sections 3.4, 3.5 and 5.4.

    `tokens` is the matrix that may be shared with other embeddings and the pre-softmax linear. Learned positions
    (row E of table 3) end at `max_positions`; sinusoids have no end.
    """

    def __init__(self, tokens: nn.Embedding, positions: str, max_positions: int, dropout: float):
        super().__init__()
        self.tokens = tokens
        self.scale = math.sqrt(tokens.embedding_dim)
        self.dropout = Dropout(dropout)
        self.placeless = False  # True: nothing tells where a token stands, to see what positions are for
        self.learned = positions == "learned"
        self.positions: Tensor
        if self.learned:
            self.positions = nn.Parameter(torch.randn(max_positions, tokens.embedding_dim) * 0.02)
        else:
            table = sinusoids(512, tokens.embedding_dim)
            self.register_buffer("positions", table, persistent=False)

    def forward(self, ids: Tensor, start: int = 0) -> Tensor:
        """ids [batch, length], of which the first stands at position `start` -> [batch, length, d_model].

        Errors: `ValueError` beyond the last learned position.
        """
        return self.dropout(self.tokens(ids) * self.scale + self._positions(start, start + ids.shape[1]))

    def packed(self, ids: Tensor, places: Tensor, longest: int) -> Tensor:
        """ids [tokens], each at its place, all before `longest` -> [tokens, d_model]."""
        return self.dropout(self.tokens(ids) * self.scale + self._positions(0, longest)[places])

    def _positions(self, start: int, end: int) -> Tensor:
        table = self.positions  # one and the same, though another thread may put a longer one there
        if end > len(table):
            if self.learned:
                raise ValueError(f"position {end} is beyond the last learned one, max_positions = {len(table)}")
            table = sinusoids(max(end, 2 * len(table)), table.shape[1]).to(table)
            self.positions = table
        return torch.zeros_like(table[start:end]) if self.placeless else table[start:end]
