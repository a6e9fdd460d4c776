"""How likely given translations are: no search, one pass of the model over source and target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from allyouneed.data.batches import pad, token_batches
from allyouneed.data.tokenizer import BOS, EOS
from allyouneed.model.transformer import log_probabilities
from allyouneed.translation.alignment import word_numbers
from allyouneed.translation.search import NEVER_SAID
from allyouneed.translation.translator import Translator


class Scored(NamedTuple):
    """tokens: subwords, end included; log_probs: of each, natural logarithms."""

    tokens: list[str]
    log_probs: list[float]


@torch.inference_mode()
def score_pairs(translator: Translator, sources: Sequence[str], targets: Sequence[str]) -> list[Scored]:
    """Each target's log probability given its source, subword by subword, as search would count it.

    Errors: `UserError` where one of them is longer than learned positions allow, with the number of the pair from 1.
    """
    source = [[*ids, EOS] for ids in translator.tokenizer.encode_all(sources)]
    target = [[BOS, *ids, EOS] for ids in translator.tokenizer.target.encode_all(targets)]
    lengths, target_lengths = (np.array([len(ids) for ids in side], dtype=np.int64) for side in (source, target))
    for number, length in enumerate(np.maximum(lengths, target_lengths - 1).tolist(), start=1):
        translator.refuse_beyond_positions(length, f"pair {number}: one side")
    found: dict[int, Scored] = {}
    for batch in token_batches(lengths, target_lengths, translator.bundle.config.search.batch_tokens):
        scored = score_ids(translator, [source[i] for i in batch], [target[i] for i in batch])
        for i, values in zip(batch, scored, strict=True):
            found[i] = Scored(translator.tokenizer.target.pieces(target[i][1:]), values)
    return [found[i] for i in range(len(source))]


def word_log_probabilities(scored: Scored) -> list[float]:
    """Of each word, counted from 0 between spaces as in `Translation.alignment`: the sum over its subwords."""
    numbers = word_numbers(scored.tokens)
    words = [0.0] * (max(numbers, default=-1) + 1)
    for number, log_p in zip(numbers, scored.log_probs, strict=True):
        if number >= 0:
            words[number] += log_p
    return words


@torch.inference_mode()
def score_ids(translator: Translator, source: list[list[int]], target: list[list[int]]) -> Iterator[list[float]]:
    """Of a batch of ids: source with its end, target with start and end. -> log probabilities, without the start's."""
    source_ids, target_ids = (pad(side).to(translator.device) for side in (source, target))
    logits = translator.model(source_ids, target_ids[:, :-1]).float()
    logits[..., NEVER_SAID] = -torch.inf
    wanted = target_ids[:, 1:, None]
    log_p = log_probabilities(logits).gather(2, wanted)[..., 0].tolist()
    for values, ids in zip(log_p, target, strict=True):
        yield values[: len(ids) - 1]
