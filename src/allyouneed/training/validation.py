"""Validation during training: loss on the whole validation text, BLEU and chrF on its first sentences."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from allyouneed.bundle import Bundle
from allyouneed.config import TrainingConfig
from allyouneed.data.batches import collate, token_batches
from allyouneed.data.directions import Direction, shown
from allyouneed.data.store import PairStore
from allyouneed.training.step import batch_loss
from allyouneed.translation.evaluation.bleu_tokenizers import choose_tokenizer
from allyouneed.translation.evaluation.metrics import CorpusScores, corpus_scores, mean_scores
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.translator import Translator

_SAMPLES = 3


@dataclass(frozen=True)
class ValidationSet:
    """Validation text.

    Attributes:
        store: Token ids of the pairs.
        texts: Sources and references as text.
        parts: Direction and number of pairs of each part, for a multilingual model; empty for one direction.
    """

    store: PairStore
    texts: list[tuple[str, str]]
    parts: tuple[tuple[Direction, int], ...] = ()

    def by_direction(self, count: int) -> dict[Direction, list[tuple[str, str]]]:
        """Return the first texts of each direction, of all directions about `count`."""
        texts: dict[Direction, list[tuple[str, str]]] = {}
        start = 0
        for direction, size in self.parts:
            texts.setdefault(direction, []).extend(self.texts[start : start + size])
            start += size
        return {direction: each[: -(-count // len(texts))] for direction, each in texts.items()}


Observe: TypeAlias = Callable[[Bundle, ValidationSet], dict[str, Any]]  # measures a model during its training


@torch.no_grad()
def validation_loss(bundle: Bundle, valid: ValidationSet, training: TrainingConfig) -> float:
    """Compute the negative log-likelihood in nats per target token; its exponential is the perplexity.

    Args:
        bundle: The model and its tokenizer.
        valid: The validation text.
        training: Training settings: precision and reference implementation.
    """
    model = bundle.model.eval()
    device = next(model.parameters()).device
    lengths = valid.store.source.lengths_with_end, valid.store.target.lengths_with_end
    total, tokens = 0.0, 0
    for pairs in token_batches(*lengths, 4096):
        total += float(batch_loss(model, collate(valid.store, pairs), training, device)[1])
        tokens += int(np.sum(lengths[1][pairs]))
    return total / tokens


def perplexity(loss: float) -> float:
    """Return the exponential of a loss in nats per token; infinity if it exceeds the largest float."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def show_perplexity(value: float) -> str:
    """Format a perplexity, for example "12.3", "8.1e+21" or "inf"."""
    return f"{value:,.1f}" if value < 1e6 else f"{value:.2g}"


def validation_scores(
    bundle: Bundle, valid: ValidationSet, sentences: int, beam_size: int
) -> tuple[CorpusScores, list[dict[str, str]]]:
    """Translate the first `sentences` sources; return corpus scores and a few samples.

    The scores of a multilingual model are the means over its directions, see `metrics.mean_scores`.
    """
    if not valid.parts:
        return _scores(bundle, valid.texts[:sentences], bundle.languages[1], beam_size)
    found = {
        shown(direction): _scores(bundle, texts, direction[1], beam_size)
        for direction, texts in valid.by_direction(sentences).items()
    }
    samples = [sample for _, each in found.values() for sample in each]
    return mean_scores({name: scores for name, (scores, _) in found.items()}), samples


def _scores(
    bundle: Bundle, texts: list[tuple[str, str]], target: str, beam_size: int
) -> tuple[CorpusScores, list[dict[str, str]]]:
    sources, references = zip(*texts, strict=True)
    translator = Translator(bundle, next(bundle.model.parameters()).device)
    options = SearchOptions(beam_size=beam_size, repetition_guard=False)  # early in training, most sentences repeat
    translations = [found.text for found in translator.translate(sources, options)]
    rows = zip(sources[:_SAMPLES], references, translations, strict=False)
    samples = [{"source": s, "reference": r, "hypothesis": h} for s, r, h in rows]
    tokenizer = choose_tokenizer(bundle.config.training.bleu_tokenizer, target).name
    return corpus_scores(translations, references, tokenize=tokenizer), samples
