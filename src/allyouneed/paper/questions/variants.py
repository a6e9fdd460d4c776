"""Variants of the Transformer: another scale of the scores, a mask or the positions left out, fewer heads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from allyouneed.bundle import Build
from allyouneed.config import ModelConfig
from allyouneed.model.attention import MultiHeadAttention
from allyouneed.model.embedding import Embedding
from allyouneed.model.masks import padding_mask
from allyouneed.model.probe import Probe
from allyouneed.model.transformer import Transformer


class _Times(nn.Module):
    """Multiplies a weight by a constant."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.factor


def _scale_queries(model: Transformer, factor: float) -> None:
    """Multiply the weights W^Q by a constant wherever they are used: attention, packed kernels, compiled decoding."""
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            parametrize.register_parametrization(module.query, "weight", _Times(factor))


class UnscaledTransformer(Transformer):
    """Transformer without the division by √d_k: queries are multiplied by the √d_k that attention divides by."""

    variant = "unscaled"

    def __init__(self, config: ModelConfig, vocab_size: int, plain: bool = False):
        super().__init__(config, vocab_size, plain=plain)
        _scale_queries(self, math.sqrt(config.key_size))


class OverscaledTransformer(Transformer):
    """Transformer that divides by d_k instead of √d_k, a common misreading."""

    variant = "overscaled"

    def __init__(self, config: ModelConfig, vocab_size: int, plain: bool = False):
        super().__init__(config, vocab_size, plain=plain)
        _scale_queries(self, 1 / math.sqrt(config.key_size))


class PaddingVisibleTransformer(Transformer):
    """Transformer without the padding mask on the source; the future mask hides target padding, which is at the end."""

    packable = False
    variant = "padding visible"

    def encode(self, source_ids: Tensor, probe: Probe | None = None) -> tuple[Tensor, Tensor]:
        mask = torch.ones_like(padding_mask(source_ids, self.pad_id))
        return self.encoder(self.source_embedding(source_ids, probe=probe), mask, probe), mask


class PaddingHiddenTransformer(Transformer):
    """Transformer with the paper's masks for the weights of a `PaddingVisibleTransformer`."""

    variant = PaddingVisibleTransformer.variant


class FutureVisibleTransformer(Transformer):
    """Transformer without the mask on later target positions, which exist in training but not in decoding."""

    packable = False
    variant = "future visible"

    def decode(self, target_ids: Tensor, memory: Tensor, memory_mask: Tensor, probe: Probe | None = None) -> Tensor:
        mask = padding_mask(target_ids, self.pad_id)
        return self.decoder(self.target_embedding(target_ids, probe=probe), memory, mask, memory_mask, probe)


class FutureHiddenTransformer(Transformer):
    """Transformer with the paper's masks for the weights of a `FutureVisibleTransformer`."""

    variant = FutureVisibleTransformer.variant


class _UnorderedEmbedding(Embedding):
    """Embedding whose positional encodings are zero."""

    def position_encodings(self, start: int, end: int) -> Tensor:
        return self.tokens.weight.new_zeros(end - start, self.tokens.embedding_dim)


class UnorderedTransformer(Transformer):
    """Transformer without positional encodings."""

    variant = "unordered"

    def __init__(self, config: ModelConfig, vocab_size: int, plain: bool = False):
        super().__init__(config, vocab_size, plain=plain)
        without_parameters = config.model_copy(update={"positions": "sinusoidal"})
        for name in ("source_embedding", "target_embedding"):
            old: Embedding = getattr(self, name)
            setattr(self, name, _UnorderedEmbedding(old.tokens, without_parameters, plain, old.site))


class TrainingVariant(NamedTuple):
    """A model to train.

    Attributes:
        title: Title in tables and plots.
        build: Constructor of the model.
        masked: Constructor of a model with the same parameters and the paper's masks.
        heads: Number of heads; None for that of the settings.
        changes: What differs from the paper's attention, as in `insight.twins.Changes`.
    """

    title: str
    build: Build = Transformer
    masked: Build = Transformer
    heads: int | None = None
    changes: Mapping[str, Any] = MappingProxyType({})


def _scaled(title: str, scale: str, heads: int | None = None) -> TrainingVariant:
    build = {"none": UnscaledTransformer, "d_k": OverscaledTransformer}[scale]
    return TrainingVariant(title, build, build, heads, {"scale": scale})


# In the order in which they are trained.
VARIANTS = {
    "paper": TrainingVariant("as in the paper"),
    "unscaled": _scaled("no division by √d_k", "none"),
    "future": TrainingVariant(
        "future visible", FutureVisibleTransformer, FutureHiddenTransformer, changes={"future_mask": False}
    ),
    "positions": TrainingVariant(
        "no positional encoding", UnorderedTransformer, UnorderedTransformer, changes={"positions": False}
    ),
    "one_head": TrainingVariant("one head", heads=1),
    "one_head_unscaled": _scaled("one head, no division by √d_k", "none", 1),
    "padding": TrainingVariant(
        "padding visible", PaddingVisibleTransformer, PaddingHiddenTransformer, changes={"padding_mask": False}
    ),
    "two_heads": TrainingVariant("two heads", heads=2),
    "two_heads_unscaled": _scaled("two heads, no division by √d_k", "none", 2),
    "one_head_overscaled": _scaled("one head, division by d_k", "d_k", 1),
}
