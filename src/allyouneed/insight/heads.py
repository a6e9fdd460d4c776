"""What every head does over a corpus, all three attentions, with the reference as the target.

Shapes: layer, head; query, key: subwords.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.batches import pad, token_batches
from allyouneed.data.tokenizer import BOS, EOS, PAD
from allyouneed.data.vocabulary import AnyTokenizer
from allyouneed.insight.aligner import Link, Links, alignment_error
from allyouneed.insight.switches import Head, Switches, all_heads, interventions
from allyouneed.insight.words import Sentence, join_subwords
from allyouneed.model.probe import KINDS, AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer, log_probabilities

MEASURES = ("entropy", "distance", "previous", "next", "same", "period", "end")
EXAMPLES, SHORT = 3, range(4, 15)  # shown of a head; subwords of a sentence that is shown
IMPORTANCE_SENTENCES = 200  # a pass for every head is much
_FAINT = 0.08
_BATCH_TOKENS = 2048
_PERIODS = set(".!?…。！？,;:、，；")


@dataclass
class Tally:
    """sums: measure -> [layer, head] over queries; queries: how many; links: of each head and sentence (cross only);
    best: of each head (sharpness, sentence, weights), the sharpest first."""

    sums: dict[str, np.ndarray] = field(default_factory=dict)
    queries: int = 0
    links: dict[tuple[int, int], dict[int, set[Link]]] = field(default_factory=dict)
    best: dict[tuple[int, int], list[tuple[float, int, np.ndarray]]] = field(default_factory=dict)


@torch.inference_mode()
def measure_heads(
    model: Transformer, pairs: Sequence[tuple[Sentence, Sentence]], tokenizer: AnyTokenizer
) -> dict[str, Tally]:
    """One tally a kind of attention."""
    tallies = {kind: Tally() for kind in KINDS}
    for batch in _batches(pairs):
        recorder = AttentionRecorder()
        model(*_ids(pairs, batch, model), Probe((recorder,)))
        for row, number in enumerate(batch):
            source, target = pairs[number]
            sizes = {"encoder": (source, source), "decoder": (target, target), "cross": (target, source)}
            keys = {"encoder": source.ids, "decoder": [BOS, *target.ids[:-1]], "cross": source.ids}
            for kind, (queries, seen) in sizes.items():
                layers = recorder.weights(kind)
                weights = np.stack(
                    [x[row, :, : len(queries.ids), : len(seen.ids)].float().cpu().numpy() for x in layers]
                )
                of_keys = tokenizer.target if kind == "decoder" else tokenizer
                _add(tallies[kind], weights, of_keys.pieces(keys[kind]), keys[kind], int(number))
                if kind == "cross":
                    _link(tallies[kind], weights, source, target, int(number))
    return tallies


@torch.inference_mode()
def importance(
    model: Transformer,
    pairs: Sequence[tuple[Sentence, Sentence]],
    told: Callable[[int, int], None] = lambda done, of: None,
) -> dict[Head, float]:
    """How much the loss of a target token, in nats, grows when each head alone is off. told: see `corpus_data`."""
    whole, heads, lost = _loss(model, pairs, Switches()), all_heads(model), {}
    for head in heads:
        lost[head] = _loss(model, pairs, Switches(off=frozenset({head}))) - whole
        told(len(lost), len(heads))
    return lost


def head_row(tally: Tally, layer: int, head: int, gold: Sequence[Links] | None) -> dict[str, Any]:
    """What the page says of a head: all `MEASURES`, aer, and examples with their lines [query, key, weight]."""
    row = {name: round(float(tally.sums[name][layer, head]) / max(1, tally.queries), 4) for name in MEASURES}
    links = tally.links.get((layer, head))
    aer = (
        alignment_error([links[i] for i in sorted(links)], [gold[i] for i in sorted(links)]) if links and gold else None
    )
    examples = []
    for _, number, weights in tally.best.get((layer, head), []):
        strong = zip(*np.nonzero(weights >= _FAINT), strict=True)
        lines = [[int(i), int(j), round(float(weights[i, j]), 3)] for i, j in strong]
        examples.append({"sentence": number, "lines": lines})
    return {**row, "aer": None if aer is None else round(aer, 4), "examples": examples}


def _add(tally: Tally, weights: np.ndarray, tokens: Sequence[str], keys: Sequence[int], number: int) -> None:
    """weights [layer, head, query, key] of one sentence."""
    *_, queries, count = weights.shape
    offset = np.arange(count)[None, :] - np.arange(queries)[:, None]
    period = np.array([bool(token.strip("▁")) and set(token.strip("▁")) <= _PERIODS for token in tokens])
    there = {
        "distance": np.abs(offset),
        "previous": offset == -1,
        "next": offset == 1,
        "same": offset == 0,
        "period": np.broadcast_to(period, offset.shape),
        "end": np.broadcast_to(np.array(keys) == EOS, offset.shape),
    }
    sums = {name: (weights * where).sum(axis=(-2, -1)) for name, where in there.items()}
    sums["entropy"] = -(weights * np.log(weights + 1e-30)).sum(axis=(-2, -1))
    for name, values in sums.items():
        tally.sums[name] = tally.sums.get(name, 0) + values
    tally.queries += queries
    if queries in SHORT and count in SHORT:
        sharpness = weights.max(axis=-1).mean(axis=-1)
        for layer, head in np.ndindex(sharpness.shape):
            best = tally.best.setdefault((layer, head), [])
            best.append((float(sharpness[layer, head]), number, weights[layer, head]))
            best.sort(key=lambda one: -one[0])
            del best[EXAMPLES:]


def _link(tally: Tally, weights: np.ndarray, source: Sentence, target: Sentence, number: int) -> None:
    """Each target word's strongest source word, ends of sentences left out, of every head."""
    words = join_subwords(weights, target.starts, source.starts)[..., :-1, :-1]
    if 0 in words.shape:
        return
    for layer, head in np.ndindex(words.shape[:2]):
        chosen = words[layer, head].argmax(axis=-1).tolist()
        tally.links.setdefault((layer, head), {})[number] = {(i, j) for j, i in enumerate(chosen)}


def _loss(model: Transformer, pairs: Sequence[tuple[Sentence, Sentence]], switches: Switches) -> float:
    """Negative log likelihood of a target token, in nats."""
    total, tokens = 0.0, 0
    for batch in _batches(pairs):
        source, inputs = _ids(pairs, batch, model)
        given = pad([pairs[number][1].ids for number in batch]).to(inputs.device)
        logits = model(source, inputs, Probe(interventions=interventions(model, switches)))
        log_p = log_probabilities(logits).gather(-1, given[..., None])[..., 0]
        real = given != PAD
        total -= float(log_p[real].sum())
        tokens += int(real.sum())
    return total / max(1, tokens)


def _batches(pairs: Sequence[tuple[Sentence, Sentence]]) -> list[np.ndarray]:
    lengths = np.array([[len(source.ids), len(target.ids)] for source, target in pairs], dtype=np.int64)
    return token_batches(lengths[:, 0], lengths[:, 1], _BATCH_TOKENS)


def _ids(pairs: Sequence[tuple[Sentence, Sentence]], batch: np.ndarray, model: Transformer) -> tuple[Tensor, Tensor]:
    device = model.output.weight.device
    source = pad([pairs[number][0].ids for number in batch])
    inputs = pad([[BOS, *pairs[number][1].ids[:-1]] for number in batch])
    return source.to(device), inputs.to(device)
