"""Sections 3.4 and 3.5: token embeddings and positional encodings.

Dimensions: batch; length: positions; d_model: width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from allyouneed.config import ModelConfig
from allyouneed.model.dropout import Dropout

if TYPE_CHECKING:
    from allyouneed.model.probe import Probe, Site

_MIN_SINUSOIDS = 512


def sinusoids(
    length: int, d_model: int, dtype: torch.dtype = torch.float32, frequencies: str = "paper", first: int = 0
) -> Tensor:
    """Compute PE(pos, 2i) = sin(pos / 10000^(2i/d_model)) and PE(pos, 2i+1) = cos of the same angle (section 3.5).

    With frequencies "tensor2tensor", the exponent is i / (d_model/2 - 1), as in tensor2tensor, fairseq, Marian and
    OpenNMT-tf. Sines and cosines are interleaved, as in the paper. Those systems put all sines before all cosines,
    which is a permutation of d_model.

    Args:
        length: Number of positions.
        d_model: Width; must be even.
        dtype: Type of the result; it is computed in float64.
        frequencies: "paper" or "tensor2tensor".
        first: First position.

    Returns:
        Positional encodings on the CPU, shape [length, d_model].
    """
    position = torch.arange(first, first + length, dtype=torch.float64, device="cpu")[:, None]
    even = torch.arange(0, d_model, 2, dtype=torch.float64, device="cpu")
    angle = position / 10000 ** (even / (d_model if frequencies == "paper" else max(1, d_model - 2)))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(dtype)


class Embedding(nn.Module):
    """Dropout(embedding · √d_model + positional encoding): sections 3.4, 3.5 and 5.4.

    Settings change it for other systems' models: no factor, other frequencies or a first position other than 0 of the
    sinusoids, learned positions (table 3, row E), and a layer norm of the sum before dropout.

    Args:
        tokens: The embedding matrix, which may be shared with the other embedding and the pre-softmax linear.
        config: Settings of the model.
        plain: Use PyTorch's dropout (the reference implementation).
        site: Key of this embedding in a probe, ("source", 0) or ("target", 0) in a `Transformer`.
    """

    def __init__(self, tokens: nn.Embedding, config: ModelConfig, plain: bool = False, site: Site = ("embedding", 0)):
        super().__init__()
        self.tokens = tokens
        self.scale = math.sqrt(config.d_model) if config.scale_embeddings else 1.0
        self.norm = nn.LayerNorm(config.d_model, config.norm_epsilon) if config.embedding_norm else nn.Identity()
        self.dropout = Dropout(config.dropout, plain)
        self.site = site
        learned = config.positions == "learned"
        self.positions = nn.Parameter(torch.randn(config.max_positions, config.d_model) * 0.02) if learned else None
        self._frequencies, self._first = config.sinusoid_frequencies, config.first_position
        # Not a buffer: `Module.double` would keep values rounded to float32, and `Module.to_empty` would lose them.
        self._sinusoids: Tensor | None = None

    @property
    def max_positions(self) -> int | None:
        """Number of learned positions; None for sinusoids, which have no limit."""
        return None if self.positions is None else len(self.positions)

    def forward(self, ids: Tensor, start: int = 0, probe: Probe | None = None) -> Tensor:
        """Embed tokens at consecutive positions.

        Args:
            ids: Token ids, shape [batch, length].
            start: Position of the first token.
            probe: Probe that observes or changes this pass.

        Returns:
            Embeddings, shape [batch, length, d_model].

        Raises:
            ValueError: If a position exceeds the number of learned positions.
        """
        encodings = self.position_encodings(start, start + ids.shape[1])
        if probe is not None:
            encodings = probe.position_encodings(encodings)
        tokens = self.tokens(ids) * self.scale
        result = self.dropout(self.norm(tokens + encodings))
        if probe is not None:
            result = probe.replace(self.site, "result", result)
            probe.observe(self.site, ids=ids, tokens=tokens, positions=encodings, result=result)
        return result

    def packed(self, ids: Tensor, positions: Tensor, length: int) -> Tensor:
        """Embed packed tokens.

        Args:
            ids: Token ids, shape [tokens].
            positions: Position of each token in its sentence, shape [tokens].
            length: Length of the longest sentence.

        Returns:
            Embeddings, shape [tokens, d_model].
        """
        return self.dropout(self.norm(self.tokens(ids) * self.scale + self.position_encodings(0, length)[positions]))

    def position_encodings(self, start: int, end: int) -> Tensor:
        """Look up the encodings of the positions from `start`, counted from 0, up to but not including `end`.

        Returns:
            Encodings, shape [end - start, d_model], with the device and dtype of the embedding matrix.

        Raises:
            ValueError: If a position exceeds the number of learned positions.
        """
        if self.positions is None:
            return self._sinusoids_up_to(end)[start:end]
        if end > len(self.positions):
            raise ValueError(
                f"position {end} exceeds the number of learned positions, max_positions = {len(self.positions)}"
            )
        return self.positions[start:end]

    def _sinusoids_up_to(self, end: int) -> Tensor:
        table, like = self._sinusoids, self.tokens.weight  # read once: another thread may replace the attribute
        if table is None or len(table) < end or table.dtype != like.dtype or table.device != like.device:
            length = max(_MIN_SINUSOIDS, 2 * end if table is not None and end > len(table) else end)
            with torch.inference_mode(False):  # a table made during translation must be usable in training
                table = sinusoids(length, like.shape[1], like.dtype, self._frequencies, self._first).to(like.device)
            self._sinusoids = table
        return table
