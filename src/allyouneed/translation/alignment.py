"""Attention weights of a sentence pair, and the word alignment derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from allyouneed.data.batches import pad
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.errors import UserError
from allyouneed.model.probe import KINDS, AttentionRecorder, Probe

if TYPE_CHECKING:
    from allyouneed.translation.translator import Translator

_MOST_WEIGHTS, _MOST_BESIDE_STAGES = 1 << 29, 1 << 27  # attention weights of a sentence pair; 512 MiB with stages


@dataclass(frozen=True)
class Attention:
    """Attention weights of every head for one sentence pair.

    Target query i is the position that predicts `target_tokens[i]`; the decoder's keys are `target_inputs`, which begin
    with `<s>`. In tokens, ▁ stands for a space; source and target end with `</s>`.

    Attributes:
        encoder: Weights of source queries over source keys, float32, [layer, head, query, key]; rows sum to 1.
        decoder: Weights of target queries over target keys, in the same format.
        cross: Weights of target queries over source keys, in the same format.
        source_tokens: Source tokens.
        target_inputs: Inputs of the decoder.
        target_tokens: Target tokens.
        stages: Intermediate results, `stages["cross"][layer]["scores"]`, float32: inputs of the projections `x` [query,
            d_model] and `memory` [key, d_model]; `queries` [head, query, d_k], `keys` [head, key, d_k], `values` [head,
            key, d_v]; `scores` (Q Kᵀ) and `weights` [head, query, key]; `heads` [head, query, d_v]; `concat` [query,
            heads · d_v]; `output` (after W^O), `residual` (the other summand) and `result` (after add & norm, or
            after add if norm is "pre") [query, d_model].
    """

    encoder: np.ndarray
    decoder: np.ndarray
    cross: np.ndarray
    source_tokens: list[str]
    target_inputs: list[str]
    target_tokens: list[str]
    stages: dict[str, list[dict[str, np.ndarray]]] = field(default_factory=dict, repr=False, compare=False)


def attention_of(translator: Translator, text: str, translation: str, stages: bool) -> Attention:
    """Compute the attention of every head for a text and its translation; see `Translator.look`."""
    tokenizer, device = translator.tokenizer, translator.device
    source_ids = [*tokenizer.encode(text), EOS]
    target_ids = [BOS, *tokenizer.target.encode(translation)]
    translator.refuse_beyond_positions(max(len(source_ids), len(target_ids)), "the text or its translation")
    weights = translator.bundle.config.model.count_attention(len(source_ids), len(target_ids))
    if weights > (_MOST_BESIDE_STAGES if stages else _MOST_WEIGHTS):
        raise UserError(f"the text and its translation are too long: their attention has {weights:,} weights.")
    recorder = AttentionRecorder(stages)
    with torch.inference_mode():
        translator.model(pad([source_ids]).to(device), pad([target_ids]).to(device), Probe((recorder,)))
    layers = (recorder.encoder, recorder.decoder, recorder.cross)
    encoder, decoder, cross = (np.stack([x[0].float().cpu().numpy() for x in kept]) for kept in layers)
    seen = tokenizer.target.pieces(target_ids)
    tokens = (tokenizer.pieces(source_ids), seen, [*seen[1:], "</s>"])
    inside = {kind: recorder.arrays(kind, 0) for kind in KINDS}
    return Attention(encoder, decoder, cross, *tokens, inside)


def align(attention: Attention) -> list[tuple[int, int]]:
    """Link each target word to the source word it attends to most.

    The weights are those of the penultimate layer (see `deciding_layer`), averaged over heads and summed over the
    tokens of a word. The end-of-sentence token is not part of any word.

    Returns:
        Sorted links (source word, target word), counted from 0.
    """
    weights = attention.cross[deciding_layer(len(attention.cross))].mean(axis=0)
    source_words, target_words = word_numbers(attention.source_tokens), word_numbers(attention.target_tokens)
    links = []
    for j in sorted(set(target_words) - {-1}):
        rows = [row for row, word in enumerate(target_words) if word == j]
        by_word: dict[int, float] = {}
        for column, i in enumerate(source_words):
            if i >= 0:
                by_word[i] = by_word.get(i, 0.0) + float(weights[rows, column].sum())
        if by_word:
            links.append((max(by_word, key=lambda i: by_word[i]), j))
    return sorted(links)


def deciding_layer(layers: int) -> int:
    """Return the index of the penultimate decoder layer (or of the only one), which aligns best (Garg et al. 2019)."""
    return max(0, layers - 2)


def word_numbers(tokens: Sequence[str]) -> list[int]:
    """Return the index of each token's space-separated word, from 0; -1 for the end of sentence."""
    numbers, word = [], -1
    for position, token in enumerate(tokens):
        if token == "</s>":
            numbers.append(-1)
            continue
        word += position == 0 or token.startswith("▁")
        numbers.append(word)
    return numbers
