"""Scores of given translations, computed by one forward pass without search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from allyouneed.data.batches import pad, token_batches
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.files import TextFiles, as_paths
from allyouneed.json_text import json_line
from allyouneed.translation.alignment import word_numbers
from allyouneed.translation.directions import refuse_without_code
from allyouneed.translation.ensemble import average
from allyouneed.translation.evaluation.data import read_test_set
from allyouneed.translation.translator import Translator


class TokenScores(NamedTuple):
    """Scores of one target.

    Attributes:
        tokens: Tokens of the target, the end of sentence included.
        log_probs: Natural logarithm of the probability of each token.
    """

    tokens: list[str]
    log_probs: list[float]


@dataclass(frozen=True)
class PairScore:
    """Score of a sentence pair from a file.

    Attributes:
        line: Line number, from 1.
        source: The source sentence.
        target: The target sentence.
        score: Log probability of the target given the source, the sum of `log_probs`.
        tokens: Tokens of the target, the end of sentence included.
        log_probs: Log probability of each token.
    """

    line: int
    source: str
    target: str
    score: float
    tokens: list[str]
    log_probs: list[float]


def score(
    run: str | Path | Translator,
    test: TextFiles,
    *,
    device: str | torch.device = "auto",
    report: Callable[[str], None] | None = None,
) -> list[PairScore]:
    """Score the translations of a test set, as `allyouneed score` does.

    Args:
        run: A RUN, a bundle, or a loaded translator.
        test: Two parallel text files (source, target), or one file or folder with both sides.
        device: Device of the model: "auto" (CUDA if there is a GPU), "cpu" or "cuda".
        report: Called with remarks on how a file is read.

    Raises:
        UserError: If the run or a file cannot be read, a file is empty, a line is broken, or a sentence is longer than
            the model's learned positions.
    """
    translator = run if isinstance(run, Translator) else Translator.load(run, device)
    bundle = translator.bundle
    pairs = read_test_set(as_paths(test), bundle.config.data.columns, bundle.languages, report)
    scored = score_pairs(translator, [pair.source for pair in pairs], [pair.target for pair in pairs])
    return [
        PairScore(pair.line, pair.source, pair.target, sum(each.log_probs), each.tokens, each.log_probs)
        for pair, each in zip(pairs, scored, strict=True)
    ]


def score_lines(scores: Iterable[PairScore], tokens: bool = False, as_json: bool = False) -> Iterator[str]:
    """Format scores, one line per pair.

    Args:
        scores: The scores.
        tokens: Whether to append each token with its log probability.
        as_json: Whether to write JSON objects, tokens included.
    """
    for pair in scores:
        if as_json:
            yield json_line(vars(pair))
        else:
            each = [f"{token} {value:.4f}" for token, value in zip(pair.tokens, pair.log_probs, strict=True)]
            yield "\t".join([f"{pair.score:.4f}", *(each if tokens else [])])


@torch.inference_mode()
def score_pairs(translator: Translator, sources: Sequence[str], targets: Sequence[str]) -> list[TokenScores]:
    """Compute the log probability of each target's tokens given its source, as search computes it.

    Raises:
        UserError: If a text is longer than the model's learned positions; the message includes the pair's number.
    """
    refuse_without_code(translator.bundle, sources)
    source = [[*ids, EOS] for ids in translator.tokenizer.encode_all(sources)]
    target = [[BOS, *ids, EOS] for ids in translator.tokenizer.target.encode_all(targets)]
    lengths, target_lengths = (np.array([len(ids) for ids in side], dtype=np.int64) for side in (source, target))
    for number, length in enumerate(np.maximum(lengths, target_lengths - 1).tolist(), start=1):
        translator.refuse_beyond_positions(length, f"pair {number}: one side")
    found: dict[int, TokenScores] = {}
    for batch in token_batches(lengths, target_lengths, translator.bundle.config.search.batch_tokens):
        scored = score_ids(translator, [source[i] for i in batch], [target[i] for i in batch])
        for i, values in zip(batch, scored, strict=True):
            found[i] = TokenScores(translator.tokenizer.target.pieces(target[i][1:]), values)
    return [found[i] for i in range(len(source))]


def word_log_probabilities(scores: TokenScores) -> list[float]:
    """Sum the log probabilities of each word's tokens; words are separated as in `Translation.alignment`."""
    numbers = word_numbers(scores.tokens)
    words = [0.0] * (max(numbers, default=-1) + 1)
    for number, log_p in zip(numbers, scores.log_probs, strict=True):
        if number >= 0:
            words[number] += log_p
    return words


@torch.inference_mode()
def score_ids(translator: Translator, source: list[list[int]], target: list[list[int]]) -> Iterator[list[float]]:
    """Compute log probabilities for a batch of token ids.

    Args:
        translator: The translator.
        source: Source ids with the end of sentence.
        target: Target ids with start and end of sentence.

    Yields:
        For each target, the log probabilities of its tokens after the start of sentence.
    """
    source_ids, target_ids = (pad(side).to(translator.device) for side in (source, target))
    log_p = average([model(source_ids, target_ids[:, :-1]) for model in translator.models])
    scores = log_p.gather(2, target_ids[:, 1:, None])[..., 0].tolist()
    for values, ids in zip(scores, target, strict=True):
        yield values[: len(ids) - 1]
