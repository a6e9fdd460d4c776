"""Variants of the Transformer without the division by √d_k or without a mask."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from allyouneed.bundle import Build
from allyouneed.config import ModelConfig
from allyouneed.model.attention import MultiHeadAttention
from allyouneed.model.masks import padding_mask
from allyouneed.model.probe import Probe
from allyouneed.model.transformer import Transformer


class UnscaledTransformer(Transformer):
    """Transformer without the division by √d_k: queries are multiplied by the √d_k that attention divides by."""

    def __init__(self, config: ModelConfig, vocab_size: int, plain: bool = False):
        super().__init__(config, vocab_size, plain=plain)
        root = math.sqrt(config.key_size)
        for module in self.modules():
            if isinstance(module, MultiHeadAttention):
                module.query.register_forward_hook(lambda linear, inputs, queries: queries * root)


class PaddingVisibleTransformer(Transformer):
    """Transformer without the padding mask on the source; the future mask hides target padding, which is at the end."""

    packable = False

    def encode(self, source_ids: Tensor, probe: Probe | None = None) -> tuple[Tensor, Tensor]:
        mask = torch.ones_like(padding_mask(source_ids, self.pad_id))
        return self.encoder(self.source_embedding(source_ids, probe=probe), mask, probe), mask


class FutureVisibleTransformer(Transformer):
    """Transformer without the mask on later target positions, which exist in training but not in decoding."""

    packable = False

    def decode(self, target_ids: Tensor, memory: Tensor, memory_mask: Tensor, probe: Probe | None = None) -> Tensor:
        mask = padding_mask(target_ids, self.pad_id)
        return self.decoder(self.target_embedding(target_ids, probe=probe), memory, mask, memory_mask, probe)


class TrainingVariant(NamedTuple):
    """A model to train.

    Attributes:
        title: Title in tables and plots.
        build: Constructor of the model.
        masked: Constructor of a model with the same parameters and the paper's masks.
    """

    title: str
    build: Build
    masked: Build


VARIANTS = {
    "paper": TrainingVariant("as in the paper", Transformer, Transformer),
    "unscaled": TrainingVariant("no division by √d_k", UnscaledTransformer, UnscaledTransformer),
    "padding": TrainingVariant("padding visible", PaddingVisibleTransformer, Transformer),
    "future": TrainingVariant("future visible", FutureVisibleTransformer, Transformer),
}
