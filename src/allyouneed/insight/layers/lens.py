"""Data of the explorer's view *Layer by layer*, from `logit_lens.py`.

The entry `lens` of the explorer's data:

decoder         pieces: tokens, which all other entries name by their index here; states [kind, layer], "target" for the
                embedding; cells [state][position]: the most likely tokens; p: their probabilities [position, state,
                token]; candidates [position][token]: tokens with curves; rank (from 1, at most `MAX_RANK`) and log_p
                [position, candidate, state]; final and given [position]: the finally predicted token and the token of
                the translation, as indices of candidates; settled [position]: the first state from which the final
                token stays the most likely one
encoder         pieces, states and cells as above, with the nearest tokens; cosine [position, state, token]; own_rank
                and own_cosine [position, state, 1]: rank and similarity of the input token
agreement       share of positions whose most likely token is the final one, for the embedding and after each layer,
                over `tokens` tokens of `sentences` validation sentences; null without such text
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.data.tokens.vocabulary import AnyTokenizer
from allyouneed.insight.coding import pack_matrices, pack_weights
from allyouneed.insight.layers.logit_lens import (
    LogitLens,
    NearestTokens,
    decoder_states,
    lens_of_pair,
    nearest_of_pair,
)
from allyouneed.insight.layers.states import chunks_of_pairs, decoder_sites
from allyouneed.insight.variants.variant import TokenPair
from allyouneed.translation.translator import Translator

MAX_LENGTH = 128  # tokens per side; longer pairs have no lens on the page
MAX_RANK = 60_000
_MAX_CANDIDATES = 12
_CURVE_BYTES = 22_000  # on a page, for all curves
_MULTIPLICATIONS = 5e9  # for the agreement over validation text on a page
_BATCH_TOKENS = 512


def lens_data(translator: Translator, pair: TokenPair, examples: Sequence[TokenPair] = ()) -> dict[str, Any] | None:
    """Compute the entry `lens` described above.

    Args:
        translator: Translator whose model is examined.
        pair: Sentence pair.
        examples: Validation pairs for `agreement`.

    Returns:
        The entry; None for a pair longer than `MAX_LENGTH`.
    """
    if max(len(pair.source), len(pair.target) + 1) > MAX_LENGTH:
        return None
    return {
        "decoder": _decoder_data(lens_of_pair(translator, pair), pair, translator.tokenizer.target),
        "encoder": _encoder_data(nearest_of_pair(translator, pair), translator.tokenizer),
        "agreement": agreement(translator, examples),
    }


@torch.inference_mode()
def agreement(
    translator: Translator, pairs: Sequence[TokenPair], multiplications: float = _MULTIPLICATIONS
) -> dict[str, Any] | None:
    """Measure how often each state of the decoder already has the final token as its most likely one.

    The decoder receives the given translations.

    Args:
        translator: Translator whose model is examined.
        pairs: Sentence pairs; their number is limited by the cost of the pre-softmax linear.
        multiplications: Number of multiplications that limits it.

    Returns:
        The entry `agreement` described above; None without pairs.
    """
    output, kinds = translator.model.output, [kind for kind, _ in decoder_sites(translator.model)]
    ends_of_layers = [i for i, kind in enumerate(kinds) if kind in ("target", "decoder feed-forward")]
    budget = multiplications / (len(ends_of_layers) * output.weight.numel())
    ends = np.cumsum([len(pair.target) + 1 for pair in pairs])
    kept = pairs[: int(np.searchsorted(ends, budget, side="right"))]
    if not kept:
        return None
    hits, tokens = np.zeros(len(ends_of_layers)), 0
    for batch in chunks_of_pairs(kept, _BATCH_TOKENS):
        states = decoder_states(translator, batch)[ends_of_layers]
        for row, pair in enumerate(batch):
            best = torch.stack([output(state).argmax(dim=-1) for state in states[:, row, : len(pair.target) + 1]])
            hits += (best == best[-1]).sum(dim=1).cpu().numpy()
            tokens += best.shape[1]
    return {"share": [round(float(x), 4) for x in hits / tokens], "tokens": tokens, "sentences": len(kept)}


def _decoder_data(lens: LogitLens, pair: TokenPair, tokenizer: AnyTokenizer) -> dict[str, Any]:
    states, positions, _ = lens.top_ids.shape
    final, given = lens.top_ids[-1, :, 0].tolist(), [*pair.target, EOS]
    per_token = states * positions * 16 / 3  # bytes: 16 bits for rank and probability, in base64
    count = int(min(_MAX_CANDIDATES, max(2, _CURVE_BYTES // per_token)))
    ordered = [_candidates(lens.top_ids[:, t], final[t], given[t]) for t in range(positions)]
    count = min(count, *(len(tokens) for tokens in ordered))
    candidates = [tokens[:count] for tokens in ordered]
    rank, log_p = lens.curves(candidates)
    used, [cells, chosen] = _numbered(lens.top_ids, np.array(candidates))
    return {
        "pieces": tokenizer.pieces(used),
        "states": [list(site) for site in lens.sites],
        "cells": cells.tolist(),
        "p": pack_weights(lens.top_p.transpose(1, 0, 2)),
        "candidates": chosen.tolist(),
        "rank": pack_matrices(np.minimum(rank, MAX_RANK)),
        "log_p": pack_matrices(log_p),
        "final": [tokens.index(token) for tokens, token in zip(candidates, final, strict=True)],
        "given": [tokens.index(token) for tokens, token in zip(candidates, given, strict=True)],
        "settled": lens.settled.tolist(),
    }


def _encoder_data(nearest: NearestTokens, tokenizer: AnyTokenizer) -> dict[str, Any]:
    used, [cells] = _numbered(nearest.ids)
    own = nearest.own_rank.T[..., None], nearest.own_cosine.T[..., None]
    return {
        "pieces": tokenizer.pieces(used),
        "states": [list(site) for site in nearest.sites],
        "cells": cells.tolist(),
        "cosine": pack_matrices(nearest.cosine.transpose(1, 0, 2), 8),
        "own_rank": pack_matrices(np.minimum(own[0], MAX_RANK)),
        "own_cosine": pack_matrices(own[1], 8),
    }


def _candidates(top_ids: np.ndarray, final: int, given: int) -> list[int]:
    """Order the tokens of one position: the final and the given one, then by their best rank in any state.

    Args:
        top_ids: Most likely tokens, shape [state, token].
        final: The finally predicted token.
        given: The token of the translation.
    """
    later_states_first = top_ids[::-1].T.flatten().tolist()
    return list(dict.fromkeys([final, given, *later_states_first]))


def _numbered(*arrays: np.ndarray) -> tuple[list[int], list[np.ndarray]]:
    """Replace token ids by indices into the list of all ids that occur, which is also returned."""
    used, indices = np.unique(np.concatenate([ids.ravel() for ids in arrays]), return_inverse=True)
    parts = np.split(indices.ravel(), np.cumsum([ids.size for ids in arrays])[:-1])
    return used.tolist(), [part.reshape(ids.shape) for part, ids in zip(parts, arrays, strict=True)]
