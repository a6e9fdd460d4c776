"""Greedy translations of many variants of a model, decoded only where they differ from a draft.

A forward pass over a draft gives the most likely next token at each of its positions. Up to the first position where
this token differs from the draft, greedy decoding generates exactly the draft. The rest is decoded with the keys and
values of the pass as cache, for all variants together; if no position differs, nothing is decoded.

Dimensions: rows: variants; draft: positions of BOS and the draft; source; vocab.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.insight.variants.switches import Switches, interventions, searchable
from allyouneed.model.cache import DecoderCache, LayerCache
from allyouneed.model.masks import future_mask
from allyouneed.model.probe import AttentionRecorder, Interventions, Probe, Site
from allyouneed.model.transformer import Transformer, log_probabilities
from allyouneed.translation.search import NEVER_GENERATED, greedy

_KEPT = ("weights", "keys", "values")


class GreedyTranslation(NamedTuple):
    """A greedy translation: token ids without EOS, and log probabilities of these tokens and of EOS."""

    ids: list[int]
    log_p: list[float]


class PassRecorder(AttentionRecorder):
    """Recorder of weights, keys and values."""

    def observe(self, site: Site, tensors: Mapping[str, Tensor]) -> None:
        """Keep the tensors of equation 1."""
        if site[0] in ("encoder", "decoder", "cross") and "weights" in tensors:
            self.sites[site] = {name: tensors[name].detach() for name in _KEPT}


@dataclass
class DraftPass:
    """A forward pass of several variants over the same draft.

    Attributes:
        recorded: Weights, keys and values of every attention, shape [rows, heads, ...].
        log_p: Natural log probabilities, shape [rows, draft, vocab].
        next_tokens: Most likely next tokens except `NEVER_GENERATED`, shape [rows, draft].
        next_log_p: Their log probabilities, in which `NEVER_GENERATED` are excluded, shape [rows, draft].
        end_log_p: Likewise of EOS, shape [rows, draft].
    """

    recorded: PassRecorder
    log_p: Tensor
    next_tokens: np.ndarray
    next_log_p: np.ndarray
    end_log_p: np.ndarray


def first_change(switches: Switches) -> Site:
    """Return the first layer that a variant changes, as ("encoder", layer) or ("decoder", layer)."""
    if switches != Switches(off=switches.off):
        return ("encoder", 0)
    layers = [("encoder" if kind == "encoder" else "decoder", layer) for kind, layer, _ in switches.off]
    return min(layers, key=lambda site: (site[0] == "decoder", site[1]), default=("encoder", 0))


def draft_pass(
    model: Transformer,
    source_ids: Tensor,
    draft_ids: Tensor,
    variants: Sequence[Switches],
    base: AttentionRecorder | None = None,
) -> DraftPass:
    """Run variants over a draft.

    Args:
        model: The model.
        source_ids: Token ids of the source, shape [1, source].
        draft_ids: Token ids of the draft, beginning with BOS, shape [1, draft].
        variants: Variants that differ only in the heads that are off, and have the same `first_change`.
        base: Recording with stages of the unchanged model on the same ids, from which the layers below the first change
            are taken; None to run all layers.

    Returns:
        The pass.
    """
    recorder = PassRecorder()
    probe = Probe((recorder,), interventions(model, *variants))
    rows, first = len(variants), first_change(variants[0])
    if base is None or first == ("encoder", 0):
        logits = model(source_ids.expand(rows, -1), draft_ids.expand(rows, -1), probe)
    else:
        logits = _upper_layers(model, source_ids.expand(rows, -1), base, first, probe)
        for site, tensors in base.sites.items():
            if site not in recorder.sites:
                recorder.sites[site] = {name: tensors[name].expand(rows, -1, -1, -1) for name in _KEPT}
    log_p = log_probabilities(logits)
    logits[..., NEVER_GENERATED] = -torch.inf
    possible = log_probabilities(logits)  # as in `search.top_tokens`
    best = possible.max(dim=-1)
    return DraftPass(recorder, log_p, *(x.cpu().numpy() for x in (best.indices, best.values, possible[..., EOS])))


def _upper_layers(model: Transformer, source_ids: Tensor, base: AttentionRecorder, first: Site, probe: Probe) -> Tensor:
    """Run the layers from `first` on, and return the logits [rows, draft, vocab]."""
    rows, mask = len(source_ids), model.source_mask(source_ids)
    kind, index = first
    x = base.sites[first]["residual"].expand(rows, -1, -1)
    if kind == "encoder":
        for layer in list(model.encoder.layers)[index:]:
            x = layer(x, mask, probe)
        memory, index = model.encoder.norm(x), 0
        x = base.sites["decoder", 0]["residual"].expand(rows, -1, -1)
    else:
        memory = base.sites["cross", 0]["memory"].expand(rows, -1, -1)
    future = future_mask(x.shape[1], x.device)
    for decoder_layer in list(model.decoder.layers)[index:]:
        x = decoder_layer(x, memory, future, mask, probe)
    logits: Tensor = model.output(model.decoder.norm(x))
    return logits


class GreedyVariants:
    """Greedy decoding of variants, each from the first token that differs from the draft.

    Args:
        model: The model.
        source_ids: Token ids of the source, shape [1, source].
        draft: Token ids of the draft, without BOS and EOS.
        max_length: Maximum number of tokens of a translation.
    """

    def __init__(self, model: Transformer, source_ids: Tensor, draft: Sequence[int], max_length: int):
        self.model, self.source_ids, self.max_length = model, source_ids, max_length
        self.expected = np.array([*draft, EOS][: max_length + 1])

    def translate(self, variants: Sequence[Switches], passes: Sequence[DraftPass]) -> list[GreedyTranslation]:
        """Translate variants that differ only in the heads that are off.

        Args:
            variants: The variants.
            passes: Passes over the draft whose rows are the variants, in this order.

        Returns:
            A translation for each variant, identical to that of `search.greedy` except for ties within rounding.
        """
        if not variants[0].future_mask:  # with later positions visible, the pass does not tell what is decoded
            sources = self.source_ids.expand(len(variants), -1)
            found = greedy(searchable(self.model, variants), sources, [self.max_length] * len(variants))
            return [GreedyTranslation(each.ids, each.token_log_p) for each in found]
        states = []
        for each in passes:
            cache = _cache_of(each.recorded, self.model.source_mask(self.source_ids))
            states += [self._start(each, cache, row) for row in range(len(each.next_tokens))]
        self._decode(states, interventions(self.model, *variants))
        return [GreedyTranslation(state.ids[:-1], state.log_p) for state in states]

    def _start(self, each: DraftPass, cache: DecoderCache, row: int) -> _State:
        """Accept the tokens of the draft up to the first one that differs, and that token."""
        tokens, log_p = (x[row, : len(self.expected)].copy() for x in (each.next_tokens, each.next_log_p))
        if len(tokens) > self.max_length:  # only EOS is possible here
            tokens[self.max_length], log_p[self.max_length] = EOS, each.end_log_p[row, self.max_length]
        differs = np.flatnonzero(tokens != self.expected)
        count = int(differs[0]) + 1 if len(differs) else len(tokens)
        return _State(tokens[:count].tolist(), log_p[:count].tolist(), cache, row)

    def _decode(self, states: list[_State], changes: Interventions) -> None:
        """Decode all unfinished states, those with fewer tokens first; the others join at their length."""
        waiting = sorted(
            (n for n, state in enumerate(states) if state.ids[-1] != EOS), key=lambda n: len(states[n].ids)
        )
        active: list[int] = []
        cache: DecoderCache | None = None
        while waiting or active:
            length = len(states[(active or waiting)[0]].ids)
            joining = [n for n in waiting if len(states[n].ids) == length]
            waiting = waiting[len(joining) :]
            if joining:
                active += joining
                cache = _joined(cache, [states[n].rows_of_cache(length) for n in joining], length)
            assert cache is not None
            device = self.source_ids.device
            probe = Probe(interventions=changes.select(torch.tensor(active, device=device)))
            tokens = torch.tensor([states[n].ids[-1] for n in active], device=device)
            logits = self.model.decode_step(tokens, cache, probe).float()
            self._append(logits, [states[n] for n in active], at_limit=length >= self.max_length)
            kept = [row for row, n in enumerate(active) if states[n].ids[-1] != EOS]
            if len(kept) < len(active):
                rows = torch.tensor(kept, dtype=torch.long, device=device)
                cache.select(rows)
                cache.keep_sentences(rows)
                active = [active[row] for row in kept]

    @staticmethod
    def _append(logits: Tensor, states: list[_State], at_limit: bool) -> None:
        logits[:, NEVER_GENERATED] = -torch.inf
        log_p = logits.log_softmax(dim=-1)
        best = log_p.max(dim=-1)
        tokens, values = (
            (torch.full_like(best.indices, EOS), log_p[:, EOS]) if at_limit else (best.indices, best.values)
        )
        for state, token, value in zip(states, tokens.tolist(), values.tolist(), strict=True):
            state.ids.append(token)
            state.log_p.append(value)


@dataclass
class _State:
    """A translation so far, and the row of a pass whose cache it continues."""

    ids: list[int]
    log_p: list[float]
    cache: DecoderCache
    row: int

    def rows_of_cache(self, length: int) -> DecoderCache:
        """Return the cache of this row for the first `length` positions."""
        row = slice(self.row, self.row + 1)
        layers = [
            LayerCache(x.memory_keys[row], x.memory_values[row], x.keys[row, :, :length], x.values[row, :, :length])
            for x in self.cache.layers
            if x.keys is not None and x.values is not None
        ]
        return DecoderCache(layers, self.cache.source_mask, length)


def _cache_of(recorded: AttentionRecorder, source_mask: Tensor) -> DecoderCache:
    """Return the decoder's cache after the pass; `source_mask` has one row."""
    layers = [
        LayerCache(cross["keys"], cross["values"], own["keys"], own["values"])
        for cross, own in zip(recorded.layers("cross"), recorded.layers("decoder"), strict=True)
    ]
    return DecoderCache(layers, source_mask)


def _joined(cache: DecoderCache | None, added: list[DecoderCache], length: int) -> DecoderCache:
    """Concatenate the rows of caches of the same length."""
    caches = [*([cache] if cache and len(cache.source_mask) else []), *added]
    layers = []
    for index in range(len(added[0].layers)):
        parts = [(x.memory_keys, x.memory_values, x.keys, x.values) for x in (each.layers[index] for each in caches)]
        layers.append(LayerCache(*(torch.cat(list(tensors)) for tensors in zip(*parts, strict=True))))
    return DecoderCache(layers, torch.cat([each.source_mask for each in caches]), length)
