"""What drafts are made from, and for which models they pay."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from allyouneed.model.transformer import Transformer

_MIN_BYTES = 8 << 20  # read per step; smaller weights stay in a core's caches, and the additional rows take as long


class DraftMemory(NamedTuple):
    """Tables of n-grams and translations; `drafts.DraftTables` describes them."""

    pairs: np.ndarray
    pair_starts: np.ndarray
    pair_tokens: np.ndarray
    pair_p: np.ndarray
    pair_backoff: np.ndarray
    starts: np.ndarray
    tokens: np.ndarray
    p: np.ndarray
    backoff: np.ndarray
    frequency: np.ndarray
    rarity: np.ndarray
    translation_starts: np.ndarray
    translations: np.ndarray
    translation_p: np.ndarray

    def tensors(self) -> dict[str, Tensor]:
        """Return the tables for `Bundle.drafts`."""
        return {name: torch.from_numpy(table) for name, table in self._asdict().items()}


def pays(model: nn.Module, weight_bytes: int = 4) -> bool:
    """Return whether drafts make greedy search of one sentence faster: if a step of the decoder reads many weights.

    Args:
        model: The model; for others than a Transformer, there is no search with drafts.
        weight_bytes: Bytes per weight of the layers; the pre-softmax linear is screened in 8 bits.
    """
    if not isinstance(model, Transformer):
        return False
    layers, output = (sum(p.numel() for p in part.parameters()) for part in (model.decoder, model.output))
    return layers * weight_bytes + output >= _MIN_BYTES
