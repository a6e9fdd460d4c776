"""Data of the explorer's view *The rest of the layer*: positions, embeddings, feed-forward units, residual stream.

The entry `inside` of the explorer's data; arrays as in `coding.pack_matrices`:

positions       null for sinusoids, which the page computes; else {source, target}: table [position, dimension] and
                products (PE · PEᵀ) [position, position] of the first `LEARNED_POSITIONS` learned positions
embeddings      {source, target}: columns, the stored dimensions, in pairs of a sine and a cosine; scaled (embedding ·
                √d_model, or without the factor if the model has none) [position, column]; positions, the encodings,
                only if learned; lengths [position] of token, position and sum; pieces, neighbours [position] of
                [piece, cosine]
stream          {encoder, decoder}: sites, residual, output, sum, result, cosine, see `StreamLengths`
units           {encoder, decoder} [layer]: units, those stored; activations [position, unit]; lengths [unit]; active
                [position], the share of all units that is positive; silent, the number of units that are positive for
                no token of this sentence; writes, only in the decoder: per unit [[piece, cosine]] of similar, then
                opposed tokens; over, null or the examples: active and silent over all their tokens, places [unit] of
                [sentence, position, activation]
pieces          tokens that `writes` names by index
examples        null or {count, encoder, decoder}: sentences by index, the tokens joined by |, with spaces for ▁ and
                ¦ for |; null: not referred to
d_ff, relu      {encoder, decoder}: size of the inner layer; whether its activation is ReLU
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from allyouneed.data.tokens.tokenizer import BOS
from allyouneed.data.tokens.vocabulary import AnyTokenizer
from allyouneed.insight.coding import chosen_columns, pack_matrices
from allyouneed.insight.layers.embeddings import SIDES, EmbeddedTokens, embedded_of_states, neighbours, position_table
from allyouneed.insight.layers.states import record_states
from allyouneed.insight.layers.stream import StreamLengths, stream_of_states
from allyouneed.insight.layers.units import (
    STACKS,
    Excitement,
    Units,
    exciting_tokens,
    units_of_states,
    written_tokens,
)
from allyouneed.insight.variants.variant import TokenPair
from allyouneed.model.probe import Site
from allyouneed.model.transformer import Transformer
from allyouneed.translation.translator import Translator

MAX_LENGTH = 128  # tokens per side; longer pairs have no such view
LEARNED_POSITIONS = 64
_COLUMNS = 64  # stored dimensions of a learned position
_PAIRS = 64  # stored pairs of dimensions of an embedding
_NEIGHBOURS = 8
_PLACES = 4  # most exciting tokens per unit
_STORED = 6000  # activations per stack and page
_MOST_UNITS, _FEWEST_UNITS = 24, 8  # stored per layer
_MULTIPLICATIONS = 1.5e10  # for the examples
_MAX_EXAMPLES = 100
_MAX_EXAMPLE_TOKENS = 40


def inside_data(translator: Translator, pair: TokenPair, examples: Sequence[TokenPair] = ()) -> dict[str, Any] | None:
    """Compute the entry `inside` described above.

    Args:
        translator: Translator whose model is examined.
        pair: Sentence pair.
        examples: Validation pairs in which to look for the tokens that excite units; their number is limited.

    Returns:
        The entry; None for a pair longer than `MAX_LENGTH`.
    """
    if max(len(pair.source), len(pair.target) + 1) > MAX_LENGTH:
        return None
    model = translator.model
    states = record_states(translator, [pair])
    of_stack = units_of_states(model, states)
    stored = {
        (stack, layer): units.strongest(_stored_units(len(of_stack[stack]), len(units.activations)))
        for stack in STACKS
        for layer, units in enumerate(of_stack[stack])
    }
    kept = _affordable(model, examples)
    excited = exciting_tokens(translator, kept, stored, _PLACES) if kept else {}
    pieces = _Pieces(translator.tokenizer.target)
    layers = {
        stack: [
            _layer_data(model, units, stored[stack, layer], (stack, layer), excited.get((stack, layer)), pieces)
            for layer, units in enumerate(of_stack[stack])
        ]
        for stack in STACKS
    }
    return {
        "positions": _learned_positions(model),
        "embeddings": {
            side: _embedding_data(translator, at, side, pair) for side, at in embedded_of_states(states).items()
        },
        "stream": {stack: _stream_data(lengths) for stack, lengths in stream_of_states(model, states).items()},
        "units": layers,
        "pieces": pieces.names,
        "examples": _examples(translator, kept, excited) if kept else None,
        "d_ff": {"encoder": model.config.encoder.d_ff, "decoder": model.config.decoder.d_ff},
        "relu": model.config.activation == "relu",
    }


class _Pieces:
    """Tokens by index, in the order of their first use."""

    def __init__(self, tokenizer: AnyTokenizer):
        self._tokenizer = tokenizer
        self._indices: dict[int, int] = {}

    def __call__(self, ids: np.ndarray, cosine: np.ndarray) -> list[list[list[float]]]:
        """Return [index, cosine] for arrays [row, token]."""
        return [
            [[self._indices.setdefault(i, len(self._indices)), round(x, 3)] for i, x in zip(*row, strict=True)]
            for row in zip(ids.tolist(), cosine.tolist(), strict=True)
        ]

    @property
    def names(self) -> list[str]:
        return self._tokenizer.pieces(list(self._indices))


def _stored_units(layers: int, positions: int) -> int:
    return max(_FEWEST_UNITS, min(_MOST_UNITS, _STORED // (layers * positions)))


def _affordable(model: Transformer, examples: Sequence[TokenPair]) -> list[TokenPair]:
    """Select the first short examples that fit into the budget."""
    short = [x for x in examples if max(len(x.source), len(x.target) + 1) <= _MAX_EXAMPLE_TOKENS][:_MAX_EXAMPLES]
    ends = np.cumsum([max(len(x.source), len(x.target) + 1) for x in short])
    budget = _MULTIPLICATIONS / model.config.count_layer_weights()
    return short[: int(np.searchsorted(ends, budget, side="right"))]


def _layer_data(
    model: Transformer, units: Units, stored: list[int], site: Site, excited: Excitement | None, pieces: _Pieces
) -> dict[str, Any]:
    data: dict[str, Any] = {
        "units": stored,
        "activations": pack_matrices(units.activations[:, stored], 8),
        "lengths": _rounded(units.lengths[stored]),
        "active": _rounded(units.active),
        "silent": int((units.activations <= 0).all(axis=0).sum()),
        "over": None,
    }
    if site[0] == "decoder":
        written = written_tokens(model, site[1], stored)
        similar, opposed = pieces(written.ids, written.cosine), pieces(written.opposed_ids, written.opposed_cosine)
        data["writes"] = [[one, other] for one, other in zip(similar, opposed, strict=True)]
    if excited:
        found = zip(excited.sentences.tolist(), excited.positions.tolist(), excited.activations.tolist(), strict=True)
        places = [[[i, j, round(x, 2)] for i, j, x in zip(*row, strict=True)] for row in found]
        data["over"] = {"active": round(excited.active, 4), "silent": excited.never, "places": places}
    return data


def _examples(translator: Translator, pairs: list[TokenPair], excited: dict[Site, Excitement]) -> dict[str, Any]:
    data: dict[str, Any] = {"count": len(pairs)}
    tokenizers = translator.tokenizer, translator.tokenizer.target
    for stack, tokenizer in zip(STACKS, tokenizers, strict=True):
        used = {i for site, found in excited.items() if site[0] == stack for i in found.sentences.flatten().tolist()}
        ids = (pair.source if stack == "encoder" else [BOS, *pair.target] for pair in pairs)
        data[stack] = [_joined(tokenizer.pieces(each)) if i in used else None for i, each in enumerate(ids)]
    return data


def _joined(pieces: list[str]) -> str:
    """Join tokens by |; a page encodes ▁ in six bytes and a space in one."""
    return "|".join(piece.replace("|", "¦").replace("▁", " ") for piece in pieces)


def _embedding_data(translator: Translator, embedded: EmbeddedTokens, side: str, pair: TokenPair) -> dict[str, Any]:
    ids = pair.source if side == SIDES[0] else [BOS, *pair.target]
    found = neighbours(translator.model, ids, side, _NEIGHBOURS)
    pieces = _Pieces(translator.tokenizer if side == SIDES[0] else translator.tokenizer.target)
    learned = translator.model.config.positions == "learned"
    width = embedded.tokens.shape[1]
    pairs = chosen_columns(width // 2, min(_PAIRS, width // 2))
    columns = np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()
    return {
        "columns": columns.tolist(),
        "scaled": pack_matrices(embedded.tokens[:, columns], 8),
        "positions": pack_matrices(embedded.positions[:, columns], 8) if learned else None,
        "lengths": [_rounded(row) for row in embedded.lengths],
        "neighbours": pieces(found.ids, found.cosine),
        "pieces": pieces.names,
    }


def _stream_data(lengths: StreamLengths) -> dict[str, Any]:
    packed = {name: pack_matrices(getattr(lengths, name), 16) for name in ("residual", "output", "sum", "result")}
    return {"sites": [list(site) for site in lengths.sites], **packed, "cosine": pack_matrices(lengths.cosine, 8)}


def _learned_positions(model: Transformer) -> dict[str, Any] | None:
    learned = model.source_embedding.positions
    if learned is None:
        return None
    length = min(LEARNED_POSITIONS, len(learned))
    tables = {side: position_table(model, length, side) for side in SIDES}
    return {
        side: {"table": pack_matrices(table, 8, _COLUMNS), "products": pack_matrices(table @ table.T, 8)}
        for side, table in tables.items()
    }


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]
