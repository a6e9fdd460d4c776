"""How states mix along the layers, read from attention alone: raw attention, attention rollout, and ALTI+.

These methods describe where the state that predicts the next token takes its information from. They do not depend on
the token that is predicted, so they give the same picture for every pair of candidates.

Dimensions: source, target: positions; the columns of a result are those of the source, then of the decoder's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from allyouneed.model.attention import MultiHeadAttention
from allyouneed.model.layers import Residual
from allyouneed.model.probe import AttentionRecorder
from allyouneed.model.transformer import Transformer
from allyouneed.translation.alignment import deciding_layer


class Mixing(NamedTuple):
    """Shares by which the states after a sub-layer consist of the states before it; rows sum to 1.

    Attributes:
        encoder: Shape [layer, source, source].
        decoder: Self-attention of the decoder, shape [layer, target, target].
        cross: Share of the memory, shape [layer, target, source].
        residual: Share of the decoder's own state beside `cross`, shape [layer, target].
    """

    encoder: np.ndarray
    decoder: np.ndarray
    cross: np.ndarray
    residual: np.ndarray


def raw_attention(recorded: AttentionRecorder) -> np.ndarray:
    """Return the attention of the layer that gives the word alignment, as many tools show it.

    Args:
        recorded: Recording of one pair.

    Returns:
        Mean over the heads of encoder-decoder attention (source) and self-attention (target), each with weight 1/2;
        shape [target, source + target].
    """
    layer = deciding_layer(len(recorded.cross))
    return np.concatenate([_mean(recorded.cross)[layer], _mean(recorded.decoder)[layer]], axis=1) / 2


def rollout(recorded: AttentionRecorder) -> np.ndarray:
    """Compute attention rollout (Abnar & Zuidema 2020), extended to encoder and decoder.

    Every sub-layer passes on half of a state by the residual connection and half by attention, the mean over its heads.

    Args:
        recorded: Recording of one pair.

    Returns:
        Shares of the inputs in the decoder's last states, shape [target, source + target]; rows sum to 1.
    """
    encoder, decoder, cross = _mean(recorded.encoder), _mean(recorded.decoder), _mean(recorded.cross)
    half = np.full(cross.shape[:2], 0.5)
    return roll_out(Mixing(_with_residual(encoder), _with_residual(decoder), cross / 2, half))


def alti(model: Transformer, recorded: AttentionRecorder) -> np.ndarray:
    """Compute ALTI+ (Ferrando et al. 2022, "Towards Opening the Black Box of Neural Machine Translation").

    The output of a sub-layer is a sum of one vector per input token: its value after W^O, weighted by attention in
    each head, plus the residual. The layer norm divides the sum by its standard deviation, and so acts on each vector
    as a linear map. A token's share is how much closer the output is to its vector than to zero, in the L1 norm,
    max(0, |y| - |y - vector|), normalised over tokens. Shares are multiplied along the layers; the feed-forward
    networks, which act on each position alone, are left out.

    Args:
        model: The recorded model.
        recorded: Recording of one pair with stages.

    Returns:
        Shares of the inputs in the decoder's last states, shape [target, source + target]; rows sum to 1.
    """
    encoder = [
        _self_shares(stages, layer.self_attention, layer.residuals[0])
        for stages, layer in zip(recorded.layers("encoder"), model.encoder.layers, strict=True)
    ]
    decoder = [
        _self_shares(stages, layer.self_attention, layer.residuals[0])
        for stages, layer in zip(recorded.layers("decoder"), model.decoder.layers, strict=True)
    ]
    cross, residual = [], []
    for stages, layer in zip(recorded.layers("cross"), model.decoder.layers, strict=True):
        vectors = _token_vectors(stages, layer.cross_attention)
        own = stages["residual"][0].double()
        shares = _shares(torch.cat([vectors, own[:, None]], dim=1), _after_norm(stages, layer.residuals[1]))
        cross.append(shares[:, :-1])
        residual.append(shares[:, -1])
    return roll_out(Mixing(*(np.stack(arrays) for arrays in (encoder, decoder, cross, residual))))


def roll_out(mixing: Mixing) -> np.ndarray:
    """Multiply shares along the layers, from the inputs to the decoder's last states. -> [target, source + target]."""
    memory = np.eye(mixing.encoder.shape[1])
    for layer in mixing.encoder:
        memory = layer @ memory
    size = len(memory)
    found = np.concatenate([np.zeros((len(mixing.residual[0]), size)), np.eye(len(mixing.residual[0]))], axis=1)
    for own, cross, residual in zip(mixing.decoder, mixing.cross, mixing.residual, strict=True):
        found = own @ found * residual[:, None]
        found[:, :size] += cross @ memory
    return found


def _mean(weights: Sequence[Tensor]) -> np.ndarray:
    """Average over heads: [1, heads, query, key] per layer -> [layer, query, key]."""
    return np.stack([x[0].double().mean(dim=0).cpu().numpy() for x in weights])


def _with_residual(attention: np.ndarray) -> np.ndarray:
    return (attention + np.eye(attention.shape[-1])) / 2


def _self_shares(stages: dict[str, Tensor], attention: MultiHeadAttention, residual: Residual) -> np.ndarray:
    vectors = _token_vectors(stages, attention)
    own = stages["residual"][0].double()
    diagonal = torch.arange(len(own), device=own.device)
    vectors[diagonal, diagonal] += own
    return _shares(vectors, _after_norm(stages, residual))


@torch.no_grad()
def _token_vectors(stages: dict[str, Tensor], attention: MultiHeadAttention) -> Tensor:
    """Compute what each query receives from each key after W^O, without its bias. -> [query, key, d_model]."""
    values, weights = stages["values"][0].double(), stages["weights"][0].double()
    matrix = attention.output.weight.double().unflatten(1, (len(values), -1))  # [d_model, heads, d_v]
    projected = torch.einsum("hkv,dhv->hkd", values, matrix)
    return torch.einsum("hqk,hkd->qkd", weights, projected)


@torch.no_grad()
def _after_norm(stages: dict[str, Tensor], residual: Residual) -> Tensor | None:
    """Return the layer norm as a factor of centred vectors, [query, d_model]; None for norm "pre"."""
    if residual.norm_first:
        return None
    total = (stages["residual"] + stages["output"])[0].double()
    deviation = (total.var(dim=-1, unbiased=False, keepdim=True) + residual.norm.eps).sqrt()
    return residual.norm.weight.double() / deviation


def _shares(vectors: Tensor, factor: Tensor | None) -> np.ndarray:
    """Compute the shares of vectors [query, part, d_model] in their sum. -> [query, part]."""
    if factor is not None:
        vectors = (vectors - vectors.mean(dim=-1, keepdim=True)) * factor[:, None]
    total = vectors.sum(dim=1, keepdim=True)
    closer = (total.abs().sum(dim=-1) - (total - vectors).abs().sum(dim=-1)).clamp(min=0)
    sizes = vectors.abs().sum(dim=-1)  # if no vector is closer than zero, shares follow the vectors' lengths
    closer = torch.where(closer.sum(dim=1, keepdim=True) > 0, closer, sizes + 1e-12)
    return (closer / closer.sum(dim=1, keepdim=True)).cpu().numpy()
