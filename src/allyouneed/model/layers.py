"""Section 3.1: residual connections, and the layers of encoder and decoder (figure 1).

Dimensions: batch; rows: batch · beam; source, target: positions; tokens: all tokens of a packed batch; d_model: width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from torch import Tensor, nn

from allyouneed.config import ModelConfig
from allyouneed.config.model_config import StackSizes
from allyouneed.model.attention import MultiHeadAttention
from allyouneed.model.cache import LayerCache
from allyouneed.model.dropout import Dropout
from allyouneed.model.feed_forward import FeedForward
from allyouneed.model.packing import PackedMask
from allyouneed.model.probe import Probe, Site

Layer = TypeVar("Layer", bound=nn.Module)


class Stack(nn.ModuleList, Generic[Layer]):
    """A `ModuleList` whose layer type is known to type checkers."""

    if TYPE_CHECKING:

        def __init__(self, layers: Iterable[Layer]) -> None: ...

        def __iter__(self) -> Iterator[Layer]: ...

        def __getitem__(self, index: int) -> Layer: ...  # type: ignore[override]  # slices are not used


class Residual(nn.Module):
    """LayerNorm(x + Dropout(Sublayer(x))) as in the paper, or x + Dropout(Sublayer(LayerNorm(x))) with norm "pre".

    Args:
        d_model: Width.
        dropout: Dropout rate.
        norm: "post" or "pre".
        epsilon: The ε of the layer norm.
        plain: Use PyTorch's dropout (the reference implementation).
        site: Key of this sub-layer in a probe: kind and layer.
    """

    def __init__(
        self,
        d_model: int,
        dropout: float,
        norm: str,
        epsilon: float = 1e-5,
        plain: bool = False,
        site: Site = ("sublayer", 0),
    ):
        super().__init__()
        self.norm = nn.LayerNorm(d_model, epsilon)
        self.dropout = Dropout(dropout, plain)
        self.norm_first, self.site = norm == "pre", site

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor], probe: Probe | None = None) -> Tensor:
        """Apply a sub-layer with its residual connection; the shape [..., d_model] of x is kept."""
        if self.norm_first:
            result = self.dropout(sublayer(self.norm(x)), onto=x, overwrite=probe is None)
        else:
            result = self.norm(self.dropout(sublayer(x), onto=x, overwrite=probe is None))
        if probe is not None:
            result = probe.replace(self.site, "result", result)
            probe.observe(self.site, residual=x, result=result)
        return result


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward (figure 1, left).

    Args:
        config: Settings of the model.
        index: Index of the layer, from 0.
        plain: Use the reference implementation throughout.
    """

    def __init__(self, config: ModelConfig, index: int = 0, plain: bool = False):
        super().__init__()
        attention, feed_forward = ("encoder", index), ("encoder feed-forward", index)
        self.self_attention = _attention(config, config.encoder, attention, plain)
        self.feed_forward = _feed_forward(config, config.encoder, feed_forward, plain)
        self.residuals = _residuals(config, plain, attention, feed_forward)

    def forward(self, x: Tensor, mask: Tensor | PackedMask, probe: Probe | None = None) -> Tensor:
        """Apply the layer.

        Args:
            x: Shape [batch, source, d_model]; packed, [tokens, d_model].
            mask: Padding mask, shape [batch, 1, 1, source], or a `PackedMask`.
            probe: Probe that observes or changes this pass.

        Returns:
            Tensor with the shape of x.
        """
        x = self.residuals[0](x, lambda x: self.self_attention(x, x, mask, probe), probe)
        return self.residuals[1](x, lambda x: self.feed_forward(x, probe), probe)


class DecoderLayer(nn.Module):
    """Masked self-attention, attention over the encoder's output, then feed-forward (figure 1, right).

    Args:
        config: Settings of the model.
        index: Index of the layer, from 0.
        plain: Use the reference implementation throughout.
    """

    def __init__(self, config: ModelConfig, index: int = 0, plain: bool = False):
        super().__init__()
        attention, cross, feed_forward = ("decoder", index), ("cross", index), ("decoder feed-forward", index)
        self.self_attention = _attention(config, config.decoder, attention, plain)
        self.cross_attention = _attention(config, config.decoder, cross, plain)
        self.feed_forward = _feed_forward(config, config.decoder, feed_forward, plain)
        self.residuals = _residuals(config, plain, attention, cross, feed_forward)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Tensor | PackedMask,
        memory_mask: Tensor | PackedMask,
        probe: Probe | None = None,
    ) -> Tensor:
        """Apply the layer.

        Args:
            x: Shape [batch, target, d_model]; packed, [tokens, d_model].
            memory: The encoder's output, shape [batch, source, d_model]; packed, [source tokens, d_model].
            mask: Mask of the future, shape [target, target], or a `PackedMask`.
            memory_mask: Padding mask of the source, shape [batch, 1, 1, source], or a `PackedMask`.
            probe: Probe that observes or changes this pass.

        Returns:
            Tensor with the shape of x.
        """
        x = self.residuals[0](x, lambda x: self.self_attention(x, x, mask, probe), probe)
        x = self.residuals[1](x, lambda x: self.cross_attention(x, memory, memory_mask, probe), probe)
        return self.residuals[2](x, lambda x: self.feed_forward(x, probe), probe)

    def start(self, memory: Tensor, probe: Probe | None = None) -> LayerCache:
        """Make the cache for `step`: project the encoder's output [batch, source, d_model] once for all steps."""
        return LayerCache(*self.cross_attention.keys_and_values(memory, probe))

    def step(self, x: Tensor, cache: LayerCache, memory_mask: Tensor, probe: Probe | None = None) -> Tensor:
        """Apply the layer to the next position of every hypothesis, x [rows, 1, d_model], and extend the cache."""
        batch = len(memory_mask)

        def attend_past(x: Tensor) -> Tensor:
            keys, values = cache.append(*self.self_attention.keys_and_values(x, probe))
            return self.self_attention.attend(x, keys, values, probe=probe)

        def attend_memory(x: Tensor) -> Tensor:
            # The hypotheses of a sentence share its memory.
            queries = x.view(batch, len(x) // max(1, batch), x.shape[-1])
            keys, values = cache.memory_keys, cache.memory_values
            return self.cross_attention.attend(queries, keys, values, memory_mask, probe).view(x.shape)

        x = self.residuals[0](x, attend_past, probe)
        x = self.residuals[1](x, attend_memory, probe)
        return self.residuals[2](x, lambda x: self.feed_forward(x, probe), probe)


def _attention(config: ModelConfig, sizes: StackSizes, site: Site, plain: bool) -> MultiHeadAttention:
    heads = sizes.heads, sizes.d_k, sizes.d_v
    return MultiHeadAttention(config.d_model, *heads, config.attention_bias, plain, site)


def _feed_forward(config: ModelConfig, sizes: StackSizes, site: Site, plain: bool) -> FeedForward:
    return FeedForward(config.d_model, sizes.d_ff, config.activation, config.feed_forward_bias, plain, site)


def _residuals(config: ModelConfig, plain: bool, *sites: Site) -> Stack[Residual]:
    norm = config.norm, config.norm_epsilon
    return Stack(Residual(config.d_model, config.dropout, *norm, plain, site) for site in sites)
