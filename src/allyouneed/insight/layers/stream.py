"""The residual stream: its length at every sub-layer, and how much each sub-layer adds to it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from allyouneed.insight.layers.states import States, decoder_sites, encoder_sites, record_states, token_pair
from allyouneed.model.probe import Site
from allyouneed.model.transformer import Transformer
from allyouneed.translation.translator import Translator


class StreamLengths(NamedTuple):
    """Euclidean lengths at every sub-layer of a stack, arrays of shape [sub-layer, position].

    Attributes:
        sites: Sub-layers in order.
        residual: x, the state before the sub-layer.
        output: The sub-layer's output, which is added to x: Sublayer(x), or Sublayer(LayerNorm(x)) with norm "pre".
        sum: x + Sublayer(...), before the norm.
        result: State after the sub-layer: LayerNorm of the sum, or the sum itself with norm "pre".
        cosine: Cosine similarity of `residual` and `output`: negative if the sub-layer removes from the state.
    """

    sites: list[Site]
    residual: np.ndarray
    output: np.ndarray
    sum: np.ndarray
    result: np.ndarray
    cosine: np.ndarray


def residual_stream_lengths(
    translator: Translator, text: str, translation: str | None = None
) -> dict[str, StreamLengths]:
    """Measure the residual streams of one sentence pair.

    Args:
        translator: Translator whose model is examined.
        text: Sentence in the source language.
        translation: Translation to examine; None for the model's own.

    Returns:
        Lengths for the "encoder" (positions: source tokens) and the "decoder" (its input tokens).

    Raises:
        UserError: If the text is empty, or a side is longer than the model's learned positions.
    """
    states = record_states(translator, [token_pair(translator, text, translation)], "residual", "output", "result")
    return stream_of_states(translator.model, states)


def stream_of_states(model: Transformer, states: States) -> dict[str, StreamLengths]:
    """Measure the first sentence of a recording of "residual", "output" and "result"."""
    stacks = {"encoder": encoder_sites(model)[1:], "decoder": decoder_sites(model)[1:]}
    return {stack: _lengths(states, sites) for stack, sites in stacks.items()}


def _lengths(states: States, sites: list[Site]) -> StreamLengths:
    rows = []
    for site in sites:
        residual, output, result = (states[site][name][0].float() for name in ("residual", "output", "result"))
        lengths = [x.norm(dim=-1) for x in (residual, output, residual + output, result)]
        cosine = (residual * output).sum(dim=-1) / (lengths[0] * lengths[1]).clamp(min=1e-12)
        rows.append([*lengths, cosine])
    return StreamLengths(sites, *(_stack(column) for column in zip(*rows, strict=True)))


def _stack(rows: tuple[Tensor, ...]) -> np.ndarray:
    return np.stack([row.cpu().numpy() for row in rows])
