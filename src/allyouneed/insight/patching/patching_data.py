"""Patching as the explorer's page reads it.

kind            "sentences" or "models"
sides           [clean, corrupted]: name (of the model, or null), text, translation, tokens (of the source)
counterparts    for each source position of the corrupted side, the position on the clean side, or -1
inputs          tokens of the decoder's input, the same on both sides
places          [{position, tokens [a, b], clean [log p(a), log p(b)], corrupted, tops [clean, corrupted] as
                [token, probability]}], the first difference of the translations first; see `patch.py`
pieces          tokens that `tops` of the maps refer to
maps            {name: {first, effect, tops, chances}}: effects [place, row, column] as `coding.pack_matrices`, 0 where
                there is no counterpart; the most likely tokens [place, row, column, rank] as 16-bit indices of
                `pieces`, and their probabilities as `coding.pack_weights`; maps of head positions have neither
continued       [{part, row, column, text}]: cells that change the most likely token of the first place, and the greedy
                continuation with them; `plain`: the continuation of the corrupted side without patching
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from allyouneed.errors import UserError
from allyouneed.insight.coding import pack_integers, pack_matrices, pack_weights
from allyouneed.insight.patching.patch import MAX_TOKENS, Patching, PatchMap, PatchSide, patch_models, patch_sentences
from allyouneed.insight.patching.patching_run import TOP_TOKENS, Cell, all_cells
from allyouneed.insight.variants.variant import max_translation_length
from allyouneed.translation.translator import Translator

_LIVE_COST = 600_000_000_000  # multiplications of a request: cells · tokens · parameters of the layers
_CONTINUED = 40  # cells whose continuation is generated


def sentences_data(translator: Translator, clean: str, corrupted: str, max_tokens: int = MAX_TOKENS) -> dict[str, Any]:
    """Compute the JSON object above for two sentences; arguments and errors are those of `patch_sentences`."""
    return _data(translator, patch_sentences(translator, clean, corrupted, max_tokens), ("", ""))


def live_patching(translator: Translator, clean: str, corrupted: str) -> dict[str, Any]:
    """Compute `sentences_data` for a server, with a limit on the length that bounds the time of large models."""
    model = translator.model
    layers = 3 * len(model.encoder.layers) + 4 * len(model.decoder.layers) + 1  # rows of the maps, one cell a token
    parameters = sum(parameter.numel() for stack in (model.encoder, model.decoder) for parameter in stack.parameters())
    return sentences_data(
        translator, clean, corrupted, min(MAX_TOKENS, math.isqrt(_LIVE_COST // (layers * parameters)))
    )


def models_data(
    donor: Translator, receiver: Translator, text: str, names: tuple[str, str], max_tokens: int = MAX_TOKENS
) -> dict[str, Any]:
    """Compute the JSON object above for two models with given names; the errors are those of `patch_models`."""
    return _data(receiver, patch_models(donor, receiver, text, max_tokens), names)


def models_data_or_none(
    donor: Translator, receiver: Translator, text: str, names: tuple[str, str]
) -> dict[str, Any] | None:
    """Compute `models_data`, or None if the models are not exchangeable, predict the same, or the text is too long."""
    try:
        return models_data(donor, receiver, text, names)
    except UserError:
        return None


def strongest(patching: Patching, count: int) -> list[tuple[Cell, float]]:
    """List the cells with the largest effects on the first target position."""
    cells = [
        (cell, float(effect))
        for name, of_map in _cells(patching).items()
        for cell, effect in zip(of_map, patching.maps[name].effect[0].flatten(), strict=True)
        if math.isfinite(effect)
    ]
    return sorted(cells, key=lambda each: -abs(each[1]))[:count]


def patching_table(translator: Translator, patching: Patching, count: int = 15) -> str:
    """Format the two passes and the activations with the largest effects on the first target position."""
    target, pieces = patching.targets[0], translator.tokenizer.target.pieces
    a, b = pieces(target.tokens)
    lines = [f"{side.text}\n  {side.translation}" for side in (patching.clean, patching.corrupted)]
    lines += [
        f"\ntarget position {target.position + 1}: {a} or {b}",
        f"\n{'activation':<24}{'layer':>6}  {'at':<20}effect",
    ]
    tokens = {"encoder": translator.tokenizer.pieces(patching.corrupted.source)}
    tokens["decoder"] = pieces(patching.patcher.receiver.target_ids[0].tolist())
    for cell, effect in strongest(patching, count):
        layer = cell.layer + (not cell.part.endswith("stream"))
        at = f"head {cell.head + 1}" if cell.head is not None else tokens[cell.stack][cell.position or 0]
        lines.append(f"{cell.part:<24}{layer:>6}  {at:<20}{effect:>6.2f}")
    return "\n".join(lines)


def _cells(patching: Patching) -> dict[str, list[Cell]]:
    first = patching.maps["decoder stream"].first_layer
    return all_cells(patching.patcher.receiver, patching.patcher.counterparts, first)


def _data(translator: Translator, patching: Patching, names: tuple[str, str]) -> dict[str, Any]:
    target = translator.tokenizer.target
    ids = sorted({int(token) for name in _cells(patching) for token in np.unique(patching.maps[name].top)})
    index_of = np.zeros(max(ids) + 1, int)
    index_of[ids] = range(len(ids))
    inputs = patching.patcher.receiver.target_ids[0].tolist()
    sides = zip(names, (patching.clean, patching.corrupted), strict=True)
    (cells, plain), of_page = _continued(translator, patching), _cells(patching)
    return {
        "kind": "models" if names[0] else "sentences",
        "sides": [{"name": name or None, **_side(translator, side)} for name, side in sides],
        "counterparts": patching.counterparts,
        "inputs": target.pieces(inputs),
        "places": _places(translator, patching),
        "pieces": target.pieces(ids),
        "maps": {name: _map(each, index_of if name in of_page else None) for name, each in patching.maps.items()},
        "continued": cells,
        "plain": plain,
    }


def _side(translator: Translator, side: PatchSide) -> dict[str, Any]:
    return {
        "text": side.text,
        "translation": side.translation,
        "tokens": translator.tokenizer.pieces(side.source),
    }


def _places(translator: Translator, patching: Patching) -> list[dict[str, Any]]:
    pieces = translator.tokenizer.target.pieces
    runs = (patching.patcher.donor, patching.patcher.receiver)
    places = []
    for target in patching.targets:
        best = [run.log_p[target.position].topk(min(TOP_TOKENS, run.log_p.shape[-1])) for run in runs]
        tops = [
            [[piece, float(f"{p:.4g}")] for piece, p in zip(pieces(each.indices.tolist()), chances, strict=True)]
            for each in best
            for chances in [torch.exp(each.values).tolist()]
        ]
        places.append(
            {
                "position": target.position,
                "tokens": pieces(target.tokens),
                "clean": [round(x, 4) for x in target.clean],
                "corrupted": [round(x, 4) for x in target.corrupted],
                "tops": tops,
            }
        )
    return places


def _map(found: PatchMap, index_of: np.ndarray | None) -> dict[str, Any]:
    packed = {"first": found.first_layer, "effect": pack_matrices(np.nan_to_num(found.effect))}
    if index_of is None:
        return packed
    return packed | {"tops": pack_integers(index_of[found.top]), "chances": pack_weights(np.exp(found.top_log_p))}


def _continued(translator: Translator, patching: Patching) -> tuple[list[dict[str, Any]], str]:
    """Generate with the cells that change the most likely token of the first place, those of largest effect first."""
    target = patching.targets[0]
    unchanged = int(patching.patcher.receiver.log_p[target.position].argmax())
    changing = []
    for name, cells in _cells(patching).items():
        found = patching.maps[name]
        columns = found.effect.shape[2]
        rows = zip(cells, found.effect[0].flatten(), found.top[0].reshape(len(cells), -1), strict=True)
        for index, (cell, effect, top) in enumerate(rows):
            if math.isfinite(effect) and top[0] != unchanged:
                changing.append((abs(float(effect)), name, *divmod(index, columns), cell))
    changing = sorted(changing, key=lambda each: -each[0])[:_CONTINUED]
    most = max_translation_length(translator, patching.corrupted.source)
    runs = [*(cell for *_, cell in changing), None]
    *texts, plain = (translator.tokenizer.target.decode(ids) for ids in patching.continuations(runs, most))
    named = zip(changing, texts, strict=True)
    return [{"part": n, "row": r, "column": c, "text": text} for (_, n, r, c, _), text in named], plain
