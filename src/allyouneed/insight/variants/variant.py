"""One sentence pair with given switches: attention, predictions, and the resulting translation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.batches import pad
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD
from allyouneed.insight.coding import Precision, pack_weights
from allyouneed.insight.variants.greedy import DraftPass, GreedyVariants, draft_pass, first_change
from allyouneed.insight.variants.switches import Switches, interventions
from allyouneed.model.probe import KINDS, AttentionRecorder, Probe, Site
from allyouneed.model.transformer import log_probabilities
from allyouneed.translation.search import LengthPenalty, make_hypothesis
from allyouneed.translation.translator import Translator

Array = TypeVar("Array", np.ndarray, Tensor)

PADDING = 4  # padding tokens added to the source if the padding mask is off
TOP_TOKENS = 5
MAX_SEARCH_LENGTH = 128  # source tokens up to which each variant is translated again
_BATCH_TOKENS = 1280  # tokens of both sides in a forward pass
_CACHED_TOKENS = 8192  # tokens of both sides whose keys and values are kept for decoding


class PairResult(NamedTuple):
    """Result of a forward pass for a sentence pair.

    Attributes:
        recorded: Attention, with stages if requested, as a batch of 1.
        log_p: Natural log probabilities, shape [target, vocab].
        source: Source ids as the model received them.
    """

    recorded: AttentionRecorder
    log_p: np.ndarray
    source: list[int]


class TokenPair(NamedTuple):
    """Token ids of a sentence pair: `source` with EOS, `target` without start and end."""

    source: list[int]
    target: list[int]


@torch.inference_mode()
def run_pair(translator: Translator, pair: TokenPair, switches: Switches, stages: bool = False) -> PairResult:
    """Run one forward pass. With the padding mask off, the source gets `PADDING` padding tokens."""
    source, recorder = _with_padding(pair, switches), AttentionRecorder(stages)
    source_ids, target_ids = (pad([ids]).to(translator.device) for ids in (source, [BOS, *pair.target]))
    logits = translator.model(source_ids, target_ids, Probe((recorder,), interventions(translator.model, switches)))
    return PairResult(recorder, log_probabilities(logits[0]).cpu().numpy(), source)


def variant_data(
    translator: Translator,
    pair: TokenPair,
    switches: Switches,
    precision: Precision | None,
    base: PairResult | None = None,
    brief: bool = False,
) -> dict[str, Any]:
    """Compute a variant in the form that the page reads, see `explorer.py`.

    Args:
        translator: Translator whose model is examined.
        pair: Sentence pair.
        switches: Switches of the variant.
        precision: Precision of its arrays; None for attention as arrays that `explorer.pack_arrays` packs.
        base: Result of the unchanged model to compare with; None compares the variant with itself.
        brief: Leave out attention and entropies, and store fewer predictions per position.

    Returns:
        The variant as JSON.
    """
    return _variants(translator, pair, [switches], precision, base, brief)[0]


def variants_data(
    translator: Translator, pair: TokenPair, carried: Sequence[Switches], precision: Precision | None, base: PairResult
) -> Iterator[dict[str, Any]]:
    """Compute `variant_data` for each of `carried`; variants with heads off are brief and are computed together."""
    together = max(1, _CACHED_TOKENS // (len(pair.source) + len(pair.target) + 1))
    for (brief, _), group in groupby(carried, lambda each: (bool(each.off), replace(each, off=frozenset()))):
        while batch := list(islice(group, together if brief else 1)):
            yield from _variants(translator, pair, batch, precision, base, brief)


def max_translation_length(translator: Translator, source: list[int]) -> int:
    """Return the maximum number of target tokens for source ids with EOS, by the settings and learned positions."""
    embedding, limit = translator.model.target_embedding, translator.bundle.config.search.max_extra_length
    length = len(source) - 1 + limit
    return length if embedding.max_positions is None else min(length, embedding.max_positions - 1)


def greedy_length(translator: Translator, pair: TokenPair) -> int:
    """Return the maximum number of tokens of a variant's translation: 10 more than the longer side of the pair has."""
    return min(max_translation_length(translator, pair.source), max(len(pair.source), len(pair.target) + 1) + 10)


def weights_of(recorded: AttentionRecorder) -> dict[str, np.ndarray]:
    """Return the weights of the first sentence of the batch: for each of `KINDS` an array [layer, head, query, key]."""
    return {kind: np.stack([x[0].float().cpu().numpy() for x in recorded.weights(kind)]) for kind in KINDS}


def entropies(weights: np.ndarray) -> np.ndarray:
    """Compute the mean entropy over queries, in nats: [layer, head, query, key] -> [layer, head]."""
    return -(weights * np.log(weights + 1e-30)).sum(axis=-1).mean(axis=-1)


def jacobian_norms(weights: Array) -> Array:
    """Compute ‖diag(p) - p pᵀ‖, the Frobenius norm of the softmax's Jacobian: [..., key] -> [...].

    It is one factor of the chain rule: the derivative of the weights with respect to the scores after the division.
    The squared norm is Σ p² - 2 Σ p³ + (Σ p²)².
    """
    squares, cubes = (weights**2).sum(-1), (weights**3).sum(-1)
    return (squares - 2 * cubes + squares**2).clip(0) ** 0.5


def mean_jacobian(weights: dict[str, np.ndarray]) -> float:
    """Average `jacobian_norms` over the queries of a head, then over all heads."""
    heads = [jacobian_norms(of_kind).mean(axis=-1).flatten() for of_kind in weights.values()]
    return round(float(np.concatenate(heads).mean()), 4)


def predictions(
    translator: Translator, log_p: np.ndarray, target: list[int], count: int = TOP_TOKENS
) -> dict[str, Any]:
    """List the predictions at each target position.

    Args:
        translator: Translator whose vocabulary names the tokens.
        log_p: Natural log probabilities, shape [target, vocab].
        target: Target ids without EOS.
        count: Number of tokens per position.

    Returns:
        given: probability of each target token including EOS; top: the `count` most likely tokens of each position, as
        [token, probability]; log_p: log probability of the target.
    """
    best, indices = torch.from_numpy(log_p).topk(min(count, log_p.shape[-1]))
    rows = []
    for ids, p_of_row in zip(indices.tolist(), best.exp().tolist(), strict=True):
        named = zip(translator.tokenizer.target.pieces(ids), p_of_row, strict=True)
        rows.append([[piece, _round(p)] for piece, p in named])
    given = log_p[np.arange(len(log_p)), [*target, EOS]]
    return {"given": [_round(p) for p in np.exp(given).tolist()], "top": rows, "log_p": round(float(given.sum()), 4)}


@torch.inference_mode()
def _variants(
    translator: Translator,
    pair: TokenPair,
    variants: Sequence[Switches],
    precision: Precision | None,
    base: PairResult | None,
    brief: bool,
) -> list[dict[str, Any]]:
    """Compute variants that may differ only in the heads that are off."""
    shared = base.recorded if base and base.recorded.stages else None
    found: dict[str, dict[str, Any]] = {}
    order: list[Switches] = []
    passes: list[DraftPass] = []
    for batch in _batches(variants, len(pair.source) + len(pair.target) + 1):
        each, results = _run(translator, pair, batch, shared)
        passes.append(each)
        order += batch
        for switches, result in zip(batch, results, strict=True):
            found[switches.key] = _facts(translator, pair, switches, precision, result, base or result, brief)
    for switches, translation in zip(order, _translations(translator, pair, order, passes), strict=True):
        found[switches.key]["translation"] = translation
    return [found[switches.key] for switches in variants]


def _batches(variants: Sequence[Switches], tokens: int) -> Iterator[list[Switches]]:
    """Batch variants with the same first changed layer."""
    size = max(1, _BATCH_TOKENS // tokens)
    by_first: dict[Site, list[Switches]] = {}
    for switches in variants:
        by_first.setdefault(first_change(switches), []).append(switches)
    for group in by_first.values():
        yield from (group[at : at + size] for at in range(0, len(group), size))


def _run(
    translator: Translator, pair: TokenPair, variants: Sequence[Switches], base: AttentionRecorder | None
) -> tuple[DraftPass, list[PairResult]]:
    """Run one batch of variants that have the same `first_change`."""
    source = _with_padding(pair, variants[0])
    source_ids, target_ids = (pad([ids]).to(translator.device) for ids in (source, [BOS, *pair.target]))
    found = draft_pass(translator.model, source_ids, target_ids, variants, base)
    log_p = found.log_p.cpu().numpy()
    return found, [PairResult(found.recorded.sentence(row), log_p[row], source) for row in range(len(variants))]


def _facts(
    translator: Translator,
    pair: TokenPair,
    switches: Switches,
    precision: Precision | None,
    result: PairResult,
    base: PairResult,
    brief: bool,
) -> dict[str, Any]:
    """Return a variant without its translation."""
    attention, base_attention = weights_of(result.recorded), weights_of(base.recorded)
    queries = {kind: base_attention[kind].shape[-2] for kind in KINDS}  # without padding
    without_padding = {kind: attention[kind][:, :, : queries[kind]] for kind in KINDS}
    changes = [x for kind in KINDS for x in _change(attention[kind], base_attention[kind]).flatten().tolist()]
    data: dict[str, Any] = {
        "key": switches.key,
        "switches": switches.as_json(),
        "source_tokens": None if brief else translator.tokenizer.pieces(result.source),
        "entropy": None,
        "jacobian": None,
        "unmasked": None if brief else _unmasked(attention, queries["encoder"], switches),
        "change": [round(x, 2 if brief else 4) or 0 for x in changes],
        "predictions": predictions(translator, result.log_p, pair.target, 2 if brief else TOP_TOKENS),
    }
    if brief:
        return data
    heads = [x for kind in KINDS for x in entropies(without_padding[kind]).flatten().tolist()]
    data |= {"entropy": [round(x, 3) for x in heads], "jacobian": mean_jacobian(without_padding)}
    if precision is None:
        data["attention"] = attention
    elif precision.variants:
        data["attention"] = {kind: pack_weights(attention[kind], precision.variants) for kind in KINDS}
    return data


def _translations(
    translator: Translator, pair: TokenPair, variants: Sequence[Switches], passes: Sequence[DraftPass]
) -> list[dict[str, Any] | None]:
    """Translate with each variant by greedy search; None for a long sentence."""
    if len(pair.source) > MAX_SEARCH_LENGTH:
        return [None] * len(variants)
    source, max_length = pad([_with_padding(pair, variants[0])]).to(translator.device), greedy_length(translator, pair)
    search = GreedyVariants(translator.model, source, pair.target, max_length)
    decode, penalty = translator.tokenizer.target.decode, LengthPenalty.of(translator.bundle.config.search)
    return [
        {
            "text": decode(found.ids),
            "score": round(make_hypothesis(found.ids, found.log_p, penalty).score, 4),
            "cut": len(found.ids) == max_length,
        }
        for found in search.translate(variants, passes)
    ]


def _with_padding(pair: TokenPair, switches: Switches) -> list[int]:
    return [*pair.source, *([] if switches.padding_mask else [PAD] * PADDING)]


def _change(weights: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Compute the share of attention that is redistributed, 0 to 1, averaged over queries: [layer, head]."""
    *_, queries, keys = base.shape
    weights = weights[..., :queries, :]
    on_padding = weights[..., keys:].sum(axis=-1)
    return (np.abs(weights[..., :keys] - base).sum(axis=-1) + on_padding).mean(axis=-1) / 2


def _unmasked(attention: dict[str, np.ndarray], source: int, switches: Switches) -> float | None:
    """Compute the mean share of attention on keys that the mask would hide; None unless just one mask is off."""
    if switches.future_mask == switches.padding_mask:
        return None
    if not switches.future_mask:
        return _round(np.triu(attention["decoder"], 1).sum(axis=-1).mean())
    hidden = [attention[kind][:, :, :rows, source:] for kind, rows in (("encoder", source), ("cross", None))]
    return _round(np.concatenate([x.sum(axis=-1).mean(axis=-1).ravel() for x in hidden]).mean())


def _round(p: float) -> float:
    return float(f"{p:.4g}")
