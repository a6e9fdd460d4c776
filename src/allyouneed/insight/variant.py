"""One sentence pair through the model with some switches: attention, predictions, and the translation it would give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice
from typing import Any, NamedTuple

import numpy as np
import torch

from allyouneed.data.batches import pad
from allyouneed.data.tokenizer import BOS, EOS, PAD
from allyouneed.insight.coding import Plan, pack_weights
from allyouneed.insight.switches import Switches, interventions, searchable
from allyouneed.model.probe import KINDS, AttentionRecorder, Probe
from allyouneed.model.transformer import log_probabilities
from allyouneed.translation.beam_search import beam_search
from allyouneed.translation.translator import Translator

PADDING = 4  # tokens that a longer neighbour in the batch would bring, where the padding mask is off
LIKELIEST = 5
LONGEST_SEARCH = 128  # source subwords up to which each variant is translated again
_TOGETHER = 640  # subwords of a batch of variants


class Passed(NamedTuple):
    """recorded: with stages, if asked for; log_p [target, vocabulary]: natural logarithms; source: ids, as the model
    saw them."""

    recorded: AttentionRecorder
    log_p: np.ndarray
    source: list[int]


class Pair(NamedTuple):
    """source: ids with EOS; target: ids without start and end."""

    source: list[int]
    target: list[int]


@torch.inference_mode()
def run_pair(translator: Translator, pair: Pair, switches: Switches, stages: bool = False) -> Passed:
    """One pass over source and target. With the padding mask off, the source gets `PADDING` tokens of padding."""
    return _run(translator, pair, [switches], stages)[0]


def variant_data(
    translator: Translator, pair: Pair, switches: Switches, plan: Plan, base: Passed | None = None, brief: bool = False
) -> dict[str, Any]:
    """A variant as the page reads it; see `explorer.py`. base: the pair with the paper's switches, to compare with.

    brief: no attention, no entropy, fewer words a place; of heads that are off a page carries many.
    """
    return _variants(translator, pair, [switches], plan, base, brief)[0]


def variants_data(
    translator: Translator, pair: Pair, carried: Sequence[Switches], plan: Plan, base: Passed
) -> Iterator[dict[str, Any]]:
    """`variant_data` of each in turn, brief where heads are off: those are computed many in one batch."""
    together = max(1, _TOGETHER // max(len(pair.source), len(pair.target)))
    for (brief, _), alike in groupby(carried, lambda each: (bool(each.off), replace(each, off=frozenset()))):
        while batch := list(islice(alike, together if brief else 1)):
            yield from _variants(translator, pair, batch, plan, base, brief)


def longest_translation(translator: Translator, source: list[int]) -> int:
    """Subwords that search may say of a source, ids with EOS: the bundle's limit, or what learned positions allow."""
    embedding, limit = translator.model.target_embedding, translator.bundle.config.search.max_extra_length
    most = len(source) - 1 + limit
    return most if embedding.max_positions is None else min(most, embedding.max_positions - 1)


def weights_of(recorded: AttentionRecorder) -> dict[str, np.ndarray]:
    """Of the batch's first sentence, each of `KINDS` [layer, head, query, key]."""
    return {kind: np.stack([x[0].float().cpu().numpy() for x in recorded.weights(kind)]) for kind in KINDS}


def entropies(weights: np.ndarray) -> np.ndarray:
    """[layer, head, query, key] -> the mean over queries of the entropy, in nats [layer, head]."""
    return -(weights * np.log(weights + 1e-30)).sum(axis=-1).mean(axis=-1)


def slope(weights: dict[str, np.ndarray]) -> float:
    """What comes through the softmax of a gradient, 1 - Σ p² of each query, in the mean of its head and then of all."""
    heads = [(1 - (of_kind**2).sum(axis=-1)).mean(axis=-1).flatten() for of_kind in weights.values()]
    return round(float(np.concatenate(heads).mean()), 4)


def predictions(
    translator: Translator, log_p: np.ndarray, target: list[int], likeliest: int = LIKELIEST
) -> dict[str, Any]:
    """given: the probability of each target token, end included; top: the likeliest, [subword, probability] each."""
    rows = []
    for best, row in zip(np.argsort(-log_p, axis=-1)[:, :likeliest], log_p, strict=True):
        named = zip(translator.tokenizer.target.pieces(best), np.exp(row[best]).tolist(), strict=True)
        rows.append([[piece, _digits(p)] for piece, p in named])
    given = log_p[np.arange(len(log_p)), [*target, EOS]]
    return {"given": [_digits(p) for p in np.exp(given).tolist()], "top": rows, "log_p": round(float(given.sum()), 4)}


def _run(translator: Translator, pair: Pair, alike: Sequence[Switches], stages: bool) -> list[Passed]:
    """The pair with each of these switches, which are the same but for the heads that are off."""
    source = _with_padding(pair, alike[0])
    model, recorder = translator.model, AttentionRecorder(stages)
    source_ids, target_ids = (pad([ids] * len(alike)).to(translator.device) for ids in (source, [BOS, *pair.target]))
    logits = model(source_ids, target_ids, Probe((recorder,), interventions(model, *alike)))
    return [
        Passed(recorder.sentence(row), log_probabilities(logits[row]).cpu().numpy(), source)
        for row in range(len(alike))
    ]


@torch.inference_mode()
def _variants(
    translator: Translator, pair: Pair, alike: Sequence[Switches], plan: Plan, base: Passed | None, brief: bool
) -> list[dict[str, Any]]:
    passed = _run(translator, pair, alike, stages=False)
    return [
        _facts(translator, pair, switches, plan, found, base or found, brief) | {"translation": said}
        for switches, found, said in zip(alike, passed, _translations(translator, pair, alike), strict=True)
    ]


def _facts(
    translator: Translator, pair: Pair, switches: Switches, plan: Plan, passed: Passed, base: Passed, brief: bool
) -> dict[str, Any]:
    """A variant without its translation."""
    attention, base_attention = weights_of(passed.recorded), weights_of(base.recorded)
    queries = {kind: base_attention[kind].shape[-2] for kind in KINDS}  # without padding
    without_padding = {kind: attention[kind][:, :, : queries[kind]] for kind in KINDS}
    changes = [x for kind in KINDS for x in _change(attention[kind], base_attention[kind]).flatten().tolist()]
    data: dict[str, Any] = {
        "key": switches.key,
        "switches": switches.as_json(),
        "source_tokens": translator.tokenizer.pieces(passed.source),
        "entropy": None,
        "slope": None,
        "change": [round(x, 2 if brief else 4) for x in changes],
        "predictions": predictions(translator, passed.log_p, pair.target, 2 if brief else LIKELIEST),
    }
    if brief:
        return data
    heads = [x for kind in KINDS for x in entropies(without_padding[kind]).flatten().tolist()]
    data |= {"entropy": [round(x, 3) for x in heads], "slope": slope(without_padding)}
    if plan.variants:
        data["attention"] = {kind: pack_weights(attention[kind], plan.variants) for kind in KINDS}
    return data


def _translations(translator: Translator, pair: Pair, alike: Sequence[Switches]) -> list[dict[str, Any] | None]:
    """What the model says with each, by the bundle's own search; None for a sentence that is too long."""
    if len(pair.source) > LONGEST_SEARCH:
        return [None] * len(alike)
    search, model = translator.bundle.config.search, translator.model
    source = pad([_with_padding(pair, alike[0])] * len(alike)).to(translator.device)
    longest = [longest_translation(translator, pair.source)] * len(alike)
    found = beam_search(searchable(model, alike), source, longest, search.beam_size, search.length_penalty)
    decode = translator.tokenizer.target.decode
    return [{"text": decode(best.ids), "score": round(best.score, 4)} for [best] in found]


def _with_padding(pair: Pair, switches: Switches) -> list[int]:
    return [*pair.source, *([] if switches.padding_mask else [PAD] * PADDING)]


def _change(weights: np.ndarray, base: np.ndarray) -> np.ndarray:
    """The mean over queries of the share of attention that went elsewhere, 0 to 1 [layer, head]."""
    *_, queries, keys = base.shape
    weights = weights[..., :queries, :]
    elsewhere = weights[..., keys:].sum(axis=-1)  # on padding
    return (np.abs(weights[..., :keys] - base).sum(axis=-1) + elsewhere).mean(axis=-1) / 2


def _digits(p: float) -> float:
    return float(f"{p:.4g}")
