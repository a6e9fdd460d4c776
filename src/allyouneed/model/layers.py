"""Section 3.1: residual connections, and the layers of encoder and decoder as in figure 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from torch import Tensor, nn

from allyouneed.config import ModelConfig
from allyouneed.model.attention import MultiHeadAttention
from allyouneed.model.cache import LayerCache
from allyouneed.model.dropout import Dropout
from allyouneed.model.feed_forward import FeedForward
from allyouneed.model.packing import PackedMask

Layer = TypeVar("Layer", bound=nn.Module)


class Stack(nn.ModuleList, Generic[Layer]):
    """A `ModuleList` of layers of one kind, and a type checker knows which."""

    if TYPE_CHECKING:

        def __init__(self, layers: Iterable[Layer]) -> None: ...

        def __iter__(self) -> Iterator[Layer]: ...

        def __getitem__(self, index: int) -> Layer: ...  # type: ignore[override]  # PyTorch's takes slices, too


class Residual(nn.Module):
    """LayerNorm(x + Dropout(Sublayer(x))), the paper's; "pre" is x + Dropout(Sublayer(LayerNorm(x)))."""

    def __init__(self, d_model: int, dropout: float, norm: str):
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.dropout = Dropout(dropout)
        self.norm_first = norm == "pre"

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """x [..., d_model], around a sub-layer that gives the same shape -> like x."""
        if self.norm_first:
            return self.dropout(sublayer(self.norm(x)), onto=x)
        return self.norm(self.dropout(sublayer(x), onto=x))


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward (figure 1, left)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.self_attention = _attention(config)
        self.feed_forward = FeedForward(config.d_model, config.d_ff, config.activation)
        self.residuals = _residuals(2, config)

    def forward(self, x: Tensor, mask: Tensor | PackedMask) -> Tensor:
        """x [batch, source, d_model], mask [batch, 1, 1, source] -> like x; packed, [tokens, d_model]."""
        x = self.residuals[0](x, lambda x: self.self_attention(x, x, mask))
        return self.residuals[1](x, self.feed_forward)


class DecoderLayer(nn.Module):
    """Masked self-attention, attention over the encoder's output, feed-forward (figure 1, right)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.self_attention = _attention(config)
        self.cross_attention = _attention(config)
        self.feed_forward = FeedForward(config.d_model, config.d_ff, config.activation)
        self.residuals = _residuals(3, config)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | PackedMask, memory_mask: Tensor | PackedMask) -> Tensor:
        """x [batch, target, d_model], memory [batch, source, d_model], masks [target, target] and [batch, 1, 1, source]
        -> like x; packed, [tokens, d_model]."""
        x = self.residuals[0](x, lambda x: self.self_attention(x, x, mask))
        x = self.residuals[1](x, lambda x: self.cross_attention(x, memory, memory_mask))
        return self.residuals[2](x, self.feed_forward)

    def start(self, memory: Tensor) -> LayerCache:
        """Projects the encoder's output [batch, source, d_model] once for all steps."""
        return LayerCache(*self.cross_attention.keys_and_values(memory))

    def step(self, x: Tensor, cache: LayerCache, memory_mask: Tensor) -> Tensor:
        """One position of every hypothesis, x [batch · beam, 1, d_model] -> like x."""
        rows, _, d_model = x.shape
        batch = len(memory_mask)

        def attend_past(x: Tensor) -> Tensor:
            return self.self_attention.attend(x, *cache.append(*self.self_attention.keys_and_values(x)))

        def attend_memory(x: Tensor) -> Tensor:  # a sentence's hypotheses are queries over one and the same memory
            keys, values = cache.memory_keys, cache.memory_values
            return self.cross_attention.attend(x.view(batch, rows // batch, d_model), keys, values, memory_mask).view(
                x.shape
            )

        x = self.residuals[0](x, attend_past)
        x = self.residuals[1](x, attend_memory)
        return self.residuals[2](x, self.feed_forward)


def _attention(config: ModelConfig) -> MultiHeadAttention:
    return MultiHeadAttention(
        config.d_model, config.num_heads, config.key_size, config.value_size, config.attention_bias
    )


def _residuals(count: int, config: ModelConfig) -> Stack[Residual]:
    return Stack(Residual(config.d_model, config.dropout, config.norm) for _ in range(count))
