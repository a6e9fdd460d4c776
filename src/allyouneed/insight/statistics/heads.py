"""Statistics of every head over a corpus, for all three kinds of attention, with reference translations as targets.

Shapes: layer; head; query, key: tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.batches import pad, token_batches
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD
from allyouneed.data.tokens.vocabulary import AnyTokenizer
from allyouneed.insight.statistics.aligner import Link, Links, alignment_error
from allyouneed.insight.variants.switches import Head, Switches, all_heads, interventions
from allyouneed.insight.words import Sentence, join_subwords
from allyouneed.model.probe import KINDS, AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer, log_probabilities

MEASURES = ("entropy", "distance", "previous", "next", "same", "period", "start", "end")
# Measures that compare positions. Queries and keys of the encoder-decoder attention are positions of two sentences; the
# decoder's next position is masked, and its keys never contain the end of the sentence.
UNDEFINED = {"encoder": (), "decoder": ("next", "end"), "cross": ("distance", "previous", "next", "same")}
EXAMPLES, SHORT = 3, range(4, 15)  # examples per head; number of tokens of an example
IMPORTANCE_SENTENCES = 200  # sentence pairs for `importance`, which runs one pass per head
_MIN_LINE_WEIGHT = 0.08
_BATCH_TOKENS = 2048
_PERIODS = set(".!?…。！？,;:、，；")


@dataclass
class HeadSums:
    """Sums over the queries of a corpus for one kind of attention.

    Attributes:
        sums: For each measure the sum over queries, shape [layer, head].
        queries: Number of queries.
        links: For each (layer, head), the word links of each sentence; encoder-decoder attention only.
        best: For each (layer, head), the examples with the most concentrated attention: (sharpness, sentence, weights).
    """

    sums: dict[str, np.ndarray] = field(default_factory=dict)
    queries: int = 0
    links: dict[tuple[int, int], dict[int, set[Link]]] = field(default_factory=dict)
    best: dict[tuple[int, int], list[tuple[float, int, np.ndarray]]] = field(default_factory=dict)


@torch.inference_mode()
def measure_heads(
    model: Transformer, pairs: Sequence[tuple[Sentence, Sentence]], tokenizer: AnyTokenizer
) -> dict[str, HeadSums]:
    """Measure all heads.

    Args:
        model: Model to measure.
        pairs: Sentence pairs.
        tokenizer: Tokenizer of the pairs.

    Returns:
        Sums for each of `KINDS`.
    """
    sums = {kind: HeadSums() for kind in KINDS}
    for batch in _batches(pairs):
        recorder = AttentionRecorder()
        model(*_ids(pairs, batch, model), Probe((recorder,)))
        for row, number in enumerate(batch):
            source, target = pairs[number]
            sizes = {"encoder": (source, source), "decoder": (target, target), "cross": (target, source)}
            keys = {"encoder": source.ids, "decoder": [BOS, *target.ids[:-1]], "cross": source.ids}
            for kind, (queries, attended) in sizes.items():
                layers = recorder.weights(kind)
                weights = np.stack(
                    [x[row, :, : len(queries.ids), : len(attended.ids)].float().cpu().numpy() for x in layers]
                )
                key_tokenizer = tokenizer.target if kind == "decoder" else tokenizer
                _add(sums[kind], weights, key_tokenizer.pieces(keys[kind]), keys[kind], int(number))
                if kind == "cross":
                    _link(sums[kind], weights, source, target, int(number))
    return sums


@torch.inference_mode()
def importance(
    model: Transformer,
    pairs: Sequence[tuple[Sentence, Sentence]],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Head, float]:
    """Measure the increase in loss when a single head is off.

    Args:
        model: Model to measure.
        pairs: Sentence pairs.
        on_progress: Called with the number of finished heads and their total.

    Returns:
        For each head the increase, in nats per target token.
    """
    unchanged, heads, increases = mean_loss(model, pairs), all_heads(model), {}
    for head in heads:
        increases[head] = mean_loss(model, pairs, Switches(off=frozenset({head}))) - unchanged
        on_progress(len(increases), len(heads))
    return increases


@torch.inference_mode()
def mean_loss(
    model: Transformer, pairs: Sequence[tuple[Sentence, Sentence]], switches: Switches | None = None
) -> float:
    """Return the negative log likelihood per target token, in nats."""
    total, tokens = 0.0, 0
    for batch in _batches(pairs):
        source, inputs = _ids(pairs, batch, model)
        targets = pad([pairs[number][1].ids for number in batch]).to(inputs.device)
        logits = model(source, inputs, Probe(interventions=interventions(model, switches or Switches())))
        log_p = log_probabilities(logits).gather(-1, targets[..., None])[..., 0]
        real = targets != PAD
        total -= float(log_p[real].sum())
        tokens += int(real.sum())
    return total / max(1, tokens)


def head_row(sums: HeadSums, kind: str, layer: int, head: int, gold: Sequence[Links] | None) -> dict[str, Any]:
    """Summarise a head for the page.

    Args:
        sums: Sums of its kind of attention.
        kind: One of `KINDS`.
        layer: Layer, from 0.
        head: Head, from 0.
        gold: Reference alignment of each sentence, or None.

    Returns:
        All `MEASURES`, None for those that are `UNDEFINED`, the alignment error rate (aer) or None, and examples with
        lines [query, key, weight].
    """
    row: dict[str, Any] = dict.fromkeys(MEASURES)
    for name in set(MEASURES) - set(UNDEFINED[kind]):
        row[name] = round(float(sums.sums[name][layer, head]) / max(1, sums.queries), 4)
    links = sums.links.get((layer, head))
    aer = (
        alignment_error([links[i] for i in sorted(links)], [gold[i] for i in sorted(links)]) if links and gold else None
    )
    examples = []
    for _, number, weights in sums.best.get((layer, head), []):
        strong = zip(*np.nonzero(weights >= _MIN_LINE_WEIGHT), strict=True)
        lines = [[int(i), int(j), round(float(weights[i, j]), 3)] for i, j in strong]
        examples.append({"sentence": number, "lines": lines})
    return {**row, "aer": None if aer is None else round(aer, 4), "examples": examples}


def _add(total: HeadSums, weights: np.ndarray, tokens: Sequence[str], keys: Sequence[int], number: int) -> None:
    """Add the weights [layer, head, query, key] of one sentence, whose keys are `tokens` with ids `keys`."""
    *_, queries, count = weights.shape
    offset = np.arange(count)[None, :] - np.arange(queries)[:, None]
    period = np.array([bool(token.strip("▁")) and set(token.strip("▁")) <= _PERIODS for token in tokens])
    counted = {
        "distance": np.abs(offset),
        "previous": offset == -1,
        "next": offset == 1,
        "same": offset == 0,
        "period": np.broadcast_to(period, offset.shape),
        "start": np.broadcast_to(np.array(keys) == BOS, offset.shape),
        "end": np.broadcast_to(np.array(keys) == EOS, offset.shape),
    }
    sums = {name: (weights * factor).sum(axis=(-2, -1)) for name, factor in counted.items()}
    sums["entropy"] = -(weights * np.log(weights + 1e-30)).sum(axis=(-2, -1))
    for name, values in sums.items():
        total.sums[name] = total.sums.get(name, 0) + values
    total.queries += queries
    if queries in SHORT and count in SHORT:
        sharpness = weights.max(axis=-1).mean(axis=-1)
        for layer, head in np.ndindex(sharpness.shape):
            best = total.best.setdefault((layer, head), [])
            best.append((float(sharpness[layer, head]), number, weights[layer, head]))
            best.sort(key=lambda example: -example[0])
            del best[EXAMPLES:]


def _link(total: HeadSums, weights: np.ndarray, source: Sentence, target: Sentence, number: int) -> None:
    """Link each target word, for every head, to the source word with the largest weight, excluding `</s>`."""
    words = join_subwords(weights, target.starts, source.starts)[..., :-1, :-1]
    if 0 in words.shape:
        return
    for layer, head in np.ndindex(words.shape[:2]):
        chosen = words[layer, head].argmax(axis=-1).tolist()
        total.links.setdefault((layer, head), {})[number] = {(i, j) for j, i in enumerate(chosen)}


def _batches(pairs: Sequence[tuple[Sentence, Sentence]]) -> list[np.ndarray]:
    lengths = np.array([[len(source.ids), len(target.ids)] for source, target in pairs], dtype=np.int64)
    return token_batches(lengths[:, 0], lengths[:, 1], _BATCH_TOKENS)


def _ids(pairs: Sequence[tuple[Sentence, Sentence]], batch: np.ndarray, model: Transformer) -> tuple[Tensor, Tensor]:
    device = model.output.weight.device
    source = pad([pairs[number][0].ids for number in batch])
    inputs = pad([[BOS, *pairs[number][1].ids[:-1]] for number in batch])
    return source.to(device), inputs.to(device)
