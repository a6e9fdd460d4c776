"""Which words belong together, read off the decoder's attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Attention:
    """Weights of every head for one sentence pair, float32 [layer, head, query, key]; rows sum to 1.

    encoder: source over source; decoder: target over target; cross: target over source. A query of the target is where
    `target_tokens[i]` is decided; the decoder's keys are what it has seen by then, `target_inputs`, from `<s>` on.
    Tokens are subwords with ▁ for a space; source and target end with `</s>`.

    stages: how each layer came to them, `stages["cross"][layer]["scores"]`, float32. x [query, d_model], memory [key,
    d_model]: what is projected; queries [head, query, d_k], keys [head, key, d_k], values [head, key, d_v]; scores
    (Q Kᵀ) and weights [head, query, key]; heads [head, query, d_v]; concat [query, heads · d_v]; output [query,
    d_model]: after W^O; residual: what that is added to; result: after add & norm (norm "pre": after add).
    """

    encoder: np.ndarray
    decoder: np.ndarray
    cross: np.ndarray
    source_tokens: list[str]
    target_inputs: list[str]
    target_tokens: list[str]
    stages: dict[str, list[dict[str, np.ndarray]]] = field(default_factory=dict, repr=False, compare=False)


def align(attention: Attention) -> list[tuple[int, int]]:
    """Word links (source, target), sorted: each target word with the source word it attends to most.

    The weights are the mean over heads of the last layer but one, which decides what to say next (Garg et al. 2019),
    summed over the subwords of a word; ends of sentences belong to no word.
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
    """The last decoder layer but one (the only one, where there is one)."""
    return max(0, layers - 2)


def word_numbers(tokens: Sequence[str]) -> list[int]:
    """The number of the word that each subword belongs to, from 0 between spaces; -1 for the end of sentence."""
    words, word = [], -1
    for place, token in enumerate(tokens):
        if token == "</s>":
            words.append(-1)
            continue
        word += place == 0 or token.startswith("▁")
        words.append(word)
    return words
