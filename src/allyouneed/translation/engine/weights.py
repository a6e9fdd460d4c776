"""A Transformer's weights as records for compiled code, with matrices packed for its products."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from allyouneed import kernels
from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.kernels.product import Matrix, pack
from allyouneed.kernels.records import Floats, Longs, Record
from allyouneed.model.feed_forward import FeedForward
from allyouneed.model.layers import DecoderLayer, EncoderLayer
from allyouneed.model.transformer import Transformer
from allyouneed.translation.engine.screen import ScreenWeights, screen_weights
from allyouneed.translation.search import NEVER_GENERATED


class Norm(Record):
    """Layer normalisation."""

    weight: Floats  # fp32 [d_model]
    bias: Floats  # fp32 [d_model]


class FeedForwardWeights(Record):
    """The feed-forward sub-layer (section 3.3)."""

    norm: Norm
    inner: Matrix  # [d_model, d_ff]
    outer: Matrix  # [d_ff, d_model]


class EncoderLayerWeights(Record):
    """An encoder layer."""

    norm: Norm
    projection: Matrix  # [d_model, heads · (2 d_k + d_v)]: queries, keys and values side by side
    output: Matrix  # [heads · d_v, d_model]
    feed_forward: FeedForwardWeights


class EncoderWeights(Record):
    """The encoder, and the projections of its output to keys and values for all decoder layers."""

    layers: EncoderLayerWeights
    num_layers: int
    embedding: Floats  # fp32 [vocabulary, d_model]
    embedding_scale: float
    last_norm: Norm | None  # with norm "pre"
    memory: Matrix  # [d_model, heads · (d_k + d_v)] for each decoder layer
    num_memories: int  # decoder layers
    norm_first: int
    d_model: int
    d_ff: int
    heads: int
    d_k: int
    d_v: int


class DecoderLayerWeights(Record):
    """A decoder layer, without the projections of the encoder's output."""

    norm: Norm
    query: Matrix  # [d_model, heads · d_k]
    key_value: Matrix  # [d_model, heads · (d_k + d_v)]
    output: Matrix  # [heads · d_v, d_model]
    cross_norm: Norm
    cross_query: Matrix
    cross_output: Matrix
    feed_forward: FeedForwardWeights


class DecoderWeights(Record):
    """The decoder, with the pre-softmax linear."""

    layers: DecoderLayerWeights
    num_layers: int
    embedding: Floats  # fp32 [vocabulary, d_model]
    embedding_scale: float
    last_norm: Norm | None  # with norm "pre"
    norm_first: int
    d_model: int
    d_ff: int
    heads: int
    d_k: int
    d_v: int
    vocab_size: int
    output: Matrix  # [d_model, vocabulary]
    forbidden: Longs  # tokens that are never generated
    num_forbidden: int
    end: int  # the end-of-sentence token
    screen: ScreenWeights | None  # in 8 bits
    fine_screen: ScreenWeights | None  # in 16 bits, for scores


def encoder_weights(model: Transformer, in_bytes: bool) -> EncoderWeights:
    """Pack the encoder's weights; in_bytes: matrices in 8 bits."""
    cross = [layer.cross_attention for layer in model.decoder.layers]
    return EncoderWeights(
        layers=EncoderLayerWeights.array([_encoder_layer(layer, in_bytes) for layer in model.encoder.layers]),
        embedding=model.source_embedding.tokens.weight.detach().contiguous(),
        embedding_scale=model.source_embedding.scale,
        last_norm=_last_norm(model.encoder.norm),
        memory=Matrix.array([_matrix(in_bytes, each.key, each.value) for each in cross]),
        num_memories=len(cross),
        **_sizes(model, len(model.encoder.layers)),
    )


def decoder_weights(model: Transformer, in_bytes: bool) -> DecoderWeights:
    """Pack the decoder's weights; in_bytes: matrices in 8 bits."""
    bias = bias_of(model.output)
    bias[NEVER_GENERATED] = kernels.MASKED
    screened = kernels.target.has_vnni() and not in_bytes
    return DecoderWeights(
        layers=DecoderLayerWeights.array([_decoder_layer(layer, in_bytes) for layer in model.decoder.layers]),
        embedding=model.target_embedding.tokens.weight.detach().contiguous(),
        embedding_scale=model.target_embedding.scale,
        last_norm=_last_norm(model.decoder.norm),
        vocab_size=model.output.out_features,
        output=_matrix(in_bytes, model.output),
        forbidden=torch.tensor(NEVER_GENERATED),
        num_forbidden=len(NEVER_GENERATED),
        end=EOS,
        screen=screen_weights(model.output.weight, bias, 8) if screened else None,
        fine_screen=screen_weights(model.output.weight, bias, 16) if screened else None,
        **_sizes(model, len(model.decoder.layers)),
    )


def bias_of(linear: nn.Linear) -> Tensor:
    """Return a copy of a linear layer's bias, or zeros if it has none."""
    return torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach().clone()


def _sizes(model: Transformer, num_layers: int) -> dict[str, int]:
    config = model.config
    return {
        "num_layers": num_layers,
        "norm_first": config.norm == "pre",
        "d_model": config.d_model,
        "d_ff": config.d_ff,
        "heads": config.num_heads,
        "d_k": config.key_size,
        "d_v": config.value_size,
    }


def _encoder_layer(layer: EncoderLayer, in_bytes: bool) -> EncoderLayerWeights:
    attention, (residual, ffn_residual) = layer.self_attention, layer.residuals
    return EncoderLayerWeights(
        norm=_norm(residual.norm),
        projection=_matrix(in_bytes, attention.query, attention.key, attention.value),
        output=_matrix(in_bytes, attention.output),
        feed_forward=_feed_forward(ffn_residual.norm, layer.feed_forward, in_bytes),
    )


def _decoder_layer(layer: DecoderLayer, in_bytes: bool) -> DecoderLayerWeights:
    attention, cross, (residual, cross_residual, ffn_residual) = (
        layer.self_attention,
        layer.cross_attention,
        layer.residuals,
    )
    return DecoderLayerWeights(
        norm=_norm(residual.norm),
        query=_matrix(in_bytes, attention.query),
        key_value=_matrix(in_bytes, attention.key, attention.value),
        output=_matrix(in_bytes, attention.output),
        cross_norm=_norm(cross_residual.norm),
        cross_query=_matrix(in_bytes, cross.query),
        cross_output=_matrix(in_bytes, cross.output),
        feed_forward=_feed_forward(ffn_residual.norm, layer.feed_forward, in_bytes),
    )


def _feed_forward(norm: nn.LayerNorm, network: FeedForward, in_bytes: bool) -> FeedForwardWeights:
    inner, outer = _matrix(in_bytes, network.inner), _matrix(in_bytes, network.outer)
    return FeedForwardWeights(norm=_norm(norm), inner=inner, outer=outer)


def _matrix(in_bytes: bool, *linears: nn.Linear) -> Matrix:
    """Concatenate linear layers column-wise and pack them as one matrix."""
    weight, bias = (torch.cat(parts) for parts in zip(*((x.weight, bias_of(x)) for x in linears), strict=True))
    return pack(weight, bias, in_bytes)


def _norm(norm: nn.LayerNorm) -> Norm:
    return Norm(weight=norm.weight.detach().clone(), bias=norm.bias.detach().clone())


def _last_norm(norm: nn.Module) -> Norm | None:
    return _norm(norm) if isinstance(norm, nn.LayerNorm) else None
