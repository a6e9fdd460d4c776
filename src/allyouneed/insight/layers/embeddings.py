"""Embeddings and positional encodings (sections 3.4 and 3.5): neighbours of a token, and what positions add to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from allyouneed.insight.layers.states import States, record_states, token_pair
from allyouneed.model.embedding import Embedding
from allyouneed.model.transformer import Transformer
from allyouneed.translation.translator import Translator

SIDES = ("source", "target")


class Neighbours(NamedTuple):
    """Tokens with the most similar embeddings, without the token itself.

    Attributes:
        ids: Ids, shape [token, neighbour], most similar first.
        cosine: Cosine similarities, in the same format.
    """

    ids: np.ndarray
    cosine: np.ndarray


class EmbeddedTokens(NamedTuple):
    """The sum that enters the first layer, one row per position.

    Attributes:
        tokens: Embedding · √d_model (or the embedding, see `ModelConfig.scale_embeddings`), shape [position, d_model].
        positions: Positional encodings, in the same format.
        result: Their sum, normalised if the model has a layer norm there.
    """

    tokens: np.ndarray
    positions: np.ndarray
    result: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Euclidean lengths of the token, the position and the sum, shape [position, 3]."""
        parts = self.tokens, self.positions, self.tokens + self.positions
        return np.stack([np.linalg.norm(x, axis=-1) for x in parts], axis=-1)


def embedded_tokens(translator: Translator, text: str, translation: str | None = None) -> dict[str, EmbeddedTokens]:
    """Compute the inputs of the first layers.

    Args:
        translator: Translator whose model is examined.
        text: Sentence in the source language.
        translation: Translation to examine; None for the model's own.

    Returns:
        For "source" and "target" (the decoder's input tokens) the sum and its parts.

    Raises:
        UserError: If the text is empty, or a side is longer than the model's learned positions.
    """
    return embedded_of_states(record_states(translator, [token_pair(translator, text, translation)]))


def embedded_of_states(states: States) -> dict[str, EmbeddedTokens]:
    """Read the sums of the first sentence from a recording."""
    found = {}
    for side in SIDES:
        at = states[side, 0]
        rows = at["tokens"][0], at["positions"], at["result"][0]
        found[side] = EmbeddedTokens(*(x.float().cpu().numpy() for x in rows))
    return found


@torch.inference_mode()
def neighbours(model: Transformer, ids: Sequence[int], side: str = "source", top: int = 8) -> Neighbours:
    """Find the tokens whose embeddings have the largest cosine similarity.

    Args:
        model: The model.
        ids: Token ids.
        side: "source" or "target", which may have different vocabularies.
        top: Number of neighbours.

    Returns:
        The neighbours.

    Raises:
        ValueError: If the side is unknown.
    """
    matrix = nn.functional.normalize(embedding_of(model, side).tokens.weight.float(), dim=-1)
    own = torch.as_tensor(list(ids), device=matrix.device)
    similarity = matrix[own] @ matrix.T
    similarity[torch.arange(len(own), device=matrix.device), own] = -torch.inf
    cosine, found = similarity.topk(min(top, len(matrix) - 1), dim=-1)
    return Neighbours(found.cpu().numpy(), cosine.cpu().numpy())


@torch.inference_mode()
def position_table(model: Transformer, length: int, side: str = "source") -> np.ndarray:
    """Return the encodings of the first positions, sinusoids or learned, shape [length, d_model].

    Raises:
        ValueError: If the side is unknown, or the model has fewer learned positions.
    """
    return embedding_of(model, side).position_encodings(0, length).float().cpu().numpy()


def embedding_of(model: Transformer, side: str) -> Embedding:
    """Return the embedding of the "source" or the "target".

    Raises:
        ValueError: If the side is unknown.
    """
    if side not in SIDES:
        raise ValueError(f'side = {side!r}: "source" or "target".')
    return model.source_embedding if side == "source" else model.target_embedding
