"""A Transformer's weights as records for compiled code, with matrices packed for its products.

Vectors have 16 values. Widths (d_model, d_ff, d_k and d_v) that are not multiples of 16 are padded with zeros. Since
the weights of the padding are 0, its values are 0 in every layer, and it changes no sum. Only layer norms and the scale
of attention depend on the widths without padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from allyouneed import kernels
from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.kernels import LANES
from allyouneed.kernels.activations import ACTIVATIONS, Activation
from allyouneed.kernels.lanes import pad_to_lanes
from allyouneed.kernels.packed_matrix import Matrix, pack, pack_fastest
from allyouneed.kernels.records import Float64, Floats, Longs, Record
from allyouneed.model.embedding import Embedding
from allyouneed.model.layers import DecoderLayer, EncoderLayer
from allyouneed.model.transformer import Transformer
from allyouneed.translation.engine.screen import ScreenWeights, screen_weights
from allyouneed.translation.search import NEVER_GENERATED


class Norm(Record):
    """Layer normalisation."""

    weight: Floats  # fp32 [width, padded]
    bias: Floats  # fp32 [width, padded]
    width: int  # number of values that are normalised, without padding
    epsilon: Float64  # added to the variance


class FeedForwardWeights(Record):
    """The feed-forward sub-layer (section 3.3)."""

    norm: Norm
    inner: Matrix  # [d_model, d_ff]
    outer: Matrix  # [d_ff, d_model]
    activation: Activation | None  # none for ReLU


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
    embedding_norm: Norm | None
    last_norm: Norm | None
    memory: Matrix  # [d_model, heads · (d_k + d_v)] of the decoder, for each of its layers
    num_memories: int  # decoder layers
    norm_first: int
    d_model: int
    d_ff: int
    heads: int
    d_k: int
    d_v: int
    attention_scale: float  # 1 / √d_k


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
    embedding_norm: Norm | None
    last_norm: Norm | None
    norm_first: int
    d_model: int
    d_ff: int
    heads: int
    d_k: int
    d_v: int
    attention_scale: float  # 1 / √d_k
    in_bf16: int  # whether keys and values are kept in bf16 instead of fp32
    position_words: int  # 32-bit words of the keys and values of a position in a layer
    vocab_size: int
    output: Matrix  # [d_model, vocabulary]
    forbidden: Longs  # tokens that are never generated
    num_forbidden: int
    end: int  # the end-of-sentence token
    screen: ScreenWeights | None  # in 8 bits
    fine_screen: ScreenWeights | None  # in 16 bits, for scores


def encoder_weights(model: Transformer, in_bytes: bool) -> EncoderWeights:
    """Pack the encoder's weights; in_bytes: matrices in 8 bits."""
    layers, cross = model.encoder.layers, [layer.cross_attention for layer in model.decoder.layers]
    return EncoderWeights(
        layers=EncoderLayerWeights.array([_encoder_layer(layer, in_bytes) for layer in layers]),
        num_layers=len(layers),
        embedding=_embedding(model.source_embedding),
        embedding_scale=model.source_embedding.scale,
        embedding_norm=_optional_norm(model.source_embedding.norm),
        last_norm=_optional_norm(model.encoder.norm),
        memory=Matrix.array([_matrix(in_bytes, (each.key, each.value), each.num_heads) for each in cross]),
        num_memories=len(cross),
        **_sizes(layers[0]),
    )


def decoder_weights(model: Transformer, in_bytes: bool) -> DecoderWeights:
    """Pack the decoder's weights; in_bytes: matrices in 8 bits, keys and values in bf16."""
    layers, output, bias = model.decoder.layers, pad_width(model.output.weight.detach()), bias_of(model.output)
    bias[NEVER_GENERATED] = kernels.MASKED
    screened = kernels.has_vnni() and not in_bytes
    sizes = _sizes(layers[0])
    width = sizes["heads"] * (sizes["d_k"] + sizes["d_v"])
    return DecoderWeights(
        layers=DecoderLayerWeights.array([_decoder_layer(layer, in_bytes) for layer in layers]),
        num_layers=len(layers),
        embedding=_embedding(model.target_embedding),
        embedding_scale=model.target_embedding.scale,
        embedding_norm=_optional_norm(model.target_embedding.norm),
        last_norm=_optional_norm(model.decoder.norm),
        vocab_size=model.output.out_features,
        output=pack(output, bias_of(model.output), in_bytes),
        forbidden=torch.tensor(NEVER_GENERATED),
        num_forbidden=len(NEVER_GENERATED),
        end=EOS,
        screen=screen_weights(output, bias, 8) if screened else None,
        fine_screen=screen_weights(output, bias, 16) if screened else None,
        in_bf16=in_bytes,
        position_words=width // 2 if in_bytes else width,
        **sizes,
    )


def bias_of(linear: nn.Linear) -> Tensor:
    """Return a copy of a linear layer's bias, or zeros if it has none."""
    return torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach().clone()


def pad_width(x: Tensor, dim: int = -1, heads: int = 1) -> Tensor:
    """Pad a dimension with zeros to a multiple of 16, separately for each of `heads` heads that it consists of."""
    width = x.shape[dim] // heads
    if width % LANES == 0:
        return x
    parts = x.movedim(dim, -1).unflatten(-1, (heads, width))
    return pad(parts, (0, -width % LANES)).flatten(-2).movedim(-1, dim).contiguous()


def _sizes(layer: EncoderLayer | DecoderLayer) -> dict[str, Any]:
    attention, inner = layer.self_attention, layer.feed_forward.inner
    heads = attention.num_heads
    d_k, d_v = attention.query.out_features // heads, attention.value.out_features // heads
    return {
        "norm_first": layer.residuals[0].norm_first,
        "d_model": pad_to_lanes(inner.in_features),
        "d_ff": pad_to_lanes(inner.out_features),
        "heads": heads,
        "d_k": pad_to_lanes(d_k),
        "d_v": pad_to_lanes(d_v),
        "attention_scale": 1 / math.sqrt(d_k),
    }


def _embedding(embedding: Embedding) -> Tensor:
    return pad_width(embedding.tokens.weight.detach()).contiguous()


def _encoder_layer(layer: EncoderLayer, in_bytes: bool) -> EncoderLayerWeights:
    attention, heads = layer.self_attention, layer.self_attention.num_heads
    return EncoderLayerWeights(
        norm=_norm(layer.residuals[0].norm),
        projection=_matrix(in_bytes, (attention.query, attention.key, attention.value), heads),
        output=_matrix(in_bytes, (attention.output,), input_heads=heads),
        feed_forward=_feed_forward(layer, in_bytes),
    )


def _decoder_layer(layer: DecoderLayer, in_bytes: bool) -> DecoderLayerWeights:
    attention, cross, heads = layer.self_attention, layer.cross_attention, layer.self_attention.num_heads
    return DecoderLayerWeights(
        norm=_norm(layer.residuals[0].norm),
        query=_matrix(in_bytes, (attention.query,), heads),
        key_value=_matrix(in_bytes, (attention.key, attention.value), heads),
        output=_matrix(in_bytes, (attention.output,), input_heads=heads),
        cross_norm=_norm(layer.residuals[1].norm),
        cross_query=_matrix(in_bytes, (cross.query,), heads),
        cross_output=_matrix(in_bytes, (cross.output,), input_heads=heads),
        feed_forward=_feed_forward(layer, in_bytes),
    )


def _feed_forward(layer: EncoderLayer | DecoderLayer, in_bytes: bool) -> FeedForwardWeights:
    network = layer.feed_forward
    return FeedForwardWeights(
        norm=_norm(layer.residuals[-1].norm),
        inner=_matrix(in_bytes, (network.inner,)),
        outer=_matrix(in_bytes, (network.outer,)),
        activation=ACTIVATIONS.get(network.activation),
    )


def _matrix(in_bytes: bool, linears: Sequence[nn.Linear], heads: int = 1, input_heads: int = 1) -> Matrix:
    """Concatenate linear layers column-wise and pack them as one matrix.

    heads, input_heads: number of heads that the outputs and the inputs consist of, whose widths are padded.
    """
    weights = [pad_width(pad_width(linear.weight.detach(), 0, heads), 1, input_heads) for linear in linears]
    biases = [pad_width(bias_of(linear), 0, heads) for linear in linears]
    weight, bias = torch.cat(weights), torch.cat(biases)
    return pack(weight, bias, in_bytes) if in_bytes else pack_fastest(weight, bias)


def _norm(norm: nn.LayerNorm) -> Norm:
    weight, bias = (pad_width(each.detach().clone()) for each in (norm.weight, norm.bias))
    return Norm(weight=weight, bias=bias, width=len(norm.weight), epsilon=norm.eps)


def _optional_norm(norm: nn.Module) -> Norm | None:
    return _norm(norm) if isinstance(norm, nn.LayerNorm) else None
